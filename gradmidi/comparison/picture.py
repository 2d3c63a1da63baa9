"""Compared runs as a picture: a voice is a row, a run is a line, a departure a vertical."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gradmidi.comparison.departure import Departure
from gradmidi.comparison.plan import Plan, Side
from gradmidi.errors import GradmidiError
from gradmidi.report.picture import save_figure

__all__ = ["draw"]

COLOURS = ("#1361c4", "#b34700", "#1a7f37", "#8250df", "#9a6700", "#59636e")
STYLES = ("-", "--", "-.", ":")
FAULT_COLOUR = "#c02617"

UNITS = {"step": "step", "examples": "examples", "time": "seconds"}


def draw(
    path: Path,
    plan: Plan,
    pairs: Sequence[tuple[Side, Side]],
    found: Sequence[Departure | None],
    by: str,
) -> None:
    """Draw compared runs, whole or not at all.

    Parameters
    ----------
    path : Path
        The file, ``.png`` or ``.svg``.
    plan : Plan
        How they are laid out.
    pairs : sequence of two Side
        What they sounded.
    found : sequence of Departure or None
        Where the right one of each pair departs; drawn as a vertical.
    by : str
        The clock.

    Raises
    ------
    GradmidiError
        If Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise GradmidiError(
            f"{path.name} needs Matplotlib; install it with: pip install 'gradmidi[plot]'"
        ) from error
    voices = plan.voices
    figure = Figure(figsize=(12, 1.2 + 1.5 * len(voices)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(voices), 1, sharex=True, squeeze=False)[:, 0]
    start = 1.0 if by == "step" else 0.0
    sides = [pairs[0][0], *(right for _, right in pairs)]
    for voice, axes in zip(voices, rows, strict=True):
        for which, side in enumerate(sides):
            places = np.array([slot.index for slot in side.slots.filled]) * plan.width + start
            norms = np.array([slot.norms[voice.index] for slot in side.slots.filled])
            axes.plot(
                places,
                np.where(norms > 0.0, norms, np.nan),
                color=COLOURS[which % len(COLOURS)],
                linestyle=STYLES[which % len(STYLES)],
                linewidth=1.4,
                marker="." if len(places) < 300 else "",
                markersize=3,
                label=_plain(side.entry.name),
            )
        for departed in found:
            if departed is not None:
                axes.axvline(departed.index * plan.width + start, color=FAULT_COLOUR, linewidth=0.9)
        if axes.lines[0].axes.dataLim.height > 0.0:
            axes.set_yscale("log")
        axes.set_ylabel(_plain(voice.name), rotation=0, ha="right", va="center", fontsize=9)
        axes.grid(visible=True, color="#dddddd", linewidth=0.6)
        for spine in ("top", "right"):
            axes.spines[spine].set_visible(False)
    rows[-1].margins(x=0.01)
    rows[-1].set_xlabel(UNITS[by])
    figure.legend(*rows[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    save_figure(figure, path)


def _plain(name: str) -> str:
    """Take the meaning from a name's dollar signs, and most of its length."""
    short = name if len(name) <= 40 else name[:39] + "…"
    return short.replace("$", r"\$")
