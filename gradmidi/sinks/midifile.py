"""The sink that writes a standard MIDI file of format 1, with a track for each voice.

Sources: Standard MIDI Files 1.0 (RP-001); MIDI 1.0 Detailed Specification.
"""

import struct
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gradmidi.base.files import WholeFile, check_path
from gradmidi.base.messages import warn
from gradmidi.midi import metadata
from gradmidi.midi.numbers import (
    BEND,
    BEND_RANGE,
    CONTROL,
    FAULT_CHANNEL,
    PAN,
    PROGRAM,
    ascii_text,
    bend_word,
    zone_controls,
)
from gradmidi.midi.rig import Rig
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
    Number,
    Off,
    On,
)
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.sinks.miditrack import HEAD, SHAPES, Track, meta
from gradmidi.sinks.setup import layered, setup, shape_messages, shared_bend, without_notes

if TYPE_CHECKING:
    from gradmidi.log import RunLog
    from gradmidi.music.score import Score

__all__ = ["MidiFile"]

PORTS = tuple(f"port {number}" for number in range(1, 17))
"""Names of ports without a rig: more than the most voices need."""


class MidiFile:
    """Writes the events that it receives to one MIDI file, complete at `close` or not at all.

    Track 0 has the title, tempo, meter and a marker for every fault and mark, but no notes. A track
    for each voice follows: its name, its port if there are several, its program if the preset has
    programs, its pan, its bend range if the preset bends, then notes, controllers and texts. The
    last tracks have the fault sounds, and the controllers of values. The same events give the same
    bytes.

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
    rig : Rig, optional
        Its channels, bend range, controllers and whether there are notes. By default voices have
        channels of their own, on further ports if there are more than fifteen; drums have
        channel 10.
    only : collection of int, optional
        Indices of the voices that have a track; all by default.

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
        self,
        path: str | Path,
        preset: Preset,
        voices: Sequence[Voice],
        *,
        title: str,
        rig: Rig | None = None,
        only: Collection[int] | None = None,
    ) -> None:
        self.path = Path(path)
        check_path(self.path)
        self._end = 0
        self._closed = False
        self._conductor = _conductor(preset, title)
        self._preset = preset
        self._layers = layered(voices)
        self._voices = len(voices)
        self._rig = rig or Rig(ports=PORTS)
        keys = [part.key for part in preset.parts(self._layers)] if self._layers else []
        drums = rig is None and preset.is_drums
        # Voices with one key have ports of their own.
        self._drums = [keys[:at].count(key) % len(PORTS) for at, key in enumerate(keys) if drums]
        if problem := shared_bend(self._rig, preset, voices):
            warn(problem)
        self._shared: dict[tuple[int, int], list[Track]] = {}
        self._tracks: dict[int | None, Track] = {
            voice.index: self._voice_track(voice.index, voice.name)
            for voice in voices
            if only is None or voice.index in only
        }
        self._takes: dict[type, Callable[[Any], None]] = {
            On: self._on,
            Off: self._off,
            Control: self._control,
            Number: self._number,
            Bend: self._bend,
            Joined: self._join,
            Mark: self._mark,
            Alarm: self._fault,
            End: self._over,
        }

    @classmethod
    def of_run(cls, path: Path, score: "Score", log: "RunLog") -> Self:
        """Make the sink for a run's score."""
        return cls(path, score.preset, score.all_voices, title=log.name, rig=score.rig)

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
        for event in events if self._rig.notes else without_notes(events):
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
        last = [self._tracks.pop(each, None) for each in (FAULT_VOICE, None)]
        tracks = [self._conductor, *self._zones(), *self._tracks.values(), *filter(None, last)]
        end = max(self._end, *(track.tick for track in tracks))
        chunks = [struct.pack(">4sLHHH", b"MThd", 6, 1, len(tracks), PPQ)]
        chunks += [track.finish(end) for track in tracks]
        with WholeFile(self.path) as new:
            new.file.writelines(chunks)

    def abort(self) -> None:
        """Write no file."""
        self._closed = True

    def _zones(self) -> list[Track]:
        """Return a track for the master channel of each port's MPE zone."""
        if not self._rig.mpe:
            return []
        zones = []
        for port in sorted({port for port, _ in self._shared}):
            zone = self._new_track("MPE zone", (port, 1), self._voices)
            for control in zone_controls(len(self._rig.voice_channels)):
                zone.put(0, HEAD, zone.message(CONTROL, *control))
            zones.append(zone)
        return zones

    def _on(self, on: On) -> None:
        if on.voice != FAULT_VOICE or self._rig.fault_place is not None:
            self._track(on.voice).note_on(on.tick, on.note, on.velocity)

    def _off(self, off: Off) -> None:
        if off.voice != FAULT_VOICE or self._rig.fault_place is not None:
            self._track(off.voice).note_off(off.tick, off.note)

    def _control(self, control: Control) -> None:
        track = self._track(control.voice)
        track.put(control.tick, SHAPES, track.message(CONTROL, control.controller, control.value))

    def _number(self, number: Number) -> None:
        track = self._track(number.voice)
        for message in number.messages(track.channel):
            track.put(number.tick, SHAPES, bytes(message))

    def _bend(self, bend: Bend) -> None:
        track = self._track(bend.voice)
        word = bend_word(bend.semitones * BEND_RANGE / self._rig.bend_semitones)
        track.put(bend.tick, SHAPES, track.message(BEND, word & 127, word >> 7))

    def _join(self, joined: Joined) -> None:
        self._voices = max(self._voices, joined.voice + 1)
        self._tracks[joined.voice] = self._voice_track(joined.voice, joined.name)

    def _mark(self, mark: Mark) -> None:
        if mark.voice is None:
            self._conductor.put(mark.tick, SHAPES, meta("marker", text=ascii_text(mark.text)))
        else:
            data = metadata.data_of(ascii_text(mark.text))
            track = self._track(mark.voice)
            track.put(mark.tick, SHAPES, meta("sequencer_specific", data=data))

    def _fault(self, fault: Alarm) -> None:
        words = (fault.kind, fault.layer, f"step {fault.step} value {fault.value:.7g}")
        text = ascii_text(" ".join(word for word in words if word))
        self._conductor.put(fault.tick, SHAPES, meta("marker", text=text))

    def _over(self, end: End) -> None:
        self._end = max(self._end, end.tick)

    def _track(self, voice: int | None) -> "Track":
        track = self._tracks.get(voice)
        if track is None:
            # There is a track of fault sounds, or of values as controllers, only if it has events.
            place = {FAULT_VOICE: self._rig.fault_place, None: self._rig.value_place}.get(voice)
            if place is None:
                raise ValueError(f"voice {voice}; {self.path} has {self._voices}, from 0")
            name = "values" if voice is None else "faults"
            track = self._tracks[voice] = self._new_track(name, place, self._voices)
        return track

    def _new_track(self, name: str, place: tuple[int, int], voices: int) -> "Track":
        port, channel = place
        head = [meta("track_name", name=name)]
        rig = self._rig
        several = voices > len(rig.voice_channels) or any(self._drums)
        if several and len(rig.ports) > 1 and not rig.mirror:
            # Both kinds of meta event for a port.
            head.append(meta("midi_port", port=port))
            head.append(meta("device_name", name=ascii_text(rig.ports[port])))
        if self._drums and channel == FAULT_CHANNEL:
            # A drum kit plays each stroke to its end, so faults need not cut those of voices.
            return Track(channel, head)
        track = Track(channel, head, self._shared.setdefault(place, []))
        self._shared[place].append(track)
        return track

    def _voice_track(self, voice: int, name: str) -> "Track":
        preset, count = self._preset, max(self._voices, voice + 1)
        name = ascii_text(name, f"voice {voice + 1}")
        if voice < len(self._drums):
            # General MIDI's drum kit, whose program and pan are those of all its voices.
            return self._new_track(name, (self._drums[voice], FAULT_CHANNEL), count)
        place = self._rig.place(voice)
        channel = place[1]
        track = self._new_track(name, place, count)
        program, pan = setup(preset, voice, self._layers)
        if program:
            track.put(0, HEAD, bytes((PROGRAM | channel - 1, program - 1)))
        track.put(0, HEAD, track.message(CONTROL, PAN, pan))
        for message in shape_messages(self._rig, preset, channel - 1):
            track.put(0, HEAD, bytes(message))
        return track


def _conductor(preset: Preset, title: str) -> "Track":
    beats, unit = map(int, preset.time.meter.split("/"))
    head = [
        meta("track_name", name=ascii_text(title, "gradmidi")),
        meta("set_tempo", tempo=round(60e6 / preset.time.tempo)),
        meta("time_signature", numerator=beats, denominator=unit),
    ]
    return Track(1, head)
