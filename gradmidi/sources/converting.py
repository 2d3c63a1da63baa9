"""Convert a finished log of another tool to the items of a run."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from gradmidi.base.messages import printable
from gradmidi.errors import RunLogError
from gradmidi.log import ABSENT, End, Frame, Header, Item, Layer, combine
from gradmidi.music.valuevoices import FEW_LAYERS
from gradmidi.sources.columns import Choice, choose
from gradmidi.sources.kinds import FoundLog
from gradmidi.sources.numbering import Numbering, counter_of
from gradmidi.sources.reader import Reader, table_of
from gradmidi.sources.rows import Cell, Row, Step, Table, joined
from gradmidi.sources.selection import RULE, ChosenValues, Selection
from gradmidi.text.words import count

__all__ = [
    "NOMINAL_SECONDS",
    "Converted",
    "RunClock",
    "are_durations",
    "convert",
    "header_of",
    "left_out",
    "shown",
    "texts_of",
]

SINCE_1970 = 1e9
"""A larger time counts from 1970, not from the start of the run."""

LEAST_TIMES, BACK = 4, 0.2
"""So many times are needed to say that they are durations; and this share must be below the one
before."""

NOMINAL_SECONDS = 0.125
"""Time between two steps of a log without times: a sixteenth note at a tempo of 120."""

MOST_LINES = 40
"""If a text has more lines for each of its steps, and most have none, it counts something else."""

RENAMED = ("loss", "lr")
"""Values that are renamed, so their columns are shown."""

SHOWN_NAMES = 20
"""How many names of values that are not heard a message shows."""

SHOWN = 40
"""How many characters of a text a message shows."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A log of another tool as a run.

    Parameters
    ----------
    items : tuple of Item
        Header, frames and end.
    lines : tuple of str
        What was taken, and what was left out or changed, in detail.
    hearing : tuple of str
        What is heard, in a line or two.
    notes : tuple of str
        What was left out or changed.
    """

    items: tuple[Item, ...]
    lines: tuple[str, ...]
    hearing: tuple[str, ...]
    notes: tuple[str, ...]


def convert(found: FoundLog, selection: Selection, reader: Reader | None = None) -> Converted:
    """Convert a log; `reader` is its reader, if it is open already.

    Raises
    ------
    RunLogError
        If the log cannot be read, or has no column of numbers.
    """
    path = found.path
    table = table_of(reader or found.open(selection.step))
    texts = texts_of(table.rows)
    chosen = choose(table.columns, selection.columns, str(path), texts, selection.values)
    table.notes += [f"left out, since it holds no number: {texts[c]}" for c in chosen.left_out]
    steps = _gather(table, chosen.norms, list(chosen.values.heard.values()), str(path))
    times = [step.t for step in steps if step.t is not None]
    if are_durations(times):
        table.notes.append("the log has the time that each step took: these times are added up")
        for step, t in zip(steps, np.cumsum([step.t or 0.0 for step in steps]), strict=True):
            step.t = float(t)
    frames, first, replaced = _frames(steps, chosen, path)
    if replaced:
        table.notes.append(
            f"{count(len(replaced), 'value')} left out: a later one came before the next norm, the "
            f"first at {replaced[0]}"
        )
    header = header_of(path, chosen, table.clipping, first)
    lines = _report(chosen, len(frames), table, timed=first is not None)
    end = End("imported", frames[-1].t, len(frames))
    hearing = hearing_lines(found, chosen, selection)
    return Converted((header, *frames, end), (*found.notes, *lines), hearing, tuple(table.notes))


def _gather(
    table: Table, norms: Collection[str], beside: Collection[str], source: str
) -> list[Step]:
    """Collect the values of each step, in order of step numbers, which `Numbering` gives.

    What was numbered on, replaced or left out is added to `Table.notes`.

    Examples
    --------
    >>> rows = [Row("line 2", (0.0,), None, {"a": 0.5}), Row("line 3", (0.0,), None, {"a": 9.5})]
    >>> table = Table(("a",), rows, ("step",))
    >>> [(step.step, step.values) for step in _gather(table, ["a"], [], "log.csv")], table.notes
    ([(0, {'a': 0.5}), (1, {'a': 9.5})], ['steps begin again at line 3: numbered on'])
    """
    wanted = {*norms, *beside}
    noun = "norm" if norms else "value"
    # In a log without norms, the values have the steps.
    norms = norms or beside
    counter = _counter(table, norms, noun)
    steps: dict[int, Step] = {}
    held: dict[int, dict[str, Cell]] = {}
    numbering = Numbering(source, table.counters, counter, table.repeats, held)
    for index, row in enumerate(table.rows, 1):
        found = {column: value for column, value in row.values.items() if column in wanted}
        if not found:
            continue
        number = numbering.number(row, index, found)
        if number is None:
            numbering.leave_out(row.where, sum(column in norms for column in found))
            continue
        step = steps.get(number)
        if step is None:
            step = steps[number] = Step(number, row.t)
            held[number] = step.values
        step.t = row.t if step.t is None else step.t
        step.values.update(found)
        step.where.update(dict.fromkeys(found, row.where))
    table.notes += numbering.notes(noun).values()
    return [steps[number] for number in sorted(steps)]


def _counter(table: Table, norms: Collection[str], noun: str) -> int | None:
    """Return the counter that has a step in every row with norms; None to count the rows."""
    best = counter_of(table.rows, len(table.counters), norms)
    if best is None or (table.printed and _is_of_others(table.rows, norms)):
        if table.counters:
            names = " and ".join(map(repr, table.counters))
            where = f"where {'the' if best is None else 'most'} {noun}s are"
            table.notes.append(f"{names} is empty {where}: rows are counted instead")
        return None
    if best:
        table.notes.append(
            f"steps are counted by {table.counters[best]!r}: {table.counters[0]!r} is empty where "
            f"{noun}s are"
        )
    return best


def _is_of_others(rows: Sequence[Row], columns: Collection[str]) -> bool:
    """Return whether the steps in a text are of other values: of a test, or of the best epoch."""
    held = [row.counts[0] for row in rows if any(column in row.values for column in columns)]
    steps = [step for step in held if step is not None]
    return 2 * len(steps) < len(held) and MOST_LINES * len(set(steps)) < len(held)


def hearing_lines(found: FoundLog, chosen: Choice, selection: Selection) -> tuple[str, ...]:
    """Return what a log was taken for, and what of it is heard."""
    values = chosen.values
    heard, unheard, lines = list(values.heard), values.unheard, list(found.notes)
    if values.cut:
        lines.insert(0, f"there are {len(heard) + values.cut:,} values; heard are {RULE}")
    if len(chosen.layers) <= FEW_LAYERS:
        heard[:0] = [columns[0] for columns in chosen.layers.values()]
    else:
        layers = count(len(chosen.layers), "layer")
        if selection.values:
            heard.insert(0, layers)
        else:
            heard, unheard, lines = [layers], (*heard, *unheard), list(found.notes)
    line = f"{found.path} is {found.kind.about}: hearing {', '.join(heard)}"
    return (f"{line}; seen too: {some(unheard)}" if unheard else line, *lines)


def some(names: Sequence[str]) -> str:
    """Join names; of many, only the first."""
    more = f" and {len(names) - SHOWN_NAMES:,} more" if names[SHOWN_NAMES:] else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def header_of(
    path: Path, chosen: Choice, clipping: str, first: float | None, without: str = "nominal"
) -> Header:
    """Make the header of a run whose first step was at `first`; None: its times are `without`."""
    return Header(
        tuple(Layer(name, 0) for name in chosen.layers),
        clipping=clipping,
        started=_utc(first) if first is not None and first > SINCE_1970 else "",
        config={"imported": path.name, **({} if first is not None else {"seconds": without})},
    )


class RunClock:
    """Turns the times in a log into seconds since its first step, which never go back.

    If the clock of the log goes back, because the run was resumed or the clock was set, the time
    stands still there and then goes on.

    Examples
    --------
    >>> clock = RunClock()
    >>> [clock.seconds(t) for t in (100.0, 102.0, 50.0, 51.0)]
    [0.0, 2.0, 2.0, 3.0]
    """

    def __init__(self) -> None:
        self.last = 0.0
        self._offset: float | None = None

    def anchor(self) -> None:
        """Let the next step be at the time of the last one, whatever its clock says."""
        self._offset = None

    def seconds(self, t: float) -> float:
        """Return the time since the first step, for the next step."""
        if self._offset is None or t + self._offset < self.last:
            self._offset = self.last - t
        self.last = t + self._offset
        return self.last


def are_durations(times: Sequence[float]) -> bool:
    """Return whether times are the durations of steps: many are below the one before, or all equal.

    Examples
    --------
    >>> are_durations([0.5, 0.5, 0.6, 0.5]), are_durations([0.5, 1.0, 1.6, 2.1])
    (True, False)
    """
    if len(times) < LEAST_TIMES or not 0.0 < max(times) < SINCE_1970:
        return False
    back = sum(later < earlier for earlier, later in itertools.pairwise(times))
    return back > BACK * len(times) or min(times) == max(times)


def texts_of(rows: Sequence[Row]) -> dict[str, str]:
    """Return the columns that hold texts and no number, each with a description."""
    numbers: set[str] = set()
    texts: dict[str, list[str]] = {}
    for row in rows:
        for column, value in row.values.items():
            if isinstance(value, str):
                texts.setdefault(column, []).append(shown(row.where, column, value))
            else:
                numbers.add(column)
    return {
        column: found[0] + (f" (and {len(found) - 1:,} more)" if found[1:] else "")
        for column, found in texts.items()
        if column not in numbers
    }


def shown(where: str, column: str, value: Cell) -> str:
    """Return what a column holds at some place in the log."""
    text = str(value)
    text = printable(text if len(text) <= SHOWN else text[:SHOWN] + "…")
    return f"{where}: {column!r} is {text}"


def _frames(
    steps: Sequence[Step], chosen: Choice, path: Path
) -> tuple[list[Frame], float | None, list[str]]:
    """Make a frame of each step; also return the time of the first, if known, and what is left out.

    If the log has norms, a step without one makes no frame: its values join the next frame.
    """
    columns = chosen.norms
    counts = [len(group) for group in chosen.layers.values()]
    members, starts = np.arange(len(columns)), np.cumsum([0, *counts])[:-1]
    framed = [s for s in steps if not columns or any(column in s.values for column in columns)]
    if not framed:
        raise RunLogError(
            f"{path}: not one number in {', '.join(columns or chosen.values.heard)}; choose others "
            "with --columns PATTERN or --values NAMES"
        )
    times, first = _seconds(framed)
    seconds = iter(times)
    frames = []
    waiting: dict[str, Cell] = {}
    places: dict[str, str] = {}
    replaced = []
    for step in steps:
        held = {n: step.values[c] for n, c in chosen.values.heard.items() if c in step.values}
        replaced += [places[name] for name in held if name in waiting]
        waiting = joined(waiting, held)
        places.update((n, step.where[chosen.values.heard[n]]) for n in held)
        if not columns or any(column in step.values for column in columns):
            row = np.array([_norm(step, column, path) for column in columns])
            norms = combine(row, members, starts)
            frames.append(Frame(step.step, next(seconds), norms, waiting))
            waiting = {}
    return frames, first, replaced


def _seconds(steps: Sequence[Step]) -> tuple[list[float], float | None]:
    """Return each step's time since the first, and the time of the first; None without times."""
    known = [step.t for step in steps if step.t is not None]
    if len(known) < len(steps):
        return [index * NOMINAL_SECONDS for index in range(len(steps))], None
    return list(map(RunClock().seconds, known)), known[0]


