"""The data of the page's script: arrays as text, norms as 16-bit codes, the synth's tables.

`ABSENT`, zero, inf and nan have their own codes, and codes keep the order of norms: the largest of
several codes is the code of the largest norm, with nan above inf above any number.
"""

import base64
import math
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradmidi.log import ABSENT, Layer
from gradmidi.music.events import FAULT_VOICE
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice
from gradmidi.report.curves import Curves, heard, is_logarithmic
from gradmidi.report.heatmap import HeatMap, colours
from gradmidi.report.played import PULSE, PlayedRun
from gradmidi.report.rowlabels import brackets, pieces
from gradmidi.sound.instrument import CEILING, KNEE, PHASES, VALUE, VELOCITY, instrument
from gradmidi.sound.instrument import PULSE as PULSE_TIMBRE
from gradmidi.sound.timbre import spectrum
from gradmidi.text.words import number

__all__ = ["CLIPPED", "codes", "data_of", "heat_of", "levels", "loss_scale", "reach", "text"]

RATE = 44100
"""Samples per second of the page's synth."""

NEUTRAL = 64
"""Brightness of a voice before its first controller 74."""

NONE, ZERO, LEAST, MOST, INF, NAN = 0, 1, 2, 65533, 65534, 65535
"""Codes of norms; numbers have `LEAST` to `MOST`."""

CLIPPED = 16.0
"""In a comparison, a lane ends at this many times the largest norm of the run with the smallest."""

Scale = tuple[float, float]
"""Natural logarithms of a voice's smallest and largest norm."""

LossScale = tuple[float, float, bool]
"""The smallest and the largest loss, and whether they are logarithms."""

Played = Sequence[tuple[PlayedRun, Curves]]
"""All parts of a piece that play a run, each with the run's curves."""

Places = Sequence[NDArray[np.float64]]
"""For each part of the piece, the place of every bin on the axis, if that is not the step."""


def data_of(
    preset: Preset,
    layers: Sequence[Layer],
    voices: Sequence[Voice],
    played: Played,
    places: Places = (),
    values: int = 0,
) -> dict[str, Any]:
    """Return the runs, voices and synth tables of a page as values for JSON.

    `values` is the number of logged values that have a voice, after those of layers.
    """
    scales = [
        reach(
            *(norms[:, voice.index] for _, c in played for norms in (c.high, c.low)),
            *(np.array([slot.norms[voice.index] for slot in run.slots]) for run, _ in played),
        )
        for voice in voices
    ]
    loss = loss_scale(played)
    synth, sounds = _synth(preset, len(voices), values, [run for run, _ in played])
    return {
        "voices": [
            {
                "name": voice.name,
                "layers": [layers[i].name for i in voice.layers],
                "scale": scale,
                "top": _top(played, voice.index, scale),
            }
            for voice, scale in zip(voices, scales, strict=True)
        ],
        "played": [
            _run(preset, run, curves, scales, loss, own) | _axis(curves, at, places)
            for at, ((run, curves), own) in enumerate(zip(played, sounds, strict=True))
        ],
        "lossScale": loss,
        "synth": synth,
    }


def loss_scale(played: Played) -> LossScale | None:
    """Return the range of the loss over all runs; None if no run logged a loss."""
    values = np.concatenate([curves.loss for _, curves in played])
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    return (
        (math.log(low), math.log(high), True) if is_logarithmic(low, high) else (low, high, False)
    )


