"""The number of steps that optimizers count themselves, which a checkpoint restores."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gradmidi.capture.optimizers import optimizers_in

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from gradmidi.capture.capture import Capture

__all__ = ["steps_made", "when_loaded"]


def steps_made(capture: "Capture") -> int | None:
    """Return how many steps a capture's optimizers have made; None if they do not count them.

    Adam and its relatives count their steps for each parameter; SGD does not. Optimizers with
    different parameters are stepped one after another, so their counts are added.
    """
    counted = [_count(each) for given in capture.given for each in optimizers_in(given)[:1]]
    return sum(counted) or None


def when_loaded(capture: "Capture", go_to: Callable[[int], None]) -> None:
    """Call `go_to` with `steps_made` each time that an optimizer loads its state."""

    def loaded(_optimizer: "Optimizer") -> None:
        steps = steps_made(capture)
        if steps is not None:
            go_to(steps)

    for given in capture.given:
        for optimizer in optimizers_in(given):
            capture.leaving.append(optimizer.register_load_state_dict_post_hook(loaded).remove)


def _count(optimizer: "Optimizer") -> int:
    counts = [state["step"] for state in optimizer.state.values() if "step" in state]
    # Parameters that are unused in some steps have been updated less often.
    return max((int(each) for each in counts), default=0)