def _norm(step: Step, column: str, path: Path) -> float:
    value = step.values.get(column, ABSENT)
    if column in step.values and (isinstance(value, str) or value < 0.0):
        raise RunLogError(
            f"{path}: {shown(step.where[column], column, value)}, which is not a norm; choose the "
            "columns of norms with --columns PATTERN"
        )
    return float(value)


def _utc(seconds: float) -> str:
    """Return the date of a time since 1970; empty if it is none."""
    try:
        date = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return date.isoformat(timespec="seconds").replace("+00:00", "Z")


def left_out(values: ChosenValues) -> list[str]:
    """Return the lines that say which values are not heard, and by which rule."""
    names = values.unheard
    if not names:
        return []
    lines = [f"not heard: {some(names)}; choose with --values NAMES"]
    if values.cut:
        lines.append(f"there are {len(values.heard) + values.cut:,} values; heard are {RULE}")
    return lines


def _report(chosen: Choice, frames: int, table: Table, *, timed: bool) -> tuple[str, ...]:
    lines = [f"{count(len(chosen.layers), 'layer')}, {count(frames, 'step')}"]
    lines += [f"{layer}: {', '.join(columns)}" for layer, columns in chosen.layers.items()]
    heard = chosen.values.heard
    lines += [f"{name}: {column}" for name, column in heard.items() if name in RENAMED]
    others = [name for name in heard if name not in RENAMED]
    lines += [f"values: {', '.join(others)}"] if others else []
    lines += left_out(chosen.values) + table.notes
    if not timed:
        lines.append(
            "the log has no time for every step: steps are put an eighth of a second apart"
        )
    return tuple(lines)
