"""Size of updates: how far a step moved the weights of each layer, divided by their size.

The weights are copied before the step, into buffers that are kept, and compared after it: on
their device, without waiting for it. Of a large parameter an evenly spread sample is copied.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradmidi.capture.norms import Norms, Row, layer_norms
from gradmidi.capture.readout import Readout
from gradmidi.capture.sharded import part
from gradmidi.log import ABSENT

__all__ = ["SAMPLE", "Updates"]

SAMPLE = 2**18
"""Of a parameter with more entries than this, every second, third … run of `RUN` entries is
compared, so that at least this many are."""

RUN = 1024

HALF = (torch.float16, torch.bfloat16)

Members = Sequence[tuple[int, nn.Parameter]]


class Updates:
    """Measures each nth update of one optimizer, the first one included.

    Parameters
    ----------
    every : int
        Which updates are measured.
    layers : int
        How many layers a row has.
    share : callable, optional
        Returns how much of a parameter's squares counts, see `gradmidi.capture.sharded.share`.
    """

    def __init__(
        self, every: int, layers: int, share: Callable[[Any], float] | None = None
    ) -> None:
        self._every = every
        self._layers = layers
        self._share = share
        self._since = every
        self._members: Members = ()
        self._kept: list[Tensor] = []
        self._old: list[Tensor] = []
        self._error: Exception | None = None
        self._readout = Readout()

    @property
    def are_due(self) -> bool:
        """Whether the coming update is to be measured."""
        return self._since >= self._every

    def count(self) -> None:
        """Count an update."""
        self._since += 1

    @torch.no_grad()
    def begin(self, members: Members) -> None:
        """Copy the weights before the step; never raise."""
        self._since = 0
        self._error = None
        try:
            self._members = members
            parts = [_sampled(parameter) for _, parameter in members]
            if not _fit(self._kept, parts):
                self._kept = [
                    torch.empty_like(each, memory_format=torch.contiguous_format) for each in parts
                ]
            torch._foreach_copy_(self._kept, parts)
            self._old = _norms(parts)
        except Exception as error:
            self._error, self._kept = error, []

    @torch.no_grad()
    def end(self) -> tuple[Norms, Row]:
        """Compare the weights after the step; never raise.

        Returns
        -------
        (Norms, callable)
            What was measured, and what makes a row of it: how far each layer moved, then the size
            of its weights, `ABSENT` where none of its weights were updated.
        """
        try:
            if self._error is not None:
                raise self._error
            parts = [_sampled(parameter) for _, parameter in self._members]
            torch._foreach_sub_(self._kept, parts)
            norms = [*_norms(self._kept), *self._old]
            devices: dict[torch.device, list[int]] = {}
            for place, norm in enumerate(norms):
                devices.setdefault(norm.device, []).append(place)
            stacked = [torch.stack([norms[i].double() for i in own]) for own in devices.values()]
            row = partial(
                _row,
                order=np.array([i for own in devices.values() for i in own], np.intp),
                index=np.array([layer for layer, _ in self._members], np.intp),
                weights=np.array(list(map(self._weight, self._members, parts))),
                layers=self._layers,
            )
            return tuple(map(self._readout.later, stacked)), row
        except Exception as error:
            # All ranks of a sharded run have to take part: the thread that reads it raises.
            self._kept = []
            return (), partial(_failed, error=error)

    def _weight(self, member: tuple[int, nn.Parameter], sampled: Tensor) -> float:
        """Return by how much the squares of a parameter's sample are multiplied."""
        parameter = member[1]
        whole = part(parameter).numel()
        share = 1.0 if self._share is None else self._share(parameter)
        weight: float = share * whole / max(1, sampled.numel())
        return weight


def _sampled(parameter: Any) -> Tensor:
    """Return a view of a parameter's entries, or of an evenly spread sample of them."""
    own: Tensor = part(parameter).detach()
    count = own.numel()
    if count < 2 * SAMPLE or not own.is_contiguous():
        return own
    runs = count // RUN
    return own.view(-1)[: runs * RUN].view(runs, RUN)[:: count // SAMPLE]


def _fit(kept: Sequence[Tensor], parts: Sequence[Tensor]) -> bool:
    return len(kept) == len(parts) and all(
        a.shape == b.shape and a.dtype == b.dtype and a.device == b.device
        for a, b in zip(kept, parts, strict=True)
    )


def _norms(parts: Sequence[Tensor]) -> list[Tensor]:
    return [
        torch.linalg.vector_norm(each, dtype=torch.float32 if each.dtype in HALF else None)
        for each in parts
    ]


def _row(
    norms: Norms, *, order: np.ndarray, index: np.ndarray, weights: np.ndarray, layers: int
) -> np.ndarray:
    values = np.empty(len(order))
    values[order] = np.concatenate(list(map(_host, norms)))
    moved, old = np.split(values, 2)
    rows = [layer_norms(each, index, layers, weights) for each in (moved, old)]
    absent = np.setdiff1d(np.arange(layers), index)
    for row in rows:
        row[absent] = ABSENT
    return np.concatenate(rows)


def _host(norms: Any) -> np.ndarray:
    host: np.ndarray = norms.cpu().numpy()
    return host


def _failed(_norms: Norms, *, error: Exception) -> np.ndarray:
    raise error
