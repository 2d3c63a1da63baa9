"""The numbers of a logged value over a run, gathered in constant memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from gradmidi.text.words import number

__all__ = ["Gathered", "ValueNumbers", "lines"]

MOST_KEPT = 2000
"""Most numbers kept of one value; of more, every second, fourth, … counts."""

PARTS = 10
"""Parts of a run whose medians say from where on a value is level."""

LEAST_NUMBERS = 20
"""Fewer numbers say nothing about a plateau."""

LEVEL = 0.02
"""A value is level where the medians of all later parts differ by less than this share of their
range over the run."""


@dataclass(frozen=True, slots=True)
class ValueNumbers:
    """One logged value over a run.

    Parameters
    ----------
    name : str
        The value's name.
    first, last : float
        Its first and its last number, which may be nan or infinite.
    lowest, highest : float
        Of its finite numbers; nan where there are none.
    lowest_step, highest_step : int
        The steps of the lowest and the highest one; 0 where there is none.
    level_since : int
        The step from which on it hardly changes, a plateau; 0 where it does, or is constant.
    """

    name: str
    first: float = math.nan
    last: float = math.nan
    lowest: float = math.nan
    highest: float = math.nan
    lowest_step: int = 0
    highest_step: int = 0
    level_since: int = 0


class Gathered:
    """Gathers the numbers of one value.

    Examples
    --------
    >>> gathered = Gathered("loss")
    >>> for step in range(1, 101):
    ...     gathered.add(step, max(1.0, 3.0 - 0.1 * step))
    >>> found = gathered.numbers()
    >>> found.first, found.last, found.lowest_step, found.level_since
    (2.9, 1.0, 20, 21)
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._ends: tuple[float, float] | None = None
        self._lowest = (math.inf, 0)
        self._highest = (-math.inf, 0)
        self._kept: list[tuple[int, float]] = []
        self._every = 1
        self._count = 0

    def add(self, step: int, number: float) -> None:
        """Add the number of a step."""
        self._ends = (number if self._ends is None else self._ends[0], number)
        if not math.isfinite(number):
            return
        if number < self._lowest[0]:
            self._lowest = number, step
        if number > self._highest[0]:
            self._highest = number, step
        if self._count % self._every == 0:
            self._kept.append((step, number))
            if len(self._kept) > MOST_KEPT:
                self._kept = self._kept[::2]
                self._every *= 2
        self._count += 1

    def numbers(self) -> ValueNumbers:
        """Return what was gathered."""
        if self._ends is None:
            return ValueNumbers(self._name)
        if not self._count:
            return ValueNumbers(self._name, *self._ends)
        return ValueNumbers(
            self._name,
            *self._ends,
            self._lowest[0],
            self._highest[0],
            self._lowest[1],
            self._highest[1],
            self._level_since(),
        )

    def _level_since(self) -> int:
        if len(self._kept) < LEAST_NUMBERS:
            return 0
        edges = [len(self._kept) * part // PARTS for part in range(PARTS + 1)]
        medians = [
            median(number for _, number in self._kept[begin:end]) for begin, end in pairwise(edges)
        ]
        room = LEVEL * (max(medians) - min(medians))
        last = medians[-1]
        level = PARTS - 1
        while level > 0 and abs(medians[level - 1] - last) < room:
            level -= 1
        return self._kept[edges[level]][0] if 0 < level < PARTS - 1 else 0


def lines(values: Sequence[ValueNumbers]) -> Iterator[str]:
    """Write values in lines of text.

    Examples
    --------
    >>> list(lines([ValueNumbers("loss", 2.9, 1.0, 1.0, 2.9, 20, 1, 21), ValueNumbers("acc")]))
    ['loss: first 2.9, last 1, lowest 1 at step 20, highest 2.9 at step 1; level since step 21', \
'acc: no finite number']
    """
    for each in values:
        if math.isnan(each.lowest):
            yield f"{each.name}: no finite number"
            continue
        ends = f"{each.name}: first {number(each.first)}, last {number(each.last)}"
        if each.lowest == each.highest:
            yield ends
            continue
        level = f"; level since step {each.level_since}" if each.level_since else ""
        yield (
            f"{ends}, lowest {number(each.lowest)} at step {each.lowest_step}, "
            f"highest {number(each.highest)} at step {each.highest_step}{level}"
        )
