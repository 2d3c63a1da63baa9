"""A track of a standard MIDI file, and the encoding of its messages.

Sources: Standard MIDI Files 1.0 (RP-001); MIDI 1.0 Detailed Specification.
"""

import struct
from collections.abc import Sequence
from operator import itemgetter

import mido

from gradmidi.midi.numbers import NOTE_OFF, NOTE_ON, RELEASE_VELOCITY
from gradmidi.music.events import Sounding

__all__ = ["HEAD", "SHAPES", "Track", "meta"]

META = 0xFF
"""Status byte of a meta event."""

LONGEST_DELTA = (1 << 28) - 1
"""The largest variable-length number, of four bytes (Standard MIDI Files 1.0)."""

HEAD, ENDS, SHAPES, STARTS = range(4)
"""Order of messages at one tick: track header, note ends, controllers and texts, note starts."""


class Track:
    """One track, on a channel from 1: encoded bytes, and the messages of the newest tick.

    Only the messages of the newest tick still have to be ordered. All earlier ones are encoded, so
    a long piece takes a few bytes of memory for each note. Notes, controllers and bends are encoded
    here, because making a mido message of each takes several times as long as everything else
    (measured by `benchmarks/midifile.py`). mido encodes the meta events.
    """

    __slots__ = (
        "_data",
        "_shared",
        "_sounding",
        "_status",
        "_waiting",
        "_written",
        "channel",
        "tick",
    )

    def __init__(self, channel: int, head: Sequence[bytes], shared: "Sequence[Track]" = ()) -> None:
        self.tick = 0
        self._shared = shared
        self.channel = channel - 1
        self._data = bytearray()
        self._written = 0
        self._status = 0
        self._waiting = [(HEAD, message) for message in head]
        self._sounding: Sounding[int, int] = Sounding()

    def message(self, status: int, first: int, second: int) -> bytes:
        """Encode a message of two data bytes on this track's channel."""
        if not 0 <= first | second <= 127:
            raise ValueError(f"{first}, {second}: MIDI's numbers are 0 to 127")
        return bytes((status | self.channel, first, second))

    def note_on(self, tick: int, note: int, velocity: int) -> None:
        """Start a note; if its key sounds already on its channel, end that note first."""
        message = self.message(NOTE_ON, note, velocity)
        if len(self._shared) > 1:
            place = self._shared.index(self)
            for other, track in enumerate(self._shared):
                if track is not self:
                    # Programs that merge tracks read the earlier track first.
                    track.give_way(tick if other < place else tick - 1, note)
        if note in self._sounding:
            self._end(tick, note, self._sounding.of(note)[-1])
        self._sounding.start(note, tick)
        self.put(tick, STARTS, message)

    def note_off(self, tick: int, note: int) -> None:
        """End the oldest note of a key; write the note off only if no later note has the key."""
        struck = self._sounding.end(note)
        if struck is not None and note not in self._sounding:
            if len(self._shared) > 1:
                # An earlier track may strike the key at this tick, and is read first.
                tick = max(tick - 1, struck, self.tick)
            self._end(tick, note, struck)

    def give_way(self, tick: int, note: int) -> None:
        """End all notes of a key, since another track of the same channel strikes it."""
        struck = self._sounding.of(note)
        for _ in struck:
            self._sounding.end(note)
        if struck:
            self._end(max(tick, self.tick), note, struck[-1])

    def put(self, tick: int, rank: int, message: bytes) -> None:
        """Add a message; at one tick messages are ordered by rank, then in the order added."""
        if tick != self.tick:
            if tick < self.tick:
                raise ValueError(f"tick {tick} comes after tick {self.tick}: ticks never go back")
            self._settle()
            self.tick = tick
        self._waiting.append((rank, message))

    def finish(self, end: int) -> bytes:
        """End all notes and the track at `end`; return its chunk."""
        for note in sorted(self._sounding.keys):
            self._end(end, note, self._sounding.of(note)[-1])
        self.put(end, STARTS, meta("end_of_track"))
        self._settle()
        return struct.pack(">4sL", b"MTrk", len(self._data)) + self._data

    def _end(self, tick: int, note: int, struck: int) -> None:
        # The end of a note that started at the same tick comes after its start.
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


def meta(kind: str, **values: "int | str | tuple[int, ...]") -> bytes:
    """Encode a meta event by its name in mido; mido raises for invalid values."""
    return bytes(mido.MetaMessage(kind, **values).bytes())


def _variable_length(number: int) -> bytes:
    """Encode a number with seven bits in each byte, the highest first."""
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray((number & 127,))
    while number := number >> 7:
        encoded.append(number & 127 | 128)
    encoded.reverse()
    return bytes(encoded)
