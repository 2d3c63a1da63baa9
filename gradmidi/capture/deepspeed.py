"""DeepSpeed: the pieces of the gradients that each process keeps, read before each update.

With ZeRO no parameter has a gradient at the update: each process has pieces of the averaged
gradients, and the optimizer steps flat tensors of its own. The pieces are read where the engine
begins an update, before it clips, and `gradmidi.capture.sharded` adds up the squares.
DeepSpeed is not imported here.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from torch import Tensor, distributed, nn

from gradmidi.base.checks import LayerChoice
from gradmidi.capture.capture import Capture
from gradmidi.capture.norms import Norms, Row
from gradmidi.capture.optimizers import has_hooks
from gradmidi.capture.order import Arrangement
from gradmidi.capture.readout import Readout
from gradmidi.capture.steps import Consumer, Stride
from gradmidi.capture.tap import Tap
from gradmidi.errors import CaptureError
from gradmidi.log import Layer

__all__ = ["UPDATE", "EngineCapture", "is_engine", "is_heard", "is_partitioned"]

UPDATE = "_take_model_step"
"""The engine's method that makes an update, called once for each, after the last `backward`."""

Read = Callable[[Any], "Tensor | None"]


# -- where the gradients are ---------------------------------------------------------------------


def _whole(parameter: Any) -> "Tensor | None":
    """Return the gradient of ZeRO 0, which every process has whole."""
    gradient: Tensor | None = parameter.grad
    return gradient


def _fragment(parameter: Any) -> "Tensor | None":
    """Return this process's piece of a gradient in ZeRO 1 and 2, None if it has none."""
    mapping = getattr(parameter, "_hp_mapping", None)
    if mapping is None:
        return None
    gradient = mapping.get_lp_grad_fragment(parameter._index_in_param_group)
    piece: Tensor = gradient.reshape(-1)
    if piece.numel() != mapping.lp_fragment_address.numel:
        raise CaptureError("a piece of a gradient has another size than that of its parameter")
    return piece


def _partition(parameter: Any) -> "Tensor | None":
    """Return this process's piece of a gradient in ZeRO 3; what fills it up is zero."""
    piece: Tensor | None = parameter._z3_optimizer.get_local_fp32_grad_for_param(parameter)
    return piece


READERS: dict[str, Read] = {
    "DeepSpeedZeroOptimizer": _fragment,
    "DeepSpeedZeroOptimizer_Stage3": _partition,
}
"""By the class of the engine's optimizer; ZeRO 0 has an optimizer of torch's."""


class Piece:
    """A process's piece of a parameter's gradient, as `grad`: what a `Plan` reads.

    Parameters
    ----------
    parameter : Parameter
        The parameter.
    read : callable
        Returns the piece of a parameter.
    """

    __slots__ = ("_parameter", "_read")

    def __init__(self, parameter: nn.Parameter, read: Read) -> None:
        self._parameter = parameter
        self._read = read

    @property
    def grad(self) -> "Tensor | None":
        """The piece; None if this process has none."""
        return self._read(self._parameter)


def _reader(engine: Any) -> Read:
    """Find how an engine's gradients are read.

    Raises
    ------
    CaptureError
        If they cannot be.
    """
    optimizer = engine.optimizer
    name = type(optimizer).__name__
    read = _whole if has_hooks(optimizer) else READERS.get(name)
    reason = _reason(engine, read)
    if read is None or reason:
        raise CaptureError(
            f"{type(engine).__name__} with {name} cannot be heard: "
            f"{reason or 'where it keeps gradients is not known'}; log norms of your own with "
            "gradmidi.record()"
        )
    return read


def _reason(engine: Any, read: "Read | None") -> str:
    """Return why an engine's gradients cannot be read; mostly nothing."""
    optimizer = engine.optimizer
    if not hasattr(engine, UPDATE):
        return "this version of DeepSpeed has another method for updates"
    if type(optimizer).__module__.startswith("deepspeed.runtime.fp16.onebit"):
        return "its processes train with gradients of their own"
    if type(engine).__name__ == "PipelineEngine":
        return "each process has other layers"
    if getattr(engine, "dp_world_size", 1) != distributed.get_world_size():
        return "its processes do not all train the same layers (tensor or sequence parallel)"
    if getattr(engine, "has_moe_layers", False):
        return "its experts are spread over the processes"
    if getattr(optimizer, "cpu_offload", False) or getattr(optimizer, "offload_optimizer", False):
        return "offloaded gradients are not complete before the update"
    if read is not _whole and any(
        getattr(each, "use_muon", False) for each in engine.module.parameters()
    ):
        return "its Muon puts updates in the place of the gradients"
    return ""


# -- the capture ---------------------------------------------------------------------------------


