"""What an optimizer trains, found without asking: the modules that own its parameters."""

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from torch import fx, nn
from torch.optim import Optimizer

from gradmidi.capture.layers import unwrapped
from gradmidi.capture.tap import held_by
from gradmidi.errors import CaptureError

__all__ = ["optimizers_alive", "owner"]

T = TypeVar("T")


def optimizers_alive() -> list[Optimizer]:
    """Find the optimizers there are whose hooks are called; not those that only wrap another."""
    return [each for each in _alive(Optimizer) if "_optimizer_step_pre_hooks" in vars(each)]


def owner(optimizers: Sequence[Optimizer], names: Sequence[Mapping[str, Any]] = ()) -> nn.Module:
    """Find the module that owns the optimizers' parameters: the outermost one.

    Where several are needed to own them all, a module that holds each by its name.

    Parameters
    ----------
    optimizers : sequence of Optimizer
        Whose parameters.
    names : sequence of mapping of str to object, optional
        Namespaces in which to look for the names of several; else they are those of their
        classes.

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
    wanted = {key for optimizer in optimizers for key in held_by(optimizer)}
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
        raise CaptureError(f"no module owns the tensors that {kinds} steps")
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


def scopes() -> list[Mapping[str, Any]]:
    """Return the namespaces of all who called this, the nearest first."""
    found: list[Mapping[str, Any]] = []
    frame = sys._getframe(1)
    while frame is not None:
        found += [frame.f_locals, frame.f_globals]
        frame = frame.f_back  # type: ignore[assignment]
    return found
