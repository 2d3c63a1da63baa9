"""What changes from slot to slot besides the tones: the scale, loudness and MIDI controllers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gradmidi.log import Scalar, numbers_of
from gradmidi.log.values import chosen
from gradmidi.midi.rig import FAULT, LEVEL, Rig
from gradmidi.music.events import AFTERTOUCH, Number, Step
from gradmidi.music.pitch import Tone, exchanged
from gradmidi.music.preset import Preset
from gradmidi.music.styles import Part
from gradmidi.music.values import FIRST, Values, is_share, law_of

__all__ = [
    "MOST_A_SECOND",
    "MOST_MESSAGES_A_SECOND",
    "Controllers",
    "Dynamics",
    "Scales",
    "position",
]


class Scales:
    """Chooses the scale of each slot. Degrees stay the same: each note is replaced by another.

    Parameters
    ----------
    preset : Preset
        Its ``[pitch]`` names the scales.
    parts : sequence of Part
        The voices, in the preset's own scale.

    Attributes
    ----------
    law : Pitch
        ``[pitch]`` with the scale of the slot.
    parts : tuple of Part
        The voices in that scale.
    notes : tuple of int
        The notes of that scale.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> preset = load("pentatonic", {"pitch.on_fault": "A 0 1 5 7 8"})
    >>> scales = Scales(preset, preset.parts(1))
    >>> [scales.slot(i, 480 * i, (), faulty=i == 1) and scales.law.scale for i in range(6)]
    [False, 'A 0 1 5 7 8', False, False, False, 'A minor pentatonic']
    """

    def __init__(self, preset: Preset, parts: Sequence[Part]) -> None:
        self.law, self.parts, self.notes = preset.pitch, tuple(parts), preset.notes
        self._own = self.law, self.parts, self.notes
        self._bar = preset.time.bar_ticks
        self._base, self._until = self.law.scale, 0
        self._rows: list[tuple[int, str]] = []

    def slot(self, index: int, start: int, marks: Sequence[str], *, faulty: bool) -> bool:
        """Take the slot that begins at tick `start`; return whether another scale begins."""
        law, parts, notes = self._own
        for text in marks:
            found = [each for pattern, each in law.on_mark.items() if chosen(text, (pattern,))]
            self._base = (self._base, *found)[-1]
        if faulty and self.law.scale != law.on_fault:
            self._until = start + self._bar
        changed = law.on_fault and (faulty or start < self._until)
        scale = law.on_fault if changed else self._base
        if scale == self.law.scale:
            return False
        self.law = replace(law, scale=scale)
        self.notes = exchanged(notes, law.scale, scale)
        self.parts = tuple(
            replace(part, notes=exchanged(part.notes, law.scale, scale)) for part in parts
        )
        self._rows.append((index, scale))
        return True

    def written(self) -> dict[str, list[tuple[int, str]]]:
        """Return what `decode` needs: the first slot of each scale; nothing if none has changed."""
        return {"scales": self._rows} if self._rows else {}


HALF_SECONDS = 0.4
"""A voice that stops moving loses half of its accent in this time."""

FULL_DOUBLINGS = 2.0
"""A move by this many doublings of the norm gives the full accent."""

UNKNOWN = 0.5


class Dynamics:
    """Computes the velocity of notes: a voice that moves is louder than one that stays.

    Parameters
    ----------
    preset : Preset
        Its ``[loudness]``.
    voices : int
        Number of voices.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> dynamics = Dynamics(load("pentatonic", {"loudness.per_step": 0, "time.slot": "1/2"}), 1)
    >>> home, up = Tone(60, 60.0, 0.0, 0), Tone(64, 64.0, 0.0, 2)
    >>> [dynamics.move(0, tone) or dynamics.velocity(0, tone) for tone in (home, home, home, up)]
    [104, 64, 58, 104]
    """

    def __init__(self, preset: Preset, voices: int) -> None:
        self._loudness = preset.loudness
        seconds = preset.time.slot_ticks(max(1, voices)) * preset.time.tick_seconds
        self._left = 0.5 ** (seconds / HALF_SECONDS)
        self._full = FULL_DOUBLINGS * math.log(2.0) / math.log(preset.pitch.step)
        # For each voice: how much it moves, 0 to 1, and its last place in steps of the scale.
        self._moves = [UNKNOWN] * voices
        self._places: list[float | None] = [None] * voices

    def move(self, voice: int, tone: Tone | None) -> None:
        """Take a voice's tone in the next slot; None for a rest, after which it is new."""
        before = self._places[voice]
        here = self._places[voice] = None if tone is None else tone.steps + tone.residue
        if here is not None:
            moved = 1.0 if before is None else abs(here - before) / self._full
            self._moves[voice] = max(self._moves[voice] * self._left, min(moved, 1.0))

    def velocity(self, voice: int, tone: Tone, accent: int = 0) -> int:
        """Return the MIDI velocity of a voice's tone; `accent` is added to it."""
        loudness = self._loudness
        low, high = loudness.range
        moved = loudness.change * (self._moves[voice] - 0.5)
        velocity = round(loudness.velocity + loudness.per_step * tone.steps + moved)
        return min(max(velocity + accent, low), high)


