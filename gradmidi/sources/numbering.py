"""The step of each row of a log, finished or growing (`Numbering`).

Both are numbered by one rule. A growing log is heard as it comes, so it differs in three points,
all of them about a row that goes back:

- Back at the first step, or before it, its steps begin again also if no column comes twice.
- If a process that went on begins there (`Row.resumed`), they replace the earlier ones.
- Back at another step, the row `repeats` steps if one of its columns comes twice, or if there is no
  such step: the frames from there on count no more. In a finished log only its values are replaced.
"""

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field

from gradmidi.errors import RunLogError
from gradmidi.log.decoding import MOST_STEP
from gradmidi.sources.rows import Row
from gradmidi.text.words import count

__all__ = ["Numbering", "counter_of"]

NEAR, FEW = 10, 2
"""A step that is printed again may be so many steps back, because lines of several processes need
not be in order; fewer, if it is the first step, with which another epoch may begin."""


@dataclass(slots=True)
class _Series:
    """The numbers of one series: as the log has them, but for `highest`."""

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


@dataclass(slots=True)
class _Places:
    """Where something was, and how often."""

    first: str = ""
    number: int = 0

    def add(self, where: str, number: int = 1) -> None:
        """Count a place; only the first one is kept."""
        self.first = self.first or where
        self.number += number


@dataclass(slots=True)
class Numbering:
    """Numbers the steps of a log, each series of rows for itself.

    If step numbers start again or do not change, or go back in a new epoch, later steps get new
    numbers, and every value is kept. If they go back to the middle, as after a restart from a
    checkpoint, the later value counts.

    Parameters
    ----------
    source : str
        The log, for messages.
    counters : sequence of str
        The columns of step numbers.
    counter : int or None
        Which of them counts; None: the rows are counted.
    again : bool
        See `gradmidi.sources.reader.Reader.repeats`.
    held : mapping of int to container of str
        The columns that each step has already; the caller adds to them.
    growing : bool
        Whether the log grows, see the top of this module.

    Attributes
    ----------
    repeats : bool
        Whether the last row goes back, and repeats steps.
    """

    source: str
    counters: Sequence[str]
    counter: int | None
    again: bool
    held: Mapping[int, Container[str]]
    growing: bool = False
    repeats: bool = False
    _series: dict[str, _Series] = field(default_factory=dict)
    _offsets: dict[int | None, int] = field(default_factory=dict)
    _begins: _Places = field(default_factory=_Places)
    _replaced: _Places = field(default_factory=_Places)
    _without: _Places = field(default_factory=_Places)

    def number(self, row: Row, index: int, columns: Collection[str]) -> int | None:
        """Return the step of a row, the `index`-th of the log; None if it has none.

        `columns` are those that are taken.

        Raises
        ------
        RunLogError
            If the number in the log is no step.
        """
        number = index if self.counter is None else self._whole(row, self.counter)
        at = self._series.get(row.series)
        if number is None:
            if at is None or not self.again:
                return None
            # It belongs to the newest step.
            number = at.last
        if at is None:
            offset = self._offsets.get(row.epoch, 0)
            at = self._series[row.series] = _Series(number, number, number + offset, offset)
        there = self.held.get(number + at.offset)
        back, self.repeats = number < at.last, False
        if back or there is not None:
            held = 0 if there is None else sum(column in there for column in columns)
            if at.begins_epoch(number, row.epoch, again=held > 0):
                at.next_epoch(number)
                self._begins.add(row.where)
            elif self.again and at.is_near(number):
                if back:
                    return number + at.offset
            elif self._begins_again(at, row, number, twice=held > 0):
                at.number_on(number)
                self._begins.add(row.where)
            else:
                self.repeats = back and (held > 0 or there is None)
                if held or (self.growing and self.repeats):
                    self._replaced.add(row.where, held)
        at.last = number
        if row.epoch is not None:
            at.epoch = row.epoch
            self._offsets[row.epoch] = at.offset
        number += at.offset
        if number > at.highest:
            at.highest = number
        return number

    def rewind(self, number: int) -> None:
        """Let `number` be the newest step of all series."""
        for at in self._series.values():
            at.last = min(at.last, number - at.offset)
            at.highest = min(at.highest, number)

    def leave_out(self, where: str, number: int) -> None:
        """Count values of a row without a step."""
        self._without.add(where, number)

    def notes(self, noun: str) -> dict[str, str]:
        """Return messages about what was numbered on, replaced and left out, each by its kind."""
        notes = {}
        if self._begins.first:
            more = self._begins.number - 1
            times = f", and {count(more, 'more time')}" if more else ""
            notes["again"] = f"steps begin again at {self._begins.first}{times}: numbered on"
        if self._replaced.first and self.growing:
            notes["replaced"] = (
                f"steps are repeated at {self._replaced.first}: they replace the earlier ones"
            )
        elif self._replaced.first:
            values = count(self._replaced.number, "value")
            notes["replaced"] = (
                f"{values} replaced by a later one of the same step, the first at "
                f"{self._replaced.first}"
            )
        if self._without.number:
            notes["without"] = (
                f"{count(self._without.number, noun)} left out without a step, the first at "
                f"{self._without.first}"
            )
        return notes

    def _begins_again(self, at: _Series, row: Row, number: int, *, twice: bool) -> bool:
        """Return whether a row that goes back, or of which columns come twice, is another step."""
        if self.growing and number < at.last:
            return number <= at.first and not row.resumed
        return twice and (number <= at.first or (number == at.last and not row.resumed))

    def _whole(self, row: Row, counter: int) -> int | None:
        # A column of step numbers that appears late is missing in the first rows.
        found = row.counts[counter] if counter < len(row.counts) else None
        if found is None:
            return None
        if isinstance(found, str) or not found.is_integer() or not 0.0 <= found <= MOST_STEP:
            shown = found if isinstance(found, str) else f"{found:g}"
            raise RunLogError(
                f"{self.source}: {row.where} has {shown!r} in {self.counters[counter]!r}, which is "
                "not a step: a whole number of 0 or more; say which column counts the steps with "
                "--step COLUMN"
            )
        return int(found)


def counter_of(rows: Sequence[Row], counters: int, columns: Collection[str]) -> int | None:
    """Return which counter has a step in most rows with these columns; None if none has any."""
    filled = [0] * counters
    for row in rows:
        if any(column in row.values for column in columns):
            for index, value in enumerate(row.counts[:counters]):
                filled[index] += value is not None
    return filled.index(max(filled)) if any(filled) else None
