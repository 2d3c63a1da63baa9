"""Follow the growing log of another tool as the lines of a run log (`follow_log`)."""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from gradmidi.base.messages import say, warn
from gradmidi.errors import RunLogError
from gradmidi.log import Record, encode
from gradmidi.sources.columns import choose
from gradmidi.sources.converting import are_durations, hearing_lines, texts_of
from gradmidi.sources.follow import CAUGHT_UP, Line
from gradmidi.sources.joining import SETTLE_SECONDS, Joiner
from gradmidi.sources.kinds import FoundLog
from gradmidi.sources.numbering import counter_of
from gradmidi.sources.reader import Reader
from gradmidi.sources.rows import Row
from gradmidi.sources.selection import Selection, is_progress, matches
from gradmidi.sources.settings import has_begun, only, without_settings

__all__ = ["follow_log"]

FIRST_SECONDS = 1.0
"""The layers and values are chosen this long after the first row came, or after `FIRST_STEPS`."""

FIRST_STEPS = 3

MOST_ROWS = 10_000
"""After so many rows the values are chosen, whatever has come."""

LEAST_POLL, MOST_POLL = 0.01, 0.25
"""Seconds between two looks at a log: longer, the longer nothing has come."""

SILENCE_SECONDS = 10.0
"""After this long without a number, the user is told. If there are only numbers that measure
progress, they are heard after this time."""


def follow_log(
    found: FoundLog,
    selection: Selection,
    *,
    reader: Reader | None = None,
    longest_past: float = math.inf,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Line]:
    """Yield the lines of a run log that a growing log makes, until `stop` is set or the run ends.

    Parameters
    ----------
    found : FoundLog
        The log.
    selection : Selection
        What to take from it.
    reader : Reader, optional
        Its reader, if it is open already.
    longest_past : float
        What comes after this many seconds is not past, even if there was more to read all the time.
    stop : threading.Event, optional
        Ends the reading.
    clock : callable
        Returns monotonic seconds.

    Yields
    ------
    Line
        What is there at the start is past, then comes `CAUGHT_UP`.

    Raises
    ------
    RunLogError
        If the log cannot be read, or the columns cannot be chosen.
    """
    reader = reader or found.open(selection.step)
    following = _Following(found, selection, reader, clock, longest_past)
    stop = stop or threading.Event()
    with contextlib.closing(following.reader):
        while not stop.is_set():
            yield from following.poll()
            if following.ended:
                return
            stop.wait(following.wait)