MOST_A_SECOND = 50.0
"""Most values of one controller a second."""

MOST_MESSAGES_A_SECOND = 400.0
"""Most messages of all controllers a second: less than half of what a DIN cable carries."""

DECADES = 3.0
"""Powers of ten above and below a value's first number, for values that are always positive."""

DEGREES = 16.0
"""Degrees of `gradmidi.music.values.Law` above and below a value's first number, for others."""


def position(name: str, first: Sequence[float], number: float) -> float:
    """Return where a logged value stands between 0 and 1.

    A share (by its name, as an accuracy) stands where it is; a percentage is divided by 100. Of any
    other value the first number is the middle. One that is always positive reaches the ends at a
    thousand times and a thousandth of it; one that may be zero or negative after 16 times its
    difference for one degree of the scale (`law_of`).

    Parameters
    ----------
    name : str
        Name of the value.
    first : sequence of float
        Its first finite numbers, one at least.
    number : float
        A finite number.

    Examples
    --------
    >>> position("acc", [0.1], 0.75), position("loss", [2.0], 2.0), position("loss", [2.0], 0.2)
    (0.75, 0.5, 0.33333333333333337)
    >>> position("loss", [2.0], 0.0), position("reward", [-20.0, -19.0, -20.0], -12.0)
    (0.0, 0.625)
    """
    law = law_of(name, first, Values())
    if not law.additive:
        share = math.log10(number / law.home) / (2 * DECADES) if number > 0.0 else -1.0
    elif is_share(name) and min(first) >= 0.0 and max(first) <= 100.0:
        share = (number if max(first) <= 1.0 else number / 100.0) - 0.5
    else:
        share = law.degrees(number) / (2 * DEGREES)
    return min(max(0.5 + share, 0.0), 1.0)


@dataclass(slots=True)
class _Knob:
    """One controller of one voice, or of the run; `sent` is its newest value, -1 for none."""

    voice: int | None
    controller: int
    fine: bool
    sent: int = -1
    first: list[float] = field(default_factory=list)

    def number(self, tick: int, value: int) -> Number:
        self.sent = value
        return Number(tick, self.voice, self.controller, value, self.fine)

    def scaled(self, share: float) -> int:
        return round(share * (16383 if self.fine else 127))


