"""Rows read from logs of other tools, and the steps that they make together."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from gradmidi.errors import RunLogError
from gradmidi.log.decoding import MOST_STEP
from gradmidi.text.words import count

__all__ = [
    "Cell",
    "Row",
    "Series",
    "Step",
    "Table",
    "counter_of",
    "gather",
    "joined",
]

NEAR, FEW = 10, 2
"""A step that is printed again may be so many steps back, because lines of several processes need
not be in order; fewer, if it is the first step, with which another epoch may begin."""

Cell = float | str
AnyCell = TypeVar("AnyCell", float, Cell)


class Row(NamedTuple):
    """One line or entry of a log.

    Parameters
    ----------
    where : str
        Its place in the log, as ``"line 7"``.
    counts : tuple of float, str or None
        The step number in each of the table's `counters`; None for an empty cell.
    t : float or None
        Seconds from any start; None if the row has no time.
    values : mapping of str to float or str
        Values by column; a text if the cell is not a number. Empty cells are left out.
    series : str
        Name of the series; each series has its own step numbers.
    resumed : bool
        Whether the row comes after a repeated header, or is of a process that went on.
    purges : bool
        Whether a process starts here, so that earlier rows of this step and later ones are void;
        such a row has no values.
    epoch : int or None
        The epoch of its step, if the log names it.
    """

    where: str
    counts: tuple[Cell | None, ...]
    t: float | None
    values: Mapping[str, Cell]
    series: str = ""
    resumed: bool = False
    purges: bool = False
    epoch: int | None = None


@dataclass(slots=True)
class Table:
    """The contents of a log of another tool.

    Parameters
    ----------
    columns : tuple of str
        The columns, in their order.
    rows : list of Row
        The rows, in their order.
    counters : tuple of str
        Columns of step numbers, best first; empty if rows are counted.
    notes : list of str
        Messages to the user about what was left out or changed.
    clipping : str
        See `gradmidi.log.Header`.
    repeats : bool
        See `gradmidi.sources.reader.Reader`.
    """

    columns: tuple[str, ...]
    rows: list[Row]
    counters: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    clipping: str = "unknown"
    repeats: bool = False


@dataclass(slots=True)
class Step:
    """All values of one step.

    Parameters
    ----------
    step : int
        Step number.
    t : float or None
        Seconds from any start.
    values : dict of str to float or str
        Values by column.
    where : dict of str to str
        Place of each value in the log.
    """

    step: int
    t: float | None
    values: dict[str, Cell] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Series:
    """Numbers the steps of one series."""

    first: int
    last: int
    highest: int
    offset: int = 0
    epoch: int | None = None

    def is_near(self, number: int) -> bool:
        """Return whether a step that is printed again is the same one, not another epoch's."""
        return 0 <= self.last - number <= (FEW if number <= self.first else NEAR)

    def begins_epoch(self, number: int, epoch: int | None, *, again: bool) -> bool:
        """Return whether a step that goes back, or comes `again`, is one of another epoch."""
        if epoch is None or self.epoch is None or epoch == self.epoch:
            return False
        return again if number == self.last else number < self.last and epoch > self.epoch

    def next_epoch(self, number: int) -> None:
        """Count `number`, which is a step of the next epoch, from the highest step."""
        self.offset = self.highest + (number == 0)
        self.first = number

    def number_on(self, number: int) -> None:
        """Let `number` be the step after the highest one."""
        self.offset = self.highest + 1 - number
        self.first = number


