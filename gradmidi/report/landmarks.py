"""Where to look first: what the norms alone tell of a run, faults found or not."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gradmidi.music.voices import Voice
from gradmidi.report.curves import Curves

__all__ = ["TOWERS", "Landmark", "landmarks"]

TOWERS = 100.0
"""A voice's largest norm is told where it is this many times its first."""

NAMED = 4
"""Voices told by name in one line."""

Landmark = tuple[int, str]
"""A bin of the curves, and what is told of it."""


def landmarks(curves: Curves, voices: Sequence[Voice]) -> list[Landmark]:
    """Find where voices tower above their first norm, and from where on they are not numbers.

    Parameters
    ----------
    curves : Curves
        Of one run.
    voices : sequence of Voice
        Their names are told.

    Returns
    -------
    list of (int, str)
        In order of bins; voices that do the same in the same bin share a line.

    Examples
    --------
    >>> high = np.array([[1.0], [500.0], [0.0], [0.0]])
    >>> curves = Curves(
    ...     np.arange(5, dtype=np.int32), np.arange(1, 5, dtype=np.int32), np.arange(4.0),
    ...     np.full(4, math.nan), high, high,
    ... )
    >>> for _, text in landmarks(curves, [Voice(0, "fc1", (0,))]):
    ...     print(text)
    fc1 is largest at step 2: 500, 500 times its first
    fc1 is exactly zero from step 3 to the end
    """
    if not len(curves.step):
        return []
    return sorted([*_towers(curves, voices), *_ends(curves, voices)])


def _towers(curves: Curves, voices: Sequence[Voice]) -> Iterator[Landmark]:
    found: dict[int, list[tuple[float, float, str]]] = {}
    for voice in voices:
        norms = curves.high[:, voice.index]
        numbers = np.flatnonzero(np.isfinite(norms) & (norms > 0.0))
        if not numbers.size:
            continue
        first = float(norms[numbers[0]])
        peak = int(numbers[norms[numbers].argmax()])
        times = float(norms[peak]) / first
        if times >= TOWERS:
            found.setdefault(peak, []).append((-times, float(norms[peak]), voice.name))
    for peak, who in found.items():
        who.sort()
        times, norm, name = who[0]
        others = [name for *_, name in who[1:]]
        too = f"; {_are(others)} largest there too" if others else ""
        yield (
            peak,
            f"{name} is largest {_when(curves, peak)}: {norm:.3g}, {_whole(-times)} times "
            f"its first{too}",
        )


def _ends(curves: Curves, voices: Sequence[Voice]) -> Iterator[Landmark]:
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
    """Tell numbers (and none), 0, from exact zero, inf and nan: 1, 2 and 3."""
    kinds = np.zeros(norms.shape, np.int_)
    kinds[norms == 0.0] = 1
    kinds[norms == math.inf] = 2
    kinds[np.isnan(norms)] = 3
    return kinds


def _when(curves: Curves, place: int) -> str:
    before = curves.step[place - 1] if place else 0
    alone = curves.step[place] - before == 1
    return f"at step {curves.step[place]}" if alone else f"by step {curves.step[place]}"


def _whole(times: float) -> str:
    """Write a large ratio as it is read aloud, to three digits."""
    rounded = float(f"{times:.3g}")
    return f"{rounded:,.0f}" if rounded < 1e15 else f"{rounded:.3g}"


def _are(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} is"
    if len(names) > NAMED:
        return f"{', '.join(names[: NAMED - 1])} and {len(names) - NAMED + 1} more are"
    return f"{', '.join(names[:-1])} and {names[-1]} are"
