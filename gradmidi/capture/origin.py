"""Where the gradients of a step come from: `backward` before it, a closure, or the step itself."""

from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

__all__ = ["Origin", "closure_in"]

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
