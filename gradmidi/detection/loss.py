"""The recent losses of a run, and whether the loss stays above what it was."""

import math
from collections import deque
from collections.abc import Sequence
from copy import copy
from operator import ge
from statistics import median

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gradmidi.detection.kinds import Faults
from gradmidi.detection.past import BLOCK

__all__ = ["LossPast"]

WINDOW = 64
"""Losses that say what is usual, without the newest block: fewer than of the norms, since a loss
falls steadily."""

FALLEN = 0.8
"""Where the newest losses are this much lower than those before, the run is learning fast."""

SEVERAL, MANY = 6, 12
"""Losses above a limit, less those below it, after which the level has changed."""

KNOWN = 96
"""Losses after which the level is judged: by then it is known how far it moves by itself."""

AGAIN = 2.0
"""A learning rate that rises by this factor, to one that the run has had, begins a new cycle."""

LEARNT_MUCH = 0.4
"""After a loss was below this share of the first ones, one above the first ones is a fault."""

LEARNT = 1e-4
"""A loss below this share of the first ones: the data is learnt by heart."""


class LossPast:
    """The recent losses, and whether the loss stays far above them; the same for other values.

    Four limits are judged: a few losses far above the largest of the window; several that are
    above it and far above its median; as small batches make single losses vary, many that are
    above nine tenths of the window and twice its median; and, as a loss may rise slowly, many that
    are above the first ones after the loss had fallen far. The last three allow what the level has
    moved by itself before: a loss that rises and falls, as that of reinforcement learning does, is
    no measure of success.

    Only losses that are all positive are judged: the limits are multiples.

    Parameters
    ----------
    limits : Faults
        How far above is a fault, and for how many frames.
    times : float, optional
        How many times what is usual is far above; by default ``limits.diverging``.

    Attributes
    ----------
    high : bool
        Whether the newest loss is far above the largest of the window.
    diverges : bool
        Whether the loss is, and stays, above a limit.
    since, until : int
        The step at which it rose, and the last one at which it was above a limit.

    Examples
    --------
    >>> past = LossPast(Faults())
    >>> for step, loss in enumerate((*[2.3] * 16, 9.0, 8.0, 9.5, 8.5)):
    ...     past.add(loss, step)
    >>> past.diverges, past.since
    (True, 16)
    """

    def __init__(self, limits: Faults, times: float | None = None) -> None:
        self._limits = limits
        self._times = times or limits.diverging
        self.high = False
        self._recent: deque[float] = deque(maxlen=WINDOW + BLOCK)
        # Losses above each limit, less those below it, before it is a fault.
        self._needed = (limits.sustain, SEVERAL, MANY, WINDOW)
        self._limits_now = [math.inf] * len(self._needed)
        self._above = [0] * len(self._needed)
        self._seen = self._calm = self._lasted = 0
        self._before = self._first = 0.0
        self._lowest, self._peak, self._risen = math.inf, 0.0, 1.0
        self._usual = math.nan
        self._swing = self._newest_swing = 1.0
        self._recovered = 0.0
        self._rose = self._excused = 0
        self._rates: deque[float] = deque(maxlen=BLOCK)
        self._highest_rate = 0.0
        self.diverges = False
        self.since = self.until = 0

    def restart(self) -> None:
        """Begin a new segment of the run: its losses continue, what was judged does not."""
        self._above = [0] * len(self._needed)
        self._calm = self._lasted = 0
        self.diverges = False
        self.excuse()

    def excuse(self) -> None:
        """Do not judge the level for a while: the run was taken up again, or more layers learn."""
        self._excused = WINDOW

    def set_rate(self, rate: float) -> None:
        """Take a frame's learning rate: a new cycle of a schedule raises the loss."""
        rates = self._rates
        if rates and AGAIN * min(rates) <= rate <= self._highest_rate:
            self.excuse()
        if len(rates) == BLOCK:
            self._highest_rate = max(self._highest_rate, rates[0])
        rates.append(rate)

    def add(self, loss: float | None, step: int) -> None:
        """Add a frame's loss; None, nan and inf are left out."""
        if loss is None or not math.isfinite(loss):
            return
        now = self._limits_now
        if self._excused > 0:
            self._excused -= 1
            now = [now[0], *[math.inf] * (len(now) - 1)]
        self.high = loss > now[0]
        high = loss > min(now)
        counting = any(self._above)
        if high or counting or self.diverges:
            self._judge(now, high, counting, loss, step)
        else:
            self._calm, self._lasted = self._calm + 1, 0
        self._recent.append(loss)
        self._seen += 1
        if self._seen == 1 or self._seen % BLOCK == 0:
            self._set_limits()

    def copy(self) -> "LossPast":
        """Return a past that goes on from here by itself."""
        other = copy(self)
        other._recent, other._rates = self._recent.copy(), self._rates.copy()
        other._above, other._limits_now = self._above.copy(), self._limits_now.copy()
        return other

    def take(self, losses: Sequence[float]) -> int:
        """Add the first of these finite losses, in which nothing is wrong; return how many."""
        if not self._seen or self._excused or self.diverges or any(self._above):
            return 0
        taken = 0
        while taken < len(losses):
            some = losses[taken : taken + BLOCK - self._seen % BLOCK]
            if max(some) > min(self._limits_now):
                break
            self.high = False
            self._calm, self._lasted = self._calm + len(some), 0
            self._recent.extend(some)
            self._seen += len(some)
            if self._seen % BLOCK == 0:
                self._set_limits()
            taken += len(some)
        return taken

    def take_rates(self, rates: Sequence[float]) -> int:
        """Add the first of these learning rates, which begin no cycle; return how many."""
        if not rates or len(self._rates) < BLOCK:
            return 0
        known = np.array([*self._rates, *rates])
        least = sliding_window_view(known[:-1], BLOCK).min(axis=1)
        highest = np.maximum.accumulate([self._highest_rate, *known[: len(rates)]])
        begins = (AGAIN * least <= known[BLOCK:]) & (known[BLOCK:] <= highest[:-1])
        taken = int(begins.argmax()) if begins.any() else len(rates)
        self._highest_rate = float(highest[taken])
        self._rates.extend(rates[:taken])
        return taken

    def _judge(
        self, now: Sequence[float], high: bool, counting: bool, loss: float, step: int
    ) -> None:
        """Count a loss above a limit, or one that follows such."""
        limits = self._limits
        if high and not counting:
            self._rose = step
        if high or counting:
            self._above = [
                min(max(above + (1 if loss > limit else -1), 0), 2 * needed)
                for above, limit, needed in zip(self._above, now, self._needed, strict=True)
            ]
        if high:
            self._calm, self.until = 0, step
        else:
            self._calm += 1
        if self._calm >= limits.clear:
            if self.diverges and self._lasted <= WINDOW:
                self._recover()
            self._above = [0] * len(self._needed)
            self.diverges = False
        elif any(map(ge, self._above, self._needed)):
            if not self.diverges:
                self.since = self._rose
            self.diverges = True
        self._lasted = self._lasted + 1 if self.diverges else 0

    def mark(self) -> None:
        """Keep the median loss as it is now, before norms rise, for `learns`."""
        recent = self._recent
        self._before = median(recent) if recent and min(recent) > 0.0 else 0.0

    @property
    def learns(self) -> bool:
        """Whether the loss has fallen since `mark`, so that norms which rose do no harm."""
        newest = list(self._recent)[-BLOCK:]
        return bool(newest) and median(newest) < FALLEN * self._before

    @property
    def learnt(self) -> bool:
        """Whether nothing is left to learn: gradients vanish with the loss, or are zero."""
        newest = list(self._recent)[-BLOCK // 2 :]
        return bool(newest) and 0.0 <= median(newest) <= LEARNT * self._first

    @property
    def fall(self) -> float:
        """The logarithm of how many times as large the loss was; 0 for less than a decade."""
        recent = list(self._recent)
        if len(recent) < BLOCK or min(recent) <= 0.0:
            return 0.0
        fall = math.log(median(recent[:BLOCK]) / median(recent[-BLOCK // 2 :]))
        return fall if fall >= math.log(10.0) else 0.0

    @property
    def falls(self) -> bool:
        """Whether the newest losses are clearly below those before, by however little."""
        recent = list(self._recent)
        usual = sorted(recent[:-BLOCK])
        return bool(usual) and median(recent[-BLOCK // 2 :]) < usual[len(usual) // 4]

    @property
    def falls_fast(self) -> bool:
        """Whether the loss falls fast: norms may rise then, as when a run leaves a plateau."""
        recent = list(self._recent)
        usual = recent[:-BLOCK]
        if not usual or min(recent) <= 0.0:
            return False
        return median(recent[-BLOCK // 2 :]) < FALLEN * median(usual)

    def _set_limits(self) -> None:
        """Set the limits from the first loss, then the first block, then all but the last block."""
        limits = self._limits
        if self.diverges and self._lasted <= limits.relearn:
            self._newest_swing = 1.0
            return
        recent = list(self._recent)
        if min(recent) <= 0.0:
            self._limits_now = [math.inf] * len(self._needed)
            return
        if self._seen <= BLOCK:
            self._first = median(recent)
        usual = sorted(recent[:-BLOCK] or recent)
        # A single loss says little about the next ones: allow more.
        factor = self._times * (limits.young if self._seen == 1 else 1.0)
        self._follow_level(recent)
        self._usual = median(usual)
        level = self._times * self._swing * self._usual
        self._limits_now[0] = max(factor * usual[-1], level)
        if self._seen >= KNOWN:
            self._limits_now[1] = max(usual[-1], self._times * level)
            self._limits_now[2] = max(usual[(9 * len(usual)) // 10], level)
            self._limits_now[3] = self._worse_than_first()

    def _worse_than_first(self) -> float:
        """Return above which loss all is lost that was learnt; inf if little was.

        A rise as large as one from which the loss recovered by itself is none.
        """
        self._lowest, self._peak = min(self._lowest, self._usual), max(self._peak, self._usual)
        if self._usual < 0.5 * self._peak:
            self._risen, self._peak = max(self._risen, self._peak / self._lowest), self._usual
        if self._lowest > LEARNT_MUCH * self._first:
            self._peak = self._usual
            return math.inf
        return max(self._swing * self._first, 2.0 * self._risen * self._lowest)

    def _recover(self) -> None:
        """Learn from a rise that was over soon; one of its size, after two, is nothing unusual."""
        rise = sorted(list(self._recent)[-self._lasted :])[-self._limits.sustain :][0] / self._usual
        if self._recovered:
            self._swing = max(self._swing, min(rise, self._recovered))
        self._recovered = max(self._recovered, rise)

    def _follow_level(self, recent: list[float]) -> None:
        """Learn how far the level of a block moves above what was usual, where that is no fault."""
        if self._seen < 2 * BLOCK or math.isnan(self._usual):
            return
        # The newest block may be the beginning of a fault.
        self._swing = max(self._swing, self._newest_swing)
        self._newest_swing = sorted(recent[-BLOCK:])[BLOCK // 4] / self._usual
