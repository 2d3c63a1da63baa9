"""What goes on in each layer over several frames: lasting faults, and the streaks they begin as."""

import math

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.kinds import RUN, Kind
from gradmidi.detection.limits import Faults
from gradmidi.log import ABSENT, Frame

__all__ = ["Lasting", "Streak", "members", "named"]

FEW = 2
"""This many layers or fewer are never named as the whole run."""

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]


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
        elif frame.t - self._reminded >= self._limits.remind and (active & held).any():
            self._reminded = frame.t
            layers = named(active & held, frame.norms != ABSENT)
        self.on = bool(active.any())
        self._whole &= self.on
        return layers


def named(group: Bools, present: Bools) -> list[int]:
    """Name a group of layers: `RUN` for most layers, or the last of each row of neighbours.

    Where the group is all layers up to one of them, that one is named beside `RUN`: the backward
    pass reached the fault there.
    """
    places = np.flatnonzero(present | group)
    member = group[places]
    ends = member & ~np.append(member[1:], False)
    last: list[int] = places[ends].tolist()[::-1]
    if len(last) == 0:
        return []
    if member.sum() > max(FEW, len(places) / 2):
        return [RUN, *last] if len(last) == 1 and member[0] and not member[-1] else [RUN]
    return last


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
