"""How a picture looks: size, resolution and theme."""

import math
import re
from dataclasses import dataclass

from gradmidi.errors import GradmidiError
from gradmidi.report.colours import THEMES

__all__ = ["Look"]

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
