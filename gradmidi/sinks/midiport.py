"""The sink that plays into MIDI ports.

Every note on is followed by its own note off: at the `Off` event, at `silence` or at `close`.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from gradmidi.base.messages import Warnings, warn
from gradmidi.errors import PortError
from gradmidi.midi.numbers import (
    BEND,
    BEND_RANGE,
    CONTROL,
    PAN,
    PROGRAM,
    bend_word,
    zone_controls,
)
from gradmidi.midi.ports import open_output
from gradmidi.midi.rig import Rig
from gradmidi.music.events import (
    FAULT_VOICE,
    Bend,
    Control,
    Event,
    Joined,
    Number,
    Off,
    On,
)
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.sinks.openport import OpenPort, Wire
from gradmidi.sinks.registry import Counters
from gradmidi.sinks.setup import layered, setup, shape_messages, shared_bend, without_notes

__all__ = ["MidiPort", "Wire"]


class MidiPort:
    """Sends the events that it receives to the rig's MIDI ports, at once.

    A key that is struck again while it sounds, by the same voice or another voice on its channel,
    is released first. It then sounds until the last of its notes ends.

    `send`, `silence` and `close` never raise: messages that the system refuses are counted, and the
    user is warned once.

    Parameters
    ----------
    rig : Rig
        Ports, channels, what is sent at the start, bend range and limit.
    preset : Preset
        Provides programs, pan and whether voices bend.
    voices : sequence of Voice
        The voices that play.
    clock : callable
        Returns monotonic seconds.
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
        If the rig has no port, or a port cannot be opened.
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
        if problem := shared_bend(rig, preset, voices):
            warn(problem)
        self.counters = Counters()
        self._rig = rig
        self._ports: list[OpenPort] = []
        warnings = Warnings()
        try:
            for name in rig.ports:
                wire = connect(name)
                port = OpenPort(wire, rig, self.counters, warnings, clock)
                self._ports.append(port)
        except BaseException:
            self.close()
            raise
        self._places: dict[int | None, tuple[tuple[OpenPort, int], ...]] = {
            voice.index: self._found(rig.place(voice.index)) for voice in voices
        }
        self._places[FAULT_VOICE] = self._found(rig.fault_place)
        self._places[None] = self._found(rig.value_place)
        self._takes: dict[type, Callable[[Any], None]] = {
            On: self._on,
            Off: self._off,
            Control: self._control,
            Number: self._number,
            Bend: self._bend,
            Joined: self._join,
        }
        self._preset = preset
        self._layers = layered(voices)
        self._greeted: set[tuple[OpenPort, int]] = set()
        for port in self._ports if rig.mpe else ():
            for controller, value in zone_controls(len(rig.voice_channels)):
                port.send((CONTROL, controller, value))
        for voice in voices:
            self._set_up(voice.index)

    @property
    def outputs(self) -> tuple[Wire, ...]:
        """The open ports, in the rig's order."""
        return tuple(port.wire for port in self._ports)

    def send(self, events: Sequence[Event]) -> None:
        """Send events now.

        Parameters
        ----------
        events : sequence of Event
            In order of ticks; only notes, controllers and bends are sent. After `close`, events are
            dropped.
        """
        takes = self._takes
        if not self._rig.notes:
            events = without_notes(events)
        if not self._ports:
            self.counters.dropped += sum(type(event) in takes for event in events)
            return
        for port in self._ports:
            port.refill()
        for event in events:
            take = takes.get(type(event))
            if take is not None:
                take(event)

    def silence(self) -> None:
        """End every note that sounds: send its note off, then Hold off and All Notes Off."""
        for port in self._ports:
            port.silence()

    def keep_alive(self) -> None:
        """Look for devices that were unplugged, and send Active Sensing where it is due."""
        for port in self._ports:
            port.look()
            if self._rig.active_sensing:
                port.keep_alive()

    def leave(self) -> None:
        """End every note and reset controllers, and leave the ports open for another sink."""
        for port in self._ports:
            port.leave()
        self._ports, self._places = [], {}

    def close(self) -> None:
        """End every note, reset controllers and close the ports. May be called twice."""
        ports, self._ports = self._ports, []
        self._places = {}
        for port in ports:
            port.close()

    def _found(self, place: tuple[int, int] | None) -> tuple[tuple[OpenPort, int], ...]:
        """Return the ports that a place of the rig means; channels count from 0 on the wire."""
        places = self._rig.mirrored(place) if place is not None else ()
        return tuple((self._ports[index], channel - 1) for index, channel in places)

    def _on(self, on: On) -> None:
        for port, channel in self._places.get(on.voice, ()):
            port.note_on(channel, on.voice, on.note, on.velocity)

    def _off(self, off: Off) -> None:
        for port, channel in self._places.get(off.voice, ()):
            port.note_off(channel, off.voice, off.note)

    def _control(self, control: Control) -> None:
        for port, channel in self._places.get(control.voice, ()):
            port.control((CONTROL | channel, control.controller, control.value))

    def _number(self, number: Number) -> None:
        for port, channel in self._places.get(number.voice, ()):
            for message in number.messages(channel):
                port.control(message)

    def _bend(self, bend: Bend) -> None:
        word = bend_word(bend.semitones * BEND_RANGE / self._rig.bend_semitones)
        for port, channel in self._places.get(bend.voice, ()):
            port.control((BEND | channel, word & 127, word >> 7))

    def _join(self, joined: Joined) -> None:
        self._places[joined.voice] = self._found(self._rig.place(joined.voice))
        self._set_up(joined.voice)

    def _set_up(self, voice: int) -> None:
        """Send the setup of a voice's channel, once for all voices on it."""
        for place in self._places[voice]:
            if place not in self._greeted:
                self._greeted.add(place)
                self._greet(*place, voice)

    def _greet(self, port: OpenPort, channel: int, voice: int) -> None:
        program, pan = setup(self._preset, voice, self._layers)
        if self._rig.programs and program:
            port.send((PROGRAM | channel, program - 1))
        if self._rig.pan:
            port.send((CONTROL | channel, PAN, pan))
        for message in shape_messages(self._rig, self._preset, channel):
            port.send(message)
