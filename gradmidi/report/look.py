"""How pictures look: size, resolution, theme, and colours that colour-blind readers can tell.

The heat map's scale has two arms of equal lightness and equal steps in Oklab (B. Ottosson,
"A perceptual color space for image processing", 2020).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gradmidi.errors import GradmidiError

__all__ = [
    "DASHES",
    "HATCH",
    "NOT_FINITE",
    "RUNS",
    "THEMES",
    "ZERO",
    "Look",
    "Theme",
    "hexadecimal",
    "palette",
    "rgb",
    "scale",
]

Floats = NDArray[np.float64]

STEPS = 129
"""Colours in each arm of the scale, the middle included."""

MIDDLE = (0.955, 0.002, 95.0)
BELOW = ((0.76, 0.105, 235.0), (0.34, 0.135, 262.0))
ABOVE = ((0.76, 0.135, 62.0), (0.34, 0.130, 28.0))
"""Lightness, chroma and hue in degrees (Oklch) of the reference, and of the way to the ends."""

ZERO = "#8c8c8c"
NOT_FINITE = "#000000"
HATCH = "#6b7280"
"""Colours for norms that are exactly zero, for nan and inf, and for the lines of `no gradient`."""

RUNS = ("#102099", "#e02602", "#2b7c8e", "#aa07fb", "#7b0c05", "#07023a")
RUNS_DARK = ("#72fff9", "#da14f4", "#f2ff1c", "#838631", "#6abcc0", "#cfb82d")
DASHES = ((), (6, 2), (2, 2), (8, 2, 2, 2), (1, 2), (10, 3))
"""Colours and dashes of compared runs; the colours differ as much as six can for every reader."""


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours around a heat map."""

    paper: str
    ink: str
    dim: str
    line: str
    fault: str
    runs: tuple[str, ...]


THEMES: Mapping[str, Theme] = {
    "light": Theme("#ffffff", "#1b1f24", "#57606a", "#d5dae0", "#b3200f", RUNS),
    "dark": Theme("#14171b", "#e8eaed", "#a3acb6", "#3d444d", "#ff8577", RUNS_DARK),
}


def rgb(colour: str) -> Floats:
    """Return a colour as three numbers from 0 to 1.

    Examples
    --------
    >>> rgb("#ff0080").round(2).tolist()
    [1.0, 0.0, 0.5]
    """
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255.0


def hexadecimal(colour: Floats) -> str:
    """Return three numbers from 0 to 1 as a colour.

    Examples
    --------
    >>> hexadecimal(np.array([1.0, 0.0, 0.5]))
    '#ff0080'
    """
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in colour)


@cache
def scale() -> Floats:
    """Return the scale's colours, from far below the reference to far above it.

    Shape (2 * `STEPS` - 1, 3), numbers from 0 to 1; the middle is the reference.
    """
    below, above = (_arm(MIDDLE, *points) for points in (BELOW, ABOVE))
    return np.concatenate([below[:0:-1], above])


def palette(place: Floats) -> Floats:
    """Return the colours of places on the scale from -1 to 1; places beyond are clipped.

    Examples
    --------
    >>> [hexadecimal(colour) for colour in palette(np.array([-1.0, 0.0, 2.0]))]
    ['#0a317c', '#f1f0ef', '#6c0a09']
    """
    index = np.rint((np.clip(place, -1.0, 1.0) + 1.0) * (STEPS - 1)).astype(np.intp)
    return np.asarray(scale()[index])


