"""Timbres: partials of a note at a pitch, as tables of samples. All functions are pure.

A note's phase is f·n from its own first sample, so except for a gain, the sum of its upper
partials depends only on its pitch. A table holds one segment of it, computed as products of two
short lists (sin(a + b) = sin a cos b + cos a sin b), and is used for every note of that pitch.
"""

import math
import operator
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gradmidi.music.pitch import pitch_to_hz

__all__ = [
    "SEGMENT",
    "Gains",
    "Samples",
    "Spectrum",
    "Timbre",
    "balance",
    "contour",
    "hollow",
    "ramp",
    "spectrum",
    "table",
]

PHON = 60.0
"""Loudness level of the contour: music in the background."""

_TABLE = (
    (20.0, 0.532, -31.6, 78.5),
    (25.0, 0.506, -27.2, 68.7),
    (31.5, 0.480, -23.0, 59.5),
    (40.0, 0.455, -19.1, 51.1),
    (50.0, 0.432, -15.9, 44.0),
    (63.0, 0.409, -13.0, 37.5),
    (80.0, 0.387, -10.3, 31.5),
    (100.0, 0.367, -8.1, 26.5),
    (125.0, 0.349, -6.2, 22.1),
    (160.0, 0.330, -4.5, 17.9),
    (200.0, 0.315, -3.1, 14.4),
    (250.0, 0.301, -2.0, 11.4),
    (315.0, 0.288, -1.1, 8.6),
    (400.0, 0.276, -0.4, 6.2),
    (500.0, 0.267, 0.0, 4.4),
    (630.0, 0.259, 0.3, 3.0),
    (800.0, 0.253, 0.5, 2.2),
    (1000.0, 0.250, 0.0, 2.4),
    (1250.0, 0.246, -2.7, 3.5),
    (1600.0, 0.244, -4.1, 1.7),
    (2000.0, 0.243, -1.0, -1.3),
    (2500.0, 0.243, 1.7, -4.2),
    (3150.0, 0.243, 2.5, -6.0),
    (4000.0, 0.242, 1.2, -5.4),
    (5000.0, 0.242, -2.1, -1.5),
    (6300.0, 0.245, -7.1, 6.0),
    (8000.0, 0.254, -11.2, 12.6),
    (10000.0, 0.271, -10.7, 13.9),
    (12500.0, 0.301, -3.1, 12.3),
)
"""ISO 226:2003, table 1: frequency, exponent, transfer to the ear in dB, threshold in dB SPL."""


@lru_cache(maxsize=1)
def _levels() -> tuple[float, ...]:
    """Return the contour's level at each frequency of the table, in dB SPL (formula 1)."""
    levels = []
    for _, exponent, transfer, threshold in _TABLE:
        ear = (0.4 * 10.0 ** ((threshold + transfer) / 10.0 - 9.0)) ** exponent
        ear += 4.47e-3 * (10.0 ** (0.025 * PHON) - 1.15)
        levels.append(10.0 / exponent * math.log10(ear) - transfer + 94.0)
    return tuple(levels)


def contour(hertz: float) -> float:
    """Return by how many dB a tone must be stronger than one of 1 kHz that is as loud.

    Beyond 20 Hz and 12.5 kHz the ends of the table are used.

    Parameters
    ----------
    hertz : float
        Above 0.

    Returns
    -------
    float
        Decibels, at `PHON`; interpolated over the logarithm of the frequency.

    Examples
    --------
    >>> [round(contour(hertz), 1) for hertz in (125.0, 1000.0, 3150.0)]
    [15.6, 0.0, -3.6]
    """
    levels = _levels()
    after = min(max(bisect_right(_TABLE, (hertz,)), 1), len(_TABLE) - 1)
    low, high = _TABLE[after - 1][0], _TABLE[after][0]
    share = min(max(math.log(hertz / low) / math.log(high / low), 0.0), 1.0)
    return levels[after - 1] + (levels[after] - levels[after - 1]) * share - PHON


Samples = NDArray[np.float32]

Gains = tuple[float, float]
"""Gains of the fundamental and of the upper partials."""

SEGMENT = 9600
"""Samples in one table."""

TOP_HZ = 20000.0
"""A fundamental above this (at 44.1 kHz) is silent: it is inaudible and would alias."""

SOFT_HZ = 5000.0
"""Upper partials fade out over the last quarter below this: above, they only sound sharp."""

LOW_HZ = 130.8
"""Below this (C3) the spectral envelope is fixed in hertz."""

DEEP_HZ = 20.0
"""No partial is added below this, where no pitch is audible."""

MOST_PARTIALS = 32

BRIGHT_DB = 12.0
"""Gain in dB of the upper partials at brightness 127 and depth 1; at brightness 0, its negative."""

FAINT = 1e-8
"""A partial that has decayed this far ends, which avoids slow denormal numbers of float32."""

