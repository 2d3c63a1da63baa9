"""Read a run log on disk as a stream (`RunLog`)."""

import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import orjson

from gradmidi.errors import RunLogError
from gradmidi.log.decoding import (
    OTHERS,
    UNREADABLE,
    Decoder,
    decode_frame,
    decode_late,
    decode_seconds,
)
from gradmidi.log.items import FILE_NAME, Frame, Header, Item, Layer, Values, numbers_of
from gradmidi.log.lock import is_written

__all__ = ["RunLog", "locate"]

_FRAME = re.compile(rb'\{"step": ?(\d+), ?"t": ?\d[\d.e+-]*, ?"norms": ?\[')
_STEP = re.compile(rb'\{"step": ?(\d+),')


def locate(run: str | Path) -> Path:
    """Find the log of a run: a folder that holds `run.jsonl`, or the file itself.

    Raises
    ------
    RunLogError
        If there is none.
    """
    path = Path(run)
    try:
        if path.is_dir():
            path = path / FILE_NAME
        there = path.is_file()
    except OSError as error:
        raise _cannot_read(path, error) from error
    if not there:
        raise RunLogError(
            f"no run at {str(run)!r}; give a folder that holds {FILE_NAME}, or that file"
        )
    return path


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _cannot_read(path, error) from error


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Read the next lines of a log; raise `RunLogError` if the disk fails in the middle."""
    try:
        # `yield from` would close the file.
        for line in file:  # noqa: UP028
            yield line
    except OSError as error:
        raise _cannot_read(path, error) from error


def _why_empty(path: Path) -> str:
    return "its run waits for its first step" if is_written(path) else "nothing was logged"


def _cannot_read(path: Path, error: OSError) -> RunLogError:
    return RunLogError(
        f"{path} cannot be read: {error.strerror}; change its permissions, or give another run"
    )


class RunLog:
    """A run log on disk, finished or still growing, read as a stream.

    Parameters
    ----------
    run : str or Path
        A folder that holds `run.jsonl`, or the file.

    Attributes
    ----------
    path : Path
        The file.
    header : Header
        The first header.
    steps : int
        Number of steps; a repeated step counts once.
    seconds : float
        Duration of all segments together.
    unreadable : int
        Lines that `items` could not read.
    first_unreadable : int
        Number of the first such line, from 1; 0 if none.
    unmatched : int
        Lines of late values that `items` left out because the log has no frame of their step.

    Raises
    ------
    RunLogError
        If there is no such run, it is empty, of another version or no run log.
    """

    def __init__(self, run: str | Path) -> None:
        self.path = locate(run)
        self.unreadable = self.first_unreadable = self.unmatched = 0
        with _opened(self.path) as file:
            first = next(_lines(file, self.path), b"")
            if not first:
                raise RunLogError(f"{self.path} is empty: {_why_empty(self.path)}")
            decoder = Decoder(str(self.path))
            header = decoder.decode(first)
            if not isinstance(header, Header):
                raise RunLogError(f"{self.path} is not a run log: its first line is not a header")
            self.header = header
            self._outline = _outline(file, decoder)
        self.steps, self.seconds = self._outline.steps, self._outline.seconds

    @property
    def name(self) -> str:
        """Name of the run: its folder's name, or the file's."""
        own = self.path.absolute().parent.name if self.path.name == FILE_NAME else self.path.stem
        return own.encode("utf-8", "replace").decode()

    @property
    def age(self) -> float:
        """Seconds since something was last written to the log."""
        return max(0.0, time.time() - self.path.stat().st_mtime)

    @property
    def running(self) -> bool:
        """Whether the log is still being written; where there are no locks, by its age."""
        return is_written(self.path)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in the order of a frame's norms."""
        return self.header.layers

    @cached_property
    def logged(self) -> tuple[str, ...]:
        """The names of logged numbers, in the order in which they appear; reads the log once."""
        known: dict[str, None] = {}
        for frame in self.frames():
            known.update(dict.fromkeys(numbers_of(frame.extra)))
        return tuple(known)

    def items(self) -> Iterator[Item]:
        """Read the log from the start: headers, frames, marks, pauses and the end.

        Each frame includes the values that were logged late for it. If a later segment repeats a
        step, only its frame counts. Times continue from one segment to the next. `unreadable`,
        `first_unreadable` and `unmatched` are known at the end.
        """
        decoder = Decoder(str(self.path))
        late = dict(self._outline.late)
        cuts = iter(self._outline.cuts)
        cut, offset, newest, unmatched = math.inf, 0.0, -math.inf, 0
        held: Frame | None = None
        behind: list[Item] = []  # Items between the held frame and the next one.
        with _opened(self.path) as file:
            for line in _lines(file, self.path):
                record = decoder.decode(line)
                if isinstance(record, Frame):
                    if record.step >= cut:
                        continue
                    if offset:
                        record = replace(record, t=record.t + offset)
                    if held is not None and held.step != record.step:
                        yield _complete(held, late) if late else held
                        if behind:
                            yield from behind
                            behind = []
                    held = record
                    newest = record.step
                elif isinstance(record, Values):
                    if held is not None and held.step == record.step < cut:
                        held = held.joined(record)
                    elif newest < record.step < cut:
                        unmatched += 1
                elif isinstance(record, Header):
                    cut = next(cuts, math.inf)
                    if held is not None:
                        yield _complete(held, late)
                        yield from behind
                        offset = held.t
                        held, behind = None, []
                    yield record
                elif record is not None:
                    if offset:
                        record = replace(record, t=record.t + offset)
                    if held is None:
                        yield record
                    else:
                        behind.append(record)
        if held is not None:
            yield _complete(held, late)
            yield from behind
        self.unreadable, self.first_unreadable = decoder.unreadable, decoder.first_unreadable
        self.unmatched = unmatched + sum(map(len, late.values()))

    def frames(self) -> Iterator[Frame]:
        """Read only the frames."""
        return (item for item in self.items() if isinstance(item, Frame))


