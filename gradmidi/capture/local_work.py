"""How long this process's own work takes in each step, without its waiting for other processes.

In synchronous training every process's step takes as long as that of the slowest: the others wait
for it where gradients are averaged. So the time is taken from an update, which all processes make
together, to the begin of the next forward pass (loading data), and to the end of the next backward
pass: the first parameter of the model gets its gradient last, before it is averaged. On a GPU these
are times of the GPU, which waits for other processes before the update.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling

from gradmidi.capture.readout import capturing

__all__ = ["Clock", "LocalWork", "Times", "count_updates"]

if TYPE_CHECKING:
    from gradmidi.capture.capture import Capture
    from gradmidi.capture.steps import Consumer

ENOUGH = 64
"""Steps that are timed until they are taken; then nothing is done until then."""

NEVER = 1 << 62

Times = tuple[int, float, float, float]
"""A step; seconds to its forward pass, to its first parameter's gradient, and to its update.

The first two are nan if they are not known, as of a forward pass that is compiled."""


class Clock(Protocol):
    """Takes times of the work at hand."""

    def stamp(self) -> Any:
        """Return a stamp of this place in the work; None if there can be none."""

    def has_come(self, stamp: Any) -> bool:
        """Return whether the work has come to a stamp."""

    def seconds(self, begin: Any, end: Any) -> float:
        """Return the time between two stamps to which the work has come."""


class _Host:
    """Times of work on the host."""

    stamp = staticmethod(time.perf_counter)

    def has_come(self, stamp: float) -> bool:
        """Return True: it is done at once."""
        return True

    def seconds(self, begin: float, end: float) -> float:
        """Return the difference."""
        return end - begin


class _Cuda:
    """Times of work on a GPU: events, in the order of the work, for which nothing waits."""

    def stamp(self) -> Any:
        """Return an event at this place of the work; None while a graph is recorded."""
        if capturing():
            return None
        new: Any = torch.cuda.Event
        event = new(enable_timing=True)
        event.record()
        return event

    def has_come(self, stamp: Any) -> bool:
        """Return whether the device is past an event."""
        come: bool = stamp.query()
        return come

    def seconds(self, begin: Any, end: Any) -> float:
        """Return the time between two events."""
        return float(begin.elapsed_time(end)) / 1000.0


class LocalWork:
    """Notes the times of steps of this process; nothing in it waits.

    Parameters
    ----------
    model : Module
        The model that is trained.
    optimizers : iterable
        Its optimizers.
    step : callable
        Returns the number of the last step.
    clock : Clock, optional
        By default that of the device on which the model is.

    Attributes
    ----------
    step : callable
        As given.

    Examples
    --------
    >>> net, steps = nn.Linear(2, 1), iter(range(9))
    >>> sgd = torch.optim.SGD(net.parameters())
    >>> work = LocalWork(net, [sgd], lambda: next(steps))
    >>> for _ in range(3):
    ...     net(torch.ones(1, 2)).sum().backward()
    ...     sgd.step()
    >>> [0.0 < forward < gradient < step for _, forward, gradient, step in work.take()]
    [True, True]
    >>> work.remove()
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Iterable[Any],
        step: Callable[[], int],
        clock: "Clock | None" = None,
    ) -> None:
        self.step = step
        self._rows: deque[Times] = deque()
        # Of a device: what it has still to do.
        self._pending: deque[tuple[int, Any, Any, Any, Any]] = deque()
        self._begin: Any = None
        self._forward: Any = None
        self._gradient: Any = None
        self._rests = self._failed = False
        self._handles: list[Any] = []
        first = next((each for each in model.parameters() if each.requires_grad), None)
        steps = [each for each in optimizers if hasattr(each, "register_step_pre_hook")]
        kind = "" if first is None else first.device.type
        if first is None or not steps or (clock is None and kind not in ("cpu", "cuda")):
            return
        self._clock: Clock = clock or (_Cuda() if kind == "cuda" else _Host())
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
        self._rests = self._failed
        return taken

    def remove(self) -> None:
        """Leave no hook behind."""
        while self._handles:
            self._handles.pop().remove()

    def _on_forward(self, _model: nn.Module, _given: Any) -> None:
        # Of several passes in a step the first counts.
        if not (is_dynamo_compiling() or self._rests) and self._forward is None:
            self._forward = self._stamp()

    def _on_gradient(self, _parameter: Tensor) -> None:
        if not (is_dynamo_compiling() or self._rests):
            self._gradient = self._stamp()

    def _on_step(self, _optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if is_dynamo_compiling() or self._rests:
            return
        begin, now = self._begin, self._stamp()
        if now is not None:
            if begin is not None and not self._forward is self._gradient is None:
                self._pending.append((self.step(), begin, self._forward, self._gradient, now))
            self._read()
        self._begin, self._forward, self._gradient = now, None, None
        if len(self._rows) >= ENOUGH:
            self._begin, self._rests = None, True

    def _stamp(self) -> Any:
        try:
            return self._clock.stamp()
        except Exception:
            # A device that does not do this: the training goes on without times.
            self._failed = self._rests = True
            return None

    def _read(self) -> None:
        """Read the times that are known by now."""
        clock = self._clock
        try:
            while self._pending:
                step, begin, *others = self._pending[0]
                if not all(each is None or clock.has_come(each) for each in others):
                    return
                self._pending.popleft()
                forward, gradient, end = (
                    math.nan if each is None else clock.seconds(begin, each) for each in others
                )
                self._rows.append((step, forward, gradient, end))
        except Exception:
            # As where the parameters are on several devices.
            self._failed = self._rests = True


def count_updates(capture: "Capture", consumer: "Consumer", scaler: Any = None) -> None:
    """Have `consumer` count the updates, also those a scaler skips; only the first is read."""
    # Rank 0 says what is to be said of the model.
    capture._frozen, capture._report_others = [], False
    capture.attach(consumer, every=NEVER, scaler=scaler)