EVEN_SHARE = 0.5
"""Share of the equal-loudness contour that is made up for.

The contour is of pure tones. Tones of several partials are louder than their strongest partial,
most of all low ones, whose partials lie in different critical bands."""

LOUDEST = 8.0
"""Most by which the power of a low note is raised for that: 9 dB."""

_STRIDE = 128
_ROWS = np.arange(0, SEGMENT, _STRIDE)
_COLUMNS = np.arange(_STRIDE)


@dataclass(frozen=True, slots=True, eq=False)
class Timbre:
    """The sound of a kind of note, at a given sample rate.

    Parameters
    ----------
    partials : tuple of float
        Amplitude of each harmonic partial, from the fundamental.
    damping : tuple of float
        Decay of each partial, in 1/e per sample; 0.0: it does not decay.
    brightness : float
        How much brightness changes the upper partials, 0 to 1.
    attack, release : ndarray of float32
        Ramps up from 0 and down from 1, a level for each sample.
    even : bool, default False
        Whether notes of every pitch are about equally loud; otherwise they have equal power.
    """

    partials: tuple[float, ...]
    damping: tuple[float, ...]
    brightness: float
    attack: Samples
    release: Samples
    even: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """A timbre at one pitch: cycles per sample, and number, amplitude, damping of each partial.

    `powers` holds the power of the fundamental and the power of all upper partials.
    """

    cycles: float
    numbers: tuple[int, ...]
    amplitudes: tuple[float, ...]
    damping: tuple[float, ...]
    powers: tuple[float, float]


def ramp(milliseconds: float, rate: int) -> Samples:
    """Return half a period of a raised cosine, from 0 to just before 1.

    Parameters
    ----------
    milliseconds : float
        Its length; 0 gives an empty ramp.
    rate : int
        Samples a second.

    Examples
    --------
    >>> [round(float(level), 2) for level in ramp(0.5, 8000)]
    [0.0, 0.15, 0.5, 0.85]
    """
    size = round(milliseconds / 1000.0 * rate)
    return (0.5 - 0.5 * np.cos(np.pi * np.arange(size) / max(1, size))).astype(np.float32)


def hollow(partials: tuple[float, ...], contrast: float) -> tuple[float, ...]:
    """Move power from the even partials to the odd ones above the fundamental.

    A tone of odd partials is hollow, like a clarinet's (Helmholtz, *On the Sensations of Tone*,
    chapter V), and differs from a tone of all partials at every pitch.

    Parameters
    ----------
    partials : tuple of float
        Amplitude of each harmonic partial, from the fundamental.
    contrast : float
        Share by which the amplitudes of the even partials are reduced, 0 to 1.

    Returns
    -------
    tuple of float
        Amplitudes of equal power; the given ones if there are no odd partials above.

    Examples
    --------
    >>> [round(partial, 3) for partial in hollow((1.0, 0.4, 0.2), 0.75)]
    [1.0, 0.1, 0.436]
    """
    left = tuple(p * (1.0 - contrast) if i % 2 else p for i, p in enumerate(partials))
    odd = math.fsum(p * p for p in partials[2::2])
    if not odd:
        return partials
    taken = math.fsum(p * p - q * q for p, q in zip(partials, left, strict=True))
    more = math.sqrt(1.0 + taken / odd)
    return tuple(p * more if i >= 2 and i % 2 == 0 else p for i, p in enumerate(left))


