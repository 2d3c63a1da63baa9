"""Read notes as numbers: the slots, scales and pitches of a track that is decoded."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradmidi.errors import GradmidiError
from gradmidi.music.pitch import Pitch, exchanged, note_number, pitch_to_hz, rail, scale_notes
from gradmidi.music.styles import STYLES
from gradmidi.music.timing import SlotGrid

__all__ = [
    "Scales",
    "Value",
    "degrees_of",
    "grid_of",
    "named",
    "notes_of",
    "reach_of",
    "reading",
    "scale_at",
    "scales_of",
]

Scales = Sequence[tuple[int, str]]
"""The scales of a piece whose scale changes: the first slot of each, and its name."""


@dataclass(frozen=True, slots=True)
class Value:
    """A decoded number, and whether it is a bound (-1: at most, 1: at least)."""

    norm: float
    bound: int = 0

    def written(self) -> float | str:
        """Give the number with six digits, or with ≤ or ≥ before it as a text."""
        if self.bound:
            return f"{'≤' if self.bound < 0 else '≥'}{self.norm:.6g}"
        return float(f"{self.norm:.6g}")


def grid_of(mapping: Mapping[str, Any], origin: int = 0) -> SlotGrid:
    """Return where the slots of a track begin."""
    begin = int(mapping.get("origin", origin))
    return SlotGrid(int(mapping["slot_ticks"]), begin, int(mapping.get("swing", 0)))


def named(scales: Scales) -> set[str]:
    """Return all scales of a track; an empty text is its own."""
    return {"", *(scale for _, scale in scales)}


def scale_at(slot: int, scales: Scales) -> str:
    """Return the scale of a slot; an empty text is that of the track."""
    place = bisect_right(scales, slot, key=lambda row: row[0])
    return scales[place - 1][1] if place else ""


def scales_of(slot: int, end: int, scales: Scales) -> Iterator[tuple[str, int]]:
    """Yield the scales of the slots before `end`, each with the number of slots that it has.

    Examples
    --------
    >>> list(scales_of(2, 9, [(0, ""), (4, "D dorian")]))
    [('', 2), ('D dorian', 5)]
    """
    while slot < end:
        place = bisect_right(scales, slot, key=lambda row: row[0])
        until = min(end, max(slot + 1, scales[place][0])) if place < len(scales) else end
        yield scale_at(slot, scales), until - slot
        slot = until


def notes_of(mapping: Mapping[str, Any], scale: str = "") -> tuple[Sequence[int], int, Pitch]:
    """Return the notes of a scale, the index of the home in them, and the law of their pitches.

    With `scale`, another scale in place of the track's own.
    """
    low, high = (note_number(name) for name in mapping["range"])
    own = mapping["scale"]
    notes = scale_notes(own, low, high)
    if mapping["home"] not in notes:
        raise GradmidiError(f"home note {mapping['home']} is not in {own!r}")
    home = notes.index(mapping["home"])
    law = Pitch(
        scale=scale or own, tuning=tuple(mapping.get("tuning", ())), residue=mapping["residue"]
    )
    try:
        notes = exchanged(notes, own, law.scale)
        law.tuned(mapping["home"])
    except ValueError:
        raise GradmidiError(
            f"scale {law.scale!r} has another number of notes than {own!r} or its tuning"
        ) from None
    return notes, home, law


def reach_of(mapping: Mapping[str, Any], scale: str = "") -> tuple[Sequence[int], int, Pitch]:
    """Return the notes that a voice can play, the index of its home, and the law of pitches."""
    notes, home, law = notes_of(mapping, scale)
    return *STYLES[mapping["style"]].reach(notes, home), law


def reading(mapping: Mapping[str, Any], scale: str) -> Callable[[int, int, float], Value | None]:
    """Return a function that turns a voice's note, brightness and bend into a norm."""
    if mapping["law"] == "hz":
        base, factor = mapping["hz"]
        return lambda note, _brightness, bend: Value((pitch_to_hz(note + bend) - base) / factor)
    degrees = degrees_of(*reach_of(mapping, scale))
    reference, step = mapping["reference"], mapping["step"]

    def value(note: int, brightness: int, bend: float) -> Value | None:
        found = degrees(note, brightness, bend)
        if found is None or reference is None:
            return None
        return Value(reference * step ** found[0], found[1])

    return value


def degrees_of(
    notes: Sequence[int], home: int, law: Pitch
) -> Callable[[int, int, float], tuple[float, int] | None]:
    """Return a function: note, brightness and bend to degrees above home, and the bound."""
    places = {note: index for index, note in enumerate(notes)}
    edge = rail(law.residue)

    def degrees(note: int, brightness: int, bend: float) -> tuple[float, int] | None:
        if note not in places:
            return None
        index = places[note]
        residue = 0.0
        if law.residue == "brightness":
            residue = brightness / 127.0 - 0.5
        elif law.residue == "bend":
            pitch = law.tuned(note)
            away = note + bend - pitch
            beside = min(max(index + (1 if away > 0 else -1), 0), len(notes) - 1)
            residue = away / (abs(law.tuned(notes[beside]) - pitch) or 1.0)
        bound = 0
        if index == 0 and residue <= -edge:
            bound = -1
        elif index == len(notes) - 1 and residue >= edge:
            bound = 1
        return index - home + residue, bound

    return degrees
