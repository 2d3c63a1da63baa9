"""Which steps are looked at: every nth, or as many as a share of the run's time pays for."""

import math
import time
from collections import deque
from collections.abc import Callable
from statistics import median

__all__ = ["Stride"]

REMEMBERED = 9

STALL = 10.0
"""A look that took this many times the usual was stopped, as by a closed lid: it cost no more."""


class Stride:
    """Tells of each step whether to look at it; the first always is.

    Parameters
    ----------
    every : int, default 1
        Look at each nth step, at the most.
    budget : float, optional
        Share of the run's time that looking may take, above 0 and below 1: the stride grows
        with what looking was measured to cost.
    clock : callable, default `time.perf_counter`
        Seconds.

    Attributes
    ----------
    seconds : float
        What looking took so far; the first look, which also plans, left out.
    looks : int
        How many steps were looked at.
    always : bool
        Whether every step is to be looked at, so that `due` need not be asked.

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
        self._every = every
        self._budget = budget
        self.always = every == 1 and budget is None
        self._clock = clock
        self._left = 1
        self._since = 0
        self._agreed: int | None = None
        self._begin = 0.0
        self._before: float | None = None
        self._spent_before = 0.0
        self._owed = 0.0
        self._costs: deque[float] = deque(maxlen=REMEMBERED)
        self._steps: deque[float] = deque(maxlen=REMEMBERED)

    def due(self) -> bool:
        """Count a step; tell whether to look at it."""
        if self.always:
            return True
        self._since += 1
        self._left -= 1
        # Most steps are left out: what they cost is one comparison.
        if self._left > 0 or (self._budget is not None and not self._pays(self._budget)):
            return False
        self._left = self.wanted if self._agreed is None else self._agreed
        return True

    def _pays(self, budget: float) -> bool:
        """Tell whether one more look is paid for, and how long steps took since the last one."""
        now = self._clock()
        if self._before is None:
            self._begin = now
        elif self._owes(budget * (now - self._begin)):
            return False
        else:
            spent = self.seconds - self._spent_before
            self._steps.append((now - self._before - spent) / self._since)
        self._before, self._spent_before, self._since = now, self.seconds, 0
        return True

    def _owes(self, allowed: float) -> bool:
        """Tell whether one more look would be more than the time so far pays for.

        The stride goes by what looking usually costs; a look that was held up costs more.
        Where ranks agreed on a stride all of them look at the same steps, and none waits.
        """
        if self._agreed is not None or not self._costs:
            return False
        return self._owed + median(self._costs) > allowed

    @property
    def wanted(self) -> int:
        """Each how many steps to look, by what was measured."""
        if self._budget is None or not self._costs or not self._steps:
            return self._every
        share = self._budget * max(median(self._steps), 1e-9)
        return max(self._every, math.ceil(median(self._costs) / share))

    def agree(self, every: int) -> None:
        """Look each so many steps from the next look on, whatever is wanted here."""
        self._agreed = every

    def spent(self, seconds: float) -> None:
        """Take what looking at a step took."""
        self.looks += 1
        if self.looks > 1:
            self.seconds += seconds
            if self._budget is not None:
                self._costs.append(seconds)
                self._owed += min(seconds, STALL * median(self._costs))
