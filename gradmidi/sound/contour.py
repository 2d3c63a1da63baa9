"""The equal-loudness contour of ISO 226: how strong a tone must be to be as loud as another."""

import math
from bisect import bisect_right
from functools import lru_cache

__all__ = ["contour"]

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
