"""The recent norms and losses of a run, and the limits that follow from it.

A limit is some factor above the largest value of a window of frames, or below its median. Both
are order statistics, so they hold for noise of any distribution (with batches of ten, norms
vary by decades but hardly exceed their own recent maximum), and one stray value cannot move them.
The window ends one block of frames ago: a norm that rises over a few frames meets a limit that
has not risen yet.
"""

import math
from collections import deque
from statistics import median

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.limits import Faults

__all__ = ["BLOCK", "NONE", "LossPast", "Past", "logarithms"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLOCK = 16
"""Frames after which the limits are set again."""

STRAYS = 2
"""How many of the largest norms of a full window are left out: spikes reported before."""

PREVIOUS = 4
"""A spike exceeds this many frames before it too, so that a steady rise is no spike."""

WINDOW = 64
"""Losses whose largest counts, without the newest block: fewer than of the norms, since a loss
falls steadily."""

FALLEN = 0.8
"""Where the newest losses are this much lower than those before, the run is learning fast."""

_TINY = 5e-324
NONE = math.log(_TINY)
"""In place of a logarithm: the layer has no gradient, or one that is exactly zero."""


def logarithms(norms: Floats) -> Floats:
    """Return the natural logarithms of norms, `NONE` for zero or no gradient; nan and inf stay.

    Examples
    --------
    >>> logarithms(np.array([1.0, 0.0, -1.0, np.inf])).tolist()
    [0.0, -744.4400719213812, -744.4400719213812, inf]
    """
    logs: Floats = np.log(np.maximum(norms, _TINY))
    return logs


class Past:
    """Each layer's recent log norms, and the limits that follow from them.

    Parameters
    ----------
    layers : int
        How many there are.
    limits : Faults
        The factors, and the lengths of the window.

    Attributes
    ----------
    high : ndarray of float64, shape (layers,)
        Above this logarithm a layer may be exploding; inf before its first norm.
    leap : ndarray of float64, shape (layers,)
        Above this one it is exploding at once; inf once there is a window.
    spike : ndarray of float64, shape (layers,)
        Above this one it may have a spike.
    trigger : ndarray of float64, shape (layers,)
        The lower of the two.
    low : ndarray of float64, shape (layers,)
        Below this one it may be vanishing.
    middle : ndarray of float64, shape (layers,)
        The median of its window.
    faint : ndarray of bool, shape (layers,)
        Whether over two blocks of frames it was far below the largest layer, or fell far below
        the steadiest layer in its first 64 frames (``growing``).
    any_faint : bool
        Whether any was.
    floor : float
        Below this logarithm a layer is vanishing whatever its past.
    """

    def __init__(self, layers: int, limits: Faults) -> None:
        self._limits = limits
        self._layers = layers
        self._rows = (max(1, limits.window // BLOCK) + 1) * BLOCK
        self._log_high = math.log(limits.exploding)
        self._log_young = math.log(limits.young)
        self._log_spike = math.log(limits.spike)
        self._log_low = math.log(limits.vanishing)
        self._log_early = math.log(limits.early)
        self._log_leap = math.log(limits.leap)
        self._log_faint = math.log(limits.faint)
        self._ceiling = math.log(limits.ceiling)
        self.floor = math.log(limits.floor)
        self.restart()

    def restart(self) -> None:
        """Forget everything, as at the start of a new segment."""
        layers = self._layers
        self._ring = np.full((self._rows, layers), NONE, np.float32)
        self._at = 0
        self._age = np.zeros(layers, np.int64)
        self._met = np.zeros(layers, np.bool_)
        self._first = np.full(layers, np.nan)
        self._all_met = False
        self._dim = np.zeros(layers, np.bool_)
        self.high = np.full(layers, np.inf)
        self.leap = np.full(layers, np.inf)
        self.spike = np.full(layers, np.inf)
        self.trigger = np.full(layers, np.inf)
        self.low = np.full(layers, -np.inf)
        self.middle = np.full(layers, np.nan)
        self.faint = np.zeros(layers, np.bool_)
        self.any_faint = False

    def meet(self, logs: Floats) -> None:
        """Set a layer's first limits from its first norm, before the frame is judged."""
        if self._all_met:
            return
        new = ~self._met & (logs > NONE) & (logs < np.inf)
        if new.any():
            self.high[new] = np.minimum(logs[new] + self._log_early, self._ceiling)
            self.leap[new] = logs[new] + self._log_leap
            self.low[new] = np.maximum(logs[new] - self._log_early, self.floor)
            self.middle[new] = self._first[new] = logs[new]
            np.minimum(self.high, self.spike, out=self.trigger)
            self._met |= new
            self._all_met = bool(self._met.all())

    def add(self, logs: Floats) -> bool:
        """Add a frame that was judged; return whether it is time to `set_limits`."""
        self._ring[self._at % self._rows] = logs
        self._at += 1
        return self._at % BLOCK == 0

    @property
    def is_first(self) -> bool:
        """Whether there is no more than one block yet."""
        return self._at <= BLOCK

    def largest(self, frames: int) -> Floats:
        """Return each layer's largest logarithm over the last frames."""
        last = np.arange(self._at - frames, self._at) % self._rows
        largest: Floats = self._ring[last].max(axis=0).astype(np.float64)
        return largest

    def stands_out(self, logs: Floats, factor: float) -> Bools:
        """Find the layers that are some power of the spike's factor above all before them."""
        least = factor * self._log_spike
        before = self.largest(min(PREVIOUS, self._at)) if self._at else logs
        above: Bools = (logs > self.spike + (least - self._log_spike)) & (logs > before + least)
        return above

    def set_limits(self, held: Bools | None) -> None:
        """Set the limits from all blocks but the newest, or from the first one alone.

        Parameters
        ----------
        held : ndarray of bool, shape (layers,), or None
            Layers whose limits stay as they are, because they are beyond them.
        """
        block = (self._at - 1) % self._rows // BLOCK
        newest = slice(block * BLOCK, (block + 1) * BLOCK)
        self._find_faint(self._ring[newest].max(axis=0), held)
        if self.is_first:
            table = self._ring[newest].T.copy()
        else:
            table = np.delete(self._ring, newest, axis=0).T.copy()
        # nan and inf are reported at once and are no part of what is usual.
        table[~np.isfinite(table)] = NONE
        count = (table > np.float32(NONE) + 1.0).sum(axis=1)
        table.sort(axis=1)
        width = table.shape[1]
        strays = np.where(count >= 4 * BLOCK, STRAYS, 0)
        known = count >= BLOCK // 2
        rows = np.arange(self._layers)
        largest = table[rows, np.maximum(width - 1 - strays, 0)].astype(np.float64)
        middle = table[rows, width - 1 - np.maximum(count - 1, 0) // 2].astype(np.float64)
        self._age = np.where(known, np.maximum(self._age, count), self._age)
        if held is not None:
            known &= ~held
        young = self._age < min(self._limits.growing, width)
        high = largest + self._log_high + np.where(young, self._log_young, 0.0)
        np.copyto(self.high, np.minimum(high, self._ceiling), where=known)
        self.leap[known] = np.inf
        swing = np.maximum(self._log_spike, self._limits.swing * (largest - middle))
        np.copyto(self.spike, largest + swing, where=known)
        np.copyto(self.low, np.maximum(middle - self._log_low, self.floor), where=known)
        np.copyto(self.middle, middle, where=known)
        np.minimum(self.high, self.spike, out=self.trigger)

    def _fell_behind(self, block: NDArray[np.float32], usual: Bools) -> Bools:
        """Find the layers that fell much further since their first norm than the steadiest."""
        fall = np.subtract(self._first, block, where=usual, out=np.full(self._layers, -np.inf))
        least = max(0.0, float(fall.min(initial=np.inf, where=usual)))
        left: Bools = fall >= least + self._log_low
        return left

    def _find_faint(self, block: NDArray[np.float32], held: Bools | None) -> None:
        there = np.isfinite(block) & (block > np.float32(NONE) + 1.0)
        # Beside a layer that explodes the others are not faint.
        usual = there if held is None else there & ~held
        largest = block[usual].max(initial=-np.inf)
        dim = there & (block < largest + self._log_faint)
        young = self._age < self._limits.growing
        dim |= usual & self._fell_behind(block, usual) & (self.faint | young)
        self.faint = dim & self._dim
        self.any_faint = bool(self.faint.any())
        self._dim = dim


class LossPast:
    """The recent losses, and whether the loss stays far above them; the same for other values.

    Only losses that are all positive are judged: the limits are multiples.

    Parameters
    ----------
    limits : Faults
        How far above is a fault, and for how many frames.
    times : float, optional
        How many times the largest recent one is far above; by default ``limits.diverging``.

    Attributes
    ----------
    high : bool
        Whether the newest loss is above its limit.
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

    def __init__(self, limits: Faults, times: float | None = None) -> None:
        self._limits = limits
        self._times = times or limits.diverging
        self.high = False
        self._recent: deque[float] = deque(maxlen=WINDOW + BLOCK)
        self._limit = math.inf
        self._seen = self._above = self._calm = self._lasted = 0
        self._before = 0.0
        self.diverges = False

    def restart(self) -> None:
        """Begin a new segment of the run: its losses continue, what was judged does not."""
        self._above = self._calm = self._lasted = 0
        self.diverges = False

    def add(self, loss: float | None) -> None:
        """Add a frame's loss; None, nan and inf are left out."""
        if loss is None or not math.isfinite(loss):
            return
        limits = self._limits
        high = self.high = loss > self._limit
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
            self._set_limit()

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
    def falls(self) -> bool:
        """Whether the loss falls fast: norms may rise then, as when a run leaves a plateau."""
        recent = list(self._recent)
        usual = recent[:-BLOCK]
        if not usual or min(recent) <= 0.0:
            return False
        return median(recent[-BLOCK // 2 :]) < FALLEN * median(usual)

    def _set_limit(self) -> None:
        """Set the limit from the first loss, then the first block, then all but the last block."""
        limits = self._limits
        if self.diverges and self._lasted <= limits.relearn:
            return
        recent = list(self._recent)
        if min(recent) <= 0.0:
            self._limit = math.inf
            return
        # A single loss says little about the next ones: allow more.
        factor = self._times * (limits.young if self._seen == 1 else 1.0)
        self._limit = factor * max(recent[:-BLOCK] or recent)
