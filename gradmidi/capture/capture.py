"""A model and its optimizers, whose gradients become one row of norms for each update."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.compiler import is_dynamo_compiling
from torch.nn import utils
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from gradmidi.base.checks import LayerChoice
from gradmidi.base.messages import say
from gradmidi.capture.clipping import OnePass, watch
from gradmidi.capture.gathering import Gathering
from gradmidi.capture.models import (
    chosen,
    class_name,
    layers_of,
    note_of_silence,
    parameters_of,
    rank,
    refuse,
)
from gradmidi.capture.norms import Norms, Plan, Row
from gradmidi.capture.optimizers import (
    Unheard,
    given_optimizers,
    held_by,
    held_in,
    hooks_of,
    not_updated,
    optimizers_in,
    some,
)
from gradmidi.capture.order import Arrangement
from gradmidi.capture.sharded import Shards, is_sharded, meet, share
from gradmidi.capture.steps import (
    Consumer,
    Nesting,
    StepHook,
    Stride,
    may_break,
    outside_compile,
)
from gradmidi.capture.tap import Tap
from gradmidi.capture.updates import Updates
from gradmidi.errors import CaptureError
from gradmidi.log import Layer

__all__ = ["Capture", "Consumer", "Norms", "Plan", "Row", "StepHook"]

MISSED_IN_GRAPH = (
    "clipping inside a function that is compiled with fullgraph=True is not seen: norms may be "
    "those from after it; without fullgraph it is seen, and ears.log(total_norm=…) restores them"
)


class Capture:
    """A model and its optimizers, whose gradients are read; a `gradmidi.capture.clipping.Watcher`.

    Each outermost `step` of an optimizer is an update. Optimizers that hold different parameters
    of one model (Muon and AdamW, a GAN's two) make a row each, in which the other's layers have
    no gradient.

    Parameters
    ----------
    model : Module
        The model that is trained.
    optimizers : Optimizer or iterable of them, or None
        The optimizers that train it, or objects that hold such; without one, call `look`.
    layers : str or sequence of str or mapping of str to str, optional
        Names or patterns of the layers that are read.
    parameters : {"all", "weights"}, default "all"
        Which of a layer's parameters, see `layers_of`.
    report_others : bool, default True
        Whether the user is told of other optimizers that step them; False within a step.

    Attributes
    ----------
    given : list
        The optimizers.
    layers : tuple of Layer
        The layers of a row. Without `layers`, those that can never have a gradient are left out.
    model_name : str
        The model's class.
    look, look_if_new : callable
        Reads all gradients there are now, as an update of its own; the second does so unless they
        are those of the last time, clipped or not.
    parameters : str
        Which of a layer's parameters.
    whole : bool
        Whether the layers hold every parameter that can be trained.

    Raises
    ------
    CaptureError
        If there is nothing to read.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Any = None,
        *,
        layers: LayerChoice | None = None,
        parameters: str = "all",
        report_others: bool = True,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise CaptureError(
                f"listen() takes a torch.nn.Module, not {type(model).__name__}; for plain "
                "numbers there is record()"
            )
        refuse(model)
        found = layers_of(model, parameters)
        trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        if not any(parameter.requires_grad for own in found.values() for parameter in own):
            raise CaptureError(
                f"{type(model).__name__} has no trainable parameter: nothing to listen to"
            )
        self.parameters = parameters
        self.model_name = class_name(model)
        self._everything = {id(parameter) for parameter in model.parameters()}
        self.given = given_optimizers(optimizers, self._everything, self.model_name)
        held = {key for each in self.given for key in held_in(each)}
        names = found.keys() if layers is None else chosen(found, layers)
        self._frozen: list[str] = []
        if layers is None:
            there = trained | held
            self._frozen = [
                name for name, own in found.items() if not any(id(each) in there for each in own)
            ]
        found = {name: found[name] for name in found if name in names and name not in self._frozen}
        self.layers = tuple(
            Layer(name, sum(parameter.numel() for parameter in own)) for name, own in found.items()
        )
        self._own = list(found.values())
        self.whole = trained <= {id(parameter) for own in self._own for parameter in own}
        self._report_others = report_others
        self._model: nn.Module | None = model
        self._unheard = Unheard(model, found, parameters, held, chosen=layers is not None)
        self._shards: Shards | None = None
        self._share: Callable[[Any], float] = share
        self.look: Callable[[], None] = _look_at_nothing
        self.look_if_new: Callable[[], None] = _look_at_nothing
        self._begin: Callable[[], None] = _look_at_nothing
        self._one_pass = OnePass(len(self.layers))
        self._clip = outside_compile(self._clip_here)
        self._nesting = Nesting()
        self._taps: dict[int, list[Tap]] = {}
        self._distinct_taps: tuple[Tap, ...] = ()
        self._hooks: dict[int, StepHook] = {}
        self._scaling: dict[int, int] = {}
        self._strides: list[Stride] = []
        self._hook: Callable[[Any], None] | None = None
        self._each_update: int | None = None
        self.leaving: list[Callable[[], None]] = []

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
        """Begin: `consumer` gets the norms of each update that is read; options as in `listen`.

        `arrangement` hands on the order of the layers before the first norms.
        """
        self._each_update = updates
        if arrangement is not None:
            arrangement.begin(self._model, self._own)
            self._begin = arrangement
            self.leaving.append(arrangement.leave)
        if self._frozen:
            say(
                f"left out, as nothing in them is trained: {some(self._frozen)}; call listen() "
                "again once they are"
            )
        everything = self._tap(None, consumer, self._stride(every, budget))
        stride = self._stride(every, budget)
        joined = consumer if self._shards is None else self._shards.consumer(consumer, stride)
        gathering = Gathering(joined, stride)
        self.look = outside_compile(everything.look)
        self.look_if_new = outside_compile(everything.look_if_new)

        def hook(given: Any) -> None:
            own: list[Tap] = []
            for optimizer in optimizers_in(given):
                held = held_by(optimizer).keys()
                if id(optimizer) in self._hooks or not held & self._everything:
                    continue
                # An optimizer around another usually holds the same parameters.
                tap = next((each for each in own if each.own.keys() == held), None)
                if tap is None:
                    tap = self._tap(optimizer, consumer, self._stride(every, budget), gathering)
                    own.append(tap)
                self._taps[id(optimizer)] = [tap]
                self._hooks[id(optimizer)] = StepHook(tap, self._nesting)
                self._hooks[id(optimizer)].attach(optimizer)
            self._taps.setdefault(id(given), own)
            self._count_taps()

        self._hook = hook
        for each in self.given:
            hook(each)
        if self._taps and self._report_others:
            other = register_optimizer_step_pre_hook(self._meet_other)
            self.leaving.append(other.remove)
        if not self._taps:
            # Torch's functions may clip all the same where `look` is called by hand.
            self._taps[id(None)] = [everything]
            self._count_taps()
        self.leaving.append(watch(self, scaler))

    def _count_taps(self) -> None:
        self._distinct_taps = tuple(dict.fromkeys(t for own in self._taps.values() for t in own))

    def hears(self, optimizer: Optimizer) -> bool:
        """Return whether an optimizer's steps are read, also if it was constructed again."""
        if (hook := self._hooks.get(id(optimizer))) and not hook.is_on(optimizer):
            hook.attach(optimizer)
        return hook is not None

    def add(self, optimizer: Optimizer) -> None:
        """Read a further optimizer's steps, in place of those that hold nothing else.

        It may be called from within its step, which is then read already.
        """
        held = held_by(optimizer).keys()
        if not self.is_stepping:
            for key in [k for k in self._hooks if self._taps[k][0].own.keys() <= held]:
                del self._taps[key]
                self._hooks.pop(key).remove()
        if self._hook is not None:
            self._hook(optimizer)

    @property
    def is_stepping(self) -> bool:
        """Whether the `step` that calls this was called by another that is read."""
        return self._nesting.is_inside

    def _meet_other(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        if not is_dynamo_compiling() and not self.hears(optimizer) and not self.is_stepping:
            self._unheard.meet(optimizer)

    def _check(self, optimizer: Optimizer | None) -> None:
        """Look at the parameters that there are by now, for a tap that finds others."""
        if optimizer is None:
            self._unheard.lose()
        elif self._unheard.regroup(optimizer):
            for tap in self._distinct_taps:
                tap.forget()

    @property
    def heard_here(self) -> bool:
        """Whether this is the process that sounds, the first of those that train the model."""
        return rank() == 0

    @property
    def note_of_silence(self) -> str:
        """What to tell the user where it is not."""
        return note_of_silence()

    @property
    def spread(self) -> bool:
        """Whether this process has but its part of the gradients."""
        return is_sharded([parameter for own in self._own for parameter in own])

    def meet(self) -> bool:
        """Wait for the other processes if the model is sharded; return whether it is.

        Raises CaptureError if one of them does not come.
        """
        if self.spread:
            self._shards = meet([layer.name for layer in self.layers])
        return self._shards is not None

    def _tap(
        self,
        optimizer: Optimizer | None,
        consumer: Consumer,
        stride: Stride,
        gathering: Gathering | None = None,
    ) -> Tap:
        weight = None if self._shards is None else self._share
        joined = consumer if self._shards is None else self._shards.consumer(consumer, stride)
        each = None if optimizer is None else self._each_update
        updates = None if each is None else Updates(each, len(self.layers), weight)
        how = (gathering, weight, self._check, updates, self._begin)
        return Tap(self._own, optimizer, joined, stride, *how)

    def _stride(self, every: int, budget: float | None) -> Stride:
        self._strides.append(Stride(every, budget))
        return self._strides[-1]

    def replace_others(self) -> None:
        """Close the listeners that read the same parameters of the same optimizers."""
        for hook in hooks_of(self.given, self._everything):
            hook.steps.consumer.replace()

    def clip_grad_norm_(
        self,
        max_norm: float,
        norm_type: float,
        parameters: "Tensor | Iterable[Tensor] | None",
        error_if_nonfinite: bool,
        foreach: bool | None,
    ) -> Tensor:
        """Clip gradients as torch does, those of the whole model by default; read them first."""
        if parameters is None:
            model = self._model
            # What is compiled goes through a model by its own methods.
            found = parameters_of if not is_dynamo_compiling() else nn.Module.parameters
            parameters = () if model is None else found(model)
        given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        whole = is_dynamo_compiling() and not may_break()
        clip: Callable[..., Tensor] = utils.clip_grad_norm_ if whole else self._clip
        return clip(given, max_norm, norm_type, error_if_nonfinite, foreach)

    def _clip_here(self, given: Sequence[Tensor], *how: Any) -> Tensor:
        return self._one_pass.clip_grad_norm_(given, *how, taps=self._touched(given))

    def detach(self, *, quiet: bool = False) -> None:
        """Leave no hook and no function behind, and let go of the model.

        Say if no gradient was read, unless `quiet`: an exception may have come before the first.
        """
        looked = any(stride.looks for stride in self._strides)
        missed = looked or not self._nesting.has_begun
        if self._hook is not None and missed and not (quiet or any(s.found for s in self._strides)):
            say(not_updated(self.given, looked=looked))
        while self.leaving:
            self.leaving.pop()()
        while self._hooks:
            self._hooks.popitem()[1].remove()
        self._hook = None
        if self._shards is not None:
            self._shards.leave()
        self._taps, self.given, self._own, self._model = {}, [], [], None
        self._count_taps()
        self._one_pass = OnePass(len(self.layers))
        self.look = self.look_if_new = _look_at_nothing

    # -- what is watched ------------------------------------------------------------------------

    def clipping(self, parameters: Sequence[Tensor]) -> None:
        """Read these gradients before they are clipped."""
        for tap in self._touched(parameters):
            tap.clipping()

    def clipped(self, parameters: Sequence[Tensor]) -> None:
        """Note that they were clipped."""
        for tap in self._touched(parameters):
            tap.clipped()

    def miss_clipping(self) -> None:
        """Note that clipping has become part of a compiled graph."""
        for tap in self._distinct_taps:
            tap.consumer.miss_clipping(MISSED_IN_GRAPH)

    def scaling(self, optimizer: Any) -> None:
        """Note that a scaler is about to call an optimizer's `step`, or to skip it."""
        key = id(optimizer)
        self._scaling[key] = self._scaling.get(key, 0) + 1
        if self._scaling[key] == 1:
            for tap in self._taps.get(key, ()):
                tap.stepped = False

    def scaled(self, optimizer: Any, *, failed: bool) -> None:
        """Read an update that the outermost scaler skipped: `step` was not called."""
        key = id(optimizer)
        self._scaling[key] = self._scaling.get(key, 1) - 1
        if self._scaling[key] > 0:
            return
        del self._scaling[key]
        taps = self._taps.get(key, [])
        if not failed and not any(tap.stepped for tap in taps):
            for tap in taps:
                tap.look(thrown_away=True)

    def _touched(self, parameters: Sequence[Tensor]) -> list[Tap]:
        """Return the taps that read some of these parameters."""
        return [
            tap for tap in self._distinct_taps if not tap.own.keys().isdisjoint(map(id, parameters))
        ]

    @property
    def cost(self) -> float:
        """Seconds that reading has taken from the training thread, planning left out."""
        return sum(stride.seconds for stride in self._strides)


def _look_at_nothing() -> None:
    """Stand in for `Capture.look` before the begin and after the end."""
