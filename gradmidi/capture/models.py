"""A model's layers by their names, its rank, and which models are refused."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import distributed, nn
from torch.nn import Module, Parameter

from gradmidi.base.checks import LayerChoice
from gradmidi.base.environment import note_of_slurm, rank_of
from gradmidi.capture.sharded import is_sharded
from gradmidi.errors import CaptureError
from gradmidi.log.items import unwrapped as unwrapped_paths

__all__ = [
    "chosen",
    "class_name",
    "fsdp1_of",
    "layers_of",
    "note_of_silence",
    "parameters_of",
    "rank",
    "refuse",
    "unwrapped",
]


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
            parts = [part for part in path.split(".") if part]
            if "parametrizations" in parts:
                # `fc.parametrizations.weight.original0` is what `fc.weight` is made of.
                at = parts.index("parametrizations")
                parts, leaf = parts[:at], ".".join(parts[at + 1 :])
            found.append((parts, leaf, parameter))
    paths = unwrapped_paths([parts for parts, _, _ in found])
    layers: dict[str, list[tuple[str, Parameter]]] = {}
    for parts, (_, leaf, parameter) in zip(paths, found, strict=True):
        name = ".".join(parts) or type(unwrapped(model)).__name__
        layers.setdefault(name, []).append((leaf, parameter))
    if parameters == "weights":
        layers = {name: _weights(own) for name, own in layers.items()}
    return {name: [parameter for _, parameter in own] for name, own in layers.items()}


def parameters_of(model: "Module") -> "list[Parameter]":
    """Find a model's parameters, as `Module.parameters` does, in a third of the time.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.PReLU(), nn.Linear(3, 1))
    >>> all(a is b for a, b in zip(parameters_of(net), net.parameters(), strict=True))
    True
    """
    found: dict[int, Parameter] = {}
    seen: set[Module] = set()
    left: list[Module | None] = [model]
    while left:
        module = left.pop()
        if module is None or module in seen:
            continue
        seen.add(module)
        for parameter in module._parameters.values():
            if parameter is not None:
                found[id(parameter)] = parameter
        if module._modules:
            left += reversed(module._modules.values())
    return list(found.values())


def unwrapped(model: "Module") -> "Module":
    """Find the model inside its wrappers (`torch.compile`, DDP and their like)."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__module__.startswith("torch."):
            inner = getattr(model, "module", None)
        if inner is None:
            return model
        model = inner


def class_name(model: "Module") -> str:
    """Return the name of an unwrapped model's class."""
    # `fully_shard` gives a model a class of its own, with the model's own class behind it.
    names = (
        base.__name__
        for base in type(unwrapped(model)).__mro__
        if not base.__module__.startswith("torch.distributed.fsdp")
    )
    return next(names)


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


# -- several processes ---------------------------------------------------------------------------


def rank() -> int:
    """Return the rank of this process; before `init_process_group`, the one its launcher set."""
    return distributed.get_rank() if _has_group() else rank_of()[0]


def note_of_silence() -> str:
    """Return what to tell the user where this process is silent; mostly nothing."""
    return "" if _has_group() else note_of_slurm()


def _has_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def refuse(model: nn.Module) -> None:
    """Refuse a model whose gradients are nowhere to be seen.

    Raises
    ------
    CaptureError
        If FSDP1 flattens its parameters, or it stands in such a wrapper and is given without it.
    """
    wrappers = fsdp1_of(model)
    if any(not wrapper._use_orig_params for wrapper in wrappers):
        raise CaptureError(
            "FullyShardedDataParallel keeps gradients in flat pieces that belong to no layer; wrap "
            "the model with use_orig_params=True, or shard it by "
            "torch.distributed.fsdp.fully_shard (FSDP2)"
        )
    # FSDP1 marks all that it wraps; FSDP2 does so too, and spreads their parameters.
    inside = [] if model in wrappers else [model] if wrappers else model.modules()
    managed = any(getattr(each, "_is_fsdp_managed_module", False) for each in inside)
    if managed and not is_sharded(list(model.parameters())):
        raise CaptureError(
            f"{type(model).__name__} is wrapped in FullyShardedDataParallel; give listen() the "
            "wrapper, with use_orig_params=True, or shard by torch.distributed.fsdp.fully_shard "
            "(FSDP2)"
        )


def fsdp1_of(model: nn.Module) -> list[Any]:
    """Return the wrappers of FSDP1 that a model is, or holds."""
    return [
        module
        for module in model.modules()
        if any(base.__name__ == "FullyShardedDataParallel" for base in type(module).__mro__)
    ]
