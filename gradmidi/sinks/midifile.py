"""The sink that writes a standard MIDI file of format 1, with a track for each voice.

Sources: Standard MIDI Files 1.0 (RP-001); MIDI 1.0 Detailed Specification.
"""

import struct
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import mido

from gradmidi.base.files import WholeFile, check_path
from gradmidi.midi.channels import (
    CHANNELS,
    FAULT_CHANNEL,
    ascii_text,
    bend_word,
    place,
)
from gradmidi.midi.numbers import (
    BEND,
    BEND_RANGE_CONTROLS,
    CONTROL,
    NOTE_OFF,
    NOTE_ON,
    PAN,
    PROGRAM,
    RELEASE_VELOCITY,
)
from gradmidi.music.events import (
    FAULT_VOICE,
    PPQ,
    Alarm,
    Bend,
    Control,
    End,
    Event,
    Joined,
    Mark,
    Off,
    On,
    Sounding,
)
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.sinks.setup import layered, setup

if TYPE_CHECKING:
    from gradmidi.log import RunLog
    from gradmidi.music.score import Score

__all__ = ["MidiFile"]

META = 0xFF
"""Status byte of a meta event."""

LONGEST_DELTA = (1 << 28) - 1
"""The largest variable-length number, of four bytes (Standard MIDI Files 1.0)."""

HEAD, ENDS, SHAPES, STARTS = range(4)
"""Order of messages at one tick: track header, note ends, controllers and texts, note starts."""


class MidiFile:
    """Writes the events that it receives to one MIDI file, complete at `close` or not at all.

    Track 0 has the title, tempo, 4/4 and a marker for every fault and mark, but no notes. A track
    for each voice follows: its name, its port if there are several, its program if the preset has
    programs, its pan, its bend range if the preset bends, then notes, controllers and texts. The
    last track has the fault sounds. The same events give the same bytes.

    Parameters
    ----------
    path : str or Path
        The file; its folder must exist.
    preset : Preset
        Provides tempo, programs, pan and whether voices bend.
    voices : sequence of Voice
        The voices; each has a track, in this order.
    title : str
        Title of the piece.

    Raises
    ------
    OSError
        If the folder does not exist, or `path` is a folder.

    Examples
    --------
    >>> import mido, tempfile
    >>> from gradmidi.music.events import Off, On
    >>> from gradmidi.music.preset import load
    >>> path = Path(tempfile.mkdtemp()) / "run.mid"
    >>> sink = MidiFile(path, load("pentatonic"), [Voice(0, "fc1", (0,))], title="digits")
    >>> sink.send([On(0, 0, 60, 80, pitch=60.0), Off(108, 0, 60)])
    >>> sink.close()
    >>> [(m.type, m.time) for m in mido.MidiFile(path).tracks[1] if m.type.startswith("note")]
    [('note_on', 0), ('note_off', 108)]
    """

    def __init__(
        self, path: str | Path, preset: Preset, voices: Sequence[Voice], *, title: str
    ) -> None:
        self.path = Path(path)
        check_path(self.path)
        self._end = 0
        self._closed = False
        self._conductor = _conductor(preset, title)
        self._preset = preset
        self._layers = layered(voices)
        self._voices = len(voices)
        self._tracks = {voice.index: self._voice_track(voice.index, voice.name) for voice in voices}
        self._takes: dict[type, Callable[[Any], None]] = {
            On: self._on,
            Off: self._off,
            Control: self._control,
            Bend: self._bend,
            Joined: self._join,
            Mark: self._mark,
            Alarm: self._fault,
            End: self._over,
        }

    @classmethod
    def of_run(cls, path: Path, score: "Score", log: "RunLog") -> Self:
        """Make the sink for a run's score."""
        return cls(path, score.preset, score.all_voices, title=log.name)

    def send(self, events: Sequence[Event]) -> None:
        """Encode the next events.

        Parameters
        ----------
        events : sequence of Event
            In order of ticks. At one tick, note ends come first, then controllers and bends, then
            note starts. A key that is struck again while it sounds is released first.

        Raises
        ------
        ValueError
            If a tick goes back, a voice does not exist, or a number is outside 0–127.
        """
        if self._closed:
            raise ValueError(f"{self.path} is closed: it takes no more events")
        takes = self._takes
        for event in events:
            take = takes.get(type(event))
            if take is not None:
                take(event)

    def close(self) -> None:
        """End every note that sounds and write the file, whole or not at all.

        Raises
        ------
        OSError
            If the file cannot be written; `filename` is the path, and no partial file is left.
        """
        if self._closed:
            return
        self._closed = True
        faults = self._tracks.pop(FAULT_VOICE, None)
        tracks = [self._conductor, *self._tracks.values(), *([faults] if faults else [])]
        end = max(self._end, *(track.tick for track in tracks))
        chunks = [struct.pack(">4sLHHH", b"MThd", 6, 1, len(tracks), PPQ)]
        chunks += [track.finish(end) for track in tracks]
        with WholeFile(self.path) as new:
            new.file.writelines(chunks)

    def abort(self) -> None:
        """Write no file."""
        self._closed = True

    def _on(self, on: On) -> None:
        self._track(on.voice).note_on(on.tick, on.note, on.velocity)

    def _off(self, off: Off) -> None:
        self._track(off.voice).note_off(off.tick, off.note)

    def _control(self, control: Control) -> None:
        track = self._track(control.voice)
        track.put(control.tick, SHAPES, track.message(CONTROL, control.controller, control.value))

    def _bend(self, bend: Bend) -> None:
        track, word = self._track(bend.voice), bend_word(bend.semitones)
        track.put(bend.tick, SHAPES, track.message(BEND, word & 127, word >> 7))

    def _join(self, joined: Joined) -> None:
        self._voices = max(self._voices, joined.voice + 1)
        self._tracks[joined.voice] = self._voice_track(joined.voice, joined.name)

    def _mark(self, mark: Mark) -> None:
        if mark.voice is None:
            self._conductor.put(mark.tick, SHAPES, _meta("marker", text=ascii_text(mark.text)))
        else:
            text = _meta("text", text=ascii_text(mark.text))
            self._track(mark.voice).put(mark.tick, SHAPES, text)

    def _fault(self, fault: Alarm) -> None:
        words = (fault.kind, fault.layer, f"step {fault.step} value {fault.value:.7g}")
        text = ascii_text(" ".join(word for word in words if word))
        self._conductor.put(fault.tick, SHAPES, _meta("marker", text=text))

    def _over(self, end: End) -> None:
        self._end = max(self._end, end.tick)

    def _track(self, voice: int) -> "_Track":
        track = self._tracks.get(voice)
        if track is None:
            if voice != FAULT_VOICE:
                raise ValueError(f"voice {voice}; {self.path} has {self._voices}, from 0")
            # There is a track of fault sounds only if it has notes.
            head = [_meta("track_name", name="faults"), *_port(0, self._voices)]
            track = _Track(FAULT_CHANNEL, head)
            self._tracks[FAULT_VOICE] = track
        return track

    def _voice_track(self, voice: int, name: str) -> "_Track":
        preset, count = self._preset, max(self._voices, voice + 1)
        port, channel = place(voice)
        name = ascii_text(name, f"voice {voice + 1}")
        track = _Track(channel, [_meta("track_name", name=name), *_port(port, count)])
        program, pan = setup(preset, voice, self._layers)
        if program:
            track.put(0, HEAD, bytes((PROGRAM | channel - 1, program - 1)))
        controls = [(PAN, pan)]
        if preset.pitch.residue == "bend":
            controls += BEND_RANGE_CONTROLS
        for controller, value in controls:
            track.put(0, HEAD, track.message(CONTROL, controller, value))
        return track


