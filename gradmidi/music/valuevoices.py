"""The voices of logged values: their homes and places in time, and their notes in each slot."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gradmidi.errors import RunLogError
from gradmidi.log import Header, RunLog, numbers_of
from gradmidi.log.values import chosen
from gradmidi.midi import metadata
from gradmidi.music.events import (
    BRIGHTNESS,
    Bend,
    Control,
    Event,
    Joined,
    Mark,
    Off,
    On,
)
from gradmidi.music.pitch import Pitch, Tone, note_number, scale_notes, tone
from gradmidi.music.preset import Preset
from gradmidi.music.timing import ticks_of
from gradmidi.music.values import FIRST, MOST_VALUES, Law, law_of
from gradmidi.music.voices import Voice

__all__ = [
    "FEW_LAYERS",
    "ValueVoices",
    "check_values",
    "count_updates",
    "fitted",
    "home_of",
    "named",
    "no_updates",
    "place_of",
    "value_names",
]

FEW_LAYERS = 3
"""With so few layers, all values in the log of another tool have a voice."""

GATE = 0.9
"""Length of a note, as a share of the time between two notes of a value."""

SOFT = 0.6
"""Velocity of the reference tone, as a share of a value's."""

PLACES = (0.0, -0.6, 0.6, -0.3, 0.3)
"""Places of values between left (-1) and right (1), in turn."""


def fitted(preset: Preset, header: Header) -> Preset:
    """Return the preset as it is used for a run.

    In a run without layers a slot has the length that values need. The log of another tool with
    few layers, such as the norm of all gradients, is mostly values, so they are heard too.
    """
    if not header.layers:
        time = replace(preset.time, style="chord", slot=preset.values.slot)
        return replace(preset, time=time)
    imported = isinstance(header.config, Mapping) and "imported" in header.config
    if imported and len(header.layers) <= FEW_LAYERS and not preset.values.which:
        return replace(preset, values=replace(preset.values, which=("*",)))
    return preset


def named(preset: Preset) -> list[str]:
    """Return the values that a preset names without a wildcard; they have a voice from the start.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> named(load("pentatonic", {"values.which": ["loss", "val/*"]}))
    ['loss']
    """
    return [name for name in preset.values.which if not set(name) & set("*?[")]


def home_of(preset: Preset, value: int) -> int:
    """Return the home of a value by its index from 0, a MIDI note.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> [home_of(load("pentatonic"), value) for value in range(7)]
    [48, 55, 52, 50, 57, 48, 55]
    """
    low, high = (note_number(name) for name in preset.values.home)
    notes = scale_notes(preset.pitch.scale, low, high)
    # Every third note, since neighbours are harder to tell apart; then those that were left out.
    order: list[int] = [
        *range(0, len(notes), 3),
        *range(2, len(notes), 3),
        *range(1, len(notes), 3),
    ]
    return notes[order[value % len(notes)]]


def place_of(preset: Preset, value: int) -> float:
    """Return the place of a value between left (-1) and right (1)."""
    return preset.sound.pan * PLACES[value % len(PLACES)]


@dataclass(slots=True)
class _Value:
    """The state of one value's voice."""

    voice: Voice
    home: int
    first: list[float] = field(default_factory=list)
    law: Law | None = None
    told: bool = False
    number: float = math.nan
    fresh: bool = False
    struck: int = -1
    brightness: int = -1
    bend: float = 0.0


