"""The sink that writes a standard MIDI file: format 1, a conductor track, a track a voice.

Nothing is on disk before `close`, and then the whole file is, under its name at once: a
half-written one never exists.
"""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gradmidi.base.files import WholeFile, check_path
from gradmidi.midi.channels import (
    CHANNELS,
    FAULT_CHANNEL,
    ascii_text,
    bend_word,
    pan_value,
    place,
    program_of,
)
from gradmidi.midi.numbers import BEND, BEND_RANGE_CONTROLS, CONTROL, PAN, PROGRAM
from gradmidi.music.events import (
    FAULT_VOICE,
    PPQ,
    Bend,
    Control,
    End,
    Event,
    Fault,
    Mark,
    Off,
    On,
)
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.sinks.miditrack import HEAD, SHAPES, Track, meta

__all__ = ["MidiFile"]


class MidiFile:
    """Writes the events it is sent as one MIDI file, whole, at `close`.

    Track 0 has the title, tempo, 4/4 and a marker for every fault and every mark of the piece,
    but no notes. Then comes a track a voice: its name, its port where one port is too few, its
    program where the preset has programs, its pan, its bend range where the preset bends, then
    its notes, controllers and texts. Fault sounds have a last track, where there are any. The
    same events give the same bytes.

    Parameters
    ----------
    path : str or Path
        The file; its folder must be there.
    preset : Preset
        Gives tempo, programs, pan and whether voices bend.
    voices : sequence of Voice
        One track each, in this order.
    title : str
        The name of the piece.

    Raises
    ------
    OSError
        If the folder is not there, or `path` is a folder.

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
        self._tracks = {voice.index: _voice_track(voice, voices, preset) for voice in voices}
        self._voices = len(voices)
        self._takes: dict[type, Callable[[Any], None]] = {
            On: self._on,
            Off: self._off,
            Control: self._control,
            Bend: self._bend,
            Mark: self._mark,
            Fault: self._fault,
            End: self._over,
        }

    def send(self, events: Sequence[Event]) -> None:
        """Encode the next events.

        Parameters
        ----------
        events : sequence of Event
            In order of ticks. At one tick notes end before controllers and bends move, and
            then notes start. A key struck again while it sounds is let go of first.

        Raises
        ------
        ValueError
            If a tick goes back, a voice is not there, or a number is outside 0–127.
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
            If it cannot be written; `filename` is the path, and no part of it is left.
        """
        if self._closed:
            return
        self._closed = True
        tracks = [self._conductor, *self._tracks.values()]
        end = max(self._end, *(track.tick for track in tracks))
        chunks = [struct.pack(">4sLHHH", b"MThd", 6, 1, len(tracks), PPQ)]
        chunks += [track.finish(end) for track in tracks]
        with WholeFile(self.path) as new:
            new.file.writelines(chunks)

    def abort(self) -> None:
        """Write no file."""
        self._closed = True

    def _on(self, on: On) -> None:
        self._track(on.voice).strike(on.tick, on.note, on.velocity)

    def _off(self, off: Off) -> None:
        self._track(off.voice).let_go(off.tick, off.note)

    def _control(self, control: Control) -> None:
        track = self._track(control.voice)
        track.put(control.tick, SHAPES, track.message(CONTROL, control.controller, control.value))

    def _bend(self, bend: Bend) -> None:
        track, word = self._track(bend.voice), bend_word(bend.semitones)
        track.put(bend.tick, SHAPES, track.message(BEND, word & 127, word >> 7))

    def _mark(self, mark: Mark) -> None:
        if mark.voice is None:
            self._conductor.put(mark.tick, SHAPES, meta("marker", text=ascii_text(mark.text)))
        else:
            text = meta("text", text=ascii_text(mark.text))
            self._track(mark.voice).put(mark.tick, SHAPES, text)

    def _fault(self, fault: Fault) -> None:
        words = (fault.kind, fault.layer, f"step {fault.step} value {fault.value:.7g}")
        text = ascii_text(" ".join(word for word in words if word))
        self._conductor.put(fault.tick, SHAPES, meta("marker", text=text))

    def _over(self, end: End) -> None:
        self._end = max(self._end, end.tick)

    def _track(self, voice: int) -> "Track":
        track = self._tracks.get(voice)
        if track is None:
            if voice != FAULT_VOICE:
                raise ValueError(f"voice {voice}; {self.path} has {self._voices}, from 0")
            # After the voices, and only where something sounds on it.
            head = [meta("track_name", name="faults"), *_port(0, self._voices)]
            track = Track(FAULT_CHANNEL, head)
            self._tracks[FAULT_VOICE] = track
        return track


def _conductor(preset: Preset, title: str) -> Track:
    head = [
        meta("track_name", name=ascii_text(title, "gradmidi")),
        meta("set_tempo", tempo=round(60e6 / preset.time.tempo)),
        meta("time_signature", numerator=4, denominator=4),
    ]
    return Track(1, head)


def _voice_track(voice: Voice, voices: Sequence[Voice], preset: Preset) -> Track:
    count = len(voices)
    port, channel = place(voice.index)
    name = ascii_text(voice.name, f"voice {voice.index + 1}")
    track = Track(channel, [meta("track_name", name=name), *_port(port, count)])
    if preset.voices.programs:
        program = program_of(voice.index, count, preset.voices.programs)
        track.put(0, HEAD, bytes((PROGRAM | channel - 1, program - 1)))
    controls = [(PAN, pan_value(voice.index, count, preset.sound.pan))]
    if preset.pitch.residue == "bend":
        controls += BEND_RANGE_CONTROLS
    for controller, value in controls:
        track.put(0, HEAD, track.message(CONTROL, controller, value))
    return track


def _port(port: int, voices: int) -> list[bytes]:
    """Say which port a track plays on, both ways there are, where one port is too few."""
    if voices <= len(CHANNELS):
        return []
    return [meta("midi_port", port=port), meta("device_name", name=f"port {port + 1}")]