def gather(
    table: Table, norms: Collection[str], beside: Collection[str], source: str
) -> list[Step]:
    """Collect the values of each step, in order of step numbers.

    If a column has a second value for a step, the steps around it decide. If step numbers start
    again or do not change, or go back in a new epoch, later steps get new numbers, and every value
    is kept. If they go back to the middle, as after a restart from a checkpoint, the later value
    counts. Both are reported in `Table.notes`, as are values without a step.

    Examples
    --------
    >>> rows = [Row("line 2", (0.0,), None, {"a": 0.5}), Row("line 3", (0.0,), None, {"a": 9.5})]
    >>> table = Table(("a",), rows, ("step",))
    >>> [(step.step, step.values) for step in gather(table, ["a"], [], "log.csv")], table.notes
    ([(0, {'a': 0.5}), (1, {'a': 9.5})], ['steps begin again at line 3: numbered on'])
    """
    wanted = {*norms, *beside}
    noun = "norm" if norms else "value"
    # In a log without norms, the values have the steps.
    norms = norms or beside
    counter = _counter(table, norms, noun)
    steps: dict[int, Step] = {}
    series: dict[str, Series] = {}
    offsets: dict[int | None, int] = {}
    again: list[str] = []
    replaced: list[str] = []
    without: list[str] = []
    for index, row in enumerate(table.rows, 1):
        found = {column: value for column, value in row.values.items() if column in wanted}
        if not found:
            continue
        number = index if counter is None else _whole(row, counter, table.counters, source)
        if number is None and table.repeats and row.series in series:
            # It belongs to the newest step.
            number = series[row.series].last
        if number is None:
            without += [row.where] * sum(column in norms for column in found)
            continue
        at = series.get(row.series)
        if at is None:
            at = series[row.series] = Series(number, number, number, offsets.get(row.epoch, 0))
        there = steps.get(number + at.offset)
        twice = there is not None and any(column in there.values for column in found)
        if at.begins_epoch(number, row.epoch, again=twice):
            at.next_epoch(number)
            again.append(row.where)
        elif there is not None and twice and not (table.repeats and at.is_near(number)):
            if number <= at.first or (number == at.last and not row.resumed):
                at.number_on(number)
                again.append(row.where)
            else:
                replaced += [row.where] * sum(column in there.values for column in found)
        at.last = number
        if row.epoch is not None:
            at.epoch = row.epoch
            offsets[row.epoch] = at.offset
        number += at.offset
        at.highest = max(at.highest, number)
        step = steps.setdefault(number, Step(number, row.t))
        step.t = row.t if step.t is None else step.t
        step.values.update(found)
        step.where.update(dict.fromkeys(found, row.where))
    if again:
        more = f", and {count(len(again) - 1, 'more time')}" if again[1:] else ""
        table.notes.append(f"steps begin again at {again[0]}{more}: numbered on")
    if replaced:
        table.notes.append(
            f"{count(len(replaced), 'value')} replaced by a later one of the same step, the first "
            f"at {replaced[0]}"
        )
    if without:
        table.notes.append(
            f"{count(len(without), noun)} left out without a step, the first at {without[0]}"
        )
    return [steps[number] for number in sorted(steps)]


def joined(older: Mapping[str, AnyCell], newer: Mapping[str, AnyCell]) -> dict[str, AnyCell]:
    """Merge the values of successive steps: the newer one counts, but nan and inf stay.

    Examples
    --------
    >>> joined({"loss": float("nan"), "lr": 0.2}, {"loss": 2.0, "lr": 0.1})
    {'loss': nan, 'lr': 0.1}
    """
    odd = {
        name: value
        for name, value in older.items()
        if isinstance(value, float) and not math.isfinite(value)
    }
    return {**older, **newer, **odd}


def counter_of(rows: Sequence[Row], counters: int, columns: Collection[str]) -> int | None:
    """Return which counter has a step in most rows with these columns; None if none has any."""
    filled = [0] * counters
    for row in rows:
        if any(column in row.values for column in columns):
            for index, value in enumerate(row.counts[:counters]):
                filled[index] += value is not None
    return filled.index(max(filled)) if any(filled) else None


def _counter(table: Table, norms: Collection[str], noun: str) -> int | None:
    """Return the counter that has a step in every row with norms; None to count the rows."""
    best = counter_of(table.rows, len(table.counters), norms)
    if best is None:
        if table.counters:
            table.notes.append(
                f"{_quoted(table.counters)} is empty where the {noun}s are: rows are counted "
                "instead"
            )
        return None
    if best:
        table.notes.append(
            f"steps are counted by {table.counters[best]!r}: {table.counters[0]!r} is empty where "
            f"{noun}s are"
        )
    return best


def _whole(row: Row, counter: int, counters: Sequence[str], source: str) -> int | None:
    # A column of step numbers that appears late is missing in the first rows.
    found = row.counts[counter] if counter < len(row.counts) else None
    if found is None:
        return None
    if isinstance(found, str) or not found.is_integer() or not 0.0 <= found <= MOST_STEP:
        shown = found if isinstance(found, str) else f"{found:g}"
        raise RunLogError(
            f"{source}: {row.where} has {shown!r} in {counters[counter]!r}, which is not a step: a "
            "whole number of 0 or more; say which column counts the steps with --step COLUMN"
        )
    return int(found)


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)
