"""Optimizers: those that a user gives, what they hold and count, and what is not heard."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from gradmidi.base.messages import say
from gradmidi.capture.models import class_name, layers_of
from gradmidi.capture.steps import StepHook
from gradmidi.errors import CaptureError

__all__ = [
    "Unheard",
    "given_optimizers",
    "has_hooks",
    "held_by",
    "held_in",
    "hooks_of",
    "not_updated",
    "optimizers_in",
    "refuse_optimizer",
    "some",
    "steps_made",
    "when_loaded",
]

NAMED = 3
"""So many layers are named in a message."""


def has_hooks(optimizer: object) -> bool:
    """Return whether torch calls hooks in an optimizer's `step`.

    It does not for one that never called its base's constructor, as Accelerate's.
    """
    return "_optimizer_step_pre_hooks" in getattr(optimizer, "__dict__", ())


def held_by(optimizer: Any) -> dict[int, nn.Parameter]:
    """Return the parameters that an optimizer holds, by their identity."""
    return {
        id(parameter): parameter
        for group in getattr(optimizer, "param_groups", ())
        for parameter in group["params"]
    }


def optimizers_in(given: Any) -> list[Optimizer]:
    """Return the optimizers whose hooks torch calls: `given`, and those that its attributes hold.

    Examples
    --------
    >>> import torch
    >>> inner = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> class Around:
    ...     def __init__(self, several):
    ...         self.several = several
    >>> optimizers_in(Around([inner])) == [inner]
    True
    """
    found: list[Optimizer] = []
    seen: set[int] = set()

    def visit(each: Any) -> None:
        if id(each) in seen:
            return
        seen.add(id(each))
        if isinstance(each, Optimizer) and has_hooks(each):
            found.append(each)
        for inner in _attributes(each):
            if isinstance(inner, Optimizer) or _is_like_optimizer(inner):
                visit(inner)

    visit(given)
    return found


def _is_like_optimizer(given: object) -> bool:
    """Return whether it has the methods of an optimizer, as wrappers do."""
    kind = type(given)
    return callable(getattr(kind, "step", None)) and callable(getattr(kind, "zero_grad", None))


def _attributes(given: Any) -> Iterator[Any]:
    # By that name also where it is a property.
    yield getattr(given, "optimizer", None)
    for value in list(getattr(given, "__dict__", {}).values()):
        if isinstance(value, dict):
            yield from list(value.values())
        elif isinstance(value, (list, tuple)):
            yield from value
        else:
            yield value


def given_optimizers(given: Any, parameters: Collection[int], model: str) -> list[Any]:
    """Check the optimizers that a user gives for a model; return them as a list.

    Raises
    ------
    CaptureError
        If torch calls no hooks in one, or it holds none of the model's parameters.
    """
    if given is None:
        return []
    single = isinstance(given, Optimizer) or not isinstance(given, Iterable)
    several = [given] if single else list(given.values() if isinstance(given, Mapping) else given)
    for each in several:
        name = type(each).__name__
        found = optimizers_in(each)
        for one in (each, *found):
            refuse_optimizer(one)
        if not found and isinstance(each, Optimizer):
            raise CaptureError(
                f"{name}.__init__ does not call super().__init__(params, defaults), so that "
                "PyTorch calls no hook in its step(); add the call, or leave the optimizer out and "
                "call ears.capture() before each step"
            )
        if not found:
            raise CaptureError(
                f"optimizer={name} is no torch.optim.Optimizer; give one, several, or none and "
                "call capture() yourself"
            )
        if held_in(each).isdisjoint(parameters):
            raise CaptureError(
                f"{name} holds none of the parameters of {model}; give the optimizer that trains "
                "this model, or, if it updates copies of them, none, and call ears.capture() "
                "before each step"
            )
    return several


def held_in(given: Any) -> set[int]:
    """Return the identities of the parameters that `optimizers_in` it hold."""
    return {key for optimizer in optimizers_in(given) for key in held_by(optimizer)}


def not_updated(given: Sequence[Any], *, looked: bool) -> str:
    """Return what to tell the user if no update was seen, or, if `looked`, none with a gradient."""
    if looked:
        return (
            "no gradient was there at any update: .grad was None in all parameters; call "
            "backward() before the step and zero_grad() after it, and if the step takes the "
            "gradients as arguments, store them in .grad before it"
        )
    if not given:
        return (
            "no optimizer was given, and ears.capture() was not called; give the optimizer, or "
            "call ears.capture() before each update"
        )
    names = ", ".join(dict.fromkeys(type(each).__name__ for each in given))
    return (
        f"step() of {names} was not called; where another method updates the parameters, call "
        "ears.capture() before it"
    )


def hooks_of(
    optimizers: Iterable[Any], parameters: Collection[int] | None = None
) -> list[StepHook]:
    """Return the hooks on these optimizers, and on those they hold, that read these parameters."""
    return [
        hook
        for given in optimizers
        for optimizer in optimizers_in(given)
        for hook in optimizer._optimizer_step_pre_hooks.values()
        if isinstance(hook, StepHook) and hook.steps is not None
        if parameters is None or hook.steps.reads(parameters)
    ]


class Unheard:
    """Tells the user, once each, of parameters and optimizers that are not heard.

    Parameters
    ----------
    model : Module
        The model.
    layers : mapping of str to list of Parameter
        What is read; kept as it is by now where parameters are exchanged.
    parameters : {"all", "weights"}
        Which of a layer's parameters, see `layers_of`.
    held : set of int
        Identities of the parameters that the given optimizers hold.
    chosen : bool
        Whether the user chose the layers.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, list[nn.Parameter]],
        parameters: str,
        held: set[int],
        *,
        chosen: bool,
    ) -> None:
        self._model = model
        self._layers = layers
        self._parameters = parameters
        self._held = set(held)
        self._chosen = chosen
        self._present = _present(model)
        self._seen: set[int] = set()
        self._told: set[str] = set()

    def meet(self, optimizer: Optimizer) -> None:
        """Look at an optimizer that steps and was not given."""
        if id(optimizer) in self._seen:
            return
        self._seen.add(id(optimizer))
        new = _present(self._model) - self._present
        if not held_by(optimizer).keys().isdisjoint(self._held | new):
            self._tell(
                f"{type(optimizer).__name__} steps parameters of {class_name(self._model)} and was "
                "not given to listen(): its steps are not heard; give it too, or call listen() "
                "again"
            )

    def lose(self) -> None:
        """Look at the model after a layer's gradient has gone."""
        present = _present(self._model)
        lost = [
            name
            for name, own in self._layers.items()
            if any(id(parameter) not in present for parameter in own)
        ]
        if lost:
            self._tell(
                f"not heard, as the model has other parameters in their place: {some(lost)}; make "
                "a new optimizer of model.parameters(), and call listen() again"
            )

    def regroup(self, optimizer: Optimizer) -> bool:
        """Look at an optimizer that holds other parameters than before; return if layers do too."""
        held = held_by(optimizer).keys()
        if held <= {id(parameter) for own in self._layers.values() for parameter in own}:
            return False
        found = layers_of(self._model, self._parameters)
        present = _present(self._model)
        for name, own in self._layers.items():
            own[:] = found.get(name, [])
        added = [
            name
            for name, own in found.items()
            if name not in self._layers and any(id(parameter) in held for parameter in own)
        ]
        if added and not self._chosen:
            self._tell(
                f"not heard, as they came after listen(): {some(added)}; call listen() again"
            )
        if held - present - self._held:
            self._tell(
                f"{type(optimizer).__name__} was given parameters that {class_name(self._model)} "
                "does not have: they are not heard"
            )
        self._held |= held
        self._present |= present
        return True

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            say(text)


