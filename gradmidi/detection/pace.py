"""When a run has stalled: how long its steps take, by the log's own seconds and no clock."""

import math
from collections import deque
from statistics import median

from gradmidi.detection.limits import Faults

__all__ = ["Pace"]

STEPS = 64
"""Steps whose median length counts."""

LEAST = 5
"""Steps before which nothing is known: the first ones may compile or fill a cache."""


class Pace:
    """Follows the times of steps and pauses.

    Parameters
    ----------
    limits : Faults
        How long is too long.

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
        self._last = math.nan
        self._since = math.inf
        self._told = math.inf
        self._paused = 0

    def step(self, t: float) -> None:
        """Take the time of a step, in the log's seconds."""
        length = t - self._last
        if length > 0.0 and self._since == self._last:
            self._steps.append(length)
        self._last = self._since = t
        self._told = math.inf

    def pause(self, t: float, begins: bool) -> None:
        """Take the begin or the end of a pause, in which no step is expected."""
        self._paused = max(0, self._paused + (1 if begins else -1))
        self._since = t
        self._told = math.inf

    def restart(self) -> None:
        """Expect no step until the next one has come, as where a run is taken up again."""
        self._last, self._since, self._told, self._paused = math.nan, math.inf, math.inf, 0

    @property
    def due(self) -> float:
        """When the run counts as stalled, or is told so again, unless a step comes; or inf."""
        if self._paused or len(self._steps) < LEAST or math.isinf(self._since):
            return math.inf
        if self._told < math.inf:
            return self._told + self._limits.remind
        usual = self._limits.stalled_steps * median(self._steps)
        return self._since + max(self._limits.stalled, usual)

    def tell(self, t: float) -> float:
        """Note that the run was told as stalled at `t`; return the seconds without a step."""
        self._told = t
        return t - self._since
