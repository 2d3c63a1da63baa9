"""The capture that fits a model: of FSDP1, of a DeepSpeed engine, or the usual one."""

from typing import Any

from torch import Tensor, distributed, nn

from gradmidi.base.checks import LayerChoice
from gradmidi.capture.capture import Capture
from gradmidi.capture.deepspeed import EngineCapture, is_engine, is_partitioned
from gradmidi.capture.models import fsdp1_of
from gradmidi.errors import CaptureError
from gradmidi.log import Layer

__all__ = ["FsdpCapture", "capture_of"]


class FsdpCapture(Capture):
    """A model that FSDP1 wraps, or whose parts it wraps; parameters as for `Capture`.

    With `use_orig_params=True` each process has a piece of each parameter, or nothing of it. A
    piece and its gradient are plain tensors, views of a flat tensor, so only their share of the
    squares and the sizes of the layers differ from any other model. Other than FSDP2, it clips by
    a method of its own.

    Raises
    ------
    CaptureError
        If there is nothing to read.
    """

    def __init__(self, model: nn.Module, optimizers: Any = None, **options: Any) -> None:
        super().__init__(model, optimizers, **options)
        handles = [wrapper._handle for wrapper in fsdp1_of(model) if wrapper._handle is not None]
        self._is_spread = any(handle.uses_sharded_strategy for handle in handles)
        self._sizes: dict[int, int] = {}
        self._shares: dict[int, float] = {}
        for handle in handles:
            flat = handle.flat_param
            self._sizes |= zip(map(id, flat._params), map(_numel, flat._shapes), strict=True)
            if handle.uses_sharded_strategy:
                share = handle.world_size / distributed.get_world_size()
                self._shares |= dict.fromkeys(map(id, flat._params), share)
        self.layers = tuple(
            Layer(layer.name, sum(self._sizes.get(id(each), each.numel()) for each in own))
            for layer, own in zip(self.layers, self._own, strict=True)
        )
        self._share = self._share_of

    @property
    def spread(self) -> bool:
        """Whether this process has but its pieces of the gradients."""
        return self._is_spread

    def _share_of(self, parameter: Any) -> float:
        """Tell how much of a piece counts: a part that all processes have is counted once."""
        return self._shares.get(id(parameter), 1.0 / distributed.get_world_size())

    def clip_grad_norm_(
        self,
        max_norm: float,
        norm_type: float,
        parameters: Any,
        error_if_nonfinite: bool,
        foreach: bool | None,
    ) -> Tensor:
        """Clip by FSDP1's own method, which adds up the norms of all processes."""
        clip = getattr(self._model, "clip_grad_norm_", None)
        if clip is None or parameters is not None or error_if_nonfinite or foreach is not None:
            raise CaptureError(
                "FSDP1 clips all gradients at once, by a method of its outermost wrapper, which "
                "takes max_norm and norm_type only"
            )
        total: Tensor = clip(max_norm, norm_type)
        return total


def _numel(shape: Any) -> int:
    size: int = shape.numel()
    return size


def capture_of(
    model: nn.Module,
    optimizers: Any = None,
    *,
    layers: LayerChoice | None = None,
    parameters: str = "all",
    report_others: bool = True,
    updates: int | None = None,
) -> Capture:
    """Make the capture of a model or of a DeepSpeed engine; parameters as for `Capture`.

    `updates`: as in `listen`; refused where it cannot be measured.

    Raises
    ------
    CaptureError
        If there is nothing to read, or a model belongs to an engine and is given without it.
    """
    if is_engine(model):
        if updates is not None:
            raise CaptureError(
                "updates= is not measured with DeepSpeed, whose processes have pieces of the "
                "weights; leave it out"
            )
        return EngineCapture(model, optimizers, layers=layers, parameters=parameters)
    if type(model).__module__.startswith("torch.distributed.pipelining"):
        raise CaptureError(
            f"{type(model).__name__} cannot be heard: in pipeline parallel each process has other "
            "layers; log norms of your own with gradmidi.record(), a run for each process"
        )
    kind = Capture
    if isinstance(model, nn.Module):
        if any(map(is_partitioned, model.parameters())):
            raise CaptureError(
                f"{type(model).__name__} belongs to a DeepSpeed engine, which keeps its gradients; "
                "give listen() the engine: listen(engine)"
            )
        kind = FsdpCapture if fsdp1_of(model) else Capture
    return kind(
        model, optimizers, layers=layers, parameters=parameters, report_others=report_others
    )