class _Following:
    """The state of following one log.

    Attributes
    ----------
    reader : Reader
        Reads it.
    ended : bool
        Whether the log says that the run has ended.
    """

    def __init__(
        self,
        found: FoundLog,
        selection: Selection,
        reader: Reader,
        clock: Callable[[], float],
        longest_past: float,
    ) -> None:
        self.reader = reader
        self.ended = False
        self._found = found
        self._selection = selection
        self._clock = clock
        self._joiner: Joiner | None = None
        self._rows: list[Row] = []  # Until there is a joiner.
        self._old = 0  # How many of them are past.
        self._began = self._touched = clock()
        self._first: float | None = None
        self._came: dict[str, float] = {}  # When each value of a text came first.
        self._again: set[str] = set()  # Those that came again later.
        self._since = 0  # The line of a text at which the training begins.
        self._past = True
        self._past_until = self._began + longest_past
        self._told: set[str] = set()
        self._silent = self._gone = False

    @property
    def wait(self) -> float:
        """Seconds until the next look."""
        quiet = self._clock() - self._touched
        longest = SETTLE_SECONDS if quiet < 2 * SETTLE_SECONDS else MOST_POLL
        return min(max(quiet / 50.0, LEAST_POLL), longest)

    def poll(self) -> Iterator[Line]:
        """Yield the lines that can be made now."""
        while not self.ended:
            rows = self.reader.poll()
            now = self._clock()
            if rows:
                self._touched = now
                self._first = now if self._first is None else self._first
            ended = not rows and self.reader.ending
            if self._joiner is None:
                self._rows += rows
                for row in rows if self.reader.printed else ():
                    for name in row.values:
                        self._came.setdefault(name, now)
                yield from self._begin(now, rows, at_once=bool(ended))
            else:
                # A setting that was printed once comes at the end of a text.
                rows = [row for row in rows if row.line >= self._since]
                yield from self._lines(self._joiner.add(rows, now, past=self._past))
            if not rows or (self._past and now > self._past_until):
                yield from self._rest(now)
            if ended:
                yield from self._end(self.reader.ending)
            self._tell(now)
            if not rows:
                return

    def _begin(self, now: float, new: Sequence[Row], *, at_once: bool) -> Iterator[Line]:
        """Choose layers and values as soon as enough is known."""
        if self._first is None:
            return
        waited = now - self._first
        due = self._is_due(now, new, waited)
        # What tools print before they train must not be taken for values.
        ready = waited >= SILENCE_SECONDS or any(map(self._is_wanted, self.reader.columns))
        if not (due and ready) and not at_once:
            return
        try:
            joiner = self._chosen()
        except _NoNumbersError:
            self._rows, self._old = [], 0
            self._first = None
            return
        self._joiner = joiner
        first = self._rows[0].t if self._rows else None
        header = joiner.header(self.reader.clipping, first)
        yield from self._lines([header], past=self._past or self._old > 0)
        rows, self._rows = self._rows, []
        if not self._past and self._old:
            records = joiner.add(rows[: self._old], now, past=True)
            yield from self._lines([*records, *joiner.settle(now, at_once=True)], past=True)
            yield CAUGHT_UP
            rows = rows[self._old :]
        yield from self._lines(joiner.add(rows, now, past=self._past))

    def _is_due(self, now: float, new: Sequence[Row], waited: float) -> bool:
        """Return whether the training has begun, and enough of it is there."""
        recent = self._rows[-MOST_ROWS:]
        steps = {row.counts[:1] for row in recent}
        if not self.reader.printed or self._selection.values or self._selection.columns:
            return waited >= FIRST_SECONDS or len(steps) >= FIRST_STEPS
        if not any(map(self._is_wanted, self.reader.columns)):
            return waited >= SILENCE_SECONDS
        self._again = set()
        if has_begun(recent):
            return waited >= FIRST_SECONDS or len(steps - {(None,)}) >= FIRST_STEPS
        # Settings are printed at once; what belongs to a training comes again after a while.
        names = {name for row in new for name in row.values}
        self._again = {name for name in names if now - self._came[name] >= FIRST_SECONDS}
        return len(self._rows) > MOST_ROWS or any(map(self._is_wanted, self._again))

    def _is_wanted(self, column: str) -> bool:
        named = (*self._selection.values, *self._selection.columns)
        return matches(column, named) if named else not is_progress(column)

    def _chosen(self) -> Joiner:
        selection = self._selection
        columns = self.reader.columns
        if self.reader.printed:
            self._rows, columns = without_settings(self._rows, columns)
            if self._again:
                columns = tuple(name for name in columns if name in self._again)
                self._rows = [only(row, columns) for row in self._rows]
            self._since = min((row.line for row in self._rows if row.values), default=0)
        texts = texts_of(self._rows)
        if all(name in texts for name in columns):
            raise _NoNumbersError
        chosen = choose(columns, selection.columns, str(self._found.path), texts, selection.values)
        for line in hearing_lines(self._found, chosen, selection):
            say(line)
        wanted = chosen.norms or list(chosen.values.heard.values())
        times = [row.t for row in self._rows if row.t is not None]
        return Joiner(
            self._found.path,
            chosen,
            known=columns,
            counters=self.reader.counters,
            counter=counter_of(self._rows, len(self.reader.counters), wanted),
            timed=len(times) == len(self._rows) and not are_durations(times),
            patterns=selection.values,
            repeats=self.reader.repeats,
        )

    def _rest(self, now: float) -> Iterator[Line]:
        """Yield the steps that are complete, now that nothing more is there."""
        if self._joiner is not None:
            yield from self._lines(self._joiner.settle(now, at_once=self._past))
            if self._past:
                yield CAUGHT_UP
        elif self._past:
            self._old = len(self._rows)
        self._past = False

    def _end(self, reason: str) -> Iterator[Line]:
        self.ended = True
        if self._joiner is None:
            raise RunLogError(f"{self._found.path} has ended without a number")
        yield from self._lines(self._joiner.end(reason, self._clock()))

    def _lines(self, records: Sequence[Record], *, past: bool | None = None) -> Iterator[Line]:
        past = self._past if past is None else past
        return (Line(encode(record), past) for record in records)

    def _tell(self, now: float) -> None:
        """Tell the user what changed: late values, damage, silence, a log that is gone."""
        path = self._found.path
        notes = {note.partition(":")[0]: note for note in self.reader.notes}
        if self._joiner is not None:
            if self._joiner.new:
                say(f"hearing {', '.join(self._joiner.new)} too, from here on")
                self._joiner.new.clear()
            notes |= self._joiner.notes
        for kind, note in notes.items():
            # A count in a note may grow; it is told once.
            if kind not in self._told:
                self._told.add(kind)
                warn(note)
        if self._first is None and not self._silent and now - self._began > SILENCE_SECONDS:
            self._silent = True
            say(f"{path} has no number yet; still looking")
        gone = self.reader.missing
        if gone != self._gone:
            self._gone = gone
            (warn if gone else say)(f"{path} is {'gone' if gone else 'back'}; still looking")


class _NoNumbersError(Exception):
    """The log has texts only, so far."""
