"""Read what a training prints: a file, or a pipe whose bytes are passed on (`PassThrough`)."""

import contextlib
import math
import os
import re
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from gradmidi.sources.growing import GrowingFile, until_found
from gradmidi.sources.printed import PrintedTables, clean, loss_of_phase, numbers_in
from gradmidi.sources.printedsteps import Printed, Steps
from gradmidi.sources.reader import FileReader
from gradmidi.sources.rows import Row
from gradmidi.text.words import count

if sys.platform == "linux":
    import fcntl

__all__ = ["GivenText", "PassThrough", "TextReader"]

CHUNK_BYTES = 1 << 20
"""How many bytes are passed on, and read for numbers, at once."""

LONGEST_LINE = 1 << 16
"""Of a longer line only the start is read for numbers."""

MOST_WAITING = 1 << 22
"""How many bytes may wait to be read for numbers; older ones are left out."""

START_SECONDS = 0.2
"""How long to wait for the first bytes of a pipe, so that they count as there before."""

PIECE_BYTES, PAUSE_SECONDS = 1 << 16, 0.05
"""If text comes faster than it can be read, so many bytes are read before a pause."""

MOST_NAMES = 10_000
"""How many names are remembered; later ones are not looked at."""

_BREAKS = re.compile(rb"[\r\n\x08]+")
"""Ends of lines; progress bars begin the same line again."""

BINARY = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
"""Bytes that text does not have; it may have bell, backspace, tab, form feed and escape."""

_ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*(\w*(?:Error|Exception|Interrupt|Exit)\b.*)")
TRACEBACK = "Traceback (most recent call last)"


class Bytes(Protocol):
    """A growing sequence of bytes."""

    missing: bool
    restarts: int

    def read(self, most: int = CHUNK_BYTES) -> bytes:
        """Return the next bytes; empty if there are none now."""

    def close(self) -> None:
        """Release it."""


class PassThrough:
    """Copies a pipe to another descriptor at once, and keeps the newest bytes for a reader.

    The copying thread never waits for the reader: if the reader is too slow, the oldest bytes are
    left out of reading, not of the copy.

    Parameters
    ----------
    source, target : int
        File descriptors to read from and to write to.
    first : bytes, optional
        Bytes that were read from the source already.

    Attributes
    ----------
    ended : bool
        Whether the pipe has ended.
    left_out : int
        Bytes that were not read for numbers.
    restarts : int
        How often bytes were left out; reading goes on with a whole line.
    """

    missing = False

    def __init__(self, source: int, target: int, first: bytes = b"") -> None:
        self.ended = False
        self.left_out = self.restarts = 0
        self._source = source
        self._target: int | None = target
        self._first = first
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._gap = self._too_fast = False
        self._lock = threading.Lock()
        self._has_read = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gradmidi text", daemon=True)

    def start(self) -> None:
        """Start copying; return when what is in the pipe now was read."""
        for descriptor in (self._source, self._target):
            _widen(descriptor)
        self._thread.start()
        # An idle pipe is not waited for.
        self._has_read.wait(START_SECONDS)

    def join(self, seconds: float | None = None) -> None:
        """Wait until the pipe has ended."""
        self._thread.join(seconds)

    def read(self, most: int = CHUNK_BYTES) -> bytes:
        """Return the next bytes that were copied; empty if there are none now."""
        with self._lock:
            while self._waiting:
                data = self._waiting.popleft()
                self._size -= len(data)
                if self._gap:
                    data = self._after_gap(data)
                if data:
                    break
            else:
                return b""
            if not self._gap:
                return data
        # The copying thread needs the processor more than the reader does.
        time.sleep(PAUSE_SECONDS)
        return data

    def _after_gap(self, data: bytes) -> bytes:
        """Return the whole lines of a chunk; if text comes too fast, only the first of them."""
        begin = data.find(b"\n") + 1
        piece = data[begin:] if begin else b""
        if self._too_fast or not begin:
            piece = piece[:PIECE_BYTES]
            piece = piece[: piece.rfind(b"\n") + 1]
        else:
            self._gap = False
        self._too_fast = False
        self.left_out += len(data) - len(piece)
        self.restarts += 1
        return piece

    def close(self) -> None:
        """Do nothing: copying goes on until the pipe ends."""

    def _run(self) -> None:
        data, reads = self._first, 0
        while True:
            if data:
                self._write(data)
                self._keep(data)
            if reads:
                self._has_read.set()
            reads += 1
            try:
                data = os.read(self._source, CHUNK_BYTES)
            except OSError:
                data = b""
            if not data:
                break
        self.ended = True
        self._has_read.set()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._target is not None:
            try:
                view = view[os.write(self._target, view) :]
            except BlockingIOError:
                # The terminal was made non-blocking by another program.
                with contextlib.suppress(OSError):
                    os.set_blocking(self._target, True)
            except OSError:
                # The reader of stdout is gone; training must not end because of that.
                self._target = None

    def _keep(self, data: bytes) -> None:
        with self._lock:
            self._waiting.append(data)
            self._size += len(data)
            while self._size > MOST_WAITING:
                old = self._waiting.popleft()
                self._size -= len(old)
                self.left_out += len(old)
                self._gap = self._too_fast = True


def _widen(descriptor: int | None) -> None:
    """Let a pipe hold more, where the system allows it: each system call moves more bytes."""
    if descriptor is not None and sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)


class GivenText:
    """Bytes that are there as a whole.

    Parameters
    ----------
    data : bytes
        The bytes.
    """

    missing = False
    restarts = 0

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read(self, most: int = CHUNK_BYTES) -> bytes:
        """Return the next bytes."""
        data, self._data = bytes(self._data[:most]), self._data[most:]
        return data

    def close(self) -> None:
        """Do nothing."""