class Controllers:
    """Turns the numbers of slots into controllers.

    A controller moves to a slot's number during the slot, in steps that a DIN cable carries; the
    steps of different controllers alternate. Only changes are sent. The controller of faults is at
    its top while something is wrong, and at 0 otherwise; it jumps.

    Parameters
    ----------
    rig : Rig
        Which numbers have a controller.
    voices : int
        Number of voices of layers.
    slot_ticks : int
        Ticks in a slot.
    slot_seconds : float
        Seconds in a slot.
    """

    def __init__(self, rig: Rig, voices: int, slot_ticks: int, slot_seconds: float) -> None:
        def knob(name: str, voice: int | None = None) -> _Knob:
            return _Knob(voice, rig.cc[name], name in rig.cc_fine)

        self._slot_ticks = slot_ticks
        self._fault = knob(FAULT) if FAULT in rig.cc else None
        self._levels = [knob(LEVEL, i) for i in range(voices)] if LEVEL in rig.cc else []
        self._values = {name: knob(name) for name in rig.cc if name not in (LEVEL, FAULT)}
        self._moving = [*self._levels, *self._values.values()]
        # In MPE, pressure is the level too.
        self._pressures = range(len(self._moving), len(self._moving) + voices * rig.mpe)
        self._moving += [_Knob(voice, AFTERTOUCH, fine=False) for voice in range(voices * rig.mpe)]
        messages = sum(1 + knob.fine for knob in self._moving)
        a_slot = slot_seconds * min(MOST_A_SECOND, MOST_MESSAGES_A_SECOND / max(1, messages))
        self._steps = max(1, math.floor(a_slot + 1e-9))
        # In short slots only every nth controller moves.
        self._turns = max(1, math.ceil(1.0 / a_slot - 1e-9)) if self._steps == 1 else 1
        self._targets: dict[int, int] = {}

    @property
    def take_values(self) -> bool:
        """Whether a logged value has a controller."""
        return bool(self._values)

    def observe(self, values: Mapping[str, Scalar]) -> None:
        """Take a frame's values, the first of which say where a value is at home."""
        if not self._values:
            return
        for name, number in numbers_of(values).items():
            knob = self._values.get(name)
            if knob is not None and len(knob.first) < FIRST and math.isfinite(number):
                knob.first.append(number)

    def slot(self, index: int, step: Step, *, faulty: bool) -> list[Number]:
        """Return the controllers of a slot, in no order. `faulty`: something is wrong in it."""
        numbers: list[Number] = []
        if self._fault is not None and not faulty:
            numbers += self._set(self._fault, step.tick, 0)
        for place, (knob, level) in enumerate(zip(self._levels, step.levels, strict=False)):
            self._targets[place] = knob.scaled(level)
        for place, level in zip(self._pressures, step.levels, strict=False):
            self._targets[place] = self._moving[place].scaled(level)
        for place, (name, number) in self._places(step):
            knob = self._moving[place]
            self._targets[place] = knob.scaled(position(name, knob.first or [number], number))
        for place, target in self._targets.items():
            if (index - place) % self._turns == 0:
                numbers += self._ramp(place, step.tick, target)
        return numbers

    def fault(self, tick: int) -> list[Number]:
        """Return the controller of faults at its top, unless it is there."""
        return self._set(self._fault, tick, 1) if self._fault is not None else []

    def finish(self, tick: int) -> list[Number]:
        """Return every controller at 0, unless it is there."""
        knobs = [*self._moving, *([self._fault] if self._fault is not None else [])]
        return [knob.number(tick, 0) for knob in knobs if knob.sent > 0]

    def _places(self, step: Step) -> list[tuple[int, tuple[str, float]]]:
        """Return the new numbers of values that have a controller, each with its place."""
        if not self._values:
            return []
        places = {name: len(self._levels) + i for i, name in enumerate(self._values)}
        return [(places[name], (name, n)) for name, n in step.values if name in places]

    def _set(self, knob: _Knob, tick: int, share: float) -> list[Number]:
        value = knob.scaled(share)
        return [knob.number(tick, value)] if value != knob.sent else []

    def _ramp(self, place: int, start: int, target: int) -> list[Number]:
        knob, steps, count = self._moving[place], self._steps, len(self._moving)
        begin = knob.sent
        if begin < 0:
            return [knob.number(start, target)]
        numbers = []
        for step in range(1, steps + 1):
            value = begin + round((target - begin) * step / steps)
            if value != knob.sent:
                turn = (step - 1) * count + place
                tick = start + turn * self._slot_ticks // (steps * count)
                numbers.append(knob.number(tick, value))
        return numbers
