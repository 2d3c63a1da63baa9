"""Find the columns of gradient norms in another tool's log, and name their layers."""

import glob
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gradmidi.errors import RunLogError
from gradmidi.log import FRAME_KEYS
from gradmidi.sources.normnames import RUN, layer_names, layer_of, norm_columns
from gradmidi.sources.selection import ChosenValues, choose_values

__all__ = ["Choice", "choose", "name_of"]

_BOUND = re.compile(r"__(MIN|MAX)$")
"""Endings of the columns of bounds that W&B adds to each downsampled column of a chart."""

_LOSSES = (
    "loss",
    "train/loss",
    "train_loss",
    "train_loss_step",
    "trl",
    "loss/train",
    "training_loss",
    "total_loss",
    "loss/total",
)
_RATE = re.compile(r"(train[/_])?(lr|learning_rate)([-/_].*)?", re.IGNORECASE)
_TOTALS = frozenset({"total", "global", "all"})
_KEYS = FRAME_KEYS | {"gradmidi", "mark", "pause", "resume", "end"}
"""Keys of the run log; a value with such a name gets an underscore."""

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Choice:
    """The columns chosen from a log.

    Parameters
    ----------
    layers : mapping of str to tuple of str
        Name of each layer, and the columns whose norms combined are the layer's norm.
    values : ChosenValues
        The columns of the values beside the layers; the loss and the learning rate are called
        ``loss`` and ``lr``.
    left_out : tuple of str
        Chosen columns that hold no number.
    """

    layers: Mapping[str, tuple[str, ...]]
    values: ChosenValues
    left_out: tuple[str, ...] = ()

    @property
    def norms(self) -> list[str]:
        """Columns of all layers."""
        return [column for columns in self.layers.values() for column in columns]


def choose(
    names: Sequence[str],
    patterns: Sequence[str],
    source: str,
    texts: Mapping[str, str] | None = None,
    values: Sequence[str] = (),
) -> Choice:
    """Choose the columns of gradient norms, name their layers, and choose values beside them.

    A log without gradient norms has no layers: its values alone are heard.

    Parameters
    ----------
    names : sequence of str
        All columns of the log.
    patterns : sequence of str
        Names or patterns of the columns of gradient norms; if empty, columns with a word for
        gradients in their names.
    source : str
        Name of the log in error messages.
    texts : mapping of str to str, optional
        Columns that hold no numbers, and their first values.
    values : sequence of str
        Names or patterns of the values, see `choose_values`.

    Raises
    ------
    RunLogError
        If there is no column of numbers, a pattern matches no column, or the columns are of
        several runs.

    Examples
    --------
    >>> names = ["loss", "grad_2.0_norm/fc.weight", "grad_2.0_norm/fc.bias", "grad_2.0_norm_total"]
    >>> choose(names, (), "metrics.csv").layers
    {'fc': ('grad_2.0_norm/fc.weight', 'grad_2.0_norm/fc.bias')}
    """
    usable = [name for name in names if not _BOUND.search(name)]
    chosen = _matching(usable, patterns, names, source) if patterns else norm_columns(usable)
    texts = texts or {}
    numeric = [name for name in chosen if name not in texts]
    if chosen and not numeric:
        raise RunLogError(
            f"{source}: {texts[chosen[0]]}, which is not a norm; choose the columns of norms "
            "with --columns PATTERN"
        )
    numbers = [name for name in usable if name not in texts]
    if not numbers:
        raise RunLogError(f"{source} has no column of numbers; {_found(names)}")
    runs = list(dict.fromkeys(name.rpartition(RUN)[0] for name in numeric or numbers))
    if len(runs) > 1 and (numeric or not values):
        option = "--columns" if numeric else "--values"
        raise RunLogError(
            f"{source} holds {len(runs)} runs: {_some(runs)}; choose one with {option} "
            f"'{glob.escape(runs[-1] + RUN)}*'"
        )
    layers = _layers(numeric, source) if numeric else {}
    # The other norms of gradients, such as those of all layers, are no values.
    norms = {*chosen, *(norm_columns(usable) if numeric else ())}
    named = _named([n for n in numbers if n not in norms and (values or _is_of(n, runs))])
    left_out = tuple(name for name in chosen if name not in numeric)
    return Choice(layers, choose_values(named, values, source, alone=not layers), left_out)


def _is_of(name: str, runs: Sequence[str]) -> bool:
    return name.rpartition(RUN)[0] in runs


def _named(columns: Sequence[str]) -> dict[str, str]:
    """Name the values: ``loss``, ``lr``, or as their tool does."""
    loss, rate = _loss_and_rate(columns)
    known = {loss: "loss", rate: "lr"}
    named: dict[str, str] = {}
    for column in columns:
        name = known.get(column) or column.rpartition(RUN)[2]
        name = column if name in named else name
        named[f"{name}_" if name in _KEYS else name] = column
    return named


def name_of(column: str, taken: Collection[str]) -> str:
    """Name a value that comes later than others, whose names are taken.

    Examples
    --------
    >>> name_of("train/loss", []), name_of("train/loss", ["loss"]), name_of("end", [])
    ('loss', 'train/loss', 'end_')
    """
    for name, found in zip(("loss", "lr"), _loss_and_rate([column]), strict=True):
        if found is not None and name not in taken:
            return name
    name = column.rpartition(RUN)[2]
    name = column if name in taken else name
    return f"{name}_" if name in _KEYS else name


def _matching(
    usable: Sequence[str], patterns: Sequence[str], names: Sequence[str], source: str
) -> list[str]:
    held = [name for name in usable if name not in _loss_and_rate(usable)]
    chosen: set[str] = set()
    for pattern in patterns:
        # An exact name is not a pattern, even if it contains ``*`` or ``[``.
        found = [name for name in usable if name == pattern] or [
            name for name in held if fnmatchcase(name, pattern)
        ]
        if not found:
            raise RunLogError(f"{source}: no column matches {pattern!r}; {_found(names)}")
        chosen.update(found)
    return [name for name in usable if name in chosen]


def _layers(chosen: Sequence[str], source: str) -> dict[str, tuple[str, ...]]:
    named = dict(zip(chosen, layer_names([n.rpartition(RUN)[2] for n in chosen]), strict=True))
    if len(named) > 1:
        # The norm of all layers together is not a layer.
        named = {c: name for c, name in named.items() if name.lower() not in _TOTALS} or named
    layers: dict[str, tuple[str, ...]] = {}
    stems: dict[str, str] = {}
    for column, name in named.items():
        layer, stem = layer_of(name, column)
        held = layers[layer] = (*layers.get(layer, ()), column)
        if stems.setdefault(layer, stem) != stem:
            raise RunLogError(
                f"{source}: {_some(held)} are both of {layer!r}; choose with --columns PATTERN"
            )
    return layers


def _loss_and_rate(names: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the columns of the loss and the learning rate."""
    plain = {name.rpartition(RUN)[2].lower(): name for name in reversed(names)}
    loss = next((plain[name] for name in _LOSSES if name in plain), None)
    rate = next((n for n in names if _RATE.fullmatch(n.rpartition(RUN)[2])), None)
    return loss, rate


def _found(names: Sequence[str]) -> str:
    return f"the columns are: {_some(names)}" if names else "it has no column at all"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if names[SHOWN:] else "")
