"""A Matplotlib figure on which every place is in inches, from the lower left corner.

Matplotlib's own layouts take longer than the drawing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from typing import TYPE_CHECKING, Any

from gradmidi.report.look import THEMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["GAP", "Canvas", "Labels"]

LONGEST_LABEL = 40

LAST_RESORT = "Last Resort High-Efficiency"
"""A font of Matplotlib that has a box for every character."""


class Labels:
    """Prepares users' texts for Matplotlib, and finds fonts that have their characters.

    A character that is in no font or is not printable is shown as a question mark.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        from matplotlib import rcParams
        from matplotlib.font_manager import FontProperties, findfont, fontManager

        self._families: list[str] = list(rcParams["font.family"])
        self._missing = {character for text in texts for character in text if character > "\x7f"}
        self._missing -= _characters(findfont(FontProperties()))
        families = sorted({font.name for font in fontManager.ttflist} - {LAST_RESORT})
        for family in families if self._missing else ():
            found = self._missing & _characters(findfont(FontProperties(family=[family])))
            if found:
                self._families.append(family)
                self._missing -= found

    def fonts(self) -> AbstractContextManager[None]:
        """Return a context in which Matplotlib uses these fonts for new text."""
        from matplotlib import rc_context

        return rc_context({"font.family": self._families})

    def __call__(self, text: str, longest: int = LONGEST_LABEL) -> str:
        """Return a text that can be shown, cut to a number of characters."""
        short = text if len(text) <= longest else text[: longest - 1] + "…"
        shown = (c if c.isprintable() and c not in self._missing else "\ufffd" for c in short)
        return "".join(shown).replace("$", r"\$")


@cache
def _characters(path: str) -> frozenset[str]:
    """Return the characters of a font; the empty set if Matplotlib cannot read it."""
    from matplotlib.font_manager import get_font

    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()


GAP = 0.06
"""Inches between parts."""


class Canvas:
    """An empty figure of a size in inches; the text has a size that fits the width."""

    def __init__(self, size: tuple[float, float], dpi: float, theme: str, labels: Labels) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.theme = THEMES[theme]
        self.figure = Figure(figsize=size, dpi=dpi, facecolor=self.theme.paper)
        self._renderer: Any = FigureCanvasAgg(self.figure).get_renderer()  # type: ignore[no-untyped-call]
        self.labels = labels
        self.wide, self.tall = size
        self.dpi = dpi
        self.points = min(11.0, max(6.5, 6.5 + 0.5 * (self.wide - 3.5)))
        self.small = 0.86 * self.points
        self.line = self.points / 72.0 * 1.32

    def axes(self, x: float, y: float, wide: float, tall: float) -> "Axes":
        """Add axes without ticks, ground and frame."""
        axes = self.figure.add_axes(
            (x / self.wide, y / self.tall, wide / self.wide, tall / self.tall)
        )
        axes.set_facecolor("none")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(self, x: float, y: float, text: str, **more: Any) -> None:
        """Write a text whose middle is at the height `y`."""
        more = {"color": self.theme.ink, "fontsize": self.points, "va": "center", **more}
        self.figure.text(x / self.wide, y / self.tall, text, **more)

    def ticks(
        self,
        y: float,
        ticks: Iterable[tuple[float, str]],
        places: Callable[[float], float],
        ends: tuple[float, float],
        **more: Any,
    ) -> Iterator[float]:
        """Write the texts of an axis between `ends` that do not overlap; yield the x of each."""
        free = -1.0
        for place, text in ticks:
            x = places(place)
            wide = self.width(text, more["fontsize"])
            begin = min(max(ends[0], x - wide / 2), ends[1] - wide)
            if begin >= free:
                free = begin + wide + 2 * GAP
                self.text(begin, y, text, **more)
                yield x

    def line_through(self, *places: tuple[float, float], **more: Any) -> None:
        """Draw a line through places."""
        from matplotlib.lines import Line2D

        x, y = zip(*places, strict=True)
        across, up = ([v / size for v in vs] for vs, size in ((x, self.wide), (y, self.tall)))
        self.figure.add_artist(Line2D(across, up, **{"linewidth": 0.8, **more}))

    def box(self, x: float, y: float, wide: float, tall: float, **more: Any) -> None:
        """Draw a rectangle."""
        from matplotlib.patches import Rectangle

        corner = (x / self.wide, y / self.tall)
        more = {"linewidth": 0.5, "edgecolor": self.theme.dim, **more}
        self.figure.add_artist(Rectangle(corner, wide / self.wide, tall / self.tall, **more))

    def width(self, text: str, points: float | None = None, weight: str = "normal") -> float:
        """Return the width of a text in inches."""
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=points or self.points, weight=weight)
        plain = text.replace(r"\$", "$")
        wide, _, _ = self._renderer.get_text_width_height_descent(plain, font, ismath=False)
        return float(wide / self.dpi)

    def fitting(
        self, text: str, room: float, points: float | None = None, weight: str = "normal"
    ) -> str:
        """Return a text as it can be shown, cut at its end if it is wider than `room` inches."""
        shown = self.labels(text, 200)
        if self.width(shown, points, weight) <= room:
            return shown
        low, high = 0, min(200, len(text))
        while low < high:
            middle = (low + high + 1) // 2
            if self.width(self.labels(text[:middle] + "…", 201), points, weight) <= room:
                low = middle
            else:
                high = middle - 1
        return self.labels(text[:low] + "…", 201) if low else ""

    def wrapped(self, text: str, room: float, most: int) -> list[str]:
        """Return a text as at most so many lines that are no wider than `room` inches."""
        lines: list[str] = []
        words = text.split(" ")
        while words:
            size = 1
            while size < len(words) and self._fits(words[: size + 1], room):
                size += 1
            if len(lines) == most - 1:
                size = len(words)
            lines.append(self.fitting(" ".join(words[:size]), room))
            words = words[size:]
        return lines

    def _fits(self, words: list[str], room: float) -> bool:
        return self.width(self.labels(" ".join(words), 1000)) <= room