def _arm(*points: tuple[float, float, float]) -> Floats:
    """Return colours of equal distance in Oklab on a smooth curve through Oklch points."""
    lightness, chroma, hue = np.array(points).T
    along = np.linspace(0.0, 2.0, 2001)
    curve = np.stack(
        [
            _smooth(lightness, along),
            _smooth(chroma, along),
            # The middle has hardly any chroma: its hue is the next point's.
            np.interp(along, [0.0, 1.0, 2.0], [hue[1], hue[1], hue[2]]),
        ]
    )
    lab = np.stack(
        [
            curve[0],
            curve[1] * np.cos(np.radians(curve[2])),
            curve[1] * np.sin(np.radians(curve[2])),
        ],
        axis=1,
    )
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(lab, axis=0), axis=1))])
    even = np.linspace(0.0, length[-1], STEPS)
    return _srgb(np.stack([np.interp(even, length, part) for part in lab.T], axis=1))


def _smooth(values: Floats, along: Floats) -> Floats:
    """Return the parabola through three values at 0, 1 and 2."""
    return np.asarray(np.polyval(np.polyfit([0.0, 1.0, 2.0], values, 2), along))


_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _srgb(lab: Floats) -> Floats:
    linear = np.clip(((lab @ _LMS.T) ** 3) @ _RGB.T, 0.0, 1.0)
    gamma = 1.055 * linear ** (1 / 2.4) - 0.055
    return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, gamma))


SIZES, RESOLUTIONS, MOST_PIXELS = (1.0, 60.0), (30.0, 1200.0), 150_000_000
"""Allowed inches, dots an inch, and pixels in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Size, resolution and theme of a picture or film.

    Parameters
    ----------
    size : tuple of (float, float) or str, optional
        Width and height in inches, 1 to 60 each, as ``(3.5, 2.5)`` or ``"3.5x2.5"``. By default 12
        wide and, depending on the number of layers, 5.4 to 10 high; of a film 16 by 9.
    dpi : float, default 120
        Dots per inch, 30 to 1200.
    theme : {"light", "dark"}, default "light"
        Dark text on white, or light text on a dark ground.

    Raises
    ------
    GradmidiError
        If a value is not allowed.

    Examples
    --------
    >>> Look(size="3.5x2.5", dpi=300).size
    (3.5, 2.5)
    >>> Look(theme="blue")
    Traceback (most recent call last):
    gradmidi.errors.GradmidiError: theme='blue'; allowed is light or dark
    """

    size: tuple[float, float] | str | None = None
    dpi: float = 120.0
    theme: str = "light"

    def __post_init__(self) -> None:
        """Check the values."""
        if self.theme not in THEMES:
            raise GradmidiError(f"theme={self.theme!r}; allowed is {' or '.join(THEMES)}")
        if not _within(self.dpi, RESOLUTIONS):
            low, high = RESOLUTIONS
            raise GradmidiError(f"dpi={self.dpi!r}; allowed is {low:g} to {high:g} dots an inch")
        if self.size is None:
            return
        size = self.size
        if isinstance(size, str):
            found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*[x×]\s*(\d+(?:\.\d+)?)\s*", size)
            size = (float(found[1]), float(found[2])) if found else ()  # type: ignore[assignment]
        if not (
            isinstance(size, (tuple, list))
            and len(size) == 2
            and all(_within(length, SIZES) for length in size)
        ):
            raise GradmidiError(
                f"size={self.size!r}; allowed is WIDTHxHEIGHT in inches, each {SIZES[0]:g} to "
                f"{SIZES[1]:g}, as 3.5x2.5"
            )
        if math.prod(size) * self.dpi**2 > MOST_PIXELS:
            raise GradmidiError(
                f"{size[0]:g} by {size[1]:g} inches at {self.dpi:g} dots an inch are more than "
                f"{MOST_PIXELS // 1_000_000} million pixels; give a smaller size or dpi"
            )
        object.__setattr__(self, "size", (float(size[0]), float(size[1])))

    def inches(self, usual: tuple[float, float]) -> tuple[float, float]:
        """Return the size, or the usual one if none is given."""
        return usual if self.size is None or isinstance(self.size, str) else self.size


def _within(value: object, ends: tuple[float, float]) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and ends[0] <= float(value) <= ends[1]  # type: ignore[arg-type]
