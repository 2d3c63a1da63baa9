"""Rows read from logs of other tools, and what they make together: tables and steps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

__all__ = ["Cell", "Row", "Step", "Table", "joined"]

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
    line : int
        The number of its line in a text; else 0.
    """

    where: str
    counts: tuple[Cell | None, ...]
    t: float | None
    values: Mapping[str, Cell]
    series: str = ""
    resumed: bool = False
    purges: bool = False
    epoch: int | None = None
    line: int = 0


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
    repeats, printed : bool
        See `gradmidi.sources.reader.Reader`.
    """

    columns: tuple[str, ...]
    rows: list[Row]
    counters: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    clipping: str = "unknown"
    repeats: bool = False
    printed: bool = False


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
