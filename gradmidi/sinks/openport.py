"""One open MIDI port with its limit, its notes and its controllers."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from gradmidi.base.messages import Warnings, say, warn
from gradmidi.errors import PortError
from gradmidi.midi.numbers import (
    ACTIVE_SENSING,
    ALL_NOTES_OFF,
    BEND,
    CONTROL,
    HOLD,
    MIDDLE,
    NOTE_OFF,
    NOTE_ON,
    PRESSURE,
    RELEASE_VELOCITY,
)
from gradmidi.midi.rig import Rig
from gradmidi.music.events import BRIGHTNESS, FAULT_VOICE, Sounding
from gradmidi.sinks.registry import Counters
from gradmidi.text.words import count

__all__ = ["OpenPort", "Wire"]

BURST_SECONDS = 0.05
"""Seconds of the limit that may be sent at once: 15 offs, controllers and ons at 900 a second."""

ALIVE_SECONDS = 0.15
"""The longest pause between messages while notes sound; a receiver waits for 0.3 s."""


LOOK_SECONDS = 2.0
"""How often a port looks for its device."""


class Wire(Protocol):
    """An open MIDI output, such as `gradmidi.midi.ports.Output`."""

    name: str
    gone: bool

    def look(self) -> None:
        """Open the device again if it was gone and has come back; set `gone`."""

    def send(self, message: Sequence[int]) -> None:
        """Send one message, or raise PortError."""

    def close(self) -> None:
        """Wait until the last messages are sent, then close."""


class OpenPort:
    """A MIDI port with its open notes and controllers.

    Note offs and fault sounds are always sent. Other notes are sent while the limit has room.
    Controllers are sent while half of the room is free; otherwise they wait, and a newer value
    replaces an older one.
    """

    def __init__(
        self,
        wire: Wire,
        rig: Rig,
        counters: Counters,
        warnings: Warnings,
        clock: Callable[[], float],
    ) -> None:
        self.wire = wire
        self._counters = counters
        self._warnings = warnings
        self._limit = limit = rig.din_limit
        self._numbers = {n + more for n in rig.cc.values() for more in (0, 32)}
        self._burst = max(1.0, limit * BURST_SECONDS) if limit else math.inf
        self._room = self._burst
        self._clock = clock
        self._then = self._alive = self._looked = clock()
        self._sounding: Sounding[tuple[int, int], int] = Sounding()
        self._skipped: Counter[tuple[int, int]] = Counter()
        self._waiting: dict[tuple[int, int], tuple[int, ...]] = {}
        self._moved: set[tuple[int, int]] = set()
        self._played: set[int] = set()
        # Notes whose start the system accepted, but not (yet) their end.
        self._unended: set[tuple[int, int]] = set()

    def send(self, message: Sequence[int]) -> bool:
        """Send a message, ignoring the limit; return whether the system accepted it."""
        self._room -= 1.0
        try:
            self.wire.send(message)
        except PortError as error:
            self._warn(error)
            return False
        self._counters.sent += 1
        return True

    def look(self) -> None:
        """Look for the device now and then, and say when it has gone or come back."""
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        gone = self.wire.gone
        self.wire.look()
        if self.wire.gone and not gone:
            warn(f"MIDI output {self.wire.name!r} is gone; it is played again when it is back")
        elif gone and not self.wire.gone:
            say(f"MIDI output {self.wire.name!r} is back")

    def keep_alive(self) -> None:
        """Send Active Sensing while notes sound, at most every `ALIVE_SECONDS`."""
        now = self._clock()
        if self._unended and now - self._alive >= ALIVE_SECONDS:
            self._alive = now
            self.send((ACTIVE_SENSING,))

    def refill(self) -> None:
        """Add room to the limit for the time passed, and send waiting controllers."""
        if self._limit:
            now = self._clock()
            self._room = min(self._burst, self._room + (now - self._then) * self._limit)
            self._then = now
            while self._waiting and self._room >= self._burst / 2:
                self._move(self._waiting.pop(next(iter(self._waiting))))

    def note_on(self, channel: int, voice: int, key: int, velocity: int) -> None:
        """Start a note; the note of a fault sound ignores the limit."""
        if self._room < 1.0 and voice != FAULT_VOICE:
            self._counters.dropped += 1
            self._skipped[voice, key] += 1
            return
        if (channel, key) in self._sounding:
            self.send((NOTE_OFF | channel, key, RELEASE_VELOCITY))
        # Record the note before sending it, so that an interrupt between the two leaves no note on.
        self._sounding.start((channel, key), voice)
        self._played.add(channel)
        if self.send((NOTE_ON | channel, key, velocity)):
            self._unended.add((channel, key))

    def note_off(self, channel: int, voice: int, key: int) -> None:
        """End a note, ignoring the limit; send the note off only if no later note has the key."""
        if self._skipped[voice, key]:
            self._skipped[voice, key] -= 1
            return
        was_sounding = self._sounding.end((channel, key)) is not None
        if was_sounding and (channel, key) not in self._sounding:
            self._end(channel, key)

    def control(self, message: tuple[int, ...]) -> None:
        """Send a controller, bend or pressure, now or when there is room; the newest counts."""
        name = _controller(message)
        if self._waiting.pop(name, None) is not None:
            self._counters.dropped += 1
        if self._room < self._burst / 2:
            self._waiting[name] = message
        else:
            self._move(message)

    def silence(self) -> int:
        """End every note; return the number of note offs that the system refused, now or before."""
        for channel, key in dict.fromkeys([*self._sounding.keys, *sorted(self._unended)]):
            self._end(channel, key)
        for channel in sorted(self._played):
            self.send((CONTROL | channel, HOLD, 0))
            self.send((CONTROL | channel, ALL_NOTES_OFF, 0))
        self._sounding.end_all()
        self._skipped.clear()
        self._played.clear()
        return len(self._unended)

    def leave(self) -> None:
        """End every note, and reset the controllers that were changed."""
        self._counters.dropped += len(self._waiting)
        self._waiting.clear()
        stuck = self.silence()
        for status, number in sorted(self._moved):
            if status & 0xF0 == BEND:
                self.send((status, 0, MIDDLE))
            elif status & 0xF0 == PRESSURE:
                self.send((status, 0))
            elif number == BRIGHTNESS:
                self.send((status, number, MIDDLE))
            elif number in self._numbers:
                self.send((status, number, 0))
        if stuck:
            self._warnings.note(
                f"silence at {self.wire.name!r}",
                f"{count(stuck, 'note')} may still sound",
                "once the port is back, run: gradmidi panic",
            )

    def close(self) -> None:
        """End every note, reset the controllers that were changed, and close the port."""
        self.leave()
        try:
            self.wire.close()
        except PortError as error:
            self._warn(error)

    def _end(self, channel: int, key: int) -> None:
        if self.send((NOTE_OFF | channel, key, RELEASE_VELOCITY)):
            self._unended.discard((channel, key))

    def _move(self, message: tuple[int, ...]) -> None:
        self._moved.add(_controller(message))
        self.send(message)

    def _warn(self, error: PortError) -> None:
        self._counters.errors += 1
        self._warnings.note(f"MIDI to {self.wire.name!r}", str(error), "everything else continues")


def _controller(message: tuple[int, ...]) -> tuple[int, int]:
    """Return which controller a message sets: status and controller number, 0 for others."""
    status, first = message[:2]
    return status, first if status & 0xF0 == CONTROL else 0
