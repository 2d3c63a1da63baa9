"""Collect frames into slots, the unit of musical time, by steps or by the seconds of the log.

If several frames share a slot, each layer keeps its largest norm, and every fault and mark is
kept. The order is nan, inf, numbers, zero, no gradient: that of `numpy.maximum`, with `ABSENT`
below zero. A slot is returned as soon as it is complete.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise

import numpy as np

from gradmidi.detection.kinds import Finding
from gradmidi.log import Frame, numbers_of
from gradmidi.log.blocks import Block

__all__ = ["Slot", "Slots", "StepSlots", "WallSlots"]

ROWS = 256
"""So many rows of norms are kept before their maximum is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """Frames that are played together.

    Parameters
    ----------
    index : int
        Index of the slot, from 0.
    step : int
        The last step in the slot.
    seconds : float
        The time of that step, in seconds of the log.
    norms : ndarray of float64, shape (layers,)
        The largest norm of each layer; see `gradmidi.log.ABSENT`.
    loss : float or None
        The last loss in the slot; may be nan or infinite.
    frames : int
        Number of frames in the slot.
    findings : tuple of Finding
        Every fault found in the slot.
    marks : tuple of str
        Every mark in the slot.
    values : mapping of str to float
        The last number of each value that was logged in the slot; may be nan or infinite.
    """

    index: int
    step: int
    seconds: float
    norms: np.ndarray
    loss: float | None = None
    frames: int = 1
    findings: tuple[Finding, ...] = ()
    marks: tuple[str, ...] = ()
    values: Mapping[str, float] = field(default_factory=dict)


