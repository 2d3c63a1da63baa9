"""Gradients to one row of floats a step: a model and its optimizers, listened to."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling
from torch.nn import utils
from torch.optim import Optimizer

from gradmidi.capture.compiled import apart, may_break
from gradmidi.capture.gathering import Gathering
from gradmidi.capture.layers import LayerChoice, chosen, layers_of, unwrapped
from gradmidi.capture.onepass import OnePass
from gradmidi.capture.plan import Norms, Plan, Row
from gradmidi.capture.sharded import (
    Shards,
    is_sharded,
    meet,
    rank,
    refuse,
    refuse_optimizer,
    share,
)
from gradmidi.capture.stride import Stride
from gradmidi.capture.taker import Taker
from gradmidi.capture.tap import StepHook, Tap, held_by
from gradmidi.capture.watch import watch
from gradmidi.errors import CaptureError
from gradmidi.log import Layer

__all__ = ["Capture", "Norms", "Plan", "Row", "StepHook", "Taker"]


class Capture:
    """A model and its optimizers, listened to; a `gradmidi.capture.watch.Watcher`.

    Parameters
    ----------
    model : Module
        What is trained.
    optimizers : Optimizer or iterable of them, or None
        Who trains it; without one, `look` is called by hand.
    layers : str or sequence of str or mapping of str to str, optional
        Which layers: names or patterns; or voices of your own, a name and a pattern each.
    parameters : {"all", "weights"}, default "all"
        Which of a layer's parameters, see `layers_of`.

    Attributes
    ----------
    layers : tuple of Layer
        What is listened to.
    model_name : str
        The model's class.
    look : callable
        Looks at all gradients there are now, as a step of its own.
    parameters : str
        Which of a layer's parameters.
    whole : bool
        Whether the layers hold every parameter that can be trained.

    Raises
    ------
    CaptureError
        If there is nothing to listen to.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Optimizer | Iterable[Optimizer] | None = None,
        *,
        layers: LayerChoice | None = None,
        parameters: str = "all",
    ) -> None:
        if not isinstance(model, nn.Module):
            raise CaptureError(
                f"listen() takes a torch.nn.Module, not {type(model).__name__}; for plain "
                "numbers there is record()"
            )
        if parameters not in ("all", "weights"):
            raise CaptureError(f"parameters={parameters!r}; allowed is 'all' or 'weights'")
        refuse(model)
        found = layers_of(model, parameters)
        trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        if not any(parameter.requires_grad for own in found.values() for parameter in own):
            raise CaptureError(
                f"{type(model).__name__} has no trainable parameter: nothing to listen to"
            )
        if layers is not None:
            names = chosen(found, layers)
            found = {name: own for name, own in found.items() if name in names}
        self.layers = tuple(
            Layer(name, sum(parameter.numel() for parameter in own)) for name, own in found.items()
        )
        self.parameters = parameters
        self.model_name = _name_of(unwrapped(model))
        self._own = list(found.values())
        self.whole = trained <= {id(parameter) for own in self._own for parameter in own}
        self._model: nn.Module | None = model
        self._optimizers = _optimizers(optimizers)
        everything = {id(parameter) for parameter in model.parameters()}
        for optimizer in self._optimizers:
            if not held_by(optimizer).keys() & everything:
                raise CaptureError(
                    f"{type(optimizer).__name__} holds none of the parameters of "
                    f"{self.model_name}; give the optimizer that trains this model"
                )
        self._shards: Shards | None = None
        self.look: Callable[[], None] = _look_at_nothing
        self._one_pass = OnePass(len(self.layers))
        self._clip = apart(self._clip_here)
        self._taps: dict[int, Tap] = {}
        self._strides: list[Stride] = []
        self._hook: Callable[[Optimizer], None] | None = None
        self._hooks: dict[int, Any] = {}
        self._leave: list[Callable[[], None]] = []

    def attach(
        self, taker: Taker, *, every: int = 1, budget: float | None = None, scaler: Any = None
    ) -> None:
        """Begin: `taker` gets the norms of each step that is looked at.

        Parameters
        ----------
        taker : Taker
            Who gets them.
        every : int, default 1
            Look at each nth step.
        budget : float, optional
            Share of the time that looking may take.
        scaler : object, optional
            What has the optimizers step, where it is no GradScaler of torch's.
        """
        everything = self._tap(None, taker, self._stride(every, budget))
        stride = self._stride(every, budget)
        gathering = Gathering(self._joined(taker, stride), stride)
        self.look = apart(everything.look)

        def hook(optimizer: Optimizer) -> None:
            tap = self._tap(optimizer, taker, self._stride(every, budget), gathering)
            self._taps[id(optimizer)] = tap
            self._hooks[id(optimizer)] = optimizer.register_step_pre_hook(StepHook(tap))

        self._hook = hook
        for optimizer in self._optimizers:
            hook(optimizer)
        if not self._taps:
            # Who looks by hand may clip by a function of torch's all the same.
            self._taps[id(None)] = everything
        self._leave.append(watch(self, scaler))

    def hears(self, optimizer: Optimizer) -> bool:
        """Tell whether it is one of the optimizers that are listened to."""
        return id(optimizer) in self._hooks

    def add(self, optimizer: Optimizer) -> None:
        """Listen to a further optimizer, which takes the place of those whose parameters it has.

        It may be called from within its step, which is then looked at already.
        """
        held = held_by(optimizer).keys()
        for key in [key for key in self._hooks if self._taps[key].own.keys() <= held]:
            del self._taps[key]
            self._hooks.pop(key).remove()
        if self._hook is not None:
            self._hook(optimizer)

    @property
    def heard_here(self) -> bool:
        """Whether this is the process that sounds, the first of those that train the model."""
        return rank() == 0

    @property
    def spread(self) -> bool:
        """Whether this process has but its part of the gradients."""
        return is_sharded([parameter for own in self._own for parameter in own])

    def meet(self) -> bool:
        """Wait for the other processes, where each has but its part of the gradients.

        Returns
        -------
        bool
            Whether it is so.

        Raises
        ------
        CaptureError
            If one does not come.
        """
        if self.spread:
            self._shards = meet([layer.name for layer in self.layers])
        return self._shards is not None

    def _joined(self, taker: Taker, stride: Stride) -> Taker:
        return taker if self._shards is None else self._shards.taker(taker, stride)

    def _tap(
        self,
        optimizer: Optimizer | None,
        taker: Taker,
        stride: Stride,
        gathering: Gathering | None = None,
    ) -> Tap:
        weight = None if self._shards is None else share
        taker = self._joined(taker, stride)
        return Tap(self._own, optimizer, taker, stride, gathering, weight)

    def _stride(self, every: int, budget: float | None) -> Stride:
        self._strides.append(Stride(every, budget))
        return self._strides[-1]

    def replace_others(self) -> None:
        """Tell whoever listens to the same optimizers that they are taken over."""
        for optimizer in self._optimizers:
            for hook in list(optimizer._optimizer_step_pre_hooks.values()):
                if isinstance(hook, StepHook) and hook.tap is not None:
                    hook.tap.taker.replace()

    def clip_grad_norm_(
        self,
        max_norm: float,
        norm_type: float,
        parameters: "Tensor | Iterable[Tensor] | None",
        error_if_nonfinite: bool,
        foreach: bool | None,
    ) -> Tensor:
        """Clip gradients as torch does, those of the whole model by default; look on the way."""
        if parameters is None:
            parameters = () if self._model is None else self._model.parameters()
        given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        if is_dynamo_compiling() and not may_break():
            return utils.clip_grad_norm_(given, max_norm, norm_type, error_if_nonfinite, foreach)
        clip: Callable[..., Tensor] = self._clip
        return clip(given, max_norm, norm_type, error_if_nonfinite, foreach)

    def _clip_here(self, given: Sequence[Tensor], *how: Any) -> Tensor:
        return self._one_pass.clip_grad_norm_(given, *how, taps=tuple(self._touched(given)))

    def detach(self) -> None:
        """Leave no hook and no function behind, and let go of the model."""
        while self._leave:
            self._leave.pop()()
        while self._hooks:
            self._hooks.popitem()[1].remove()
        self._hook = None
        if self._shards is not None:
            self._shards.leave()
        self._taps, self._optimizers, self._own, self._model = {}, [], [], None
        self._one_pass = OnePass(len(self.layers))
        self.look = _look_at_nothing

    # -- what is watched ------------------------------------------------------------------------

    def clipping(self, parameters: Sequence[Tensor]) -> None:
        """Look before these are clipped, where they are ours."""
        for tap in self._touched(parameters):
            tap.taker.see_clipping()
            tap.clipping()

    def clipped(self, parameters: Sequence[Tensor]) -> None:
        """Learn that they were."""
        for tap in self._touched(parameters):
            tap.clipped()

    def miss_clipping(self) -> None:
        """Learn that clipping has become part of a graph."""
        for tap in self._taps.values():
            tap.taker.miss_clipping()

    def scaling(self, optimizer: Any) -> None:
        """Learn that a scaler is about to have an optimizer step."""
        if (tap := self._taps.get(id(optimizer))) is not None:
            tap.stepped = False

    def scaled(self, optimizer: Any) -> None:
        """Look at a step that the scaler threw away: the optimizer was not asked to make it."""
        if (tap := self._taps.get(id(optimizer))) is not None and not tap.stepped:
            tap.look(thrown_away=True)

    def _touched(self, parameters: Sequence[Tensor]) -> Iterator[Tap]:
        for tap in self._taps.values():
            own = tap.own
            if any(id(parameter) in own for parameter in parameters):
                yield tap

    @property
    def cost(self) -> float:
        """Seconds that looking has taken from the training thread, planning left out."""
        return sum(stride.seconds for stride in self._strides)


def _look_at_nothing() -> None:
    """Be what there is to look at before the begin and after the end."""


def _name_of(model: nn.Module) -> str:
    # `fully_shard` gives a model a class of its own, with the model's own class behind it.
    names = (
        base.__name__
        for base in type(model).__mro__
        if not base.__module__.startswith("torch.distributed.fsdp")
    )
    return next(names)


def _optimizers(given: Any) -> list[Optimizer]:
    if given is None:
        return []
    several = (
        list(given) if isinstance(given, Iterable) and not isinstance(given, Optimizer) else [given]
    )
    found = []
    for each in several:
        inner = each
        refuse_optimizer(inner)
        while isinstance(getattr(inner, "optimizer", None), Optimizer):
            # Accelerate and others wrap the optimizer; the hook belongs on the one inside.
            inner = inner.optimizer
            refuse_optimizer(inner)
        if not isinstance(inner, Optimizer):
            raise CaptureError(
                f"optimizer={type(each).__name__} is no torch.optim.Optimizer; give one, "
                "several, or none and call capture() yourself"
            )
        found.append(inner)
    return found
