"""What a plain listener names, and how the voices alone are judged where no alarm sounds.

A listener has learned three things: the sound of every alarm, how a preset lays voices out,
and the key that `--legend` puts before a piece. It knows nothing of the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from gradmidi.detection.kinds import KINDS
from gradmidi.music.alarms import ALL_MS, IDENTIFY_GAP_MS, IDENTIFY_MS, MOST_MS, PATTERNS
from gradmidi.music.preset import Preset

EVERYONE = -1

FIRST_NAME = IDENTIFY_GAP_MS / 1000.0
NAME = IDENTIFY_MS / 1000.0
NAME_APART = (IDENTIFY_MS + IDENTIFY_GAP_MS) / 1000.0
"""Seconds: from the last pulse to who it is; how long a voice says its name; to the next."""

SPEAKS_FOR_ITSELF = frozenset(name for name, kind in KINDS.items() if kind.of_layers)
"""Kinds after which a voice says its name; the others are the whole run's."""

HEARD = 0.1
"""Semitones that an ear tells apart (Hill & Summers 2007)."""


@dataclass(frozen=True)
class Named:
    """A fault that a listener names: what, who (`EVERYONE` for the whole run), and when."""

    kind: str
    voices: tuple[int, ...]
    at: float

    def with_voice(self, voice: int) -> "Named":
        return replace(self, voices=(*self.voices, voice))


def roll_seconds(voices: int) -> float:
    """How long each of all voices speaks, where the whole run is named."""
    return min(ALL_MS, MOST_MS // voices) / 1000.0


def length_of(kind: str) -> float:
    """Seconds from the first pulse to the end of the last."""
    last = PATTERNS[kind][-1]
    return (last.start + last.length) / 1000.0


# -- where there are no alarms --------------------------------------------------------------------

PAST = 64
STILL = 12
RISE, FALL = 5.0, 1.5
"""Semitones that a voice must rise above the highest, or fall below the lowest, of its past."""

LASTS = 4
FADES = 16


def by_contour(pitches: np.ndarray, slot: float) -> Iterator[Named]:
    """Judge voices by what they play alone, as one must where a piece has no alarms.

    Parameters
    ----------
    pitches : ndarray of float64, shape (slots, voices)
        The MIDI note of each voice in each slot; nan where it rests.
    slot : float
        Seconds.
    """
    heard = np.round(pitches / HEARD) * HEARD
    count, voices = heard.shape
    named: set[tuple[str, int]] = set()
    for at in range(1, count):
        past, here = heard[max(0, at - PAST) : at], heard[at]
        for kind, members in _kinds(heard, at, past, here).items():
            members = [voice for voice in members if (kind, voice) not in named]
            if not members:
                continue
            named |= {(kind, voice) for voice in members}
            who = (EVERYONE,) if len(members) > voices / 2 else tuple(members)
            yield Named(kind, who, at * slot)


def _kinds(heard: np.ndarray, at: int, past: np.ndarray, here: np.ndarray) -> dict[str, list[int]]:
    sounded = np.isfinite(past).sum(axis=0) >= STILL
    found: dict[str, list[int]] = {}
    if at >= STILL:
        still = ~np.isfinite(heard[at - STILL + 1 : at + 1]).any(axis=0)
        found["dead"] = np.flatnonzero(still).tolist()
    if at >= PAST + FADES:
        before = heard[at - PAST - FADES : at - FADES]
        recent = heard[at - FADES : at + 1]
        with np.errstate(invalid="ignore"):
            low = (recent < np.nan_to_num(_least(before), nan=-np.inf) - FALL).all(axis=0)
        found["vanishing"] = np.flatnonzero(low & ~low.all()).tolist()
    if at >= STILL:
        top = _most(past[:-LASTS] if len(past) > 2 * LASTS else past)
        with np.errstate(invalid="ignore"):
            up = sounded & (heard[max(0, at - LASTS + 1) : at + 1] > top + RISE).all(axis=0)
            jump = sounded & (here > _most(past) + RISE)
        found["exploding"] = np.flatnonzero(up).tolist()
        found["spike"] = np.flatnonzero(jump & ~up).tolist()
    return found


def _least(pitches: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(pitches), pitches, np.inf).min(axis=0, initial=np.inf)


def _most(pitches: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(pitches), pitches, -np.inf).max(axis=0, initial=-np.inf)


def slots_of(preset: Preset, voices: int) -> tuple[float, float]:
    """Tell how a piece is laid out: seconds of a slot, and from one voice to the next."""
    slot = preset.time.slot_ticks(voices) * preset.time.tick_seconds
    apart = preset.time.note * preset.time.tick_seconds
    return slot, apart if preset.time.style == "arpeggio" else 0.0