class TextReader(FileReader):
    """Finds the numbers in what a training prints, with the step they belong to.

    A name becomes a value when a second line has it, so that settings that are printed once are
    none. At the end of the text, results that were printed once are values too.

    Parameters
    ----------
    source : GrowingFile, PassThrough or Path
        The text; of a path, the file.
    """

    repeats = printed = True

    def __init__(self, source: "Bytes | Path") -> None:
        super().__init__(source if isinstance(source, Path) else Path("-"))
        self._file: Bytes = GrowingFile(source) if isinstance(source, Path) else source
        self._plain: set[str] = set()
        self._has_step = False
        self._once: dict[str, Printed] = {}
        self._tables = PrintedTables()
        self._steps = Steps()
        self._rest = b""
        self._long = False
        self._number = self._latest = self._binary = 0
        self._first: float = math.inf
        self._error = ""
        self._in_traceback = False
        self._restarts = 0

    @property
    def counters(self) -> tuple[str, ...]:
        """The step, if a line has named one."""
        return ("step",) if self._has_step else ()

    @property
    def notes(self) -> list[str]:
        """Messages to the user."""
        notes = []
        if self._binary:
            notes.append(f"binary data: {count(self._binary, 'line')} left out")
        if isinstance(self._file, PassThrough) and self._file.left_out:
            notes.append("too much text at once: some of it is passed on without being read")
        return notes

    def poll(self, *, whole: bool = False) -> list[Row]:
        """Return the next rows, see `Reader`."""
        return until_found(lambda: self._next(whole=whole))

    def _next(self, *, whole: bool) -> list[Row] | None:
        ended = isinstance(self._file, PassThrough) and self._file.ended
        data = self._file.read()
        if self._file.restarts > self._restarts:
            self._restarts = self._file.restarts
            self._rest, self._long = b"", False
        if data:
            return self._rows(data)
        if not (whole or ended):
            return None
        rows = self._rows(b"\n") if self._rest else []
        for text in self._tables.rest():
            rows += self._of_text(text)
        for line in self._steps.rest():
            rows += self._of_printed(line)
        # What was printed once is a result, or, if nothing came twice, all there is.
        late = [once for once in self._once.values() if once.line > self._first or not self._names]
        rows += self._late(late)
        self._names.update(dict.fromkeys(name for row in rows for name in row.values))
        self._once = {}
        if ended and not rows:
            self.ending = f"exception: {self._error}" if self._error else "closed"
        return rows or None

    def _rows(self, data: bytes) -> list[Row]:
        *lines, self._rest = _BREAKS.split(self._rest + data)
        if self._long and lines:
            # The start of this line was read before.
            lines[0] = b""
            self._long = False
        if len(self._rest) > LONGEST_LINE:
            if not self._long:
                lines.append(self._rest[:LONGEST_LINE])
            self._long, self._rest = True, self._rest[:1]
        return [row for line in lines if line for row in self._of_line(line)]

    def _of_line(self, line: bytes) -> list[Row]:
        self._number += 1
        if BINARY.search(line[:LONGEST_LINE]):
            self._binary += 1
            return []
        text = clean(line[:LONGEST_LINE].decode("utf-8", "replace"))
        self._look_for_errors(text)
        return [row for part in self._tables.read(text) for row in self._of_text(part)]

    def _of_text(self, text: str) -> list[Row]:
        found = {self._renamed(name, text): number for name, number in numbers_in(text).items()}
        if found:
            self._error = ""
        line = Printed(self._number, found)
        return [row for each in self._steps.take(text, line) for row in self._of_printed(each)]

    def _renamed(self, name: str, text: str) -> str:
        """Tell what an evaluation measures from what training does, where both are printed."""
        renamed = loss_of_phase(name, text)
        if renamed == name:
            self._plain.add(name)
        return renamed if name in self._plain else name

    def _of_printed(self, line: Printed) -> list[Row]:
        """Return the row of a line; a name that comes for the first time waits for a second."""
        late = []
        for name in [name for name in line.numbers if name not in self._names]:
            once = self._once.pop(name, None)
            if len(self._names) + len(self._once) >= MOST_NAMES:
                del line.numbers[name]
            elif once is None:
                self._once[name] = replace(line, numbers={name: line.numbers.pop(name)})
            else:
                self._names[name] = None
                self._first = min(self._first, once.line)
                late.append(once)
        return [*self._late(late), *([self._row(line)] if line.numbers else [])]

    def _late(self, late: list[Printed]) -> list[Row]:
        """Return a row for each line of which numbers come late, in the order of the lines."""
        lines: dict[int, Printed] = {}
        for each in sorted(late, key=lambda line: line.line):
            lines.setdefault(each.line, replace(each, numbers={})).numbers.update(each.numbers)
        return [self._row(line) for line in lines.values()]

    def _row(self, line: Printed) -> Row:
        """Return a row; what comes after a later line is a series of its own."""
        series = next(iter(line.numbers)) if line.line < self._latest else ""
        self._latest = max(self._latest, line.line)
        sure = line.step is not None and self._steps.is_sure(line)
        step = float(line.step) if line.step is not None and sure else None
        self._has_step |= step is not None
        epoch = line.epoch if sure else None
        where, numbers = f"line {line.line}", dict(line.numbers)
        return Row(where, (step,), None, numbers, series, epoch=epoch, line=line.line)

    def _look_for_errors(self, text: str) -> None:
        """Remember the last line of a traceback."""
        if TRACEBACK in text:
            self._in_traceback = True
        elif self._in_traceback and not text.startswith(" "):
            match = _ERROR.match(text)
            if match is not None:
                self._error = match[1][:200]
                self._in_traceback = False
