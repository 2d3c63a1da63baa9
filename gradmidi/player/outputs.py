"""The outputs of a player: MIDI ports, OSC receivers, a sound card, a recording, messages.

An error of one output does not stop the others.
"""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradmidi.base.messages import Warnings, warn
from gradmidi.errors import GradmidiError, PortError
from gradmidi.live.session import Session
from gradmidi.midi.rig import Rig
from gradmidi.music.events import Event
from gradmidi.music.values import MOST_VALUES
from gradmidi.music.voices import Voice
from gradmidi.sinks.registry import Counters, LiveSink

if TYPE_CHECKING:
    from gradmidi.midi.ports import Output
    from gradmidi.player.desk import Desk, MidiDesk
    from gradmidi.player.mixer import Mixer
    from gradmidi.sinks.midiport import Wire
    from gradmidi.sinks.notify import Notify
    from gradmidi.sinks.osc import Address, Osc
    from gradmidi.sinks.oscmessage import Pace
    from gradmidi.sinks.soundcard import Card, SoundCard

__all__ = ["Outputs"]


class Outputs:
    """The open outputs of one player.

    They are opened before the run starts, so that a missing output is an error at once.

    Parameters
    ----------
    session : Session
        Settings of the outputs.
    number : int, default 1
        Number of the recording: from 2 on it is in the name of its file, since an earlier run or
        preset has a recording already.

    Raises
    ------
    PortError
        If a MIDI port or an OSC address cannot be opened, or the sound card that is the only output
        of a log. For any other sound card there is only a warning.
    GradmidiError
        If the recording cannot be written to its path.
    """

    def __init__(self, session: Session, number: int = 1) -> None:
        self._session = session
        self.number = number
        self._sinks: list[LiveSink] = []
        self._past: list[Counters] = []
        self._oscs: dict[str, Osc] = {}
        self._player: SoundCard | None = None
        self._addresses: dict[str, Address] = {}
        self._ports: dict[str, Output] = {}
        self._clock: Output | None = None
        self._card: Card | None = None
        self._notify: Notify | None = None
        self._desk: Desk | None = None
        self._midi_desk: MidiDesk | None = None
        self._greeting: list[bytes] = []
        self._slot, self._rate = 0.0, 1.0
        self._warnings = Warnings()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        session = self._session
        for target in session.osc:
            from gradmidi.sinks.osc import resolve

            self._addresses[target] = resolve(target)
        if session.osc_in is not None:
            from gradmidi.player.desk import Desk

            self._desk = Desk(session.osc_in)
        if session.midi_in is not None:
            from gradmidi.player.desk import MidiDesk

            self._midi_desk = MidiDesk(session.midi_in, session.rig.midi_in)
        rig = session.rig
        clock = rig.clock if isinstance(rig.clock, str) else None
        for name in dict.fromkeys([*rig.ports, *([clock] if clock else [])]):
            from gradmidi.midi.ports import open_output

            self._ports[name] = open_output(name)
        if rig.clock:
            if clock is None and not rig.ports:
                raise PortError("the clock needs a MIDI port; give one (see: gradmidi ports)")
            self._clock = self._ports[clock or rig.ports[0]]
        if session.take is not None:
            _check_place(Path(session.take))
        if session.notify:
            from gradmidi.sinks.notify import Notify

            self._notify = Notify(session.notify)
        if session.audio is not None:
            from gradmidi.sinks.soundcard import open_card

            try:
                self._card = open_card(session.audio, session.preset.sound.channels)
            except PortError as error:
                if session.plays_log and session.only_audio:
                    raise
                warn(f"{error}; everything else works without it")

    def begin(self, run: str, voices: Sequence[Voice], layers: int, slot: float) -> None:
        """Make the sinks for a run: its name, voices, number of layers, seconds in a slot."""
        session = self._session
        self._slot = slot
        if self._desk is not None:
            from gradmidi.sinks.osc import greeting

            self._greeting = greeting(run, voices, layers, self._pace(), session.rig)
        if session.rig.ports:
            self._add("MidiPort", partial(self._midi, voices))
        for target in session.osc:
            self._add("Osc", partial(self._osc, target, run, voices, layers))
        if self._card is not None:
            self._add("SoundCard", partial(self._sound, voices))
        if session.take is not None:
            self._add("Take", partial(self._take, run, voices))
        if self._notify is not None:
            self._notify.name(run)
            self._sinks.append(self._notify)

    def change(self, session: Session) -> None:
        """Leave what belongs to the preset, before `begin` with another; ports stay open."""
        self._session = session
        self.number += 1
        sinks, self._sinks = self._sinks, []
        kept: list[LiveSink | None] = [*self._oscs.values(), self._player, self._notify]
        for sink in sinks:
            if sink not in kept:
                self._past.append(sink.counters)
                try:
                    getattr(sink, "leave", sink.close)()
                except Exception as error:
                    self._warnings.note(type(sink).__name__, error, "everything else continues")

    def send(self, events: Sequence[Event]) -> None:
        """Send events to every output now."""
        self._each(lambda sink: sink.send(events))

    def commands(self) -> list[dict[str, Any]]:
        """Return the commands that have come by OSC and MIDI."""
        desks = (self._desk, self._midi_desk)
        return [each for desk in desks if desk is not None for each in desk.commands()]

    def answer(self, mixer: "Mixer", names: Sequence[str]) -> None:
        """Answer a query: the run, its voices, and what is muted, soloed and how loud."""
        if self._desk is not None:
            from gradmidi.sinks.oscmessage import desk_messages

            muted = [mixer.muted or index in mixer.muted_voices for index in range(len(names))]
            levels = [mixer.levels.get(index, 0.0) for index in range(len(names))]
            state = desk_messages(names, muted, mixer.soloed, mixer.level, levels)
            self._desk.answer([*self._greeting, *state])

    def tick(self, message: Sequence[int]) -> None:
        """Send a message of the MIDI clock."""
        if self._clock is not None:
            try:
                self._clock.send(message)
            except PortError as error:
                self._clock = None
                warn(f"MIDI clock: {error}; everything else continues")

    def keep_time(self, rate: float) -> None:
        """Send the tempo by OSC if it has changed; `rate` is its share of the preset's."""
        if rate == self._rate:
            return
        from gradmidi.sinks.osc import Osc
        from gradmidi.sinks.oscmessage import preset_message

        self._rate = rate
        pace = self._pace()
        if self._greeting:
            self._greeting[1] = preset_message(pace)
        self._each(lambda sink: sink.keep_time(pace) if isinstance(sink, Osc) else None)

    def keep_alive(self) -> None:
        """Tell every output that the player still runs; called often."""
        self._each(lambda sink: sink.keep_alive())

    def silence(self) -> None:
        """End every note on every output."""
        self._each(lambda sink: sink.silence())

    def close(self) -> None:
        """Close every output, even if closing one of them fails."""
        self._each(lambda sink: sink.close())
        for port in self._ports.values():
            with contextlib.suppress(PortError):
                port.close()
        if self._card is not None:
            self._card.close()
        if self._notify is not None:
            self._notify.close()
        for desk in (self._desk, self._midi_desk):
            if desk is not None:
                desk.close()

    def counts(self) -> dict[str, Any]:
        """Return the sums of the outputs' counts."""
        counters = [*self._past, *(sink.counters for sink in self._sinks)]
        return {
            "sent": sum(each.sent for each in counters),
            "dropped": sum(each.dropped for each in counters),
            "errors": sum(each.errors for each in counters),
            "underruns": self._card.underruns if self._card is not None else 0,
        }

    # -- the sinks of a run ---------------------------------------------------------------------

    def _add(self, name: str, make: Callable[[], LiveSink]) -> None:
        try:
            self._sinks.append(make())
        except Exception as error:
            self._warnings.note(name, error, "everything else continues")

    def _midi(self, voices: Sequence[Voice]) -> LiveSink:
        from gradmidi.sinks.midiport import MidiPort

        ports: Mapping[str, Wire] = self._ports
        session = self._session
        return MidiPort(session.rig, session.preset, voices, connect=ports.__getitem__)

    def _pace(self) -> "Pace":
        from gradmidi.sinks.oscmessage import Pace

        preset = self._session.preset
        return Pace(preset.time.tempo * self._rate, self._slot / self._rate, preset.name)

    def _osc(self, target: str, run: str, voices: Sequence[Voice], layers: int) -> LiveSink:
        from gradmidi.sinks.osc import Osc

        if target in self._oscs:
            self._oscs[target].begin(run, voices, layers, self._pace())
            return self._oscs[target]
        self._oscs[target] = Osc(
            target,
            self._session.rig,
            run,
            voices,
            layers,
            pace=self._pace(),
            timetags=self._session.timetags,
            find=self._addresses.__getitem__,
        )
        return self._oscs[target]

    def _sound(self, voices: Sequence[Voice]) -> LiveSink:
        from gradmidi.sinks.setup import layered
        from gradmidi.sinks.soundcard import SoundCard

        assert self._card is not None
        preset, layers = self._session.preset, layered(voices)
        if self._player is None:
            self._player = SoundCard(self._card, preset, layers, MOST_VALUES)
        else:
            self._player.begin(preset, layers, MOST_VALUES)
        return self._player

    def _take(self, run: str, voices: Sequence[Voice]) -> LiveSink:
        from gradmidi.sinks.live_recording import LiveRecording

        session = self._session
        assert session.take is not None
        take = Path(session.take)
        if self.number > 1:
            take = take.with_stem(f"{take.stem}-{self.number}")
        take.parent.mkdir(parents=True, exist_ok=True)
        late = session.paced or session.history or session.rig.link or self.number > 1
        # If the rig holds nothing but ports, the file has as many as its voices need.
        rig = (
            None if replace(session.rig, ports=(), link=False, midi_in={}) == Rig() else session.rig
        )
        return LiveRecording(take, session.preset, voices, run, from_first=late, rig=rig)

    def _each(self, call: Callable[[LiveSink], None]) -> None:
        for sink in self._sinks:
            try:
                call(sink)
            except Exception as error:
                self._warnings.note(type(sink).__name__, error, "everything else continues")


def _check_place(take: Path) -> None:
    """Check that a file can be written; its folder may be missing, since it may be the run's."""
    there = next(folder for folder in take.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK) or take.is_dir():
        raise GradmidiError(f"{take} cannot be written; give a file ending in .mid elsewhere")
