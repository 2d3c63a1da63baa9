"""Combine layers to voices."""

import numpy as np

from gradmidi.log.items import ABSENT

__all__ = ["combine"]


def combine(norms: np.ndarray, members: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Combine layers to voices: the root of the sum of squares.

    Parameters
    ----------
    norms : ndarray of float64, shape (layers,) or (frames, layers)
        See `gradmidi.log.Frame`.
    members : ndarray of int
        The layers of every voice, one voice after the other.
    starts : ndarray of int, shape (voices,)
        Where in `members` each voice begins.

    Returns
    -------
    ndarray of float64, shape (voices,) or (frames, voices)
        `ABSENT` where no layer of the voice had a gradient.
    """
    chosen = norms[..., members]
    absent = chosen < 0.0
    largest = np.maximum.reduceat(chosen, starts, axis=-1)
    # Against the voice's largest, so that no square leaves the range of a float.
    unit = np.where(np.isfinite(largest) & (largest > 0.0), largest, 1.0)
    counts = np.diff(starts, append=len(members))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        parts = np.where(absent, 0.0, chosen) / np.repeat(unit, counts, axis=-1)
        total = unit * np.sqrt(np.add.reduceat(parts * parts, starts, axis=-1))
    total = np.where(np.isnan(largest), largest, total)
    return np.where(largest < 0.0, ABSENT, total)
