"""Read a run log as it grows: a file, a pipe, or a file on another machine.

Each source yields `Line`s. Lines that are older than the start of reading are marked as past: they
set references but make no sound. A file is polled a hundred times a second, because no system call
that reports changes works on all file systems.
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

from gradmidi.base.messages import say, warn
from gradmidi.errors import RunLogError
from gradmidi.sources.growing import CHUNK_BYTES, GrowingFile

__all__ = ["Line", "copy_line", "follow_file", "follow_host", "follow_pipe", "remote", "ssh_line"]

POLL_SECONDS = 0.01

CALM_SECONDS = 0.25
"""A pipe has caught up if its lines come no faster than they were written for this long."""

END = b'{"end"'
GRACE_SECONDS = 0.5

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0)
"""How long to wait before the first, second, … new attempt to connect to another machine."""

_TIME = re.compile(rb'"t": ?([0-9.eE+-]+)')
"""The first match is the frame's time: `t` is a frame's second key, before the user's keys."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a run log.

    Parameters
    ----------
    data : bytes
        The line with its line break.
    past : bool
        Whether the line is older than the start of reading.
    """

    data: bytes
    past: bool = False


CAUGHT_UP = Line(b"")
"""What a source yields when all its past lines are read; it is no line of the log."""


def follow_file(
    path: str | Path,
    *,
    stop: threading.Event | None = None,
    poll: float = POLL_SECONDS,
) -> Iterator[Line]:
    """Yield the lines of a growing file until `stop` is set.

    Parameters
    ----------
    path : str or Path
        The file. If it is replaced or truncated, it is read again from its start.
    stop : threading.Event, optional
        Ends the reading.
    poll : float
        Seconds between two reads.

    Yields
    ------
    Line
        Whole lines only; the lines of the first read are past, then comes `CAUGHT_UP`.

    Raises
    ------
    RunLogError
        If the file cannot be read.
    """
    stop = stop or threading.Event()
    file = GrowingFile(Path(path))
    try:
        rest, restarts = b"", 0
        there = file.size
        before = True
        while not stop.is_set():
            # Do not mix past and later lines in one chunk.
            past = file.position < there
            if before and not past:
                before = False
                yield CAUGHT_UP
            chunk = file.read(min(CHUNK_BYTES, there - file.position) if past else CHUNK_BYTES)
            if chunk:
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (Line(line + b"\n", past) for line in lines)
            elif file.restarts > restarts:
                rest, restarts, there = b"", file.restarts, 0
            else:
                stop.wait(poll)
    finally:
        file.close()


def follow_pipe(
    descriptor: int,
    *,
    past: bool = True,
    first: bytes = b"",
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Line]:
    """Yield the lines of a pipe until its end or until `stop` is set.

    Lines are past while they come faster than their times say.

    Parameters
    ----------
    descriptor : int
        File descriptor of the pipe.
    past : bool, default True
        Whether the first lines may be past.
    first : bytes, optional
        Bytes that were read from the pipe already.
    stop : threading.Event, optional
        Ends the reading.
    clock : callable
        Returns monotonic seconds.

    Yields
    ------
    Line
        A last line without a line break is incomplete and left out. `CAUGHT_UP` comes after past
        lines if no further line follows them at once.
    """
    before = _Past() if past else None
    rest = b""
    while stop is None or not stop.is_set():
        if not first and not _readable(descriptor, CALM_SECONDS):
            if before is not None:
                before = None
                yield CAUGHT_UP
            continue
        chunk, first = first or os.read(descriptor, CHUNK_BYTES), b""
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        now = clock()
        for line in lines:
            if before is not None and before.caught_up(line, now):
                before = None
            yield Line(line + b"\n", before is not None)


class _Past:
    """Detects that a pipe has caught up with the run, by the times of its lines."""

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
    """Wait until there is something to read. Always return True on Windows, which cannot wait."""
    if os.name == "nt":
        return True
    return bool(select.select([descriptor], [], [], seconds)[0])


def remote(run: str) -> tuple[str, str] | None:
    """Split ``HOST:RUN``; return None for a path on this machine.

    Examples
    --------
    >>> remote("box:runs/a"), remote("me@box:~/runs/a"), remote("runs/a:b"), remote("C:/runs")
    (('box', 'runs/a'), ('me@box', '~/runs/a'), None, None)
    """
    match = re.fullmatch(r"([A-Za-z0-9_][\w.@-]+):(.+)", run)
    # os.path.exists is False for a name that the system does not allow.
    if match is None or os.path.exists(run):
        return None
    return match[1], match[2]


def ssh_line(host: str, run: str, first: int) -> list[str]:
    """Return the command that follows a run on another machine from its line `first`, from 1.

    Examples
    --------
    >>> ssh_line("box", "~/runs/a", 1)[:2]
    ['ssh', 'box']
    """
    # ssh starts in the home folder; a quoted ~ would be a folder named ~.
    path = run.removeprefix("~/")
    script = 'test -d "$1" && set -- "$1/run.jsonl" "$2"; exec tail -n "+$2" -f "$1"'
    return ["ssh", host, shlex.join(["sh", "-c", script, "gradmidi", path, str(first)])]


def copy_line(host: str, run: str) -> list[str]:
    """Return the command that prints the log of a run on another machine."""
    script = 'test -d "$1" && set -- "$1/run.jsonl"; exec cat "$1"'
    path = run.removeprefix("~/")
    return ["ssh", host, shlex.join(["sh", "-c", script, "gradmidi", path])]


def follow_host(
    host: str,
    run: str,
    *,
    stop: threading.Event | None = None,
    command: Callable[[str, str, int], list[str]] = ssh_line,
) -> Iterator[Line]:
    """Yield the lines of a run on another machine by ssh; reconnect if the connection is lost.

    Parameters
    ----------
    host, run : str
        Host for `ssh`, and the run's folder or log on it.
    stop : threading.Event, optional
        Ends the reading.
    command : callable
        Returns the command line for a host, a run and the first line to read.

    Yields
    ------
    Line

    Raises
    ------
    RunLogError
        If the first connection yields nothing; the message quotes ssh.
    """
    stop = stop or threading.Event()
    count = tries = 0
    while not stop.is_set():
        with _Connection(command(host, run, count + 1)) as connection:
            # The first lines after a reconnect are late, not past.
            for line in follow_pipe(connection.stdout, past=not count, stop=stop):
                if tries:
                    say(f"{host} is back; continuing after line {count}")
                    tries = 0
                count += line != CAUGHT_UP
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
    """A running ssh, which is ended at the end of the block."""

    def __init__(self, line: list[str]) -> None:
        self.reason = ""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            # Keep the terminal's session, since ssh asks for a password at /dev/tty.
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
