"""The picture of compared runs: a row for each voice, a line for each run, on one axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradmidi.comparison.pairs import Layout, Side
from gradmidi.comparison.runs import Departure
from gradmidi.report.canvas import GAP, Canvas, Labels
from gradmidi.report.data import CLIPPED
from gradmidi.report.labels import step_ticks
from gradmidi.report.look import DASHES, Look
from gradmidi.report.picture import need_matplotlib, save_figure
from gradmidi.text.faults import verdict
from gradmidi.text.summary import Summary
from gradmidi.text.words import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_comparison"]

UNITS = {"step": "step", "examples": "examples", "time": "seconds"}

WIDTH, ROW = 12.0, 1.25
"""Inches of a picture by default: its width, and the height of a row."""


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """The norms of one run's voices in its slots, and their places on the axis.

    `starts` holds for each voice where its faults begin; the first also has those of no layer.
    """

    name: str
    places: NDArray[np.float64]
    norms: NDArray[np.float64]
    starts: tuple[tuple[float, ...], ...]


def draw_comparison(
    path: Path,
    layout: Layout,
    sides: Sequence[Side],
    summaries: Sequence[Summary],
    found: Sequence[Departure | None],
    by: str,
    look: Look,
) -> None:
    """Draw one side for each run, and write the picture.

    Raises GradmidiError if Matplotlib is not installed.
    """
    need_matplotlib(path)
    start = 1.0 if by == "step" else 0.0
    layers = layout.runs[0].header.layers
    whose = {layers[at].name: voice.index for voice in layout.voices for at in voice.layers}
    lines = []
    for side, summary in zip(sides, summaries, strict=True):
        slots = side.slots.played
        places = np.array([slot.index for slot in slots]) * layout.width + start
        starts: list[list[float]] = [[] for _ in layout.voices]
        for fault in summary.faults:
            at = np.searchsorted([slot.step for slot in slots], fault.steps[0])
            for voice in {whose.get(layer, 0) for layer in fault.layers} or {0}:
                starts[voice].append(float(places[min(int(at), len(slots) - 1)]))
        lines.append(
            _Line(
                side.run.name,
                places,
                np.array([slot.norms for slot in slots]).reshape(len(slots), len(layout.voices)),
                tuple(map(tuple, starts)),
            )
        )
    departures = [each.index * layout.width + start for each in found if each is not None]
    verdicts = [verdict(summary.faults) for summary in summaries]
    names = [*(line.name for line in lines), *verdicts, *(v.name for v in layout.voices)]
    labels = Labels(names)
    size = look.inches((WIDTH, 1.6 + 0.3 * len(lines) + ROW * len(layout.voices)))
    with labels.fonts():
        canvas = Canvas(size, look.dpi, look.theme, labels)
        _draw(canvas, layout, lines, verdicts, departures, by)
    save_figure(canvas.figure, path)


def _draw(
    canvas: Canvas,
    layout: Layout,
    lines: Sequence[_Line],
    verdicts: Sequence[str],
    departures: Sequence[float],
    by: str,
) -> None:
    line, room = canvas.line, canvas.wide - 4 * GAP
    top = canvas.tall - 0.6 * line
    key = 0.35 if canvas.wide > 5.0 else 0.2
    for index, (each, said) in enumerate(zip(lines, verdicts, strict=True)):
        y = top - 0.5 * line
        style = _style(canvas, index)
        canvas.line_through((2 * GAP, y), (2 * GAP + key, y), linewidth=1.8, **style)
        text = canvas.fitting(f"{each.name}: {said}", room - key - GAP)
        canvas.text(3 * GAP + key, y, text)
        top -= 1.3 * line
    names = [canvas.fitting(voice.name, 0.3 * canvas.wide) for voice in layout.voices]
    left = max(0.5, *(canvas.width(name) for name in names)) + 3 * GAP
    ends = canvas.width("0.00012", canvas.small) + 2 * GAP
    inner = canvas.wide - left - ends
    low = 2.6 * line
    each_tall = (top - 0.4 * line - low) / len(layout.voices)
    edges = (
        min(run.places[0] for run in lines),
        max(run.places[-1] for run in lines) + layout.width,
    )
    for voice, name in enumerate(names):
        y = top - 0.4 * line - (voice + 1) * each_tall
        axes = canvas.axes(left, y + 0.06 * each_tall, inner, 0.86 * each_tall)
        bounds = _row(canvas, axes, lines, voice, departures)
        axes.set_xlim(*edges)
        axes.spines["bottom"].set_visible(True)
        axes.spines["bottom"].set_color(canvas.theme.line)
        canvas.text(left - GAP, y + 0.5 * each_tall, name, ha="right")
        for value, share in zip(bounds, (0.12, 0.86), strict=False):
            look = {"fontsize": canvas.small, "color": canvas.theme.dim}
            canvas.text(left + inner + GAP, y + share * each_tall, number(value, 3), **look)
    _axis(canvas, left, inner, low, edges, by)


def _row(
    canvas: Canvas, axes: "Axes", lines: Sequence[_Line], voice: int, departures: Sequence[float]
) -> tuple[float, ...]:
    """Draw one voice of all runs; return the ends of its axis, none without a number."""
    columns = [np.where(run.norms[:, voice] > 0.0, run.norms[:, voice], np.nan) for run in lines]
    columns = [np.where(np.isfinite(column), column, np.nan) for column in columns]
    known = [column[np.isfinite(column)] for column in columns]
    for place in departures:
        axes.axvline(place, color=canvas.theme.fault, linewidth=0.9, linestyle=(0, (6, 3)))
    for index, run in enumerate(lines):
        colour = canvas.theme.runs[index % len(canvas.theme.runs)]
        starts = run.starts[voice]
        axes.scatter(
            starts, [0.97] * len(starts), marker="v", s=(0.45 * canvas.points) ** 2, color=colour,
            linewidths=0, transform=axes.get_xaxis_transform(), zorder=4, clip_on=False,
        )  # fmt: skip
    if not any(values.size for values in known):
        return ()
    least = min(values.min() for values in known if values.size)
    # A run that explodes is cut off, so that the others can be seen.
    most = min(
        max(values.max() for values in known if values.size),
        CLIPPED * min(values.max() for values in known if values.size),
    )
    margin = (most / least) ** 0.08 if most > least else 1.5
    axes.set_yscale("log")
    axes.set_yticks([])
    axes.set_yticks([], minor=True)
    axes.set_ylim(least / margin, most * margin)
    for index, (run, column) in enumerate(zip(lines, columns, strict=True)):
        style = _style(canvas, index)
        marker = "." if len(column) < 300 else ""
        axes.plot(
            run.places, np.minimum(column, most * margin), linewidth=1.3, marker=marker,
            markersize=3, **style,
        )  # fmt: skip
        above = column > most * margin
        axes.plot(
            run.places[above], np.full(above.sum(), most * margin), "^",
            color=style["color"], markersize=0.5 * canvas.points, clip_on=False,
        )  # fmt: skip
    return least, most


def _style(canvas: Canvas, index: int) -> dict[str, Any]:
    """Return the colour and the dashes of a run's line."""
    dashes = DASHES[index % len(DASHES)]
    colour = canvas.theme.runs[index % len(canvas.theme.runs)]
    return {"color": colour, "linestyle": (0, dashes) if dashes else "-"}


def _axis(
    canvas: Canvas, left: float, inner: float, low: float, edges: tuple[float, float], by: str
) -> None:
    most = max(2, int(inner / (6.5 * canvas.points / 72.0)))
    if by == "step":
        ticks = step_ticks(round(edges[0]), round(edges[1]), most)
    else:
        values = np.linspace(edges[0], edges[1], most)
        ticks = [(float(value), number(float(value), 3)) for value in values]
    y = low - 0.8 * canvas.line
    canvas.text(left - GAP, y, UNITS[by], ha="right", fontsize=canvas.small)
    ticks = [tick for tick in ticks if tick[0] <= edges[1]]

    def at(place: float) -> float:
        return left + inner * (place - edges[0]) / (edges[1] - edges[0])

    for x in canvas.ticks(y, ticks, at, (left, left + inner), fontsize=canvas.small):
        canvas.line_through((x, low), (x, low - 0.2 * canvas.line), color=canvas.theme.dim)
    note = "▼ a fault begins · ▲ the norm is beyond the axis · dashed: a run departs"
    canvas.text(2 * GAP, 0.7 * canvas.line, canvas.fitting(note, canvas.wide - 4 * GAP),
                fontsize=canvas.small, color=canvas.theme.dim)  # fmt: skip
