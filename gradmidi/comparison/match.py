"""Runs side by side: the layers they share, one clock, and their frames brought to both."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.detector import Finding
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.log import Frame, Header, Item, RunLog, combine
from gradmidi.music.slots import Slot, WallSlots
from gradmidi.music.voices import Voice

__all__ = ["CLOCKS", "ClockSlots", "Entry", "Filled", "Place", "enter"]

Place = Callable[[Frame], float]
"""Where a frame stands on the clock."""


class Entry:
    """One of the runs that are compared, seen through the layers all of them share.

    Parameters
    ----------
    name : str
        What it is called.
    log : RunLog
        The run.
    header : Header
        Of the shared layers, in the order of the first run.

    Attributes
    ----------
    place : callable
        Where a frame stands on the clock.
    last : float
        Where its last frame stands.
    apart : float
        How far its frames stand apart, on the average.

    Raises
    ------
    RunLogError
        If it holds no steps, or nothing that the clock counts.
    """

    def __init__(self, name: str, log: RunLog, header: Header, by: str) -> None:
        if not log.steps:
            raise RunLogError(f"{log.path} holds no steps: nothing to compare")
        self.name = name
        self.log = log
        self.header = header
        index = {layer.name: place for place, layer in enumerate(log.layers)}
        self._columns = np.array([index[layer.name] for layer in header.layers], dtype=np.intp)
        first = next(log.frames())
        self.place = CLOCKS[by](log, first)
        self.first_step, self.last_step, self.last = first.step, first.step, 0.0
        begin = self.place(first)
        count = 0
        for frame in log.frames():
            self.last = max(self.last, self.place(frame))
            self.last_step = frame.step
            count += 1
        self.apart = (self.last - begin) / (count - 1) if count > 1 else 0.0

    @property
    def left_out(self) -> tuple[str, ...]:
        """Layers that not every run has."""
        kept = {layer.name for layer in self.header.layers}
        return tuple(layer.name for layer in self.log.layers if layer.name not in kept)

    def items(self) -> Iterator[Item]:
        """Read the log, with the shared layers alone."""
        for item in self.log.items():
            if isinstance(item, Frame):
                yield Frame(item.step, item.t, item.norms[self._columns], item.extra)
            elif isinstance(item, Header):
                yield replace(item, layers=self.header.layers)
            else:
                yield item

    def frames(self) -> Iterator[Frame]:
        """Read the frames alone."""
        return (item for item in self.items() if isinstance(item, Frame))

    def references(self, voices: Sequence[Voice]) -> tuple[float, ...]:
        """Find each voice's first finite norm above zero; nan where it never has one."""
        found = np.full(len(voices), math.nan)
        members, starts = _members(voices)
        for frame in self.frames():
            norms = combine(frame.norms, members, starts)
            fitting = np.isnan(found) & np.isfinite(norms) & (norms > 0.0)
            found[fitting] = norms[fitting]
            if not np.isnan(found).any():
                break
        return tuple(found.tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """A slot as it sounded: its index, its last step, and the norm of every voice."""

    index: int
    step: int
    norms: NDArray[np.float64]


class ClockSlots(WallSlots):
    """Slots on a grid of a clock other than the log's own seconds; keeps what they held.

    Parameters
    ----------
    width : float
        Of a slot, on the clock.
    place : callable
        Where a frame stands on it.
    voices : sequence of Voice
        Which layers sound as one.

    Attributes
    ----------
    filled : list of Filled
        Every slot that was handed on.

    Examples
    --------
    >>> from gradmidi.log import row
    >>> slots = ClockSlots(10.0, lambda frame: frame.step - 1, [Voice(0, "a", (0,))])
    >>> slots.add(Frame(1, 0.0, row([1.0])), ())
    >>> slots.add(Frame(35, 0.1, row([2.0])), ()).index
    0
    >>> slots.finish().index
    3
    """

    def __init__(self, width: float, place: Place, voices: Sequence[Voice]) -> None:
        super().__init__(width)
        self.filled: list[Filled] = []
        self._place = place
        self._members, self._starts = _members(voices)

    def index_of(self, t: float) -> int:
        """Find the slot that a place on the clock lies in."""
        # A place on the edge, but for rounding, belongs to the slot that begins there.
        return int(t / self.seconds + 1e-9)

    def add(self, frame: Frame, findings: Sequence[Finding]) -> Slot | None:
        """Take a frame; return the slot before it once the frame falls into a later one."""
        done = self.until(self.index_of(self._place(frame)))
        self._fill(self._index, frame, findings)
        return done

    def finish(self) -> Slot | None:
        """Return what is left, and keep it."""
        slot = super().finish()
        if slot is not None:
            norms = combine(slot.norms, self._members, self._starts)
            self.filled.append(Filled(slot.index, slot.step, norms))
        return slot


def _members(voices: Sequence[Voice]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    members = np.array([layer for voice in voices for layer in voice.layers], dtype=np.intp)
    counts = [len(voice.layers) for voice in voices]
    return members, np.cumsum([0, *counts][:-1], dtype=np.intp)


def enter(runs: Sequence[str | Path | RunLog], by: str) -> tuple[Entry, ...]:
    """Open runs to be compared.

    Parameters
    ----------
    runs : sequence of RunLog or str or Path
        One or more.
    by : {"step", "examples", "time"}
        The clock.

    Returns
    -------
    tuple of Entry

    Raises
    ------
    GradmidiError
        If no layer has the same name in all of them.
    RunLogError
        If a run cannot be read or holds no steps, or nothing that the clock counts.
    """
    logs = [run if isinstance(run, RunLog) else RunLog(run) for run in runs]
    shared = _shared(logs)
    first = logs[0].header
    header = replace(first, layers=tuple(lay for lay in first.layers if lay.name in shared))
    if not header.layers:
        names = "; ".join(
            f"{log.name} has {', '.join(layer.name for layer in log.layers[:5])}" for log in logs
        )
        raise GradmidiError(f"these runs share no layer's name, so nothing compares: {names}")
    return tuple(Entry(name, log, header, by) for name, log in zip(_names(logs), logs, strict=True))


def _shared(logs: Sequence[RunLog]) -> set[str]:
    """Find the names of layers that every run has."""
    return set.intersection(*({layer.name for layer in log.layers} for log in logs))


def _names(logs: Sequence[RunLog]) -> list[str]:
    """Name the runs, by as much of their paths as tells them apart."""
    plain = [log.name for log in logs]
    names = [
        name if plain.count(name) == 1 else "/".join(log.path.absolute().parts[-3:-1])
        for name, log in zip(plain, logs, strict=True)
    ]
    return [
        name if names.count(name) == 1 else f"{name} ({place})"
        for place, name in enumerate(names, 1)
    ]


# -- clocks --------------------------------------------------------------------------------


def _steps(_log: RunLog, _first: Frame) -> Place:
    return lambda frame: float(frame.step - 1)


def _seconds(_log: RunLog, _first: Frame) -> Place:
    return lambda frame: frame.t


def _examples(log: RunLog, first: Frame) -> Place:
    """Count examples before a step: as logged, or by the size of a batch."""
    logged = first.extra.get("examples")
    if isinstance(logged, (int, float)) and logged > 0:
        each = logged / max(1, first.step)
        return lambda frame: max(0.0, float(frame.extra.get("examples") or 0.0) - each)
    batch = log.header.config.get("batch_size")
    if isinstance(batch, (int, float)) and batch > 0:
        return lambda frame: float((frame.step - 1) * batch)
    raise RunLogError(
        f"{log.path} does not tell how many examples a step has; log them with "
        "ears.log(examples=…), or record with config={'batch_size': …}, or compare by step"
    )


CLOCKS: dict[str, Callable[[RunLog, Frame], Place]] = {
    "step": _steps,
    "examples": _examples,
    "time": _seconds,
}
"""What the runs can be laid side by side by."""
