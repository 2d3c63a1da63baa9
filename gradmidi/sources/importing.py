"""Logs that other tools wrote, read into a run log: yesterday's run can be heard today."""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from gradmidi.errors import RunLogError
from gradmidi.log import (
    ABSENT,
    FILE_NAME,
    End,
    Frame,
    Header,
    Layer,
    combine,
    encode_end,
    encode_frame,
    encode_header,
)
from gradmidi.sources import csvfile, eventfile, trainerstate
from gradmidi.sources.columns import Choice, choose
from gradmidi.sources.points import Point, Step, Table, merge

__all__ = ["Imported", "import_log"]

SINCE_1970 = 1e9
"""A time later than this counts from 1970, not from the start of the run."""

NOMINAL_SECONDS = 0.125
"""Between two steps of a log that tells no time: a sixteenth at a tempo of 120."""

KINDS = ("*tfevents*", "trainer_state.json", "*.csv")
"""What is looked for in a folder."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a log.

    Parameters
    ----------
    path : Path
        The run log.
    lines : tuple of str
        What was taken for what, each line on its own.
    """

    path: Path
    lines: tuple[str, ...]


def import_log(
    log: str | Path,
    out: str | Path,
    *,
    columns: Sequence[str] = (),
    step: str | None = None,
) -> Imported:
    r"""Read a log that another tool wrote into a run log.

    Parameters
    ----------
    log : str or Path
        A TensorBoard event file, a ``trainer_state.json`` of Transformers, a CSV file (as W&B
        and MLflow export it, as Lightning writes it, or any with a column per layer), or a
        folder that holds one of them.
    out : str or Path
        The run's folder, or a ``.jsonl`` file. It must not hold a run already.
    columns : sequence of str, optional
        Patterns of the columns that hold gradient norms, as ``"grad/*"``; by default those
        whose names speak of gradients.
    step : str, optional
        The column of a CSV file that counts the steps; by default the one called so.

    Returns
    -------
    Imported

    Raises
    ------
    RunLogError
        If the log cannot be read, has no column of gradient norms, or `out` holds a run.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "log.csv").write_text("step,grad_norm/fc1,grad_norm/fc2\n1,0.5,0.25\n")
    >>> import_log(folder / "log.csv", folder / "run").lines[0]
    '2 layers, 1 step'
    """
    path = _find(Path(log))
    points, clipping = _read(path, step)
    table = merge(points)
    chosen = choose(table.columns, columns, str(path))
    frames, started = _frames(table, chosen, path)
    timed = started is not None
    header = Header(
        tuple(Layer(name, 0) for name in chosen.layers),
        clipping=clipping,
        started=started or "",
        config={"imported": path.name, **({} if timed else {"seconds": "nominal"})},
    )
    target = _target(Path(out))
    end = End("imported", frames[-1].t, len(frames))
    _write(
        target,
        [
            encode_header(header),
            *(encode_frame(frame.step, frame.t, frame.norms, frame.extra) for frame in frames),
            encode_end(end),
        ],
    )
    return Imported(target, _told(chosen, len(frames), timed=timed))


def _find(path: Path) -> Path:
    """Find the one log in a folder; event files in one folder are one log."""
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:
        raise RunLogError(
            f"{path} cannot be read: {error.strerror}; have it made readable, or give another"
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


def _read(path: Path, step: str | None) -> tuple[Iterator[Point], str]:
    """Read a log, and tell whether its norms are from before any clipping."""
    if path.suffix.lower() in (".csv", ".tsv"):
        return csvfile.read(path, step), "unknown"
    if step is not None:
        raise RunLogError(f"{path} counts its steps itself; --step is for CSV files")
    if path.suffix.lower() == ".json":
        # A Trainer logs the norm that its clipping returns.
        return trainerstate.read(path), "before"
    if path.is_dir() or "tfevents" in path.name:
        return eventfile.read(path), "unknown"
    raise RunLogError(
        f"nothing reads {path.name!r}; there are readers for: {', '.join(KINDS)} *.tsv"
    )


def _frames(table: Table, chosen: Choice, path: Path) -> tuple[list[Frame], str | None]:
    """Make a frame of each step that has a norm; tell when the first was, if the log does."""
    columns = [column for group in chosen.layers.values() for column in group]
    counts = [len(group) for group in chosen.layers.values()]
    members, starts = np.arange(len(columns)), np.cumsum([0, *counts[:-1]])
    steps = [step for step in table.steps if any(column in step.values for column in columns)]
    if not steps:
        raise RunLogError(f"{path}: not one number in {', '.join(columns)}")
    seconds, started = _seconds(steps)
    frames = []
    for step, t in zip(steps, seconds, strict=True):
        row = np.array([_norm(step, column, path) for column in columns])
        beside = {n: step.values[c] for n, c in chosen.beside.items() if c in step.values}
        frames.append(Frame(step.step, t, combine(row, members, starts), beside))
    return frames, started


def _seconds(steps: Sequence[Step]) -> tuple[list[float], str | None]:
    """Tell each step's time since the first one, and when that was; None: nobody knows."""
    known = [step.t for step in steps if step.t is not None]
    if len(known) < len(steps):
        return [index * NOMINAL_SECONDS for index in range(len(steps))], None
    started = _utc(known[0]) if known[0] > SINCE_1970 else ""
    # A run that was resumed may have begun its clock again.
    return [t - known[0] for t in itertools.accumulate(known, max)], started


def _norm(step: Step, column: str, path: Path) -> float:
    value = step.values.get(column, ABSENT)
    if column in step.values and (isinstance(value, str) or value < 0.0):
        raise RunLogError(
            f"{path}: {column!r} is {value} at step {step.step}, which is no norm; choose the "
            "columns of norms with --columns PATTERN"
        )
    return float(value)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _target(out: Path) -> Path:
    target = out if out.suffix == ".jsonl" else out / FILE_NAME
    try:
        there = target.exists()
    except OSError as error:
        raise _unwritten(target, error) from error
    if there:
        raise RunLogError(f"{target} is there already; give another -o, or remove it")
    return target


def _write(target: Path, lines: Sequence[bytes]) -> None:
    """Write a file whole, or not at all."""
    whole = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            whole.write_bytes(b"".join(lines))
            whole.replace(target)
        finally:
            whole.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritten(target, error) from error


def _unwritten(target: Path, error: OSError) -> RunLogError:
    return RunLogError(f"cannot write {str(target)!r}: {error.strerror or error}; give another -o")


def _told(chosen: Choice, steps: int, *, timed: bool) -> tuple[str, ...]:
    layers = len(chosen.layers)
    lines = [f"{layers} layer{'s'[: layers != 1]}, {steps} step{'s'[: steps != 1]}"]
    lines += [f"{layer}: {', '.join(columns)}" for layer, columns in chosen.layers.items()]
    lines += [f"{name}: {column}" for name, column in chosen.beside.items()]
    if not timed:
        lines.append("the log tells no time: its steps are put an eighth of a second apart")
    return tuple(lines)
