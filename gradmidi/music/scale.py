"""Note names, scales, hertz and bend arithmetic: pure functions of numbers and text."""

import math
import re

from gradmidi.errors import PresetError

__all__ = [
    "SCALES",
    "hz_to_pitch",
    "note_name",
    "note_number",
    "pitch_to_hz",
    "scale_notes",
]

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_NOTE = re.compile(r"([A-Ga-g])([#b]?)(-?\d+)")

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "whole tone": (0, 2, 4, 6, 8, 10),
    "minor triad": (0, 3, 7),
    "chromatic": tuple(range(12)),
}
"""Semitones above the root of every scale a preset may name."""


def note_number(name: str) -> int:
    """Read a note's name as its MIDI number (C4 is 60, A4 is 69).

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
        If it is no note's name or outside 0–127.

    Examples
    --------
    >>> note_number("A4"), note_number("E1"), note_number("Bb3")
    (69, 28, 58)
    """
    match = _NOTE.fullmatch(name.strip())
    if match is None:
        raise PresetError(f"{name!r} is no note; write a letter and an octave, as in 'C3' or 'F#4'")
    letter, accidental, octave = match.groups()
    shift = {"": 0, "#": 1, "b": -1}[accidental]
    number = _LETTERS[letter.upper()] + shift + 12 * (int(octave) + 1)
    if not 0 <= number <= 127:
        raise PresetError(f"{name!r} is outside MIDI's notes, C-1 to G9")
    return number


def note_name(number: int) -> str:
    """Name a MIDI note, with sharps.

    Examples
    --------
    >>> note_name(60), note_name(58)
    ('C4', 'A#3')
    """
    return f"{_NAMES[number % 12]}{number // 12 - 1}"


def pitch_to_hz(pitch: float) -> float:
    """Turn a (fractional) MIDI note into hertz, A4 = 440 Hz, equal temperament.

    Examples
    --------
    >>> pitch_to_hz(69.0)
    440.0
    """
    return 440.0 * math.exp2((pitch - 69.0) / 12.0)


def hz_to_pitch(hz: float) -> float:
    """Turn hertz (above zero) into a fractional MIDI note.

    Examples
    --------
    >>> hz_to_pitch(880.0)
    81.0
    """
    return 69.0 + 12.0 * math.log2(hz / 440.0)


def scale_notes(scale: str, low: int, high: int) -> tuple[int, ...]:
    """List every note of a scale from `low` to `high`, both included.

    Parameters
    ----------
    scale : str
        Root and scale, as in ``"A minor pentatonic"``; see `SCALES`.
    low, high : int
        MIDI notes, 0–127.

    Returns
    -------
    tuple of int
        Ascending MIDI notes.

    Raises
    ------
    PresetError
        If the root is no note letter or the scale is not known.

    Examples
    --------
    >>> scale_notes("A minor pentatonic", 57, 69)
    (57, 60, 62, 64, 67, 69)
    """
    root, _, kind = scale.strip().partition(" ")
    match = re.fullmatch(r"([A-Ga-g])([#b]?)", root)
    steps = SCALES.get(kind.strip().lower())
    if match is None or steps is None:
        known = ", ".join(SCALES)
        raise PresetError(f"{scale!r} is no scale; write a root and one of: {known}")
    letter, accidental = match.groups()
    tonic = _LETTERS[letter.upper()] + {"": 0, "#": 1, "b": -1}[accidental]
    members = {(tonic + step) % 12 for step in steps}
    return tuple(note for note in range(low, high + 1) if note % 12 in members)
