"""Make the records of a run from the rows of a log, as they come (`Joiner`)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gradmidi.errors import RunLogError
from gradmidi.log import ABSENT, End, Frame, Header, Layer, Record, Values, combine
from gradmidi.sources.columns import Choice, name_of
from gradmidi.sources.converting import NOMINAL_SECONDS, RunClock, header_of, shown
from gradmidi.sources.numbering import Numbering
from gradmidi.sources.rows import Row, joined
from gradmidi.sources.selection import MOST, is_progress, matches

__all__ = ["SETTLE_SECONDS", "Joiner"]

SETTLE_SECONDS = 0.02
"""A step is complete when nothing was added to it for this long."""

REMEMBERED, MOST_NORMS = 1000, 200_000
"""Values may still come for so many steps before the newest one; for fewer, if these have more
norms than that."""


@dataclass(slots=True)
class _Step:
    """A step: its number, time, norms by column, values by name; and whether it has a frame."""

    number: int
    t: float
    touched: float
    norms: dict[str, float] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    has_frame: bool = False

    def __contains__(self, column: object) -> bool:
        return column in self.norms or column in self.values


class Joiner:
    """Joins rows to frames; later values of a step become records of their own.

    Steps are numbered as `Numbering` says. Those that are repeated begin a segment of the run log,
    which replaces the earlier ones.

    Parameters
    ----------
    path : Path
        The log, for the header.
    chosen : Choice
        The layers and values, chosen from the rows so far.
    known : collection of str
        The columns from which they were chosen; the others of them are not taken.
    counters : sequence of str
        The columns of step numbers.
    counter : int or None
        Which of them counts; None: rows are counted.
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
    """

    def __init__(
        self,
        path: Path,
        chosen: Choice,
        *,
        known: Collection[str],
        counters: Sequence[str],
        counter: int | None,
        timed: bool,
        patterns: Sequence[str] = (),
        repeats: bool = False,
    ) -> None:
        self.new: list[str] = []
        self.steps = 0
        self._path = path
        self._chosen = chosen
        self._timed = timed
        self._patterns = patterns
        self._columns = chosen.norms
        self._layers = tuple(Layer(name, 0) for name in chosen.layers)
        counts = [len(group) for group in chosen.layers.values()]
        self._members, self._starts = np.arange(sum(counts)), np.cumsum([0, *counts])[:-1]
        self._norms = frozenset(self._columns)
        self._names = {column: name for name, column in chosen.values.heard.items()}
        self._unheard = {*known} - self._names.keys()
        self._steps: dict[int, _Step] = {}  # The newest ones.
        self._remembered = min(REMEMBERED, MOST_NORMS // max(1, len(self._columns)) + 1)
        self._numbering = Numbering(
            str(path), counters, counter, repeats, self._steps, growing=True
        )
        self._rows = 0
        self._left_out: dict[str, str] = {}  # The first of each kind.
        self._open: _Step | None = None
        self._last: _Step | None = None  # The last one in this segment that has a frame.
        self._before = -1
        self._waiting: dict[str, float] = {}  # Values since the last frame, if there are layers.
        self._clock = RunClock()
        self._live = False

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
                self._rows += 1
                self._add(row, now, records, past=past)
        return records

    @property
    def notes(self) -> dict[str, str]:
        """Messages to the user about steps and norms so far, by their kinds."""
        return {**self._left_out, **self._numbering.notes("norm" if self._columns else "value")}

    def settle(self, now: float, *, at_once: bool = False) -> list[Record]:
        """Return the records of steps that nothing was added to for a while."""
        step = self._open
        if step is None or not (at_once or now - step.touched >= SETTLE_SECONDS):
            return []
        records: list[Record] = []
        self._close(records)
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
        try:
            number = self._numbering.number(row, self._rows, {**norms, **values})
        except RunLogError as error:
            self._left_out.setdefault("step", f"{error}; such rows are left out")
            return
        if number is None:
            self._numbering.leave_out(row.where, len(norms if self._columns else values))
            return
        if self._numbering.repeats and number <= self._newest:
            self._begin_segment(number, records)
        step = self._open
        if step is None or number != step.number:
            step = self._steps.get(number) or self._new(number, row, now, records, past=past)
        if step is None:
            self._add_to_last(row, norms, values, records)
            return
        step.touched = now
        step.norms.update(norms)
        step.values.update(values)
        if step is self._open:
            return
        if step.has_frame:
            new = self._row(step.norms) if norms else None
            records.append(Values(number, values, new))
        elif number > self._framed and (norms or not self._columns):
            if number > self._newest:
                self._close(records)
            self._emit(step, records)
        else:
            self._add_to_last(row, norms, values, records)

    @property
    def _framed(self) -> int:
        """The number of the last frame, or the one before the segment; frames come after it."""
        return self._before if self._last is None else self._last.number

    @property
    def _newest(self) -> int:
        """The number of the newest step."""
        return self._framed if self._open is None else self._open.number

    def _new(
        self, number: int, row: Row, now: float, records: list[Record], *, past: bool
    ) -> _Step | None:
        """Return a new step; None if there is a frame after it."""
        if number <= self._framed:
            return None
        if self._open is not None and number < self._open.number:
            step = _Step(number, self._open.t, now)
        else:
            self._close(records)
            step = self._open = _Step(number, self._time(row, now, past=past), now)
        self._steps[number] = step
        if len(self._steps) > self._remembered:
            del self._steps[next(iter(self._steps))]
        return step

    def _add_to_last(
        self, row: Row, norms: Collection[str], values: dict[str, float], records: list[Record]
    ) -> None:
        """Add values to the newest frame, as their step can have none any more."""
        if norms:
            note = f"{row.where} has norms of a step before the last one: they are left out"
            self._left_out.setdefault("late", note)
        if self._last is None:
            self._waiting = joined(self._waiting, values)
        elif values:
            records.append(Values(self._last.number, values))

    def _close(self, records: list[Record]) -> None:
        """Make the frame of the open step."""
        step, self._open = self._open, None
        if step is not None:
            self._emit(step, records)

    def _emit(self, step: _Step, records: list[Record]) -> None:
        """Make the frame of a step; without norms, its values wait for the next one."""
        values = joined(self._waiting, step.values)
        if self._columns and not step.norms:
            self._waiting = values
            return
        self._waiting = {}
        if self._last is not None:
            step.t = max(step.t, self._last.t)
        self._last = step
        step.has_frame = True
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
                    what = shown(row.where, column, value)
                    self._left_out.setdefault("norm", f"{what}, which is not a norm: left out")
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

    def _begin_segment(self, number: int, records: list[Record]) -> None:
        """Begin a segment: its steps replace those that it repeats."""
        self._close(records)
        records.append(Header(self._layers, resumed=True))
        for each in [each for each in self._steps if each >= number]:
            del self._steps[each]
        self._last = None
        self._before = number - 1
        self._numbering.rewind(number)
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
