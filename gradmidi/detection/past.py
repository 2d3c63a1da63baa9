"""Each layer's own recent past, and the limits that follow from it: all on log norms.

A limit stands some factor above the largest, or below the median, of a window of frames. Both
are order statistics: they hold for noise of any shape (a batch of ten makes norms swing by
decades, but hardly above their own recent maximum), and a stray value cannot move them. The
window ends a block of frames ago, so that what rises over a few frames meets a limit that has
not risen with it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.limits import Faults

__all__ = ["BLOCK", "NONE", "Past", "logarithms"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLOCK = 16
"""Frames after which the limits are drawn anew."""

STRAYS = 2
"""Of a full window, how many of its largest norms do not count: spikes that were told."""

PREVIOUS = 4
"""A spike stands out from this many frames before it too, so that a rise is none."""

_TINY = 5e-324
NONE = math.log(_TINY)
"""The logarithm of a layer that has none: without a gradient, or one that is exactly zero."""


def logarithms(norms: Floats) -> Floats:
    """Take the natural logarithms of norms; `NONE` for zero and for none; nan and inf stay.

    Examples
    --------
    >>> logarithms(np.array([1.0, 0.0, -1.0, np.inf])).tolist()
    [0.0, -744.4400719213812, -744.4400719213812, inf]
    """
    logs: Floats = np.log(np.maximum(norms, _TINY))
    return logs


class Past:
    """Remembers each layer's recent norms and draws its limits from them.

    Parameters
    ----------
    layers : int
        How many there are.
    limits : Faults
        The factors, and the lengths of the window.

    Attributes
    ----------
    high : ndarray of float64, shape (layers,)
        Above this logarithm a layer may be exploding; inf before there is anything to go by.
    leap : ndarray of float64, shape (layers,)
        Above this one it is exploding at once; inf once there is a window to go by.
    spike : ndarray of float64, shape (layers,)
        Above this one it may have a spike.
    trigger : ndarray of float64, shape (layers,)
        The lower of the two.
    low : ndarray of float64, shape (layers,)
        Below this one it may be vanishing.
    middle : ndarray of float64, shape (layers,)
        The median of its window.
    faint : ndarray of bool, shape (layers,)
        Whether for two blocks of frames it was hardly there beside the largest layer, or had
        lost touch, while young, with the layer that fell least since its first norm.
    any_faint : bool
        Whether any was.
    floor : float
        Below this logarithm a layer vanishes whatever was before.
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
        """Forget everything, as where a run is taken up again."""
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
        """Take the frame that is judged next: a layer's first norm gives its first limits."""
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
        """Add a frame that was judged; return whether it is time to `draw`."""
        self._ring[self._at % self._rows] = logs
        self._at += 1
        return self._at % BLOCK == 0

    @property
    def is_first(self) -> bool:
        """Whether there is no more than one block yet."""
        return self._at <= BLOCK

    def largest(self, frames: int) -> Floats:
        """Find each layer's largest logarithm of the last frames."""
        last = np.arange(self._at - frames, self._at) % self._rows
        largest: Floats = self._ring[last].max(axis=0).astype(np.float64)
        return largest

    def stands_out(self, logs: Floats, factor: float) -> Bools:
        """Find the layers that are some power of the spike's factor above all before them."""
        least = factor * self._log_spike
        before = self.largest(min(PREVIOUS, self._at)) if self._at else logs
        above: Bools = (logs > self.spike + (least - self._log_spike)) & (logs > before + least)
        return above

    def draw(self, held: Bools | None) -> None:
        """Draw limits from all blocks but the last one, or from the first one by itself.

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
        # What is not finite is told at once and says nothing of what is usual.
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

    def _left_behind(self, block: NDArray[np.float32], usual: Bools) -> Bools:
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
        dim |= usual & self._left_behind(block, usual) & (self.faint | young)
        self.faint = dim & self._dim
        self.any_faint = bool(self.faint.any())
        self._dim = dim
