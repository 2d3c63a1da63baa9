"""One MIDI port of a live run: what sounds on it, what waits, and how much may go out.

Note offs always go, and fault sounds; other notes go while the limit has room; controllers go
while it has half of it, and wait for more otherwise, where a newer value replaces an older.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from gradmidi.base.messages import Warnings
from gradmidi.errors import PortError
from gradmidi.midi.numbers import (
    ALL_NOTES_OFF,
    BEND,
    CONTROL,
    HOLD,
    MIDDLE,
    NOTE_OFF,
    NOTE_ON,
    RELEASE_VELOCITY,
)
from gradmidi.music.events import BRIGHTNESS, FAULT_VOICE
from gradmidi.sinks.counters import Counters

__all__ = ["Line", "Wire"]

BURST_SECONDS = 0.05
"""What may go out at once where there is a limit: fifteen offs, controllers and ons at 900/s."""


class Wire(Protocol):
    """What a port is to this sink; `gradmidi.ports.Output` is one."""

    name: str

    def send(self, message: Sequence[int]) -> None:
        """Send one message, or raise PortError."""

    def close(self) -> None:
        """Let the last messages leave, then close."""


class Line:
    """One port, and what it owes.

    Parameters
    ----------
    wire : Wire
        The open port.
    limit : int
        Messages a second; 0: no limit.
    counters : Counters
        Counted in.
    warnings : Warnings
        Told what the system refuses.
    clock : callable
        Seconds that never go back.
    """

    def __init__(
        self,
        wire: Wire,
        limit: int,
        counters: Counters,
        warnings: Warnings,
        clock: Callable[[], float],
    ) -> None:
        self.wire = wire
        self._counters = counters
        self._warnings = warnings
        self._limit = limit
        self._burst = max(1.0, limit * BURST_SECONDS) if limit else math.inf
        self._room = self._burst
        self._clock = clock
        self._then = clock()
        self._sounding: Counter[tuple[int, int]] = Counter()
        self._skipped: Counter[tuple[int, int]] = Counter()
        self._waiting: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._moved: set[tuple[int, int]] = set()
        self._played: set[int] = set()
        # Notes whose start the system took, and whose end it did not: yet, or at all.
        self._unended: set[tuple[int, int]] = set()

    def put(self, message: Sequence[int]) -> bool:
        """Send a message whatever the limit says; tell whether the system took it."""
        self._room -= 1.0
        try:
            self.wire.send(message)
        except PortError as error:
            self._trouble(error)
            return False
        self._counters.sent += 1
        return True

    def catch_up(self) -> None:
        """See how much may go out by now, and send the controllers that waited for it."""
        if self._limit:
            now = self._clock()
            self._room = min(self._burst, self._room + (now - self._then) * self._limit)
            self._then = now
            while self._waiting and self._room >= self._burst / 2:
                self._move(self._waiting.pop(next(iter(self._waiting))))

    def strike(self, channel: int, voice: int, key: int, velocity: int) -> None:
        """Start a note; a fault's does not ask the limit."""
        if self._room < 1.0 and voice != FAULT_VOICE:
            self._counters.dropped += 1
            self._skipped[voice, key] += 1
            return
        if self._sounding[channel, key]:
            self.put((NOTE_OFF | channel, key, RELEASE_VELOCITY))
        # Written down before it is sent: an interrupt between the two leaves no note without end.
        self._sounding[channel, key] += 1
        self._played.add(channel)
        if self.put((NOTE_ON | channel, key, velocity)):
            self._unended.add((channel, key))

    def let_go(self, channel: int, voice: int, key: int) -> None:
        """End a note: sent only where no later one has the key, and whatever the limit says."""
        if self._skipped[voice, key]:
            self._skipped[voice, key] -= 1
            return
        held = self._sounding[channel, key]
        if held == 1:
            self._end(channel, key)
        if held:
            self._sounding[channel, key] -= 1

    def shape(self, message: tuple[int, int, int]) -> None:
        """Move a controller or a bend: now, or once notes leave room; the newest counts."""
        name = _controller(message)
        if self._waiting.pop(name, None) is not None:
            self._counters.dropped += 1
        if self._room < self._burst / 2:
            self._waiting[name] = message
        else:
            self._move(message)

    def silence(self) -> int:
        """End what sounds; return how many notes the system would not end, now or before."""
        held = [note for note, count in self._sounding.items() if count]
        for channel, key in dict.fromkeys([*held, *sorted(self._unended)]):
            self._end(channel, key)
        for channel in sorted(self._played):
            self.put((CONTROL | channel, HOLD, 0))
            self.put((CONTROL | channel, ALL_NOTES_OFF, 0))
        self._sounding.clear()
        self._skipped.clear()
        self._played.clear()
        return len(self._unended)

    def finish(self) -> None:
        """Silence it, put what was moved to rest and close it."""
        self._counters.dropped += len(self._waiting)
        self._waiting.clear()
        stuck = self.silence()
        for status, number in sorted(self._moved):
            if status & 0xF0 == BEND:
                self.put((status, 0, MIDDLE))
            elif number == BRIGHTNESS:
                self.put((status, number, MIDDLE))
        if stuck:
            self._warnings.note(
                f"silence at {self.wire.name!r}",
                f"{stuck} note(s) may still sound",
                "once the port is back, run: gradmidi panic",
            )
        try:
            self.wire.close()
        except PortError as error:
            self._trouble(error)

    def _end(self, channel: int, key: int) -> None:
        if self.put((NOTE_OFF | channel, key, RELEASE_VELOCITY)):
            self._unended.discard((channel, key))

    def _move(self, message: tuple[int, int, int]) -> None:
        self._moved.add(_controller(message))
        self.put(message)

    def _trouble(self, error: PortError) -> None:
        self._counters.errors += 1
        self._warnings.note(f"MIDI to {self.wire.name!r}", str(error), "all else goes on")


def _controller(message: tuple[int, int, int]) -> tuple[int, int]:
    """Name what a message moves: a channel's controller, or its bend."""
    status, first, _ = message
    return status, first if status & 0xF0 == CONTROL else 0
