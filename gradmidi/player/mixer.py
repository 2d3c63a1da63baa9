"""Mute, solo and level of events between score and outputs, and the status of the run."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradmidi.midi.controls import LEVEL_DB
from gradmidi.music.events import FAULT_VOICE, Alarm, Event, Joined, Mark, Off, On, Sounding, Step
from gradmidi.music.pitch import note_name
from gradmidi.music.voices import Voice
from gradmidi.text.words import alarm

__all__ = ["Mixer", "Status"]

LAST_FAULTS = 5


@dataclass(slots=True)
class _Struck:
    """A note that the score has started, and whether it sounds."""

    on: On
    heard: bool


class Mixer:
    """Applies mute, solo and level to notes.

    A note that starts while its voice is muted starts late if the voice is unmuted before the note
    ends.

    Parameters
    ----------
    level : float, default 0.0
        Level of every note in dB. It changes velocities: the synth's amplitude is
        0.1 · (velocity / 80)².

    Attributes
    ----------
    muted : bool
        Whether all voices are muted.
    muted_voices : set of int
        The voices that are muted alone.
    soloed : int or None
        The only voice that sounds, in addition to faults; None: all voices.
    level : float
        Level in dB.
    levels : dict of int to float
        Levels of voices in dB, in addition to it.

    Examples
    --------
    >>> mixer = Mixer(level=-12.0)
    >>> mixer.take([On(0, 0, 60, 80, pitch=60.0)])
    [On(tick=0, voice=0, note=60, velocity=40, pitch=60.0, norm=0.0, sound='')]
    >>> mixer.obey({"do": "mute"}, ["fc1"])
    [Off(tick=0, voice=0, note=60)]
    """

    def __init__(self, level: float = 0.0) -> None:
        self.level = level
        self.levels: dict[int, float] = {}
        self.muted = False
        self.muted_voices: set[int] = set()
        self.soloed: int | None = None
        self._tick = 0
        self._struck: Sounding[tuple[int, int], _Struck] = Sounding()

    @property
    def heard(self) -> list[On]:
        """Notes that sound."""
        return [struck.on for struck in self._struck if struck.heard]

    def take(self, events: Sequence[Event], *, skip: bool = False) -> list[Event]:
        """Return the next events without muted notes; with `skip`, without any new note."""
        out: list[Event] = []
        for event in events:
            self._tick = max(self._tick, event.tick)
            if isinstance(event, On):
                heard = not skip and self._may_sound(event.voice)
                self._struck.start((event.voice, event.note), _Struck(event, heard))
                if heard:
                    out.append(self._louder(event))
            elif isinstance(event, Off):
                ended = self._struck.end((event.voice, event.note))
                if ended is not None and ended.heard:
                    out.append(event)
            else:
                out.append(event)
        return out

    def obey(self, command: Mapping[str, Any], names: Sequence[str]) -> list[Event]:
        """Mute, solo, change the level, or end all notes; return the resulting events.

        Parameters
        ----------
        command : mapping
            ``do`` is ``mute``, ``solo``, ``level`` or ``panic``. ``voice`` is an index, a name, or
            missing or None for all voices; ``on`` is True, False, or missing or None for the other
            state. A level has ``by`` or ``to``, in dB, and changes later notes. An unknown voice,
            and an index that is no voice's, are ignored.
        names : sequence of str
            Names of the voices.
        """
        voice = command.get("voice")
        index = names.index(voice) if voice in names else voice
        if index is not None and not (isinstance(index, int) and 0 <= index < len(names)):
            return []
        match command:
            case {"do": "mute"}:
                self._mute(index, command.get("on"))
            case {"do": "solo"} if index is None:
                self.soloed = None
            case {"do": "solo"}:
                on = command.get("on")
                on = self.soloed != index if on is None else on
                self.soloed = index if on else None if self.soloed == index else self.soloed
            case {"do": "panic"}:
                return self.silence()
            case {"do": "level", **levels}:
                least, most = LEVEL_DB
                before = self.level if index is None else self.levels.get(index, 0.0)
                level = levels.get("to", before + levels.get("by", 0.0))
                level = min(max(level, least), most)
                if index is None:
                    self.level = level
                else:
                    self.levels[index] = level
        return self._changed()

    def _mute(self, voice: int | None, on: bool | None) -> None:
        if voice is None:
            self.muted = not self.muted if on is None else on
        elif on is None:
            self.muted_voices ^= {voice}
        else:
            (self.muted_voices.add if on else self.muted_voices.discard)(voice)

    def rename(self, before: Sequence[str], after: Sequence[str]) -> None:
        """Keep what is set for voices, by name, when other voices play."""
        places = {index: after.index(name) for index, name in enumerate(before) if name in after}
        self.muted_voices = {places[each] for each in self.muted_voices if each in places}
        self.levels = {places[each]: db for each, db in self.levels.items() if each in places}
        self.soloed = None if self.soloed is None else places.get(self.soloed)

    def silence(self) -> list[Event]:
        """End every note permanently."""
        ended = self._struck.end_all()
        return [*_offs(self._tick, [struck.on for struck in ended if struck.heard])]

    def _may_sound(self, voice: int) -> bool:
        if self.muted or voice in self.muted_voices:
            return False
        return self.soloed in (None, voice) or voice == FAULT_VOICE

    def _louder(self, on: On) -> On:
        level = self.level + self.levels.get(on.voice, 0.0)
        if not level:
            return on
        velocity = round(on.velocity * 10.0 ** (level / 40.0))
        return replace(on, velocity=min(max(velocity, 1), 127))

    def _changed(self) -> list[Event]:
        ended: list[On] = []
        started: list[On] = []
        for struck in self._struck:
            may = self._may_sound(struck.on.voice)
            if struck.heard != may:
                struck.heard = may
                (started if may else ended).append(struck.on)
        started.sort(key=lambda on: (on.voice, on.note))
        ons = [self._louder(replace(on, tick=self._tick)) for on in started]
        return [*_offs(self._tick, ended), *ons]


def _offs(tick: int, notes: Sequence[On]) -> list[Off]:
    return [Off(tick, voice, note) for voice, note in sorted((on.voice, on.note) for on in notes)]


class Status:
    """The current state of a run in plain numbers, for a view.

    Parameters
    ----------
    voices : sequence of Voice
        The voices that play.

    Attributes
    ----------
    names : list of str
        Names of the voices; a logged value that appears later is added.

    Examples
    --------
    >>> status = Status([Voice(0, "fc1", (0,))])
    >>> step = Step(0, 7, 0.5, (0.25,), (0.5,), now=(0.25,))
    >>> status.take([step, On(0, 0, 57, 80, pitch=57.0, norm=0.25)])
    >>> status.table()["step"], status.table()["notes"]
    (7, ['A3'])
    """

    def __init__(self, voices: Sequence[Voice]) -> None:
        self._loss: float | None = None
        self._values: dict[str, float] = {}
        self.begin(voices)
        self._faults: deque[dict[str, Any]] = deque(maxlen=LAST_FAULTS)
        self._count = 0
        self._mark = ""

    def begin(self, voices: Sequence[Voice]) -> None:
        """Go on with other voices, or with the same ones that have no notes."""
        self._step: Step | None = None
        self.names = [voice.name for voice in voices]
        self._notes = [""] * len(voices)
        self._sounding: Sounding[tuple[int, int], On] = Sounding()
        # Voices with a note since the last slot started; the others rest.
        self._struck: set[int] = set()

    def take(self, events: Sequence[Event]) -> None:
        """Update the state by the next sent events."""
        for event in events:
            match event:
                case On(voice=voice, note=note) if voice != FAULT_VOICE:
                    self._notes[voice] = note_name(note)
                    self._sounding.start((voice, note), event)
                    self._struck.add(voice)
                case Off(voice=voice, note=note) if voice != FAULT_VOICE:
                    self._sounding.end((voice, note))
                case Joined(name=name):
                    self.names.append(name)
                    self._notes.append("")
                case Step():
                    self._step = event
                    self._values |= event.values
                    playing = self._struck | {voice for voice, _ in self._sounding.keys}
                    # The voices of values are struck now and then; they keep their last note.
                    for voice in range(len(event.norms)):
                        if voice not in playing:
                            self._notes[voice] = ""
                    self._struck.clear()
                    if event.loss is not None:
                        self._loss = event.loss
                case Alarm():
                    self._count += 1
                    self._faults.append(
                        {
                            "kind": event.kind,
                            "layer": event.layer,
                            "step": event.step,
                            "value": event.value if math.isfinite(event.value) else None,
                            "text": alarm(event),
                        }
                    )
                case Mark(voice=None):
                    self._mark = event.text

    def table(self) -> dict[str, Any]:
        """Return all numbers by name; empty before the first slot."""
        if self._step is None:
            return {}
        return {
            "step": self._step.step,
            "seconds": self._step.seconds,
            "loss": str(self._loss) if self._loss is not None else None,
            "norms": [_as_json(number) for number in self._step.now],
            "wrong": self._step.wrong,
            "degrees": [_as_json(number) for number in self._step.degrees],
            "notes": self._notes,
            "values": {name: _as_json(number) for name, number in self._values.items()},
            "faults": list(self._faults),
            "fault_count": self._count,
            "mark": self._mark,
        }


def _as_json(number: float) -> float | str:
    """Return a number as JSON can hold it, which has no nan."""
    return number if math.isfinite(number) else str(number)