def _conductor(preset: Preset, title: str) -> "_Track":
    head = [
        _meta("track_name", name=ascii_text(title, "gradmidi")),
        _meta("set_tempo", tempo=round(60e6 / preset.time.tempo)),
        _meta("time_signature", numerator=4, denominator=4),
    ]
    return _Track(1, head)


def _port(port: int, voices: int) -> list[bytes]:
    """Return both kinds of meta event for a track's port, if there are several ports."""
    if voices <= len(CHANNELS):
        return []
    return [_meta("midi_port", port=port), _meta("device_name", name=f"port {port + 1}")]


class _Track:
    """One track, on a channel from 1: encoded bytes, and the messages of the newest tick.

    Only the messages of the newest tick still have to be ordered. All earlier ones are encoded, so
    a long piece takes a few bytes of memory for each note. Notes, controllers and bends are encoded
    here, because making a mido message of each takes several times as long as everything else
    (measured by `benchmarks/midifile.py`). mido encodes the meta events.
    """

    __slots__ = ("_channel", "_data", "_sounding", "_status", "_waiting", "_written", "tick")

    def __init__(self, channel: int, head: Sequence[bytes]) -> None:
        self.tick = 0
        self._channel = channel - 1
        self._data = bytearray()
        self._written = 0
        self._status = 0
        self._waiting = [(HEAD, message) for message in head]
        self._sounding: Sounding[int, int] = Sounding()

    def message(self, status: int, first: int, second: int) -> bytes:
        """Encode a message of two data bytes on this track's channel."""
        if not 0 <= first | second <= 127:
            raise ValueError(f"{first}, {second}: MIDI's numbers are 0 to 127")
        return bytes((status | self._channel, first, second))

    def note_on(self, tick: int, note: int, velocity: int) -> None:
        """Start a note; if its key sounds already, end that note first."""
        message = self.message(NOTE_ON, note, velocity)
        if note in self._sounding:
            self._end(tick, note, self._sounding.of(note)[-1])
        self._sounding.start(note, tick)
        self.put(tick, STARTS, message)

    def note_off(self, tick: int, note: int) -> None:
        """End the oldest note of a key; write the note off only if no later note has the key."""
        struck = self._sounding.end(note)
        if struck is not None and note not in self._sounding:
            self._end(tick, note, struck)

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
        self.put(end, STARTS, _meta("end_of_track"))
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
            data += _variable_length(LONGEST_DELTA) + _meta("text", text="")
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


def _meta(kind: str, **values: int | str) -> bytes:
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
