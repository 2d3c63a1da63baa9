"""What goes on in each layer over frames: lasting faults, streaks they begin as, and absence."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.kinds import RUN, Faults, Kind
from gradmidi.log import ABSENT, Frame

__all__ = ["Absence", "Lasting", "Lull", "Streak", "below", "members", "named", "nearest_input"]

FEW = 2
"""This many layers or fewer are never named as the whole run."""

TURN = 16
"""Frames without a gradient after which a layer that always had one has lost it."""

AGAIN = 1.7
"""A layer that was zero before has to be zero by so much longer."""

KNOWN = 8
"""Frames with a gradient that a layer has had before it can be missing."""

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


class Streak:
    """Frames in a row in which each layer met a condition, and the step each such row began at."""

    def __init__(self, layers: int) -> None:
        self.length = np.zeros(layers, np.int64)
        self.begun = np.zeros(layers, np.int64)
        self.any = False

    def set(self, length: Integers, step: int) -> None:
        """Take the new lengths."""
        begins = (self.length == 0) & (length > 0)
        self.begun[begins] = step
        self.length = length
        self.any = bool(length.any())

    def clear(self) -> None:
        """Begin anew."""
        self.length[:] = 0
        self.any = False


class Lasting:
    """Which layers have one lasting kind of fault now.

    Attributes
    ----------
    active : ndarray of bool, shape (layers,)
        The layers that have it.
    since : ndarray of int, shape (layers,)
        The step at which each of these layers began to have it.
    until : ndarray of int, shape (layers,)
        The last step at which each layer had it.
    on : bool
        Whether any layer has it.
    """

    def __init__(self, kind: Kind, layers: int, limits: Faults) -> None:
        self.kind = kind
        self.active = np.zeros(layers, np.bool_)
        self.since = np.zeros(layers, np.int64)
        self.until = np.zeros(layers, np.int64)
        self.on = False
        self._limits = limits
        self._without = np.zeros(layers, np.int64)
        self._whole = False
        self._reminded = -math.inf

    def move(
        self, frame: Frame, raised: Bools, joined: Bools, held: Bools, streak: Streak | None = None
    ) -> list[int]:
        """Take the next frame; return the layers to name for it, or `RUN`.

        Parameters
        ----------
        frame : Frame
            The frame.
        raised, joined, held : ndarray of bool, shape (layers,)
            Layers that now have the fault; that get it together with those; that still have it.
        streak : Streak, optional
            What raises it, for the step it began at; by default that is the frame's.
        """
        if not self.on and not raised.any():
            return []
        active, without = self.active, self._without
        held = held | raised
        without += 1
        without[held] = 0
        self.until[held] = frame.step
        active &= without < self._limits.clear
        new = raised & ~active
        layers: list[int] = []
        if new.any():
            new |= joined & ~active
            active |= new
            without[new] = 0
            self.since[new] = frame.step
            if streak is not None:
                begun = new & (streak.length > 0)
                self.since[begun] = streak.begun[begun]
            self._reminded = frame.t
            present = frame.norms != ABSENT
            layers = named(active, present)
            if RUN not in layers:
                layers = named(new, present)
            elif self._whole:
                layers = []
            self._whole |= RUN in layers
        elif (
            self.kind.reminded
            and frame.t - self._reminded >= self._limits.remind
            and (active & held).any()
        ):
            self._reminded = frame.t
            layers = named(active & held, frame.norms != ABSENT)
        self.on = bool(active.any())
        self._whole &= self.on
        return layers


class Absence:
    """Finds the layers that have lost their gradient.

    Layers of networks that are trained in turn, and experts that not every batch uses, have no
    gradient now and then: a gap must be far longer than those before, and longer than the share
    of frames without a gradient explains. Frames in which no layer has one say nothing.

    Attributes
    ----------
    streak : Streak
        Frames in a row without a gradient.
    """

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._everyone = np.ones(layers, np.bool_)
        self.restart()

    def restart(self) -> None:
        """Forget everything, as at the start of a new segment."""
        self.streak = Streak(self._layers)
        self._had = np.zeros(self._layers, np.int64)  # frames with a gradient
        self._met = np.zeros(self._layers, np.int64)  # frames since the first of them
        self._longest = np.zeros(self._layers, np.int64)  # gap that has ended
        self._relieved = np.zeros(self._layers, np.bool_)
        self._all = 0  # first frames, in all of which every layer had a gradient
        self._always = True

    def add_all(self, step: int, frames: int = 1) -> Bools:
        """Take frames in which every layer has a gradient; return the layers that have one.

        `step` is that of the first of them.
        """
        if self._always:
            self._all += frames
        else:
            self.add(self._everyone, step)
            self._had += frames - 1
            self._met += frames - 1
        return self._everyone

    def add(self, present: Bools, step: int) -> Bools | None:
        """Take the next frame; return the layers that have lost their gradient; None for none."""
        if self._always and present.all():
            self._all += 1
            return None
        if self._always:
            self._always = False
            self._had[:] = self._met[:] = self._all
        if not present.any():
            return self._lost()
        length = self.streak.length
        begins = ~present & (length == 0) & (self._had > 0)
        if begins.any():
            # Where others come that had none for long, or never, they take turns.
            waited = np.where(self._had > 0, length, self._met.max())
            comes = present & (waited >= TURN)
            self._relieved[begins] = bool(comes.any())
        np.maximum(self._longest, length * present, out=self._longest)
        self._had += present
        self._met += self._had > 0
        self.streak.set((length + 1) * (~present & (self._had > 0)), step)
        return self._lost()

    def _lost(self) -> Bools | None:
        if not self.streak.any:
            return None
        length = self.streak.length
        usual = np.maximum(TURN * (self._met - length), 4 * self._longest * self._had)
        lost: Bools = (self._had >= KNOWN) & (length * self._had >= usual)
        lost &= ~(self._relieved & (self._longest < TURN))
        return lost if lost.any() else None


class Lull:
    """Finds the layers whose gradients are zero for longer than chance explains.

    A layer that is used by few batches, as an expert, has frames of exactly zero by itself: so many
    in a row say nothing as are likely at the share of such frames before. Of a layer without such
    frames before, ``dead`` of them are enough, also at the start of a run; but if others have such
    frames now and then, as experts have, as many as are likely at their share.

    Attributes
    ----------
    row : Streak
        Frames of zero in a row.
    """

    def __init__(self, layers: int, limits: Faults) -> None:
        self._layers = layers
        self._surprise = limits.dead * math.log(2.0) * (1.0 - 1e-9)
        self.restart()

    def restart(self) -> None:
        """Forget everything, as at the start of a new segment."""
        self.row = Streak(self._layers)
        self._ended = np.zeros(self._layers, np.int64)  # frames of zero in rows that have ended

    def surprise(self, zero: Bools, there: Bools, before: int, step: int) -> Floats:
        """Take the next frame, after `before` others; from 1 on a layer is zero for too long."""
        ends = there & ~zero
        self._ended += self.row.length * ends
        self.row.set((self.row.length + zero) * ~ends, step)
        others = np.maximum(before + 1 - self.row.length, 0)
        share = (self._ended + 1.0) / (others + 2.0)
        had = self._ended > 0
        if had.any():
            usual = (self._ended[had].sum() + 1.0) / (others[had].sum() + 2.0)
            share[~had] = np.maximum(share[~had], usual)
        needed = self._surprise * np.where(had, AGAIN, 1.0)
        surprise: Floats = -np.log(share) * self.row.length / needed
        return surprise


def named(group: Bools, present: Bools) -> list[int]:
    """Name a group of layers: `RUN` for most layers, or the last of each row of neighbours.

    Where the output's layer is well, the backward pass reached the fault at the last layer of the
    group: that one is named beside `RUN`; alone, if the group is one row and the input's layer is
    well too, as an embedding that is tied to the output.
    """
    places = np.flatnonzero(present | group)
    member = group[places]
    ends = member & ~np.append(member[1:], False)
    last: list[int] = places[ends].tolist()[::-1]
    if len(last) == 0:
        return []
    if member.sum() <= max(FEW, len(places) / 2) or (len(last) == 1 and not member[[0, -1]].any()):
        return last
    return [RUN] if member[-1] else [RUN, last[0]]


def below(group: Sequence[int], count: int) -> int | None:
    """Return the layer after a row of neighbours, of `count` layers; None if they are none.

    Examples
    --------
    >>> below([1, 2, 3], 9), below([1, 3], 9), below([7, 8], 9)
    (4, None, None)
    """
    last = max(group, default=count)
    return last + 1 if last + 1 < count and last - min(group) == len(group) - 1 else None


def nearest_input(dim: Bools, there: Bools) -> Bools:
    """Find the layers that are dim as all are between them and the input.

    Through any other the backward pass reaches layers that have large norms. An embedding at the
    input may be tied to the output: without it, two layers must be dim.
    """
    others = dim | ~there
    row: Bools = np.logical_and.accumulate(others)
    first = int(there.argmax())
    if not dim[first]:
        others[first] = True
        row = np.logical_and.accumulate(others)
        row &= (row & dim).sum() >= 2
    return row


def members(layer: int, named: list[int], group: Bools, present: Bools) -> tuple[int, ...]:
    """Return the layers of a group that a named one stands for."""
    if layer == RUN:
        return tuple(np.flatnonzero(group).tolist())
    if RUN in named:
        return (layer,)
    row = [layer]
    for other in range(layer - 1, -1, -1):
        if group[other]:
            row.append(other)
        elif present[other]:
            break
    return tuple(row[::-1])
