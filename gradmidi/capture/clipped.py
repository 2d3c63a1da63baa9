"""What clipping left of the gradients, to see at the step whether they were changed since."""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradmidi.capture.norms import Norms, Row

__all__ = ["CHANGED", "Clipped", "checked", "sample"]

CHANGED = (
    "the gradients at the step are not those that clipping left: the norms logged are those at the "
    "step"
)

SAMPLED = 64
"""So many entries of the smallest gradient are compared: `.data` is changed without a trace."""


@dataclass(slots=True)
class Clipped:
    """Gradients that were clipped, or are about to be, and whose step has not come yet.

    Parameters
    ----------
    seen : (Norms, Row) or None
        The norms from before, and what makes a row of them; None where the step is not read.
    given : bool
        Whether the norms were handed over already.
    gradient : Tensor or None
        The smallest of the gradients, kept so that its identity is not used again.
    version : int or None
        How often that one had been changed, if it alone is compared.
    sample : list or Tensor or None
        A copy of its first entries.
    state : sequence of int
        Identity of each gradient, and how often it had been changed.
    """

    seen: tuple[Norms, Row] | None = None
    given: bool = False
    gradient: Tensor | None = None
    version: int | None = None
    sample: Any = None
    state: Sequence[int] = ()

    @classmethod
    def of_given(cls, gradient: Tensor) -> "Clipped":
        """Note the smallest gradient alone, which takes less time than all: they are given."""
        return cls(None, True, gradient, gradient._version)

    def keep(self, gradient: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        """Note the smallest gradient, and the state of all."""
        self.gradient, self.version = gradient, None
        self.state = _state(parameters)

    def is_replaced(self, gradient: Tensor | None, parameters: Iterable[nn.Parameter]) -> bool:
        """Return whether the gradients are others than were noted, the smallest of them given."""
        if self.version is None:
            return _state(parameters) != self.state
        kept = self.gradient
        return kept is None or gradient is not kept or kept._version != self.version


_version = operator.attrgetter("_version")


def _state(parameters: Iterable[nn.Parameter]) -> list[int]:
    """Return the identity of each gradient, and how often it was changed."""
    gradients = [each for parameter in parameters if (each := parameter.grad) is not None]
    return [*map(id, gradients), *map(_version, gradients)]


def sample(gradient: Any) -> Any:
    """Copy a gradient's first entries: a list on the host, else a tensor."""
    if gradient.layout is not torch.strided:
        return None
    first = gradient.to_local() if hasattr(gradient, "placements") else gradient
    if first.numel() > SAMPLED:
        first = first.detach().reshape(-1)[:SAMPLED]
    return first.tolist() if first.is_cpu else first.detach().clone()


def checked(norms: Norms, *, row: Row, missed: Callable[[str], None]) -> np.ndarray:
    """Make a row of norms from before clipping; note if the gradients were changed after it."""
    *before, changed = norms
    if not isinstance(changed, list) and changed.cpu().item():
        missed(CHANGED)
    return row(tuple(before))
