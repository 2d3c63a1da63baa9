"""Readers of other tools' logs: CSV files, TensorBoard's event files and ``trainer_state.json``."""

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gradmidi.base.versions import framework
from gradmidi.errors import CaptureError, RunLogError
from gradmidi.sources.rows import Row, Table
from gradmidi.text.words import count

__all__ = ["read_csv", "read_events", "read_trainer_state"]

# -- CSV files ----------------------------------------------------------------------------------

STEPS = (
    "trainer/global_step",
    "train/global_step",
    "global_step",
    "step",
    "_step",
    "iteration",
    "iter",
    "time/total_timesteps",
    "total_timesteps",
    "timesteps",
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
    "seconds",
    "t",
)
"""Names of columns of times."""

RUNS = ("run_id", "run id")
KEYS = ("key", "metric")
VALUE = "value"
"""Columns of MLflow's files, in which a row holds a metric's name and one number."""

EMPTY = frozenset({"", "none", "null", "na", "n/a"})
MILLISECONDS = 1e11
"""A larger time is in milliseconds since 1970."""

_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_THOUSANDS_DOT = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")
_DURATION = re.compile(r"(?:(\d+) days?,? )?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_BYTE_ORDERS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def read_csv(path: Path, step: str | None) -> Table:
    """Read a CSV file with any common separator and either decimal mark.

    Cells may be separated by commas, semicolons or tabs, and numbers may have decimal commas.
    Comments before the header, a line ``sep=;``, a repeated header and an empty last column are
    accepted.

    Parameters
    ----------
    path : Path
        The file.
    step : str or None
        The column of step numbers; None: one of `STEPS`, or else the rows are counted.

    Raises
    ------
    RunLogError
        If the file is not text, a number is ambiguous, a row has too many cells, or there is no
        column `step`.
    """
    notes: list[str] = []
    lines = list(io.StringIO(_text(path, notes), newline=""))
    begin, delimiter, header = _head(lines)
    if not any(header):
        raise RunLogError(f"{path} is empty")
    small = [name.lower() for name in header]
    if step is not None and step not in header:
        raise RunLogError(f"{path} has no column {step!r}; the columns are: {', '.join(header)}")
    counters = [header.index(step)] if step is not None else _places(small, STEPS)
    times = _places(small, TIMES)
    keys, values = _places(small, KEYS), _places(small, (VALUE,))
    runs = _places(small, RUNS)
    # Other columns of step numbers or times are not values.
    excluded = {*counters, *times, *_places(small, STEPS)}
    columns = [(name, at) for at, name in enumerate(header) if name and at not in excluded]
    table = Table((), [], tuple(header[at] for at in counters), notes)
    headers: list[int] = []
    unread_times: list[str] = []
    numbers = _Numbers(path, delimiter)
    reader = csv.reader(lines[begin:], delimiter=delimiter)
    try:
        for cells in reader:
            where = f"line {begin + reader.line_num}"
            cells = [cell.strip() for cell in cells]
            if not any(cells) or (cells[0].startswith("#") and cells != header):
                continue
            if cells[: len(header)] == header:
                headers.append(begin + reader.line_num)
                continue
            if any(cells[len(header) :]):
                raise RunLogError(
                    f"{path}: {where} has {len(cells)} cells, the header has {len(header)}; a cell "
                    f"that holds {delimiter!r} must stand in quotes"
                )
            cells += [""] * (len(header) - len(cells))
            t = _time(cells[times[0]]) if times else None
            if times and t is None and cells[times[0]].lower() not in EMPTY:
                unread_times.append(f"{where} has {cells[times[0]]!r}")
            if keys and values:
                name = cells[keys[0]]
                if runs:
                    name = f"{cells[runs[0]]} - {name}"
                held = [(name, values[0])]
                series = name
            else:
                held, series = columns, ""
            found = {
                name: value
                for name, at in held
                if (value := numbers.read(cells[at], where, header[at])) is not None
            }
            counts = tuple(numbers.read(cells[at], where, header[at]) for at in counters)
            table.rows.append(Row(where, counts, t, found, series, bool(headers)))
    except csv.Error as error:
        raise RunLogError(
            f"{path} is not a CSV file: line {begin + reader.line_num}: {error}"
        ) from error
    numbers.check()
    if keys and values:
        table.columns = tuple(dict.fromkeys(row.series for row in table.rows))
    elif table.rows:
        table.columns = tuple(dict.fromkeys(name for name, _ in columns))
        _refuse_twice(path, [name for name, _ in columns], table)
    if headers:
        notes.append(f"the header stands again at line {headers[0]}{_more(len(headers) - 1)}")
    if unread_times:
        notes.append(
            f"{count(len(unread_times), 'time')} could not be read: {unread_times[0]} in "
            f"{header[times[0]]!r}"
        )
    return table


def _text(path: Path, notes: list[str]) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunLogError(f"cannot read {path}: {error.strerror or error}") from error
    encoding = next((e for mark, e in _BYTE_ORDERS.items() if content.startswith(mark)), "utf-8")
    if encoding != "utf-16" and b"\0" in content:
        raise RunLogError(f"{path} is not a CSV file: it is not text; export it as CSV")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        for other in ("cp1252", "latin-1"):
            try:
                text = content.decode(other)
            except UnicodeDecodeError:
                continue
            notes.append(f"line {line} is not UTF-8: the file is read as {other}")
            return text
        raise


def _head(lines: Sequence[str]) -> tuple[int, str, list[str]]:
    """Find the header; return the number of lines up to it, the separator and the cells."""
    delimiter, comment = "", ""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if number == 1 and text.lower().startswith("sep=") and len(text) == 5:
            delimiter = text[4]
        elif text.startswith("#"):
            comment = text.lstrip("# ")
        elif text:
            separator = delimiter or max(",;\t", key=line.count)
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
            if comment and all(map(_is_number, cells)):
                # numpy.savetxt writes the header as a comment.
                named = [cell.strip() for cell in comment.split(separator)]
                if len(named) == len(cells):
                    return number - 1, separator, named
            while cells and not cells[-1]:
                cells.pop()
            return number, separator, cells
    return len(lines), ",", []


def _refuse_twice(path: Path, names: Sequence[str], table: Table) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        table.notes.append(
            f"the column {twice[0]!r} stands twice{_more(len(twice) - 1)}: the last one is read"
        )


def _more(number: int) -> str:
    return f" (and {number} more)" if number else ""


def _places(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    return [names.index(name) for name in wanted if name in names]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Numbers:
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
        return text

    def check(self) -> None:
        """Raise if a point may separate thousands, because other cells have decimal commas."""
        if self._comma and self._dot:
            raise RunLogError(
                f"{self._path}: {self._dot}, which may be thousands, since {self._comma}; write "
                "all numbers with a decimal point"
            )


def _time(text: str) -> float | None:
    if text.lower() in EMPTY:
        return None
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        match = _DURATION.fullmatch(text)
        if match is not None:
            days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
            return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        try:
            return datetime.fromisoformat(text).timestamp()
        except ValueError:
            return None
    if not math.isfinite(found):
        return None
    return found / 1000.0 if found > MILLISECONDS else found


# -- TensorBoard --------------------------------------------------------------------------------

NEEDED = "2.10"
ALL = {"scalars": 0, "histograms": 0, "tensors": 0, "images": 1, "audio": 1}
"""How many events of each kind to read; 0: all."""


def read_events(path: Path) -> Table:
    """Read an event file of TensorBoard, or a folder of event files of one run.

    A histogram's norm is exact, because the file holds the sum of squares.

    Raises
    ------
    RunLogError
        If TensorBoard 2.10 or newer is not installed.
    """
    package = "tensorboard.backend.event_processing.event_accumulator"
    try:
        accumulators = framework(package, "tensorboard", NEEDED)
    except CaptureError as error:
        raise RunLogError(f"{path} is an event file of TensorBoard: {error}") from error
    events = accumulators.EventAccumulator(str(path), size_guidance=ALL)
    events.Reload()
    rows = [
        Row(f"event {number} of {tag!r}", (float(event.step),), event.wall_time, {tag: value}, tag)
        for tag, found in itertools.groupby(_events(events), key=lambda each: each[0])
        for number, (_, event, value) in enumerate(found, 1)
    ]
    return Table(tuple(dict.fromkeys(row.series for row in rows)), rows, ("step",))


def _events(events: Any) -> Iterator[tuple[str, Any, float]]:
    tags = events.Tags()
    for tag in tags["scalars"]:
        for event in events.Scalars(tag):
            yield tag, event, float(event.value)
    for tag in tags["histograms"]:
        for event in events.Histograms(tag):
            yield tag, event, math.sqrt(event.histogram_value.sum_squares)
    # TensorFlow writes scalars and texts as tensors.
    arrays = framework("tensorboard.util.tensor_util", "tensorboard", NEEDED)
    for tag in tags["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            for event in events.Tensors(tag):
                yield tag, event, float(arrays.make_ndarray(event.tensor_proto))


# -- Transformers -------------------------------------------------------------------------------


def read_trainer_state(path: Path) -> Table:
    """Read the ``trainer_state.json`` that a Trainer of Transformers stores with a checkpoint.

    It has step numbers but no times.

    Raises
    ------
    RunLogError
        If the file is not such a file.
    """
    try:
        # Use the json module, because the Trainer writes NaN and Infinity with it.
        state = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RunLogError(f"cannot read {path}: {error}") from error
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise RunLogError(f"{path} has no 'log_history': it is not a trainer_state.json")
    rows = []
    for number, entry in enumerate(history, 1):
        step = entry.get("step") if isinstance(entry, dict) else None
        if type(step) is not int:
            raise RunLogError(
                f"{path}: entry {number} of 'log_history' has no whole number as its 'step': "
                "it is not as a Trainer writes it"
            )
        values = {
            name: value if isinstance(value, str) else float(value)
            for name, value in entry.items()
            if name != "step" and isinstance(value, (float, int, str))
        }
        rows.append(Row(f"entry {number} of 'log_history'", (float(step),), None, values))
    names = tuple(dict.fromkeys(name for row in rows for name in row.values))
    # A Trainer logs the norm that its clipping returns, from before clipping.
    return Table(names, rows, ("step",), clipping="before")
