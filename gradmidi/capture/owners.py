"""The module that owns what optimizers step, and the names that a script has for its parts."""

import gc
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from torch import Tensor, fx, nn
from torch.optim import Optimizer

from gradmidi.capture.models import unwrapped
from gradmidi.capture.optimizers import held_by
from gradmidi.errors import CaptureError

__all__ = ["optimizers_alive", "owner", "refuse_unowned", "scopes"]

T = TypeVar("T")

_Placed = tuple[tuple[str, ...], Any]

DEPTH = 4
"""So many containers may lie around a module that is looked for by its name."""

MANY = 1000
"""What holds more objects than this is data, and not looked into."""


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
    wanted = dict.fromkeys([*(k for each in optimizers for k in held_by(each)), *parameters])
    modules = list(_alive(nn.Module))
    inside = {id(child) for module in modules for child in _children(module)}
    roots = [module for module in modules if id(module) not in inside]
    owned = {id(root): {id(each) for each in _parameters(root)} & wanted.keys() for root in roots}
    # What torch traces shares parameters with the model it traced, under names of its own.
    roots.sort(key=lambda root: (isinstance(root, fx.GraphModule), -_size(root)))
    found: list[nn.Module] = []
    left = {*wanted}
    while roots:
        best = max(roots, key=lambda root: len(owned[id(root)] & left))
        if not owned[id(best)] & left:
            break
        found.append(best)
        left = left - owned[id(best)]
    # In the order in which they were given to optimizers.
    places = {key: place for place, key in enumerate(wanted)}
    found.sort(key=lambda root: min(places[key] for key in owned[id(root)]))
    if not found:
        raise _unowned(optimizers)
    return found[0] if len(found) == 1 else _several(found, names)


def refuse_unowned(optimizer: Optimizer) -> None:
    """Refuse an optimizer of tensors that no module owns, as of a temperature or an image.

    Raises
    ------
    CaptureError
        If it is one.
    """
    held = held_by(optimizer)
    # A script may make such an optimizer for each batch: to look at all objects takes long.
    owned = any(isinstance(each, nn.Parameter) for each in held.values()) and any(
        id(each) in held
        for module in _alive(nn.Module)
        for each in vars(module).get("_parameters", {}).values()
    )
    if not owned:
        raise _unowned([optimizer])


def _unowned(optimizers: Sequence[Optimizer]) -> CaptureError:
    kinds = ", ".join(dict.fromkeys(type(optimizer).__name__ for optimizer in optimizers))
    which = f"that {kinds} steps" if kinds else "whose gradients are clipped"
    return CaptureError(
        f"no module owns the tensors {which}; if they are copies of a model's parameters, call "
        "gradmidi.listen(model) in the script, and capture() before each step"
    )


def _several(modules: Sequence[nn.Module], scopes: Sequence[Mapping[str, Any]]) -> nn.Module:
    bound = _names_of({id(module) for module in modules}, scopes)
    named: dict[str, nn.Module] = {}
    for module in modules:
        inner = unwrapped(module)
        wanted = bound.get(id(module), type(inner).__name__)
        name, number = wanted, 1
        while name in named:
            number += 1
            name = f"{wanted}{number}"
        named[name] = inner
    title = " + ".join(dict.fromkeys(name.partition(".")[0] for name in named))
    together: nn.Module = type(title, (nn.Module,), {})()
    # Not by add_module, which calls the hooks for new modules.
    together._modules.update(named)
    return together


def _names_of(wanted: set[int], scopes: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Find the shortest names of objects: variables, attributes, and places in containers."""
    found: dict[int, list[tuple[str, ...]]] = {}
    seen: set[int] = set()
    level: list[_Placed] = [((name,), value) for scope in scopes for name, value in scope.items()]
    for _ in range(DEPTH):
        deeper: list[_Placed] = []
        for path, value in level:
            if id(value) in wanted and path != ("self",):
                found.setdefault(id(value), []).append(path)
            elif id(value) not in seen:
                seen.add(id(value))
                deeper += _inside(path, value)
        level = deeper
    # The variable of a loop over a list names the last one, the list names all of them.
    needed = {paths[0][:-1] for paths in found.values() if len(paths[0]) > 1}
    return {
        key: ".".join(next((path for path in paths if path[:-1] in needed), paths[0]))
        for key, paths in found.items()
    }


def _inside(path: tuple[str, ...], value: Any) -> list[_Placed]:
    """Return what a container or an object holds, with its names."""
    if isinstance(value, (type, ModuleType, FunctionType, Tensor, Optimizer)):
        return []
    own: Mapping[Any, Any]
    if type(value) in (list, tuple):
        own = dict(enumerate(value)) if len(value) <= MANY else {}
    elif type(value) is dict:
        own = value
    else:
        # Not through the object itself, which may stand in for another.
        try:
            own = object.__getattribute__(value, "__dict__")
        except AttributeError:
            own = {}
        # Attributes are named without the variable that holds the object, as `self`.
        path = path if len(path) > 1 else ()
    if not isinstance(own, dict) or len(own) > MANY:
        return []
    return [((*path, str(name)), each) for name, each in own.items()]


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


def scopes() -> list[Mapping[str, Any]]:
    """Return the namespaces of all who called this, the nearest first."""
    found: list[Mapping[str, Any]] = []
    frame = sys._getframe(1)
    while frame is not None:
        found += [frame.f_locals, frame.f_globals]
        frame = frame.f_back  # type: ignore[assignment]
    return found
