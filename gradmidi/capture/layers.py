"""What a layer is: the modules that own parameters, by the names they have unwrapped."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from gradmidi.errors import CaptureError

if TYPE_CHECKING:
    from torch.nn import Module, Parameter

__all__ = ["LayerChoice", "chosen", "layers_of", "unwrapped"]

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
