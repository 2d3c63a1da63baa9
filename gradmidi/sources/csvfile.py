"""Read CSV files of other tools, also while they grow."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gradmidi.errors import RunLogError
from gradmidi.sources.cells import (
    EMPTY,
    STEPS,
    TIMES,
    Naming,
    Numbers,
    in_a_line,
    is_number,
    places,
    time_of,
)
from gradmidi.sources.growing import TextFile, until_found
from gradmidi.sources.normnames import is_norm
from gradmidi.sources.reader import FileReader
from gradmidi.sources.rows import Cell, Row
from gradmidi.text.words import count

__all__ = ["CsvReader", "is_table"]


LONGEST_HEAD = 1 << 16
"""How many letters of the first line are looked at."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things stand in the rows of a file.

    `first` is how many lines there are up to the header. The others are the separator, the cells
    of the header, the places of step numbers, times and columns of values, and which columns name
    what stands in a row.
    """

    first: int
    delimiter: str
    header: list[str]
    counters: list[int]
    times: list[int]
    columns: list[tuple[str, int]]
    naming: Naming


class CsvReader(FileReader):
    """Reads a CSV file with any common separator and either decimal mark.

    Cells may be separated by commas, semicolons, tabs, bars or spaces, and numbers may have decimal
    commas. Comments before the header, a line ``sep=;``, a repeated header and an empty last column
    are accepted. A row may hold all values of a step, one metric, or one layer. If a tool writes
    the file again with more columns, only new rows are returned.

    Parameters
    ----------
    path : Path
        The file.
    step : str, optional
        The column of step numbers; by default one of `STEPS`, or else the rows are counted.

    Raises
    ------
    RunLogError
        Also by `poll`: if the file is not text, a number is ambiguous, a row has too many cells,
        or there is no column `step`.
    """

    _file: TextFile

    def __init__(self, path: Path, step: str | None = None) -> None:
        super().__init__(path)
        self._step = step
        self._file = TextFile(path, "CSV file")
        self._restarts = 0
        self._rows = 0
        self._first: Row | None = None
        self._begin()

    def _begin(self) -> None:
        self._lines: list[str] = []  # Until the header is found.
        self._number = 0
        self._layout: _Layout | None = None
        self._headers: list[int] = []
        self._unread_times: list[str] = []
        self._run = ""
        self._seen = 0
        self._counts: tuple[Cell | None, ...] | None = None  # The steps of the last row.

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of values; empty as long as there are no rows."""
        if not self._rows:
            return ()
        layout = self._layout
        held = [] if layout is None or layout.naming.value is not None else layout.columns
        if layout is not None and layout.naming.layer is not None:
            held = [(name, at) for name, at in held if not is_norm(name)]
        return tuple(dict.fromkeys([*self._names, *(name for name, _ in held)]))

    @property
    def counters(self) -> tuple[str, ...]:
        """Columns of step numbers, best first."""
        layout = self._layout
        return tuple(layout.header[at] for at in layout.counters) if layout is not None else ()

    @property
    def notes(self) -> list[str]:
        """Messages to the user."""
        notes = list(self._file.notes)
        layout = self._layout
        if layout is None:
            return notes
        names = [name for name, _ in layout.columns]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice and self._rows and layout.naming.value is None:
            more = _more(len(twice) - 1)
            notes.append(f"the column {twice[0]!r} stands twice{more}: the last one is read")
        if self._headers:
            more = _more(len(self._headers) - 1)
            notes.append(f"the header stands again at line {self._headers[0]}{more}")
        if self._unread_times:
            notes.append(
                f"{count(len(self._unread_times), 'time')} could not be read: "
                f"{self._unread_times[0]} in {layout.header[layout.times[0]]!r}"
            )
        return notes

    def poll(self, *, whole: bool = False) -> list[Row]:
        """Return the next rows, see `Reader`."""
        return until_found(lambda: self._next(whole=whole))

    def _next(self, *, whole: bool) -> list[Row] | None:
        lines = self._file.poll(whole=whole)
        if self._file.restarts > self._restarts:
            self._restarts = self._file.restarts
            self._begin()
        if self._layout is None:
            lines = self._lines = self._lines + lines
            if not self._find_layout(whole=whole) or self._layout is None:
                return None
            lines = lines[self._layout.first :]
            self._number = self._layout.first
        new = self._new(self._read(lines, self._layout))
        self._numbers.check()
        return new if lines else None

    def _new(self, rows: list[Row]) -> list[Row]:
        """Leave out the rows that were returned before the file was written again."""
        if self._first is None and rows:
            self._first = rows[0]
        elif rows and not self._seen and not _agree(rows[0], self._first):
            # It is another run.
            self._first, self._rows = rows[0], 0
        new = rows[max(0, self._rows - self._seen) :]
        self._seen += len(rows)
        self._rows = max(self._rows, self._seen)
        return new

    def _find_layout(self, *, whole: bool) -> bool:
        first, delimiter, header = _head(self._lines, whole=whole)
        header = list(map(in_a_line, header))
        if not any(header):
            if whole:
                raise RunLogError(f"{self._path} is empty")
            return False
        self._layout = self._layout_of(first, delimiter, header)
        self._numbers = Numbers(self._path, delimiter)
        self._lines = []
        return True

    def _layout_of(self, first: int, delimiter: str, header: list[str]) -> _Layout:
        step, small = self._step, [name.lower() for name in header]
        if step is not None and step not in header:
            names = ", ".join(header)
            raise RunLogError(f"{self._path} has no column {step!r}; the columns are: {names}")
        counters = [header.index(step)] if step is not None else places(small, STEPS)
        times = places(small, TIMES)
        naming = Naming(header)
        # Other columns of step numbers or times are not values.
        excluded = {*counters, *times, *places(small, STEPS), naming.layer, naming.run}
        columns = [(name, at) for at, name in enumerate(header) if name and at not in excluded]
        return _Layout(first, delimiter, header, counters, times, columns, naming)

    def _read(self, lines: list[str], layout: _Layout) -> list[Row]:
        if layout.delimiter == " ":
            lines = [" ".join(line.split()) for line in lines]
        reader = csv.reader(lines, delimiter=layout.delimiter)
        begin = self._number
        rows = []
        try:
            for cells in reader:
                row = self._row([cell.strip() for cell in cells], begin + reader.line_num)
                if row is not None:
                    rows.append(row)
        except csv.Error as error:
            raise RunLogError(
                f"{self._path} is not a CSV file: line {begin + reader.line_num}: {error}"
            ) from error
        self._number += len(lines)
        return rows

    def _row(self, cells: list[str], line: int) -> Row | None:
        layout = self._layout
        assert layout is not None
        header, where = layout.header, f"line {line}"
        if not any(cells) or (cells[0].startswith("#") and cells != header):
            return None
        if cells[: len(header)] == header:
            self._headers.append(line)
            if any(cells[len(header) :]):
                # From here on the rows have more columns.
                wider = self._layout_of(layout.first, layout.delimiter, cells)
                self._layout = replace(wider, counters=layout.counters)
            return None
        if any(cells[len(header) :]):
            raise RunLogError(
                f"{self._path}: {where} has {len(cells)} cells, the header has {len(header)}; a "
                f"cell that holds {layout.delimiter!r} must stand in quotes"
            )
        cells += [""] * (len(header) - len(cells))
        t = None
        if layout.times:
            cell = cells[layout.times[0]]
            t = time_of(cell)
            if t is None and cell.lower() not in EMPTY:
                self._unread_times.append(f"{where} has {cell!r}")
        held, series, naming = layout.columns, "", layout.naming
        if naming.value is not None:
            series = naming.series(cells)
            held = [(series, naming.value)]
            self._names[series] = None
        elif naming.run is not None:
            self._check_run(cells[naming.run], where)
        read = self._numbers.read
        counts = tuple(read(cells[at], where, header[at]) for at in layout.counters)
        if naming.layer is not None:
            # Each row of a step repeats the values that are of no layer.
            series = in_a_line(cells[naming.layer])
            held = [
                (f"{name}/{series}" if is_norm(name) else name, at)
                for name, at in held
                if is_norm(name) or counts != self._counts
            ]
            self._names.update((name, None) for name, at in held if is_norm(header[at]))
            self._counts = counts
        found = {
            name: value
            for name, at in held
            if (value := read(cells[at], where, header[at])) is not None
        }
        return Row(where, counts, t, found, series, bool(self._headers))

    def _check_run(self, run: str, where: str) -> None:
        """Refuse the rows of a second run, whose steps would be taken for those of the first."""
        self._run = self._run or run
        if run and run != self._run:
            raise RunLogError(
                f"{self._path} holds several runs: {self._run!r}, and {run!r} at {where}; give a "
                "file with the rows of one run"
            )


