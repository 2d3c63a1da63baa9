"""Examples of the sounds of a preset, each with its text: the check, the legend and the tour."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from gradmidi.detection.kinds import KINDS, RUN, Finding
from gradmidi.log import ABSENT, Layer
from gradmidi.music.alarms import END, TICK, Alarms
from gradmidi.music.composer import Composer
from gradmidi.music.events import FAULT_VOICE, PPQ, Bend, Control, Event, Off, On
from gradmidi.music.pitch import note_name
from gradmidi.music.preset import Preset, legend_notes
from gradmidi.music.slots import Slot
from gradmidi.music.values import FIRST
from gradmidi.music.voices import Voice

__all__ = ["TOUR_VOICES", "Cue", "at_pace", "check", "legend", "speech_seconds", "tour"]

HOME = 1.0
"""The norm at which every voice is at home, and the number at which the value is."""

PAUSE_TICKS = PPQ
"""Time between two fault sounds of a check, in ticks at 120 quarter notes per minute."""

NOTES = (("home", HOME), ("one doubling up", 2.0 * HOME))
"""The notes of each voice in a check, with their norms."""

VALUE_NOTES = (("home", 0), ("one note lower", -1))
"""The notes of each value in a check, in notes of the scale above home."""

DOUBLINGS = {0: "home", 1: "one doubling up", 3: "three doublings up"}
"""What the numbers of doublings in a legend are called."""

VALUE = "loss"

TOUR_VOICES = (*(Voice(i, f"layer {i + 1}", (i,)) for i in range(4)), Voice(4, VALUE, ()))
"""The voices of a tour: four layers and a logged value."""

FAR = 16.0
"""The largest norm of a tour."""

TAUGHT = 1
"""Index of the voice that shows changes in a tour."""

NEARLY = {
    "brightness": "the same, brighter",
    "bend": "a little higher",
    "off": "the same",
}
"""What a small change of a norm sounds like, by the preset's ``pitch.residue``."""

VALUE_CHANGES = (
    ("a logged value, the loss, at home", 0),
    ("one note lower: the loss has fallen", -1),
    ("far lower: the loss has fallen further", -6),
)
"""What a tour says and plays of a value, in notes of the scale above home."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A sound and its description.

    Parameters
    ----------
    text : str
        One line for the user.
    events : tuple of Event
        In order of ticks.
    seconds : float
        Seconds in one tick.
    tick : int
        When the text is shown or spoken; the sound starts then, or later.
    """

    text: str
    events: tuple[Event, ...]
    seconds: float
    tick: int


def check(preset: Preset, voices: Sequence[Voice]) -> Iterator[Cue]:
    """Compose a check: each voice at home, then one doubling up, half a second each.

    The voice of a logged value plays its home, then one note lower. The fault sounds follow, if the
    preset has them. With a preset of drums, each voice of layers plays whole bars on its own key.

    Parameters
    ----------
    preset : Preset
        How norms become music.
    voices : sequence of Voice
        The voices to check.

    Yields
    ------
    Cue
    """
    layers = [voice for voice in voices if voice.layers]
    values = [voice for voice in voices if not voice.layers]
    lesson = _Lesson(preset, [voice.name for voice in layers], [voice.name for voice in values])
    sounds = [
        *(
            (voice, what, partial(lesson.norm, voice.index, norm))
            for voice, (what, norm) in itertools.product(layers, NOTES)
        ),
        *(
            (voice, what, partial(lesson.value, voice.name, degrees))
            for voice, (what, degrees) in itertools.product(values, VALUE_NOTES)
        ),
    ]
    for place, (voice, what, make) in enumerate(sounds):
        events = make(place)
        keys = [event.note for event in events if isinstance(event, On)]
        sound = note_name(keys[0]) if keys else "no note"
        text = f"voice {voice.index + 1}, {voice.name}: {what}, {sound}"
        yield lesson.cue(text, events, place * lesson.slot_ticks)
    tick = len(sounds) * lesson.slot_ticks
    for kind in (*KINDS, END):
        notes = [each for each in lesson.fault_at(kind, tick) if isinstance(each, (On, Off))]
        pulses = [note for note in notes if note.voice == FAULT_VOICE]
        if pulses:
            what = "the end of a run" if kind == END else kind
            yield lesson.cue(f"fault sound: {what}", pulses, tick)
            tick = pulses[-1].tick + PAUSE_TICKS


def legend(preset: Preset, voices: Sequence[Voice]) -> Iterator[Cue]:
    """Describe the legend at the start of a piece, whose sounds are the piece's own."""
    for tick, voice, doublings, found in legend_notes(preset, len(voices)):
        sound = f"{preset.style.strokes_at_home + found.steps} strokes"
        if not preset.style.strokes_at_home:
            sound = note_name(found.note)
        text = f"voice {voice + 1}, {voices[voice].name}: {DOUBLINGS[doublings]}, {sound}"
        yield Cue(text, (), preset.time.tick_seconds, tick)


