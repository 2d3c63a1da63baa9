"""Reads a run log as it grows: a file, a pipe, or a file on another machine.

Each source yields `Line`s. Lines that were there before the reading began are marked as past, so
that they set references in silence. A file is read a hundred times a second: no system call that
reports changes works on every file system that training runs are written to.
"""

import contextlib
import os
import re
import select
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gradmidi.base.messages import say, warn
from gradmidi.errors import RunLogError

__all__ = ["Line", "follow_file", "follow_host", "follow_pipe", "remote", "ssh_line"]

POLL_SECONDS = 0.01
CHUNK_BYTES = 1 << 16

CALM_SECONDS = 0.25
"""A pipe has caught up once its lines come no faster than they were written for so long."""

END = b'{"end"'
GRACE_SECONDS = 0.5

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)
"""How long to wait before the first, second, … further try to reach another machine."""

_TIME = re.compile(rb'"t": ?([0-9.eE+-]+)')
"""The first match is the frame's own time: `t` is a frame's second key, before any user's."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a run log.

    Parameters
    ----------
    data : bytes
        With its line break.
    past : bool
        Whether it was there before the reading began.
    """

    data: bytes
    past: bool = False


def follow_file(
    path: str | Path,
    *,
    stop: threading.Event | None = None,
    poll: float = POLL_SECONDS,
) -> Iterator[Line]:
    """Follow a file that grows, until `stop` is set.

    Parameters
    ----------
    path : str or Path
        The file. If it is replaced or cut short, it is read from its start again.
    stop : threading.Event, optional
        Ends the following.
    poll : float
        Seconds between two looks.

    Yields
    ------
    Line
        Whole lines only; those that are there at the first reading are past.

    Raises
    ------
    RunLogError
        If the file cannot be read.
    """
    stop = stop or threading.Event()
    path = Path(path)
    file = _open(path)
    try:
        rest, position = b"", 0
        there = os.fstat(file.fileno()).st_size
        while not stop.is_set():
            # What is there and what comes later never share a chunk.
            past = position < there
            chunk = file.read(min(CHUNK_BYTES, there - position) if past else CHUNK_BYTES)
            if chunk:
                position += len(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (Line(line + b"\n", past) for line in lines)
                continue
            if _replaced(path, file.fileno(), position):
                file.close()
                file = _open(path)
                rest, position, there = b"", 0, 0
                continue
            stop.wait(poll)
    finally:
        file.close()


def follow_pipe(
    descriptor: int,
    *,
    past: bool = True,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Line]:
    """Read a pipe until its end, or until `stop` is set.

    Lines are past as long as they come faster than they were written, by their own times.

    Parameters
    ----------
    descriptor : int
        Where to read.
    past : bool, default True
        Whether there may be lines from before.
    stop : threading.Event, optional
        Ends the reading.
    clock : callable
        Seconds that never go back.

    Yields
    ------
    Line
        A last line without a line break is left out: it was cut short.
    """
    before = _Past() if past else None
    rest = b""
    while stop is None or not stop.is_set():
        if not _readable(descriptor, CALM_SECONDS):
            before = None
            continue
        chunk = os.read(descriptor, CHUNK_BYTES)
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        now = clock()
        for line in lines:
            if before is not None and before.caught_up(line, now):
                before = None
            yield Line(line + b"\n", before is not None)


class _Past:
    """Finds when a pipe has caught up with the run: its lines come no faster than its time."""

    def __init__(self) -> None:
        self._since: tuple[float, float] | None = None

    def caught_up(self, line: bytes, now: float) -> bool:
        found = _TIME.search(line)
        if found is None:
            return False
        t = float(found[1])
        if self._since is None:
            self._since = (now, t)
        passed, ran = now - self._since[0], t - self._since[1]
        if passed < CALM_SECONDS:
            return False
        self._since = (now, t)
        return ran <= 2.0 * passed


def _readable(descriptor: int, seconds: float) -> bool:
    """Wait until there is something to read. On Windows, which cannot tell, return True."""
    if os.name == "nt":
        return True
    return bool(select.select([descriptor], [], [], seconds)[0])


def remote(run: str) -> tuple[str, str] | None:
    """Read ``HOST:RUN``; None where it is a path of this machine.

    Examples
    --------
    >>> remote("box:runs/a"), remote("me@box:~/runs/a"), remote("runs/a:b"), remote("C:/runs")
    (('box', 'runs/a'), ('me@box', '~/runs/a'), None, None)
    """
    match = re.fullmatch(r"([A-Za-z0-9_][\w.@-]+):(.+)", run)
    if match is None or Path(run).exists():
        return None
    return match[1], match[2]


def ssh_line(host: str, run: str, first: int) -> list[str]:
    """Write the command that follows a run on another machine from its line `first`, from 1.

    Examples
    --------
    >>> ssh_line("box", "~/runs/a", 1)[:2]
    ['ssh', 'box']
    """
    # ssh begins in the home folder; a quoted ~ would be a folder of that name.
    path = run.removeprefix("~/")
    script = 'test -d "$1" && set -- "$1/run.jsonl" "$2"; exec tail -n "+$2" -f "$1"'
    return ["ssh", host, shlex.join(["sh", "-c", script, "gradmidi", path, str(first)])]


def follow_host(
    host: str,
    run: str,
    *,
    stop: threading.Event | None = None,
    command: Callable[[str, str, int], list[str]] = ssh_line,
) -> Iterator[Line]:
    """Follow a run on another machine by ssh; reconnect after the last line if that breaks off.

    Parameters
    ----------
    host, run : str
        What `ssh` takes, and the run's folder or log there.
    stop : threading.Event, optional
        Ends the following.
    command : callable
        Makes the command line from host, run and the first line that is wanted.

    Yields
    ------
    Line

    Raises
    ------
    RunLogError
        If the first connection brings nothing; the message has what ssh said.
    """
    stop = stop or threading.Event()
    count = tries = 0
    while not stop.is_set():
        with _Connection(command(host, run, count + 1)) as connection:
            # The first lines of a second connection are late, not past.
            for line in follow_pipe(connection.stdout, past=not count, stop=stop):
                if tries:
                    say(f"{host} is back; going on after line {count}")
                    tries = 0
                count += 1
                yield line
                if line.data.startswith(END):
                    return
        if stop.is_set():
            return
        if not count:
            raise RunLogError(
                f"{host}:{run} cannot be followed: {connection.reason}; try: ssh {host} ls {run}"
            )
        if not tries:
            warn(f"the connection to {host} broke off ({connection.reason}); trying again")
        stop.wait(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
        tries += 1


class _Connection:
    """A running ssh, which ends with the block."""

    def __init__(self, line: list[str]) -> None:
        self.reason = ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            # In this terminal's session: ssh asks for a password at /dev/tty.
            self._process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as error:
            self._errors.close()
            raise RunLogError(f"{line[0]} cannot be started: {error.strerror}") from error
        self.stdout = self._process.stdout.fileno()  # type: ignore[union-attr]

    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        for end in (process.poll, process.terminate, process.kill):
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
                break
        process.stdout.close()  # type: ignore[union-attr]
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        self._errors.close()
        self.reason = "; ".join(said[-2:]) or f"exit code {process.returncode}"


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise RunLogError(f"{path} cannot be read: {error.strerror}") from error


def _replaced(path: Path, descriptor: int, position: int) -> bool:
    """Tell whether another file has the name now, or this one was cut short."""
    try:
        there = path.stat()
    except OSError:
        return False
    ours = os.fstat(descriptor)
    return there.st_size < position or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
