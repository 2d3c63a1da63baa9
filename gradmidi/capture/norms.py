"""Gradients to one row of norms for each update, by a plan made once.

A step costs the training thread one `torch._foreach_norm` for each kind of gradient and one
`torch.stack`; few norms on the host are read one by one instead, which takes less time. What
follows (the copy to NumPy, squares, sums and roots) is done on the log's thread, by `Plan.row`.

Squares of float32 leave its range where a gradient's entries are below 1e-19 or above 1e19. On
the CPU such norms are taken again, from entries divided by the largest of them. On a CUDA device,
where looking at a norm would wait for the device, all are summed in float64.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradmidi.capture.sharded import local
from gradmidi.log import ABSENT

__all__ = ["UNFIT", "Norms", "Plan", "Row", "divided", "layer_norms"]

Norms = tuple[Tensor | list[float], ...]
"""The norms of one update, not combined yet: a list where they are few and on the host."""

Row = Callable[[Norms], np.ndarray]

FULL = frozenset({torch.float32, torch.float64})

UNFIT = (TypeError, RuntimeError, AttributeError)
"""Raised where a gradient came, went away, or has another device, layout or dtype."""

LARGE, PART = 2**26, 2**18
"""Above so many entries float32 sums on a CPU are off by 0.4 % or more: parts are summed."""

LOWEST = {torch.float64: 1e-150}
LOWEST_OF_OTHERS = 1e-18
"""Norms below this may have lost squares that are smaller than the smallest number of the type."""

INFINITE, FEW = float("inf"), 64


def _each_norm(gradients: list[Tensor], order: float = 2.0, dtype: Any = None) -> list[Tensor]:
    return [torch.linalg.vector_norm(gradient, order, dtype=dtype) for gradient in gradients]


_read: Callable[[Tensor], float] = Tensor.item

# Private to torch, and one call where the public function is one for each tensor.
_norms: Callable[..., list[Tensor]] = getattr(torch, "_foreach_norm", _each_norm)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Gradients that one call takes: of one device, dtype and layout."""

    device: torch.device
    dtype: torch.dtype
    sparse: bool
    large: bool
    sharded: bool
    wide: bool
    lowest: float | None

    @classmethod
    def of(cls, gradient: Tensor, wide: bool) -> "_Kind":
        sharded = hasattr(gradient, "placements")
        part = local(gradient) if sharded else gradient
        on_host = part.device.type == "cpu"
        large = on_host and part.numel() > LARGE
        wide = wide and part.device.type == "cuda" and not part.dtype.is_complex
        lowest = LOWEST.get(part.dtype, LOWEST_OF_OTHERS) if on_host else None
        return cls(part.device, part.dtype, part.is_sparse, large, sharded, wide, lowest)

    @property
    def plain(self) -> bool:
        """Whether norms come out right as they are; to ask for a dtype costs time."""
        return self.dtype in FULL and not (self.sparse or self.large or self.sharded or self.wide)

    @property
    def _sums(self) -> torch.dtype | None:
        """The dtype that squares are summed in; None for the gradients' own."""
        if self.wide:
            return torch.float64
        own = self.dtype.is_complex or (self.dtype in FULL and not self.sparse)
        return None if own else torch.float32

    def norms(self, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """Take the norms; half types are summed in float32, where they do not overflow."""
        gradients = self._parts(parameters)
        options = () if self._sums is None else (2.0, self._sums)
        if not self.large:
            return _norms(gradients, *options)
        parts = [_norms(list(each.reshape(-1).split(PART)), *options) for each in gradients]
        return [torch.linalg.vector_norm(torch.stack(each)) for each in parts]

    def _parts(self, parameters: Sequence[nn.Parameter]) -> list[Any]:
        gradients: list[Any] = [parameter.grad for parameter in parameters]
        if self.sharded:
            gradients = [local(gradient) for gradient in gradients]
        if any(gradient.dtype != self.dtype for gradient in gradients):
            raise TypeError("a gradient has another dtype")
        if self.sparse:
            gradients = [gradient.coalesce().values() for gradient in gradients]
        return gradients

    def rescued(self, norms: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Take those norms again that are 0, tiny or infinite, where that costs no waiting.

        Returns
        -------
        Tensor
            `norms` itself where all are in range, else one of float64.
        """
        if (lowest := self.lowest) is None:
            return norms
        array = norms.numpy()
        if lowest <= array.min() and array.max() < INFINITE:
            return norms
        places = np.flatnonzero((array < lowest) | (array == INFINITE)).tolist()
        if not places:
            return norms
        again = norms.double()
        for place, part in zip(places, self._parts([parameters[i] for i in places]), strict=True):
            again[place] = _scaled_norm(part)
        return again


def _scaled_norm(gradient: Tensor) -> Tensor:
    """Take a norm of entries that are divided by the largest of them, then multiply it back."""
    if not gradient.numel():
        # A shard may be empty; torch refuses the largest entry of none.
        return torch.zeros((), dtype=torch.float64)
    largest = _norms([gradient.detach()], INFINITE)[0].double()
    if not 0.0 < largest.item() < INFINITE:
        return largest
    wide = gradient.detach().to(torch.complex128 if gradient.is_complex() else torch.float64)
    norm: Tensor = torch.linalg.vector_norm(wide / largest) * largest
    return norm


class Plan:
    """How to read the gradients there are now: made once, applied each step.

    Parameters
    ----------
    members : sequence of (int, Parameter)
        Index of its layer, and a parameter.
    layers : int
        How many layers a row has.
    share : callable, optional
        Returns how much of a parameter's squares counts, see `gradmidi.capture.sharded.share`.
    wide : bool, default True
        Whether norms on a device are summed in float64; otherwise they are torch's to the last bit.

    Attributes
    ----------
    on_host : bool
        Whether all gradients are: then nothing is waited for and no CUDA graph records the work.
    """

    __slots__ = (
        "_absent",
        "_dtype",
        "_index",
        "_kinds",
        "_layers",
        "_lowest",
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
        *,
        wide: bool = True,
    ) -> None:
        kinds: dict[_Kind, list[tuple[int, nn.Parameter]]] = {}
        resting: list[nn.Parameter] = []
        for layer, parameter in members:
            if parameter.grad is None:
                resting.append(parameter)
            else:
                kinds.setdefault(_Kind.of(parameter.grad, wide), []).append((layer, parameter))
        # In order of devices, as `norms` gives them.
        ordered = sorted(kinds.items(), key=lambda pair: str(pair[0].device))
        self._kinds = [(kind, [p for _, p in own]) for kind, own in ordered]
        self._index = np.array([i for _, own in ordered for i, _ in own], dtype=np.intp)
        self._shares = (
            None
            if share is None
            else np.array([share(p) for _, own in ordered for _, p in own], np.float64)
        )
        self._absent = np.setdiff1d(np.arange(layers), self._index)
        self._layers = layers
        self._resting = resting
        # The usual case, kept flat: it is what each step of most runs pays for.
        usual = len(ordered) == 1 and ordered[0][0].plain
        self._dtype = ordered[0][0].dtype if usual else None
        self._parameters = self._kinds[0][1] if usual else []
        # Few norms are looked at as a list, which takes less time than an array.
        few = usual and len(self._parameters) <= FEW
        self._lowest = ordered[0][0].lowest if few else None
        self.on_host = all(kind.device.type == "cpu" for kind, _ in ordered)

    @property
    def single(self) -> bool:
        """Whether one call takes all norms, in their members' order and their own dtype."""
        return bool(self._parameters)

    @property
    def absent(self) -> frozenset[int]:
        """The layers that had no gradient when the plan was made."""
        return frozenset(self._absent.tolist())

    def norms(self) -> Norms:
        """Read the gradients; nothing is copied from a device yet.

        Raises
        ------
        One of `UNFIT`
            If the gradients are no longer what the plan was made for.
        """
        if self._resting:
            self._check_resting()
        if self._parameters:
            each = _norms([parameter.grad for parameter in self._parameters])
            if (lowest := self._lowest) is not None and each[0].dtype is self._dtype:
                values = list(map(_read, each))
                if lowest <= min(values) and max(values) < INFINITE:
                    return (values,)
            return self.rescued(self._stacked(each))
        devices: dict[torch.device, list[Tensor]] = {}
        for kind, parameters in self._kinds:
            norms = torch.stack(kind.norms(parameters)).detach()
            devices.setdefault(kind.device, []).append(kind.rescued(norms, parameters))
        # Of several dtypes the widest comes out.
        return tuple(torch.cat(norms) for norms in devices.values())

    def raw_norms(self) -> Tensor:
        """Read the gradients of a `single` plan as torch does, to the last bit."""
        if self._resting:
            self._check_resting()
        return self._stacked(_norms([parameter.grad for parameter in self._parameters]))

    def gradients(self) -> list[Any]:
        """Return the gradients of a `single` plan."""
        return [parameter.grad for parameter in self._parameters]

    def _stacked(self, each: list[Tensor]) -> Tensor:
        norms = torch.stack(each)
        if norms.dtype is not self._dtype:
            raise TypeError("the gradients have another dtype")
        return norms.detach() if norms.requires_grad else norms

    def rescued(self, norms: Tensor) -> Norms:
        """Take those of `raw_norms` again that have left the range of their type."""
        if (lowest := self._lowest) is not None:
            values: list[float] = norms.tolist()
            if lowest <= min(values) and max(values) < INFINITE:
                return (values,)
        kind, parameters = self._kinds[0]
        return (kind.rescued(norms, parameters),)

    def _check_resting(self) -> None:
        for parameter in self._resting:
            if parameter.grad is not None:
                raise TypeError("a parameter that had no gradient has one")

    def row(self, norms: Norms) -> np.ndarray:
        """Combine parameters to layers: the root of the sum of squares, in float64.

        Returns
        -------
        ndarray of float64, shape (layers,)
            `ABSENT` where no parameter of a layer had a gradient.
        """
        row = layer_norms(self.values(norms), self._index, self._layers, self._shares)
        row[self._absent] = ABSENT
        return row

    def values(self, norms: Norms) -> np.ndarray:
        """Copy the norms to the host, one for each parameter that has a gradient."""
        host = [
            np.array(each) if isinstance(each, list) else each.cpu().numpy().astype(np.float64)
            for each in norms
        ]
        return host[0] if len(host) == 1 else np.concatenate([*host, np.empty(0)])

    @property
    def places(self) -> dict[int, int]:
        """Where the norm of each parameter that has a gradient stands in `values`."""
        own = (parameter for _, parameters in self._kinds for parameter in parameters)
        return {id(parameter): place for place, parameter in enumerate(own)}


def divided(norms: Tensor | list[float], scale: Tensor) -> Tensor:
    """Divide norms by a scaler's factor, which may still be computed on a device."""
    norms = torch.tensor(norms) if isinstance(norms, list) else norms
    return norms / scale.to(norms.device, non_blocking=True)


def layer_norms(
    values: np.ndarray, index: np.ndarray, layers: int, shares: np.ndarray | None = None
) -> np.ndarray:
    """Combine norms of parameters to those of layers, of which `index` has each one's.

    They are divided by the largest first where their squares would leave float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = values * values
        if shares is not None:
            squares *= shares
        row: np.ndarray = np.sqrt(np.bincount(index, squares, layers))
        left = np.isinf(row) | (row == 0.0)
        if left.any() and left[index].any():
            again = np.zeros(layers)
            np.hypot.at(again, index, values if shares is None else values * np.sqrt(shares))
            row = np.where(left, again, row)
    return row