class EngineCapture(Capture):
    """A DeepSpeed engine, whose gradients are read before each of its updates.

    Parameters
    ----------
    engine : DeepSpeedEngine
        Returned by `deepspeed.initialize`.
    optimizer : object, optional
        The engine's optimizer, which is known anyway.
    layers, parameters
        As for `Capture`.

    Raises
    ------
    CaptureError
        If the engine's gradients cannot be read, or the optimizer is not the engine's.
    """

    def __init__(
        self,
        engine: Any,
        optimizer: Any = None,
        *,
        layers: LayerChoice | None = None,
        parameters: str = "all",
    ) -> None:
        read = _reader(engine)
        own = (engine.optimizer, getattr(engine, "basic_optimizer", None))
        if optimizer is not None and not any(
            each is not None and each in (optimizer, getattr(optimizer, "optimizer", None))
            for each in own
        ):
            raise CaptureError(
                f"{type(optimizer).__name__} is not the optimizer of this engine; leave it out: "
                "listen(engine)"
            )
        super().__init__(engine.module, layers=layers, parameters=parameters)
        self.engine = engine
        self._is_spread = read is not _whole
        self._share = _all
        found = list(zip(self.layers, self._own, strict=True))
        self.layers = tuple(Layer(layer.name, sum(map(_size, own))) for layer, own in found)
        self._parameters = self._own
        pieces: Any = [[Piece(each, read) for each in own] for _, own in found]
        self._own = pieces

    @property
    def spread(self) -> bool:
        """Whether this process has but its pieces of the gradients."""
        return self._is_spread

    def attach(
        self,
        consumer: Consumer,
        *,
        every: int = 1,
        budget: float | None = None,
        scaler: Any = None,
        updates: int | None = None,
        arrangement: Arrangement | None = None,
    ) -> None:
        """Begin: `consumer` gets the norms of each update that is read; see `Capture.attach`."""
        if arrangement is not None:
            arrangement.begin(self._model, self._parameters)
            self._begin = arrangement
            self.leaving.append(arrangement.leave)
        tap = self._tap(None, consumer, self._stride(every, budget))
        update = _Update(self.engine, tap)
        setattr(self.engine, UPDATE, update)
        self.leaving.append(partial(_leave, self.engine, update))

    def replace_others(self) -> None:
        """Close the listener that reads the same engine."""
        if is_heard(self.engine):
            getattr(self.engine, UPDATE).consumer.replace()

    def clip_grad_norm_(self, *_: Any) -> Tensor:
        """Refuse: the pieces are the engine's."""
        raise CaptureError(
            "DeepSpeed clips the gradients itself: set gradient_clipping in its configuration"
        )


def is_engine(model: object) -> bool:
    """Return whether a model is an engine that `deepspeed.initialize` made."""
    return any(
        base.__name__ == "DeepSpeedEngine" and base.__module__.startswith("deepspeed.")
        for base in type(model).__mro__
    )


def is_partitioned(parameter: object) -> bool:
    """Return whether an engine keeps a parameter's gradient."""
    return hasattr(parameter, "ds_id") or hasattr(parameter, "_hp_mapping")


def is_heard(engine: Any) -> bool:
    """Return whether an engine's updates are read."""
    return isinstance(vars(engine).get(UPDATE), _Update)


def _all(_: object) -> float:
    """Tell how much of a piece counts, see `share` in `sharded`: all, as each has one owner."""
    return 1.0


def _size(parameter: Any) -> int:
    size: int = getattr(parameter, "ds_numel", parameter.numel())
    return size


def _leave(engine: Any, update: "_Update") -> None:
    if vars(engine).get(UPDATE) is update:
        delattr(engine, UPDATE)


class _Update:
    """Stands in for the method of an engine that makes an update: reads the gradients before.

    Parameters
    ----------
    engine : DeepSpeedEngine
        The engine.
    tap : Tap
        Reads the pieces.
    """

    def __init__(self, engine: Any, tap: Tap) -> None:
        self.consumer = tap.consumer
        self._engine = engine
        self._make = getattr(engine, UPDATE)
        self._tap = tap
        self._stride: Stride = tap.stride
        self._readout = Readout()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Read the gradients, make the update, and hand over the norms."""
        seen = self._before()
        result = self._make(*args, **kwargs)
        with suppress(Exception):
            self._after(seen)
        return result

    def _before(self) -> "tuple[Norms, Row] | Exception | None":
        try:
            if not self._stride.due():
                return None
            begin = time.perf_counter()
            norms, row = self._tap.read()
            scale = _loss_scale(self._engine)
            if scale != 1.0:
                norms = tuple(_divided(each, scale) for each in norms)
            norms = tuple(map(self._readout.later, norms))
            self._stride.spent(time.perf_counter() - begin)
            return norms, row
        except Exception as error:
            return error

    def _after(self, seen: "tuple[Norms, Row] | Exception | None") -> None:
        if seen is None:
            self.consumer.skip()
        elif isinstance(seen, Exception):
            self.consumer.fail(seen)
        else:
            if self._engine.gradient_clipping() > 0.0:
                self.consumer.see_clipping()
            self.consumer.take(*seen, not self._engine.was_step_applied() or None)


def _loss_scale(engine: Any) -> float:
    """Return what the loss was multiplied by."""
    if (scaler := getattr(engine, "torch_autocast_z0_gradscaler", None)) is not None:
        return float(scaler.get_scale())
    return float(getattr(engine.optimizer, "loss_scale", 1.0))


def _divided(norms: "Tensor | list[float]", scale: float) -> "Tensor | list[float]":
    return [each / scale for each in norms] if isinstance(norms, list) else norms / scale
