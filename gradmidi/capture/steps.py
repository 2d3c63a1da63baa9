"""Which optimizer steps are updates, which of them are read, and the consumer of what is read.

Of nested steps the outermost is the update: a subclass calls ``super().step()``, an optimizer
calls another's that it wraps, and torch calls hooks for each.
"""

import functools
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from statistics import median
from types import FrameType
from typing import Any, Protocol

import torch
from torch.compiler import is_dynamo_compiling
from torch.optim import Optimizer

__all__ = [
    "Consumer",
    "Nesting",
    "StepHook",
    "Stride",
    "may_break",
    "outside_compile",
]

# Private to torch; without it every call takes the way that is safe.
_compiling: Callable[[], Any] = getattr(
    torch._C._dynamo.eval_frame, "get_eval_frame_callback", lambda: True
)


class Consumer(Protocol):
    """Consumer of captured norms. None of these may raise."""

    def take(self, norms: Any, row: Callable[[Any], Any], skipped: Any = None) -> None:
        """Take one update's norms, and the function that makes a row of them.

        `skipped` is true where a scaler skipped the update; it may be a number on a device.
        """

    def update(self, norms: Any, row: Callable[[Any], Any]) -> None:
        """Take how far the last update moved each layer, and the size of its weights, as a row."""

    def skip(self) -> None:
        """Count an update whose gradients were not read."""

    def fail(self, error: Exception) -> None:
        """Count an update whose gradients could not be read."""

    def see_clipping(self) -> None:
        """Note that the norms that come next are from before clipping."""

    def miss_clipping(self, text: str) -> None:
        """Note that norms may be from after clipping; tell the user so, once."""

    def replace(self) -> None:
        """Close, since another listener is put on the same optimizer."""


def outside_compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a function, and all it calls, out of `torch.compile`.

    Where nothing is compiled the function is called as it is: `torch.compiler.disable` would add
    a tenth to what reading the gradients costs.

    Examples
    --------
    >>> outside_compile(max)(1, 2)
    2
    """
    disable: Any = torch.compiler.disable
    kept: Callable[..., Any] = disable(function)

    @functools.wraps(function)
    def called(*args: Any) -> Any:
        if is_dynamo_compiling() or _compiling() is not None:
            return kept(*args)
        return function(*args)

    return called


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def may_break() -> bool:
    """Return whether the function that is being compiled may call what is kept out of it.

    It may not where it has to become one graph (``fullgraph=True``): it would not be compiled
    at all. Only for what is traced; it is asked once for each graph.
    """
    try:
        from torch._dynamo.symbolic_convert import InstructionTranslator

        tracing: Any = InstructionTranslator.current_tx()
        whole = tracing.one_graph or getattr(tracing, "error_on_graph_break", False)
    except Exception:
        # Private to torch; the way that is safe is to leave the graph whole.
        return False
    return not whole


# -- steps of optimizers -------------------------------------------------------------------------


def _wraps_step(frame: FrameType) -> bool:
    """Return whether a frame is torch's own around a `step`, compiled or not."""
    code = frame.f_code
    return code.co_filename == _STEP.co_filename and _STEP.co_name in code.co_name


_STEP = Optimizer.profile_hook_step(lambda _: None).__code__


def _steps_above() -> int:
    """Count the calls of `step` among the callers, up to two."""
    found = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and found < 2:
        found += _wraps_step(frame)
        frame = frame.f_back
    return found


class Nesting:
    """Knows the outermost `step` under way, of the optimizers of one model.

    A subclass calls ``super().step()``, and an optimizer calls another's that it wraps: torch
    calls hooks for each. It calls none after a step that raised, which is then found to be no
    longer among the callers.

    Attributes
    ----------
    has_begun : bool
        Whether there was a step.
    depth : int
        How many calls of `step` are under way, as far as hooks tell.
    outermost : Steps or None
        What the hook of the outermost one calls.
    """

    __slots__ = ("depth", "has_begun", "outermost")

    def __init__(self) -> None:
        self.has_begun = False
        self.depth = 0
        self.outermost: Steps | None = None

    @property
    def is_inside(self) -> bool:
        """Whether a step is under way: only for what a `step` calls."""
        return self.depth > 0 and _steps_above() > 1


