"""Open a finished source of any kind as a `RunLog`: a run, a log of another tool, stdin, a host."""

import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from gradmidi.base.messages import say
from gradmidi.errors import RunLogError
from gradmidi.log import FILE_NAME, Item, RunLog, encode
from gradmidi.sources.converting import convert
from gradmidi.sources.follow import copy_line, remote
from gradmidi.sources.kinds import FoundLog, find_log, logs_at, text_of
from gradmidi.sources.selection import Selection
from gradmidi.sources.textreader import GivenText, TextReader

__all__ = ["HEADER", "is_run", "open_log", "value_names"]

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
