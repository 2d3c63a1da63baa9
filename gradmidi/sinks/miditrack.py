"""One track of a standard MIDI file, encoded as its messages come.

Only the messages of the newest tick wait, to be put in order; all earlier ones are bytes
already, so that a long piece is held in a few bytes a note. Meta events are mido's; notes,
controllers and bends are encoded here, because making a mido message of each event takes
several times as long as all the rest (`benchmarks/midifile.py` measures it).

Sources: Standard MIDI Files 1.0 (RP-001); MIDI 1.0 Detailed Specification.
"""

import struct
from collections.abc import Sequence
from operator import itemgetter

import mido

from gradmidi.midi.numbers import NOTE_OFF, NOTE_ON, RELEASE_VELOCITY

__all__ = ["HEAD", "SHAPES", "Track", "meta"]

META = 0xFF
"""Status byte of what is only in a file."""

LONGEST_DELTA = (1 << 28) - 1
"""The most that four bytes hold; readers refuse a fifth."""

HEAD, ENDS, SHAPES, STARTS = range(4)
"""Ranks at one tick: the track's head, what ends, what shapes the next notes, what starts."""


class Track:
    """One track: the bytes of all earlier ticks, and what waits for its order within the last.

    Parameters
    ----------
    channel : int
        1–16.
    head : sequence of bytes
        Messages at tick 0, before all others.
    """

    __slots__ = ("_channel", "_data", "_sounding", "_status", "_waiting", "_written", "tick")

    def __init__(self, channel: int, head: Sequence[bytes]) -> None:
        self.tick = 0
        self._channel = channel - 1
        self._data = bytearray()
        self._written = 0
        self._status = 0
        self._waiting = [(HEAD, message) for message in head]
        self._sounding: dict[int, list[int]] = {}

    def message(self, status: int, first: int, second: int) -> bytes:
        """Encode a message of two data bytes on this track's channel."""
        if not 0 <= first | second <= 127:
            raise ValueError(f"{first}, {second}: MIDI's numbers are 0 to 127")
        return bytes((status | self._channel, first, second))

    def strike(self, tick: int, note: int, velocity: int) -> None:
        """Start a note; where its key sounds already, end that first."""
        message = self.message(NOTE_ON, note, velocity)
        since = self._sounding.setdefault(note, [])
        if since:
            self._end(tick, note, since[-1])
        since.append(tick)
        self.put(tick, STARTS, message)

    def let_go(self, tick: int, note: int) -> None:
        """End the oldest note of a key: written only where no later one has taken the key."""
        since = self._sounding.get(note)
        if since:
            struck = since.pop(0)
            if not since:
                self._end(tick, note, struck)

    def put(self, tick: int, rank: int, message: bytes) -> None:
        """Add a message; at one tick the lower rank stands first, and else the earlier."""
        if tick != self.tick:
            if tick < self.tick:
                raise ValueError(f"tick {tick} comes after tick {self.tick}: ticks never go back")
            self._settle()
            self.tick = tick
        self._waiting.append((rank, message))

    def finish(self, end: int) -> bytes:
        """End what sounds and the track itself at `end`; return its chunk."""
        for note in sorted(note for note, since in self._sounding.items() if since):
            self._end(end, note, self._sounding[note][-1])
        self.put(end, STARTS, meta("end_of_track"))
        self._settle()
        return struct.pack(">4sL", b"MTrk", len(self._data)) + self._data

    def _end(self, tick: int, note: int, struck: int) -> None:
        # The end of a note that began at this very tick stands after its start.
        rank = STARTS if struck == tick else ENDS
        self.put(tick, rank, self.message(NOTE_OFF, note, RELEASE_VELOCITY))

    def _settle(self) -> None:
        waiting, data, status = self._waiting, self._data, self._status
        if not waiting:
            return
        if len(waiting) > 1:
            waiting.sort(key=itemgetter(0))
        delta = self.tick - self._written
        while delta > LONGEST_DELTA:
            data += _variable_length(LONGEST_DELTA) + meta("text", text="")
            delta -= LONGEST_DELTA
            status = META
        time = _variable_length(delta)
        for _, message in waiting:
            data += time
            time = b"\0"
            # Running status; a meta event ends it.
            if message[0] == status != META:
                data += message[1:]
            else:
                data += message
                status = message[0]
        waiting.clear()
        self._status = status
        self._written = self.tick


def meta(kind: str, **values: int | str) -> bytes:
    """Encode a meta event by mido's name for it; mido refuses values it does not have."""
    return bytes(mido.MetaMessage(kind, **values).bytes())


def _variable_length(number: int) -> bytes:
    """Encode a number in seven bits a byte, the highest first."""
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray((number & 127,))
    while number := number >> 7:
        encoded.append(number & 127 | 128)
    encoded.reverse()
    return bytes(encoded)
