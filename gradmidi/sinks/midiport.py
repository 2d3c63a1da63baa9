"""The sink that plays into MIDI ports.

Every note on is followed by its own note off: at the `Off` event, at `silence` or at `close`.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gradmidi.base.messages import Warnings
from gradmidi.errors import PortError
from gradmidi.midi.channels import (
    bend_word,
)
from gradmidi.midi.numbers import (
    ACTIVE_SENSING,
    ALL_NOTES_OFF,
    BEND,
    BEND_RANGE,
    CONTROL,
    HOLD,
    MIDDLE,
    NOTE_OFF,
    NOTE_ON,
    PAN,
    PRESSURE,
    PROGRAM,
    RELEASE_VELOCITY,
    zone_controls,
)
from gradmidi.midi.ports import open_output
from gradmidi.midi.rig import Rig
from gradmidi.music.events import (
    BRIGHTNESS,
    FAULT_VOICE,
    Bend,
    Control,
    Event,
    Joined,
    Number,
    Off,
    On,
    Sounding,
)
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.sinks.setup import layered, setup, shape_messages, without_notes
from gradmidi.sinks.sink import Counters
from gradmidi.text.words import count

__all__ = ["MidiPort", "Wire"]

BURST_SECONDS = 0.05
"""Seconds of the limit that may be sent at once: 15 offs, controllers and ons at 900 a second."""

ALIVE_SECONDS = 0.15
"""The longest pause between messages while notes sound; a receiver waits for 0.3 s."""


class Wire(Protocol):
    """An open MIDI output, such as `gradmidi.midi.ports.Output`."""

    name: str

    def send(self, message: Sequence[int]) -> None:
        """Send one message, or raise PortError."""

    def close(self) -> None:
        """Wait until the last messages are sent, then close."""


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
        self.counters = Counters()
        self._rig = rig
        self._ports: list[_Port] = []
        warnings = Warnings()
        try:
            for name in rig.ports:
                wire = connect(name)
                port = _Port(wire, rig, self.counters, warnings, clock)
                self._ports.append(port)
        except BaseException:
            self.close()
            raise
        self._places: dict[int | None, tuple[tuple[_Port, int], ...]] = {
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
        self._greeted: set[tuple[_Port, int]] = set()
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
        """Send Active Sensing to each port with sounding notes, if the rig has it and it is due."""
        if self._rig.active_sensing:
            for port in self._ports:
                port.keep_alive()

    def close(self) -> None:
        """End every note, reset controllers and close the ports. May be called twice."""
        ports, self._ports = self._ports, []
        self._places = {}
        for port in ports:
            port.close()

    def _found(self, place: tuple[int, int] | None) -> "tuple[tuple[_Port, int], ...]":
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

    def _greet(self, port: "_Port", channel: int, voice: int) -> None:
        program, pan = setup(self._preset, voice, self._layers)
        if self._rig.programs and program:
            port.send((PROGRAM | channel, program - 1))
        if self._rig.pan:
            port.send((CONTROL | channel, PAN, pan))
        for message in shape_messages(self._rig, self._preset, channel):
            port.send(message)


class _Port:
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
        self._then = self._alive = clock()
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

    def close(self) -> None:
        """End every note, reset the controllers that were changed, and close the port."""
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
