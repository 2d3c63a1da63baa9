"""The law from a norm to a pitch: steps of a scale above home, what rounding took, rhythms.

Pure functions: what a norm sounds as depends on the preset and on the voice's home alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradmidi.music.preset import Preset

__all__ = [
    "DRUM_GRID",
    "DRUM_HOME",
    "Tone",
    "euclid",
    "rail",
    "reach",
    "steps_above",
    "struck",
    "tone",
]

DRUM_GRID = 32
"""Places in a slot that a drum may be struck at."""

DRUM_HOME = 9
"""Strokes a slot of a drum at home, of the 17 (every other place and one) that it has at most."""


@dataclass(frozen=True, slots=True)
class Tone:
    """What one norm sounds as.

    Parameters
    ----------
    note : int
        The key, 0–127.
    pitch : float
        The pitch meant, a fractional MIDI note.
    residue : float
        What rounding took away, in steps of the scale: -0.5 to 0.5.
    steps : int
        Steps of the scale above home.
    """

    note: int
    pitch: float
    residue: float
    steps: int

    @property
    def brightness(self) -> int:
        """The residue as a controller value, 0–127: one step over the whole of it."""
        return min(127, max(0, round((self.residue + 0.5) * 127)))


def rail(residue: str) -> float:
    """Tell how far past its last note, in steps, a voice still follows its norm."""
    return 0.5 if residue == "brightness" else 0.0


def reach(style: str, notes: Sequence[int], home: int) -> tuple[Sequence[int], int]:
    """Tell which notes of the scale a voice moves over, and the index of its home in them.

    Where rhythm carries the norm there are as many as there are numbers of strokes.

    Examples
    --------
    >>> reach("drums", range(28, 106), 20)
    (range(40, 57), 8)
    """
    if style != "drums":
        return notes, home
    low = max(0, home - (DRUM_HOME - 1))
    return notes[low : home + DRUM_HOME], home - low


def struck(preset: Preset, homes: Sequence[int]) -> tuple[int, ...]:
    """Tell the MIDI note that each voice strikes at home: that home, or a drum's one key.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> struck(load("drums"), (48, 60, 72, 84))
    (36, 45, 37, 42)
    """
    if preset.time.style != "drums":
        return tuple(homes)
    keys = preset.voices.keys
    return tuple(keys[voice * len(keys) // len(homes)] for voice in range(len(homes)))


def euclid(hits: int, places: int, turn: int = 0) -> tuple[int, ...]:
    """Spread `hits` over `places` as evenly as they can be, turned by `turn`.

    After G. Toussaint, "The Euclidean algorithm generates traditional musical rhythms" (2005).

    Examples
    --------
    >>> euclid(3, 8)
    (0, 2, 5)
    """
    return tuple(sorted((hit * places // hits + turn) % places for hit in range(hits)))


def steps_above(preset: Preset, norm: float, reference: float) -> float:
    """Tell how many steps of the scale a norm is above its reference, both above 0, finite."""
    return (math.log(norm) - math.log(reference)) / math.log(preset.pitch.step)


def tone(preset: Preset, notes: Sequence[int], home: int, steps: float) -> Tone:
    """Find what sounds `steps` (exact, not rounded) above a voice's home, by the log law.

    Parameters
    ----------
    preset : Preset
        Says where the residue goes.
    notes : sequence of int
        The scale within the range, ascending.
    home : int
        Index into `notes` of the voice's home.
    steps : float
        As `steps_above` gives it.

    Returns
    -------
    Tone

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> p = load("pentatonic")
    >>> tone(p, p.notes, p.notes.index(48), 1.0).note
    50
    """
    edge = rail(preset.pitch.residue)
    place = min(max(home + steps, -edge), len(notes) - 1 + edge)
    index = min(max(math.floor(place + 0.5), 0), len(notes) - 1)
    residue = place - index
    pitch = float(notes[index])
    if preset.pitch.residue == "bend" and residue:
        beside = min(max(index + (1 if residue > 0 else -1), 0), len(notes) - 1)
        pitch += abs(residue) * (notes[beside] - notes[index])
    return Tone(notes[index], pitch, residue, index - home)
