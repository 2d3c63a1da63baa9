"""Where the gradients of a step come from, and whether they were changed after clipping."""

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradmidi.capture.norms import Norms, Row

__all__ = ["CHANGED", "Clipped", "Origin", "Turn", "checked", "closure_in", "sample"]

_State = tuple[Tensor | None, int]

FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, partial)


def closure_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | str | None:
    """Find a closure among the arguments of `step`, the first of which is the optimizer.

    A loss, a number, a model or another object goes through untouched.
    """
    for place, each in enumerate(args[1:], 1):
        if isinstance(each, FUNCTIONS):
            return place
    closure = kwargs.get("closure")
    if callable(closure) and not isinstance(closure, (nn.Module, type, Tensor)):
        return "closure"
    return next((name for name, each in kwargs.items() if isinstance(each, FUNCTIONS)), None)


class Origin:
    """Learns from an optimizer's first two steps whether `step` itself calls `backward`.

    So does one that gets its closure beforehand (GSAM's ``set_closure``), or as an object. Before
    such a step there is no gradient, or still that of the step before.

    Attributes
    ----------
    late : bool or None
        Whether it does; None as long as that is not known.
    """

    def __init__(self) -> None:
        self.late: bool | None = None
        self._noted: _State | None = None
        self._asked = False

    def is_late(self, gradient: Callable[[], Tensor | None]) -> bool:
        """Return whether the gradients of the step that begins are made during it.

        Parameters
        ----------
        gradient : callable
            Returns one of the gradients there are.
        """
        noted, self._noted = self._noted, _state(gradient())
        if self.late:
            return True
        self._asked = self._noted[0] is None or _is_same(noted, self._noted)
        if not self._asked and noted is not None:
            self.late, self._noted = False, None
        return self._asked

    def has_come(self, gradient: Callable[[], Tensor | None]) -> bool:
        """Return whether there is a gradient by now that was not there before the step."""
        now = _state(gradient())
        return now[0] is not None and not _is_same(self._noted, now)

    def end(self, gradient: Callable[[], Tensor | None]) -> None:
        """Learn from a step that has ended, unless all is known."""
        if self.late is False:
            return
        now = _state(gradient())
        if self._asked and now[0] is not None:
            self.late = self.has_come(gradient)
        self._asked, self._noted = False, None if self.late is False else now


def _state(gradient: Tensor | None) -> _State:
    return gradient, 0 if gradient is None else gradient._version


def _is_same(before: _State | None, now: _State) -> bool:
    return before is not None and before[0] is now[0] and before[1] == now[1]


CHANGED = (
    "the gradients at the step are not those that clipping left: the norms logged are those at the "
    "step"
)

SAMPLED = 64
"""So many entries of a gradient are compared: `.data` is changed without a trace."""


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
    sampled : Tensor or None
        One of the gradients.
    sample : list or Tensor or None
        A copy of its first entries.
    state : sequence of int
        Identity of each gradient, and how often it had been changed.
    """

    seen: tuple[Norms, Row] | None = None
    given: bool = False
    gradient: Tensor | None = None
    version: int | None = None
    sampled: Tensor | None = None
    sample: Any = None
    state: Sequence[int] = ()

    @classmethod
    def of_given(cls, gradient: Tensor) -> "Clipped":
        """Note the smallest gradient alone, which takes less time than all: they are given."""
        return cls(None, True, gradient, gradient._version)

    def keep(self, gradient: Tensor, parameters: Iterable[nn.Parameter]) -> None:
        """Note the smallest gradient, and the state of all."""
        self.gradient, self.version = gradient, None
        self.state = _states(parameters)

    def is_replaced(self, gradient: Tensor | None, parameters: Iterable[nn.Parameter]) -> bool:
        """Return whether the gradients are others than were noted, the smallest of them given."""
        if self.version is None:
            return _states(parameters) != self.state
        kept = self.gradient
        return kept is None or gradient is not kept or kept._version != self.version


OFTEN = 16
"""Another gradient than the smallest is compared once in so many updates, which costs little."""


class Turn:
    """Chooses whose gradient is compared after clipping: each now and then, until one was changed.

    Examples
    --------
    >>> turn = Turn()
    >>> parameters = [nn.Parameter(torch.tensor(float(i))) for i in range(2)]
    >>> for parameter in parameters:
    ...     parameter.grad = parameter.detach()
    >>> chosen = [turn.next(parameters, None) for _ in range(2 * OFTEN)]
    >>> [gradient.item() for gradient in chosen if gradient is not None]
    [1.0, 0.0]
    """

    __slots__ = ("_at", "stays")

    def __init__(self) -> None:
        self._at = 0
        self.stays = False

    def next(self, parameters: Sequence[nn.Parameter], smallest: Tensor | None) -> Tensor | None:
        """Return a gradient; of another than the smallest the first entries must be at hand."""
        if not self.stays:
            self._at += 1
        turn, rest = divmod(self._at, OFTEN)
        if rest or not parameters:
            return smallest
        gradient = parameters[turn % len(parameters)].grad
        usual = gradient is not None and type(gradient) is Tensor and gradient.is_contiguous()
        return gradient if usual else smallest


_version = operator.attrgetter("_version")


def _states(parameters: Iterable[nn.Parameter]) -> list[int]:
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
