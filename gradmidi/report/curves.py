"""Curves of the norms of a run's voices, and notable points in them.

A curve has the largest and the smallest norm of each bin; a bin is a few steps.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmidi.log import ABSENT, Frame
from gradmidi.music.events import Step
from gradmidi.music.voices import Voice, VoiceNorms
from gradmidi.text.words import listed, number, times

__all__ = ["NO_LOSS", "Curves", "Tracer", "heard", "is_logarithmic", "notable", "trace"]

MOST_VALUES = 700_000
"""Most norms in all curves of a run; a longer run has bins of several steps."""

BATCH = 2048
"""Number of frames whose layers are combined to voices at once."""

LOG_LOSS = 20.0
"""The loss has a log axis if its largest value is this many times its smallest."""

NO_LOSS = -math.inf
"""In place of a loss: none was logged."""

MANY_TIMES = 100.0
"""A voice's largest norm is notable if it is this many times its first."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """The curves of a run's voices, a value for each bin.

    Parameters
    ----------
    first : ndarray of int32, shape (slots + 1,)
        Index of each slot's first bin, and the end of the last slot's bins.
    step : ndarray of int64, shape (bins,)
        The last step in each bin.
    seconds : ndarray of float64, shape (bins,)
        The time of that step.
    loss : ndarray of float64, shape (bins,)
        The largest loss in each bin, in the order nan, inf, number; `NO_LOSS` if there is none.
    high : ndarray of float64, shape (bins, voices)
        The largest norm in each bin, in the order nan, inf, number, zero, `ABSENT`.
    low : ndarray of float64, shape (bins, voices)
        The smallest finite norm above zero in each bin; `ABSENT` if there is none.
    """

    first: Ints
    step: NDArray[np.int64]
    seconds: Floats
    loss: Floats
    high: Floats
    low: Floats


def trace(
    frames: Iterable[Frame], slots: Sequence[Step], voices: Sequence[Voice], steps: int
) -> Curves:
    """Compute the curves of a run's frames, in bins that each lie within one slot.

    Frames after the last slot's step are left out; `steps` is the approximate number of frames.

    Examples
    --------
    >>> from gradmidi.log import row
    >>> frames = [Frame(1, 0.0, row([3.0, 4.0])), Frame(2, 0.1, row([None, 2.0]))]
    >>> slots = [Step(0, 1, 0.0, (5.0,), (0.5,)), Step(60, 2, 0.1, (2.0,), (0.4,))]
    >>> trace(frames, slots, [Voice(0, "all", (0, 1))], 2).high.ravel().tolist()
    [5.0, 2.0]
    """
    tracer = Tracer(voices, steps)
    tracer.add(frames)
    for slot in slots:
        tracer.slot(slot)
    return tracer.finish()


class Tracer:
    """Computes curves from frames and slots as they come; a slot comes after its frames."""

    def __init__(self, voices: Sequence[Voice], steps: int) -> None:
        self._size = max(1, math.ceil(steps * len(voices) / MOST_VALUES))
        self._bins = _Bins(voices)
        self._frames: deque[Frame] = deque()
        self._first = [0]

    def add(self, frames: Iterable[Frame]) -> None:
        """Add the next frames."""
        self._frames.extend(frames)

    def slot(self, slot: Step) -> None:
        """Add the next slot: it has the frames up to its step that no slot before it has."""
        frames, held = self._frames, []
        while frames and frames[0].step <= slot.step:
            held.append(frames.popleft())
        for begin in range(0, len(held), self._size):
            self._bins.add(held[begin : begin + self._size])
        self._first.append(self._bins.count())

    def finish(self) -> Curves:
        """Return the curves of the slots so far."""
        return self._bins.curves(self._first)


def heard(slots: Sequence[Step], curves: Curves) -> Floats:
    """Return the norm of every voice in every slot, of shape (slots, voices).

    A norm may be nan, inf, zero or `ABSENT`; a `Step` has a voice's last finite norm instead.

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


def is_logarithmic(low: float, high: float) -> bool:
    """Return whether a loss with this range is drawn on a log axis."""
    return low > 0.0 and high > LOG_LOSS * low


