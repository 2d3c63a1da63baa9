"""What is taken from a log of another tool: as the user chose it, and by the names of values."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gradmidi.errors import RunLogError

__all__ = ["MOST", "RULE", "ChosenValues", "Selection", "choose_values", "is_progress", "matches"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What to take from a log of another tool.

    Parameters
    ----------
    kind : str or None
        What the log is: a name in `gradmidi.sources.kinds.KINDS`. None: it is found.
    columns : tuple of str
        Names or patterns of the columns of gradient norms; if empty, columns with a word for
        gradients in their names.
    values : tuple of str
        Names or patterns of values, see `gradmidi.sources.selection.choose_values`.
    step : str or None
        The column of step numbers. None: it is found by its name.
    """

    kind: str | None = None
    columns: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    step: str | None = None


MOST = 15
"""How many values of one log are heard at most."""

RULE = f"the first {MOST}: losses first, then the others in their order in the log"
"""How `choose_values` chooses if there are more values than `MOST`."""

_WORD = re.compile(r"[A-Z]{2,}s(?![a-z])|[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
"""A word of a name, in snake_case or CamelCase."""

_LOSS = re.compile(r"loss(es)?|nll|perplexity|ppl|bpb|logloss|error")

_PROGRESS = re.compile(
    r"batch(es)?|bsz|cpu|date|days?|disk|duration|elapsed|episodes|epochs?|eta|examples?|flops|flos|fps"
    r"|[kmg]i?b|gpu|hours?|hrs?|images?|index|instances?|ips|its?|iter(ation)?s?|mem(ory)?|mfu"
    r"|min(ute)?s?|modes?|ms|num|param(eter)?s?|per|percentage|pid|power|progress|remaining|runtime|s|samples?"
    r"|sec(ond)?s?|seed|sents?|size|skipped|speed|sps|steps?|temp(erature)?|tflops|throughput|time|timestamp|timesteps|tok(en)?s?|tps|usage|util|utili[sz]ation"
    r"|ups|version|wall|wps"
)
"""A name with one of these words counts progress, or measures speed or hardware."""

_SETTINGS = frozenset({"config", "args", "hparams", "hyperparameters", "settings"})
"""What is in a folder of such a name is no value of the training."""


@dataclass(frozen=True, slots=True)
class ChosenValues:
    """The values chosen from a log.

    Parameters
    ----------
    heard : mapping of str to str
        Name of each value and its column.
    unheard : tuple of str
        Columns of numbers that are not heard.
    cut : int
        How many of `unheard` are there only because `MOST` values are heard already.
    """

    heard: Mapping[str, str]
    unheard: tuple[str, ...] = ()
    cut: int = 0


def choose_values(
    columns: Mapping[str, str], patterns: Sequence[str], source: str, *, alone: bool = True
) -> ChosenValues:
    """Choose the values that are heard.

    Parameters
    ----------
    columns : mapping of str to str
        Name of each value and its column, in their order in the log.
    patterns : sequence of str
        Names or patterns of values; if empty, all but those that count progress, or measure time,
        speed or hardware. At most `MOST` are chosen, by `RULE`.
    source : str
        Name of the log in error messages.
    alone : bool, default True
        Whether there are no layers beside them: then what counts progress is chosen if there is
        nothing else.

    Raises
    ------
    RunLogError
        If a pattern matches no value.

    Examples
    --------
    >>> names = ["epoch", "acc", "loss", "time_ms"]
    >>> chosen = choose_values(dict(zip(names, names)), (), "log.csv")
    >>> list(chosen.heard), chosen.unheard
    (['loss', 'acc'], ('epoch', 'time_ms'))
    """
    if patterns:
        wanted = _matching(columns, patterns, source)
    else:
        wanted = [name for name in columns if not is_progress(name)]
        wanted = wanted or (list(columns) if alone else [])
        wanted.sort(key=lambda name: not _is_loss(name))
    heard = {name: columns[name] for name in wanted[:MOST]}
    unheard = tuple(column for name, column in columns.items() if name not in heard)
    return ChosenValues(heard, unheard, len(wanted) - len(heard))


def is_progress(name: str) -> bool:
    """Return whether a value counts progress, measures time, speed or hardware, or is a setting.

    Examples
    --------
    >>> [is_progress(name) for name in ("tok/s", "train/epoch", "loss_scale", "loss", "val_acc")]
    [True, True, True, False, False]
    """
    words = _words(name)
    is_setting = not _SETTINGS.isdisjoint(name.lower().split("/")[:-1])
    # The time for loading data is often called ``data`` alone.
    is_time = words == ["data"] or any(map(_PROGRESS.fullmatch, words))
    return is_setting or is_time or {"loss", "scale"} <= set(words)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a name is one of these, or matches one of these patterns."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _is_loss(name: str) -> bool:
    return any(map(_LOSS.fullmatch, _words(name)))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _matching(columns: Mapping[str, str], patterns: Sequence[str], source: str) -> list[str]:
    chosen: dict[str, None] = {}
    for pattern in patterns:
        found = [name for name, column in columns.items() if pattern in (name, column)] or [
            name for name, column in columns.items() if fnmatchcase(name, pattern)
        ]
        if not found:
            shown = ", ".join(list(columns)[:20]) or "none"
            raise RunLogError(f"{source}: no value matches {pattern!r}; the values are: {shown}")
        chosen.update(dict.fromkeys(found))
    return list(chosen)
