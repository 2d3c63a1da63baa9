"""How long this process's own work takes in each step, without its waiting for other processes.

In synchronous training every process's step takes as long as that of the slowest: the others wait
for it where gradients are averaged. So the time is taken from an update, which all processes make
together, to the begin of the next forward pass (loading data), and to the end of the next backward
pass: the first parameter of the model gets its gradient last, before it is averaged.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling

__all__ = ["LocalWork", "Times", "count_updates"]

if TYPE_CHECKING:
    from gradmidi.capture.capture import Capture
    from gradmidi.capture.steps import Consumer

MOST = 4096
"""Steps that are kept until they are taken."""

NEVER = 1 << 62

Times = tuple[int, float, float, float]
"""A step; seconds to its forward pass, to its first parameter's gradient, and to its update."""


class LocalWork:
    """Notes the times of each step of this process; nothing in it waits.

    Parameters
    ----------
    model : Module
        The model that is trained.
    optimizers : iterable
        Its optimizers.
    step : callable
        Returns the number of the last step.
    clock : callable, default `time.perf_counter`
        Returns seconds.

    Examples
    --------
    >>> import torch
    >>> net, steps = nn.Linear(2, 1), iter(range(9))
    >>> sgd = torch.optim.SGD(net.parameters())
    >>> work = LocalWork(net, [sgd], lambda: next(steps), iter(range(99)).__next__)
    >>> for _ in range(3):
    ...     net(torch.ones(1, 2)).sum().backward()
    ...     sgd.step()
    >>> work.take()
    [(0, 1, 2, 3), (1, 1, 2, 3)]
    >>> work.remove()
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Iterable[Any],
        step: Callable[[], int],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._step = step
        self._clock = clock
        self._rows: deque[Times] = deque(maxlen=MOST)
        self._begin = self._forward = self._gradient = math.nan
        self._handles: list[Any] = []
        first = next((each for each in model.parameters() if each.requires_grad), None)
        steps = [each for each in optimizers if hasattr(each, "register_step_pre_hook")]
        # On a device the host's clock does not tell when the work is done.
        if first is None or not steps or first.device.type != "cpu":
            return
        # A shard gets its gradient when the processes have put it together.
        if not hasattr(first, "placements"):
            on_gradient: Any = first.register_post_accumulate_grad_hook
            self._handles.append(on_gradient(self._on_gradient))
        self._handles.append(model.register_forward_pre_hook(self._on_forward, prepend=True))
        self._handles += [each.register_step_pre_hook(self._on_step) for each in steps]

    def take(self) -> list[Times]:
        """Return the times since the last call; may be called on another thread."""
        taken = []
        while self._rows:
            taken.append(self._rows.popleft())
        return taken

    def remove(self) -> None:
        """Leave no hook behind."""
        while self._handles:
            self._handles.pop().remove()

    def _on_forward(self, _model: nn.Module, _given: Any) -> None:
        # Of several passes in a step the first counts.
        if not is_dynamo_compiling() and self._forward != self._forward:
            self._forward = self._clock()

    def _on_gradient(self, _parameter: Tensor) -> None:
        if not is_dynamo_compiling():
            self._gradient = self._clock()

    def _on_step(self, _optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if is_dynamo_compiling():
            return
        now, begin = self._clock(), self._begin
        if self._forward == self._forward and begin == begin:
            self._rows.append(
                (self._step(), self._forward - begin, self._gradient - begin, now - begin)
            )
        self._begin, self._forward, self._gradient = now, math.nan, math.nan


def count_updates(capture: "Capture", consumer: "Consumer", scaler: Any = None) -> None:
    """Have `consumer` count the updates, also those a scaler skips; only the first is read."""
    # Rank 0 says what is to be said of the model.
    capture._frozen, capture._report_others = [], False
    capture.attach(consumer, every=NEVER, scaler=scaler)
