"""The norms of a run as curves: bins of a few steps that keep their largest and least."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmidi.log import ABSENT, Frame, combine
from gradmidi.music.events import Step
from gradmidi.music.voices import Voice

__all__ = ["Curves", "heard", "trace"]

MOST_VALUES = 1_600_000
"""Norms a curve holds in all; a longer run is drawn in bins of several steps."""

BATCH = 2048
"""Frames combined to voices at once."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """The curves of a run, bin by bin.

    Parameters
    ----------
    first : ndarray of int32, shape (slots + 1,)
        Where each slot's bins begin, and where the last slot's end.
    step : ndarray of int32, shape (bins,)
        The last step in each bin.
    seconds : ndarray of float64, shape (bins,)
        That step's time.
    loss : ndarray of float64, shape (bins,)
        The largest finite loss in it; nan where there is none.
    high : ndarray of float64, shape (bins, voices)
        The largest norm in it: nan over inf over number over zero over `ABSENT`.
    low : ndarray of float64, shape (bins, voices)
        The least finite norm above zero in it; `ABSENT` where there is none.
    """

    first: Ints
    step: Ints
    seconds: Floats
    loss: Floats
    high: Floats
    low: Floats


def trace(
    frames: Iterable[Frame], slots: Sequence[Step], voices: Sequence[Voice], steps: int
) -> Curves:
    """Draw curves through a run's frames, in bins that no slot's edge cuts.

    Parameters
    ----------
    frames : iterable of Frame
        The run, in order; it is read once and not kept.
    slots : sequence of Step
        What was played of it: frames after the last one's step are left out.
    voices : sequence of Voice
        Which layers sound as one.
    steps : int
        About how many frames there are.

    Returns
    -------
    Curves

    Examples
    --------
    >>> from gradmidi.log import row
    >>> frames = [Frame(1, 0.0, row([3.0, 4.0])), Frame(2, 0.1, row([None, 2.0]))]
    >>> slots = [Step(0, 1, 0.0, (5.0,), (0.5,)), Step(60, 2, 0.1, (2.0,), (0.4,))]
    >>> trace(frames, slots, [Voice(0, "all", (0, 1))], 2).high.ravel().tolist()
    [5.0, 2.0]
    """
    size = max(1, math.ceil(steps * len(voices) / MOST_VALUES))
    bins = _Bins(voices)
    slot = held = 0
    first = [0]
    for frame in frames:
        while slot < len(slots) and frame.step > slots[slot].step:
            slot += 1
            first.append(bins.cut())
            held = 0
        if slot == len(slots):
            break
        if held == size:
            bins.cut()
            held = 0
        bins.add(frame)
        held += 1
    while len(first) <= len(slots):
        first.append(bins.cut())
    return bins.curves(first)


def heard(slots: Sequence[Step], curves: Curves) -> Floats:
    """Tell what each slot sounds; a `Step` alone repeats a voice's last where it has none.

    Parameters
    ----------
    slots : sequence of Step
        What was played.
    curves : Curves
        As `trace` draws them through the same slots.

    Returns
    -------
    ndarray of float64, shape (slots, voices)
        A norm above zero, or what is no such number: nan, inf, zero or `ABSENT`.

    Examples
    --------
    >>> from gradmidi.log import row
    >>> frames = [Frame(1, 0.0, row([2.0])), Frame(2, 0.1, row([math.nan]))]
    >>> slots = [Step(0, 1, 0.0, (2.0,), (0.5,)), Step(60, 2, 0.1, (2.0,), (0.5,))]
    >>> heard(slots, trace(frames, slots, [Voice(0, "fc1", (0,))], 2)).ravel().tolist()
    [2.0, nan]
    """
    norms = np.array([slot.norms for slot in slots]).reshape(len(slots), curves.high.shape[1])
    high = np.full(norms.shape, ABSENT)
    for index, (begin, end) in enumerate(zip(curves.first[:-1], curves.first[1:], strict=True)):
        if end > begin:
            high[index] = np.maximum.reduce(curves.high[begin:end])
    return np.where(np.isfinite(high) & (high > 0.0), norms, high)


class _Bins:
    """Bins as they are filled; combined to voices many frames at a time."""

    def __init__(self, voices: Sequence[Voice]) -> None:
        self._members = np.array([i for v in voices for i in v.layers], dtype=np.intp)
        counts = [len(v.layers) for v in voices]
        self._starts = np.cumsum([0, *counts][:-1], dtype=np.intp)
        self._rows: list[NDArray[np.float64]] = []
        self._begins: list[int] = []
        self._open = False
        self._step: list[int] = []
        self._seconds: list[float] = []
        self._loss: list[float] = []
        self._high: list[Floats] = [np.empty((0, len(counts)))]
        self._low: list[Floats] = [np.empty((0, len(counts)))]

    def add(self, frame: Frame) -> None:
        """Put a frame into the open bin, or into a new one."""
        loss = math.nan if frame.loss is None else frame.loss
        if self._open:
            self._step[-1], self._seconds[-1] = frame.step, frame.t
            # The larger; a number rather than nan.
            self._loss[-1] = loss if not self._loss[-1] >= loss else self._loss[-1]
        else:
            self._begins.append(len(self._rows))
            self._step.append(frame.step)
            self._seconds.append(frame.t)
            self._loss.append(loss)
            self._open = True
        self._rows.append(frame.norms)

    def cut(self) -> int:
        """Close the open bin; return how many there are."""
        self._open = False
        if len(self._rows) >= BATCH:
            self._combine()
        return len(self._step)

    def _combine(self) -> None:
        if not self._rows:
            return
        norms = combine(np.stack(self._rows), self._members, self._starts)
        begins = np.array(self._begins, dtype=np.intp)
        self._high.append(np.maximum.reduceat(norms, begins, axis=0))
        finite = np.where(np.isfinite(norms) & (norms > 0.0), norms, np.inf)
        least = np.minimum.reduceat(finite, begins, axis=0)
        self._low.append(np.where(np.isfinite(least), least, ABSENT))
        self._rows.clear()
        self._begins.clear()

    def curves(self, first: Sequence[int]) -> Curves:
        self._combine()
        return Curves(
            np.array(first, dtype=np.int32),
            np.array(self._step, dtype=np.int32),
            np.array(self._seconds),
            np.array(self._loss),
            np.concatenate(self._high),
            np.concatenate(self._low),
        )
