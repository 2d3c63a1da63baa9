"""The sink that plays into MIDI ports: it sends at once what it is given, and owns each note.

Whatever starts a note here ends it here: each note on has a note off of its own, sent when the
event comes, at `silence` or at `close`.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from gradmidi.base.messages import Warnings
from gradmidi.errors import PortError
from gradmidi.midi.channels import (
    bend_word,
    pan_value,
    program_of,
)
from gradmidi.midi.numbers import (
    BEND,
    BEND_RANGE,
    BEND_RANGE_CONTROLS,
    CONTROL,
    DATA_ENTRY,
    PAN,
    PROGRAM,
)
from gradmidi.midi.ports import open_output
from gradmidi.midi.rig import Rig
from gradmidi.music.events import FAULT_VOICE, Bend, Control, Event, Off, On
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.sinks.counters import Counters
from gradmidi.sinks.midiline import Line, Wire

__all__ = ["MidiPort"]


class MidiPort:
    """Plays the events it is sent into the rig's MIDI ports, at once.

    A key struck again while it sounds, by the same voice or by another that shares its
    channel, is let go of first, and then ends with the last of its notes.

    Nothing raises from `send`, `silence` and `close`: what the system refuses is counted, and
    told once.

    Parameters
    ----------
    rig : Rig
        Ports, channels, what is sent at the start, bend range and limit.
    preset : Preset
        Gives programs, pan and whether voices bend.
    voices : sequence of Voice
        Who plays.
    say : callable
        Takes a line for the user the first time a port refuses a message.
    clock : callable
        Seconds that never go back.
    connect : callable
        Opens a port by its name.

    Attributes
    ----------
    counters : Counters
    outputs : tuple of Wire
        The open ports, in the rig's order.

    Raises
    ------
    PortError
        If the rig names no port, or one cannot be opened.
    """

    def __init__(
        self,
        rig: Rig,
        preset: Preset,
        voices: Sequence[Voice],
        *,
        clock: Callable[[], float] = time.monotonic,
        connect: Callable[[str], Wire] = open_output,
    ) -> None:
        if not rig.ports:
            raise PortError("the rig names no MIDI port; give one (see: gradmidi ports)")
        self.counters = Counters()
        self._rig = rig
        self._lines: list[Line] = []
        warnings = Warnings()
        try:
            for name in rig.ports:
                wire = connect(name)
                self._lines.append(Line(wire, rig.din_limit, self.counters, warnings, clock))
        except BaseException:
            self.close()
            raise
        places = {voice.index: rig.place(voice.index) for voice in voices}
        if rig.fault_place is not None:
            places[FAULT_VOICE] = rig.fault_place
        # Channels count from 0 on the wire.
        self._places = {
            voice: (self._lines[port], channel - 1) for voice, (port, channel) in places.items()
        }
        self._takes: dict[type, Callable[[Any], None]] = {
            On: self._on,
            Off: self._off,
            Control: self._control,
            Bend: self._bend,
        }
        self._greet(preset, voices)

    @property
    def outputs(self) -> tuple[Wire, ...]:
        """The open ports, in the rig's order."""
        return tuple(line.wire for line in self._lines)

    def send(self, events: Sequence[Event]) -> None:
        """Send events now.

        Parameters
        ----------
        events : sequence of Event
            In order of ticks; only notes, controllers and bends are for MIDI. After `close`
            they are dropped.
        """
        takes = self._takes
        if not self._lines:
            self.counters.dropped += sum(type(event) in takes for event in events)
            return
        for line in self._lines:
            line.catch_up()
        for event in events:
            take = takes.get(type(event))
            if take is not None:
                take(event)

    def silence(self) -> None:
        """End every note that sounds: an off for each, then Hold off and All Notes Off."""
        for line in self._lines:
            line.silence()

    def close(self) -> None:
        """End every note, put controllers to rest and close the ports. May be called twice."""
        lines, self._lines = self._lines, []
        self._places = {}
        for line in lines:
            line.finish()

    def _on(self, on: On) -> None:
        place = self._places.get(on.voice)
        if place is not None:
            line, channel = place
            line.strike(channel, on.voice, on.note, on.velocity)

    def _off(self, off: Off) -> None:
        place = self._places.get(off.voice)
        if place is not None:
            line, channel = place
            line.let_go(channel, off.voice, off.note)

    def _control(self, control: Control) -> None:
        place = self._places.get(control.voice)
        if place is not None:
            line, channel = place
            line.shape((CONTROL | channel, control.controller, control.value))

    def _bend(self, bend: Bend) -> None:
        place = self._places.get(bend.voice)
        if place is not None:
            line, channel = place
            word = bend_word(bend.semitones * BEND_RANGE / self._rig.bend_range)
            line.shape((BEND | channel, word & 127, word >> 7))

    def _greet(self, preset: Preset, voices: Sequence[Voice]) -> None:
        """Set up each channel once, as the first voice on it wants it."""
        greeted = set()
        for voice in voices:
            place = self._places[voice.index]
            if place in greeted:
                continue
            greeted.add(place)
            line, channel = place
            if self._rig.programs and preset.voices.programs:
                program = program_of(voice.index, len(voices), preset.voices.programs)
                line.put((PROGRAM | channel, program - 1))
            if self._rig.pan:
                pan = pan_value(voice.index, len(voices), preset.sound.pan)
                line.put((CONTROL | channel, PAN, pan))
            if preset.pitch.residue == "bend":
                for controller, value in BEND_RANGE_CONTROLS:
                    number = self._rig.bend_range if controller == DATA_ENTRY else value
                    line.put((CONTROL | channel, controller, number))
