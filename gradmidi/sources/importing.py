"""Import a log that another tool wrote into a run log (`import_log`)."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from gradmidi.base.files import WholeFile, beside
from gradmidi.errors import RunLogError
from gradmidi.log import (
    ABSENT,
    FILE_NAME,
    End,
    Frame,
    Header,
    Layer,
    combine,
    encode,
)
from gradmidi.sources.columns import Choice, choose
from gradmidi.sources.metrics import RULE, ChosenValues
from gradmidi.sources.readers import read_csv, read_events, read_trainer_state
from gradmidi.sources.rows import Cell, Step, Table, gather, joined
from gradmidi.text.words import count

__all__ = ["Imported", "import_log"]

SINCE_1970 = 1e9
"""A larger time counts from 1970, not from the start of the run."""

NOMINAL_SECONDS = 0.125
"""Time between two steps of a log without times: a sixteenth note at a tempo of 120."""

KINDS = ("*tfevents*", "trainer_state.json", "*.csv")
"""Names of logs to look for in a folder."""

RENAMED = ("loss", "lr")
"""Values that are renamed, so their columns are shown."""

SHOWN_NAMES = 20
"""How many names of values that are not heard a message shows."""

SHOWN = 40
"""How many characters of a text a message shows."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of importing a log.

    Parameters
    ----------
    path : Path
        The run log.
    lines : tuple of str
        Numbers of layers and steps; the columns of each layer; and what was left out or changed,
        with counts. Each line makes sense on its own.
    """

    path: Path
    lines: tuple[str, ...]


def import_log(
    log: str | Path,
    out: str | Path,
    *,
    columns: Sequence[str] = (),
    values: Sequence[str] = (),
    step: str | None = None,
    force: bool = False,
) -> Imported:
    r"""Convert a log of another tool to a run log.

    Parameters
    ----------
    log : str or Path
        A TensorBoard event file, a ``trainer_state.json`` of Transformers, a CSV file (exported
        from W&B or MLflow, written by Lightning, or any with a column for each layer), or a
        folder that holds one of them.
    out : str or Path
        The run's folder, or a ``.jsonl`` file. Missing folders are made.
    columns : sequence of str, optional
        Names of the columns of gradient norms, or patterns such as ``"grad/*"``. By default
        columns with a word for gradients in their names. Without any, the run has values alone.
    values : sequence of str, optional
        Names or patterns of the values to take. By default all but those that count progress or
        measure time, speed or hardware; at most 15, losses first.
    step : str, optional
        The column of a CSV file with the step numbers. By default a column named ``step``,
        ``global_step`` or similar; without one, the rows are counted from 1.
    force : bool, default False
        Replace a run that is already in `out`. By default this one goes to ``out-2``.

    Returns
    -------
    Imported
        The path of the run, and a report.

    Raises
    ------
    RunLogError
        If the log cannot be read or has no column of numbers, or the run cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "log.csv").write_text("step,grad_norm/fc1,grad_norm/fc2\n1,0.5,0.25\n")
    >>> import_log(folder / "log.csv", folder / "run").lines[0]
    '2 layers, 1 step'
    """
    target = _target(out, force=force)
    path = _find(Path(log))
    table = _read(path, step)
    texts = _texts(table)
    chosen = choose(table.columns, columns, str(path), texts, values)
    table.notes += [f"left out, since it holds no number: {texts[c]}" for c in chosen.left_out]
    steps = gather(table, chosen.norms, list(chosen.values.heard.values()), str(path))
    frames, started = _frames(steps, chosen, path)
    timed = started is not None
    header = Header(
        tuple(Layer(name, 0) for name in chosen.layers),
        clipping=table.clipping,
        started=started or "",
        config={"imported": path.name, **({} if timed else {"seconds": "nominal"})},
    )
    _write(target, [header, *frames, End("imported", frames[-1].t, len(frames))])
    report = _report(chosen, len(frames), table, steps, timed=timed)
    first = _target(out, force=True)
    if target != first:
        report = (
            f"{first} is a run already, so this one is {target}; --force replaces it",
            *report,
        )
    return Imported(target, report)


def _find(path: Path) -> Path:
    """Return the log in a folder; all event files of a folder are one log."""
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:
        raise RunLogError(
            f"{path} cannot be read: {error.strerror}; change its permissions, or give another"
        ) from error
    if is_file:
        return path
    if not is_folder:
        raise RunLogError(f"no log at {str(path)!r}; give a file or a folder")
    found = sorted(
        {
            file.parent if "tfevents" in file.name else file
            for kind in KINDS
            for file in path.rglob(kind)
        }
    )
    if len(found) != 1:
        what = "; give one of: " + ", ".join(map(str, found)) if found else ""
        raise RunLogError(
            f"{path} holds {len(found)} logs that can be read ({' '.join(KINDS)}){what}"
        )
    return found[0]


def _read(path: Path, step: str | None) -> Table:
    if path.suffix.lower() in (".csv", ".tsv"):
        return read_csv(path, step)
    if step is not None:
        raise RunLogError(f"{path} counts its steps itself; --step is for CSV files")
    if path.suffix.lower() == ".json":
        return read_trainer_state(path)
    if path.is_dir() or "tfevents" in path.name:
        return read_events(path)
    raise RunLogError(
        f"nothing reads {path.name!r}; there are readers for: {', '.join(KINDS)} *.tsv"
    )


def _texts(table: Table) -> dict[str, str]:
    """Return the columns that hold texts and no number, each with a description."""
    numbers: set[str] = set()
    texts: dict[str, list[str]] = {}
    for row in table.rows:
        for column, value in row.values.items():
            if isinstance(value, str):
                texts.setdefault(column, []).append(_shown(row.where, column, value))
            else:
                numbers.add(column)
    return {
        column: found[0] + (f" (and {len(found) - 1:,} more)" if found[1:] else "")
        for column, found in texts.items()
        if column not in numbers
    }


def _shown(where: str, column: str, value: float | str) -> str:
    text = str(value)
    text = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    return f"{where}: {column!r} is {text}"


def _frames(steps: Sequence[Step], chosen: Choice, path: Path) -> tuple[list[Frame], str | None]:
    """Make a frame of each step; also return the time of the first, if known.

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
    times, started = _seconds(framed)
    seconds = iter(times)
    frames = []
    waiting: dict[str, Cell] = {}
    for step in steps:
        held = {n: step.values[c] for n, c in chosen.values.heard.items() if c in step.values}
        waiting = joined(waiting, held)
        if not columns or any(column in step.values for column in columns):
            row = np.array([_norm(step, column, path) for column in columns])
            norms = combine(row, members, starts)
            frames.append(Frame(step.step, next(seconds), norms, waiting))
            waiting = {}
    return frames, started


