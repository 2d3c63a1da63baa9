"""`Run`: a run on disk, for Python and notebooks, with its norms, faults, description and sound."""

import base64
import html
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gradmidi.detection.history import Fault
from gradmidi.log import ABSENT, RunLog
from gradmidi.music.preset import Preset, load
from gradmidi.music.valuevoices import fitted
from gradmidi.sources.opened import open_log
from gradmidi.sources.selection import Selection
from gradmidi.text.describe import lines_of
from gradmidi.text.faults import verdict
from gradmidi.text.summary import Summary, summarize

__all__ = ["Player", "Run", "describe", "faults", "read"]

PLAYER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Player:
    """A sound that a notebook shows as a player; it does not start by itself.

    Parameters
    ----------
    data : bytes
        An MP3 file.
    label : str
        The name of the player for screen readers.
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
    """A run on disk; printing it describes it, and a notebook also shows player and picture.

    Parameters
    ----------
    run : str or Path
        A folder that holds `run.jsonl`, or the file.

    Attributes
    ----------
    name : str
        The run's name.
    layers : tuple of Layer
        Name and size of each layer, in the order of a frame's norms.
    steps : int
        How many steps the log holds.
    seconds : float
        How long the run took.

    Raises
    ------
    RunLogError
        If there is no such run, it is empty, of another version or no run log.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with gradmidi.record(folder + "/a", layers=["fc1", "fc2"], files=()) as listener:
    ...     for step in range(30):
    ...         listener.frame({"fc1": 0.5, "fc2": 0.0 if step >= 10 else 0.25})
    >>> run = gradmidi.read(folder + "/a")
    >>> run.steps, run.norms().shape
    (30, (30, 2))
    >>> print(str(run).splitlines()[2])
    step 11 to the end: fc2 dead
    """

    def norms(self) -> np.ndarray:
        """Return all norms at once.

        Returns
        -------
        ndarray of float64, shape (steps, layers)
            nan where a layer had no gradient, or where its norm was nan.

        Examples
        --------
        >>> import gradmidi, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with gradmidi.record(folder + "/a", layers=["fc1"], files=()) as listener:
        ...     listener.frame({"fc1": 0.5})
        >>> gradmidi.read(folder + "/a").norms()
        array([[0.5]])
        """
        table = [frame.norms for frame in self.frames()]
        if not table:
            return np.empty((0, len(self.layers)))
        norms = np.stack(table)
        return np.where(norms == ABSENT, np.nan, norms)

    def faults(self, preset: str | Preset = "pentatonic") -> tuple[Fault, ...]:
        """Find the faults of the run, each with its kind, layers, steps, seconds and value.

        Parameters
        ----------
        preset : str or Preset, default "pentatonic"
            Its ``[faults]`` holds the limits.

        Returns
        -------
        tuple of Fault
            In the order in which they began; a fault that lasts is one entry.

        Examples
        --------
        >>> import gradmidi, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with gradmidi.record(folder + "/a", layers=["fc1"], files=()) as listener:
        ...     listener.frame({"fc1": 0.5})
        ...     listener.frame({"fc1": float("nan")})
        >>> (fault,) = gradmidi.read(folder + "/a").faults()
        >>> fault.kind, fault.layers, fault.steps, fault.value
        ('nan', ('fc1',), (2, 2), nan)
        """
        return self._summary(preset).faults

    def to_json(self, preset: str | Preset = "pentatonic") -> str:
        """Return the run's summary as JSON: the run, each layer's numbers, the faults.

        Parameters
        ----------
        preset : str or Preset, default "pentatonic"
            Its ``[faults]`` holds the limits of faults.

        Returns
        -------
        str
            One JSON object with the fields of `gradmidi describe RUN --json`; numbers that are
            not finite are the texts ``"nan"``, ``"inf"`` and ``"-inf"``.

        Examples
        --------
        >>> import gradmidi, json, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with gradmidi.record(folder + "/a", layers=["fc1"], files=()) as listener:
        ...     listener.frame({"fc1": 0.5})
        >>> summary = json.loads(gradmidi.read(folder + "/a").to_json())
        >>> summary["steps"], summary["faults"], summary["layers"][0]["largest"]
        (1, [], 0.5)
        """
        return self._summary(preset).to_json()

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

        Raises
        ------
        RunLogError
            If the run has no steps.
        PresetError
            If the preset cannot be read.

        Examples
        --------
        >>> import gradmidi, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with gradmidi.record(folder + "/a", layers=["fc1"], files=()) as listener:
        ...     listener.frame({"fc1": 0.5})
        >>> gradmidi.read(folder + "/a").audio("hold").label
        'run a'
        """
        # Imported here: reading a run needs no composer.
        from gradmidi._render import render

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.mp3"
            render(self, path, preset=preset, length=length)
            return Player(path.read_bytes(), f"run {self.name}")

    def _summary(self, preset: str | Preset = "pentatonic") -> Summary:
        return _summarize(self, preset)

    def __str__(self) -> str:
        return "\n".join(lines_of(self._summary()))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, layers={len(self.layers)}, steps={self.steps})"

    def _repr_html_(self) -> str:
        text = html.escape(str(self))
        player = self.audio()._repr_html_() + self._picture() if self.steps else ""
        return f"{player}<pre>{text}</pre>"

    def _picture(self) -> str:
        """Return the heat map as an element of HTML; empty where Matplotlib is not installed."""
        from gradmidi._render import render

        if find_spec("matplotlib") is None:
            return ""
        label = html.escape(f"{self.name}: {verdict(self._summary().faults)}", quote=True)
        with tempfile.TemporaryDirectory() as folder:
            (path,) = render(self, Path(folder) / "run.png", dpi=84)
            source = base64.b64encode(path.read_bytes()).decode()
        return f'<img alt="{label}" src="data:image/png;base64,{source}">'


