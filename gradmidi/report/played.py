"""One run as it is played: its notes, slots, faults and marks, for pages and pictures."""

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
"""What a note stands for: a norm, a fault's sound, or the voice that has the fault."""


class PlayedRun:
    """Collects the events of one run, or of one part of a piece that plays one of several runs.

    `notes` and `brightness` hold a column each for a property of every note and of every change
    of a voice's brightness, with times in ticks; a note that has not ended yet ends where it
    starts. `slots`, `faults` and `marks` are the events themselves.

    `start` is where in the piece the first tick lies, and `end` the last one, in seconds. `run`
    is the index of the run among those of a page. `side` is -1 where it sounds on the left, 1 on
    the right, and 0 on both.

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
        """Return where in the piece a tick of this run lies."""
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
