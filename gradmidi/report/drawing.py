"""Draw the heat map of a run with Matplotlib: title, values, faults, map, axes and legend."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradmidi.report.canvas import GAP, Canvas, Labels
from gradmidi.report.heatmap import INF, NONE, ZERO_CODE, HeatMap, Strip, colours, reduced
from gradmidi.report.labels import step_ticks, time_ticks
from gradmidi.report.look import HATCH, NOT_FINITE, ZERO, Theme, palette
from gradmidi.report.rowlabels import LEFT_MOST, RowLabels, VoiceBrackets
from gradmidi.text.faults import short
from gradmidi.text.words import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Drawing", "Texts", "draw"]

FAULTS_DRAWN, FAULT_ROWS = 400, 3
"""Faults with a mark, and most rows of their names."""

LARGEST = 5e307
"""Larger values are drawn at this one."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The title of a picture, and the lines below it; an empty line is left out."""

    title: str
    verdict: str
    about: str


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A drawn figure; `map` is the axes of steps, and `top` the height of all values in inches."""

    figure: "Figure"
    map: "Axes"
    top: float
    heat: HeatMap
    theme: Theme
    labels: Labels


def draw(heat: HeatMap, texts: Texts, size: tuple[float, float], dpi: float, theme: str) -> Drawing:
    """Draw a heat map on a figure of this size in inches."""
    names = [texts.title, texts.verdict, texts.about, *(group.name for group in heat.groups)]
    names += [*(voice.name for voice in heat.voices), *(strip.name for strip in heat.strips)]
    labels = Labels([*names, *(short(fault) for fault in heat.faults)])
    with labels.fonts():
        return _Drawer(Canvas(size, dpi, theme, labels), heat).draw(texts)


class _Drawer:
    """Draws the parts of one figure."""

    def __init__(self, canvas: Canvas, heat: HeatMap) -> None:
        self.canvas, self.heat = canvas, heat
        self.edges = (heat.first - 0.5, max(heat.end, heat.first + 1) - 0.5)
        self.times = bool(heat.seconds.size) and float(np.nanmax(heat.seconds)) > 0.0
        ends = [number(end, 3) for strip in heat.strips for end in strip.ends]
        self.margin = max([0.12, *(canvas.width(end, canvas.small) + 2 * GAP for end in ends)])

    def draw(self, texts: Texts) -> Drawing:
        """Draw everything."""
        canvas, heat, line = self.canvas, self.heat, self.canvas.line
        start = top = self._title(texts, canvas.tall - 0.5 * line)
        most = 0.55 if heat.layers else 1.4
        each = max(1.9 * line, min(most, 0.09 * canvas.tall if heat.layers else most))
        strips = heat.strips[: int((0.3 if heat.layers else 0.7) * (canvas.tall - 0.6) / each)]
        rows_of_names = min(FAULT_ROWS if canvas.tall > 4.0 else 2, len(heat.faults))
        marks = (0.55 + 0.95 * rows_of_names) * line if heat.faults else 0.3 * line
        legend = self._legend_rows()
        low = (1.2 + 1.25 * len(legend) + 1.2 * (1 + self.times)) * line
        tall = max(0.15 * canvas.tall, top - len(strips) * each - marks - low)
        if not heat.layers:
            tall, low = 0.01, top - len(strips) * each - marks
        rows, voices = RowLabels(canvas, heat, tall), VoiceBrackets(canvas, heat, tall)
        names = [canvas.width(canvas.labels(strip.name)) + 2 * GAP for strip in strips]
        names.append(canvas.width("step") + 2 * GAP)
        self.left = GAP + min(max([rows.width, *names]), LEFT_MOST * canvas.wide) + GAP
        self.inner = canvas.wide - self.left - max(self.margin, voices.width) - GAP
        axes = []
        for strip in strips:
            top -= each
            axes.append(self._strip(strip, top + 0.15 * each, 0.8 * each))
        for axis, strip in zip(axes, strips, strict=True):
            for fault in heat.faults:
                if fault.logged == strip.name:
                    axis.axvline(fault.steps[0], color=canvas.theme.fault, linewidth=1.1)
        drawn = self._map(low, tall)
        self._faults(drawn, low + tall, marks)
        rows.draw(self.left, low + tall)
        voices.draw(self.left + self.inner, low + tall)
        self._axes(low)
        for index, row in enumerate(reversed(legend)):
            self._legend(row, (0.75 + 1.25 * index) * line)
        return Drawing(canvas.figure, drawn, start, heat, canvas.theme, canvas.labels)

    def _title(self, texts: Texts, top: float) -> float:
        canvas = self.canvas
        large, room = 1.25 * canvas.points, canvas.wide - 4 * GAP
        title = canvas.fitting(texts.title, room, large, "bold")
        canvas.text(2 * GAP, top - 0.6 * canvas.line, title, fontsize=large, weight="bold")
        top -= 1.4 * canvas.line
        wrong = canvas.theme.fault if self.heat.faults else canvas.theme.dim
        for text, colour in ((texts.verdict, wrong), (texts.about, canvas.theme.dim)):
            for shown in canvas.wrapped(text, room, 2) if text else ():
                canvas.text(2 * GAP, top - 0.5 * canvas.line, shown, color=colour)
                top -= 1.08 * canvas.line
        # Without a verdict, step and loss are counted beside the title.
        return top - (0.35 if texts.verdict else 1.7) * canvas.line

    def _strip(self, strip: Strip, y: float, tall: float) -> "Axes":
        canvas, heat = self.canvas, self.heat
        axes = canvas.axes(self.left, y, self.inner, tall)
        places = heat.first + heat.width * np.arange(len(strip.high)) + (heat.width - 1) / 2
        known = np.isfinite(strip.high)
        places, low, high = places[known], strip.low[known], strip.high[known]
        room = max(1, int(self.inner * canvas.dpi))
        if len(places) > 2 * room:
            starts = np.arange(room) * len(places) // room
            places = places[starts]
            low, high = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
        # matplotlib computes with differences of these.
        low, high = np.clip(low, -LARGEST, LARGEST), np.clip(high, -LARGEST, LARGEST)
        axes.fill_between(places, low, high, color=canvas.theme.ink, linewidth=0.0, alpha=0.55)
        style = "-" if len(places) > 1 else "."
        axes.plot(places, high, style, color=canvas.theme.ink, linewidth=0.9, markersize=3)
        if strip.logarithmic:
            axes.set_yscale("log")
            axes.set_yticks([])
            axes.set_yticks([], minor=True)
        axes.set_xlim(*self.edges)
        axes.margins(y=0.12)
        axes.spines["bottom"].set_visible(True)
        axes.spines["bottom"].set_color(canvas.theme.line)
        name = canvas.fitting(strip.name, self.left - 2 * GAP)
        canvas.text(self.left - GAP, y + tall / 2, name, ha="right", color=canvas.theme.dim)
        x, small = self.left + self.inner + GAP, canvas.small
        low_end, high_end = strip.ends
        both = ((low_end, 0.12), (high_end, 0.88)) if low_end < high_end else ((high_end, 0.5),)
        for value, share in both:
            text = number(value, 3)
            canvas.text(x, y + share * tall, text, fontsize=small, color=canvas.theme.dim)
        return axes

    def _map(self, y: float, tall: float) -> "Axes":
        from matplotlib.patches import Rectangle

        canvas, heat = self.canvas, self.heat
        axes = canvas.axes(self.left, y, self.inner, tall)
        rows = max(1, len(heat.layers))
        left, right = self.edges
        if (heat.codes == NONE).any():
            axes.add_patch(Rectangle((left, 0), right - left, rows, **self._hatched(), zorder=0))
        codes = heat.codes
        codes = reduced(codes, max(1, int(tall * canvas.dpi)), max(1, int(self.inner * canvas.dpi)))
        if codes.size:
            axes.imshow(
                colours(heat.limit)[codes],
                extent=(left, right, rows, 0),
                aspect="auto",
                interpolation="nearest",
                zorder=1,
            )
        if tall / rows > 0.11:
            lines = range(1, rows)
            axes.hlines(lines, left, right, color=canvas.theme.paper, linewidth=0.8, zorder=2)
        axes.set_xlim(left, right)
        axes.set_ylim(rows, 0)
        return axes

    def _hatched(self) -> dict[str, Any]:
        paper = self.canvas.theme.paper
        return {"facecolor": paper, "edgecolor": HATCH, "hatch": "/" * 7, "linewidth": 0.0}

    def _faults(self, axes: "Axes", y: float, tall: float) -> None:
        """Mark where faults begin: a triangle and a name above, a line through their rows."""
        from matplotlib.collections import LineCollection
        from matplotlib.transforms import ScaledTranslation

        canvas, heat = self.canvas, self.heat
        faults = heat.faults[:FAULTS_DRAWN]
        lines = [
            [(fault.steps[0] - 0.5, start), (fault.steps[0] - 0.5, stop)]
            for fault in faults
            for start, stop in heat.rows(fault)
        ]
        # Left of the step, so that a fault of one step is not covered.
        left_of = ScaledTranslation(-1.4 / 72.0, 0.0, canvas.figure.dpi_scale_trans)
        for colour, width in (("#ffffff", 2.4), ("#000000", 1.1)):
            drawn = LineCollection(lines, colors=colour, linewidths=width, zorder=3)
            drawn.set_transform(axes.transData + left_of)
            axes.add_collection(drawn)
        above = canvas.axes(self.left, y, self.inner, tall)
        above.set_xlim(*self.edges)
        above.set_ylim(0.0, 1.0)
        steps = [fault.steps[0] - 0.5 for fault in faults]
        above.scatter(
            steps, [0.25 * canvas.line / tall] * len(steps), marker="v",
            s=(0.62 * canvas.points) ** 2, color=canvas.theme.fault, linewidths=0, clip_on=False,
        )  # fmt: skip
        free = [-1.0] * round((tall / canvas.line - 0.55) / 0.95)
        for fault, step in zip(faults, steps, strict=True):
            x = self._x(step)
            text = canvas.labels(short(fault), 60)
            wide = canvas.width(text, canvas.small)
            begin = max(GAP, min(x - 0.05, canvas.wide - GAP - wide))
            row = next((row for row, end in enumerate(free) if begin >= end), None)
            if row is None:
                continue
            height = y + (0.95 + 0.95 * row) * canvas.line
            canvas.text(begin, height, text, fontsize=canvas.small, color=canvas.theme.fault)
            free[row] = begin + wide + 1.5 * GAP

    def _x(self, step: float) -> float:
        """Return where a step is, in inches."""
        left, right = self.edges
        return self.left + self.inner * (step - left) / (right - left)

    def _axes(self, low: float) -> None:
        """Write the steps below the map, and the seconds of training below them."""
        canvas, heat = self.canvas, self.heat
        small = 0.92 * canvas.points
        most = max(2, int(self.inner / (6.5 * canvas.points / 72.0)))
        rows = [("step", step_ticks(heat.first, heat.last, most))]
        if self.times:
            places = heat.first + heat.width * np.arange(1, len(heat.seconds) + 1) - 1
            rows.append(("time", time_ticks(heat.seconds, np.minimum(places, heat.last), most)))
        for index, (name, ticks) in enumerate(rows):
            y = low - (0.8 + 1.2 * index) * canvas.line
            colour = canvas.theme.dim if index else canvas.theme.ink
            canvas.text(self.left - GAP, y, name, ha="right", color=colour, fontsize=small)
            ends = (self.left, self.left + self.inner)
            for x in canvas.ticks(y, ticks, self._x, ends, fontsize=small, color=colour):
                if index == 0:
                    end = low - 0.22 * canvas.line
                    canvas.line_through((x, low), (x, end), color=canvas.theme.dim)

    def _legend_rows(self) -> list[list[tuple[str, dict[str, Any]]]]:
        """Return the rows of the legend: the colour scale, and each special colour that occurs."""
        canvas, heat = self.canvas, self.heat
        factor = 2**heat.limit
        if not heat.layers:
            return []
        found: list[tuple[str, dict[str, Any]]] = [(f"1/{factor} to {factor} × the first norm", {})]
        if (heat.codes == ZERO_CODE).any():
            found.append(("exactly zero", {"facecolor": ZERO}))
        if (heat.codes >= INF).any():
            found.append(("nan or inf", {"facecolor": NOT_FINITE}))
        if (heat.codes == NONE).any():
            found.append(("no gradient", self._hatched()))
        rows: list[list[tuple[str, dict[str, Any]]]] = [[]]
        used = 0.0
        for text, filling in found:
            wide = self._box(filling) + canvas.width(text, canvas.small) + 4 * GAP
            if used + wide > canvas.wide and rows[-1]:
                rows.append([])
                used = 0.0
            rows[-1].append((text, filling))
            used += wide
        return rows

    def _box(self, filling: dict[str, Any]) -> float:
        """Return the width of the box beside a text of the legend, or of the colour scale."""
        return self.canvas.line if filling else max(0.5, min(1.6, 0.14 * self.canvas.wide))

    def _legend(self, row: list[tuple[str, dict[str, Any]]], y: float) -> None:
        canvas = self.canvas
        tall = 0.75 * canvas.line
        parts = [self._box(filling) + canvas.width(text, canvas.small) for text, filling in row]
        total = sum(parts) + 4 * GAP * len(row)
        x = max(2 * GAP, min(self.left, canvas.wide - total))
        for (text, filling), wide in zip(row, parts, strict=True):
            box = self._box(filling)
            if filling:
                canvas.box(x, y - tall / 2, box, tall, **filling)
            else:
                scale = canvas.axes(x, y - tall / 2, box, tall)
                scale.imshow(palette(np.linspace(-1.0, 1.0, 129))[None], aspect="auto")
            colour = canvas.theme.dim
            canvas.text(x + box + GAP, y, text, fontsize=canvas.small, color=colour)
            x += wide + 4 * GAP
