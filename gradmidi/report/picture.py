"""The file sink for pictures: the heat map of a run, as PNG, SVG or PDF."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradmidi.base.files import WholeFile
from gradmidi.detection.history import FaultLog
from gradmidi.errors import GradmidiError
from gradmidi.log import Frame, Item, RunLog
from gradmidi.log.blocks import Block
from gradmidi.music.events import Event
from gradmidi.music.score import Score
from gradmidi.report.drawing import Drawing, Texts, draw
from gradmidi.report.heatmap import Gatherer, HeatMap
from gradmidi.report.look import Look
from gradmidi.text.summary import verdict
from gradmidi.text.words import count, duration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Picture", "need_matplotlib", "save_figure"]

WIDTH, LOWEST, HIGHEST = 12.0, 5.4, 10.0
"""Inches of a picture by default; the height depends on the number of layers."""


class Picture:
    """File sink for ``.png``, ``.svg`` and ``.pdf``: draws the run's heat map at the end.

    Raises GradmidiError if Matplotlib is not installed.
    """

    def __init__(self, path: Path, score: Score, log: RunLog, look: Look | None = None) -> None:
        need_matplotlib(path)
        self.path = path
        self._score = score
        self._log = log
        self._look = look or Look()
        preset = score.preset
        # With a grid of seconds the score finds a stalled run at other times.
        found = score.fault_log()
        self._own = found is None
        self._faults = found or FaultLog(log.layers, preset.faults, preset.values.which)
        self._running = log.running
        self._heat = Gatherer([layer.name for layer in log.layers], preset.pitch.reference)

    def read(self, item: Item | Block) -> None:
        """Take the next item of the log, or many frames."""
        if isinstance(item, Block):
            if self._own:
                self._faults.add_block(item)
            self._heat.add_block(item)
            return
        if self._own:
            self._faults.add(item)
        if isinstance(item, Frame):
            self._heat.add(item)

    def send(self, events: Sequence[Event]) -> None:
        """Take events; the picture is drawn from the items of the log."""

    def close(self) -> None:
        """Draw the picture, and write the file."""
        tall = min(HIGHEST, max(LOWEST, 4.4 + 0.12 * len(self._log.layers)))
        save_figure(self.draw((WIDTH, tall)).figure, self.path)

    def abort(self) -> None:
        """Write no file."""

    def draw(self, usual: tuple[float, float], *, film: bool = False) -> Drawing:
        """Draw the items so far; `usual` is the width and height in inches if none was given.

        A film does not say at its start how the run ends.
        """
        faults = self._faults.finish(running=self._running)
        heat = self._heat.finish(self._score.voices, faults)
        look = self._look
        return draw(heat, self._texts(heat, film=film), look.inches(usual), look.dpi, look.theme)

    def _texts(self, heat: HeatMap, *, film: bool) -> Texts:
        log = self._log
        model = f"{log.header.model}, " if log.header.model else ""
        about = (
            f"{model}{count(len(log.layers), 'layer')}, {count(log.steps, 'step')} in "
            f"{duration(log.seconds)}, preset {self._score.preset.name}"
        )
        return Texts(log.name, "" if film else verdict(heat.faults), about)


def need_matplotlib(path: Path) -> None:
    """Raise GradmidiError if Matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise GradmidiError(
            f"{path.name} needs Matplotlib; install it with: pip install 'gradmidi[plot]'"
        ) from error


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as ``.png``, ``.svg`` or ``.pdf``, with reproducible bytes."""
    import matplotlib

    kind = path.suffix.lower().removeprefix(".")
    metadata = {
        "png": {"Software": None},
        "svg": {"Date": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }[kind]
    # Matplotlib's PDF writer does not report a full disk as such, so it writes to memory.
    memory = io.BytesIO()
    with matplotlib.rc_context(
        {"svg.hashsalt": "gradmidi", "svg.fonttype": "none", "pdf.fonttype": 42}
    ):
        figure.savefig(memory, format=kind, metadata=metadata)
    with WholeFile(path) as new:
        new.file.write(memory.getvalue())
