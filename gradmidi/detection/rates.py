"""Find learning rates that are too high, from the sizes of updates and the loss.

A norm and a loss alone do not tell a rate at which nothing is learnt: both may hardly move. An
update's size, as a share of the weights, does: about 1e-3 is usual, and of all layers the median
is judged here. Limits were chosen on the set ``tuned`` of ``benchmarks/rates.py``.
"""

import math
from collections import deque
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.kinds import RUN, Finding
from gradmidi.log import Frame

__all__ = ["Rate", "middle"]

KIND = "overshooting"

FIRST = 0.5
"""A first update of half of the weights leaves nothing of how they were initialised. Adam's first
update is large by itself."""

LATER = 0.15
"""The same of any later update."""

GROWN, FROM = 4.0, 0.03
"""So many times the largest update before, and at least this: the loss follows soon."""

LARGE = 0.1
"""After an update of this size the loss is observed."""

WAIT, RECENT = 48, 16
"""Frames with a loss after which it has to have fallen; the mean of the last ones is compared."""

FALLEN = 0.95
"""A loss has fallen if it is below this share of the first one."""

SMALL, CALM = 0.05, 8
"""So many updates in a row below this size end the fault: it may be reported again."""

KNOWN = 3
"""Updates that have to be known before one can have grown."""


def middle(updates: NDArray[np.float64]) -> float:
    """Return the median of the sizes of updates that were measured; nan if none was."""
    present = updates[np.isfinite(updates) & (updates >= 0.0)]
    return float(np.median(present)) if present.size else math.nan


class Rate:
    """Finds updates that are too large to learn from; judges frames that have their sizes.

    Examples
    --------
    >>> rate = Rate()
    >>> rate.add(Frame(1, 0.1, np.array([1.0, 1.0]), updates=np.array([0.001, 0.002])))
    ()
    >>> rate.add(Frame(11, 1.1, np.array([1.0, 1.0]), updates=np.array([0.3, 0.2])))
    (Finding(kind='overshooting', layer=-1, step=11, value=0.25),)
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new segment of the run."""
        self._judged = self._sizes = 0
        self._largest = 0.0
        self._calm = 0
        self._is_reported = False
        self._first = math.nan
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._waits = 0
        self._size = 0.0

    def add(self, frame: Frame) -> tuple[Finding, ...]:
        """Take a frame, or the same one again with what was logged late; return what is wrong."""
        loss = frame.loss
        found = self._losses(loss) if loss is not None else False
        if frame.updates is not None and self._judged != frame.step:
            self._judged = frame.step
            size = middle(frame.updates)
            if not math.isnan(size):
                found |= self._updates(size)
        if not found or self._is_reported:
            return ()
        self._is_reported, self._waits = True, 0
        return (Finding(KIND, RUN, frame.step, self._size),)

    @property
    def waits(self) -> bool:
        """Whether the next losses are judged, or the first one is not known yet."""
        return self._waits > 0 or math.isnan(self._first)

    def count_small(self, sizes: Sequence[float]) -> int:
        """Return how many updates come before one that may be too large; nan: none measured."""
        if not self._sizes:
            return 0
        return next((at for at, size in enumerate(sizes) if size >= FROM), len(sizes))

    def take(self, losses: Sequence[float], sizes: Sequence[float], step: int) -> None:
        """Take the losses and the small updates of frames while it does not wait.

        `step` is that of the last update.
        """
        self._recent.extend(losses[-RECENT:])
        for size in sizes:
            self._judged = step
            if not math.isnan(size):
                self._updates(size)

    def _updates(self, size: float) -> bool:
        first, known = self._sizes == 0, self._sizes > KNOWN
        self._sizes += 1
        self._calm = self._calm + 1 if size < SMALL else 0
        if self._calm >= CALM:
            self._is_reported = False
        if size >= LARGE:
            self._size = max(self._size, size) if self._waits else size
            self._waits = self._waits or WAIT
        if first:
            return size >= FIRST
        grown = known and size >= max(FROM, GROWN * self._largest)
        self._largest = max(self._largest, size)
        if size >= LATER or grown:
            self._size = size
            return True
        return False

    def _losses(self, loss: float) -> bool:
        if math.isnan(self._first):
            self._first = loss
        self._recent.append(loss)
        if not self._waits:
            return False
        self._waits -= 1
        return not self._waits and fmean(self._recent) > self._first - (1.0 - FALLEN) * abs(
            self._first
        )
