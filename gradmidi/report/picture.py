"""A run as a picture: the norms on a log axis above, the notes as a piano roll below."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradmidi.base.files import WholeFile
from gradmidi.errors import GradmidiError
from gradmidi.log import RunLog
from gradmidi.music.events import FAULT_VOICE, End, Event, Fault, Mark, Off, On, Step
from gradmidi.music.scale import note_name
from gradmidi.music.score import Score
from gradmidi.report.curves import heard, trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Picture", "save_figure"]

FAULT_COLOUR = "#d4351c"
LABELLED_VOICES = 15
LONGEST_LABEL = 40
DPI = 120

LOG_LOSS = 20.0
"""Loss is drawn on a log axis where its largest is this many times its least."""


class Picture:
    """Draws the events it is sent: a file sink for ``.png`` and ``.svg``.

    Parameters
    ----------
    path : Path
        The file; its ending is the format.
    score : Score
        What the events come from.
    log : RunLog
        The run; its name stands above, and it is read again for the norms, at `draw`.

    Raises
    ------
    GradmidiError
        If Matplotlib is not installed.
    """

    def __init__(self, path: Path, score: Score, log: RunLog) -> None:
        try:
            import matplotlib  # noqa: F401
        except ImportError as error:
            raise GradmidiError(
                f"{path.name} needs Matplotlib; install it with: pip install 'gradmidi[plot]'"
            ) from error
        self.path = path
        self._preset = score.preset
        self._voices = score.voices
        self._log = log
        self._steps: list[Step] = []
        self._notes: list[list[tuple[float, float, float]]] = [[] for _ in self._voices]
        self._sounding: dict[tuple[int, int], list[On]] = {}
        self._faults: list[Fault] = []
        self._marks: list[Mark] = []
        self._end = 0

    def send(self, events: Sequence[Event]) -> None:
        """Remember what is drawn at `close`."""
        for event in events:
            match event:
                case Step():
                    self._steps.append(event)
                case On(voice=voice, note=note) if voice != FAULT_VOICE:
                    self._sounding.setdefault((voice, note), []).append(event)
                case Off(tick=tick, voice=voice, note=note):
                    started = self._sounding.get((voice, note))
                    if started:
                        on = started.pop(0)
                        self._notes[voice].append((on.tick, tick, on.pitch))
                case Fault():
                    self._faults.append(event)
                case Mark(voice=None):
                    self._marks.append(event)
                case End(tick=tick):
                    self._end = tick

    def close(self) -> None:
        """Draw, and write the file whole."""
        figure = self.draw()
        save_figure(figure, self.path)

    def abort(self) -> None:
        """Write no file."""

    def draw(self, inches: tuple[float, float] = (12.0, 7.0)) -> "Figure":
        """Draw what was sent.

        Parameters
        ----------
        inches : tuple of two floats, default (12, 7)
            Width and height, at 120 pixels an inch.

        Returns
        -------
        matplotlib.figure.Figure
            Its first two axes, above and below, share the seconds of the piece.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=inches, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 4])
        colours = _colours(len(self._voices))
        self._draw_norms(above, colours)
        self._draw_notes(below, colours)
        for axes in (above, below):
            axes.grid(visible=True, color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            for spine in ("top", "right"):
                axes.spines[spine].set_visible(False)
            for tick in self._marks:
                axes.axvline(
                    self._seconds(tick.tick), color="#777777", linewidth=0.8, linestyle=":"
                )
        figure.suptitle(_plain(self._log.name, 80), fontsize=13)
        return figure

    def _draw_norms(self, axes: "Axes", colours: Sequence[str]) -> None:
        seconds = [self._seconds(step.tick) for step in self._steps]
        curves = trace(self._log.frames(), self._steps, self._voices, self._log.steps)
        norms = heard(self._steps, curves)
        norms[~(np.isfinite(norms) & (norms > 0.0))] = math.nan
        for voice, colour in zip(self._voices, colours, strict=True):
            axes.plot(
                seconds,
                norms[:, voice.index],
                color=colour,
                linewidth=1.4,
                marker=".",
                markersize=2,
                label=_plain(voice.name, LONGEST_LABEL),
            )
        axes.set_yscale("log")
        axes.set_ylabel("gradient norm")
        loss = [
            (s, step.loss)
            for s, step in zip(seconds, self._steps, strict=True)
            if step.loss is not None and math.isfinite(step.loss)
        ]
        if loss:
            other = axes.twinx()
            values = [value for _, value in loss]
            other.plot(
                [s for s, _ in loss], values, color="#999999", linewidth=1, linestyle="--", zorder=0
            )
            if min(values) > 0.0 and max(values) > LOG_LOSS * min(values):
                other.set_yscale("log")
            other.set_ylabel("loss (dashed)", color="#666666")
            other.spines["top"].set_visible(False)
        for fault in self._faults:
            axes.axvline(self._seconds(fault.tick), color=FAULT_COLOUR, linewidth=0.8)
        if len(self._voices) <= LABELLED_VOICES:
            axes.legend(loc="upper left", bbox_to_anchor=(1.06, 1.0), fontsize=8, frameon=False)

    def _draw_notes(self, axes: "Axes", colours: Sequence[str]) -> None:
        for notes, colour in zip(self._notes, colours, strict=True):
            if not notes:
                continue
            starts = [self._seconds(start) for start, _, _ in notes]
            lengths = [self._seconds(end) - self._seconds(start) for start, end, _ in notes]
            pitches = [pitch for _, _, pitch in notes]
            axes.barh(pitches, lengths, left=starts, height=0.8, color=colour, linewidth=0)
        pitches = [pitch for notes in self._notes for _, _, pitch in notes]
        if pitches:
            low, high = math.floor(min(pitches)), math.ceil(max(pitches))
            ticks = [
                note for note in range(low - low % 12, high + 13, 12) if low - 6 <= note <= high + 6
            ]
            axes.set_yticks(ticks, [note_name(note) for note in ticks])
        labels: dict[int, list[str]] = {}
        for fault in self._faults:
            labels.setdefault(fault.tick, []).append(f"{fault.kind} {fault.layer}".strip())
        for tick, names in labels.items():
            seconds = self._seconds(tick)
            axes.axvline(seconds, color=FAULT_COLOUR, linewidth=0.8)
            axes.annotate(
                _plain(", ".join(dict.fromkeys(names)), LONGEST_LABEL),
                (seconds, 1.0),
                xycoords=("data", "axes fraction"),
                rotation=90,
                va="top",
                ha="right" if tick else "left",
                fontsize=7,
                color=FAULT_COLOUR,
            )
        axes.set_ylabel("note")
        axes.set_xlabel("seconds of the piece")
        axes.set_xlim(0.0, max(self._seconds(self._end), 1e-3))

    def _seconds(self, tick: float) -> float:
        return tick * self._preset.time.tick_seconds


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as ``.png`` or ``.svg``, the same bytes each time."""
    import matplotlib

    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with (
        matplotlib.rc_context({"svg.hashsalt": "gradmidi", "svg.fonttype": "none"}),
        WholeFile(path) as new,
    ):
        figure.savefig(new.file, format=kind, metadata=metadata)


def _plain(text: str, longest: int) -> str:
    """Take the meaning from dollar signs, and what is too long to leave room for a picture."""
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return short.replace("$", r"\$")


def _colours(count: int) -> list[str]:
    import matplotlib
    from matplotlib.colors import to_hex

    palette = matplotlib.colormaps["turbo"]
    return [to_hex(palette(0.08 + 0.84 * i / max(1, count - 1))) for i in range(count)]
