"""Numbers as a page carries them: arrays as text, norms as codes of 16 bits.

A code keeps what is no number apart (none, zero, inf, nan) and the order of all, so that the
largest of several codes is the code of what is loudest told.
"""

import base64
import math
from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["codes", "levels", "reach", "text"]

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
