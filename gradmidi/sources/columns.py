"""Which columns of a log are gradient norms, and what their layers are called."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gradmidi.errors import RunLogError

__all__ = ["Choice", "choose"]

_GRADIENT = re.compile(
    r"(?<![a-z])(?<!max_)grad(?:ient)?s?(?:_?\d+(?:\.\d+)?)?(?:_?norms?)?(?![a-z])"
    r"(?!_(?:accumulation|checkpointing|clip|scale))",
    re.IGNORECASE,
)
"""A name that speaks of gradients, as ``grad_2.0_norm/fc1`` and ``train/grad_norm`` do."""

_BOUND = re.compile(r"__(MIN|MAX)$")
"""W&B puts the bounds of what it has thinned out beside each column of a chart."""

_PARAMETER = re.compile(
    r"[./](weight|bias|kernel|gamma|beta|scale|embeddings?|recurrent_kernel"
    r"|(in_proj|weight|bias)_\w+)$"
)
"""What parameters of a layer are called: those of one layer are its norm together."""

_LOSSES = ("loss", "train/loss", "train_loss", "train_loss_step", "loss/train", "training_loss")
_RATE = re.compile(r"(train[/_])?(lr|learning_rate)([-/_].*)?", re.IGNORECASE)
_TOTALS = frozenset({"total", "global", "all"})
_SEPARATORS = "/_.:- "
_RUN = " - "
"""Between a run and its metric, in a chart that W&B exports."""

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Choice:
    """What is taken from a log.

    Parameters
    ----------
    layers : mapping of str to tuple of str
        Each layer's name, and the columns whose norms together are its own.
    beside : mapping of str to str
        ``loss`` and ``lr``, where there are such columns, and which.
    """

    layers: Mapping[str, tuple[str, ...]]
    beside: Mapping[str, str]


def choose(names: Sequence[str], patterns: Sequence[str], source: str) -> Choice:
    """Choose the columns of gradient norms, and name their layers.

    Parameters
    ----------
    names : sequence of str
        Every column there is.
    patterns : sequence of str
        Which of them are gradient norms; if empty, those whose names speak of gradients.
    source : str
        What is read, for errors.

    Raises
    ------
    RunLogError
        If there is none, if a pattern matches none, or if they are of several runs.

    Examples
    --------
    >>> names = ["loss", "grad_2.0_norm/fc.weight", "grad_2.0_norm/fc.bias", "grad_2.0_norm_total"]
    >>> choose(names, (), "metrics.csv").layers
    {'fc': ('grad_2.0_norm/fc.weight', 'grad_2.0_norm/fc.bias')}
    """
    usable = [name for name in names if not _BOUND.search(name)]
    loss, rate = _beside(usable)
    if patterns:
        held = [name for name in usable if name not in (loss, rate)]
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in held):
                raise RunLogError(f"{source}: no column matches {pattern!r}; {_found(names)}")
        chosen = [n for n in held if any(fnmatchcase(n, pattern) for pattern in patterns)]
    else:
        chosen = [name for name in usable if _GRADIENT.search(name)]
        if not chosen:
            raise RunLogError(
                f"{source} has no column of gradient norms; {_found(names)}; say which they are "
                "with --columns PATTERN, as 'fc*'"
            )
    runs = list(dict.fromkeys(name.rpartition(_RUN)[0] for name in chosen))
    if len(runs) > 1:
        raise RunLogError(
            f"{source} holds {len(runs)} runs: {_some(runs)}; choose one with --columns "
            f"'{runs[-1]}{_RUN}*'"
        )
    loss, rate = _beside([n for n in usable if n.rpartition(_RUN)[0] == runs[0]])
    beside = {name: column for name, column in (("loss", loss), ("lr", rate)) if column}
    return Choice(_layers(chosen, source), beside)


def _layers(chosen: Sequence[str], source: str) -> dict[str, tuple[str, ...]]:
    named = dict(zip(chosen, _names([n.rpartition(_RUN)[2] for n in chosen]), strict=True))
    if len(named) > 1:
        # The norm of all layers together is no layer beside them.
        named = {c: name for c, name in named.items() if name.lower() not in _TOTALS} or named
    layers: dict[str, tuple[str, ...]] = {}
    for column, name in named.items():
        layer = _PARAMETER.sub("", name) or name
        held = layers[layer] = (*layers.get(layer, ()), column)
        if _PARAMETER.sub("", column) != _PARAMETER.sub("", held[0]):
            raise RunLogError(
                f"{source}: {_some(held)} are both of {layer!r}; choose with --columns PATTERN"
            )
    return layers


def _names(columns: Sequence[str]) -> list[str]:
    """Take from each name what says no more than that it is a gradient's norm.

    Examples
    --------
    >>> _names(["train/grad_norm"]), _names(["g/fc1", "g/fc2"]), _names(["fc1.grad", "fc2.grad"])
    (['total'], ['fc1', 'fc2'], ['fc1', 'fc2'])
    >>> _names(["grad/fc1"]), _names(["train/fc1/grad_norm", "train/fc2/grad_norm"])
    (['fc1'], ['fc1', 'fc2'])
    """
    matches = [_GRADIENT.search(column) for column in columns]
    after = [
        c[m.end() :].strip(_SEPARATORS) if m else "" for c, m in zip(columns, matches, strict=True)
    ]
    # Where nothing comes after it, the layer stands before it, or there is none.
    before = [c[: m.start()] if m else c for c, m in zip(columns, matches, strict=True)]
    folders = [text.split("/")[:-1] for text, name in zip(before, after, strict=True) if not name]
    levels = zip(*folders, strict=False)
    common = len(list(itertools.takewhile(lambda level: len(set(level)) == 1, levels)))
    rest = ["/".join(text.split("/")[common:]).strip(_SEPARATORS) for text in before]
    return [a or b or "total" for a, b in zip(after, rest, strict=True)]


def _beside(names: Sequence[str]) -> tuple[str | None, str | None]:
    """Find the column of the loss and that of the learning rate."""
    plain = {name.rpartition(_RUN)[2].lower(): name for name in reversed(names)}
    loss = next((plain[name] for name in _LOSSES if name in plain), None)
    rate = next((n for n in names if _RATE.fullmatch(n.rpartition(_RUN)[2])), None)
    return loss, rate


def _found(names: Sequence[str]) -> str:
    return f"the columns are: {_some(names)}" if names else "it has no column at all"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if names[SHOWN:] else "")
