"""Numbers for the page's script: arrays as text, norms as 16-bit codes, the synth's tables.

A norm's code keeps none, zero, inf and nan apart from numbers and keeps the order of all: the
largest of several codes is that of the largest norm, with nan above inf above any number.
"""

import base64
import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradmidi.music.events import FAULT_VOICE
from gradmidi.music.preset import Preset
from gradmidi.report.take import PULSE, Take
from gradmidi.sound.instrument import CEILING, KNEE, VELOCITY, instrument
from gradmidi.sound.timbre import spectrum

__all__ = ["RATE", "codes", "levels", "reach", "synth_tables", "text"]

RATE = 44100
"""Samples a second of the page's synth."""

NEUTRAL = 64
"""Brightness of a voice before its first controller 74."""

ABSENT, ZERO, LEAST, MOST, INF, NAN = 0, 1, 2, 65533, 65534, 65535

Scale = tuple[float, float]


def text(values: "array[Any] | NDArray[Any]") -> str:
    """Write an array as base64 of its little-endian bytes.

    Examples
    --------
    >>> text(np.array([1, 2], np.int16))
    'AQACAA=='
    """
    values = np.ascontiguousarray(values)
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode()


def reach(*norms: NDArray[np.float64]) -> Scale:
    """Find the natural logarithms of the least and the largest finite norm above zero.

    Examples
    --------
    >>> reach(np.array([1.0, 0.0, -1.0, np.inf]), np.array([1.0]))
    (0.0, 0.0)
    """
    low, high = math.inf, -math.inf
    for values in norms:
        finite = values[np.isfinite(values) & (values > 0.0)]
        if finite.size:
            low = min(low, math.log(finite.min()))
            high = max(high, math.log(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def codes(norms: NDArray[np.float64], scale: Scale) -> NDArray[np.uint16]:
    """Turn norms into codes, evenly on a log scale.

    Parameters
    ----------
    norms : ndarray of float64
        See `gradmidi.log.Frame`.
    scale : tuple of two floats
        As `reach` finds it.

    Examples
    --------
    >>> codes(np.array([-1.0, 0.0, 1.0, 2.0, np.inf, np.nan]), (0.0, math.log(2.0))).tolist()
    [0, 1, 2, 65533, 65534, 65535]
    """
    low, high = scale
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(norms)
    place = (logs - low) / ((high - low) or 1.0)
    number = np.isfinite(logs)
    coded = np.full(norms.shape, ABSENT, dtype=np.uint16)
    coded[number] = np.rint(LEAST + np.clip(place[number], 0.0, 1.0) * (MOST - LEAST))
    coded[norms == 0.0] = ZERO
    coded[norms == np.inf] = INF
    coded[np.isnan(norms)] = NAN
    return coded


def levels(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint16]:
    """Turn numbers into levels from `low`, 1, to `high`, 65535; 0 stands for none.

    Examples
    --------
    >>> levels(np.array([np.nan, 0.0, 2.0, 4.0]), 0.0, 4.0).tolist()
    [0, 1, 32768, 65535]
    """
    place = (values - low) / ((high - low) or 1.0)
    number = np.isfinite(place)
    level = np.zeros(values.shape, dtype=np.uint16)
    level[number] = np.rint(1.0 + np.clip(place[number], 0.0, 1.0) * 65534.0)
    return level


def synth_tables(
    preset: Preset, voices: int, takes: Sequence[Take]
) -> tuple[dict[str, Any], list[NDArray[np.int32]]]:
    """Compute what the page's synth renders notes with, as gradmidi's own synth has it.

    Returns the synth's settings and, for each take, the index of every note's spectrum.
    """
    parts = instrument(preset, voices, RATE)
    kinds = [
        np.where(_column(take, "sound") == PULSE, 2, _column(take, "voice") % 2) for take in takes
    ]
    tones = np.stack([np.concatenate(kinds), np.concatenate([_column(t, "pitch") for t in takes])])
    tones, index = np.unique(tones, axis=1, return_inverse=True)
    values = sorted({NEUTRAL}.union(*(take.turns["value"] for take in takes)))
    cycles: list[float] = []
    shapes: dict[tuple[tuple[float, ...], ...], int] = {}
    shape: list[int] = []
    gains: list[tuple[float, float]] = []
    for kind, pitch in tones.T.tolist():
        timbre = parts.timbres[int(kind)]
        found = spectrum(timbre, pitch, RATE)
        key = (found.numbers, found.amplitudes, found.damping, (timbre.brightness,))
        if key not in shapes:
            shapes[key] = len(shapes)
            gains += [parts.gains(timbre, found, value) for value in values]
        cycles.append(found.cycles)
        shape.append(shapes[key])
    partials = [[value for key in shapes for value in key[column]] for column in range(3)]
    settings = {
        "rate": RATE,
        "velocity": VELOCITY,
        "limiter": preset.sound.limiter,
        "knee": KNEE,
        "ceiling": CEILING,
        "turn": len(parts.turn),
        "timbres": [
            {"attack": len(timbre.attack), "release": len(timbre.release)}
            for timbre in parts.timbres
        ],
        # A column for each voice, and the last for the faults.
        "places": [parts.places[voice].ravel().tolist() for voice in (*range(voices), FAULT_VOICE)],
        "spectra": {
            "timbre": text(tones[0].astype(np.uint8)),
            "cycles": text(np.array(cycles, np.float64)),
            "shape": text(np.array(shape, np.int32)),
        },
        "shapes": {
            "first": text(np.cumsum([0, *(len(key[0]) for key in shapes)]).astype(np.int32)),
            "number": text(np.array(partials[0], np.uint8)),
            "amplitude": text(np.array(partials[1], np.float32)),
            "damping": text(np.array(partials[2], np.float32)),
        },
        "brightness": values,
        "gains": text(np.array(gains, np.float32)),
    }
    ends = np.cumsum([len(kind) for kind in kinds])[:-1]
    return settings, np.split(index.ravel().astype(np.int32), ends)


def _column(take: Take, name: str) -> NDArray[Any]:
    return np.asarray(take.notes[name])
