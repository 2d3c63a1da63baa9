"""What readers of other tools' logs give: rows; and the steps that the rows make together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gradmidi.errors import RunLogError
from gradmidi.text.words import count

__all__ = ["Row", "Step", "Table", "gather"]

Cell = float | str


class Row(NamedTuple):
    """What a log says at one place.

    Parameters
    ----------
    where : str
        The place, as ``"line 7"``.
    counts : tuple of float, str or None
        The step, once for each of the table's `counters`; None where it is empty.
    t : float or None
        Seconds, from any start; None where the log has no time here.
    values : mapping of str to float or str
        By column; a text where the cell is no number. Empty cells are left out.
    series : str
        Rows of different series count their steps apart.
    resumed : bool
        Whether the row comes after a header that stands in the log once more.
    """

    where: str
    counts: tuple[Cell | None, ...]
    t: float | None
    values: Mapping[str, Cell]
    series: str = ""
    resumed: bool = False


@dataclass(slots=True)
class Table:
    """A log of another tool, read.

    Parameters
    ----------
    columns : tuple of str
        The columns, in their order.
    rows : list of Row
        The rows, in their order.
    counters : tuple of str
        Columns that may count the steps, the best first; empty where rows are counted.
    notes : list of str
        What was read otherwise than it stands there, to be told.
    clipping : str
        Whether norms are from before clipping, see `gradmidi.log.Header`.
    """

    columns: tuple[str, ...]
    rows: list[Row]
    counters: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    clipping: str = "unknown"


@dataclass(slots=True)
class Step:
    """All that a log says of one step.

    Parameters
    ----------
    step : int
        Its number.
    t : float or None
        Seconds, from any start.
    values : dict of str to float or str
        By column.
    where : dict of str to str
        The place of each value in the log.
    """

    step: int
    t: float | None
    values: dict[str, Cell] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Series:
    """Numbers the steps of one series."""

    first: int
    last: int
    highest: int
    offset: int = 0


def gather(
    table: Table, norms: Collection[str], beside: Collection[str], source: str
) -> list[Step]:
    """Put the values of each step together, in the order of their numbers.

    Where a value comes again for the same step, what it means depends on the steps around it: if
    they start again, or stay the same, the steps are numbered on, so that every value is kept; if
    they went back into the middle, as after a restart from a checkpoint, the later value counts.
    Both are told, and so are values that have no step.

    Examples
    --------
    >>> rows = [Row("line 2", (0.0,), None, {"a": 0.5}), Row("line 3", (0.0,), None, {"a": 9.5})]
    >>> table = Table(("a",), rows, ("step",))
    >>> [(step.step, step.values) for step in gather(table, ["a"], [], "log.csv")], table.notes
    ([(0, {'a': 0.5}), (1, {'a': 9.5})], ['steps begin again at line 3: numbered on'])
    """
    wanted = {*norms, *beside}
    counter = _counter(table, norms)
    steps: dict[int, Step] = {}
    series: dict[str, _Series] = {}
    again: list[str] = []
    replaced: list[str] = []
    without: list[str] = []
    for index, row in enumerate(table.rows, 1):
        found = {column: value for column, value in row.values.items() if column in wanted}
        if not found:
            continue
        number = index if counter is None else _whole(row, counter, table.counters, source)
        if number is None:
            without += [row.where] * sum(column in norms for column in found)
            continue
        at = series.get(row.series)
        if at is None:
            at = series[row.series] = _Series(number, number, number)
        there = steps.get(number + at.offset)
        if there is not None and any(column in there.values for column in found):
            if number <= at.first or (number == at.last and not row.resumed):
                at.offset = at.highest + 1 - number
                at.first = number
                again.append(row.where)
            else:
                replaced += [row.where] * sum(column in there.values for column in found)
        at.last = number
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
            f"{count(len(without), 'norm')} left out without a step, the first at {without[0]}"
        )
    return [steps[number] for number in sorted(steps)]


def _counter(table: Table, norms: Collection[str]) -> int | None:
    """Choose the counter that has a step wherever there are norms; None to count the rows."""
    filled = [0] * len(table.counters)
    for row in table.rows:
        if any(column in row.values for column in norms):
            for index, value in enumerate(row.counts):
                filled[index] += value is not None
    if not any(filled):
        if table.counters:
            table.notes.append(
                f"{_quoted(table.counters)} is empty where the norms are: rows are counted instead"
            )
        return None
    best = filled.index(max(filled))
    if best:
        table.notes.append(
            f"steps are counted by {table.counters[best]!r}: {table.counters[0]!r} is empty where "
            "norms are"
        )
    return best


def _whole(row: Row, counter: int, counters: Sequence[str], source: str) -> int | None:
    found = row.counts[counter]
    if found is None:
        return None
    if isinstance(found, str) or not found.is_integer() or found < 0.0:
        shown = found if isinstance(found, str) else f"{found:g}"
        raise RunLogError(
            f"{source}: {row.where} has {shown!r} in {counters[counter]!r}, which is no step: a "
            "whole number of 0 or more; say which column counts the steps with --step COLUMN"
        )
    return int(found)


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)