class ValueVoices:
    """Turns the logged values of slots into notes.

    A value's voice is struck when it has a new number: in a run without layers once a slot, beside
    layers at most once in the time of ``[values] slot``, each value at a place of its own.

    Parameters
    ----------
    preset : Preset
        How values become music.
    names : sequence of str
        Values that have a voice from the start.
    first : int
        Index of the first value's voice: the number of voices of layers.
    slot_ticks : int
        Ticks in a slot.

    Attributes
    ----------
    grows : bool
        Whether values may get a voice.
    """

    def __init__(
        self, preset: Preset, names: Sequence[str], *, first: int, slot_ticks: int
    ) -> None:
        self._preset = preset
        self._first = first
        self._slot_ticks = slot_ticks
        period = ticks_of(preset.values.slot)
        self._slots = max(1, round(period / slot_ticks))
        self._period = self._slots * slot_ticks
        self._which = preset.values.which
        # In a run without layers all values have a voice unless some are named.
        self.grows = not first or bool(self._which)
        self._law, self._notes = preset.pitch, preset.notes
        self._delay = preset.time.grid(max(1, first)).delay
        self._values: dict[str, _Value] = {}
        self._bar = -1
        for name in names:
            self._join(name)

    @property
    def voices(self) -> tuple[Voice, ...]:
        """The voices, in the order in which the values appeared."""
        return tuple(value.voice for value in self._values.values())

    def laws(self) -> dict[str, tuple[int, Law | None]]:
        """Return each value's home, a MIDI note, and its law; None before it is found."""
        return {name: (value.home, value.law) for name, value in self._values.items()}

    def voice_of(self, name: str) -> tuple[int, int] | None:
        """Return index and home of the voice of a value; None if it has none."""
        value = self._values.get(name)
        return None if value is None else (value.voice.index, value.home)

    def observe(self, values: Mapping[str, object]) -> list[Voice]:
        """Take a frame's values: find laws; return the voices of values that are new."""
        if not self.grows:
            return []
        joined = []
        for name, number in numbers_of(values).items():
            value = self._values.get(name)
            if value is None:
                if len(self._values) == MOST_VALUES or not chosen(name, self._which):
                    continue
                value = self._join(name)
                joined.append(value.voice)
            if value.law is None and math.isfinite(number):
                value.first.append(number)
                if len(value.first) == FIRST:
                    self._settle(value)
        return joined

    def slot(self, index: int, start: int, values: Mapping[str, float]) -> list[Event]:
        """Return the notes of a slot at tick `start`, in no order."""
        if not self._values:
            return []
        events: list[Event] = []
        bar = start // self._preset.time.bar_ticks
        begins, self._bar = bar != self._bar, bar
        for place, (name, value) in enumerate(self._values.items()):
            if name in values:
                value.number, value.fresh = values[name], True
            if value.law is not None:
                events += self._text(value, start)
            tick = start + self._offset(place)
            turn = place % self._slots
            due = index - turn >= (value.struck + self._slots if value.struck >= 0 else 0)
            if value.fresh and due:
                value.fresh = False
                # Keep to the value's own places, also after a pause.
                value.struck = index - turn - (index - turn) % self._slots
                events += self._strike(value, tick)
            if self._preset.values.reference_tone and begins and value.first:
                # Between two places at which the value itself is struck.
                half = turn * self._slot_ticks + self._period // 2
                events += self.reference(name, tick + half)
        return events

    def change(self, law: Pitch, notes: tuple[int, ...]) -> None:
        """Play from here on in another scale."""
        self._law, self._notes = law, notes

    def degrees(self) -> Iterator[float]:
        """Yield how many degrees of the scale each value is above its home; nan if not known."""
        for value in self._values.values():
            known = value.law is not None and math.isfinite(value.number)
            yield value.law.degrees(value.number) if known and value.law else math.nan

    def finish(self, tick: int) -> list[Event]:
        """Return the texts of values whose law was not found before the end."""
        events: list[Event] = []
        for value in self._values.values():
            if value.law is None and value.first:
                self._settle(value)
            events += self._text(value, tick)
        return events

    def join(self, tick: int, voices: Sequence[Voice]) -> list[Event]:
        """Return the events that announce new voices."""
        return [Joined(tick, each.index, each.name, each.index - self._first) for each in voices]

    def _join(self, name: str) -> _Value:
        place = len(self._values)
        voice = Voice(self._first + place, name, ())
        value = self._values[name] = _Value(voice, home_of(self._preset, place))
        return value

    def _settle(self, value: _Value) -> None:
        value.law = law_of(value.voice.name, value.first, self._preset.values)

    def _offset(self, place: int) -> int:
        """Return the ticks from the start of a slot to a value's note."""
        return place % 4 * (self._slot_ticks // 4) if self._slots == 1 else 0

    def _tone(self, value: _Value) -> Tone:
        degrees = 0.0 if value.law is None else value.law.degrees(value.number)
        home = self._preset.notes.index(value.home)
        return tone(self._law, self._notes, home, degrees)

    def _strike(self, value: _Value, tick: int) -> list[Event]:
        if not math.isfinite(value.number):
            return []
        found, voice = self._tone(value), value.voice.index
        events: list[Event] = []
        residue = self._preset.pitch.residue
        if residue == "brightness" and found.brightness != value.brightness:
            value.brightness = found.brightness
            events.append(Control(tick, voice, BRIGHTNESS, found.brightness))
        if self._preset.bends and found.bend != value.bend:
            value.bend = found.bend
            events.append(Bend(tick, voice, found.bend))
        velocity = self._preset.values.velocity
        events.append(On(tick, voice, found.note, velocity, found.pitch, value.number))
        events.append(Off(tick + self._length, voice, found.note))
        return events

    def reference(self, name: str, tick: int) -> list[Event]:
        """Return the soft note of a value's home at a tick."""
        value = self._values[name]
        voice, velocity = value.voice.index, self._preset.values.velocity
        soft = max(1, round(SOFT * velocity))
        return [
            On(tick, voice, value.home, soft, self._preset.pitch.tuned(value.home)),
            Off(tick + self._length, voice, value.home),
        ]

    @property
    def _length(self) -> int:
        """Ticks of a note; with the reference tone half as long, to leave room for it."""
        share = 0.5 if self._preset.values.reference_tone else 1.0
        return max(1, round(GATE * share * self._period))

    def _text(self, value: _Value, tick: int) -> list[Event]:
        """Return the text that says how the value's numbers became notes, once."""
        if value.told:
            return []
        value.told = True
        law, pitch = value.law, self._preset.pitch
        content: dict[str, object] = {"value": value.voice.name, "home": value.home}
        if law is not None:
            unit = "difference" if law.additive else "factor"
            content |= {"reference": law.home, unit: law.unit}
        content |= {**pitch.written(), **({"swing": self._delay} if self._delay else {})}
        content |= {"scale": pitch.scale, "range": list(pitch.range), "residue": pitch.residue}
        place = value.voice.index - self._first
        content |= {
            "slot_ticks": self._slot_ticks,
            "period": self._period,
            "offset": place % self._slots * self._slot_ticks + self._offset(place),
        }
        return [Mark(tick, metadata.write(content), value.voice.index)]


MOST_SHOWN = 15
"""Most names in an error message."""


def count_updates(log: RunLog) -> int:
    """Return how many steps of a run have sizes of updates; raise RunLogError if none has."""
    steps = sum(frame.updates is not None for frame in log.frames())
    if not steps:
        raise no_updates(log.path)
    return steps


def no_updates(source: str | Path) -> RunLogError:
    """Return the error for a source without sizes of updates."""
    return RunLogError(f"{source} holds no sizes of updates; listen(…, updates=10) measures them")


def check_values(log: RunLog, which: Sequence[str]) -> None:
    """Raise RunLogError if a name or a pattern matches no logged value of a run."""
    known = log.logged if which else ()
    for pattern in which:
        if pattern != "*" and not any(chosen(name, (pattern,)) for name in known):
            shown = ", ".join(known[:MOST_SHOWN]) or "none"
            raise RunLogError(
                f"{log.path}: no logged value is called {pattern!r}; there are: {shown}"
            )


def value_names(log: RunLog, preset: Preset) -> list[str]:
    """Return the values of a run that have a voice, in the order in which they appear."""
    which = fitted(preset, log.header).values.which
    if log.layers and not which:
        return []
    return [name for name in log.logged if chosen(name, which)][:MOST_VALUES]
