"""The notes, slots, faults and marks of one played run, for pages and pictures."""

from array import array
from collections.abc import Sequence
from typing import Any

from gradmidi.music.events import (
    BRIGHTNESS,
    FAULT_VOICE,
    Alarm,
    Control,
    End,
    Event,
    Mark,
    Off,
    On,
    Sounding,
    Step,
)

__all__ = ["NAME", "NORM", "PULSE", "PlayedRun"]

NORM, PULSE, NAME = 0, 1, 2
"""The kind of a note: a norm, a fault's sound, or the voice that has the fault."""


class PlayedRun:
    """Collects the events of a run, or of the part of a piece that plays one of several runs.

    `notes` and `brightness` have a column for each property of all notes and of all changes of a
    voice's brightness, with times in ticks; the end of a note that still sounds is its start.
    `slots`, `faults` and `marks` are lists of events.

    `start` and `end` are the times of the first and the last tick in the piece, in seconds. `run`
    is the index of the run in the page. `side` is -1 for the left channel, 1 for the right, and 0
    for both.

    Examples
    --------
    >>> played = PlayedRun("a", 1 / 960)
    >>> played.send([On(0, 0, 60, 80, 60.0), Off(480, 0, 60)])
    >>> played.notes["end"].tolist()
    [480]
    """

    def __init__(
        self, name: str, tick_seconds: float, *, start: float = 0.0, run: int = 0, side: int = 0
    ) -> None:
        self.name = name
        self.run = run
        self.side = side
        self.start = self.end = start
        self.tick_seconds = tick_seconds
        self.slots: list[Step] = []
        self.faults: list[Alarm] = []
        self.marks: list[Mark] = []
        self.notes: dict[str, array[Any]] = {
            "start": array("i"),
            "end": array("i"),
            "voice": array("h"),
            "pitch": array("d"),
            "velocity": array("B"),
            "sound": array("B"),
        }
        self.brightness: dict[str, array[Any]] = {
            "at": array("i"),
            "voice": array("h"),
            "value": array("B"),
        }
        self._sounding: Sounding[tuple[int, int], int] = Sounding()

    def seconds(self, tick: int) -> float:
        """Return the time of a tick of this run in the piece, in seconds."""
        return self.start + tick * self.tick_seconds

    def send(self, events: Sequence[Event]) -> None:
        """Add the next events, in order of ticks."""
        for event in events:
            match event:
                case On():
                    self._start_note(event)
                case Off(tick, voice, note):
                    index = self._sounding.end((voice, note))
                    if index is not None:
                        self.notes["end"][index] = tick
                case Control(tick, voice, controller, value) if controller == BRIGHTNESS:
                    _append(self.brightness, tick, voice, value)
                case Step():
                    self.slots.append(event)
                case Alarm():
                    self.faults.append(event)
                case Mark(voice=None):
                    self.marks.append(event)
                case End(tick):
                    self.end = self.seconds(tick)
                    for index in self._sounding.end_all():
                        self.notes["end"][index] = tick

    def _start_note(self, on: On) -> None:
        self._sounding.start((on.voice, on.note), len(self.notes["start"]))
        pulse = on.sound or on.voice == FAULT_VOICE
        sound = PULSE if pulse else NORM if on.norm else NAME
        _append(self.notes, on.tick, on.tick, on.voice, on.pitch, on.velocity, sound)


def _append(columns: "dict[str, array[Any]]", *values: float) -> None:
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)
