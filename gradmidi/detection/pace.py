"""The recent lengths of steps, and when a run counts as stalled."""

import math
from collections import deque
from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.kinds import Faults

__all__ = ["Pace"]

STEPS = 64
"""Steps whose median length counts."""

LEAST = 5
"""Steps needed before any length is judged: the first ones may compile or fill a cache."""

LONG_STEPS = 32
"""Long steps that are remembered, with the steps they came after."""

RHYTHM = 0.2
"""By which share of the usual distance a long step may come earlier or later."""

LONGER = 2.0
"""How many times as long as before a long step that comes when expected may be."""


class Pace:
    """The recent lengths of steps, and when the run counts as stalled.

    Long steps that come regularly (rollouts, an evaluation after each epoch) are expected: where
    a step follows an earlier long one at a distance, in steps, at which long ones followed each
    other before, it may be twice as long as they were. All times are the log's own seconds.

    Parameters
    ----------
    limits : Faults
        How long without a step is a fault.

    Examples
    --------
    >>> pace = Pace(Faults())
    >>> for t in range(10):
    ...     pace.step(float(t))
    >>> pace.due
    19.0
    """

    def __init__(self, limits: Faults) -> None:
        self._limits = limits
        self._steps: deque[float] = deque(maxlen=STEPS)
        self._count = 0
        # The count of steps before each long one, and its length.
        self._long: deque[tuple[int, float]] = deque(maxlen=LONG_STEPS)
        self._next = (-1, 0.0)  # The count of steps, and what is expected after it.
        self._last = math.nan
        self._since = math.inf
        self._reported = math.inf
        self._paused = 0

    def step(self, t: float) -> None:
        """Add a step at second `t`."""
        length = t - self._last
        if length > 0.0 and self._since == self._last:
            # Half of what is a fault is long too: lengths vary about the limit.
            long = length > 0.5 * self._limits.stalled and len(self._steps) >= LEAST
            if long and length > 0.5 * self._usual_limit:
                self._long.append((self._count, length))
            self._steps.append(length)
        self._count += 1
        self._last = self._since = t
        self._reported = math.inf

    def count_regular(self, t: NDArray[np.float64]) -> int:
        """Return how many of the next steps, at these seconds, come before any may be due."""
        due = np.diff(t, prepend=self._since) >= self._limits.stalled
        return int(due.argmax()) if due.any() else len(t)

    def add_regular(self, t: NDArray[np.float64]) -> None:
        """Add steps that `count_regular` counts."""
        lengths = np.diff(t)
        if lengths.max(initial=0.0) > 0.5 * self._limits.stalled:
            for each in t.tolist():
                self.step(each)
            return
        self.step(float(t[0]))
        self._steps.extend(lengths[lengths > 0.0][-STEPS:].tolist())
        self._count += len(lengths)
        self._last = self._since = float(t[-1])

    def pause(self, t: float, begins: bool) -> None:
        """Begin or end a pause, in which no step is expected."""
        self._paused = max(0, self._paused + (1 if begins else -1))
        self._since = t
        self._reported = math.inf

    def restart(self) -> None:
        """Forget the last step, as at the start of a new segment: expect no step by any time."""
        self._last, self._since, self._reported, self._paused = math.nan, math.inf, math.inf, 0

    def is_due(self, t: float) -> bool:
        """Return whether the run counts as stalled (again) at second `t`."""
        # The first comparison is nearly always false, and costs nothing.
        return t - self._since >= self._limits.stalled and t >= self.due

    @property
    def due(self) -> float:
        """The second at which the run counts as stalled (again) without a step; or inf."""
        if self._paused or len(self._steps) < LEAST or math.isinf(self._since):
            return math.inf
        if self._reported < math.inf:
            return self._reported + self._limits.remind
        if self._next[0] != self._count:
            self._next = self._count, self._expected()
        return self._since + max(self._usual_limit, LONGER * self._next[1])

    def report(self, t: float) -> float:
        """Record that `stalled` was reported at `t`; return the seconds without a step."""
        self._reported = t
        return t - self._since

    @property
    def _usual_limit(self) -> float:
        return max(self._limits.stalled, self._limits.stalled_steps * median(self._steps))

    def _expected(self) -> float:
        """Return the length of the longest long step that is to come now; 0 for none."""
        for length in sorted({length for _, length in self._long})[::-1]:
            # An evaluation and a longer one of every fifth epoch have a rhythm each, and the first
            # epoch begins with the run.
            series = [0, *(count for count, other in self._long if other >= length / LONGER)]
            for distance in {later - earlier for earlier, later in pairwise(series)}:
                slack = max(1.0, RHYTHM * distance)
                for place in (count + distance for count in series):
                    # Unless the one that was expected there has come.
                    if abs(self._count - place) <= slack < abs(series[-1] - place):
                        return length
        return 0.0
