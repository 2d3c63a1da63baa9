"""Where teams look: a run's sound, picture and faults for the tools that keep experiments."""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gradmidi.base.versions import framework
from gradmidi.errors import CaptureError
from gradmidi.options import SummaryWriter

__all__ = ["Give", "Shown", "Tracker", "tracker"]

TAG = "gradmidi"


@dataclass(frozen=True, slots=True)
class Shown:
    """What is given of a run.

    Parameters
    ----------
    sound, picture, text : Path
        A WAV, a PNG, and the run told in lines, its faults last.
    """

    sound: Path
    picture: Path
    text: Path


Give = Callable[[Shown], None]


@dataclass(frozen=True, slots=True)
class Tracker:
    """A tool that keeps experiments.

    Parameters
    ----------
    name : str
        What it is called.
    active : callable
        Finds its active run, on the thread that made it, and returns what gives to it, which
        may be called on any thread. Both raise what went wrong.
    lasting : bool, default False
        Whether what it returns gives to a run that has ended since.
    """

    name: str
    active: Callable[[], Give]
    lasting: bool = False


def _wandb() -> Give:
    wandb = _module("wandb")
    run = wandb.run
    if run is None:
        raise CaptureError("no run of wandb is active; close before wandb.finish()")

    def give(shown: Shown) -> None:
        text = f"<pre>{html.escape(shown.text.read_text(encoding='utf-8'))}</pre>"
        run.log(
            {
                f"{TAG}/sound": wandb.Audio(str(shown.sound)),
                f"{TAG}/picture": wandb.Image(str(shown.picture)),
                f"{TAG}/faults": wandb.Html(text, inject=False),
            }
        )

    return give


def _mlflow() -> Give:
    mlflow = _module("mlflow")
    run = mlflow.active_run()
    if run is None:
        raise CaptureError("no run of MLflow is active; close before mlflow.end_run()")
    client = mlflow.MlflowClient()

    def give(shown: Shown) -> None:
        for path in (shown.sound, shown.picture, shown.text):
            client.log_artifact(run.info.run_id, str(path), TAG)

    return give


def _summary(writer: SummaryWriter) -> Give:
    def give(shown: Shown) -> None:
        import numpy as np
        import soundfile
        from PIL import Image

        samples, rate = soundfile.read(shown.sound, dtype="float32", always_2d=True)
        # TensorBoard's sounds have one channel.
        writer.add_audio(f"{TAG}/sound", samples.mean(axis=1)[None], sample_rate=rate)
        with Image.open(shown.picture) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        writer.add_image(f"{TAG}/picture", pixels, dataformats="HWC")
        # It reads Markdown, where an indented line stands as it is.
        lines = shown.text.read_text(encoding="utf-8").splitlines()
        writer.add_text(f"{TAG}/faults", "\n".join(f"    {line}" for line in lines))
        writer.flush()

    return give


@dataclass(frozen=True, slots=True)
class _Named:
    """A tracker that is known by name.

    Parameters
    ----------
    active : callable
        As of a `Tracker`.
    packages : tuple of str
        Those that have it, as pip calls them, the usual one first.
    least : str
        The oldest version that will do.
    lasting : bool, default False
        As of a `Tracker`.
    """

    active: Callable[[], Give]
    packages: tuple[str, ...]
    least: str
    lasting: bool = False


TRACKERS: Mapping[str, _Named] = {
    "wandb": _Named(_wandb, ("wandb",), "0.18"),
    "mlflow": _Named(_mlflow, ("mlflow", "mlflow-skinny"), "2.0", lasting=True),
}


def tracker(log_to: "str | SummaryWriter | None") -> Tracker | None:
    """Find a tracker, before anything is trained.

    Parameters
    ----------
    log_to : {"wandb", "mlflow"} or SummaryWriter or None
        As for `gradmidi.listen`.

    Returns
    -------
    Tracker or None
        None where there is none to give to.

    Raises
    ------
    CaptureError
        If it is not installed or too old, or Matplotlib is not there to make the picture.
    """
    if log_to is None:
        return None
    if isinstance(log_to, str):
        _module(log_to)
        found = Tracker(log_to, TRACKERS[log_to].active, TRACKERS[log_to].lasting)
    else:
        found = Tracker("TensorBoard", partial(_summary, log_to))
    if find_spec("matplotlib") is None:
        raise CaptureError("log_to= needs Matplotlib for the picture: pip install 'gradmidi[plot]'")
    return found


def _module(name: str) -> Any:
    known = TRACKERS[name]
    return framework(name, known.packages, known.least)
