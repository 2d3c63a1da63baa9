"""A model's layers, its optimizers, and which models and optimizers are refused."""

import gc
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from torch import distributed, fx, nn
from torch.nn import Module, Parameter
from torch.optim import Optimizer

from gradmidi.capture.sharded import is_sharded
from gradmidi.errors import CaptureError

__all__ = [
    "LayerChoice",
    "chosen",
    "has_hooks",
    "held_by",
    "layers_of",
    "optimizers_alive",
    "optimizers_in",
    "owner",
    "rank",
    "refuse",
    "refuse_optimizer",
    "unwrapped",
]

T = TypeVar("T")

LayerChoice = str | Sequence[str] | Mapping[str, str]
"""Names or patterns; or voices of one's own, a name and a pattern each."""

WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Names that a wrapper puts into the path of what it wraps, wherever it stands."""

LEADING_WRAPPERS = (("module",), ("base_model", "model"))
"""The same, but only at the head of every path: a user's own module may be called so."""


def layers_of(model: "Module", parameters: str = "all") -> "dict[str, list[Parameter]]":
    """Find a model's layers: each module that owns parameters directly, by its name.

    Parameters
    ----------
    model : Module
        Wrapped or not: the names are those it has unwrapped. A parameter that stands in
        several places belongs to the first.
    parameters : {"all", "weights"}, default "all"
        All of a layer's parameters, or its weights: those called ``weight``; where there is
        none, those with ``weight`` in their name (an LSTM's ``weight_ih_l0``); where there
        is none either, all of them, so that no layer is missing.

    Returns
    -------
    dict of str to list of Parameter
        In the order the model registers them.

    Raises
    ------
    CaptureError
        If a parameter has no shape yet.

    Examples
    --------
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> {name: len(own) for name, own in layers_of(net).items()}
    {'0': 2, '2': 2}
    """
    found: list[tuple[list[str], str, Parameter]] = []
    seen: set[int] = set()
    for path, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            if hasattr(parameter, "materialize"):
                raise CaptureError(
                    f"{path or type(model).__name__}.{leaf} has no shape yet; run one batch "
                    "through the model, then listen"
                )
            parts = [part for part in path.split(".") if part and part not in WRAPPERS]
            if "parametrizations" in parts:
                # `fc.parametrizations.weight.original0` is what `fc.weight` is made of.
                at = parts.index("parametrizations")
                parts, leaf = parts[:at], ".".join(parts[at + 1 :])
            found.append((parts, leaf, parameter))
    paths = _unwrapped([parts for parts, _, _ in found])
    layers: dict[str, list[tuple[str, Parameter]]] = {}
    for parts, (_, leaf, parameter) in zip(paths, found, strict=True):
        name = ".".join(parts) or type(unwrapped(model)).__name__
        layers.setdefault(name, []).append((leaf, parameter))
    if parameters == "weights":
        layers = {name: _weights(own) for name, own in layers.items()}
    return {name: [parameter for _, parameter in own] for name, own in layers.items()}


def unwrapped(model: "Module") -> "Module":
    """Find the model inside its wrappers (`torch.compile`, DDP and their like)."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__module__.startswith("torch."):
            inner = getattr(model, "module", None)
        if inner is None:
            return model
        model = inner


def _unwrapped(paths: list[list[str]]) -> list[list[str]]:
    for head in LEADING_WRAPPERS:
        if paths and all(tuple(parts[: len(head)]) == head for parts in paths):
            return _unwrapped([parts[len(head) :] for parts in paths])
    return paths


def _weights(own: "list[tuple[str, Parameter]]") -> "list[tuple[str, Parameter]]":
    named = [pair for pair in own if pair[0] == "weight"]
    return named or [pair for pair in own if "weight" in pair[0]] or own


def chosen(names: Iterable[str], layers: LayerChoice) -> set[str]:
    """Choose layers by their names or by patterns over them.

    Raises
    ------
    CaptureError
        If one of the patterns matches no layer.

    Examples
    --------
    >>> sorted(chosen(["encoder.0", "encoder.1", "head"], ["encoder.*"]))
    ['encoder.0', 'encoder.1']
    """
    names = tuple(names)
    if isinstance(layers, str):
        layers = (layers,)
    patterns = layers.values() if isinstance(layers, Mapping) else layers
    found: set[str] = set()
    for pattern in patterns:
        matching = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
        if not matching:
            shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
            raise CaptureError(
                f"layers={pattern!r} matches no layer; there are: {shown}. A name or a pattern "
                "such as 'blocks.*' is allowed"
            )
        found.update(matching)
    if not found:
        raise CaptureError("layers= names no layer; leave it out to listen to all of them")
    return found


# -- optimizers ----------------------------------------------------------------------------------


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
    >>> inner = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
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


# -- several processes ---------------------------------------------------------------------------

REFUSED = {
    "FullyShardedDataParallel": (
        "FSDP1 keeps gradients in flat pieces that belong to no layer; shard by "
        "torch.distributed.fsdp.fully_shard (FSDP2), which can be heard"
    ),
    "DeepSpeedEngine": (
        "DeepSpeed keeps gradients in partitions of its own and never shows them to an optimizer; "
        "train by DistributedDataParallel or torch's fully_shard, or log norms of your own by "
        "gradmidi.record()"
    ),
}


def rank() -> int:
    """Tell which of the processes of one training this is; 0 where it is the only one.

    Before `init_process_group` it is what `torchrun` and its like have put into the environment.
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    launched = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    return int(os.environ["RANK"]) if launched else 0


def refuse(model: nn.Module) -> None:
    """Refuse a model whose gradients are nowhere to be seen.

    Raises
    ------
    CaptureError
        If it is, or holds, one; or is held by one.
    """
    for module in model.modules():
        for base in type(module).__mro__:
            if base.__name__ in REFUSED:
                raise CaptureError(f"{base.__name__} cannot be heard: {REFUSED[base.__name__]}")
    # FSDP marks all that it wraps; FSDP2 does so too, and spreads their parameters.
    managed = any(getattr(each, "_is_fsdp_managed_module", False) for each in model.modules())
    if managed and not is_sharded(list(model.parameters())):
        raise CaptureError(
            f"{type(model).__name__} is wrapped in FullyShardedDataParallel and cannot be heard: "
            f"{REFUSED['FullyShardedDataParallel']}"
        )


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
            raise CaptureError(f"{base.__name__} cannot be heard: {REFUSED['DeepSpeedEngine']}")
