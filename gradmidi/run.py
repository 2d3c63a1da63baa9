"""A run as a person holds it in Python or in a notebook: its log, its numbers, its sound."""

import base64
import html
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradmidi._render import render
from gradmidi.log import ABSENT, RunLog
from gradmidi.music.preset import Preset
from gradmidi.text.describe import describe

__all__ = ["Player", "Run", "read"]

PLAYER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Player:
    """A sound that a notebook shows as a player; it does not start by itself.

    Parameters
    ----------
    data : bytes
        An MP3 file.
    label : str
        What a screen reader says of it.
    """

    data: bytes
    label: str

    def _repr_html_(self) -> str:
        source = base64.b64encode(self.data).decode()
        label = html.escape(self.label, quote=True)
        return (
            f'<audio controls preload="metadata" aria-label="{label}" '
            f'src="data:audio/mpeg;base64,{source}"></audio>'
        )


class Run(RunLog):
    """A run on disk: iterate over its frames, see it described, hear it.

    Parameters
    ----------
    run : str or Path
        A folder that holds `run.jsonl`, or the file.

    Raises
    ------
    RunLogError
        If there is no such run, it is empty, of another version or no run log.
    """

    def norms(self) -> np.ndarray:
        """Return all norms at once.

        Returns
        -------
        ndarray of float64, shape (steps, layers)
            nan where a layer had no gradient, or where its norm was nan.
        """
        table = [frame.norms for frame in self.frames()]
        if not table:
            return np.empty((0, len(self.layers)))
        norms = np.stack(table)
        return np.where(norms == ABSENT, np.nan, norms)

    def audio(
        self, preset: str | Preset = "pentatonic", *, length: float | str | None = PLAYER_SECONDS
    ) -> Player:
        """Render the run as a sound that a notebook shows as a player.

        Parameters
        ----------
        preset : str or Preset, default "pentatonic"
            How norms become music.
        length : float or "full", default 30
            Seconds to fit the run to; a shorter run keeps its length.

        Returns
        -------
        Player
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.mp3"
            render(self, path, preset=preset, length=length)
            return Player(path.read_bytes(), f"run {self.name}")

    def __str__(self) -> str:
        return "\n".join(describe(self))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, layers={len(self.layers)}, steps={self.steps})"

    def _repr_html_(self) -> str:
        text = html.escape(str(self))
        player = self.audio()._repr_html_() if self.steps else ""
        return f"{player}<pre>{text}</pre>"


def read(run: str | Path) -> Run:
    """Open a run.

    Parameters
    ----------
    run : str or Path
        A folder that holds `run.jsonl`, or the file.

    Returns
    -------
    Run

    Raises
    ------
    RunLogError
        If there is no such run, it is empty, of another version or no run log.
    """
    return Run(run)
