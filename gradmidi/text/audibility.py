"""What a listener gets from a preset: the audibility contract, measured through `tone`.

The thresholds behind it: about 10 cents are heard in a short tone sequence (Hill & Summers
2007), melodies are told apart from 30-40 cents on (Parncutt & Cohen 1995), and untrained ears
need about a semitone to compare two intervals.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gradmidi.music.pitch import note_name, tone
from gradmidi.music.preset import Preset
from gradmidi.text.words import count, times

__all__ = ["Change", "change", "describe", "room"]

LARGER = {1.1: "1.1 times", 2.0: "twice", 10.0: "ten times"}
FACTORS = tuple(LARGER)


@dataclass(frozen=True, slots=True)
class Change:
    """What a factor in norm does to a voice.

    Parameters
    ----------
    factor : float
        The norm is multiplied by this.
    steps : float
        Steps of the scale, or strokes where rhythm carries the norm; exact.
    cents : float
        Least change of the pitch that sounds, over every place it can start from; 0.0 where
        rounding can hide the change.
    brightness : int
        Least change of controller 74 where the note, or the number of strokes, stays the same;
        0 where it is not used.
    strokes : int
        Least change of the number of strokes in a slot, where rhythm carries the norm; else 0.
    """

    factor: float
    steps: float
    cents: float
    brightness: int
    strokes: int = 0


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
    >>> from gradmidi.music.preset import load
    >>> change(load("pentatonic"), 2.0).cents
    200.0
    >>> change(load("drums"), 2.0).strokes
    1
    """
    steps = math.log(factor) / math.log(preset.pitch.step)
    notes, home = preset.style.reach(preset.notes, len(preset.notes) // 2)
    low, high = -home + 0.5, len(notes) - home - 1.5 - steps
    cents = brightness = moved = math.inf
    for index in range(801):
        start = low + (high - low) * index / 800
        before, after = (tone(preset.pitch, notes, home, place) for place in (start, start + steps))
        cents = min(cents, 100.0 * abs(after.pitch - before.pitch))
        moved = min(moved, abs(after.steps - before.steps))
        if after.note == before.note and preset.pitch.residue == "brightness":
            brightness = min(brightness, abs(after.brightness - before.brightness))
    return Change(
        factor,
        steps,
        round(cents, 6),
        0 if math.isinf(brightness) else int(brightness),
        int(moved) if preset.style.strokes_at_home else 0,
    )


def room(preset: Preset, voices: int) -> tuple[float, float]:
    """Return how many doublings the worst-placed of `voices` voices can fall and rise.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> room(load("pentatonic"), 4)
    (13.0, 8.0)
    """
    doublings = math.log2(preset.pitch.step)
    parts = preset.parts(voices)
    fall = min(part.home for part in parts)
    rise = min(len(part.notes) - 1 - part.home for part in parts)
    return fall * doublings, rise * doublings


def describe(preset: Preset) -> Iterator[str]:
    """Say what a listener hears of a norm that changes, in lines that each stand alone.

    Yields
    ------
    str

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> for line in list(describe(load("pentatonic")))[:2]:
    ...     print(line)
    a norm 1.1 times as large: the same note, brighter by at least 17 of 127
    a norm twice as large: 1 note of the scale higher, at least 200 cents
    """
    if preset.pitch.law == "hz":
        base, factor = preset.pitch.hz
        for low in (1e-4, 1e-2, 1.0):
            cents = 1200.0 * math.log2((base + factor * 10.0 * low) / (base + factor * low))
            heard = float(f"{cents:.2g}")
            yield f"from a norm of {low:g} to one ten times as large: {heard:g} cents"
        yield "nothing is promised for this preset: changes of a small norm cannot be heard"
        return
    drums = preset.style.strokes_at_home
    for factor in FACTORS:
        yield f"a norm {LARGER[factor]} as large: {_heard(preset, change(preset, factor))}"
    fall, rise = room(preset, preset.voices.most)
    ends = "has its fewest or most strokes" if drums else "stays on its lowest or highest note"
    yield (
        f"range: {fall:.3g} doublings below home and {rise:.3g} above, which is "
        f"{times(2.0**-fall)} to {times(2.0**rise)} the norm at home; beyond, a voice {ends}"
    )
    between = "between two numbers of strokes" if drums else "between two notes"
    yield {
        "brightness": f"{between}, the brightness (CC 74) says where the norm is",
        "bend": f"{between}, the pitch bend says exactly where the norm is",
        "off": f"{between}, the nearest one sounds, and nothing says where the norm is",
    }[preset.pitch.residue]
    homes = preset.home_notes(4)
    if not drums:
        yield f"four voices are at home on {', '.join(map(note_name, homes))}"
        return
    seconds = preset.time.slot_ticks(1) * preset.time.tick_seconds
    least, most = (round(way / math.log2(preset.pitch.step)) for way in (-fall, rise))
    yield (
        f"a slot of {seconds:.3g} s has {drums} strokes at home, at least {drums + least} and at "
        f"most {drums + most}"
    )
    yield (
        f"gradmidi's own synth moves the pitch too, at least {change(preset, 2.0).cents:.0f} "
        "cents for each doubling"
    )
    keys = ", ".join(f"{note_name(key)} ({key})" for key in (part.key for part in preset.parts(4)))
    yield f"four voices strike the MIDI notes {keys}"


def _heard(preset: Preset, found: Change) -> str:
    """Return what is heard of a change, at worst."""
    drums = preset.style.strokes_at_home
    if found.strokes:
        return f"at least {count(found.strokes, 'more stroke', 'more strokes')} in each slot"
    if preset.pitch.residue == "brightness" and found.cents == 0.0:
        same = "the same number of strokes" if drums else "the same note"
        return f"{same}, brighter by at least {found.brightness} of 127"
    notes = f"{found.steps:.2g}"
    return (
        f"{notes} {'note' if notes == '1' else 'notes'} of the scale higher, "
        f"at least {found.cents:.0f} cents"
    )
