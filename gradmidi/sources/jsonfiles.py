"""Read JSON logs: JSON lines, whole JSON files, and Transformers' ``trainer_state.json``."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gradmidi.errors import RunLogError
from gradmidi.sources.cells import STEPS, TIMES, Naming, in_a_line, time_of
from gradmidi.sources.growing import TextFile, until_found
from gradmidi.sources.jsonshapes import entries_of, parsed
from gradmidi.sources.normnames import is_norm
from gradmidi.sources.reader import FileReader, Reader
from gradmidi.sources.rows import Cell, Row
from gradmidi.text.words import count

__all__ = ["JsonLinesReader", "JsonReader", "TrainerReader", "numbers_of"]

WORDS = {
    "nan": math.nan,
    "inf": math.inf,
    "infinity": math.inf,
    "-inf": -math.inf,
    "-infinity": -math.inf,
}
"""Texts that stand for numbers that JSON does not have."""

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?\s*", re.ASCII)


def numbers_of(entry: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in an object, by name; those of an object in it with its name in front.

    A list of norms has a name for each place in it, a list of named objects those names.

    Examples
    --------
    >>> dict(numbers_of({"grad_norms": [0.5, 0.25], "batch": [1, 2]}))
    {'grad_norms/0': 0.5, 'grad_norms/1': 0.25}
    >>> dict(numbers_of({"loss": "nan", "eval": {"acc": 0.5}, "note": "calm", "best": True}))
    {'loss': nan, 'eval/acc': 0.5}
    """
    for key, value in entry.items():
        if isinstance(value, Mapping):
            yield from numbers_of(value, f"{prefix}{key}/")
        elif isinstance(value, list) and "norm" in f"{key}".lower() and is_norm(f"{key}"):
            yield from numbers_of(dict(enumerate(value)), f"{prefix}{key}/")
        elif isinstance(value, list):
            for each in value:
                named = isinstance(each, Mapping) and (each.get("layer") or each.get("name"))
                if isinstance(named, str):
                    yield from numbers_of(each, f"{prefix}{key}/{named}/")
        elif isinstance(value, str):
            found = WORDS.get(value.strip().lower())
            if found is None and _NUMBER.fullmatch(value):
                # Some tools write numbers as texts, as fairseq does.
                found = float(value)
            if found is not None:
                yield f"{prefix}{key}", found
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{key}", _float(value)


def _float(value: float) -> float:
    """Return a number as a float; a whole number that no float holds is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


class _Objects:
    """Makes rows of JSON objects; `step` is the name of the step number, if it is known."""

    def __init__(self, step: str | None = None) -> None:
        self.counters: tuple[str, ...] = () if step is None else (step,)
        self.names: dict[str, None] = {}
        self._namings: dict[tuple[str, ...], Naming] = {}
        self._counts: tuple[Cell | None, ...] | None = None

    def row(self, entry: Mapping[str, Any], where: str, *, resumed: bool = False) -> Row:
        found: dict[str, Cell] = dict(numbers_of(entry))
        names = {name.lower(): name for name in found}
        if not self.counters:
            inner = {name.rpartition("/")[2]: found for name, found in reversed(names.items())}
            steps = {**inner, **names}
            self.counters = tuple(steps[name] for name in STEPS if name in steps)[:1]
        counts = tuple(found.pop(name, None) for name in self.counters)
        t = self._time(entry)
        for name in TIMES:
            found.pop(names.get(name, ""), None)
        series, found = self._named(entry, found, counts)
        self.names.update(dict.fromkeys(found))
        return Row(where, counts, t, found, series, resumed)

    def _named(
        self, entry: Mapping[str, Any], found: dict[str, Cell], counts: tuple[Cell | None, ...]
    ) -> tuple[str, dict[str, Cell]]:
        """Name the numbers of an object that holds one metric, or one layer, by its texts."""
        keys = tuple(map(str, entry))
        naming = self._namings.get(keys)
        if naming is None:
            naming = self._namings[keys] = Naming(keys)
        texts = [value if isinstance(value, str) else "" for value in entry.values()]
        if naming.value is not None:
            series = naming.series(texts)
            value = found.get(keys[naming.value])
            return series, {} if value is None or not series else {series: value}
        if naming.layer is None or not texts[naming.layer]:
            return "", found
        series = in_a_line(texts[naming.layer])
        again, self._counts = counts == self._counts, counts
        # Each object of a step repeats the values that are of no layer.
        return series, {
            f"{name}/{series}" if is_norm(name) else name: value
            for name, value in found.items()
            if is_norm(name) or not again
        }

    @staticmethod
    def _time(entry: Mapping[str, Any]) -> float | None:
        small = {str(name).lower(): value for name, value in entry.items()}
        for name in TIMES:
            if isinstance(small.get(name), (int, float, str)):
                return time_of(str(small[name]))
        return None


class _OfObjects(Reader):
    """A reader whose rows are JSON objects: its columns, and the name of the step number."""

    _objects: _Objects

    @property
    def columns(self) -> tuple[str, ...]:
        """All values so far."""
        return tuple(self._objects.names)

    @property
    def counters(self) -> tuple[str, ...]:
        """The name of the step number, if there is one."""
        return self._objects.counters


class JsonLinesReader(_OfObjects, FileReader):
    """Reads a file with one JSON object per line; other lines are left out and counted.

    Parameters
    ----------
    path : Path
        The file.
    step : str, optional
        The name of the step number; by default one of `STEPS`, or else the rows are counted.

    Raises
    ------
    RunLogError
        Also by `poll`: if the file is not text.
    """

    _file: TextFile

    def __init__(self, path: Path, step: str | None = None) -> None:
        super().__init__(path)
        self._file = TextFile(path, "file of JSON lines")
        self._objects = _Objects(step)
        self._number = self._unread = self._read = 0

    @property
    def notes(self) -> list[str]:
        """Messages to the user."""
        unread = f"{count(self._unread, 'line')} left out, since they hold no JSON object"
        return [*self._file.notes, *([unread] if self._unread else [])]

    def poll(self, *, whole: bool = False) -> list[Row]:
        """Return the next rows, see `Reader`."""
        return until_found(lambda: self._next(whole=whole))

    def _next(self, *, whole: bool) -> list[Row] | None:
        lines = self._file.poll(whole=whole)
        rows = [row for line in lines if (row := self._row(line)) is not None]
        if whole and not lines and self._unread and not self._read:
            raise RunLogError(
                f"no line of {self._path} is a JSON object; if it is what a program printed, add "
                "--as text"
            )
        return rows if lines else None

    def _row(self, line: str) -> Row | None:
        self._number += 1
        if not line.strip():
            return None
        try:
            # The json module reads NaN and Infinity, which many programs write.
            entry = json.loads(line.rstrip().removesuffix(","))
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            self._unread += 1
            return None
        self._read += 1
        return self._objects.row(entry, f"line {self._number}")


class _WholeFile(Reader):
    """Reads a JSON file that is written anew at each change; a subclass makes the rows."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._read: tuple[Path, int, int] | None = None
        self._last: list[Any] = []

    def poll(self, *, whole: bool = False) -> list[Row]:
        """Return the next rows, see `Reader`."""
        try:
            path = self._newest()
            if path is None:
                return []
            stat = path.stat()
            now = (path, stat.st_mtime_ns, stat.st_size)
            if now == self._read:
                return []
            state = parsed(path.read_text(encoding="utf-8"))
        except (ValueError, OSError, RecursionError) as error:
            if whole:
                raise RunLogError(f"cannot read {self._path}: {error}") from error
            # The file is being written.
            return []
        self._read = now
        entries = self._entries(path, state)
        before, self._last = self._last, entries
        # A later state of the file holds the entries of the earlier ones, unless the run began
        # anew.
        goes_on = repr(entries[: len(before)]) == repr(before)
        begin = len(before) if goes_on else 0
        return [
            self._row(path, number, entry, resumed=not goes_on)
            for number, entry in enumerate(entries[begin:], begin + 1)
        ]

    def _newest(self) -> Path | None:
        return self._path

    def _entries(self, path: Path, state: Any) -> list[Any]:
        raise NotImplementedError

    def _row(self, path: Path, number: int, entry: Any, *, resumed: bool) -> Row:
        raise NotImplementedError