def tour(preset: Preset) -> Iterator[Cue]:
    """Compose the tour: voices, changes of a norm, a value, each fault, the end.

    Each sound comes after its text; the time between them leaves room to speak the text.

    Parameters
    ----------
    preset : Preset
        How norms become music.

    Yields
    ------
    Cue
    """
    lesson = _Lesson(preset, [voice.name for voice in TOUR_VOICES if voice.layers], [VALUE])
    yield from lesson.after(
        f"the preset {preset.name}: each layer of a network is a voice, here four", lesson.homes
    )
    for text, norm in _changes(preset):
        yield from lesson.after(text, partial(lesson.norm, TAUGHT, norm))
    for text, degrees in VALUE_CHANGES:
        yield from lesson.after(text, partial(lesson.value, VALUE, degrees))
    yield from lesson.after("the reference tone: the home of the loss, softly", lesson.reference)
    if not preset.faults.sound:
        yield from lesson.after("this preset has no sounds for faults", lambda _: [])
        return
    yield from lesson.after(
        "a fault: pulses name it, then its layer plays its home twice, here layer 2", lambda _: []
    )
    for kind in KINDS.values():
        yield from lesson.after(f"{kind.name}: {kind.meaning}", partial(lesson.fault, kind.name))
    tick = "a soft tick once a bar: the run goes on, but no voice sounds"
    yield from lesson.after(tick, partial(lesson.fault, TICK))
    yield from lesson.after("the end of a run", partial(lesson.fault, END))


def _changes(preset: Preset) -> Iterator[tuple[str, float]]:
    """Yield what a tour says of one voice, and its norms."""
    drums = preset.style.strokes_at_home
    higher, lower = ("more strokes", "fewer strokes") if drums else ("higher", "lower")
    yield "home: the norm is what it was at first", HOME
    yield f"{higher}: the norm has doubled", 2.0 * HOME
    yield "home", HOME
    yield f"{lower}: the norm has halved", 0.5 * HOME
    yield "home", HOME
    yield f"{NEARLY[preset.pitch.residue]}: the norm is a little larger", preset.pitch.step**0.4
    yield f"far above: the norm is {FAR:g} times as large", FAR * HOME


def at_pace(preset: Preset) -> Preset:
    """Return a preset with slots of half a second; a preset of drums keeps its bars."""
    if preset.style.strokes_at_home:
        return preset
    time = replace(
        preset.time, style="chord", slot="1/4", tempo=120.0, gate=0.9, stagger=0.0, swing=0.5
    )
    return replace(preset, time=time)


class _Lesson:
    """Composes single sounds of a preset, half a second each, at 120 quarter notes per minute."""

    def __init__(self, preset: Preset, names: Sequence[str], values: Sequence[str]) -> None:
        preset = at_pace(preset)
        which = tuple(values)
        own = replace(preset.values, which=which, slot="1/4", reference_tone=False)
        self._preset = replace(preset, values=own)
        self._layers = [Layer(name, 1) for name in names]
        self._voices = [Voice(index, name, (index,)) for index, name in enumerate(names)]
        references = [HOME] * len(names)
        self._composer = Composer(
            self._preset, self._layers, self._voices, references=references, values=which
        )
        self._silence = np.full(len(names), ABSENT)
        for _ in range(FIRST):
            self._composer.observe(self._silence, dict.fromkeys(values, HOME))
        self.slot_ticks = self._composer.slot_ticks
        self._seconds = self._preset.time.tick_seconds
        self._place = 0

    def cue(self, text: str, events: Sequence[Event], tick: int) -> Cue:
        """Return a cue."""
        return Cue(text, tuple(events), self._seconds, tick)

    def after(self, text: str, make: Callable[[int], Sequence[Event]]) -> Iterator[Cue]:
        """Yield the cue of a text and then a sound; `make` takes the slot in which it begins."""
        tick = self._place * self.slot_ticks
        spoken = math.ceil(speech_seconds(text) / self._seconds / self.slot_ticks)
        events = make(self._place + spoken)
        over = max([event.tick for event in events], default=tick + spoken * self.slot_ticks)
        self._place = math.ceil((over + PAUSE_TICKS) / self.slot_ticks)
        yield self.cue(text, events, tick)

    def homes(self, place: int) -> list[Event]:
        """Return the notes of all voices at home, one after another."""
        each = (self.norm(voice, HOME, place + voice) for voice in range(len(self._voices)))
        return list(itertools.chain.from_iterable(each))

    def norm(self, voice: int, norm: float, place: int) -> list[Event]:
        """Return the notes of a voice that has this norm in a slot."""
        norms = self._silence.copy()
        norms[voice] = norm
        return self._slot(Slot(place, place + 1, 0.0, norms))

    def value(self, name: str, degrees: int, place: int) -> list[Event]:
        """Return the note of a value that is so many notes of the scale above home."""
        _, law = self._composer.values.laws()[name]
        assert law is not None
        number = law.home + degrees * law.unit if law.additive else law.home * law.unit**degrees
        return self._slot(Slot(place, place + 1, 0.0, self._silence, values={name: number}))

    def reference(self, place: int) -> list[Event]:
        """Return the reference tone of the value."""
        return self._composer.values.reference(VALUE, place * self.slot_ticks)

    def fault(self, kind: str, place: int) -> list[Event]:
        """Return the notes of a fault's sound, of the end or of the tick, from a slot on."""
        return self.fault_at(kind, place * self.slot_ticks)

    def fault_at(self, kind: str, tick: int) -> list[Event]:
        """Return the same from a tick on."""
        homes = self._preset.home_notes(len(self._voices))
        alarms = Alarms(self._preset, self._layers, self._voices, homes)
        if kind == END:
            return alarms.end(tick)
        if kind == TICK:
            return alarms.idle(tick)
        layer = min(TAUGHT, len(self._layers) - 1) if KINDS[kind].of_layers else RUN
        return _sounds(alarms.add(tick, [Finding(kind, layer, 0, 0.0, (layer,) * (layer != RUN))]))

    def _slot(self, slot: Slot) -> list[Event]:
        return _sounds(self._composer.slot(slot))


def _sounds(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, (On, Off, Control, Bend))]


def speech_seconds(text: str) -> float:
    """Return how long a text may take when it is spoken.

    Examples
    --------
    >>> speech_seconds("home")
    1.0
    """
    return max(1.0, 0.4 + 0.07 * len(text))