def _present(model: nn.Module) -> set[int]:
    return {id(parameter) for parameter in model.parameters()}


def refuse_optimizer(optimizer: object) -> None:
    """Refuse an optimizer that never gets to see the gradients of a model's parameters.

    Raises
    ------
    CaptureError
        If it is one.
    """
    for base in type(optimizer).__mro__:
        # What is in `deepspeed.ops` is as any other optimizer.
        if base.__module__.startswith(("deepspeed.runtime", "accelerate.utils.deepspeed")):
            raise CaptureError(
                f"{base.__name__} gets no gradients of the model's parameters; give listen() the "
                "engine of deepspeed.initialize, and no optimizer: listen(engine)"
            )


def some(names: Sequence[str]) -> str:
    """Name a few, and count the rest."""
    more = len(names) - NAMED
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def steps_made(given: Sequence[Any]) -> int | None:
    """Return how many steps optimizers have made; None if they do not count them.

    Adam and its relatives count their steps for each parameter; SGD does not. Optimizers with
    different parameters are stepped one after another, so their counts are added.
    """
    return sum(_steps(each) for one in given for each in optimizers_in(one)[:1]) or None


def when_loaded(given: Sequence[Any], go_to: Callable[[int], None]) -> Iterator[Callable[[], None]]:
    """Call `go_to` with `steps_made` each time that an optimizer loads its state.

    Yields the functions that end this.
    """

    def loaded(_optimizer: Optimizer) -> None:
        steps = steps_made(given)
        if steps is not None:
            go_to(steps)

    for one in given:
        for each in optimizers_in(one):
            yield each.register_load_state_dict_post_hook(loaded).remove


def _steps(optimizer: Optimizer) -> int:
    counts = [state["step"] for state in optimizer.state.values() if "step" in state]
    # Parameters that are unused in some steps have been updated less often.
    return max((int(each) for each in counts), default=0)
