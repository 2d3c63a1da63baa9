"""Logs of every kind as runs: opened (`open_log`), or imported into a run log (`import_log`)."""

import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gradmidi.base.files import WholeFile, beside
from gradmidi.base.messages import say
from gradmidi.errors import RunLogError
from gradmidi.log import FILE_NAME, Item, RunLog, encode
from gradmidi.sources.converting import convert
from gradmidi.sources.follow import copy_line, remote
from gradmidi.sources.following import follow_log
from gradmidi.sources.kinds import FoundLog, find_log, logs_at, text_of
from gradmidi.sources.selection import Selection
from gradmidi.sources.textreader import GivenText, TextReader

__all__ = [
    "HEADER",
    "Imported",
    "import_growing",
    "import_log",
    "is_run",
    "open_log",
    "value_names",
]

HEADER = b'{"gradmidi"'
"""The start of a run log."""

Log = TypeVar("Log", bound=RunLog)


def open_log(
    source: str | Path,
    selection: Selection | None = None,
    make: type[Log] = RunLog,  # type: ignore[assignment]
) -> Log:
    """Open a source; a log of another tool is converted in a temporary folder.

    Parameters
    ----------
    source : str or Path
        A run's folder or log; ``HOST:RUN``; ``-`` for stdin; or a log of another tool.
    selection : Selection, optional
        What to take from the log of another tool.
    make : type, default RunLog
        The class of the result.

    Raises
    ------
    RunLogError
        If the source cannot be read.
    """
    selection = selection or Selection()
    if str(source) == "-":
        return _stdin(selection, make)
    elsewhere = remote(str(source))
    if elsewhere is not None:
        return _copied(*elsewhere, make)
    path = Path(source)
    if is_run(path, selection):
        return make(path)
    found = find_log(path, selection.kind)
    return _converted(found, selection, make)


def is_run(path: Path, selection: Selection) -> bool:
    """Return whether a path is to be opened as a run: also if nothing is there."""
    if selection.kind is not None:
        return False
    try:
        if path.is_dir():
            return (path / FILE_NAME).is_file() or not logs_at(path)
        if not path.is_file() or path.name == FILE_NAME:
            return True
        with path.open("rb") as file:
            return file.read(len(HEADER)) == HEADER
    except OSError:
        return True


def value_names(source: str, selection: Selection) -> tuple[str, ...]:
    """Return the values of a source that get a voice, by name or pattern.

    Of a run these are the chosen ones. A log of another tool is converted with the values alone
    that are to be heard, perhaps under other names.
    """
    converted = source != "-" and remote(source) is None and not is_run(Path(source), selection)
    return ("*",) if converted else selection.values


def _converted(found: FoundLog, selection: Selection, make: type[Log]) -> Log:
    done = convert(found, selection)
    for line in (*done.hearing, *done.notes):
        say(line)
    where = found.path.absolute()
    log = _temporary(done.items, Path(where.parent.name) / found.name, make)
    os.utime(log.path, (found.changed, found.changed))
    return log


def _stdin(selection: Selection, make: type[Log]) -> Log:
    data = sys.stdin.buffer.read()
    if data.startswith(HEADER):
        return _temporary([data], Path("stdin"), make)
    done = convert(text_of("stdin"), selection, TextReader(GivenText(data)))
    for line in (*done.hearing, *done.notes):
        say(line)
    return _temporary(done.items, Path("stdin"), make)