def read(
    run: str | Path,
    *,
    kind: str | None = None,
    columns: Sequence[str] = (),
    values: Sequence[str] = (),
    step: str | None = None,
) -> Run:
    r"""Open a run, or the log of another tool.

    Parameters
    ----------
    run : str or Path
        A folder that holds `run.jsonl`, or the file; ``HOST:RUN``; or the log of another tool, as
        `import_log` takes it, which is converted in a temporary folder.
    kind, columns, values, step
        What to take from the log of another tool, see `import_log`.

    Returns
    -------
    Run

    Raises
    ------
    RunLogError
        If there is no such run, it is empty, of another version, or nothing reads it.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with gradmidi.record(folder + "/a", layers=["fc1"], files=()) as listener:
    ...     listener.frame({"fc1": 0.5})
    >>> gradmidi.read(folder + "/a").layers
    (Layer(name='fc1', size=0),)
    >>> _ = Path(folder, "log.csv").write_text("step,loss\n1,2.5\n2,nan\n")
    >>> [frame.extra for frame in gradmidi.read(folder + "/log.csv").frames()]
    [{'loss': 2.5}, {'loss': nan}]
    """
    selection = Selection(kind, tuple(columns), tuple(values), step)
    return open_log(run, selection, Run)


def describe(run: RunLog | str | Path, preset: str | Preset = "pentatonic") -> Iterator[str]:
    """Describe a run in lines of text: a summary, the faults, then each layer's numbers.

    Parameters
    ----------
    run : Run or str or Path
        A run as `gradmidi.read` gives it, or what that opens: a run's folder, or the log of
        another tool; it may still go on.
    preset : str or Preset, default "pentatonic"
        Its ``[faults]`` holds the limits of faults.

    Yields
    ------
    str
        A line of plain text that makes sense on its own.

    Raises
    ------
    RunLogError, PresetError
        If the run or the preset cannot be read.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with gradmidi.record(folder + "/a", layers=["fc1"], files=()) as listener:
    ...     listener.frame({"fc1": 0.5})
    ...     listener.frame({"fc1": float("nan")})
    >>> for line in list(gradmidi.describe(folder + "/a"))[1:]:
    ...     print(line)
    1 fault
    step 2 to the end: fc1 nan
    fc1: first 0.5, median 0.5, last 0.5, largest 0.5 at step 1
    fc1: nan at 1 step, first at step 2
    """
    log = run if isinstance(run, RunLog) else read(run)
    yield from lines_of(_summarize(log, preset))


def faults(run: RunLog | str | Path, preset: str | Preset = "pentatonic") -> tuple[Fault, ...]:
    """Find the faults of a run, each with its kind, layers, steps, seconds and value.

    Parameters
    ----------
    run : Run or str or Path
        A run as `gradmidi.read` gives it, or what that opens: a run's folder, or the log of
        another tool; it may still go on.
    preset : str or Preset, default "pentatonic"
        Its ``[faults]`` holds the limits.

    Returns
    -------
    tuple of Fault
        In the order in which they began; a fault that lasts is one entry.

    Raises
    ------
    RunLogError, PresetError
        If the run or the preset cannot be read.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with gradmidi.record(folder + "/a", layers=["fc1", "fc2"], files=()) as listener:
    ...     for step in range(30):
    ...         listener.frame({"fc1": 0.5, "fc2": 0.0 if step >= 10 else 0.25})
    >>> for fault in gradmidi.faults(folder + "/a"):
    ...     print(fault.kind, fault.layers, fault.steps, fault.to_the_end)
    dead ('fc2',) (11, 30) True
    """
    log = run if isinstance(run, RunLog) else read(run)
    return _summarize(log, preset).faults


def _summarize(log: RunLog, preset: str | Preset) -> Summary:
    chosen = fitted(load(preset), log.header)
    return summarize(log, chosen.faults, chosen.values.which)
