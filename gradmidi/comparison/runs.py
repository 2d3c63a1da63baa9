"""Compared runs: their shared layers, their slots on a common clock, and where one departs."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.kinds import Finding
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.log import Frame, Header, Item, RunLog
from gradmidi.music.slots import Slot, WallSlots
from gradmidi.music.voices import Voice, VoiceNorms
from gradmidi.sources.opened import open_log
from gradmidi.text.words import number, times

__all__ = [
    "CLOCKS",
    "FACTOR",
    "RULE",
    "ClockSlots",
    "ComparedRun",
    "Departure",
    "Place",
    "PlayedSlot",
    "departure",
    "open_runs",
]

Place = Callable[[Frame], float]
"""Returns the position of a frame on the clock."""


class ComparedRun:
    """One of the compared runs, with only the layers that all runs have.

    `place` returns the position of a frame on the clock, `last` is the position of the last frame,
    and `spacing` is the mean distance of frames.

    Raises RunLogError if the run has no steps or no values for the clock.
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
        self.last_step, self.last = first.step, 0.0
        begin = self.place(first)
        count = 0
        for frame in log.frames():
            self.last = max(self.last, self.place(frame))
            self.last_step = frame.step
            count += 1
        self.spacing = (self.last - begin) / (count - 1) if count > 1 else 0.0

    @property
    def left_out(self) -> tuple[str, ...]:
        """Layers of this run that some other run does not have."""
        kept = {layer.name for layer in self.header.layers}
        return tuple(layer.name for layer in self.log.layers if layer.name not in kept)

    def items(self) -> Iterator[Item]:
        """Read the log with only the shared layers."""
        for item in self.log.items():
            if isinstance(item, Frame):
                yield Frame(item.step, item.t, item.norms[self._columns], item.extra)
            elif isinstance(item, Header):
                yield replace(item, layers=self.header.layers)
            else:
                yield item

    def frames(self) -> Iterator[Frame]:
        """Read only the frames, with only the shared layers."""
        return (item for item in self.items() if isinstance(item, Frame))

    def references(self, voices: Sequence[Voice]) -> tuple[float, ...]:
        """Return each voice's first finite norm above zero; nan if it has none."""
        norms = VoiceNorms(voices)
        for frame in self.frames():
            norms.observe(frame.norms)
            if norms.complete:
                break
        return tuple(norms.references)


@dataclass(frozen=True, slots=True, eq=False)
class PlayedSlot:
    """A played slot: its index, its last step, the norm of every voice, and the last loss."""

    index: int
    step: int
    norms: NDArray[np.float64]
    loss: float | None = None


class ClockSlots(WallSlots):
    """Slots on a grid of any clock; stores them in `played`.

    `width` is the width of a slot, and `place` returns the position of a frame on the clock.

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
        self.played: list[PlayedSlot] = []
        self._place = place
        self._norms = VoiceNorms(voices)

    def index_of(self, t: float) -> int:
        """Return the index of the slot at a position on the clock."""
        # A position on an edge, up to rounding, belongs to the slot that starts there.
        return int(t / self.seconds + 1e-9)

    def add(self, frame: Frame, findings: Sequence[Finding]) -> Slot | None:
        """Add a frame; if it starts another slot, return the one before."""
        done = self.until(self.index_of(self._place(frame)))
        self._fill(self._index, frame, findings)
        return done

    def finish(self) -> Slot | None:
        """Return the open slot, and store it in `played`."""
        slot = super().finish()
        if slot is not None:
            norms = self._norms.combined(slot.norms)
            self.played.append(PlayedSlot(slot.index, slot.step, norms, slot.loss))
        return slot


def open_runs(runs: Sequence[str | Path | RunLog], by: str) -> tuple[ComparedRun, ...]:
    """Open the runs to compare, on the clock `by`.

    Raises GradmidiError if no layer has the same name in all runs, and RunLogError if a run cannot
    be read, has no steps, or has no values for the clock.
    """
    logs = [run if isinstance(run, RunLog) else open_log(run) for run in runs]
    shared = _shared(logs)
    first = logs[0].header
    header = replace(first, layers=tuple(lay for lay in first.layers if lay.name in shared))
    header = replace(header, voices=_shared_voices(header))
    if not any(log.layers for log in logs):
        raise GradmidiError(
            "these runs have logged values and no layers; compare plays layers: render each of "
            "them, with --reference-tone to hear them against their homes"
        )
    if not header.layers:
        names = "; ".join(
            f"{log.name} has {', '.join(layer.name for layer in log.layers[:5])}" for log in logs
        )
        raise GradmidiError(
            f"these runs share no layer's name, so they cannot be compared: {names}"
        )
    return tuple(
        ComparedRun(name, log, header, by) for name, log in zip(_names(logs), logs, strict=True)
    )


def _shared(logs: Sequence[RunLog]) -> set[str]:
    """Return the names of the layers that every run has."""
    return set.intersection(*({layer.name for layer in log.layers} for log in logs))


def _shared_voices(header: Header) -> dict[str, str]:
    """Return the user's own voices that have a shared layer; a layer is in its first voice only."""
    left = {layer.name for layer in header.layers}
    voices = {}
    for name, pattern in header.voices.items():
        members = {layer for layer in left if fnmatchcase(layer, pattern)}
        if members:
            voices[name] = pattern
            left -= members
    return voices


def _names(logs: Sequence[RunLog]) -> list[str]:
    """Return a unique name for each run: its name, with its path if needed."""
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
    """Return a function for the number of examples before a step, as logged or by batch size."""
    logged = first.extra.get("examples")
    if isinstance(logged, (int, float)) and logged > 0:
        each = logged / max(1, first.step)
        return lambda frame: max(0.0, float(frame.extra.get("examples") or 0.0) - each)
    batch = log.header.config.get("batch_size")
    if isinstance(batch, (int, float)) and batch > 0:
        return lambda frame: float((frame.step - 1) * batch)
    raise RunLogError(
        f"{log.path} does not say how many examples a step has; log them with "
        "ears.log(examples=…), or record with config={'batch_size': …}, or compare by step"
    )


CLOCKS: dict[str, Callable[[RunLog, Frame], Place]] = {
    "step": _steps,
    "examples": _examples,
    "time": _seconds,
}
"""Clocks by which runs can be compared, each with a function that returns a frame's position."""


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
