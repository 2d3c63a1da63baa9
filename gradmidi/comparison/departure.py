"""Where one run departs from another: a rule, stated, on what both sound at the same time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmidi.comparison.match import Filled
from gradmidi.music.voices import Voice

__all__ = ["FACTOR", "RULE", "Departure", "departure"]

FACTOR = 4.0
"""A norm this many times as large as the other's, or as small, is apart from it."""

WINDOW, LEAST = 5, 3
"""Slots looked at, and how many of them must be apart: one spike is no departure."""

RULE = (
    f"A run departs where a voice's norm is {FACTOR:g} times the first run's or more, or a "
    f"{FACTOR:g}th or less, or zero or not there while the other's is a number, in {LEAST} of "
    f"{WINDOW} slots; or where it is not finite."
)


@dataclass(frozen=True, slots=True)
class Departure:
    """Where and how a run departs.

    Parameters
    ----------
    index : int
        The slot.
    step : int
        The departing run's last step in that slot.
    told : tuple of str
        What each voice that departs there or later does, the first to do so first.
    """

    index: int
    step: int
    told: tuple[str, ...]


def departure(
    first: Sequence[Filled], other: Sequence[Filled], voices: Sequence[Voice]
) -> Departure | None:
    """Find where `other` departs from `first`, by `RULE`.

    Parameters
    ----------
    first, other : sequence of Filled
        What either sounded; only slots that both filled are compared.
    voices : sequence of Voice
        Their names are told.

    Returns
    -------
    Departure or None
        None also where there is no slot that both filled.

    Examples
    --------
    >>> steady = [Filled(i, i + 1, np.array([1.0])) for i in range(9)]
    >>> rising = [Filled(i, i + 1, np.array([2.0**i])) for i in range(9)]
    >>> departure(steady, rising, [Voice(0, "fc1", (0,))])
    Departure(index=2, step=3, told=('fc1 is 4 times as large',))
    """
    known = {slot.index: slot for slot in first}
    pairs = [(known[slot.index], slot) for slot in other if slot.index in known]
    if not pairs:
        return None
    a = np.stack([one.norms for one, _ in pairs])
    b = np.stack([two.norms for _, two in pairs])
    ratio = _ratio(a, b)
    strange = ~np.isfinite(b) & np.isfinite(a)
    apart = (np.abs(ratio) >= math.log2(FACTOR) - 1e-9) | (np.isnan(ratio) & _differ(a, b))
    found: list[tuple[int, float, int]] = []
    for voice in range(len(voices)):
        slot = _first(apart[:, voice], strange[:, voice])
        if slot is not None:
            size = abs(ratio[slot, voice])
            found.append((slot, -(math.inf if np.isnan(size) else float(size)), voice))
    if not found:
        return None
    found.sort()
    begin = found[0][0]
    told = []
    for slot, _, voice in found:
        later = "" if slot == begin else f" from step {pairs[slot][1].step}"
        told.append(f"{voices[voice].name} {_how(a[slot, voice], b[slot, voice])}{later}")
    return Departure(pairs[begin][1].index, pairs[begin][1].step, tuple(told))


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tell how many doublings `b` is above `a`; nan where one of them is no number above zero."""
    numbers = np.isfinite(a) & np.isfinite(b) & (a > 0.0) & (b > 0.0)
    logs = np.full(a.shape, math.nan)
    logs[numbers] = np.log2(b[numbers]) - np.log2(a[numbers])
    return logs


def _differ(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell where one is a number above zero, zero, none, inf or nan and the other is not so."""

    def kind(norms: NDArray[np.float64]) -> NDArray[np.float64]:
        kinds = np.where(np.isnan(norms), 4.0, np.where(np.isinf(norms), 3.0, np.sign(norms)))
        return np.asarray(kinds)

    return np.asarray(kind(a) != kind(b))


def _first(apart: NDArray[np.bool_], strange: NDArray[np.bool_]) -> int | None:
    """Find the first slot from which on a voice is apart."""
    least = min(LEAST, len(apart))
    for slot in np.flatnonzero(apart | strange):
        if strange[slot] or apart[slot : slot + WINDOW].sum() >= least:
            return int(slot)
    return None


def _how(a: float, b: float) -> str:
    if math.isnan(b) or math.isinf(b):
        return f"is {b:g}"
    if b <= 0.0:
        return "is exactly zero" if b == 0.0 else "has no gradient"
    if not (math.isfinite(a) and a > 0.0):
        return f"is {b:.3g} where the other is {'none' if a < 0.0 else f'{a:g}'}"
    if b > a:
        return f"is {b / a:.3g} times as large"
    return f"is {a / b:.3g} times as small"
