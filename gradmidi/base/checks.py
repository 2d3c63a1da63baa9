"""Checks of the values of options; each error says what is allowed."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from gradmidi.errors import CaptureError, GradmidiError, RunLogError

__all__ = [
    "TRACKERS",
    "LayerChoice",
    "SummaryWriter",
    "check_budget",
    "check_count",
    "check_layers",
    "check_scaler",
    "check_tracker",
    "path_of",
    "steps_made",
    "texts",
    "voices_of",
]

LayerChoice = str | Sequence[str] | Mapping[str, str]
"""Layer names or patterns. A mapping is the old form of ``voices=``."""


def path_of(name: str, value: Any, allowed: str) -> Path:
    """Return the path that an option holds."""
    try:
        return Path(value)
    except TypeError:
        raise GradmidiError(f"{name}={value!r}; allowed is {allowed}") from None


def texts(name: str, value: Any, allowed: str) -> tuple[str, ...]:
    """Return the texts that an option holds: none, one or several."""
    found = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(found, Iterable) or not all(isinstance(each, str) for each in found):
        raise GradmidiError(f"{name}={value!r}; allowed are {allowed}")
    return tuple(found)


def check_count(name: str, value: Any) -> None:
    """Raise CaptureError unless an option is a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CaptureError(f"{name}={value!r}; allowed is a whole number of 1 or more")


def check_budget(value: Any) -> None:
    """Raise CaptureError unless a budget is None or a number above 0 and below 1."""
    if value is not None and not (isinstance(value, (int, float)) and 0.0 < value < 1.0):
        raise CaptureError(f"budget={value!r}; allowed is a share above 0 and below 1, as 0.005")


def check_scaler(value: Any) -> None:
    """Raise CaptureError unless a scaler is None or has a method `step`."""
    if value is not None and not callable(getattr(value, "step", None)):
        raise CaptureError(
            f"scaler={type(value).__name__} has no step(optimizer); give a GradScaler or its like"
        )


def check_layers(value: Any) -> None:
    """Raise CaptureError unless layers are None or texts."""
    layers = () if value is None else value
    if not isinstance(layers, Iterable) or not all(isinstance(each, str) for each in layers):
        raise CaptureError(
            f"layers={value!r}; allowed are names or patterns of layers, as ['blocks.*']"
        )


def voices_of(value: Any) -> dict[str, str]:
    """Return the user's own voices: a name and a pattern each."""
    given = {} if value is None else value
    parts = [*given, *given.values()] if isinstance(given, Mapping) else [None]
    if not all(isinstance(each, str) for each in parts):
        raise CaptureError(
            f"voices={given!r}; allowed is a mapping of names to patterns, as {{'top': 'fc*'}}"
        )
    return dict(given)


def steps_made(value: Any) -> int:
    """Return a number of steps as an int; a tensor of one whole number is allowed.

    Examples
    --------
    >>> steps_made(400)
    400
    >>> steps_made(-1)
    Traceback (most recent call last):
    gradmidi.errors.RunLogError: step=-1; allowed is a whole number of 0 or more, the steps made
    """
    try:
        steps = -1 if isinstance(value, bool) else operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        steps = -1
    if steps < 0:
        raise RunLogError(f"step={value!r}; allowed is a whole number of 0 or more, the steps made")
    return steps


TRACKERS = ("wandb", "mlflow")
"""The experiment trackers that ``log_to=`` knows by name."""


class SummaryWriter(Protocol):
    """TensorBoard's `SummaryWriter`, from torch or any other package."""

    def add_audio(self, *args: Any, **kwargs: Any) -> Any:
        """Write a sound."""

    def add_image(self, *args: Any, **kwargs: Any) -> Any:
        """Write a picture."""

    def add_text(self, *args: Any, **kwargs: Any) -> Any:
        """Write a text."""

    def flush(self) -> Any:
        """Write everything to disk."""


WRITER_METHODS = ("add_audio", "add_image", "add_text", "flush")


def check_tracker(value: Any) -> None:
    """Raise GradmidiError if a value is no experiment tracker."""
    if value is None or (isinstance(value, str) and value in TRACKERS):
        return
    if isinstance(value, str) or not all(callable(getattr(value, n, None)) for n in WRITER_METHODS):
        given = repr(value) if isinstance(value, str) else type(value).__name__
        raise GradmidiError(
            f"log_to={given}; allowed is: {', '.join(TRACKERS)}, or a SummaryWriter"
        )
