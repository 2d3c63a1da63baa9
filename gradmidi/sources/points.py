"""Points, which every reader gives, and the table of steps that they make together."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Point", "Step", "Table", "merge"]


class Point(NamedTuple):
    """One cell of a log.

    Parameters
    ----------
    column : str
        Its name there.
    step : int
        The step that it belongs to.
    t : float or None
        Seconds, from any start; None where the log does not tell.
    value : float or str or None
        None where the cell is empty; a text where it holds no number.
    """

    column: str
    step: int
    t: float | None
    value: float | str | None


@dataclass(slots=True)
class Step:
    """All that a log tells of one step, in as many rows as it takes."""

    step: int
    t: float | None
    values: dict[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A log as a whole.

    Parameters
    ----------
    columns : tuple of str
        Every column there is, as they came.
    steps : tuple of Step
        Ascending.
    """

    columns: tuple[str, ...]
    steps: tuple[Step, ...]


def merge(points: Iterable[Point]) -> Table:
    """Put the points of each step together; of a cell that stands twice the later one counts.

    Examples
    --------
    >>> table = merge([Point("a", 2, 0.1, 1.0), Point("b", 1, None, None), Point("a", 2, 0.2, 3.0)])
    >>> table.columns, [(step.step, step.t, step.values) for step in table.steps]
    (('a', 'b'), [(1, None, {}), (2, 0.1, {'a': 3.0})])
    """
    columns: dict[str, None] = {}
    steps: dict[int, Step] = {}
    for column, number, t, value in points:
        columns[column] = None
        step = steps.get(number)
        if step is None:
            step = steps[number] = Step(number, t)
        elif step.t is None:
            step.t = t
        if value is not None:
            step.values[column] = value
    return Table(tuple(columns), tuple(steps[number] for number in sorted(steps)))
