"""Norms as a user gives them, by name or in order: checked, and made a row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gradmidi.errors import CaptureError
from gradmidi.log import ABSENT, Layer

__all__ = ["Norms", "Rows"]

Norms = Mapping[str, float | None] | Sequence[float | None]


class Rows:
    """Makes rows of norms for a run's layers.

    Parameters
    ----------
    layers : sequence of Layer
        The layers.

    Examples
    --------
    >>> Rows([Layer("fc1", 0), Layer("fc2", 0)]).row({"fc2": 0.5})
    array([-1. ,  0.5])
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._places = {layer.name: index for index, layer in enumerate(layers)}

    def row(self, norms: Norms) -> np.ndarray:
        """Make a row of one step's norms.

        Raises
        ------
        CaptureError
            If a name is not a layer's, a sequence has another length, or a norm is no number
            or below zero.
        """
        count = len(self._places)
        if isinstance(norms, Mapping):
            row = np.full(count, ABSENT)
            pairs = [(self._place(name), norm) for name, norm in norms.items()]
        else:
            values = list(norms)
            if len(values) != count:
                raise CaptureError(
                    f"frame() was given {_count(len(values), 'norm')}; there are "
                    f"{_count(count, 'layer')}: {_some(self._places)}"
                )
            row = np.empty(count)
            pairs = list(enumerate(values))
        for index, norm in pairs:
            row[index] = ABSENT if norm is None else self._norm(index, norm)
        return row

    def _place(self, name: str) -> int:
        if name not in self._places:
            raise CaptureError(f"no layer is called {name!r}; there are: {_some(self._places)}")
        return self._places[name]

    def _norm(self, index: int, norm: Any) -> float:
        try:
            value = float(norm.detach() if hasattr(norm, "detach") else norm)
        except (TypeError, ValueError, RuntimeError):
            value = ABSENT
        if value < 0.0:
            raise CaptureError(
                f"{norm!r} is no norm (layer {list(self._places)[index]!r}); allowed is a number "
                "of 0 or more, nan, inf, or None for no gradient"
            )
        return value


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