def _agree(row: Row, other: Row | None) -> bool:
    """Return whether two rows have the same step and the same values in the columns of both."""
    if other is None or row.counts != other.counts:
        return False
    shared = row.values.keys() & other.values.keys()
    # A nan is not equal to itself.
    return all(repr(row.values[name]) == repr(other.values[name]) for name in shared)


def _head(lines: Sequence[str], *, whole: bool) -> tuple[int, str, list[str]]:
    """Find the header; return the number of lines up to it, the separator and the cells."""
    delimiter, comment = "", ""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if number == 1 and text.lower().startswith("sep=") and len(line.rstrip("\r\n")) == 5:
            delimiter = line[4]
        elif text.startswith("#"):
            comment = text.lstrip("# ")
        elif text:
            separator = delimiter or max(",;\t|", key=line.count)
            if separator not in line and len(text.split()) > 1:
                rest = [each.split() for each in lines[number:] if each.strip()]
                if not rest and not whole:
                    # The next line shows whether spaces separate cells.
                    break
                if rest and len(rest[0]) == len(text.split()) and all(map(is_number, rest[0])):
                    separator, line = " ", " ".join(text.split())
            cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
            if comment and all(map(is_number, cells)):
                # numpy.savetxt writes the header as a comment.
                named = [cell.strip() for cell in comment.split(separator)]
                if len(named) == len(cells):
                    return number - 1, separator, named
            while cells and not cells[-1]:
                cells.pop()
            return number, separator, cells
    return len(lines), ",", []


def is_table(path: Path) -> bool:
    """Return whether the first lines of a file are a line of names and a row of numbers."""
    with path.open(encoding="utf-8", errors="replace") as file:
        names, row = (file.readline(LONGEST_HEAD).strip("\r\n") for _ in range(2))
    separator = max(",\t", key=names.count)
    header, cells = ([c.strip() for c in line.split(separator)] for line in (names, row))
    return (
        len(header) == len(cells) > 1
        and not any(map(is_number, header))
        and all(cell.lower() in EMPTY or is_number(cell) for cell in cells)
        and any(map(is_number, cells))
    )


def _more(number: int) -> str:
    return f" (and {number} more)" if number else ""