def _run(
    preset: Preset,
    run: PlayedRun,
    curves: Curves,
    scales: Sequence[Scale],
    loss: LossScale | None,
    sounds: dict[str, str],
) -> dict[str, Any]:
    slot_ticks = preset.time.slot_ticks(len(scales))
    binned = not np.array_equal(np.where(curves.high > 0.0, curves.high, ABSENT), curves.low)
    last = float(curves.seconds.max(initial=0.0))

    def coded(norms: NDArray[np.float64]) -> str:
        columns = [codes(column, scale) for column, scale in zip(norms.T, scales, strict=True)]
        return text(np.concatenate([np.empty(0, np.uint16), *columns]))

    return {
        "name": run.name,
        "run": run.run,
        "side": run.side,
        "start": run.start,
        "end": run.end,
        "tickSeconds": run.tick_seconds,
        "slotSeconds": slot_ticks * run.tick_seconds,
        "slots": text(np.array([slot.tick // slot_ticks for slot in run.slots], np.int32)),
        "heard": coded(heard(run.slots, curves)),
        "first": text(curves.first),
        "bins": len(curves.step),
        "step": _steps(curves.step),
        "last": last,
        "seconds": text(levels(curves.seconds, 0.0, last)),
        "loss": _losses(curves.loss, loss),
        "high": coded(curves.high),
        "low": coded(curves.low) if binned else None,
        "notes": {
            **{name: text(column) for name, column in run.notes.items()},
            "pitch": text(np.asarray(run.notes["pitch"], np.float32)),
            **sounds,
        },
        "brightness": {name: text(column) for name, column in run.brightness.items()},
    }


def _top(played: Played, voice: int, scale: Scale) -> float:
    """Return the logarithm at which a lane is cut off, if one of several runs explodes."""
    largest = []
    for _, curves in played:
        norms = curves.high[:, voice]
        largest.append(norms[np.isfinite(norms) & (norms > 0.0)].max(initial=0.0))
    least = min((value for value in largest if value > 0.0), default=0.0)
    if len(played) < 2 or least == 0.0:
        return scale[1]
    return min(scale[1], math.log(least * CLIPPED))


def _axis(curves: Curves, at: int, places: Places) -> dict[str, Any]:
    """Return where the bins of a part are on the axis, and where the first one begins."""
    if places:
        first = places[at][:1].tolist() or [0.0]
        return {"place": text(places[at].astype(np.float64)), "half": 0.0, "least": first[0]}
    first = curves.step[: curves.first[-1]][:2].astype(float).tolist() or [1.0]
    least = first[0] - 0.5
    if len(first) > 1:
        # The first bin may have several steps.
        least = max(0.5, first[0] - (first[1] - first[0]) + 0.5)
    return {"place": None, "half": 0.5, "least": min(least, first[0] - 0.5)}


def heat_of(heat: HeatMap) -> dict[str, Any]:
    """Return a heat map as values for JSON."""
    strips = []
    for strip in heat.strips:
        low, high = strip.ends
        ends = (math.log(low), math.log(high)) if strip.logarithmic else (low, high)
        curves = (np.log(side) if strip.logarithmic else side for side in (strip.low, strip.high))
        down, up = (levels(np.where(np.isnan(c), -np.inf, c), *ends) for c in curves)
        strips.append(
            {
                "name": strip.name,
                "texts": [number(low, 3), number(high, 3)],
                "low": text(down),
                "high": text(up),
                "sparse": bool(np.isfinite(strip.high).mean() < 0.5),
            }
        )
    rows, columns = heat.codes.shape
    return {
        "first": heat.first,
        "last": heat.last,
        "width": heat.width,
        "rows": rows,
        "columns": columns,
        "codes": text(heat.codes),
        "colours": text(colours(heat.limit)),
        "seconds": text(heat.seconds.astype(np.float32)),
        "names": heat.layers,
        "groups": [[g.start, g.stop, g.depth, g.name] for g in heat.groups],
        "brackets": brackets(heat.voices),
        "rowsOf": pieces(heat.voices),
        "strips": strips,
    }


def _steps(steps: NDArray[np.int64]) -> list[int] | str:
    """Pack step numbers: as first step and distance if all distances are equal."""
    if len(steps) > 1 and (np.diff(steps) == steps[1] - steps[0]).all():
        return [int(steps[0]), int(steps[1] - steps[0])]
    return text(steps.astype(np.float64))


def _losses(values: NDArray[np.float64], scale: LossScale | None) -> str | None:
    if scale is None or not np.isfinite(values).any():
        return None
    low, high, logarithmic = scale
    if logarithmic:
        values = np.where(values > 0.0, np.log(np.abs(values)), values)
    return text(levels(values, low, high))


def text(values: "array[Any] | NDArray[Any]") -> str:
    """Encode an array as base64 of its little-endian bytes.

    Examples
    --------
    >>> text(np.array([1, 2], np.int16))
    'AQACAA=='
    """
    values = np.ascontiguousarray(values)
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode()


def reach(*norms: NDArray[np.float64]) -> Scale:
    """Return the natural logarithms of the smallest and the largest finite norm above zero.

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
    """Convert norms to codes on a log scale with the ends that `reach` returns.

    Examples
    --------
    >>> codes(np.array([-1.0, 0.0, 1.0, 2.0, np.inf, np.nan]), (0.0, math.log(2.0))).tolist()
    [0, 1, 2, 65533, 65534, 65535]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        coded = levels(np.log(norms), *scale)
    coded[norms == 0.0] = ZERO
    coded[norms < 0.0] = NONE
    return coded


def levels(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint16]:
    """Scale numbers to levels from `LEAST` (`low`) to `MOST` (`high`); -inf becomes `NONE`.

    Examples
    --------
    >>> levels(np.array([-np.inf, 0.0, 4.0, np.inf, np.nan]), 0.0, 4.0).tolist()
    [0, 2, 65533, 65534, 65535]
    """
    # Halves, since a difference of two floats may leave their range.
    place = (0.5 * values - 0.5 * low) / ((0.5 * high - 0.5 * low) or 1.0)
    number = np.isfinite(place)
    level = np.full(values.shape, NONE, dtype=np.uint16)
    level[number] = np.rint(LEAST + np.clip(place[number], 0.0, 1.0) * (MOST - LEAST))
    level[values == np.inf] = INF
    level[np.isnan(values)] = NAN
    return level


def _synth(
    preset: Preset, voices: int, values: int, runs: Sequence[PlayedRun]
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Compute the tables that the page's synth needs to sound like gradmidi's synth.

    Returns the synth's settings and, for each run, columns with the index of every note's
    spectrum and with the phase at which it starts.
    """
    parts = instrument(preset, voices, RATE, values)
    columns = [
        np.stack(
            [
                _timbres(np.asarray(notes["voice"]), np.asarray(notes["sound"]), voices),
                list(map(parts.pitch_of, notes["voice"], notes["pitch"])),
            ]
        )
        for notes in (run.notes for run in runs)
    ]
    tones, index = np.unique(np.hstack(columns), axis=1, return_inverse=True)
    bright = sorted({NEUTRAL}.union(*(run.brightness["value"] for run in runs)))
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
            gains += [parts.gains(timbre, found, value) for value in bright]
        cycles.append(found.cycles)
        shape.append(shapes[key])
    partials = [[value for key in shapes for value in key[column]] for column in range(3)]
    settings = {
        "rate": RATE,
        "velocity": VELOCITY,
        "phases": PHASES,
        "duck": preset.faults.duck**2,
        "limiter": preset.sound.limiter,
        "knee": KNEE,
        "ceiling": CEILING,
        "turn": len(parts.turn),
        "timbres": [
            {"attack": len(timbre.attack), "release": len(timbre.release)}
            for timbre in parts.timbres
        ],
        # A column for each voice, and the last for the faults.
        "places": [
            parts.places[voice].ravel().tolist() for voice in (*range(voices + values), FAULT_VOICE)
        ],
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
        "brightness": bright,
        "gains": text(np.array(gains, np.float32)),
    }
    ends = np.cumsum([column.shape[1] for column in columns])[:-1]
    return settings, [
        {
            "spectrum": text(own),
            "phase": text(
                np.array(
                    list(map(parts.phase_of, run.notes["voice"], run.notes["start"])), np.uint8
                )
            ),
        }
        for run, own in zip(runs, np.split(index.ravel().astype(np.int32), ends), strict=True)
    ]


def _timbres(voice: NDArray[np.int_], sound: NDArray[np.int_], voices: int) -> NDArray[np.int_]:
    """Return the index of each note's timbre, as `Instrument.kind_of`."""
    return np.where(sound == PULSE, PULSE_TIMBRE, np.where(voice >= voices, VALUE, voice % 2))
