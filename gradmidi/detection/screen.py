"""What a block of frames says by itself, before it is compared with what came before."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.rates import middle
from gradmidi.log import Scalar
from gradmidi.log.blocks import Block

__all__ = ["Screen", "Series"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The numbers of one name in a block.

    Parameters
    ----------
    places : ndarray of int64
        The index of each number's frame, in order.
    numbers : list
        The numbers.
    """

    places: Integers
    numbers: list[Any]

    def as_floats(self) -> "Series":
        """Return the same numbers as floating-point numbers."""
        return Series(self.places, list(map(float, self.numbers)))

    def part(self, begin: int, end: int) -> list[Any]:
        """Return the numbers of the frames from `begin` on, before `end`."""
        first, last = np.searchsorted(self.places, (begin, end)).tolist()
        return self.numbers[first:last]

    def place(self, begin: int, count: int, end: int) -> int:
        """Return the frame of the number that follows `count` numbers from `begin` on, or `end`."""
        at = int(np.searchsorted(self.places, begin)) + count
        return min(end, int(self.places[at])) if at < len(self.places) else end


class Screen:
    """What the steps and the logged values of a block say by themselves.

    Parameters
    ----------
    block : Block
        The frames.

    Attributes
    ----------
    odd : ndarray of int64
        Frames that need a judgement of their own: they were skipped, have a number that is not
        finite, or do not follow on the step before.
    losses : Series
        What `Frame.loss` is, without None.
    rates : Series
        The learning rates that are floating-point numbers.
    floats : dict of str to Series
        The floating-point numbers of each name.
    updates : Series
        The median size of the updates of each frame that has any.
    integers : dict of str to Series
        The whole numbers of each name, without booleans.
    """

    def __init__(self, block: Block) -> None:
        self._extra = block.extra
        self.floats: dict[str, Series] = {}
        self.integers: dict[str, Series] = {}
        self.losses = self.rates = Series(np.empty(0, np.int64), [])
        odd = np.append(False, np.diff(block.steps) <= 0)
        there = [at for at, each in enumerate(block.updates) if each is not None]
        sizes = [middle(each) for each in block.updates if each is not None]
        self.updates = Series(np.array(there, np.int64), sizes)
        for name in dict.fromkeys(chain.from_iterable(self._extra)):
            places, values = self._column(name)
            kinds = set(map(type, values))
            if name == "skipped":
                odd[places[list(map(bool, values))]] = True
            floats = [kind for kind in kinds if issubclass(kind, float)]
            if floats:
                series = self._series(places, values, kinds, *floats)
                self.floats[name] = series
                odd[series.places[~np.isfinite(series.numbers)]] = True
            if int in kinds:
                self.integers[name] = self._series(places, values, kinds, int)
            if name == "loss":
                self.losses = self._series(places, values, kinds, *floats, int, bool).as_floats()
        self.rates = self.floats.get("lr", self.rates)
        self.odd: Integers = np.flatnonzero(odd)

    def numbers(self) -> Iterator[tuple[str, Series]]:
        """Return the numbers of each name, whole or not, without booleans."""
        for name in {**self.floats, **self.integers}:
            if name in self.floats and name in self.integers:
                places, values = self._column(name)
                kinds = set(map(type, values))
                series = self._series(places, values, kinds, *(kinds - {bool, str}))
            else:
                series = self.floats.get(name) or self.integers[name]
            yield name, series.as_floats()

    def ends(self, begin: int) -> int:
        """Return the first odd frame from `begin` on; the number of frames if there is none."""
        at = int(np.searchsorted(self.odd, begin))
        return int(self.odd[at]) if at < len(self.odd) else len(self._extra)

    def _column(self, name: str) -> tuple[Integers, list[Scalar]]:
        extra = self._extra
        try:
            return np.arange(len(extra)), [each[name] for each in extra]
        except KeyError:
            places = [index for index, each in enumerate(extra) if name in each]
            return np.array(places, np.int64), [extra[index][name] for index in places]

    @staticmethod
    def _series(places: Integers, values: list[Scalar], kinds: set[type], *wanted: type) -> Series:
        if kinds.issubset(wanted):
            return Series(places, values)
        chosen: Iterable[int] = [i for i, value in enumerate(values) if type(value) in wanted]
        return Series(places[list(chosen)], [values[index] for index in chosen])
