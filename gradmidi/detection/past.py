"""The recent norms of a run, and the limits that follow from them.

A limit is some factor above the largest value of a window of frames, or below its median. Both
are order statistics, so they hold for noise of any distribution (with batches of ten, norms
vary by decades but hardly exceed their own recent maximum), and one stray value cannot move them.
The window ends one block of frames ago: a norm that rises over a few frames meets a limit that
has not risen yet.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.kinds import Faults
from gradmidi.detection.lasting import nearest_input

__all__ = ["BLOCK", "NONE", "Past", "logarithms"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BLOCK = 16
"""Frames after which the limits are set again."""

STRAYS = 2
"""How many of the largest norms of a full window are left out: spikes reported before."""

PREVIOUS = 4
"""A spike exceeds this many frames before it too, so that a steady rise is no spike."""

SHARE = 0.05
"""A layer below this share of the usual norm of the largest one carries nothing: it does not
explode, however far it rose. While the loss falls, or of a layer that began small, that holds up to
all of that norm; of a layer that began small while the loss falls, up to six times that norm
(``exploding``)."""

SMALL = 1e-4
"""A layer began small whose first norm was zero, or below this share of the largest one's: a
branch that begins at zero, or a layer that wakes as the run leaves a plateau."""

RISING = 1.5
"""A layer rises whose largest norm in a block of frames is this many times that of the last."""

MARGIN = 1e-3
"""More than what rounding can change of a logarithm."""

_all = np.logical_and.reduce

_TINY = 5e-324
NONE = math.log(_TINY)
"""In place of a logarithm: the layer has no gradient, or one that is exactly zero."""

NEARLY_NONE = np.float32(NONE) + np.float32(1.0)
"""Above this, a logarithm is one of a norm."""


def _most(blocks: Floats) -> Floats:
    """Return the largest of each eight blocks in a row: a window."""
    for distance in (1, 2, 4):
        blocks = np.maximum(blocks[:-distance], blocks[distance:])
    return blocks


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
    sizes : sequence of int
        How many parameters each layer has; 0 where that is not known.

    Attributes
    ----------
    high : ndarray of float64, shape (layers,)
        Above this logarithm a layer may be exploding; inf before its first norm.
    level : ndarray of float64, shape (layers,)
        Above this one most norms of a block are not, however much single ones vary.
    leap : ndarray of float64, shape (layers,)
        Above this one it is exploding at once; inf once there is a window.
    spike : ndarray of float64, shape (layers,)
        Above this one it may have a spike.
    trigger : ndarray of float64, shape (layers,)
        The lowest of these.
    low : ndarray of float64, shape (layers,)
        Below this one it may be vanishing.
    middle : ndarray of float64, shape (layers,)
        The median of its window.
    faint : ndarray of bool, shape (layers,)
        Whether over two blocks of frames it was far below the largest layer, also per parameter,
        as all layers nearer the input were, and did not rise; or fell far below the steadiest in
        its first 64 frames (``growing``).
    any_faint : bool
        Whether any was.
    floor : float
        Below this logarithm a layer is vanishing whatever its past.
    """

    def __init__(self, layers: int, limits: Faults, sizes: Sequence[int] = ()) -> None:
        self._limits = limits
        self._layers = layers
        # A norm less this is, in logarithms, the root mean square over the layer's parameters.
        known = len(sizes) == layers and all(sizes)
        self._extent = 0.5 * np.log(sizes) if known else np.zeros(layers)
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
        self._unusual = np.zeros((self._rows, layers), np.bool_)
        self._usual = np.full((self._rows, layers), NONE, np.float32)
        self._quarters = np.full((self._rows // BLOCK, layers), NONE, np.float32)
        self._any_unusual = False
        self._at = 0
        self._age = np.zeros(layers, np.int64)
        self._met = np.zeros(layers, np.bool_)
        self._first = np.full(layers, np.nan)
        self._all_met = False
        self._small = np.zeros(layers, np.bool_)
        self._dim = np.zeros(layers, np.bool_)
        self._bright = np.zeros(layers, np.bool_)
        self._block = np.full(layers, NONE, np.float32)
        self.high = np.full(layers, np.inf)
        self.level = np.full(layers, np.inf)
        self.leap = np.full(layers, np.inf)
        self.spike = np.full(layers, np.inf)
        self.trigger = np.full(layers, np.inf)
        self.low = np.full(layers, -np.inf)
        self.middle = np.full(layers, np.nan)
        self.faint = np.zeros(layers, np.bool_)
        self.any_faint = False

    def meet(self, logs: Floats, norms: Floats) -> bool:
        """Set a layer's first limits from its first norm, before the frame is judged.

        Returns whether there was such a layer.
        """
        if self._all_met:
            return False
        self._small |= ~self._met & (norms == 0.0)
        new = ~self._met & (logs > NONE) & (logs < np.inf)
        if new.any():
            self.high[new] = np.minimum(logs[new] + self._log_early, self._ceiling)
            self.level[new] = self.high[new]
            self.leap[new] = logs[new] + self._log_leap
            self.low[new] = np.maximum(logs[new] - self._log_early, self.floor)
            self.middle[new] = self._first[new] = logs[new]
            np.minimum(self.high, self.spike, out=self.trigger)
            self._small |= new & (logs < self._largest_usual(logs < np.inf) + math.log(SMALL))
            self._met |= new
            self._all_met = bool(self._met.all())
        return bool(new.any())

    def is_usual(self, logs: Floats) -> bool:
        """Return whether every layer has a norm within its limits, so that nothing is wrong."""
        if self.any_faint or not self._all_met:
            return False
        return bool(_all((logs >= self.low) & (logs <= self.trigger), axis=None))

    def take(self, norms: Floats) -> int:
        """Add the first of these frames that are usual, in whole blocks; return how many.

        The first one begins a block, and nothing was wrong before it.
        """
        count, width = len(norms) // BLOCK, self._layers
        if not width:
            self._at += count * BLOCK
            return count * BLOCK
        usual = self._surely_usual(norms[: count * BLOCK].reshape(count, BLOCK, width))
        taken = 0
        while taken < count and self.is_usual(logarithms(norms[taken * BLOCK :][:BLOCK])):
            end = taken + 1
            if usual[0, taken]:
                end += int(np.append(usual[:, end:].all(axis=0), False).argmin())
            # The limits follow from these.
            begin = max(taken, end - len(self._quarters))
            self._at += (begin - taken) * BLOCK
            self._add_blocks(logarithms(norms[begin * BLOCK : end * BLOCK]))
            self.set_limits(None)
            taken = end
        return taken * BLOCK

    def _surely_usual(self, blocks: Floats) -> Bools:
        """Find the blocks in which nothing can be wrong, without setting the limits at each.

        The first row says in which no layer is far below another, the second in which every norm
        is within the limits, if these follow from the blocks before.
        """
        count = len(blocks)
        if not self._is_full:
            return np.zeros((2, count), np.bool_)
        quarters = blocks.reshape(count, 4, BLOCK // 4, self._layers).max(axis=2)
        largest, least = logarithms(quarters.max(axis=1)), logarithms(blocks.min(axis=1))
        # Four norms of a block are not below this, nor is the third largest of a window with it.
        fourth = logarithms(quarters.min(axis=1))
        order = (self._at // BLOCK + np.arange(len(self._quarters))) % len(self._quarters)
        before = self._usual.reshape(-1, BLOCK, self._layers).max(axis=1)
        high = _most(np.concatenate((self._quarters[order], fourth)))[:count]
        low = _most(np.concatenate((before[order], largest)))[:count]
        high = np.minimum(high + min(self._log_high, self._log_spike), self._ceiling)
        low = np.maximum(low - self._log_low, self.floor)
        within = ((largest <= high - MARGIN) & (least >= low + MARGIN)).all(axis=1)
        faintest, loudest = largest.min(axis=1), largest.max(axis=1)
        alike = faintest >= loudest + self._log_faint + MARGIN
        alike &= (faintest > NEARLY_NONE + MARGIN) & (loudest < np.inf)
        return np.stack((alike, within))

    @property
    def _is_full(self) -> bool:
        """Whether all limits follow from the window alone."""
        old = self._all_met and not self.any_faint and self._age.min() >= self._limits.growing
        return bool(old and self._at >= self._rows and self._usual.min() > NEARLY_NONE)

    def _add_blocks(self, logs: Floats) -> None:
        """Add blocks of usual frames, no more than are kept; `set_limits` closes the last one."""
        count = len(logs) // BLOCK
        order = (self._at // BLOCK + np.arange(count)) % len(self._quarters)
        shape = (-1, BLOCK, self._layers)
        table = logs.astype(np.float32).reshape(shape)
        self._ring.reshape(shape)[order] = table
        self._usual.reshape(shape)[order] = table
        self._quarters[order] = np.sort(table, axis=1)[:, -BLOCK // 4]
        self._unusual.reshape(shape)[order] = False
        self._at += len(logs)

    def add(self, logs: Floats, unusual: Bools | None = None) -> bool:
        """Add a frame that was judged; return whether it is time to `set_limits`.

        The norms of layers that are `unusual` do not count in later limits.
        """
        row = self._at % self._rows
        self._ring[row] = logs
        if unusual is not None or self._any_unusual:
            self._any_unusual = True
            self._unusual[row] = False if unusual is None else unusual
        self._at += 1
        return self._at % BLOCK == 0

    @property
    def ahead(self) -> int:
        """How many frames complete the block that is open; 0 if none is."""
        return -self._at % BLOCK

    @property
    def frames(self) -> int:
        """How many frames were added."""
        return self._at

    @property
    def is_first(self) -> bool:
        """Whether there is no more than one block yet."""
        return self._at <= BLOCK

    def largest(self, frames: int) -> Floats:
        """Return each layer's largest logarithm over the last frames."""
        last = np.arange(self._at - frames, self._at) % self._rows
        largest: Floats = self._ring[last].max(axis=0).astype(np.float64)
        return largest

    def least(self, number: Bools, falls: bool) -> Floats:
        """Return the logarithm that each layer must exceed to carry anything, beside others."""
        share = np.where(self._small | falls, 0.0, math.log(SHARE))
        if falls:
            share[self._small] = self._log_high
        least = share + self._largest_usual(number)
        return np.minimum(least, self._ceiling)

    def _largest_usual(self, number: Bools) -> float:
        return float(np.fmax.reduce(self.middle[number], initial=-np.inf))

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
        if not self._layers:
            return
        block = (self._at - 1) % self._rows // BLOCK
        newest = slice(block * BLOCK, (block + 1) * BLOCK)
        self._find_faint(self._ring[newest].max(axis=0), held)
        self._close(block, newest)
        if self.is_first:
            table, blocks = self._usual[newest], self._quarters[block : block + 1]
        else:
            table = np.concatenate((self._usual[: newest.start], self._usual[newest.stop :]))
            blocks = np.concatenate((self._quarters[:block], self._quarters[block + 1 :]))
        table = table.T.copy()
        table.sort(axis=1)
        width = table.shape[1]
        if table[:, 0].min() > NEARLY_NONE:
            count = np.full(self._layers, width)
            strays = STRAYS if width >= 4 * BLOCK else 0
            largest = table[:, width - 1 - strays].astype(np.float64)
            middle = table[:, width - 1 - (width - 1) // 2].astype(np.float64)
        else:
            count = (table > NEARLY_NONE).sum(axis=1)
            some = np.where(count >= 4 * BLOCK, STRAYS, 0)
            rows = np.arange(self._layers)
            largest = table[rows, np.maximum(width - 1 - some, 0)].astype(np.float64)
            middle = table[rows, width - 1 - np.maximum(count - 1, 0) // 2].astype(np.float64)
        known = count >= BLOCK // 2
        self._age = np.where(known, np.maximum(self._age, count), self._age)
        if held is not None:
            known &= ~held
        young = self._age < min(self._limits.growing, width)
        above = self._log_high + np.where(young, self._log_young, 0.0)
        np.copyto(self.high, np.minimum(largest + above, self._ceiling), where=known)
        most = blocks.max(axis=0).astype(np.float64)
        # A layer that has a gradient in few frames of a block has no level of its own.
        most = np.where(most > NONE + 1.0, most, largest)
        np.copyto(self.level, np.minimum(most + above, self._ceiling), where=known)
        self.leap[known] = np.inf
        swing = np.maximum(self._log_spike, self._limits.swing * (largest - middle))
        np.copyto(self.spike, largest + swing, where=known)
        np.copyto(self.low, np.maximum(middle - self._log_low, self.floor), where=known)
        np.copyto(self.middle, middle, where=known)
        np.minimum(np.minimum(self.high, self.level), self.spike, out=self.trigger)

    def _close(self, block: int, newest: slice) -> None:
        """Note what of a block counts as usual, and its norm that a quarter of it exceeds."""
        table = self._ring[newest]
        # nan and inf are reported at once and are no part of what is usual.
        left_out = ~np.isfinite(table)
        if self._any_unusual:
            left_out |= self._unusual[newest]
        usual = self._usual[newest]
        usual[:] = np.where(left_out, np.float32(NONE), table)
        self._quarters[block] = np.sort(usual, axis=0)[-BLOCK // 4]

    def _fell_behind(self, block: NDArray[np.float32], usual: Bools) -> Bools:
        """Find the layers that fell much further since their first norm than the steadiest."""
        fall = np.subtract(self._first, block, where=usual, out=np.full(self._layers, -np.inf))
        least = max(0.0, float(fall.min(initial=np.inf, where=usual)))
        left: Bools = fall >= least + self._log_low
        return left

    def _find_faint(self, block: NDArray[np.float32], held: Bools | None) -> None:
        least, most = block.min(), block.max()
        alike = least > NEARLY_NONE and most < math.inf and least >= most + self._log_faint
        if alike and not self.any_faint and self._age.min() >= self._limits.growing:
            # In most runs no layer is far below the largest.
            self._block, self._dim = block, np.zeros(self._layers, np.bool_)
            self._bright[:] = True
            return
        there = np.isfinite(block) & (block > NEARLY_NONE)
        # Beside a layer that explodes the others are not faint.
        usual = there if held is None else there & ~held
        rises = (self._block > NONE) & (block > self._block + math.log(RISING))
        dim = there & ~rises
        for norms in (block, block - self._extent):
            dim &= norms < norms[usual].max(initial=-np.inf) + self._log_faint
        self._block = block
        dim &= nearest_input(dim, there)
        young = self._age < self._limits.growing
        # A layer that was not dim and kept its norm is not dim because another one has risen.
        dim &= ~self._bright | (block < self._first - self._log_low)
        self._bright |= usual & ~dim & (self._age >= self._limits.growing)
        dim |= usual & self._fell_behind(block, usual) & (self.faint | young)
        self.faint = dim & self._dim
        self.any_faint = bool(self.faint.any())
        self._dim = dim
