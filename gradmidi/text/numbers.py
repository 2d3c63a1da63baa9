"""The numbers of a run, gathered in constant memory: of each layer, and of each logged value."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradmidi.log import Layer
from gradmidi.log.blocks import Block
from gradmidi.text.words import number

__all__ = [
    "SAMPLES",
    "Gathered",
    "LayerNumbers",
    "NormNumbers",
    "UpdateNumbers",
    "ValueNumbers",
    "lines",
    "medians",
]

SAMPLES = 20_000
"""Rows kept for the medians; of a longer run every n-th step counts, and the text says so."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerNumbers:
    """One layer's norms over a run.

    Parameters
    ----------
    name : str
        The layer's name.
    size : int
        How many parameters it has.
    first, median, last, largest : float
        Of its finite norms; nan where there are none.
    largest_step : int
        The step of the largest one; 0 where there is none.
    update, largest_update : float
        Median and largest size of an update, divided by the size of the weights; nan where none
        was measured.
    nan, inf, zero, absent : int
        Steps at which its norm was nan, infinite or exactly zero, or there was no gradient.
    first_nan, first_inf : int
        The first such step; 0 where there is none.
    zero_since : int
        The step from which on it was exactly zero to the end; 0 where it was not.
    """

    name: str
    size: int
    first: float = math.nan
    median: float = math.nan
    last: float = math.nan
    largest: float = math.nan
    largest_step: int = 0
    nan: int = 0
    inf: int = 0
    zero: int = 0
    absent: int = 0
    first_nan: int = 0
    first_inf: int = 0
    zero_since: int = 0
    update: float = math.nan
    largest_update: float = math.nan


class NormNumbers:
    """The numbers of all layers, gathered many frames at a time."""

    def __init__(self, layers: int) -> None:
        self._floats = {name: np.full(layers, math.nan) for name in ("first", "last")}
        self._largest = np.full(layers, -math.inf)
        names = ("nan", "inf", "zero", "absent", "first_nan", "first_inf", "zero_since")
        self._counts = {name: np.zeros(layers, np.int64) for name in (*names, "largest_step")}

    def of(self, layers: Sequence[Layer], medians: Sequence[float]) -> tuple[LayerNumbers, ...]:
        """Return the numbers of every layer."""
        largest = np.where(self._largest >= 0.0, self._largest, math.nan)
        columns = {**self._floats, "largest": largest, **self._counts}
        values = {name: column.tolist() for name, column in columns.items()}
        return tuple(
            LayerNumbers(
                layer.name,
                layer.size,
                median=medians[at],
                **{name: column[at] for name, column in values.items()},
            )
            for at, layer in enumerate(layers)
        )

    def add(self, block: Block) -> None:
        """Add the next frames."""
        norms, steps = block.norms, block.steps
        counts, first = self._counts, self._floats["first"]
        highest = norms.max(axis=0)
        if norms.min(initial=math.inf) > 0.0 and (highest < math.inf).all():
            # In most frames all norms are numbers above zero.
            self._floats["first"] = np.where(np.isnan(first), norms[0], first)
            self._floats["last"] = norms[-1].copy()
            counts["zero_since"][:] = 0
            larger = highest > self._largest
            counts["largest_step"][larger] = steps[norms[:, larger].argmax(axis=0)]
            self._largest = np.where(larger, highest, self._largest)
            return
        for name, found in (("nan", np.isnan(norms)), ("inf", norms == math.inf)):
            new = (counts[name] == 0) & found.any(axis=0)
            counts[f"first_{name}"][new] = steps[found.argmax(axis=0)[new]]
            counts[name] += found.sum(axis=0)
        zero = norms == 0.0
        counts["zero"] += zero.sum(axis=0)
        counts["absent"] += (norms < 0.0).sum(axis=0)
        # Where the zeros at the end of these frames begin; they may go on from before.
        length = np.where(zero.all(axis=0), len(norms), (~zero)[::-1].argmax(axis=0))
        since = np.where(length > 0, steps[np.minimum(len(norms) - length, len(norms) - 1)], 0)
        before = (length == len(norms)) & (counts["zero_since"] > 0)
        counts["zero_since"] = np.where(before, counts["zero_since"], since)
        number = np.isfinite(norms) & (norms >= 0.0)
        some = number.any(axis=0)
        at = np.arange(norms.shape[1])
        firsts, lasts = (
            norms[number.argmax(axis=0), at],
            norms[::-1][number[::-1].argmax(axis=0), at],
        )
        self._floats["first"] = np.where(np.isnan(first) & some, firsts, first)
        self._floats["last"] = np.where(some, lasts, self._floats["last"])
        masked = np.where(number, norms, -math.inf)
        peak = masked.argmax(axis=0)
        larger = masked[peak, at] > self._largest
        counts["largest_step"][larger] = steps[peak[larger]]
        self._largest = np.where(larger, masked[peak, at], self._largest)


class UpdateNumbers:
    """Sizes of updates, of which at most `SAMPLES` rows are kept, evenly spread."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self._every = 1
        self._seen = 0
        self._largest: np.ndarray | None = None

    def add(self, row: np.ndarray) -> None:
        """Add the updates of a step."""
        finite = np.where(np.isfinite(row) & (row >= 0.0), row, np.nan)
        self._largest = finite if self._largest is None else np.fmax(self._largest, finite)
        if self._seen % self._every == 0:
            self._rows.append(row)
        self._seen += 1
        if len(self._rows) > SAMPLES:
            del self._rows[1::2]
            self._every *= 2

    def numbers(self, layers: int) -> list[dict[str, Any]]:
        """Return the keywords of `LayerNumbers` for each layer; none if nothing was measured."""
        if self._largest is None:
            return [{} for _ in range(layers)]
        pairs = zip(medians(self._rows, layers), self._largest.tolist(), strict=True)
        return [{"update": median, "largest_update": largest} for median, largest in pairs]


def medians(rows: Sequence[np.ndarray], layers: int) -> list[float]:
    """Return the median of each layer's finite norms; nan where it has none."""
    if not rows:
        return [math.nan] * layers
    found = []
    for column in np.stack(rows).T:
        finite = column[np.isfinite(column) & (column >= 0.0)]
        # The sum of two norms may leave the range of a float, that of their halves does not.
        found.append(2.0 * float(np.median(0.5 * finite)) if finite.size else math.nan)
    return found


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