def spectrum(timbre: Timbre, pitch: float, rate: int) -> Spectrum:
    """Return a timbre's partials at a pitch, with their amplitudes and decays.

    Above C3 the partials are the timbre's. Below, the spectral envelope is fixed in hertz, so a low
    note has more partials, some of which small speakers can play. Upper partials fade out towards
    5 kHz. The total power is the timbre's; if the timbre is even, it is the power weighted with
    half of the decibels of `contour` that is the same at every pitch.

    Parameters
    ----------
    timbre : Timbre
        A timbre with at least one partial.
    pitch : float
        A fractional MIDI note. A pitch above 20 kHz, or not finite, has no partials.
    rate : int
        Samples a second.

    Examples
    --------
    >>> flat = ramp(0, 44100)
    >>> organ = Timbre((1.0, 0.4, 0.2), (0.0, 0.0, 0.0), 0.0, flat, flat)
    >>> spectrum(organ, 69.0, 44100).amplitudes
    (1.0, 0.4, 0.2)
    >>> len(spectrum(organ, 28.0, 44100).amplitudes), spectrum(organ, 140.0, 44100).amplitudes
    (7, ())
    """
    hz = pitch_to_hz(pitch) if -200.0 < pitch < 200.0 else math.inf
    if hz > TOP_HZ * min(1.0, rate / 44100):
        return Spectrum(0.0, (), (), (), (0.0, 0.0))
    soft = min(SOFT_HZ, 0.45 * rate)
    # A timbre with only odd partials keeps only odd partials.
    stride = 1 if any(timbre.partials[1::2]) else 2
    partials, damping = timbre.partials[::stride], timbre.damping[::stride]
    stretch = min(1.0, max(hz, DEEP_HZ) / LOW_HZ)
    count = min(MOST_PARTIALS, math.floor(1.0 + (len(partials) - 1) / stretch + 1e-9))
    numbers, amplitudes = [], []
    for index in range(count):
        number = 1 + stride * index
        fade = (soft - number * hz) / (0.25 * soft) if index else 1.0
        if fade <= 0.0:
            break
        numbers.append(number)
        amplitudes.append(_between(partials, index * stretch) * min(1.0, fade))
    squares = [amplitude**2 for amplitude in amplitudes]
    power = math.fsum(squares)
    heard = power
    if timbre.even:
        weights = (10.0 ** (-EVEN_SHARE * contour(number * hz) / 10.0) for number in numbers)
        heard = math.fsum(map(operator.mul, squares, weights))
    heard = max(heard, power / LOUDEST)
    scale = math.sqrt(math.fsum(partial**2 for partial in partials) / heard) if power else 0.0
    return Spectrum(
        hz / rate,
        tuple(numbers),
        tuple(scale * amplitude for amplitude in amplitudes),
        tuple(_between(damping, index * stretch) for index in range(len(numbers))),
        (scale**2 * squares[0], scale**2 * math.fsum(squares[1:])),
    )


def _between(values: tuple[float, ...], place: float) -> float:
    """Return the value at a fractional index, by linear interpolation."""
    index = min(int(place), len(values) - 1)
    after = values[min(index + 1, len(values) - 1)]
    return values[index] + (after - values[index]) * (place - index)


def balance(spectrum: Spectrum, brightness: float) -> Gains:
    """Return the gains of the two parts of a note for a brightness, at equal power.

    Parameters
    ----------
    spectrum : Spectrum
        The spectrum of the note.
    brightness : float
        Brightness of the upper partials, in units of 12 dB: -1 (dark) to 1 (bright).

    Examples
    --------
    >>> organ = Timbre((1.0, 0.4), (0.0, 0.0), 0.6, ramp(5, 44100), 1 - ramp(40, 44100))
    >>> balance(spectrum(organ, 69.0, 44100), 0.0)
    (1.0, 1.0)
    """
    bright = 10.0 ** (BRIGHT_DB * brightness / 20.0)
    fundamental, upper = spectrum.powers
    moved = fundamental + upper * bright**2
    level = math.sqrt((fundamental + upper) / moved) if moved else 1.0
    return level, level * bright


def table(spectrum: Spectrum, segment: int) -> tuple[Samples, Samples]:
    """Compute one segment of the fundamental and of the sum of the upper partials.

    Parameters
    ----------
    spectrum : Spectrum
        From the function `spectrum`.
    segment : int
        Index of the segment of `SEGMENT` samples, from 0 at the note's first sample.

    Returns
    -------
    tuple of two ndarrays of float32, shape (SEGMENT,)
        Phase and decay are exact to float64, the products to float32.

    Examples
    --------
    >>> sine = Timbre((1.0,), (0.0,), 0.0, ramp(5, 44100), 1 - ramp(40, 44100))
    >>> base, upper = table(spectrum(sine, 69.0, 1760), 0)
    >>> abs(base[:4].round(6)).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    partials = len(spectrum.amplitudes)
    if not partials:
        silence = np.zeros(SEGMENT, np.float32)
        return silence, silence
    samples = np.concatenate((segment * SEGMENT + _ROWS, _COLUMNS))
    # Only the fraction of a cycle matters; taking it before · 2π keeps it exact in long notes.
    angles = 2j * np.pi * np.remainder(spectrum.cycles * samples, 1.0)
    waves = np.outer(spectrum.numbers, angles)
    if any(spectrum.damping):
        waves -= np.outer(spectrum.damping, samples)
    np.exp(waves, out=waves)
    rows, columns = waves[:, : len(_ROWS)], waves[:, len(_ROWS) :]
    rows *= np.array(spectrum.amplitudes)[:, None]
    rows[np.abs(rows) < FAINT] = 0.0
    down = np.empty((2 * partials, len(_ROWS)), np.float32)
    down[0::2], down[1::2] = rows.imag, rows.real
    across = np.empty((2 * partials, _STRIDE), np.float32)
    across[0::2], across[1::2] = columns.real, columns.imag
    # einsum instead of @: a BLAS may change the order of its sums.
    base = np.einsum("kr,kc->rc", down[:2], across[:2])
    upper = np.einsum("kr,kc->rc", down[2:], across[2:])
    return base.reshape(SEGMENT), upper.reshape(SEGMENT)
