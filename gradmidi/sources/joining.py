"""Make the records of a run from the rows of a log, as they come (`Joiner`)."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gradmidi.log import ABSENT, End, Frame, Header, Layer, Record, Values, combine
from gradmidi.log.decoding import MOST_STEP
from gradmidi.sources.columns import Choice, name_of
from gradmidi.sources.converting import NOMINAL_SECONDS, RunClock, header_of
from gradmidi.sources.rows import Row, Series, joined
from gradmidi.sources.selection import MOST, is_progress, matches

__all__ = ["SETTLE_SECONDS", "Joiner"]

SETTLE_SECONDS = 0.02
"""A step is complete when nothing was added to it for this long."""

REMEMBERED = 1000
"""How many steps before the newest one values may still come for."""


@dataclass(slots=True)
class _Step:
    """A step that is not written yet: its number, time, norms and values, by column and name."""

    number: int
    t: float
    touched: float
    norms: dict[str, float] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Series(Series):
    """Numbers the steps of one series of a growing log: also its segment, and what a step has."""

    segment: int = 0
    columns: set[str] = field(default_factory=set)


class Joiner:
    """Joins rows to frames; later values of a step become records of their own.

    Steps that begin again, or go back in a new epoch, are numbered on; other steps that go back
    begin a segment of the run log, which replaces the steps that it repeats.

    Parameters
    ----------
    path : Path
        The log, for the header.
    chosen : Choice
        The layers and values, chosen from the rows so far.
    counter : int or None
        Which of the rows' `counts` is the step; None: rows are counted.
    timed : bool
        Whether the rows have times; otherwise the time of arrival counts.
    patterns : sequence of str
        Names or patterns of values; a value that comes later is heard if it matches, or if there
        are none and it is no measure of progress.
    repeats : bool
        See `Reader.repeats`.

    Attributes
    ----------
    new : list of str
        Values that came later, since the caller emptied the list.
    steps : int
        Frames made.
    left_out : int
        Numbers that are no norms, and rows whose step is no whole number.
    """

    def __init__(
        self,
        path: Path,
        chosen: Choice,
        *,
        counter: int | None,
        timed: bool,
        patterns: Sequence[str] = (),
        repeats: bool = False,
    ) -> None:
        self.new: list[str] = []
        self.steps = self.left_out = 0
        self._path = path
        self._chosen = chosen
        self._counter = counter
        self._timed = timed
        self._patterns = patterns
        self._repeats = repeats
        self._columns = chosen.norms
        self._layers = tuple(Layer(name, 0) for name in chosen.layers)
        counts = [len(group) for group in chosen.layers.values()]
        self._members, self._starts = np.arange(sum(counts)), np.cumsum([0, *counts])[:-1]
        self._norms = frozenset(self._columns)
        self._names = {column: name for name, column in chosen.values.heard.items()}
        self._unheard = set(chosen.values.unheard)
        self._series: dict[str, _Series] = {}
        self._offsets: dict[int | None, int] = {}
        self._segment = 0
        self._open: _Step | None = None
        self._last: _Step | None = None
        self._waiting: dict[str, float] = {}  # Values since the last frame, if there are layers.
        self._written: deque[int] = deque(maxlen=REMEMBERED)
        self._clock = RunClock()
        self._live = False
        self._highest = 0

    def header(self, clipping: str, first: float | None) -> Header:
        """Return the header of the run; `first` is the time of its first row."""
        return header_of(self._path, self._chosen, clipping, first, "of arrival")

    def add(self, rows: Sequence[Row], now: float, *, past: bool) -> list[Record]:
        """Add rows that arrived at `now`, in seconds of any clock; return the records made.

        `past`: the rows are older than the start of reading, so their times are not known.
        """
        records: list[Record] = []
        for row in rows:
            if not row.purges:
                self._add(row, now, records, past=past)
        return records

    def settle(self, now: float, *, at_once: bool = False) -> list[Record]:
        """Return the records of steps that nothing was added to for a while."""
        step = self._open
        if step is None or not (at_once or now - step.touched >= SETTLE_SECONDS):
            return []
        records: list[Record] = []
        self._emit(records)
        if self._waiting and self._last is not None:
            # There is no norm for these values yet, so they are heard with the last frame.
            records.append(Values(self._last.number, self._waiting))
        return records

    def end(self, reason: str, now: float) -> list[Record]:
        """Return the last records, and the end of the run."""
        records = self.settle(now, at_once=True)
        return [*records, End(reason, self._clock.last, self.steps)]

    # -- steps -------------------------------------------------------------------------------

    def _add(self, row: Row, now: float, records: list[Record], *, past: bool) -> None:
        norms, values = self._taken(row)
        if not norms and not values:
            return
        number = self._number(row, {*norms, *values}, records)
        if number is None:
            return
        step = self._open
        if step is not None and number > step.number:
            self._emit(records)
            step = None
        if step is None and self._last is not None and number <= self._last.number:
            self._add_late(number, norms, values, records)
            return
        if step is not None and number < step.number and number in self._written:
            records.append(Values(number, values))
            return
        if step is None:
            step = self._open = _Step(number, self._time(row, now, past=past), now)
        step.touched = now
        step.norms.update(norms)
        step.values.update(values)

    def _add_late(
        self, number: int, norms: dict[str, float], values: dict[str, float], records: list[Record]
    ) -> None:
        """Add what comes for a step whose frame was made already."""
        last = self._last
        assert last is not None
        if number == last.number and norms:
            last.norms.update(norms)
            records.append(Values(number, values, self._row(last.norms)))
        elif values and number in self._written:
            records.append(Values(number, values))
        elif values:
            # The step itself has no frame, so the values go to the newest one.
            records.append(Values(last.number, values))

    def _emit(self, records: list[Record]) -> None:
        step, self._open = self._open, None
        if step is None:
            return
        values = joined(self._waiting, step.values)
        if self._columns and not step.norms:
            self._waiting = values
            return
        self._waiting = {}
        self._last = step
        self._written.append(step.number)
        self.steps += 1
        records.append(Frame(step.number, step.t, self._row(step.norms), values))

    def _row(self, norms: dict[str, float]) -> np.ndarray:
        row = np.array([norms.get(column, ABSENT) for column in self._columns])
        if len(self._starts) == len(row):
            # A column for each layer.
            return row
        return combine(row, self._members, self._starts)

    def _taken(self, row: Row) -> tuple[dict[str, float], dict[str, float]]:
        """Return the norms of a row by column, and its values by name."""
        norms: dict[str, float] = {}
        values: dict[str, float] = {}
        for column, value in row.values.items():
            if column in self._norms:
                if isinstance(value, str) or value < 0.0:
                    self.left_out += 1
                else:
                    norms[column] = value
            elif not isinstance(value, str) and (name := self._name(column)):
                values[name] = value
        return norms, values

    def _name(self, column: str) -> str | None:
        """Return the name of a value; None if it is not heard."""
        name = self._names.get(column)
        if name is not None or column in self._unheard:
            return name
        name = name_of(column, self._names.values())
        wanted = matches(name, self._patterns) if self._patterns else not is_progress(name)
        if not wanted or len(self._names) >= MOST:
            self._unheard.add(column)
            return None
        self._names[column] = name
        self.new.append(name)
        return name

    # -- numbers and times ---------------------------------------------------------------------

    def _number(self, row: Row, columns: set[str], records: list[Record]) -> int | None:
        """Return the step of a row; begin a segment if steps go back."""
        number = self._count(row)
        if number is None:
            return None
        series = self._series.get(row.series)
        if series is None or series.segment != self._segment:
            offset = series.offset if series is not None else self._offsets.get(row.epoch, 0)
            series = self._series[row.series] = _Series(
                number, number, number + offset, offset, segment=self._segment
            )
        elif series.begins_epoch(number, row.epoch, again=bool(series.columns & columns)):
            series.next_epoch(number)
            series.columns = set()
        elif number == series.last:
            again = series.columns & columns
            if again and not self._repeats and not row.resumed:
                series.number_on(number)
                series.columns = set()
        elif number < series.last:
            if self._repeats and series.is_near(number):
                return number + series.offset
            if number <= series.first and not row.resumed:
                series.number_on(number)
            else:
                self._begin_segment(series, number, records)
        if number != series.last:
            series.columns = set()
        series.last = number
        series.columns |= columns
        if row.epoch is not None:
            series.epoch = row.epoch
            self._offsets[row.epoch] = series.offset
        number += series.offset
        series.highest = max(series.highest, number)
        self._highest = max(self._highest, number)
        return number

    def _count(self, row: Row) -> int | None:
        if self._counter is None:
            return self._highest + 1
        found = row.counts[self._counter] if self._counter < len(row.counts) else None
        if found is None:
            # A row without a step belongs to the newest one.
            series = self._series.get(row.series)
            return self._highest - (series.offset if series is not None else 0)
        if isinstance(found, str) or not 0.0 <= found <= MOST_STEP:
            self.left_out += 1
            return None
        return int(found)

    def _begin_segment(self, series: _Series, number: int, records: list[Record]) -> None:
        """Begin a segment: its steps replace those that it repeats."""
        self._emit(records)
        records.append(Header(self._layers, resumed=True))
        self._segment += 1
        series.segment, series.first = self._segment, number
        series.columns = set()
        self._last = None
        self._written.clear()
        self._highest = number + series.offset
        # The times of a segment begin at zero.
        self._clock = RunClock()

    def _time(self, row: Row, now: float, *, past: bool) -> float:
        """Return the time of the next frame."""
        if self._timed:
            return self._clock.seconds(row.t) if row.t is not None else self._clock.last
        if past:
            return self._clock.seconds(self.steps * NOMINAL_SECONDS)
        if not self._live:
            # Live steps go on after the past ones.
            self._live = True
            self._clock.anchor()
        return self._clock.seconds(now)
