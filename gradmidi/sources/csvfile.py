"""CSV files: a row a step, as most tools write them, or a row a number, as MLflow does."""

import csv
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from gradmidi.errors import RunLogError
from gradmidi.sources.points import Point

__all__ = ["read"]

STEPS = (
    "trainer/global_step",
    "train/global_step",
    "global_step",
    "step",
    "_step",
    "iteration",
    "iter",
)
"""What the column that counts the steps may be called, in small letters, the best first."""

TIMES = (
    "_runtime",
    "relative time (process)",
    "relative time (wall)",
    "_timestamp",
    "timestamp",
    "wall time",
    "wall_time",
    "time",
    "seconds",
    "t",
)
"""What the column that tells the time may be called."""

RUNS = ("run_id", "run id")
KEYS = ("key", "metric")
VALUE = "value"
"""In MLflow's files a row holds a metric's name and one number."""

EMPTY = frozenset({"", "none", "null", "na", "n/a"})
MILLISECONDS = 1e11
"""A time later than this counts milliseconds since 1970."""


class _Row(NamedTuple):
    """A row and where it stands, for errors."""

    line: int
    cells: Sequence[str]


def read(path: Path, step: str | None) -> Iterator[Point]:
    """Read a CSV file; where no column counts the steps, its rows do, from 1.

    Parameters
    ----------
    path : Path
        The file; its cells may be parted by commas, semicolons or tabs.
    step : str or None
        The column that counts the steps; None: the one that is called so.

    Raises
    ------
    RunLogError
        If it is no text, has no such column, or a step is no whole number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            rows = csv.reader(file, delimiter=max(",;\t", key=first.count))
            header = [name.strip() for name in next(rows, [])]
            if not any(header):
                raise RunLogError(f"{path} is empty")
            yield from _points(path, header, (_Row(rows.line_num, r) for r in rows if r), step)
    except (UnicodeDecodeError, csv.Error) as error:
        raise RunLogError(f"{path} is no CSV file: {error}") from error
    except OSError as error:
        raise RunLogError(f"cannot read {path}: {error.strerror or error}") from error


def _points(
    path: Path, header: Sequence[str], rows: Iterator[_Row], step: str | None
) -> Iterator[Point]:
    small = [name.lower() for name in header]
    if step is not None and step not in header:
        raise RunLogError(f"{path} has no column {step!r}; the columns are: {', '.join(header)}")
    counts = header.index(step) if step is not None else _place(small, STEPS)
    tells = _place(small, TIMES)
    key, value = _place(small, KEYS), _place(small, (VALUE,))
    wide = key is None or value is None
    run = None if wide else _place(small, RUNS)
    # A column with another count of the steps is no norm either.
    aside = {counts, tells, *(small.index(n) for n in (*STEPS, *TIMES) if n in small)}
    columns = [(name, at) for at, name in enumerate(header) if at not in aside]
    for number, row in enumerate(rows, 1):
        cells = row.cells
        if len(cells) > len(header):
            raise RunLogError(
                f"{path}: line {row.line} has {len(cells)} cells, the header has {len(header)}"
            )
        if counts is None:
            at_step: int | None = number
        else:
            at_step = _whole(_cell(cells, counts), path, row.line, header[counts])
        if at_step is None:
            continue
        t = None if tells is None else _time(_cell(cells, tells))
        if key is not None and value is not None:
            name = _cell(cells, key)
            name = name if run is None else f"{_cell(cells, run)} - {name}"
            yield Point(name, at_step, t, _number(_cell(cells, value)))
            continue
        for name, at in columns:
            yield Point(name, at_step, t, _number(_cell(cells, at)))


def _place(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _cell(cells: Sequence[str], at: int) -> str:
    # A last line that was cut short has fewer.
    return cells[at].strip() if at < len(cells) else ""


def _number(text: str) -> float | str | None:
    if text.lower() in EMPTY:
        return None
    try:
        return float(text)
    except ValueError:
        return text


def _whole(text: str, path: Path, line: int, column: str) -> int | None:
    found = _number(text)
    if found is None:
        return None
    if isinstance(found, str) or not found.is_integer() or found < 0.0:
        raise RunLogError(
            f"{path}: line {line} has {text!r} in {column!r}, which is no step: a whole number of "
            "0 or more; say which column counts the steps with --step COLUMN"
        )
    return int(found)


def _time(text: str) -> float | None:
    found = _number(text)
    if isinstance(found, str):
        try:
            return datetime.fromisoformat(found).timestamp()
        except ValueError:
            return None
    if found is None or not math.isfinite(found):
        return None
    return found / 1000.0 if found > MILLISECONDS else found
