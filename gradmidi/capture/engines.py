"""The capture that fits a model: of FSDP1, of a DeepSpeed engine, or the usual one."""

from typing import Any

from torch import nn

from gradmidi.capture.capture import Capture
from gradmidi.capture.deepspeed import EngineCapture, is_engine, is_partitioned
from gradmidi.capture.fsdp import FsdpCapture
from gradmidi.capture.models import LayerChoice, fsdp1_of
from gradmidi.errors import CaptureError

__all__ = ["capture_of"]


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