def _complete(frame: Frame, late: dict[int, list[Values]]) -> Frame:
    """Return a frame with its values that come after a later step's frame in the log."""
    for values in late.pop(frame.step, ()):
        frame = frame.joined(values)
    return frame


@dataclass(slots=True)
class _Outline:
    """The result of one pass over a log that decodes few of its lines.

    Parameters
    ----------
    cuts : list of float
        For each segment, the first step that a later segment repeats; inf if none.
    steps : int
        Number of steps.
    seconds : float
        Duration of all segments together.
    late : dict of int to list of Values
        Values that come after a later step's frame, by step.
    """

    cuts: list[float]
    steps: int = 0
    seconds: float = 0.0
    late: dict[int, list[Values]] = field(default_factory=dict)


def _outline(file: BinaryIO, decoder: Decoder) -> _Outline:
    """Outline a log whose first header has been read."""
    start = file.tell()
    outline, firsts = _pass(file, decoder, None)
    if len(firsts) == 1:
        return outline
    cuts = [math.inf] * len(firsts)
    for index in range(len(firsts) - 1, 0, -1):
        cuts[index - 1] = min(cuts[index], firsts[index])
    file.seek(start)
    return _pass(file, decoder, cuts)[0]


def _pass(
    file: BinaryIO, decoder: Decoder, cuts: Sequence[float] | None
) -> tuple[_Outline, list[float]]:
    """Outline a log with the given cuts; also return the first step of each segment."""
    outline = _Outline([math.inf] if cuts is None else list(cuts))
    width = len(decoder.header.layers) if decoder.header is not None else 0
    cut = outline.cuts[0]
    firsts = [math.inf]
    before: int | None = None
    newest = -math.inf
    last = b""
    for line in _lines(file, Path(decoder.source)):
        step = _step_of(line, width)
        if step is not None:
            if firsts[-1] == math.inf:
                firsts[-1] = step
            if step < cut:
                if step != before:
                    outline.steps += 1
                    before = newest = step
                last = line
        elif b'"gradmidi"' in line and _is_header(line, decoder):
            outline.seconds += _seconds_of(last)
            last = b""
            before = None
            firsts.append(math.inf)
            cut = math.inf if cuts is None else cuts[len(firsts) - 1]
        elif b'"step"' in line:
            match = _STEP.match(line)
            if match is not None and int(match[1]) == before:
                continue
            values = _late_of(line, width)
            if values is not None and values.step < min(cut, newest + 1) and values.step != before:
                outline.late.setdefault(values.step, []).append(values)
    outline.seconds += _seconds_of(last)
    return outline, firsts


def _late_of(line: bytes, width: int) -> Values | None:
    try:
        fields = orjson.loads(line)
        if isinstance(fields, dict) and not any(key in fields for key in OTHERS):
            return decode_late(fields, width)
    except UNREADABLE:
        pass
    return None


def _seconds_of(line: bytes) -> float:
    try:
        return decode_seconds(orjson.loads(line)["t"])
    except UNREADABLE:
        return 0.0


def _step_of(line: bytes, width: int) -> int | None:
    """Return the step of a line, or None if `Decoder` would not read it as a frame.

    Most lines are recognised by their shape, which takes a tenth of the time.
    """
    match = _FRAME.match(line)
    if match is not None and line.endswith(b"}\n"):
        first = match.end()
        end = line.find(b"]", first)
        if (
            (end > first or not width)
            and line.count(b",", first, end) == max(0, width - 1)
            and line.find(b'"', first, end) < 0
            and line.find(b"[", first, end) < 0
            and line.find(b"{", first, end) < 0
        ):
            return int(match[1])
    if b'"norms"' not in line:
        return None
    try:
        fields = orjson.loads(line)
        frame = decode_frame(fields, width) if fields.get("norms") is not None else None
    except (AttributeError, *UNREADABLE):
        return None
    return None if frame is None else frame.step


def _is_header(line: bytes, decoder: Decoder) -> bool:
    try:
        return isinstance(decoder.decode(line), Header)
    except RunLogError:
        # The error is raised again when the log is read.
        return True
