"""When a run diverges: its loss against its own recent past.

A rate that is too high for a bounded network raises the loss while the norms hardly move: the
sigmoids are saturated, and what a layer learns from is small. Where a loss is logged it bears
witness.
"""

import math
from collections import deque
from statistics import median

from gradmidi.detection.limits import Faults
from gradmidi.detection.past import BLOCK

__all__ = ["LossPast"]

WINDOW = 64
"""Frames whose largest loss counts, but for the newest block: fewer than of the norms, since a
loss falls steadily."""

FALLEN = 0.8
"""The newest losses are this much lower than those before, where a run is learning fast."""


class LossPast:
    """Follows the loss, and tells while it is far above what it was.

    Only a loss that is positive throughout has a measure: of any other no multiple is taken.

    Parameters
    ----------
    limits : Faults
        How far above is too far, and for how many frames.

    Attributes
    ----------
    diverges : bool
        Whether the loss is, and stays, above its limit.

    Examples
    --------
    >>> past = LossPast(Faults())
    >>> for loss in (*[2.3] * 16, 9.0, 8.0, 9.5, 8.5):
    ...     past.add(loss)
    >>> past.diverges
    True
    """

    def __init__(self, limits: Faults) -> None:
        self._limits = limits
        self._recent: deque[float] = deque(maxlen=WINDOW + BLOCK)
        self._limit = math.inf
        self._seen = self._above = self._calm = self._lasted = 0
        self._before = 0.0
        self.diverges = False

    def restart(self) -> None:
        """Say that the run is taken up again: its loss goes on from where it was."""
        self._above = self._calm = self._lasted = 0
        self.diverges = False

    def add(self, loss: float | None) -> None:
        """Take a frame's loss; None, nan and inf say nothing."""
        if loss is None or not math.isfinite(loss):
            return
        limits = self._limits
        high = loss > self._limit
        self._above = min(max(self._above + (1 if high else -1), 0), 2 * limits.sustain)
        self._calm = 0 if high else self._calm + 1
        if self._above >= limits.sustain:
            self.diverges = True
        elif self._calm >= limits.clear:
            self.diverges = False
        self._lasted = self._lasted + 1 if self.diverges else 0
        self._recent.append(loss)
        self._seen += 1
        if self._seen == 1 or self._seen % BLOCK == 0:
            self._draw()

    def mark(self) -> None:
        """Say that norms have risen: what the loss was before is what `learns` goes by."""
        recent = self._recent
        self._before = median(recent) if recent and min(recent) > 0.0 else 0.0

    @property
    def learns(self) -> bool:
        """Whether the loss has fallen since `mark`: whatever rose then, the run is well with it."""
        newest = list(self._recent)[-BLOCK:]
        return bool(newest) and median(newest) < FALLEN * self._before

    @property
    def falls(self) -> bool:
        """Whether the run is learning fast: norms may rise then, as where it leaves a plateau."""
        recent = list(self._recent)
        usual = recent[:-BLOCK]
        if not usual or min(recent) <= 0.0:
            return False
        return median(recent[-BLOCK // 2 :]) < FALLEN * median(usual)

    def _draw(self) -> None:
        """Draw the limit: from the first loss, from the first block, then from all but the last."""
        limits = self._limits
        if self.diverges and self._lasted <= limits.relearn:
            return
        recent = list(self._recent)
        if min(recent) <= 0.0:
            self._limit = math.inf
            return
        # One loss says little of those to come.
        factor = limits.diverging * (limits.young if self._seen == 1 else 1.0)
        self._limit = factor * max(recent[:-BLOCK] or recent)
