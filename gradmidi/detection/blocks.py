"""Find the faults of a run in blocks of frames: nearly all frames have none."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.detector import Watch
from gradmidi.detection.logged import Settings
from gradmidi.detection.loss import LossPast
from gradmidi.detection.past import BLOCK
from gradmidi.detection.rates import middle
from gradmidi.log import Scalar
from gradmidi.log.blocks import Block

__all__ = ["BlockWatch", "Screen", "Series"]

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


class BlockWatch(Watch):
    """A `Watch` that also takes many frames at once, where nothing is wrong in any of them.

    Examples
    --------
    >>> import numpy as np
    >>> from gradmidi.detection.kinds import Faults
    >>> from gradmidi.log import Layer
    >>> watch = BlockWatch([Layer("fc1", 10)], Faults())
    >>> steps = np.arange(1, 65)
    >>> block = Block(steps, 0.1 * steps, np.ones((64, 1)), [{}] * 64)
    >>> for begin, end, calm in watch.spans(block):
    ...     print(begin, end, calm)
    ...     if not calm:
    ...         for frame in block.part(begin, end).frames():
    ...             assert not watch.add(frame)
    0 16 False
    16 48 True
    48 64 True
    """

    def spans(self, block: Block) -> Iterator[tuple[int, int, bool]]:
        """Divide a block into spans of frames, each where it begins and ends.

        Yields
        ------
        tuple of (int, int, bool)
            True if nothing is wrong in any frame of the span, nothing went on from before it, and
            the watch has taken its frames; False if the caller has to `add` them one by one, before
            the next span.
        """
        screen = Screen(block)
        at, reach = 0, len(block)
        while at < len(block):
            ahead = self._past.ahead
            taken = 0 if ahead else self._take(block, screen, at, at + reach)
            if taken:
                yield at, at + taken, True
                # What is left does not have to be looked through after each fault.
                reach = 2 * taken if taken < reach else 2 * reach
            else:
                taken = min(ahead or BLOCK, len(block) - at)
                yield at, at + taken, False
                reach = max(BLOCK, reach // 2)
            at += taken

    def _take(self, block: Block, screen: Screen, begin: int, end: int) -> int:
        """Take the first frames in which nothing can be wrong; return how many."""
        if self._busy or self._loss.diverges or self.logged.active:
            return 0
        end = min(screen.ends(begin), end)
        waits = self._rate.waits and screen.losses.part(begin, end)
        pasts = self.logged.pasts_of(name for name, _ in screen.numbers())
        if waits or pasts is None or end - begin < BLOCK or block.steps[begin] <= self._step:
            return 0
        end = begin + self._pace.count_regular(block.t[begin:end])
        end -= (end - begin) % BLOCK
        known = _Known(self._loss, self.settings, pasts)
        new = known.copy()
        sizes = screen.updates.part(begin, end)
        stop = screen.updates.place(begin, self._rate.count_small(sizes), end)
        stop = min(stop, new.take(screen, begin, end))
        taken = self._past.take(block.norms[begin : stop - (stop - begin) % BLOCK])
        if not taken:
            return 0
        if begin + taken < end:
            end = begin + taken
            new = known.copy()
            new.take(screen, begin, end)
        last = end - 1
        self._pace.add_regular(block.t[begin:end])
        self._step, self._t, self._ended = int(block.steps[last]), float(block.t[last]), False
        self._reports.begin(taken)
        finite = [name for name, each in screen.floats.items() if each.part(begin, end)]
        self.logged.take(taken, finite, new.pasts)
        self.settings, self._loss = new.settings, new.loss
        self._lossless = not screen.losses.part(last, end)
        updated = screen.updates.places
        at = int(updated[np.searchsorted(updated, end) - 1]) if len(updated) else 0
        sizes = screen.updates.part(begin, end)
        self._rate.take(screen.losses.part(begin, end), sizes, int(block.steps[at]))
        self._present = self._absence.add_all(int(block.steps[begin]), taken)
        self._norms = block.norms[last]
        return taken


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the logged values so far."""

    loss: LossPast
    settings: Settings
    pasts: Mapping[str, LossPast]

    def copy(self) -> "_Known":
        pasts = {name: past.copy() for name, past in self.pasts.items()}
        return _Known(self.loss.copy(), self.settings.copy(), pasts)

    def take(self, screen: Screen, begin: int, end: int) -> int:
        """Take values of frames; return the first frame that may have something wrong, or `end`.

        What is known then may be of any frame up to `end`, unless that is returned.
        """
        kept: list[tuple[Series, Callable[[list[Any]], int]]] = [
            (screen.losses, self.loss.take),
            (screen.rates, self.loss.take_rates),
        ]
        numbers = dict(screen.numbers()) if self.pasts else {}
        kept += [(numbers[name], past.take) for name, past in self.pasts.items()]
        for name, whole in screen.integers.items():
            kept.append((whole, partial(self.settings.take, name)))
        stop = end
        for series, take in kept:
            stop = min(stop, series.place(begin, take(series.part(begin, end)), end))
        return stop
