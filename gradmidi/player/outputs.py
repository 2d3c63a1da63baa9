"""All that a player sends to: opened at once, played together; one that fails spoils no other."""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gradmidi.errors import GradmidiError, PortError
from gradmidi.live.ledger import Ledger
from gradmidi.live.session import Session
from gradmidi.music.events import Event, On
from gradmidi.music.voices import Voice
from gradmidi.sinks.counters import Counters

if TYPE_CHECKING:
    from gradmidi.midi.ports import Output
    from gradmidi.sinks.midiline import Wire
    from gradmidi.sinks.osc import Address
    from gradmidi.sinks.soundcard import Card

__all__ = ["Outputs"]

Say = Callable[[str], None]


class _Live(Protocol):
    """What a live sink is."""

    counters: Counters

    def send(self, events: Sequence[Event]) -> None: ...
    def silence(self) -> None: ...
    def close(self) -> None: ...


class Outputs:
    """The open outputs of one player.

    They are opened before the run is known, so that whoever asked for one that is not there
    learns so at once.

    Parameters
    ----------
    session : Session
        Which there are.
    say : callable
        Takes a line for the user.

    Raises
    ------
    PortError
        If a MIDI port or an OSC address is not there. A sound card that is not is said only.
    GradmidiError
        If the take cannot be written where it is to be.
    """

    def __init__(self, session: Session, say: Say) -> None:
        self._session = session
        self._say = say
        self._sinks: list[_Live] = []
        self._addresses: dict[str, Address] = {}
        self._ports: dict[str, Output] = {}
        self._clock: Output | None = None
        self._card: Card | None = None
        self._failed: set[str] = set()
        self._ledger = Ledger(session.ledger) if session.ledger else None
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
        if session.audio is not None:
            from gradmidi.sinks.soundcard import open_card

            try:
                self._card = open_card(session.audio, session.preset.sound.channels)
            except PortError as error:
                self._say(f"{error}; all else goes on without")

    def begin(self, run: str, voices: Sequence[Voice], layers: int) -> None:
        """Make ready for a run: its name, who plays, how many layers it has."""
        session = self._session
        if session.rig.ports:
            self._add("MidiPort", partial(self._midi, voices))
        for target in session.osc:
            self._add("Osc", partial(self._osc, target, run, voices, layers))
        if self._card is not None:
            self._add("SoundCard", partial(self._sound, voices))
        if session.take is not None:
            self._add("Take", partial(self._take, run, voices))

    def send(self, events: Sequence[Event]) -> None:
        """Send events to every output, now."""
        if self._ledger is not None:
            # A start is written down before it is sent, an end after.
            self._ledger.enter(event for event in events if isinstance(event, On))
        self._each(lambda sink: sink.send(events))
        if self._ledger is not None:
            # Starts once more: a key may be let go of and struck again at the same moment.
            self._ledger.enter(events)

    def tick(self, message: Sequence[int]) -> None:
        """Send a message of the MIDI clock."""
        if self._clock is not None:
            try:
                self._clock.send(message)
            except PortError as error:
                self._clock = None
                self._say(f"MIDI clock: {error}; all else goes on")

    def silence(self) -> None:
        """End every note on every output."""
        self._each(lambda sink: sink.silence())

    def close(self) -> None:
        """Close every output; none keeps another from closing."""
        self._each(lambda sink: sink.close())
        for port in self._ports.values():
            with contextlib.suppress(PortError):
                port.close()
        if self._card is not None:
            self._card.close()

    def counts(self) -> dict[str, Any]:
        """Tell what the outputs counted, all together."""
        counters = [sink.counters for sink in self._sinks]
        return {
            "sent": sum(each.sent for each in counters),
            "dropped": sum(each.dropped for each in counters),
            "errors": sum(each.errors for each in counters),
            "underruns": self._card.underruns if self._card is not None else 0,
        }

    # -- the sinks of a run ---------------------------------------------------------------------

    def _add(self, name: str, make: Callable[[], _Live]) -> None:
        try:
            self._sinks.append(make())
        except Exception as error:
            self._trouble(name, error)

    def _midi(self, voices: Sequence[Voice]) -> _Live:
        from gradmidi.sinks.midiport import MidiPort

        ports: Mapping[str, Wire] = self._ports
        session = self._session
        return MidiPort(session.rig, session.preset, voices, connect=ports.__getitem__)

    def _osc(self, target: str, run: str, voices: Sequence[Voice], layers: int) -> _Live:
        from gradmidi.sinks.osc import Osc

        return Osc(
            target,
            self._session.rig,
            run,
            voices,
            layers,
            timetags=self._session.timetags,
            find=self._addresses.__getitem__,
        )

    def _sound(self, voices: Sequence[Voice]) -> _Live:
        from gradmidi.sinks.soundcard import SoundCard

        assert self._card is not None
        return SoundCard(self._card, self._session.preset, len(voices))

    def _take(self, run: str, voices: Sequence[Voice]) -> _Live:
        from gradmidi.sinks.take import Take

        session = self._session
        assert session.take is not None
        Path(session.take).parent.mkdir(parents=True, exist_ok=True)
        late = session.paced or session.history
        return Take(session.take, session.preset, voices, run, from_first=late)

    def _each(self, call: Callable[[_Live], None]) -> None:
        for sink in self._sinks:
            try:
                call(sink)
            except Exception as error:
                self._trouble(type(sink).__name__, error)

    def _trouble(self, name: str, error: Exception) -> None:
        if name not in self._failed:
            self._failed.add(name)
            self._say(f"{name}: {type(error).__name__}: {error}; all else goes on")


def _check_place(take: Path) -> None:
    """See that a file can be there once its folder, which may be the run's own, is made."""
    there = next(folder for folder in take.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK) or take.is_dir():
        raise GradmidiError(f"{take} cannot be written; give a file ending in .mid elsewhere")
