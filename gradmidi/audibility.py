"""What a listener gets from a preset: the audibility contract, measured through `tone`.

The thresholds behind it: about 10 cents are heard in a short tone sequence (Hill & Summers
2007), melodies are told apart from 30-40 cents on (Parncutt & Cohen 1995), and untrained ears
need about a semitone to compare two intervals.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gradmidi.pitch import tone
from gradmidi.preset import Preset
from gradmidi.scale import note_name

__all__ = ["Change", "change", "describe", "room"]

FACTORS = (1.1, 2.0, 10.0)


@dataclass(frozen=True, slots=True)
class Change:
    """What a factor in norm does to a voice.

    Parameters
    ----------
    factor : float
        The norm is multiplied by this.
    steps : float
        Steps of the scale, exact.
    cents : float
        Least change of the pitch that sounds, over every place it can start from; 0.0 where
        rounding can hide the change.
    brightness : int
        Least change of controller 74 where the note stays the same; 0 where it is not used.
    """

    factor: float
    steps: float
    cents: float
    brightness: int


def change(preset: Preset, factor: float) -> Change:
    """Measure what a norm that grows by `factor` does, at worst.

    Parameters
    ----------
    preset : Preset
        With the log law.
    factor : float
        Above 1.

    Returns
    -------
    Change

    Examples
    --------
    >>> from gradmidi.preset import load
    >>> change(load("pentatonic"), 2.0).cents
    200.0
    """
    notes = preset.notes
    steps = math.log(factor) / math.log(preset.pitch.step)
    home = len(notes) // 2
    low, high = -home + 0.5, len(notes) - home - 1.5 - steps
    cents = brightness = math.inf
    for index in range(801):
        start = low + (high - low) * index / 800
        before, after = (tone(preset, notes, home, place) for place in (start, start + steps))
        cents = min(cents, 100.0 * abs(after.pitch - before.pitch))
        if after.note == before.note and preset.pitch.residue == "brightness":
            brightness = min(brightness, abs(after.brightness - before.brightness))
    return Change(factor, steps, round(cents, 6), 0 if math.isinf(brightness) else int(brightness))


def room(preset: Preset, voices: int) -> tuple[float, float]:
    """Tell how many doublings the worst-placed of `voices` voices can fall and rise.

    Examples
    --------
    >>> from gradmidi.preset import load
    >>> room(load("pentatonic"), 4)
    (8.0, 9.0)
    """
    notes = preset.notes
    doublings = math.log2(preset.pitch.step)
    homes = [notes.index(note) for note in preset.home_notes(voices)]
    return min(homes) * doublings, (len(notes) - 1 - max(homes)) * doublings


def describe(preset: Preset) -> Iterator[str]:
    """Tell what a listener gets, in lines that each stand alone.

    Yields
    ------
    str
    """
    if preset.pitch.law == "hz":
        base, factor = preset.pitch.hz
        for low in (1e-4, 1e-2, 1.0):
            cents = 1200.0 * math.log2((base + factor * 10.0 * low) / (base + factor * low))
            yield f"x10 from a norm of {low:g}: {cents:.2g} cents"
        yield "no promise is made for this preset: a small norm cannot be heard in it"
        return
    for factor in FACTORS:
        found = change(preset, factor)
        line = f"x{factor:g} in norm: {found.steps:.3g} steps of the scale, at least "
        if preset.pitch.residue == "brightness" and found.cents == 0.0:
            yield line + f"{found.brightness} of 127 in brightness where the note stays"
        else:
            yield line + f"{found.cents:.0f} cents"
    fall, rise = room(preset, preset.voices.most)
    yield (
        f"range: {fall:.3g} doublings below home and {rise:.3g} above before a voice stays at "
        f"the rail, in norms x{2.0**-fall:.2g} to x{2.0**rise:.3g} of the reference"
    )
    lost = {
        "brightness": "rounding takes away at most half a step; it is in the brightness (CC 74)",
        "bend": "rounding takes away nothing: the bend carries the exact pitch",
        "off": "rounding takes away at most half a step, and nothing carries it",
    }
    yield lost[preset.pitch.residue]
    homes = preset.home_notes(4)
    yield f"four voices are at home on {', '.join(map(note_name, homes))}"