def _seconds(steps: Sequence[Step]) -> tuple[list[float], str | None]:
    """Return each step's time since the first, and the date of the first; None without times."""
    known = [step.t for step in steps if step.t is not None]
    if len(known) < len(steps):
        return [index * NOMINAL_SECONDS for index in range(len(steps))], None
    started = _utc(known[0]) if known[0] > SINCE_1970 else ""
    # A resumed run may have restarted its clock.
    return [t - known[0] for t in itertools.accumulate(known, max)], started


def _norm(step: Step, column: str, path: Path) -> float:
    value = step.values.get(column, ABSENT)
    if column in step.values and (isinstance(value, str) or value < 0.0):
        raise RunLogError(
            f"{path}: {_shown(step.where[column], column, value)}, which is not a norm; choose the "
            "columns of norms with --columns PATTERN"
        )
    return float(value)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _target(out: str | Path, *, force: bool) -> Path:
    if str(out) == "-":
        raise RunLogError("a run is a folder, not a stream: in place of -o -, give -o FOLDER")
    path = Path(out)
    number = 1
    while True:
        place = path if number == 1 else beside(path, number)
        target = place if place.suffix == ".jsonl" else place / FILE_NAME
        try:
            if force or not target.exists():
                return target
        except OSError as error:
            raise _unwritten(out, error) from error
        number += 1


def _write(target: Path, items: Sequence[Header | Frame | End]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with WholeFile(target) as new:
            new.file.writelines(map(encode, items))
    except OSError as error:
        raise _unwritten(target, error) from error


def _unwritten(target: str | Path, error: OSError) -> RunLogError:
    return RunLogError(f"cannot write {str(target)!r}: {error.strerror or error}; give another -o")


def left_out(values: ChosenValues) -> list[str]:
    """Return the lines that say which values are not heard, and by which rule."""
    names = values.unheard
    if not names:
        return []
    more = f" and {len(names) - SHOWN_NAMES:,} more" if names[SHOWN_NAMES:] else ""
    lines = [f"not heard: {', '.join(names[:SHOWN_NAMES])}{more}; choose with --values NAMES"]
    if values.cut:
        lines.append(f"there are {len(values.heard) + values.cut:,} values; heard are {RULE}")
    return lines


def _report(
    chosen: Choice, frames: int, table: Table, steps: Sequence[Step], *, timed: bool
) -> tuple[str, ...]:
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
