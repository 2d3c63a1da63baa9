"""Which columns of another tool's log are gradient norms, and what their layers are called."""

import glob
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gradmidi.errors import RunLogError

__all__ = ["Choice", "choose"]

_GRADIENT = re.compile(
    r"(?<![a-z])grad(?:ient)?s?(?:[_\- ]?\d+(?:\.\d+)?)?(?:[_\- ]?l2)?(?:[_\- ]?norms?)?(?![a-z])",
    re.IGNORECASE,
)
"""A name that speaks of gradients, as ``grad_2.0_norm/fc1`` and ``train/grad_norm`` do."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
"""A word of a name, in snake_case or CamelCase."""

_STATISTICS = frozenset(
    [
        "max",
        "min",
        "mean",
        "avg",
        "average",
        "std",
        "stdev",
        "var",
        "variance",
        "median",
        "hist",
        "histogram",
        "percentile",
        "quantile",
        "sum",
        "count",
        "ratio",
    ]
)
"""Words for something computed from gradients that is not their norm."""

_OTHER = _STATISTICS | frozenset(
    [
        "penalty",
        "loss",
        "losses",
        "clip",
        "clipped",
        "clipping",
        "clipval",
        "accum",
        "accumulate",
        "accumulation",
        "accumulated",
        "checkpoint",
        "checkpointing",
        "checkpoints",
        "scale",
        "scaler",
        "scaling",
        "cos",
        "cosine",
        "sim",
        "similarity",
        "noise",
        "time",
        "steps",
        "overflow",
        "enabled",
        "enable",
        "disable",
        "requires",
        "require",
        "required",
        "use",
        "no",
        "sync",
        "threshold",
        "limit",
        "policy",
        "angle",
        "sign",
        "sparsity",
        "snr",
        "zeros",
        "nan",
        "nans",
        "inf",
        "infs",
        "nonfinite",
        "finite",
        "lr",
        "decay",
        "coef",
        "coefficient",
        "reversal",
    ]
)
"""Words that make of a name with ``grad`` in it a setting, a loss or a statistic."""

_BOUND = re.compile(r"__(MIN|MAX)$")
"""W&B puts the bounds of what it has thinned out beside each column of a chart."""

_PARAMETER = re.compile(
    r"[./](weight|bias|kernel|gamma|beta|scale|embeddings?|recurrent_kernel"
    r"|(in_proj|weight|bias)_\w+)(:\d+)?$"
)
"""Names of the parameters of a layer, whose norms together are the layer's."""

_LOSSES = (
    "loss",
    "train/loss",
    "train_loss",
    "train_loss_step",
    "loss/train",
    "training_loss",
    "total_loss",
    "loss/total",
)
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
    left_out : tuple of str
        Columns that were chosen but hold no number.
    """

    layers: Mapping[str, tuple[str, ...]]
    beside: Mapping[str, str]
    left_out: tuple[str, ...] = ()

    @property
    def norms(self) -> list[str]:
        """The columns of all layers."""
        return [column for columns in self.layers.values() for column in columns]


def choose(
    names: Sequence[str],
    patterns: Sequence[str],
    source: str,
    texts: Mapping[str, str] | None = None,
) -> Choice:
    """Choose the columns of gradient norms, and name their layers.

    Parameters
    ----------
    names : sequence of str
        Every column there is.
    patterns : sequence of str
        Which of them are gradient norms, by name or by pattern; if empty, those whose names speak
        of gradients.
    source : str
        Name of the log in error messages.
    texts : mapping of str to str, optional
        Columns that hold no number at all, and what they hold instead.

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
    chosen = (
        _matching(usable, patterns, names, source) if patterns else _speaking_of_gradients(usable)
    )
    if not chosen:
        raise RunLogError(
            f"{source} has no column of gradient norms; {_found(names)}; say which they are "
            "with --columns PATTERN, as 'fc*'"
        )
    texts = texts or {}
    numeric = [name for name in chosen if name not in texts]
    if not numeric:
        raise RunLogError(
            f"{source}: {texts[chosen[0]]}, which is no norm; choose the columns of norms "
            "with --columns PATTERN"
        )
    runs = list(dict.fromkeys(name.rpartition(_RUN)[0] for name in numeric))
    if len(runs) > 1:
        raise RunLogError(
            f"{source} holds {len(runs)} runs: {_some(runs)}; choose one with --columns "
            f"'{glob.escape(runs[-1] + _RUN)}*'"
        )
    loss, rate = _beside([n for n in usable if n.rpartition(_RUN)[0] == runs[0]])
    beside = {name: column for name, column in (("loss", loss), ("lr", rate)) if column}
    left_out = tuple(name for name in chosen if name not in numeric)
    return Choice(_layers(numeric, source), beside, left_out)


def _matching(
    usable: Sequence[str], patterns: Sequence[str], names: Sequence[str], source: str
) -> list[str]:
    held = [name for name in usable if name not in _beside(usable)]
    chosen: set[str] = set()
    for pattern in patterns:
        # An exact name is meant exactly, whatever letters are in it.
        found = [name for name in usable if name == pattern] or [
            name for name in held if fnmatchcase(name, pattern)
        ]
        if not found:
            raise RunLogError(f"{source}: no column matches {pattern!r}; {_found(names)}")
        chosen.update(found)
    return [name for name in usable if name in chosen]


def _speaking_of_gradients(names: Sequence[str]) -> list[str]:
    """Find the columns that are gradient norms by their names.

    Examples
    --------
    >>> _speaking_of_gradients(["D/grad_penalty", "D/grad_norm", "grad_norm_max", "use_grad_clip"])
    ['D/grad_norm']
    """
    metrics = {name: name.rpartition(_RUN)[2] for name in names}
    chosen = [name for name, metric in metrics.items() if _is_norm(metric)]
    # Where something stands at the same place without a last word, that word is a statistic's.
    tails = {name: metrics[name].rpartition("/") for name in chosen}
    kinds = _STATISTICS | {"norm", "norms"}
    plain = {folder for folder, _, tail in tails.values() if tail.lower() not in kinds}
    whole = {metrics[name] for name in chosen}
    return [
        name
        for name, (folder, _, tail) in tails.items()
        if tail.lower() not in _STATISTICS or (folder in plain and folder not in whole)
    ]


def _is_norm(metric: str) -> bool:
    match = _GRADIENT.search(metric)
    if match is None:
        return False
    # The part between slashes, dots and colons in which the word for gradients stands.
    before = re.split(r"[/.:]", metric[: match.start()])[-1]
    after = re.split(r"[/.:]", metric[match.end() :])[0]
    words = {word.lower() for word in _WORD.findall(f"{before} {after}")}
    return not words & _OTHER


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
    """Take from each name what only says that it is a gradient's norm.

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
