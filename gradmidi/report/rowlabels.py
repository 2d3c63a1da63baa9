"""Labels beside the rows of a heat map: the module tree on the left, the voices on the right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradmidi.music.voices import Voice
from gradmidi.report.canvas import GAP, Canvas
from gradmidi.report.heatmap import HeatMap
from gradmidi.report.labels import Group, fitting

__all__ = ["RowLabels", "VoiceBrackets", "brackets", "pieces"]

LEFT_MOST, RIGHT_MOST = 0.34, 0.2
"""Largest shares of the width for the labels of layers, and for those of voices."""

FITS = 0.9
"""Lines of text that a label's rows must have as height."""


@dataclass(frozen=True, slots=True)
class _Label:
    group: Group
    text: str
    x: float
    edge: float
    inner: bool


class RowLabels:
    """The modules whose label fits in their rows, each in one place.

    A module that contains labelled ones stands further left; the others end at the map.
    """

    def __init__(self, canvas: Canvas, heat: HeatMap, tall: float) -> None:
        self._canvas = canvas
        self._row = tall / max(1, len(heat.layers))
        least = FITS * canvas.line / self._row
        shown = fitting(heat.groups, least)
        most = LEFT_MOST * canvas.wide
        for depth in range(max((group.depth for group in shown), default=0), -1, -1):
            self._placed, self.width = self._columns([g for g in shown if g.depth <= depth])
            if self.width <= most:
                break
        self.width = min(self.width, most)

    def _columns(self, shown: Sequence[Group]) -> tuple[list[_Label], float]:
        """Place labels in columns; return them and the width of all."""
        canvas = self._canvas
        outer: set[tuple[int, int]] = set()
        path: list[Group] = []
        for group in shown:
            del path[group.depth :]
            outer.update((each.start, each.depth) for each in path[group.depth - 1 : group.depth])
            path += [group] * (group.depth + 1 - len(path))
        texts = [canvas.fitting(group.name, LEFT_MOST * canvas.wide) for group in shown]
        widths: dict[int, float] = {}
        for group, text in zip(shown, texts, strict=True):
            if (group.start, group.depth) in outer:
                wide = canvas.width(text) + 3 * GAP
                widths[group.depth] = max(widths.get(group.depth, 0.0), wide)
        placed, total = [], 0.0
        for group, text in zip(shown, texts, strict=True):
            before = sum(wide for depth, wide in widths.items() if depth < group.depth)
            inner = (group.start, group.depth) not in outer
            own = canvas.width(text) + 2 * GAP if inner else widths[group.depth]
            placed.append(_Label(group, text, before, before + own - 2 * GAP, inner))
            total = max(total, before + own)
        return placed, total

    def draw(self, right: float, top: float) -> None:
        """Draw the labels, which end at `right`, beside a map whose upper edge is at `top`."""
        canvas = self._canvas
        for label in self._placed:
            group = label.group
            high, low = (top - self._row * at for at in (group.start, group.stop))
            inset = min(0.02, 0.12 * (high - low))
            if label.inner:
                x, edge = right - GAP, right - 0.4 * GAP
            else:
                x, edge = (right - self.width + at for at in (label.x, label.edge))
            align = "right" if label.inner else "left"
            canvas.text(x, (high + low) / 2, label.text, ha=align)
            if group.stop - group.start > 1:
                canvas.line_through(
                    (edge, low + inset), (edge, high - inset), color=canvas.theme.dim
                )


def brackets(voices: Sequence[Voice]) -> list[tuple[int, int, int]]:
    """Return the `pieces` of voices, or none if each voice is one layer."""
    return pieces(voices) if any(len(voice.layers) > 1 for voice in voices) else []


def pieces(voices: Sequence[Voice]) -> list[tuple[int, int, int]]:
    """Return the rows of each voice as (voice, start, stop), for each run of neighbours.

    Examples
    --------
    >>> pieces([Voice(0, "attn", (0, 2)), Voice(1, "rest", (1, 3, 4))])
    [(0, 0, 1), (0, 2, 3), (1, 1, 2), (1, 3, 5)]
    """
    found = []
    for voice in voices:
        rows = np.array(voice.layers)
        for piece in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
            found.append((voice.index, int(piece[0]), int(piece[-1]) + 1))
    return found


class VoiceBrackets:
    """A bracket around the rows of each voice, with its name where that fits."""

    def __init__(self, canvas: Canvas, heat: HeatMap, tall: float) -> None:
        self._canvas = canvas
        self._row = tall / max(1, len(heat.layers))
        room = RIGHT_MOST * canvas.wide
        self._drawn = []
        self.width = 0.0
        for voice, start, stop in brackets(heat.voices):
            text = ""
            if (stop - start) * self._row >= FITS * canvas.line:
                text = canvas.fitting(heat.voices[voice].name, room)
            self._drawn.append((text, start, stop))
            self.width = max(self.width, canvas.width(text) + 3 * GAP)
        if not any(text for text, _, _ in self._drawn):
            self._drawn = []

    def draw(self, x: float, top: float) -> None:
        """Draw the brackets on the right of a map that ends at `x`, `top`."""
        canvas = self._canvas
        for text, start, stop in self._drawn:
            high, low = top - self._row * start, top - self._row * stop
            inset = min(0.03, 0.15 * (high - low))
            near, far = x + 0.5 * GAP, x + 1.2 * GAP
            canvas.line_through(
                (near, high - inset), (far, high - inset), (far, low + inset), (near, low + inset),
                color=canvas.theme.ink,
            )  # fmt: skip
            canvas.text(x + 2 * GAP, (high + low) / 2, text)
