"""Find where one run departs from another, and describe it in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmidi.comparison.runs import PlayedSlot
from gradmidi.music.voices import Voice
from gradmidi.text.words import number, times

__all__ = ["FACTOR", "RULE", "Departure", "departure"]

FACTOR = 4.0
"""A norm departs if it is at least this many times the other's, or at most 1 over this."""

WINDOW, LEAST = 5, 3
"""Slots in a window, and how many of them must depart; a single spike is no departure."""

RULE = (
    f"A run departs where, in {LEAST} of {WINDOW} slots, a voice's norm is at least {FACTOR:g} "
    f"times or at most 1/{FACTOR:g} of the first run's, or is zero or missing while the first "
    "run's is a number; or where it is not finite."
)


@dataclass(frozen=True, slots=True)
class Departure:
    """The departure of a run from another.

    `index` is the slot, and `step` the departing run's last step in it. `words` describes each
    voice that departs there or later, the earliest first.
    """

    index: int
    step: int
    words: tuple[str, ...]


def departure(
    first: Sequence[PlayedSlot], other: Sequence[PlayedSlot], voices: Sequence[Voice]
) -> Departure | None:
    """Find where `other` departs from `first` by `RULE`, among the slots that both have.

    Examples
    --------
    >>> steady = [PlayedSlot(i, i + 1, np.array([1.0])) for i in range(9)]
    >>> rising = [PlayedSlot(i, i + 1, np.array([2.0**i])) for i in range(9)]
    >>> departure(steady, rising, [Voice(0, "fc1", (0,))])
    Departure(index=2, step=3, words=('fc1 is 4 times as large',))
    """
    known = {slot.index: slot for slot in first}
    pairs = [(known[slot.index], slot) for slot in other if slot.index in known]
    if not pairs:
        return None
    a = np.stack([one.norms for one, _ in pairs])
    b = np.stack([two.norms for _, two in pairs])
    ratio = _ratio(a, b)
    strange = ~np.isfinite(b) & np.isfinite(a)
    departs = (np.abs(ratio) >= math.log2(FACTOR) - 1e-9) | (np.isnan(ratio) & _differ(a, b))
    found: list[tuple[int, float, int]] = []
    for voice in range(len(voices)):
        slot = _first(departs[:, voice], strange[:, voice])
        if slot is not None:
            size = abs(ratio[slot, voice])
            found.append((slot, -(math.inf if np.isnan(size) else float(size)), voice))
    if not found:
        return None
    found.sort()
    begin = found[0][0]
    words = []
    for slot, _, voice in found:
        later = "" if slot == begin else f" from step {pairs[slot][1].step}"
        words.append(f"{voices[voice].name} {_how(a[slot, voice], b[slot, voice])}{later}")
    return Departure(pairs[begin][1].index, pairs[begin][1].step, tuple(words))


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many doublings `b` is above `a`; nan unless both are finite and above zero."""
    numbers = np.isfinite(a) & np.isfinite(b) & (a > 0.0) & (b > 0.0)
    logs = np.full(a.shape, math.nan)
    logs[numbers] = np.log2(b[numbers]) - np.log2(a[numbers])
    return logs


def _differ(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return where the two differ in kind: number above zero, zero, `ABSENT`, inf or nan."""

    def kind(norms: NDArray[np.float64]) -> NDArray[np.float64]:
        kinds = np.where(np.isnan(norms), 4.0, np.where(np.isinf(norms), 3.0, np.sign(norms)))
        return np.asarray(kinds)

    return np.asarray(kind(a) != kind(b))


def _first(departs: NDArray[np.bool_], strange: NDArray[np.bool_]) -> int | None:
    """Return the first slot from which a voice departs."""
    least = min(LEAST, len(departs))
    for slot in np.flatnonzero(departs | strange):
        if strange[slot] or departs[slot : slot + WINDOW].sum() >= least:
            return int(slot)
    return None


def _how(a: float, b: float) -> str:
    if math.isnan(b) or math.isinf(b):
        return f"is {b:g}"
    if b <= 0.0:
        return "is exactly zero" if b == 0.0 else "has no gradient"
    if not (math.isfinite(a) and a > 0.0):
        return f"is {number(b, 3)} where the other {'has no gradient' if a < 0.0 else f'is {a:g}'}"
    return f"is {times(float(b) / float(a))} as large"
