"""Optimizers: those that a user gives, those there are, what they hold, and what is not heard."""

import gc
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import fx, nn
from torch.optim import Optimizer

from gradmidi.base.messages import say
from gradmidi.capture.models import class_name, layers_of, unwrapped
from gradmidi.capture.steps import StepHook
from gradmidi.errors import CaptureError

__all__ = [
    "Unheard",
    "given_optimizers",
    "has_hooks",
    "held_by",
    "held_in",
    "hooks_of",
    "optimizers_alive",
    "optimizers_in",
    "owner",
    "refuse_optimizer",
    "scopes",
    "some",
]

T = TypeVar("T")

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
            if isinstance(inner, Optimizer):
                visit(inner)

    visit(given)
    return found


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
    several = [given] if single else list(given)
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
                "this model"
            )
    return several


def held_in(given: Any) -> set[int]:
    """Return the identities of the parameters that `optimizers_in` it hold."""
    return {key for optimizer in optimizers_in(given) for key in held_by(optimizer)}


def optimizers_alive() -> list[Optimizer]:
    """Find the optimizers there are whose hooks are called; not those that only wrap another."""
    return [each for each in _alive(Optimizer) if "_optimizer_step_pre_hooks" in vars(each)]


def owner(
    optimizers: Sequence[Optimizer],
    names: Sequence[Mapping[str, Any]] = (),
    parameters: Collection[int] = (),
) -> nn.Module:
    """Find the module that owns the optimizers' parameters: the outermost one.

    Where several are needed to own them all, a module that holds each by its name.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        Whose parameters.
    names : sequence of mapping of str to object, optional
        Namespaces in which to look for the names of several; else they are those of their
        classes.
    parameters : collection of int, optional
        Identities of further parameters.

    Raises
    ------
    CaptureError
        If no module owns any of them.

    Examples
    --------
    >>> from torch.optim import SGD
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> owner([SGD(net[1].parameters())]) is net
    True
    """
    wanted = {key for optimizer in optimizers for key in held_by(optimizer)} | {*parameters}
    modules = list(_alive(nn.Module))
    inside = {id(child) for module in modules for child in _children(module)}
    roots = [module for module in modules if id(module) not in inside]
    owned = {id(root): {id(each) for each in _parameters(root)} & wanted for root in roots}
    # What torch traces shares parameters with the model it traced, under names of its own.
    roots.sort(key=lambda root: (isinstance(root, fx.GraphModule), -_size(root)))
    found: list[nn.Module] = []
    left = wanted
    while roots:
        best = max(roots, key=lambda root: len(owned[id(root)] & left))
        if not owned[id(best)] & left:
            break
        found.append(best)
        left = left - owned[id(best)]
    if not found:
        kinds = ", ".join(dict.fromkeys(type(optimizer).__name__ for optimizer in optimizers))
        which = f"that {kinds} steps" if kinds else "whose gradients are clipped"
        raise CaptureError(f"no module owns the tensors {which}")
    return found[0] if len(found) == 1 else _several(found, names)


def _several(modules: Sequence[nn.Module], names: Sequence[Mapping[str, Any]]) -> nn.Module:
    named: dict[str, nn.Module] = {}
    for module in modules:
        bound = (name for scope in names for name, value in scope.items() if value is module)
        inner = unwrapped(module)
        wanted = next((name for name in bound if name != "self"), type(inner).__name__)
        name, number = wanted, 1
        while name in named:
            number += 1
            name = f"{wanted}{number}"
        named[name] = inner
    together: nn.Module = type(" + ".join(named), (nn.Module,), {})()
    # Not by add_module, which tells whoever watches for new modules.
    together._modules.update(named)
    return together


def _alive(kind: type[T]) -> Iterator[T]:
    """Find all objects of a kind that Python's collector knows."""
    for each in gc.get_objects():
        # Not isinstance(), which wakes objects that stand in for others.
        if issubclass(type(each), kind):
            yield each


def _children(module: nn.Module) -> list[nn.Module]:
    try:
        return list(module.children())
    except Exception:
        # It is only half made.
        return []


def _parameters(module: nn.Module) -> list[nn.Parameter]:
    try:
        return list(module.parameters())
    except Exception:
        return []


def _size(module: nn.Module) -> int:
    try:
        return sum(1 for _ in module.modules())
    except Exception:
        return 0


def hooks_of(optimizers: Iterable[Any]) -> list[StepHook]:
    """Return the hooks of listeners on these optimizers, and on those they hold."""
    return [
        hook
        for given in optimizers
        for optimizer in optimizers_in(given)
        for hook in optimizer._optimizer_step_pre_hooks.values()
        if isinstance(hook, StepHook) and hook.steps is not None
    ]


def scopes() -> list[Mapping[str, Any]]:
    """Return the namespaces of all who called this, the nearest first."""
    found: list[Mapping[str, Any]] = []
    frame = sys._getframe(1)
    while frame is not None:
        found += [frame.f_locals, frame.f_globals]
        frame = frame.f_back  # type: ignore[assignment]
    return found


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
