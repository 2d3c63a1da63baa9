"""Note names, scales, hertz, and the laws that turn a norm into a pitch.

All functions are pure; the laws depend on a preset's ``[pitch]`` and a voice's home.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gradmidi.base.table import key
from gradmidi.errors import PresetError
from gradmidi.midi.numbers import BEND_RANGE

__all__ = [
    "SCALES",
    "Pitch",
    "Tone",
    "exchanged",
    "hz_to_pitch",
    "level",
    "members",
    "note_name",
    "note_number",
    "pitch_to_hz",
    "rail",
    "scale_notes",
    "sound_of",
    "steps_above",
    "tone",
]

HIGHEST_HZ = 20_000.0
"""Above this, the law ``hz`` gives a rest."""

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_NOTE = re.compile(r"([A-Ga-g])([#b]?)(-?\d+)")

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "whole tone": (0, 2, 4, 6, 8, 10),
    "octatonic": (0, 2, 3, 5, 6, 8, 9, 11),
    "minor triad": (0, 3, 7),
    "chromatic": tuple(range(12)),
}
"""Semitones above the root, for every scale that a preset may name."""


def note_number(name: str) -> int:
    """Return the MIDI number of a note's name (C4 is 60, A4 is 69).

    Parameters
    ----------
    name : str
        Letter A–G, an optional ``#`` or ``b``, the octave: ``"C3"``, ``"F#4"``, ``"Bb-1"``.

    Returns
    -------
    int
        0–127.

    Raises
    ------
    PresetError
        If it is not a note's name, or is outside 0–127.

    Examples
    --------
    >>> note_number("A4"), note_number("E1"), note_number("Bb3")
    (69, 28, 58)
    """
    match = _NOTE.fullmatch(name.strip())
    if match is None:
        raise PresetError(
            f"{name!r} is not a note; write a letter and an octave, as in 'C3' or 'F#4'"
        )
    letter, accidental, octave = match.groups()
    shift = {"": 0, "#": 1, "b": -1}[accidental]
    number = _LETTERS[letter.upper()] + shift + 12 * (int(octave) + 1)
    if not 0 <= number <= 127:
        raise PresetError(f"{name!r} is outside MIDI's notes, C-1 to G9")
    return number


def note_name(number: int) -> str:
    """Return the name of a MIDI note, with sharps.

    Examples
    --------
    >>> note_name(60), note_name(58)
    ('C4', 'A#3')
    """
    return f"{_NAMES[number % 12]}{number // 12 - 1}"


def pitch_to_hz(pitch: float) -> float:
    """Convert a (fractional) MIDI note to hertz: A4 = 440 Hz, equal temperament.

    Examples
    --------
    >>> pitch_to_hz(69.0)
    440.0
    """
    return 440.0 * math.exp2((pitch - 69.0) / 12.0)


def hz_to_pitch(hz: float) -> float:
    """Convert hertz (above zero) to a fractional MIDI note.

    Examples
    --------
    >>> hz_to_pitch(880.0)
    81.0
    """
    return 69.0 + 12.0 * math.log2(hz / 440.0)


def scale_notes(scale: str, low: int, high: int) -> tuple[int, ...]:
    """Return all notes of a scale from `low` to `high`, both included.

    Parameters
    ----------
    scale : str
        Root and scale, as in ``"A minor pentatonic"``, see `SCALES`; or a root and semitones above
        it, 0–11, as in ``"D 0 2 7"``.
    low, high : int
        MIDI notes, 0–127.

    Returns
    -------
    tuple of int
        Ascending MIDI notes.

    Raises
    ------
    PresetError
        If the root or the scale is unknown.

    Examples
    --------
    >>> scale_notes("A minor pentatonic", 57, 69)
    (57, 60, 62, 64, 67, 69)
    >>> scale_notes("D 0 2 7", 62, 74)
    (62, 64, 69, 74)
    """
    inside = set(members(scale))
    return tuple(note for note in range(low, high + 1) if note % 12 in inside)


def members(scale: str) -> tuple[int, ...]:
    """Return the notes of a scale in one octave, 0 (C) to 11 (B), from the root up.

    Raises PresetError if the root or the scale is unknown.

    Examples
    --------
    >>> members("A minor pentatonic")
    (9, 0, 2, 4, 7)
    """
    root, _, kind = scale.strip().partition(" ")
    match = re.fullmatch(r"([A-Ga-g])([#b]?)", root)
    steps = SCALES.get(kind.strip().lower()) or _semitones(kind)
    if match is None or steps is None:
        known = ", ".join(SCALES)
        raise PresetError(
            f"{scale!r} is not a scale; write a root and one of: {known}; or a root and semitones "
            "above it, 0 to 11, as in 'D 0 2 7'"
        )
    letter, accidental = match.groups()
    tonic = _LETTERS[letter.upper()] + {"": 0, "#": 1, "b": -1}[accidental]
    return tuple((tonic + step) % 12 for step in sorted(set(steps)))


def exchanged(notes: Sequence[int], scale: str, other: str) -> tuple[int, ...]:
    """Return notes of a scale, each replaced by the note of another scale at its place from C up.

    Both scales have as many notes in an octave.

    Examples
    --------
    >>> exchanged((57, 60, 62, 64, 67), "A minor pentatonic", "D minor pentatonic")
    (57, 60, 62, 65, 67)
    """
    place = dict(zip(sorted(members(scale)), sorted(members(other)), strict=True))
    return tuple(note - note % 12 + place[note % 12] for note in notes)


@lru_cache(maxsize=64)
def _octave(scale: str, tuning: tuple[float, ...]) -> tuple[float, ...]:
    """Return the semitones that a tuning adds to each note from C to B."""
    cents = dict(zip(members(scale), tuning, strict=True))
    return tuple(cents.get(note, 0.0) / 100.0 for note in range(12))


def _semitones(text: str) -> tuple[int, ...] | None:
    """Parse semitones above the root, separated by spaces or commas; None if they are none."""
    words = text.replace(",", " ").split()
    if not words or not all(re.fullmatch(r"[0-9]|1[01]", word) for word in words):
        return None
    return tuple(map(int, words))


@dataclass(frozen=True, slots=True)
class Pitch:
    """``[pitch]``: how a norm becomes a pitch."""

    law: str = key(
        "log",
        "log: equal ratios are equal steps; hz: hz[0] + hz[1] * norm hertz",
        choices=("log", "hz"),
    )
    hz: tuple[float, ...] = key(
        (200.0, 100.0), "the two numbers of the law hz", length=2, least=0.0, most=20000.0
    )
    step: float = key(
        2.0, "factor in norm that moves a voice by one step of the scale", least=1.01, most=10.0
    )
    scale: str = key("A minor pentatonic", "root and scale")
    tuning: tuple[float, ...] = key(
        (),
        "cents by which each note of the scale, from the root up, differs from equal temperament; "
        "sent as bends",
        least=-100.0,
        most=100.0,
    )
    on_fault: str = key(
        "",
        "scale while something is wrong, for a bar at least; with as many notes in an octave as "
        "scale",
    )
    on_mark: Mapping[str, str] = key(
        {},
        "scale from a mark on, as {'epoch 2*' = 'D dorian'}: patterns over the texts of marks, and "
        "scales with as many notes in an octave",
    )
    reference: str | float = key(
        "first", "the norm that sounds at home: first (the voice's own first), or a number"
    )
    residue: str = key(
        "brightness",
        "what carries the remainder after rounding to the scale: brightness (CC 74), "
        "bend (exact pitch) or off",
        choices=("brightness", "bend", "off"),
    )
    range: tuple[str, ...] = key(
        ("D1", "D7"), "lowest and highest note; beyond them a voice stays there", length=2
    )

    @property
    def notes(self) -> tuple[int, ...]:
        """Every note of the scale within the range, ascending."""
        low, high = (note_number(name) for name in self.range)
        return scale_notes(self.scale, low, high)

    @property
    def others(self) -> dict[str, str]:
        """The scales that events bring, by the names of their keys."""
        fault = {"pitch.on_fault": self.on_fault} if self.on_fault else {}
        return fault | {f"pitch.on_mark.{text}": scale for text, scale in self.on_mark.items()}

    def written(self) -> dict[str, list[float]]:
        """Return what `decode` needs to know about the tuning, if there is one."""
        return {"tuning": list(self.tuning)} if self.tuning else {}

    def tuned(self, note: int) -> float:
        """Return the exact pitch of a note of the scale."""
        return note + _octave(self.scale, self.tuning)[note % 12] if self.tuning else float(note)


@dataclass(frozen=True, slots=True)
class Tone:
    """The tone of one norm.

    Parameters
    ----------
    note : int
        The nearest MIDI note, 0–127.
    pitch : float
        The exact pitch, a fractional MIDI note.
    residue : float
        The remainder after rounding, in steps of the scale: -0.5 to 0.5.
    steps : int
        Steps of the scale above home.
    """

    note: int
    pitch: float
    residue: float
    steps: int

    @property
    def brightness(self) -> int:
        """The residue as a controller value; one step of the scale covers 0–127."""
        return min(127, max(0, round((self.residue + 0.5) * 127)))

    @property
    def bend(self) -> float:
        """Semitones from the note to the pitch; above note 129 a bend does not reach it."""
        return min(max(self.pitch - self.note, -BEND_RANGE), BEND_RANGE)


def rail(residue: str) -> float:
    """Return how many steps beyond its last note a voice still follows its norm."""
    return 0.5 if residue == "brightness" else 0.0


def steps_above(law: Pitch, norm: float, reference: float) -> float:
    """Return how many steps of the scale a norm is above its reference; both finite, above 0."""
    return (math.log(norm) - math.log(reference)) / math.log(law.step)


def tone(law: Pitch, notes: Sequence[int], home: int, steps: float) -> Tone:
    """Return the tone `steps` (not rounded) above home, by the law ``log``.

    `notes` are the notes a voice moves over, ascending; `home` is the index of its home in them.

    Examples
    --------
    >>> pitch = Pitch()
    >>> tone(pitch, pitch.notes, pitch.notes.index(48), 1.0).note
    50
    """
    edge = rail(law.residue)
    place = min(max(home + steps, -edge), len(notes) - 1 + edge)
    index = min(max(math.floor(place + 0.5), 0), len(notes) - 1)
    residue = place - index
    pitch = law.tuned(notes[index])
    if law.residue == "bend" and residue:
        beside = min(max(index + (1 if residue > 0 else -1), 0), len(notes) - 1)
        pitch += abs(residue) * (law.tuned(notes[beside]) - pitch)
    return Tone(notes[index], pitch, residue, index - home)


def sound_of(
    law: Pitch, notes: Sequence[int], home: int, norm: float, reference: float
) -> Tone | None:
    """Return the tone of a norm by the preset's law; None for a rest.

    Rests are: zero, no gradient, nan and inf; by the law ``log``, any norm while the reference is
    nan (none yet); by the law ``hz``, a pitch above 20 kHz.

    Examples
    --------
    >>> round(sound_of(Pitch(law="hz"), (), 0, 2.4, math.nan).pitch)
    69
    """
    if not 0.0 < norm < math.inf:
        return None
    if law.law == "hz":
        base, factor = law.hz
        hz = base + factor * norm
        if not 0.0 < hz <= HIGHEST_HZ:
            return None
        pitch = hz_to_pitch(hz)
        return Tone(min(max(round(pitch), 0), 127), pitch, 0.0, 0)
    if math.isnan(reference):
        return None
    return tone(law, notes, home, steps_above(law, norm, reference))


def level(law: Pitch, notes: Sequence[int], home: int, norm: float, reference: float) -> float:
    """Return a norm's position in a voice's range on a log scale, 0 to 1; 0 without a norm."""
    if norm <= 0.0 or math.isnan(reference):
        return 0.0
    steps = steps_above(law, norm, reference)
    return min(max((home + steps) / (len(notes) - 1), 0.0), 1.0)
