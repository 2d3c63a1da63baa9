"""How a logged value becomes a pitch: ``[values]`` of a preset, and the law of each value.

A value that is always positive, such as a loss, moves by factors; one that may be zero or negative,
such as an accuracy or a reward, moves by differences. The factor or difference for one degree of
the scale is found from the value's first numbers, and then fixed.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from gradmidi.base.table import key
from gradmidi.music.timing import NOTE_VALUES

__all__ = ["FIRST", "MOST_VALUES", "Law", "Values", "is_share", "law_of"]

MOST_VALUES = 15
"""Most values of a run that have a voice."""

FIRST = 3
"""How many numbers of a value its law is found from; before, its voice stays at home."""

FACTORS = (2.0**0.5, 2.0)
"""Factors for one degree of the scale, for values that vary little from one number to the next, and
for those that vary much. With the default preset there are eight degrees below the first home."""

SHARE_DIFFERENCE, PERCENT_DIFFERENCE = 0.05, 5.0
"""Differences for one degree of the scale, for shares (0 to 1) and for percentages."""

_WORD = re.compile(r"[A-Z]?[a-z]+\d?|[A-Z]+(?![a-z])\d?")

_SHARES = re.compile(
    "acc|accuracy|auc|auroc|bleu|dice|em|f1|iou|map|mrr|ndcg|precision|recall|rouge|top[15]"
)
_SIGNED = re.compile(
    "advantage|corr|correlation|elbo|kl|margin|r2|returns?|rewards?|scores?|variance"
)
"""Words of names of values that may be zero or negative, whatever the first numbers are."""


@dataclass(frozen=True, slots=True)
class Values:
    """``[values]``: logged values, such as the loss, as voices beside the layers' or alone."""

    which: tuple[str, ...] = key(
        (),
        "names or patterns of the values that have a voice, as loss or val/*; without any, all "
        "values of a run without layers, and none of another",
    )
    slot: str = key(
        "1/4",
        "least time between two notes of a value; in a run without layers the length of a slot",
        choices=NOTE_VALUES,
    )
    home: tuple[str, ...] = key(
        ("C3", "A3"), "lowest and highest home of a value; the first value has the lowest", length=2
    )
    factor: float = key(
        0.0,
        "factor in a value that moves its voice by one note of the scale, 1.01 or more; 0: found "
        "from its first numbers",
        least=0.0,
        most=10.0,
    )
    difference: float = key(
        0.0,
        "the same as a difference, for values that may be zero or negative; 0: found from the "
        "first numbers",
        least=0.0,
        most=1e9,
    )
    velocity: int = key(80, "velocity of a value's notes", least=1, most=127)
    reference_tone: bool = key(
        False, "play the home of each value softly once a bar, to compare with"
    )
    program: int = key(
        0, "General MIDI program of the values (1-128); 0: none is sent", least=0, most=128
    )
    partials: tuple[float, ...] = key(
        (0.8, 0.6, 0.5, 0.4, 0.3, 0.2),
        "amplitude of each harmonic partial of a value's notes",
        least=0.0,
        most=1.0,
    )
    decay: tuple[float, ...] = key(
        (0.7, 0.45, 0.3, 0.2, 0.15, 0.1),
        "seconds in which each partial falls to 1/e (37 %); 0: it does not decay",
        least=0.0,
        most=60.0,
    )


@dataclass(frozen=True, slots=True)
class Law:
    """How the numbers of one value become degrees of the scale.

    Parameters
    ----------
    home : float
        The number at which the value is at home: its first one (above zero, for factors).
    unit : float
        The factor or the difference for one degree of the scale.
    additive : bool
        Whether `unit` is a difference.

    Examples
    --------
    >>> Law(2.0, 2.0, False).degrees(0.5), Law(0.5, 0.05, True).degrees(0.6)
    (-2.0, 2.0)
    >>> Law(2.0, 2.0, False).degrees(0.0)
    -inf
    """

    home: float
    unit: float
    additive: bool

    def degrees(self, number: float) -> float:
        """Return how many degrees of the scale a finite number is above home."""
        if self.additive:
            return round((number - self.home) / self.unit, 9)
        if number <= 0.0:
            return -math.inf
        return round((math.log(number) - math.log(self.home)) / math.log(self.unit), 9)

    def number(self, degrees: float) -> float:
        """Return the number that is so many degrees above home."""
        if self.additive:
            return self.home + degrees * self.unit
        return float(self.home * self.unit**degrees)


def law_of(name: str, first: Sequence[float], settings: Values) -> Law:
    """Find the law of a value from its name and its first finite numbers.

    Examples
    --------
    >>> law_of("loss", [10.98, 10.95, 10.9], Values())
    Law(home=10.98, unit=1.4142135623730951, additive=False)
    >>> law_of("val/acc", [0.31, 0.4, 0.44], Values())
    Law(home=0.31, unit=0.05, additive=True)
    >>> law_of("reward", [-21.0, -20.0, -20.5], Values())
    Law(home=-21.0, unit=2.0, additive=True)
    """
    words = _words(name)
    share = is_share(name)
    positive = [number for number in first if number > 0.0]
    if min(first) < 0.0 or not positive or share or any(map(_SIGNED.fullmatch, words)):
        return Law(first[0], settings.difference or _difference(first, share=share), additive=True)
    if settings.factor:
        return Law(positive[0], settings.factor, additive=False)
    logs = [math.log(number) for number in positive]
    change = _change(logs)
    # One degree is at least twice the usual change from one number to the next.
    factor = next((f for f in FACTORS if math.log(f) >= 2.0 * change), FACTORS[-1])
    return Law(positive[0], factor, additive=False)


def is_share(name: str) -> bool:
    """Return whether a value is a share or a percentage, by its name, as an accuracy.

    Examples
    --------
    >>> is_share("val/acc"), is_share("loss")
    (True, False)
    """
    return any(map(_SHARES.fullmatch, _words(name)))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _difference(first: Sequence[float], *, share: bool) -> float:
    if share and min(first) >= 0.0:
        return SHARE_DIFFERENCE if max(first) <= 1.0 else PERCENT_DIFFERENCE
    change = 2.0 * _change(first) or 0.1 * abs(first[0]) or 0.1
    change = min(max(change, 1e-300), 1e300)
    # The next larger of 1, 2, 5, 10, …
    power = 10.0 ** math.floor(math.log10(change))
    return power * next(each for each in (1.0, 2.0, 5.0, 10.0) if each * power >= change * 0.999)


def _change(numbers: Sequence[float]) -> float:
    """Return the usual change from one number to the next."""
    changes = [abs(b - a) for a, b in pairwise(numbers)]
    return median(changes) if changes else 0.0
