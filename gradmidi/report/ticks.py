"""Places and texts of the ticks on axes of steps and of seconds."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["step_ticks", "time_ticks"]

TIMES = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800),
    *(3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000),
)
"""Usual distances of seconds on an axis."""


def step_ticks(first: int, last: int, most: int) -> list[tuple[float, str]]:
    """Return at most about `most` round steps, the first step included.

    Examples
    --------
    >>> step_ticks(1, 200, 5)
    [(1, '1'), (50, '50'), (100, '100'), (150, '150'), (200, '200')]
    """
    span = max(1, last - first)
    distance = _round(span / max(1, most - 1))
    steps = [s for s in range(-(-first // distance) * distance, last + 1, distance) if s > first]
    if steps and steps[0] - first < distance / 2:
        steps = steps[1:]
    return [(step, f"{step:,}") for step in (first, *steps)]


def time_ticks(
    seconds: NDArray[np.float64], places: NDArray[np.int_], most: int
) -> list[tuple[float, str]]:
    """Return at most about `most` round times, at the steps `places` of these `seconds`.

    Examples
    --------
    >>> time_ticks(np.array([0.0, 30.0, 60.0]), np.array([1, 2, 3]), 3)
    [(1.0, '0 s'), (2.0, '30 s'), (3.0, '1 min')]
    """
    low, high = float(np.nanmin(seconds)), float(np.nanmax(seconds))
    wanted = (high - low) / max(1, most - 1)
    distance = next((time for time in TIMES if time >= wanted * 0.999), TIMES[-1])
    first = math.ceil(low / distance - 1e-9)
    times = [distance * n for n in range(first, math.floor(high / distance + 1e-9) + 1)]
    at = np.interp(times, np.maximum.accumulate(seconds), places)
    return [(float(place), _time(time)) for place, time in zip(at, times, strict=True)]


def _round(least: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, … that is at least `least`, up to a tenth less."""
    power: int = 10 ** max(0, math.floor(math.log10(max(1.0, least))))
    return next(n * power for n in (1, 2, 5, 10, 20) if n * power >= 0.9 * least)


def _time(seconds: float) -> str:
    """Return a time in seconds, minutes, hours or days."""
    for unit, part, name in ((86400, 3600, "d"), (3600, 60, "h"), (60, 1, "min")):
        if seconds >= unit:
            whole, rest = divmod(seconds, unit)
            if rest == 0.0:
                return f"{whole:g} {name}"
            return f"{whole:g}:{rest / part:02.0f} {name}"
    return f"{seconds:g} s"