def _copied(host: str, run: str, make: type[Log]) -> Log:
    """Copy the log of a run on another machine."""
    line = copy_line(host, run)
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise RunLogError(f"{line[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = "; ".join(said[-2:]) or f"exit code {done.returncode}"
        raise RunLogError(f"{host}:{run} cannot be read: {reason}; try: ssh {host} ls {run}")
    return _temporary([done.stdout], Path(host) / Path(run).name, make)


def _temporary(parts: Iterable[Item | bytes], name: Path, make: type[Log]) -> Log:
    """Make a log in a temporary folder, which is deleted when nothing uses the log any more."""
    base = tempfile.mkdtemp(prefix="gradmidi-")
    try:
        path = Path(base) / name / FILE_NAME
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.writelines(each if isinstance(each, bytes) else encode(each) for each in parts)
        log = make(path)
    except BaseException:
        shutil.rmtree(base, ignore_errors=True)
        raise
    weakref.finalize(log, shutil.rmtree, base, ignore_errors=True)
    return log


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
    kind: str | None = None,
    force: bool = False,
) -> Imported:
    r"""Convert a log of another tool to a run log.

    Parameters
    ----------
    log : str or Path
        A TensorBoard folder or event file, an offline run of W&B, a run of MLflow's file store,
        a ``trainer_state.json`` of Transformers, a CSV file (exported from W&B or MLflow, written
        by Lightning or Keras, or any other), a file of JSON lines, a file of text that a training
        printed, or a folder that holds one of them; ``-`` for such text on stdin.
    out : str or Path
        The run's folder, or a ``.jsonl`` file. Missing folders are made.
    columns : sequence of str, optional
        Names of the columns of gradient norms, or patterns such as ``"grad/*"``. By default
        columns with a word for gradients in their names. Without any, the run has values alone.
    values : sequence of str, optional
        Names or patterns of the values to take. By default all but those that count progress or
        measure time, speed or hardware; at most 15, losses first.
    step : str, optional
        The column of a CSV file or JSON lines with the step numbers. By default a column named
        ``step``, ``global_step`` or similar; without one, the rows are counted from 1.
    kind : str, optional
        What the log is: a name in `gradmidi.sources.kinds.KINDS`. By default it is found.
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
    selection = Selection(kind, tuple(columns), tuple(values), step)
    if str(log) == "-":
        text = TextReader(GivenText(sys.stdin.buffer.read()))
        done = convert(text_of("stdin"), selection, text)
    else:
        done = convert(_found(log, kind), selection)
    _write(target, done.items)
    return Imported(target, (*_moved(out, target), *done.lines))


def import_growing(
    log: str | Path, out: str | Path, selection: Selection, *, force: bool = False
) -> Iterator[Imported]:
    """Convert a growing log of another tool, until it says that the run has ended.

    Yields the path of the run, and what to tell the user, as soon as the run log has its header.
    Then the caller asks for more until nothing comes; interrupted, the run log has no end line.

    Raises
    ------
    RunLogError
        If the log cannot be read, or the run cannot be written.
    """
    target = _target(out, force=force)
    lines = follow_log(_found(log, selection.kind), selection)
    header = next(lines)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb", buffering=0) as file:
            file.write(header.data)
            yield Imported(target, _moved(out, target))
            for line in lines:
                file.write(line.data)
    except OSError as error:
        raise _unwritten(target, error) from error


def _found(log: str | Path, kind: str | None) -> FoundLog:
    """Find the log at a path; a run on another machine needs no import."""
    if remote(str(log)) is not None:
        raise RunLogError(
            f"{log} is a run on another machine, and can be used as it is; to copy it: scp -r "
            f"{log} FOLDER"
        )
    return find_log(log, kind)


def _moved(out: str | Path, target: Path) -> tuple[str, ...]:
    """Return the message that the run has another name than `out`."""
    first = _target(out, force=True)
    if target == first:
        return ()
    return (f"{first} is a run already, so this one is {target}; --force replaces it",)


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


def _write(target: Path, items: Sequence[Item]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with WholeFile(target) as new:
            new.file.writelines(map(encode, items))
    except OSError as error:
        raise _unwritten(target, error) from error


def _unwritten(target: str | Path, error: OSError) -> RunLogError:
    return RunLogError(f"cannot write {str(target)!r}: {error.strerror or error}; give another -o")
