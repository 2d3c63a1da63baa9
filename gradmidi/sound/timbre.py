"""Timbres: the partials of a note at a pitch, as tables of samples. Pure functions.

A note's phase is f·n from its own first sample, so the sum of its upper partials depends on
its pitch alone, but for a gain. A table holds one stretch of it, computed as products of two
short lists (sin(a + b) = sin a cos b + cos a sin b), and serves every note of that pitch.
"""

import math
from dataclasses import dataclass

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
    "hollow",
    "ramp",
    "spectrum",
    "table",
]

Samples = NDArray[np.float32]

Gains = tuple[float, float]
"""Of the fundamental, and of the upper partials."""

SEGMENT = 8192
"""Samples in one table."""

TOP_HZ = 20000.0
"""A fundamental above this (at 44.1 kHz) is silent: no ear misses it, and it would alias."""

SOFT_HZ = 12000.0
"""Upper partials fade over the last quarter below this, and end here."""

LOW_HZ = 130.8
"""Below this (C3) the envelope over the partials stays where it is in hertz."""

DEEP_HZ = 20.0
"""Below this no partial is added, since no pitch is heard there."""

MOST_PARTIALS = 32

BRIGHT_DB = 12.0
"""What brightness 0 and 127 take from and give to the upper partials, at depth 1."""

FAINT = 1e-8
"""A partial that has decayed this far is over; float32's slow denormal numbers never occur."""

_STRIDE = 128
_ROWS = np.arange(0, SEGMENT, _STRIDE)
_COLUMNS = np.arange(_STRIDE)


@dataclass(frozen=True, slots=True, eq=False)
class Timbre:
    """What a kind of note sounds like, at a given rate.

    Parameters
    ----------
    partials : tuple of float
        Amplitude of each harmonic partial, from the fundamental.
    damping : tuple of float
        How fast each decays, in 1/e a sample; 0.0: not at all.
    brightness : float
        How far brightness moves the upper partials, 0 to 1.
    attack, release : ndarray of float32
        Ramps up from 0 and down from 1, a level a sample.
    """

    partials: tuple[float, ...]
    damping: tuple[float, ...]
    brightness: float
    attack: Samples
    release: Samples


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """A timbre at one pitch: cycles a sample; number, amplitude and damping of each partial.

    `powers` are those of the fundamental, and of the upper partials together.
    """

    cycles: float
    numbers: tuple[int, ...]
    amplitudes: tuple[float, ...]
    damping: tuple[float, ...]
    powers: tuple[float, float]


def ramp(milliseconds: float, rate: int) -> Samples:
    """Half a period of a raised cosine, from 0 to just before 1.

    Parameters
    ----------
    milliseconds : float
        Its length; 0: no sample at all.
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

    A tone of odd partials is hollow, as a clarinet's is (Helmholtz, *On the Sensations of Tone*,
    chapter V): beside the one with all of them it is known whatever note it plays.

    Parameters
    ----------
    partials : tuple of float
        Amplitude of each harmonic partial, from the fundamental.
    contrast : float
        Share that is taken from the amplitude of the even ones, 0 to 1.

    Returns
    -------
    tuple of float
        Of equal power; the partials as they are where there are no odd ones above.

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
    """Lay out a timbre's partials at a pitch: which there are, how strong, how fast they decay.

    Above C3 the partials stand as the timbre has them. Below, the envelope over them stays
    where it is in hertz: a low note has more partials, and small speakers still play some.
    Upper partials fade out towards 12 kHz. Either way the power stays that of the whole timbre.

    Parameters
    ----------
    timbre : Timbre
        With at least one partial.
    pitch : float
        A fractional MIDI note. One above 20 kHz, or no finite number, has no partials.
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
    # A timbre of odd partials alone stays one.
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
    scale = math.sqrt(math.fsum(partial**2 for partial in partials) / power) if power else 0.0
    return Spectrum(
        hz / rate,
        tuple(numbers),
        tuple(scale * amplitude for amplitude in amplitudes),
        tuple(_between(damping, index * stretch) for index in range(len(numbers))),
        (scale**2 * squares[0], scale**2 * math.fsum(squares[1:])),
    )


def _between(values: tuple[float, ...], place: float) -> float:
    """Read a list at a fractional index, linearly."""
    index = min(int(place), len(values) - 1)
    after = values[min(index + 1, len(values) - 1)]
    return values[index] + (after - values[index]) * (place - index)


def balance(spectrum: Spectrum, brightness: float) -> Gains:
    """Turn brightness into the gains of the two parts of a note, at equal power.

    Parameters
    ----------
    spectrum : Spectrum
        Whose parts they are.
    brightness : float
        Of the upper partials, in units of 12 dB: -1 (dark) to 1 (bright).

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
    """Compute the fundamental, and the sum of its upper partials, over one segment.

    Parameters
    ----------
    spectrum : Spectrum
        As `spectrum` laid it out.
    segment : int
        Which stretch of `SEGMENT` samples, from 0 at the note's first.

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
    # Only the fraction of a cycle counts; taken before 2π it stays exact in a long note.
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
    # einsum and not @: a BLAS may sum in another order on another day.
    base = np.einsum("kr,kc->rc", down[:2], across[:2])
    upper = np.einsum("kr,kc->rc", down[2:], across[2:])
    return base.reshape(SEGMENT), upper.reshape(SEGMENT)
