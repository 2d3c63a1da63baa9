"""Where a log's lines go: to the disk, on a thread of its own, and to live outputs."""

import errno
import os
import queue
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from gradmidi.base.messages import Warnings
from gradmidi.log import FILE_NAME, Frame, Header, Layer, Record, Values, encode, encode_header
from gradmidi.log.folder import RunFolder

__all__ = ["BEHIND", "BEHIND_SECONDS", "Awake", "Disk", "Feed", "Lines", "LogFile"]

BEHIND_SECONDS = 10.0
"""Frames are dropped only once the writer is this far behind."""

BEHIND = ("run log behind", "ten seconds", "steps are left out")

GAP_SECONDS = 1.0
"""The longest time between two steps that counts in full; a longer one may be a process that was
stopped (Ctrl-Z, ``docker pause``), in which the writer could do nothing."""


class Awake:
    """Seconds in which a process ran, without those in which it was stopped.

    Attributes
    ----------
    seconds : float
        The seconds so far.

    Examples
    --------
    >>> awake = Awake()
    >>> [awake.at(now) for now in (100.0, 100.5, 112.0)]
    [0.0, 0.5, 1.5]
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last: float | None = None

    def at(self, now: float) -> float:
        """Return the seconds until `now`, in seconds of any clock; call it often."""
        if self._last is not None:
            self.seconds += min(max(now - self._last, 0.0), GAP_SECONDS)
        self._last = now
        return self.seconds


class LogFile:
    """The file of a run log, written one whole line at a time.

    Parameters
    ----------
    folder : RunFolder
        The open folder; `close` closes its file.
    warnings : Warnings
        Counts the errors of writing.

    Attributes
    ----------
    steps, size, lost : int
        Frames written, bytes written, and lines that could not be written.
    frames : int
        Frames that were to be written, whether or not that succeeded.
    frame_bytes : int
        Bytes of frames and of their late values.
    is_there : bool
        Whether the file was at its path when it was closed.
    """

    def __init__(self, folder: RunFolder, warnings: Warnings) -> None:
        self.steps = self.frames = self.size = self.lost = self.frame_bytes = 0
        self.is_there = True
        self._path = (folder.path / FILE_NAME).absolute()
        self._fd = folder.fd
        self._head = b""  # A header that is written with the next line.
        self._cut_short = folder.cut_short
        self._last_step: int | None = None
        self._warnings = warnings

    @property
    def is_open(self) -> bool:
        """Whether the file is still open."""
        return self._fd >= 0

    def begin(self, line: bytes, *, held: bool = False) -> None:
        """Write the header, or raise OSError; if `held`, only try to: see `head`."""
        if held:
            self.head(line)
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                # What was written to a pipe cannot be taken back.
                return
        self._write(self._whole(line))
        self._cut_short = False
        if held:
            self._clear()

    def head(self, line: bytes) -> None:
        """Write this header before the next line, into a log that is still empty."""
        self._head = line

    def put(self, record: Record, line: bytes) -> None:
        """Write the line of a record; skip late values whose frame was not written."""
        if isinstance(record, Values) and record.step != self._last_step:
            return
        written = self.write(line)
        self.frames += isinstance(record, Frame)
        if not written:
            return
        if isinstance(record, Frame):
            self.steps += 1
            self._last_step = record.step
        if isinstance(record, (Frame, Values)):
            self.frame_bytes += len(line)

    def write(self, line: bytes) -> bool:
        """Write a line; if that fails, count it and return False."""
        size = self.size
        try:
            self._write(self._head + self._whole(line))
        except OSError as error:
            if self._head:
                self._clear()
            self._cut_short = self._cut_short or self.size > size
            then = "lines are lost until it can be written"
            self._warnings.note("run log", error.strerror or error, then)
            self.lost += 1
            return False
        self._cut_short, self._head = False, b""
        return True

    def _clear(self) -> None:
        """Empty the file, so that it never begins with a part of a header."""
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
            self.size = 0

    def _write(self, whole: bytes) -> None:
        """Write all bytes; the system may take a line in parts."""
        rest = memoryview(whole)
        while rest:
            written = os.write(self._fd, rest)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.size += written
            rest = rest[written:]

    def close(self) -> None:
        """Close the file. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self.is_there = _is_at(self._path, fd)
            os.close(fd)

    def _whole(self, line: bytes) -> bytes:
        return b"\n" + line if self._cut_short else line


