"""How far apart two sounds are, by the levels of their thirds of an octave."""

import numpy as np

CENTRES = 1000.0 * 2.0 ** (np.arange(-13, 12) / 3.0)
"""Centres of the thirds of an octave, 50 Hz to 12.5 kHz."""

DEPTH = 60.0
"""Decibels below the loudest that still count."""


def thirds(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return the power in each third of an octave."""
    power = (np.abs(np.fft.rfft(samples, axis=0)) ** 2).sum(axis=1)
    hertz = np.fft.rfftfreq(len(samples), 1.0 / rate)
    edges = np.searchsorted(hertz, [*(CENTRES * 2 ** (-1 / 6)), CENTRES[-1] * 2 ** (1 / 6)])
    return np.add.reduceat(power, edges[:-1])


def each_second(samples: np.ndarray, rate: int, seconds: int) -> np.ndarray:
    """Return the power in each third of an octave, of each second; a shorter sound is padded."""
    whole = np.zeros((seconds * rate, samples.shape[1]))
    whole[: len(samples)] = samples[: len(whole)]
    window = np.hanning(rate)[:, None]
    return np.array([thirds(part * window, rate) for part in whole.reshape(seconds, rate, -1)])


def decibels(power: np.ndarray, top: float) -> np.ndarray:
    """Return levels in dB below `top`, at most `DEPTH` below it."""
    return np.maximum(10.0 * np.log10(power / top + 1e-12), -DEPTH)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Return the root mean square of the differences of levels, in dB."""
    return float(np.sqrt(np.mean((one - other) ** 2)))
