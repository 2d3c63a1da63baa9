"""Tables of other tools: the names in their headers, the numbers and times in their cells."""

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from gradmidi.errors import RunLogError
from gradmidi.sources.normnames import RUN, is_norm

__all__ = [
    "EMPTY",
    "STEPS",
    "TIMES",
    "Naming",
    "Numbers",
    "in_a_line",
    "is_number",
    "places",
    "time_of",
]

STEPS = (
    "trainer/global_step",
    "train/global_step",
    "global_step",
    "global step",
    "step",
    "_step",
    "iteration",
    "iter",
    "time/total_timesteps",
    "total_timesteps",
    "timesteps",
    "num_updates",
    "updates",
    "train_step",
    "training_step",
    "optimizer_step",
    "iterations",
    "iter_num",
    "n_iter",
    "current_steps",
    "total timesteps",
    "total/steps",
    "timesteps_total",
    "totalenvinteracts",
    "training_iteration",
)
"""Names of columns of step numbers, in lower case, best first."""

TIMES = (
    "_runtime",
    "relative time (process)",
    "relative time (wall)",
    "_timestamp",
    "timestamp",
    "wall time",
    "wall_time",
    "time",
    "walltime",
    "datetime",
    "elapsed",
    "elapsed_time",
    "seconds",
    "t",
    "date",
    "datum",
)
"""Names of columns of times."""

KEYS = ("key", "metric", "variable", "tag", "metric_name", "metricname", "metric.name", "name")
VALUES = ("value", "metric_value", "metricvalue", "metric.value")
"""Columns of files in which a row holds a metric's name and one number, as MLflow's and pandas'."""

VARIANTS = ("variant", "series")
"""Columns of such files with the second part of the name, as ClearML's."""

CONTEXTS = ("context", "metric.context")
"""Columns of such files with an object of the first parts of the name, as Aim's."""

RUNS = ("run_id", "run id", "run", "run.hash", "run_name")

LAYERS = ("layer", "layer_name", "module", "param", "param_name", "parameter", "parameter_name")
"""Columns of files in which a row holds a layer's name, and its norm."""


class Naming:
    """Which columns of a table name what stands in a row.

    Parameters
    ----------
    header : sequence of str
        The names of all columns.

    Attributes
    ----------
    value : int or None
        The column of numbers, where a row holds a metric's name and one number.
    layer : int or None
        The column of the layers' names, where a row holds the norm of one layer.
    run : int or None
        The column of the runs' names.

    Examples
    --------
    >>> naming = Naming(["metric", "variant", "value"])
    >>> naming.series(["grad_norm", "fc1", "0.5"])
    'grad_norm/fc1'
    """

    def __init__(self, header: Sequence[str]) -> None:
        small = [name.lower() for name in header]
        key, value, variant, context, run, layer = (
            next(iter(places(small, names)), None)
            for names in (KEYS, VALUES, VARIANTS, CONTEXTS, RUNS, LAYERS)
        )
        if key == value or key is None:
            value = None
        self.value = value
        self.run = run
        self.layer = layer if value is None and any(map(is_norm, header)) else None
        self._key, self._variant, self._context, self._part = key, variant, context, layer

    def series(self, cells: Sequence[str]) -> str:
        """Return the name of a row's metric."""
        assert self._key is not None
        parts = [] if self._context is None else _values(cells[self._context])
        parts.append(cells[self._key])
        parts += [cells[at] for at in (self._variant, self._part) if at is not None]
        name = in_a_line("/".join(filter(None, parts)))
        return name if self.run is None else f"{cells[self.run]}{RUN}{name}"


def _values(context: str) -> list[str]:
    """Return the values of an object that is written as JSON or as Python prints it."""
    try:
        found = json.loads(context.replace("'", '"'))
    except ValueError:
        return [context]
    return list(map(str, found.values())) if isinstance(found, Mapping) else [context]


def in_a_line(name: str) -> str:
    """Join the lines of a name."""
    return " ".join(name.splitlines())


def places(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Return where names stand, in the order in which they are wanted.

    Examples
    --------
    >>> places(["time", "step"], ["step", "iter", "time"])
    [1, 0]
    """
    return [names.index(name) for name in wanted if name in names]


EMPTY = frozenset({"", "-", "--", "none", "null", "na", "n/a", "#n/a", "<na>"})
UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""A time larger than the first number counts from 1970, in so many parts of a second."""

DATES = ("%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%b %d %Y %H:%M:%S")
"""Forms of dates beside ISO 8601's in which the day cannot be taken for the month."""

_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_THOUSANDS_DOT = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")
_PRINTED = re.compile(r"(?:tensor|(?:np\.|numpy\.)?float\d+|array)\(([^,()]+)(?:,.*)?\)")
"""A number as Python prints one of PyTorch's or NumPy's."""

_DURATION = re.compile(r"(?:(\d+) days?,? )?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_UNITS = re.compile(r"(?=\d)(?:(\d+)d ?)?(?:(\d+)h ?)?(?:(\d+)m(?:in)? ?)?(?:(\d+(?:\.\d+)?)s)?")


def is_number(text: str) -> bool:
    """Return whether a text is a number as Python reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


class Numbers:
    """Reads the cells of one file as numbers, with a decimal point or a decimal comma."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self._path = path
        self._delimiter = delimiter
        self._comma = self._dot = ""

    def read(self, text: str, where: str, column: str) -> float | str | None:
        """Read a cell; return None if it is empty, and the text if it is not a number."""
        if text.lower() in EMPTY:
            return None
        try:
            found = float(text)
        except ValueError:
            pass
        else:
            if not self._dot and _THOUSANDS_DOT.fullmatch(text):
                self._dot = f"{where} has {text!r} in {column!r}"
            return found
        if self._delimiter == "," and _THOUSANDS.fullmatch(text):
            raise RunLogError(
                f"{self._path}: {where} has {text!r} in {column!r}, which may be a decimal comma "
                "or thousands; write it with a decimal point and without a comma"
            )
        if _DECIMAL_COMMA.fullmatch(text):
            self._comma = self._comma or f"{where} has {text!r} in {column!r}"
            return float(text.replace(".", "").replace(",", "."))
        if text.endswith("%") and is_number(text[:-1]):
            return float(text[:-1])
        printed = _PRINTED.fullmatch(text)
        if printed is not None and is_number(printed[1]):
            return float(printed[1])
        return text

    def check(self) -> None:
        """Raise if a point may separate thousands, because other cells have decimal commas."""
        if self._comma and self._dot:
            raise RunLogError(
                f"{self._path}: {self._dot}, which may be thousands, since {self._comma}; write "
                "all numbers with a decimal point"
            )


def time_of(text: str) -> float | None:
    """Read a time: seconds, smaller units since 1970, a duration or a date; None if it is none."""
    if text.lower() in EMPTY:
        return None
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        match = _DURATION.fullmatch(text) or _UNITS.fullmatch(text)
        if match is not None:
            days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
            return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        return _date(text)
    if not math.isfinite(found):
        return None
    return found / next((parts for least, parts in UNITS if found > least), 1.0)


def _date(text: str) -> float | None:
    """Read a date, as ISO 8601 or as one writes it in English or German."""
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    for form in DATES:
        with contextlib.suppress(ValueError):
            return datetime.strptime(text, form).timestamp()
    return None
