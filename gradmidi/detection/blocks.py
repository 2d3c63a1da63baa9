"""Find the faults of a run in blocks of frames: nearly all frames have none."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradmidi.detection.detector import Watch
from gradmidi.detection.loss import LossPast
from gradmidi.detection.past import BLOCK
from gradmidi.detection.screen import Screen, Series
from gradmidi.detection.settings import Settings
from gradmidi.log.blocks import Block

__all__ = ["BlockWatch"]


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
