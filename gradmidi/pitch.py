"""The law from a norm to a pitch: steps of a scale above home, what rounding took, rhythms.

Pure functions: what a norm sounds as depends on the preset and on the voice's home alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradmidi.preset import Preset

__all__ = ["Tone", "euclid", "rail", "steps_above", "tone"]


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
    >>> from gradmidi.preset import load
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
