"""Gradients to one row of norms, by a plan made once.

A step costs the training thread one `torch._foreach_norm` for each kind of gradient and one
`torch.stack`. What follows (the copy to NumPy, squares, sums and roots) is done on the log's
thread, by `Plan.row`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradmidi.capture.sharded import local
from gradmidi.log import ABSENT

__all__ = ["UNFIT", "Norms", "Plan", "Row"]

Norms = tuple[Tensor, ...]
Row = Callable[[Norms], np.ndarray]

PLAIN = frozenset({torch.float32, torch.float64})

UNFIT = (TypeError, RuntimeError, AttributeError)
"""What is raised where a gradient came, went away, or has another device, layout or dtype."""

LARGE = 2**26
"""Above so many numbers in one tensor, float32 sums on a CPU drift by percents (measured)."""


def _each_norm(
    gradients: list[Tensor], order: float = 2.0, dtype: torch.dtype | None = None
) -> list[Tensor]:
    return [torch.linalg.vector_norm(gradient, order, dtype=dtype) for gradient in gradients]


# Private to torch, and one call where the public function is one for each tensor.
_norms: Callable[..., list[Tensor]] = getattr(torch, "_foreach_norm", _each_norm)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Gradients that one call takes: of one device, dtype and layout."""

    device: torch.device
    dtype: torch.dtype
    sparse: bool
    large: bool
    spread: bool

    @classmethod
    def of(cls, gradient: Tensor) -> "_Kind":
        spread = hasattr(gradient, "placements")
        part = local(gradient) if spread else gradient
        large = part.device.type == "cpu" and part.numel() > LARGE
        return cls(part.device, part.dtype, part.is_sparse, large, spread)

    @property
    def plain(self) -> bool:
        """Whether norms come out right as they are; to ask for a dtype costs time."""
        return self.dtype in PLAIN and not (self.sparse or self.large or self.spread)

    def norms(self, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """Take the norms; half types are summed in float32, where they do not overflow."""
        gradients: list[Any] = [parameter.grad for parameter in parameters]
        if self.spread:
            gradients = [local(gradient) for gradient in gradients]
        if any(gradient.dtype != self.dtype for gradient in gradients):
            raise TypeError("a gradient has another dtype")
        if self.sparse:
            gradients = [gradient.coalesce().values() for gradient in gradients]
        if self.dtype.is_complex or (self.dtype in PLAIN and not self.sparse and not self.large):
            return _norms(gradients)
        return _norms(gradients, 2.0, torch.float64 if self.large else torch.float32)


class Plan:
    """How to read the gradients there are now: made once, applied each step.

    Parameters
    ----------
    members : sequence of (int, Parameter)
        Index of its layer, and a parameter.
    layers : int
        How many layers a row has.
    share : callable, optional
        Tells how much of a gradient's squares counts, see `gradmidi.capture.sharded.share`.

    Attributes
    ----------
    on_host : bool
        Whether all gradients are: then nothing is waited for and nothing captured.
    """

    __slots__ = (
        "_absent",
        "_dtype",
        "_index",
        "_kinds",
        "_layers",
        "_parameters",
        "_resting",
        "_shares",
        "on_host",
    )

    def __init__(
        self,
        members: Sequence[tuple[int, nn.Parameter]],
        layers: int,
        share: Callable[[Any], float] | None = None,
    ) -> None:
        kinds: dict[_Kind, list[tuple[int, nn.Parameter]]] = {}
        resting: list[nn.Parameter] = []
        for layer, parameter in members:
            if parameter.grad is None:
                resting.append(parameter)
            else:
                kinds.setdefault(_Kind.of(parameter.grad), []).append((layer, parameter))
        # In order of devices, as `norms` gives them.
        ordered = sorted(kinds.items(), key=lambda pair: str(pair[0].device))
        self._kinds = [(kind, [p for _, p in own]) for kind, own in ordered]
        self._index = np.array([i for _, own in ordered for i, _ in own], dtype=np.intp)
        self._shares = (
            None
            if share is None
            else np.array([share(p.grad) for _, own in ordered for _, p in own], np.float64)
        )
        self._absent = np.setdiff1d(np.arange(layers), self._index)
        self._layers = layers
        self._resting = resting
        # The usual case, kept flat: it is what each step of most runs pays for.
        usual = len(ordered) == 1 and ordered[0][0].plain
        self._dtype = ordered[0][0].dtype if usual else None
        self._parameters = self._kinds[0][1] if usual else []
        self.on_host = all(kind.device.type == "cpu" for kind, _ in ordered)

    @property
    def single(self) -> bool:
        """Whether one call takes all norms, in their members' order and their own dtype."""
        return bool(self._parameters)

    def norms(self) -> Norms:
        """Read the gradients: one tensor for each device, nothing copied to the host yet.

        Raises
        ------
        One of `UNFIT`
            If the gradients are no longer what the plan was made for.
        """
        for parameter in self._resting:
            if parameter.grad is not None:
                raise TypeError("a parameter that had no gradient has one")
        if self._parameters:
            norms = torch.stack(_norms([parameter.grad for parameter in self._parameters]))
            if norms.dtype is not self._dtype:
                raise TypeError("the gradients have another dtype")
            return (norms.detach() if norms.requires_grad else norms,)
        devices: dict[torch.device, list[Tensor]] = {}
        for kind, parameters in self._kinds:
            devices.setdefault(kind.device, []).extend(kind.norms(parameters))
        return tuple(torch.stack(norms).detach() for norms in devices.values())

    def row(self, norms: Norms) -> np.ndarray:
        """Combine parameters to layers: the root of the sum of squares, in float64.

        Returns
        -------
        ndarray of float64, shape (layers,)
            `ABSENT` where no parameter of a layer had a gradient.
        """
        host = [each.cpu().numpy().astype(np.float64) for each in norms]
        values = host[0] if len(host) == 1 else np.concatenate([*host, np.empty(0)])
        with np.errstate(over="ignore", invalid="ignore"):
            squares = values * values
            if self._shares is not None:
                squares *= self._shares
            row = np.sqrt(np.bincount(self._index, squares, self._layers))
        row[self._absent] = ABSENT
        return row
