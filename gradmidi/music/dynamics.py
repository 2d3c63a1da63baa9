"""How loud the notes of voices are: by the height of a norm, and by how much it moves."""

import math

from gradmidi.music.pitch import Tone
from gradmidi.music.preset import Preset

__all__ = ["Dynamics"]

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
