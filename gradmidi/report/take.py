"""What a page keeps of one run while it is played: notes, slots, faults and marks."""

from array import array
from collections import deque
from collections.abc import Sequence
from typing import Any

from gradmidi.music.events import (
    BRIGHTNESS,
    FAULT_VOICE,
    Control,
    End,
    Event,
    Fault,
    Mark,
    Off,
    On,
    Step,
)

__all__ = ["Take"]

NORM, PULSE, NAME = 0, 1, 2
"""What a note tells: a voice's norm, a fault's kind, or only whose the fault is."""


class Take:
    """Takes one run's events and keeps them as columns.

    Parameters
    ----------
    name : str
        What the run is called.
    tick_seconds : float
        Seconds in one tick.
    start : float, default 0.0
        Where in the piece its first tick lies, in seconds.
    run : int, default 0
        Which of the page's runs it is.
    side : int, default 0
        -1: it sounds on the left, 1: on the right, 0: on both.

    Attributes
    ----------
    slots : list of Step
        What was played, slot by slot.
    faults, marks : list of Fault, list of Mark
        Of the whole piece.
    notes, turns : dict of str to array
        Notes, and turns of the brightness, a column each; times in ticks.
    end : float
        Where in the piece its last tick lies, in seconds.

    Examples
    --------
    >>> take = Take("a", 1 / 960)
    >>> take.send([On(0, 0, 60, 80, 60.0), Off(480, 0, 60)])
    >>> take.notes["end"].tolist()
    [480]
    """

    def __init__(
        self, name: str, tick_seconds: float, *, start: float = 0.0, run: int = 0, side: int = 0
    ) -> None:
        self.name = name
        self.run = run
        self.side = side
        self.start = self.end = start
        self._tick = tick_seconds
        self.slots: list[Step] = []
        self.faults: list[Fault] = []
        self.marks: list[Mark] = []
        self.notes: dict[str, array[Any]] = {
            "start": array("i"),
            "end": array("i"),
            "voice": array("h"),
            "pitch": array("d"),
            "velocity": array("B"),
            "sound": array("B"),
        }
        self.turns: dict[str, array[Any]] = {
            "at": array("i"),
            "voice": array("h"),
            "value": array("B"),
        }
        self._held: dict[tuple[int, int], deque[int]] = {}

    def seconds(self, tick: int) -> float:
        """Tell where in the piece a tick of this take lies."""
        return self.start + tick * self._tick

    def send(self, events: Sequence[Event]) -> None:
        """Take the next events, in order of ticks."""
        for event in events:
            match event:
                case On():
                    self._begin(event)
                case Off(tick, voice, note):
                    held = self._held.get((voice, note))
                    if held:
                        self.notes["end"][held.popleft()] = tick
                case Control(tick, voice, controller, value) if controller == BRIGHTNESS:
                    self.turns["at"].append(tick)
                    self.turns["voice"].append(voice)
                    self.turns["value"].append(value)
                case Step():
                    self.slots.append(event)
                case Fault():
                    self.faults.append(event)
                case Mark(voice=None):
                    self.marks.append(event)
                case End(tick):
                    self.end = self.seconds(tick)
                    self._let_go(tick)

    def _begin(self, on: On) -> None:
        index = len(self.notes["start"])
        self._held.setdefault((on.voice, on.note), deque()).append(index)
        values = (
            on.tick,
            on.tick,
            on.voice,
            on.pitch,
            on.velocity,
            _kind(on),
        )
        for column, value in zip(self.notes.values(), values, strict=True):
            column.append(value)

    def _let_go(self, tick: int) -> None:
        for held in self._held.values():
            while held:
                self.notes["end"][held.popleft()] = tick


def _kind(on: On) -> int:
    if on.sound or on.voice == FAULT_VOICE:
        return PULSE
    return NORM if on.norm else NAME