class Steps(Protocol):
    """What a `StepHook` calls. None of these may raise.

    Attributes
    ----------
    ends : bool
        Whether `after_step` is to be called.
    """

    ends: bool

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Read the gradients; return other arguments where a closure is among them."""

    def before_inner_step(self, args: Any, kwargs: Any) -> None:
        """Note that the step under way calls another `step`."""

    def after_step(self) -> None:
        """Do what is to be done after the step."""


class StepHook:
    """Hook that an optimizer calls before its `step`; `after` is the one for afterwards.

    A copy of the optimizer takes along a copy whose hook is disabled.

    Parameters
    ----------
    steps : Steps or None
        What is called; None in a copy.
    nesting : Nesting, optional
        Shared by the optimizers of one model.
    """

    def __init__(self, steps: Any = None, nesting: Nesting | None = None) -> None:
        self.steps = steps
        self._nesting = Nesting() if nesting is None else nesting
        disable: Any = torch.compiler.disable
        self._kept_before, self._kept_after = disable(self._before), disable(self._after)
        self._handles: list[Any] = []

    def attach(self, optimizer: Optimizer) -> None:
        """Have an optimizer call this, before all other hooks: they may change gradients."""
        before = optimizer.register_step_pre_hook(self)
        self._handles = [before, optimizer.register_step_post_hook(self.after)]
        hooks: Any = optimizer._optimizer_step_pre_hooks
        hooks.move_to_end(before.id, last=False)

    def is_on(self, optimizer: Optimizer) -> bool:
        """Return whether an optimizer still calls this: ``__init__`` forgets all hooks."""
        return self._handles[0].id in optimizer._optimizer_step_pre_hooks

    def remove(self) -> None:
        """Have it call this no more."""
        while self._handles:
            self._handles.pop().remove()

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """Read the gradients; return other arguments where a closure is among them."""
        # As `outside_compile`, with one call less.
        if is_dynamo_compiling() or _compiling() is not None:
            return self._kept_before(optimizer, args, kwargs)
        steps, nesting = self.steps, self._nesting
        if steps is not None and nesting.outermost is None:
            # As `_before` in the usual case, with one call less.
            nesting.has_begun, nesting.depth, nesting.outermost = True, 1, steps
            return steps.before_step(optimizer, args, kwargs)
        return self._before(optimizer, args, kwargs)

    def after(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        """Note that a `step` is done."""
        if is_dynamo_compiling():
            self._kept_after()
            return
        nesting = self._nesting
        outermost = nesting.outermost
        if nesting.depth == 1 and outermost is not None and not outermost.ends:
            # As `_after` in the usual case, which calls nothing that could be compiled.
            nesting.depth, nesting.outermost = 0, None
        else:
            self._kept_after()

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        steps, nesting = self.steps, self._nesting
        if steps is None:
            return None
        outermost = nesting.outermost
        if outermost is None or not nesting.is_inside:
            nesting.has_begun, nesting.depth, nesting.outermost = True, 1, steps
            return steps.before_step(optimizer, args, kwargs)
        nesting.depth += 1
        outermost.before_inner_step(args, kwargs)
        return None

    def _after(self) -> None:
        nesting = self._nesting
        nesting.depth -= 1
        if nesting.depth < 1 and (outermost := nesting.outermost) is not None:
            nesting.outermost = None
            if outermost.ends:
                outermost.after_step()

    def __reduce__(self) -> tuple[type["StepHook"], tuple[()]]:
        return StepHook, ()


REMEMBERED = 9

STALL = 10.0
"""A reading that took this many times the usual was interrupted (the machine was suspended)."""


class Stride:
    """Decides of each update whether its gradients are read; the first one's always are.

    Parameters
    ----------
    every : int, default 1
        Read each nth update, at the most.
    budget : float, optional
        Share of the run's time that reading may take, above 0 and below 1: the stride grows
        with what reading was measured to cost.
    clock : callable, default `time.perf_counter`
        Seconds.

    Attributes
    ----------
    seconds : float
        What reading took so far; the first reading, which also plans, left out.
    looks : int
        How many updates were read.
    found : bool
        Whether there was a gradient in one of them.
    always : bool
        Whether every update is read.

    Examples
    --------
    >>> stride = Stride(every=3)
    >>> [stride.due() for _ in range(7)]
    [True, False, False, True, False, False, True]
    """

    def __init__(
        self,
        every: int = 1,
        budget: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds = 0.0
        self.looks = 0
        self.found = False
        self._every = every
        self._budget = budget
        self.always = every == 1 and budget is None
        self._clock = clock
        self._decided: bool | None = None
        self._left = 1
        self._since = 0
        self._agreed: int | None = None
        self._begin = 0.0
        self._before: float | None = None
        self._spent_before = 0.0
        self._owed = 0.0
        self._costs: deque[float] = deque(maxlen=REMEMBERED)
        self._steps: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def coming(self) -> bool:
        """Whether the coming update is read; asked any number of times before it."""
        if self.always:
            return True
        if self._decided is None:
            # Most updates are left out: what they cost is one comparison.
            self._decided = self._left <= 1 and (self._budget is None or self._pays(self._budget))
        return self._decided

    def due(self) -> bool:
        """Count an update; return whether it is read."""
        if self.always:
            return True
        due, self._decided = self.coming, None
        self._since += 1
        self._left -= 1
        if due:
            self._since = 0
            self._left = self.wanted if self._agreed is None else self._agreed
        return due

    def _pays(self, budget: float) -> bool:
        """Return whether one more reading is paid for; note how long updates took."""
        now = self._clock()
        if self._before is None:
            self._begin = now
        elif self._owes(budget * (now - self._begin)):
            return False
        else:
            spent = self.seconds - self._spent_before
            self._steps.append((now - self._before - spent) / (self._since + 1))
        self._before, self._spent_before = now, self.seconds
        return True

    def _owes(self, allowed: float) -> bool:
        """Return whether one more reading would cost more than the time so far pays for.

        The stride goes by what reading usually costs; one that was held up costs more.
        Where ranks agreed on a stride all of them read the same updates, and none waits.
        """
        if self._agreed is not None or not self._costs:
            return False
        return self._owed + median(self._costs) > allowed

    @property
    def wanted(self) -> int:
        """Each how many updates are to be read, by what was measured."""
        if self._budget is None or not self._costs or not self._steps:
            return self._every
        share = self._budget * max(median(self._steps), 1e-9)
        return max(self._every, math.ceil(median(self._costs) / share))

    def agree(self, every: int) -> None:
        """Read each so many updates from the next one read on, whatever is wanted here."""
        self._agreed = every

    def spent(self, seconds: float) -> None:
        """Note the seconds that reading an update took."""
        self.looks += 1
        if self.looks > 1:
            self.seconds += seconds
            if self._budget is not None:
                self._costs.append(seconds)
                self._owed += min(seconds, STALL * median(self._costs))
