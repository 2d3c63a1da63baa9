"""The trainings of one script, told apart by their optimizers."""

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradmidi.listener.recording import Recording

if TYPE_CHECKING:
    from torch.optim import Optimizer

__all__ = ["Training"]


class Training:
    """Optimizers that are stepped together, and the folder of their run."""

    def __init__(self, number: int, optimizers: Sequence["Optimizer"]) -> None:
        self.number = number
        self.folder: Path | None = None
        self.recording: Recording | None = None
        self._optimizers = [weakref.ref(each) for each in optimizers]

    @property
    def optimizers(self) -> list["Optimizer"]:
        """Optimizers that still exist."""
        return [each for ref in self._optimizers if (each := ref()) is not None]

    def add(self, optimizer: "Optimizer") -> None:
        """Add an optimizer that was created later."""
        self._optimizers.append(weakref.ref(optimizer))