class JsonReader(_OfObjects, _WholeFile):
    """Reads a JSON file with a list of objects, or with an object of lists, as Keras's history.

    Parameters
    ----------
    path : Path
        The file.
    step : str, optional
        The name of the step number; by default one of `STEPS`, or else the entries are counted.

    Raises
    ------
    RunLogError
        By `poll`: if the file is not such a file.
    """

    def __init__(self, path: Path, step: str | None = None) -> None:
        super().__init__(path)
        self._objects = _Objects(step)

    def _entries(self, path: Path, state: Any) -> list[Any]:
        entries = entries_of(state)
        if entries is None:
            raise RunLogError(
                f"{path} holds neither a list of objects nor an object of lists of numbers"
            )
        return entries

    def _row(self, path: Path, number: int, entry: Any, *, resumed: bool) -> Row:
        entry = entry if isinstance(entry, dict) else {}
        return self._objects.row(entry, f"entry {number}", resumed=resumed)


class TrainerReader(_WholeFile):
    """Reads the ``trainer_state.json`` that a Trainer of Transformers stores with a checkpoint.

    It has step numbers but no times.

    Parameters
    ----------
    path : Path
        The file, or the output folder with its checkpoints, of which the newest is read.

    Raises
    ------
    RunLogError
        By `poll`: if the file is not such a file.
    """

    # A Trainer logs the norm that its clipping returns, from before clipping.
    clipping = "before"
    counters = ("step",)

    NAME = "trainer_state.json"

    def _entries(self, path: Path, state: Any) -> list[Any]:
        history = state.get("log_history") if isinstance(state, dict) else None
        if not isinstance(history, list):
            raise RunLogError(f"{path} has no 'log_history': it is not a trainer_state.json")
        return history

    def _newest(self) -> Path | None:
        if not self._path.is_dir():
            return self._path
        found = [*self._path.glob(self.NAME), *self._path.glob(f"checkpoint-*/{self.NAME}")]
        return max(found, key=lambda path: (path.stat().st_mtime_ns, str(path)), default=None)

    def _row(self, path: Path, number: int, entry: Any, *, resumed: bool) -> Row:
        step = entry.get("step") if isinstance(entry, dict) else None
        if type(step) is not int:
            raise RunLogError(
                f"{path}: entry {number} of 'log_history' has no whole number as its 'step': "
                "it is not as a Trainer writes it"
            )
        values: dict[str, Cell] = {
            name: value if isinstance(value, str) else _float(value)
            for name, value in entry.items()
            if name != "step" and isinstance(value, (float, int, str))
        }
        self._names.update(dict.fromkeys(values))
        return Row(f"entry {number} of 'log_history'", (_float(step),), None, values, "", resumed)