class Disk:
    """Writes lines at once, or on a thread, so that a disk that hangs does not stop the sound.

    Parameters
    ----------
    file : LogFile
        The log.
    warnings : Warnings
        Counts the errors.
    clock : callable
        Returns seconds.
    threaded : bool
        Whether to write on a thread.

    Attributes
    ----------
    left_out : int
        Frames that were not written because the disk was too slow.
    """

    def __init__(
        self, file: LogFile, warnings: Warnings, clock: Callable[[], float], *, threaded: bool
    ) -> None:
        self.left_out = 0
        self._file = file
        self._warnings = warnings
        self._clock = clock
        self._awake = Awake()
        self._since: float | None = None
        self._lines: queue.SimpleQueue[tuple[Any, ...]] | None = None
        self._thread: threading.Thread | None = None
        if threaded:
            self._lines = queue.SimpleQueue()
            self._thread = threading.Thread(target=self._run, name="gradmidi disk", daemon=True)
            self._thread.start()

    def put(self, record: Record, line: bytes) -> None:
        """Write the line of a record."""
        if self._lines is None:
            self._file.put(record, line)
            return
        now, since = self._awake.at(self._clock()), self._since
        if since is not None and now - since > BEHIND_SECONDS and isinstance(record, Frame):
            self.left_out += 1
            self._warnings.note(*BEHIND)
        else:
            self._lines.put((now, self._file.put, record, line))

    def finish(self, last: Callable[[], bytes]) -> None:
        """Write a last line, made after all others are written, and close the file."""
        if self._lines is None:
            self._finish(last)
        else:
            self._lines.put((self._awake.seconds, self._finish, last))

    def join(self, seconds: float) -> bool:
        """Wait at most `seconds` for the last line; return whether it is written."""
        if self._thread is None:
            return True
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _run(self) -> None:
        assert self._lines is not None
        while self._file.is_open:
            self._since, action, *rest = self._lines.get()
            try:
                action(*rest)
            except Exception as error:
                self._warnings.note("run log", error, "one line is lost")
                self._file.lost += 1
            self._since = None

    def _finish(self, last: Callable[[], bytes]) -> None:
        try:
            self._file.write(last())
        finally:
            self._file.close()


def _is_at(path: Path, fd: int) -> bool:
    """Return whether an open file is the one at a path."""
    try:
        there, own = path.stat(), os.fstat(fd)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)


class Feed(Protocol):
    """Live output that gets each line of the log when it is written."""

    def send(self, record: Record, line: bytes) -> None:
        """Send a record and its line, on the writer's thread; must return at once."""

    def close(self, timeout: float) -> None:
        """End all notes and release all resources, within `timeout` seconds."""


class Lines:
    """Sends records to the disk and to live outputs, in order.

    Parameters
    ----------
    header : Header
        The first record.
    file : LogFile
        The log.
    feeds : sequence of Feed
        Live outputs.
    warnings : Warnings
        Counts the errors of live outputs.
    held : bool
        Keep back the header, and all that follows, until `arrange` or the first frame.

    Attributes
    ----------
    disk : Disk
        Writes the lines of the log; set before the first record is sent.
    """

    disk: Disk

    def __init__(
        self,
        header: Header,
        file: LogFile,
        feeds: Sequence[Feed],
        warnings: Warnings,
        *,
        held: bool,
    ) -> None:
        self._header = header
        self._file = file
        self._feeds = feeds
        self._warnings = warnings
        self._early: list[Record] | None = [] if held else None

    def begin(self, line: bytes) -> None:
        """Write the header's line, or raise OSError; a header that is kept back is only tried."""
        held = self._early is not None
        self._file.begin(line, held=held)
        if not held:
            self.feed(self._header, line)

    def arrange(self, layers: tuple[Layer, ...] = ()) -> None:
        """Send the header if it was kept back, with its layers in this order, and what followed."""
        if self._early is None:
            return
        early, self._early = self._early, None
        self._header = replace(self._header, layers=layers or self._header.layers)
        line = encode_header(self._header)
        self._file.head(line)
        self.feed(self._header, line)
        for record in early:
            self.send(record)

    def rewind(self) -> None:
        """Send the header of a further segment, in which the run goes back to an earlier step."""
        other = {**self._header.other, "rewound": True}
        self.send(replace(self._header, resumed=True, other=other))

    def send(self, record: Record) -> None:
        """Send a record."""
        if self._early is not None:
            if not isinstance(record, Frame):
                self._early.append(record)
                return
            self.arrange()
        line = encode(record)
        self.feed(record, line)
        self.disk.put(record, line)

    def feed(self, record: Record, line: bytes) -> None:
        """Send a line to live outputs alone."""
        for feed in self._feeds:
            try:
                feed.send(record, line)
            except Exception as error:
                self._warnings.note("live output", error, "training and the log continue")
