"""Clipping as torch clips, and norms from the same pass over the gradients."""

import contextlib
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import utils

from gradmidi.capture.norms import UNFIT, Norms, Plan, Row, layer_norms
from gradmidi.capture.tap import Tap
from gradmidi.log import ABSENT

__all__ = ["OnePass"]

FOREACH = ("cpu", "cuda")
"""Where torch takes all norms in one call, as a plan does."""

# Private to torch, for want of a public way to clip by a norm that is known.
_scale: Any = getattr(utils, "clip_grads_with_norm_", None)


class OnePass:
    """Clips, and gives the norms to the taps that would have read the same gradients.

    Parameters
    ----------
    layers : int
        How many layers a row has.
    """

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._parameters: list[Any] = []
        self._plan: Plan | None = None
        self._rows: dict[int, tuple[dict[int, nn.Parameter], Row | None]] = {}

    def clip_grad_norm_(
        self,
        parameters: Sequence[Tensor],
        max_norm: float,
        norm_type: float,
        error_if_nonfinite: bool,
        foreach: bool | None,
        *,
        taps: Sequence[Tap],
    ) -> Tensor:
        """Do what `torch.nn.utils.clip_grad_norm_` does, to the last bit.

        Where torch sums in another way than capture does (half types, sparse or mixed
        gradients, another order of norm), the norms take a pass of their own.
        """
        norms = self._norms(parameters) if norm_type == 2 and foreach is None else None
        total: Tensor | None = None if norms is None else torch.linalg.vector_norm(norms, 2.0)
        if norms is None or total is None or (error_if_nonfinite and not total.isfinite()):
            theirs: Callable[..., Tensor] = utils.clip_grad_norm_
            return theirs(parameters, max_norm, norm_type, error_if_nonfinite, foreach)
        for tap in taps:
            row = self._row_of(tap)
            if row is not None:
                tap.clipping(functools.partial(self._read, norms, row))
        _scale(parameters, max_norm, total)
        return total

    def _read(self, norms: Tensor, row: Row) -> tuple[Norms, Row]:
        assert self._plan is not None
        return self._plan.rescued(norms), row

    def _norms(self, parameters: Sequence[Tensor]) -> Tensor | None:
        """Take the norm of each, if torch takes it just so."""
        same = len(parameters) == len(self._parameters) and all(
            map(operator.is_, parameters, self._parameters)
        )
        if not same:
            self._parameters, self._plan = list(parameters), None
        if self._plan is not None:
            with contextlib.suppress(*UNFIT):
                return self._plan.raw_norms()
        if not all(map(_is_usual, self._parameters)):
            self._plan = None
            return None
        plan = Plan(list(enumerate(self._parameters)), len(self._parameters), wide=False)
        usual = _scale is not None and plan.single
        self._plan = plan if usual else None
        self._rows.clear()
        return plan.raw_norms() if usual else None

    def _row_of(self, tap: Tap) -> Row | None:
        """Find what makes a tap's row of these norms; None where it reads others too."""
        own, row = self._rows.get(id(tap), (None, None))
        if own is not tap.own and self._plan is not None:
            given = {id(parameter) for parameter in self._parameters}
            members = tap.members()
            row = None
            if all(id(parameter) in given for _, parameter in members):
                places = self._plan.places
                read = [(i, places[id(p)]) for i, p in members if id(p) in places]
                row = functools.partial(
                    _layered,
                    self._plan.values,
                    index=np.array([layer for layer, _ in read], np.intp),
                    taken=np.array([place for _, place in read], np.intp),
                    layers=self._layers,
                )
            self._rows[id(tap)] = tap.own, row
        return row


def _is_usual(parameter: Tensor) -> bool:
    gradient = parameter.grad
    return gradient is None or (type(gradient) is Tensor and gradient.device.type in FOREACH)


def _layered(
    values: Callable[[Norms], np.ndarray],
    norms: Norms,
    *,
    index: np.ndarray,
    taken: np.ndarray,
    layers: int,
) -> np.ndarray:
    """Combine norms of parameters to a row of layers."""
    combined = layer_norms(values(norms)[taken], index, layers)
    combined[np.setdiff1d(np.arange(layers), index)] = ABSENT
    return combined
