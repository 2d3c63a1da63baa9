"""The experiment trackers that ``log_to=`` takes."""

from typing import Any, Protocol

from gradmidi.errors import GradmidiError

__all__ = ["TRACKERS", "SummaryWriter", "check_tracker"]

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
