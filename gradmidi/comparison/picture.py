"""The picture of compared runs: a row for each voice and for the loss, a line for each run."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradmidi.comparison.pairs import Layout, Side
from gradmidi.comparison.runs import Departure
from gradmidi.report.canvas import GAP, Canvas, Labels
from gradmidi.report.curves import is_logarithmic
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
    """The norms of one run's voices and its loss in its slots, and their places on the axis.

    `starts` holds for each row where its faults begin; the first also has those of no layer.
    """

    name: str
    places: NDArray[np.float64]
    rows: NDArray[np.float64]
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
    names = [voice.name for voice in layout.voices]
    losses = len(names)
    if any(slot.loss is not None for side in sides for slot in side.slots.played):
        names.append("loss")
    lines = []
    for side, summary in zip(sides, summaries, strict=True):
        slots = side.slots.played
        places = np.array([slot.index for slot in slots]) * layout.width + start
        starts: list[list[float]] = [[] for _ in names]
        for fault in summary.faults:
            at = np.searchsorted([slot.step for slot in slots], fault.steps[0])
            own = losses if fault.logged == "loss" else 0
            for row in {whose.get(layer, 0) for layer in fault.layers} or {own}:
                starts[row].append(float(places[min(int(at), len(slots) - 1)]))
        lines.append(
            _Line(
                side.run.name,
                places,
                np.array(
                    [(*slot.norms, nan if slot.loss is None else slot.loss) for slot in slots]
                ),
                tuple(map(tuple, starts)),
            )
        )
    departures = [each.index * layout.width + start for each in found if each is not None]
    verdicts = [verdict(summary.faults) for summary in summaries]
    labels = Labels([*(line.name for line in lines), *verdicts, *names])
    size = look.inches((WIDTH, 1.6 + 0.3 * len(lines) + ROW * len(names)))
    with labels.fonts():
        canvas = Canvas(size, look.dpi, look.theme, labels)
        _draw(canvas, names, losses, lines, verdicts, departures, by, layout.width)
    save_figure(canvas.figure, path)


def _draw(
    canvas: Canvas,
    rows: Sequence[str],
    losses: int,
    lines: Sequence[_Line],
    verdicts: Sequence[str],
    departures: Sequence[float],
    by: str,
    width: float,
) -> None:
    """Draw all; `losses` is the index of the row of the loss, which may be missing."""
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
    names = [canvas.fitting(name, 0.3 * canvas.wide) for name in rows]
    left = max(0.5, *(canvas.width(name) for name in names)) + 3 * GAP
    ends = canvas.width("0.00012", canvas.small) + 2 * GAP
    inner = canvas.wide - left - ends
    low = 2.6 * line
    each_tall = (top - 0.4 * line - low) / len(rows)
    edges = (
        min(run.places[0] for run in lines),
        max(run.places[-1] for run in lines) + width,
    )
    for row, name in enumerate(names):
        y = top - 0.4 * line - (row + 1) * each_tall
        axes = canvas.axes(left, y + 0.06 * each_tall, inner, 0.86 * each_tall)
        bounds = _row(canvas, axes, lines, row, departures, is_loss=row == losses)
        axes.set_xlim(*edges)
        axes.spines["bottom"].set_visible(True)
        axes.spines["bottom"].set_color(canvas.theme.line)
        canvas.text(left - GAP, y + 0.5 * each_tall, name, ha="right")
        for value, share in zip(bounds, (0.12, 0.86), strict=False):
            look = {"fontsize": canvas.small, "color": canvas.theme.dim}
            canvas.text(left + inner + GAP, y + share * each_tall, number(value, 3), **look)
    _axis(canvas, left, inner, low, edges, by)


def _row(
    canvas: Canvas,
    axes: "Axes",
    lines: Sequence[_Line],
    row: int,
    departures: Sequence[float],
    *,
    is_loss: bool,
) -> tuple[float, ...]:
    """Draw one row of all runs; return the ends of its axis, none without a number."""
    lowest = -np.inf if is_loss else 0.0
    columns = [run.rows[:, row] for run in lines]
    columns = [np.where(np.isfinite(each) & (each > lowest), each, np.nan) for each in columns]
    known = [each[np.isfinite(each)] for each in columns]
    for place in departures:
        axes.axvline(place, color=canvas.theme.fault, linewidth=0.9, linestyle=(0, (6, 3)))
    for index, run in enumerate(lines):
        colour = canvas.theme.runs[index % len(canvas.theme.runs)]
        starts = run.starts[row]
        axes.scatter(
            starts, [0.97] * len(starts), marker="v", s=(0.45 * canvas.points) ** 2, color=colour,
            linewidths=0, transform=axes.get_xaxis_transform(), zorder=4, clip_on=False,
        )  # fmt: skip
    largest = [values.max() for values in known if values.size]
    if not largest:
        return ()
    least, most = min(values.min() for values in known if values.size), max(largest)
    if is_loss and not is_logarithmic(least, most):
        margin = 0.08 * (most - least) or 0.5
        low, high = least - margin, most + margin
    else:
        if not is_loss:
            # A run that explodes is cut off, so that the others can be seen.
            most = min(most, CLIPPED * min(largest))
        factor = (most / least) ** 0.08 if most > least else 1.5
        low, high = least / factor, most * factor
        axes.set_yscale("log")
    axes.set_yticks([])
    axes.set_yticks([], minor=True)
    axes.set_ylim(low, high)
    for index, (run, column) in enumerate(zip(lines, columns, strict=True)):
        style = _style(canvas, index)
        marker = "." if len(column) < 300 else ""
        axes.plot(
            run.places, np.minimum(column, high), linewidth=1.3, marker=marker, markersize=3,
            **style,
        )  # fmt: skip
        above = column > high
        axes.plot(
            run.places[above], np.full(above.sum(), high), "^",
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
