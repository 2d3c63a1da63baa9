"""What a run is also sent to: live output, and an experiment tracker at the run's end."""

import contextlib
import html
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gradmidi.base.checks import SummaryWriter
from gradmidi.base.environment import framework
from gradmidi.base.messages import Warnings, say, warn
from gradmidi.errors import CaptureError, GradmidiError
from gradmidi.listener.ending import DeferredInterrupt, Rendering, command
from gradmidi.live.feed import Live, NoPlayerError
from gradmidi.options import Options

__all__ = ["FEED_SECONDS", "Artifacts", "Outputs", "Tracker", "Upload", "tracker"]

TAG = "gradmidi"

PIECE_SECONDS = 8
"""Length of the uploaded piece; its last note may last two seconds longer."""

RENDER_SECONDS = 120.0
"""A rendering process that takes longer than this is killed."""


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The files to upload.

    Parameters
    ----------
    sound, picture, text : Path
        A WAV, a PNG, and the description of the run with its faults.
    """

    sound: Path
    picture: Path
    text: Path


Send = Callable[[Artifacts], None]


@dataclass(frozen=True, slots=True)
class Tracker:
    """An experiment tracker.

    Parameters
    ----------
    name : str
        Name of the tracker in messages.
    active : callable
        Finds the tracker's active run, on the thread that started it, and returns a function that
        uploads to it from any thread. Both raise on failure.
    after_end : bool, default False
        Whether that function works after the tracker's run has ended.
    """

    name: str
    active: Callable[[], Send]
    after_end: bool = False


def _wandb() -> Send:
    wandb = _module("wandb")
    run = wandb.run
    if run is None:
        raise CaptureError("no run of wandb is active; close before wandb.finish()")

    def send(artifacts: Artifacts) -> None:
        text = f"<pre>{html.escape(artifacts.text.read_text(encoding='utf-8'))}</pre>"
        run.log(
            {
                f"{TAG}/sound": wandb.Audio(str(artifacts.sound)),
                f"{TAG}/picture": wandb.Image(str(artifacts.picture)),
                f"{TAG}/faults": wandb.Html(text, inject=False),
            }
        )

    return send


def _mlflow() -> Send:
    mlflow = _module("mlflow")
    run = mlflow.active_run()
    if run is None:
        raise CaptureError("no run of MLflow is active; close before mlflow.end_run()")
    client = mlflow.MlflowClient()

    def send(artifacts: Artifacts) -> None:
        for path in (artifacts.sound, artifacts.picture, artifacts.text):
            client.log_artifact(run.info.run_id, str(path), TAG)

    return send


def _summary(writer: SummaryWriter) -> Send:
    def send(artifacts: Artifacts) -> None:
        import numpy as np
        import soundfile
        from PIL import Image

        samples, rate = soundfile.read(artifacts.sound, dtype="float32", always_2d=True)
        # TensorBoard's sounds have one channel.
        writer.add_audio(f"{TAG}/sound", samples.mean(axis=1)[None], sample_rate=rate)
        with Image.open(artifacts.picture) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        writer.add_image(f"{TAG}/picture", pixels, dataformats="HWC")
        # TensorBoard renders Markdown, in which indented lines are literal.
        lines = artifacts.text.read_text(encoding="utf-8").splitlines()
        writer.add_text(f"{TAG}/faults", "\n".join(f"    {line}" for line in lines))
        writer.flush()

    return send


@dataclass(frozen=True, slots=True)
class _Named:
    """A tracker with a name: the fields of `Tracker`, its packages, the oldest version."""

    active: Callable[[], Send]
    packages: tuple[str, ...]
    least: str
    after_end: bool = False


NAMED: Mapping[str, _Named] = {
    "wandb": _Named(_wandb, ("wandb",), "0.18"),
    "mlflow": _Named(_mlflow, ("mlflow", "mlflow-skinny"), "2.0", after_end=True),
}


def tracker(log_to: "str | SummaryWriter | None") -> Tracker | None:
    """Return the tracker for ``log_to=``, or None; called before training starts.

    Raises
    ------
    CaptureError
        If the tracker is not installed or too old, or Matplotlib is not installed.
    """
    if log_to is None:
        return None
    if isinstance(log_to, str):
        _module(log_to)
        found = Tracker(log_to, NAMED[log_to].active, NAMED[log_to].after_end)
    else:
        found = Tracker("TensorBoard", partial(_summary, log_to))
    if find_spec("matplotlib") is None:
        raise CaptureError("log_to= needs Matplotlib for the picture: pip install 'gradmidi[plot]'")
    return found


def _module(name: str) -> Any:
    known = NAMED[name]
    return framework(name, known.packages, known.least)


class Upload:
    """Renders a short sound, the picture and the text of a run, and uploads them to a tracker.

    It runs on a thread, because a tracker may wait for its server for a long time.

    Parameters
    ----------
    folder : Path
        The run's folder.
    options : Options
        Provides the preset.
    tracker : Tracker
        The tracker.
    warnings : Warnings
        Counts the run-time errors.
    """

    def __init__(
        self, folder: Path, options: Options, tracker: Tracker, warnings: Warnings
    ) -> None:
        # Make the path absolute, since the script may change its folder.
        self._folder = folder.absolute()
        self._options = options
        self._tracker = tracker
        self._warnings = warnings
        self._error: Exception | None = None
        self._send: Send | None = None
        if tracker.after_end:
            # Some frameworks, such as Transformers, end the tracker's run before this run's end.
            with contextlib.suppress(Exception):
                self._send = tracker.active()
        self._decided = threading.Event()
        # Start the thread now: some Python versions start no threads while the program exits.
        self._thread = threading.Thread(target=self._work, name="gradmidi log_to", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Start the upload, if the tracker's run is active or still accepts data."""
        try:
            self._send = self._tracker.active()
        except Exception as error:
            if self._send is None:
                self._error = error
        self._decided.set()

    def cancel(self, why: str) -> None:
        """Upload nothing, and say why."""
        self._send = None
        self._decided.set()
        say(f"log_to: nothing is uploaded, because {why}")

    def finish(self, interrupt: DeferredInterrupt, seconds: float) -> None:
        """Wait at most `seconds` for the upload, and report the result."""
        if not interrupt.wait(self._done, seconds):
            say(f"still uploading to {self._tracker.name}")
        elif self._error is None:
            say(f"uploaded sound, picture and faults to {self._tracker.name}")
        else:
            self._warnings.note("log_to", self._error, "the run itself is complete")

    def _done(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        self._decided.wait()
        if self._send is None:
            return
        try:
            with TemporaryDirectory(prefix="gradmidi-", ignore_cleanup_errors=True) as folder:
                paths = [Path(folder) / f"run.{ending}" for ending in ("wav", "png", "txt")]
                self._render(paths)
                self._send(Artifacts(*paths))
        except Exception as error:
            self._error = error

    def _render(self, paths: list[Path]) -> None:
        line = command(self._folder, paths, self._options)
        rendering = Rendering([*line, "--length", f"{PIECE_SECONDS}s"])
        try:
            if not rendering.wait(RENDER_SECONDS):
                rendering.stop()
                raise GradmidiError(f"rendering took longer than {RENDER_SECONDS:.0f} s")
            if error := rendering.error():
                raise GradmidiError(error)
        finally:
            rendering.leave()


FEED_SECONDS = 2.0
"""How long live output may take to end."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Live output and tracker of a run.

    Parameters
    ----------
    feeds : tuple of Live
        Live outputs.
    tracker : Tracker or None
        The tracker to which the run is uploaded at its end.
    """

    feeds: tuple[Live, ...] = ()
    tracker: Tracker | None = None

    @classmethod
    def of(cls, options: Options) -> "Outputs":
        """Find the tracker and open live output.

        Raises
        ------
        GradmidiError
            If a port, an address or a tracker is not available.
        """
        found = tracker(options.log_to)
        session = options.session()
        try:
            return cls((Live(session),) if session.sounds else (), found)
        except NoPlayerError as error:
            warn(f"{error}: no sound, everything else continues")
            return cls((), found)

    def close(self) -> None:
        """Close live output."""
        for feed in self.feeds:
            feed.close(FEED_SECONDS)
