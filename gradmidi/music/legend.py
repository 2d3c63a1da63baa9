"""The legend at the start of a piece: each voice at home, then one, then three doublings up."""

import math
from collections.abc import Iterator

from gradmidi.music.pitch import Tone, tone
from gradmidi.music.preset import Preset
from gradmidi.music.timing import PPQ

__all__ = ["legend_bar", "legend_notes"]

LEGEND_DOUBLINGS = (0, 1, 3)
"""Notes of each voice in the legend, in doublings above home."""


def legend_notes(preset: Preset, voices: int) -> Iterator[tuple[int, int, int, Tone]]:
    """Yield the tones of a legend: tick, voice, doublings and tone.

    Each voice has a bar, and each number of doublings a beat of it. A beat is a quarter note, or a
    slot if the number of strokes carries the norm.
    """
    bar, beat = legend_bar(preset, voices)
    for voice, part in enumerate(preset.parts(voices)):
        for index, doublings in enumerate(LEGEND_DOUBLINGS):
            steps = doublings * math.log(2.0) / math.log(preset.pitch.step)
            found = tone(preset.pitch, part.notes, part.home, steps)
            yield voice * bar + index * beat, voice, doublings, found


def legend_bar(preset: Preset, voices: int) -> tuple[int, int]:
    """Return the ticks of a bar and of a beat of the legend."""
    if preset.style.strokes_at_home:
        beat = preset.time.slot_ticks(max(1, voices))
        return beat * len(LEGEND_DOUBLINGS), beat
    return 4 * PPQ, PPQ