class _Bins:
    """Collects frames into bins, and combines their layers to voices, many frames at a time."""

    def __init__(self, voices: Sequence[Voice]) -> None:
        self._norms = VoiceNorms(voices)
        self._rows: list[NDArray[np.float64]] = []
        self._begins: list[int] = []
        self._step: list[int] = []
        self._seconds: list[float] = []
        self._loss: list[float] = []
        self._high: list[Floats] = [np.empty((0, len(voices)))]
        self._low: list[Floats] = [np.empty((0, len(voices)))]

    def add(self, frames: Sequence[Frame]) -> None:
        """Add the frames of a bin."""
        self._begins.append(len(self._rows))
        self._rows += [frame.norms for frame in frames]
        self._step.append(frames[-1].step)
        self._seconds.append(frames[-1].t)
        losses = [NO_LOSS if (loss := frame.loss) is None else loss for frame in frames]
        self._loss.append(math.nan if any(map(math.isnan, losses)) else max(losses))

    def count(self) -> int:
        """Return the number of bins."""
        if len(self._rows) >= BATCH:
            self._combine()
        return len(self._step)

    def _combine(self) -> None:
        if not self._rows:
            return
        norms = self._norms.combined(np.stack(self._rows))
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
            np.array(self._step, dtype=np.int64),
            np.array(self._seconds),
            np.array(self._loss),
            np.concatenate(self._high),
            np.concatenate(self._low),
        )


def notable(curves: Curves, voices: Sequence[Voice]) -> list[tuple[int, str]]:
    """Find voices that rise far above their first norm, or end as zero, inf or nan.

    Returns a bin and a line of text for each, in order of bins; voices with the same change in the
    same bin share a line.

    Examples
    --------
    >>> high = np.array([[1.0], [500.0], [0.0], [0.0]])
    >>> curves = Curves(
    ...     np.arange(5, dtype=np.int32), np.arange(1, 5), np.arange(4.0),
    ...     np.full(4, math.nan), high, high,
    ... )
    >>> for _, text in notable(curves, [Voice(0, "fc1", (0,))]):
    ...     print(text)
    fc1 is largest at step 2: 500, 500 times its first
    fc1 is exactly zero from step 3 to the end
    """
    if not len(curves.step):
        return []
    return sorted([*_peaks(curves, voices), *_ends(curves, voices)])


def _peaks(curves: Curves, voices: Sequence[Voice]) -> Iterator[tuple[int, str]]:
    found: dict[int, list[tuple[float, float, str]]] = {}
    for voice in voices:
        norms = curves.high[:, voice.index]
        numbers = np.flatnonzero(np.isfinite(norms) & (norms > 0.0))
        if not numbers.size:
            continue
        first = float(norms[numbers[0]])
        peak = int(numbers[norms[numbers].argmax()])
        ratio = float(norms[peak]) / first
        if ratio >= MANY_TIMES:
            found.setdefault(peak, []).append((-ratio, float(norms[peak]), voice.name))
    for peak, who in found.items():
        who.sort()
        ratio, norm, name = who[0]
        others = [name for *_, name in who[1:]]
        too = f"; {_are(others)} largest there too" if others else ""
        yield (
            peak,
            f"{name} is largest {_when(curves, peak)}: {number(norm, 3)}, {times(-ratio)} "
            f"its first{too}",
        )


def _ends(curves: Curves, voices: Sequence[Voice]) -> Iterator[tuple[int, str]]:
    kinds = _kinds(curves.high)
    found: dict[tuple[int, int], list[str]] = {}
    for voice in voices:
        column = kinds[:, voice.index]
        if column[-1] == 0:
            continue
        others = np.flatnonzero(column != column[-1])
        begin = int(others[-1]) + 1 if others.size else 0
        found.setdefault((begin, int(column[-1])), []).append(voice.name)
    for (begin, kind), names in found.items():
        since = f"from step {curves.step[begin - 1] + 1}" if begin else "from the first step"
        yield begin, f"{_are(names)} {_KINDS[kind]} {since} to the end"


_KINDS = {1: "exactly zero", 2: "inf", 3: "nan"}


def _kinds(norms: NDArray[np.float64]) -> NDArray[np.int_]:
    """Return 1 for exact zero, 2 for inf, 3 for nan, and 0 for all other norms and `ABSENT`."""
    kinds = np.zeros(norms.shape, np.int_)
    kinds[norms == 0.0] = 1
    kinds[norms == math.inf] = 2
    kinds[np.isnan(norms)] = 3
    return kinds


def _when(curves: Curves, place: int) -> str:
    before = curves.step[place - 1] if place else 0
    alone = curves.step[place] - before == 1
    return f"at step {curves.step[place]}" if alone else f"by step {curves.step[place]}"


def _are(names: Sequence[str]) -> str:
    return f"{listed(names)} {'is' if len(names) == 1 else 'are'}"