class _Open:
    """A slot that is not complete: what its frames have so far."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.frames = 0
        self._last: Frame
        self._rows: list[np.ndarray] = []
        self._loss: float | None = None
        self._findings: list[Finding] = []
        self._marks: list[str] = []
        self._values: dict[str, float] = {}

    def add(self, frame: Frame, findings: Sequence[Finding], marks: Sequence[str]) -> None:
        """Add a frame, what was found in it, and the marks before it."""
        self.frames += 1
        self._last = frame
        self._rows.append(frame.norms)
        if len(self._rows) > ROWS:
            self._rows = [np.maximum.reduce(self._rows)]
        if frame.extra:
            self._take_values(frame)
        self._findings += findings
        self._marks += marks

    def add_block(self, block: Block, marks: Sequence[str]) -> None:
        """Add frames in which nothing was found, and the marks before them."""
        self.frames += len(block)
        self._last = block.frame(-1)
        self._rows.append(np.maximum.reduce(block.norms))
        kinds = set(map(type, chain.from_iterable(each.values() for each in block.extra)))
        if kinds <= {float, int}:
            merged: dict[str, float] = {}
            for extra in block.extra:
                merged.update(extra)
            numbers = numbers_of(merged)
            self._loss = numbers.get("loss", self._loss)
            self._values.update(numbers)
        else:
            for frame in block.frames():
                self._take_values(frame)
        self._marks += marks

    def _take_values(self, frame: Frame) -> None:
        loss = frame.loss
        self._loss = self._loss if loss is None else loss
        self._values.update(numbers_of(frame.extra))

    def done(self) -> Slot:
        """Return the slot as it is now."""
        last, rows = self._last, self._rows
        return Slot(
            self.index,
            last.step,
            last.t,
            rows[0] if len(rows) == 1 else np.maximum.reduce(rows),
            self._loss,
            self.frames,
            tuple(self._findings),
            tuple(self._marks),
            self._values,
        )


class Slots:
    """Collects frames into slots: the base class of `StepSlots` and `WallSlots`."""

    def __init__(self) -> None:
        self._slot: _Open | None = None
        self._marks: tuple[str, ...] = ()

    def add(self, frame: Frame, findings: Sequence[Finding]) -> Slot | None:
        """Add a frame; return the slot that is complete now, if any."""
        raise NotImplementedError

    def parts(self, block: Block) -> Iterator[Block]:
        """Divide a block where the clock closes a slot before the next frame."""
        yield block

    def add_block(self, block: Block) -> Iterator[Slot]:
        """Add frames in which nothing was found, a part of a block; return each complete slot."""
        raise NotImplementedError

    def mark(self, text: str) -> None:
        """Add a mark to the slot of the next frame."""
        self._marks += (text,)

    def finish(self) -> Slot | None:
        """Return the slot that is not complete yet, if any."""
        slot, self._slot = self._slot, None
        return None if slot is None else slot.done()

    def _opened(self, index: int) -> _Open:
        """Return the slot that is not complete yet, or a new one at `index`."""
        if self._slot is None:
            self._slot = _Open(index)
        return self._slot

    def _fill(self, index: int, frame: Frame, findings: Sequence[Finding]) -> int:
        """Add a frame to the slot that is not complete yet, or to a new one at `index`.

        Returns how many frames the slot has.
        """
        slot = self._opened(index)
        slot.add(frame, findings, self._marks)
        self._marks = ()
        return slot.frames


class StepSlots(Slots):
    """One slot for every `frames` frames.

    Examples
    --------
    >>> from gradmidi.log import row
    >>> slots = StepSlots(2)
    >>> slots.add(Frame(1, 0.0, row([1.0, 5.0])), ())
    >>> slots.add(Frame(2, 0.1, row([2.0, None])), ()).norms
    array([2., 5.])
    """

    def __init__(self, frames: int = 1) -> None:
        super().__init__()
        self.frames = frames
        self._index = 0

    def add(self, frame: Frame, findings: Sequence[Finding]) -> Slot | None:
        """Add a frame; return the slot if it is full."""
        if self._fill(self._index, frame, findings) < self.frames:
            return None
        self._index += 1
        return self.finish()

    def add_block(self, block: Block) -> Iterator[Slot]:
        """Add frames in which nothing was found; return each slot that is full."""
        begin = 0
        while begin < len(block):
            slot = self._opened(self._index)
            end = min(len(block), begin + self.frames - slot.frames)
            slot.add_block(block.part(begin, end), self._marks)
            self._marks = ()
            begin = end
            if slot.frames == self.frames:
                self._index += 1
                self._slot = None
                yield slot.done()


class WallSlots(Slots):
    """Slots on a grid of seconds.

    Parameters
    ----------
    seconds : float
        Length of a slot.
    spacing : int, default 1
        The smallest distance between two slots that have frames; frames in between go to the slot
        before.

    Examples
    --------
    >>> from gradmidi.log import row
    >>> slots = WallSlots(0.125)
    >>> slots.add(Frame(1, 0.01, row([1.0])), ())
    >>> slots.add(Frame(2, 0.30, row([1.0])), ()).index
    0
    """

    def __init__(self, seconds: float, spacing: int = 1) -> None:
        super().__init__()
        self.seconds = seconds
        self.spacing = spacing
        self._index = 0
        self._grid_time: Callable[[float], float] | None = None
        self._log_time: Callable[[float], float] | None = None

    def keep_to(
        self, grid_time: Callable[[float], float], log_time: Callable[[float], float]
    ) -> None:
        """Count slots in other seconds than the log's, as a session's tempo makes them.

        `grid_time` returns them for seconds of the log, and `log_time` is its inverse.
        """
        self._grid_time, self._log_time = grid_time, log_time

    def index_of(self, t: float) -> int:
        """Return the index of the slot at `t` seconds of the log."""
        return int((t if self._grid_time is None else self._grid_time(t)) / self.seconds)

    def start_of(self, index: int) -> float:
        """Return the second of the log at which a slot starts."""
        start = index * self.seconds
        return start if self._log_time is None else self._log_time(start)

    def until(self, index: int) -> Slot | None:
        """Close the slots before `index`; return the open slot, if any.

        Later frames go to slot `index` or a later one, even if their time is before it.
        """
        done = None
        if self._slot is not None and self._slot.index < index:
            done = self.finish()
            self._index += self.spacing
        self._index = max(self._index, index)
        return done

    def add(self, frame: Frame, findings: Sequence[Finding]) -> Slot | None:
        """Add a frame; if it starts another slot, return the one before."""
        done = self.until(self.index_of(frame.t))
        self._fill(self._index, frame, findings)
        return done

    def parts(self, block: Block) -> Iterator[Block]:
        """Divide a block where the clock closes a slot before the next frame."""
        cells = list(map(self.index_of, block.t.tolist()))
        edges = [0, *(np.flatnonzero(np.diff(cells)) + 1).tolist(), len(block)]
        for begin, end in pairwise(edges):
            yield block.part(begin, end)

    def add_block(self, block: Block) -> Iterator[Slot]:
        """Add frames of one cell; if they start another slot, return the one before."""
        done = self.until(self.index_of(float(block.t[0])))
        self._opened(self._index).add_block(block, self._marks)
        self._marks = ()
        if done is not None:
            yield done
