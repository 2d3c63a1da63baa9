"""Read a run log: line by line (`Decoder`), or a whole file as a stream (`RunLog`)."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from gradmidi.errors import RunLogError
from gradmidi.log.items import (
    ABSENT,
    FILE_NAME,
    VERSION,
    End,
    Frame,
    Header,
    Item,
    Layer,
    Mark,
    Pause,
    Record,
    Values,
)

__all__ = ["Decoder", "RunLog", "locate"]

_FRAME = re.compile(rb'\{"step": ?(\d+), ?"t": ?\d[\d.e+-]*, ?"norms": ?\[')
_STEP = re.compile(rb'\{"step": ?(\d+),')

_UNREADABLE = (KeyError, TypeError, ValueError)
"""What is raised for a line whose fields are missing or of the wrong type."""


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


def _cannot_read(path: Path, error: OSError) -> RunLogError:
    return RunLogError(
        f"{path} cannot be read: {error.strerror}; change its permissions, or give another run"
    )


class Decoder:
    """Decode the lines of one log, in order: from a file, a pipe or a file that still grows.

    Parameters
    ----------
    source : str
        Name of the log in error messages.

    Attributes
    ----------
    header : Header or None
        The latest header.
    unreadable : int
        Lines that could not be read.
    first_unreadable : int
        Number of the first such line, from 1; 0 if none.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.header: Header | None = None
        self.unreadable = 0
        self.first_unreadable = 0
        self._width = 0
        self._last: tuple[int, float] | None = None  # Step and time of the last frame.
        self._number = 0

    def decode(self, line: bytes) -> Record | None:
        """Decode one line; return None if it is blank or unreadable (which is counted).

        Raises
        ------
        RunLogError
            If the first line is no header, or a header is of another version or layers.
        """
        self._number += 1
        try:
            record = self._record(orjson.loads(line))
        except RunLogError:
            raise
        except _UNREADABLE:
            record = None
        if record is None and line.strip():
            if self.header is None:
                raise RunLogError(
                    f"{self.source} is no run log: its first line is no gradmidi header"
                )
            self.unreadable += 1
            self.first_unreadable = self.first_unreadable or self._number
        return record

    def _record(self, fields: Any) -> Record | None:
        if not isinstance(fields, dict):
            return None
        if self.header is not None and fields.get("norms") is not None:
            return self._frame(fields) if "t" in fields else _late(fields, self._width)
        if "gradmidi" in fields:
            return self._header(fields)
        if self.header is None:
            return None
        for key, make in _OTHERS.items():
            if key in fields:
                return make(fields)
        return _late(fields, self._width) if "step" in fields else None

    def _frame(self, fields: dict[str, Any]) -> Frame | Values | None:
        frame = _frame(fields, self._width)
        if frame is None:
            return None
        if (frame.step, frame.t) == self._last:
            # Version 0.1 wrote a frame again, with what was logged late for it.
            return Values(frame.step, frame.extra, frame.norms)
        self._last = frame.step, frame.t
        return frame

    def _header(self, fields: dict[str, Any]) -> Header:
        version = fields.pop("gradmidi")
        if version != VERSION:
            raise RunLogError(
                f"{self.source} is a run log of version {version}; this gradmidi reads version "
                f"{VERSION}: install the gradmidi that wrote it"
            )
        layers = tuple(
            Layer(str(layer["name"]), int(layer["size"])) for layer in fields.pop("layers")
        )
        if self.header is not None and layers != self.header.layers:
            raise RunLogError(f"{self.source}: line {self._number} resumes with other layers")
        if not layers:
            raise RunLogError(f"{self.source}: its header names no layer")
        self._width = len(layers)
        self._last = None
        self.header = Header(
            layers,
            str(fields.pop("model", "")),
            str(fields.pop("parameters", "all")),
            str(fields.pop("clipping", "unknown")),
            str(fields.pop("started", "")),
            fields.pop("config", {}),
            bool(fields.pop("resumed", False)),
            _voices(fields),
            fields,
        )
        return self.header


def _voices(fields: dict[str, Any]) -> dict[str, str]:
    """Take the user's voices out of a header's fields; leave there what are no voices."""
    voices = fields.get("voices")
    if not isinstance(voices, dict) or not all(isinstance(each, str) for each in voices.values()):
        return {}
    del fields["voices"]
    return voices


def _frame(fields: dict[str, Any], width: int) -> Frame | None:
    norms = _row(fields.pop("norms"), width)
    if norms is None:
        return None
    return Frame(int(fields.pop("step")), _seconds(fields.pop("t")), norms, fields)


def _late(fields: dict[str, Any], width: int) -> Values | None:
    norms = fields.pop("norms", None)
    row = None if norms is None else _row(norms, width)
    if norms is not None and row is None:
        return None
    fields.pop("t", None)
    return Values(int(fields.pop("step")), fields, row)


def _row(norms: Any, width: int) -> np.ndarray | None:
    """Make a row of norms; None where they are not one number a layer."""
    if type(norms) is not list or len(norms) != width:
        return None
    if None in norms:
        norms = [ABSENT if norm is None else norm for norm in norms]
    row = np.array(norms, np.float64)
    return row if row.ndim == 1 else None


def _seconds(t: Any) -> float:
    seconds = float(t)
    if not math.isfinite(seconds):
        raise ValueError(f"{t} is no time")
    return seconds


_OTHERS: dict[str, Callable[[dict[str, Any]], Item]] = {
    "mark": lambda fields: Mark(str(fields["mark"]), _seconds(fields["t"])),
    "pause": lambda fields: Pause(str(fields["pause"]), _seconds(fields["t"]), True),
    "resume": lambda fields: Pause(str(fields["resume"]), _seconds(fields["t"]), False),
    "end": lambda fields: End(
        str(fields["end"]),
        _seconds(fields["t"]),
        int(fields["steps"]),
        int(fields.get("dropped", 0)),
        str(fields.get("clipping", "")),
    ),
}


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
        Frames that count; a step that was done again counts once.
    seconds : float
        Duration of the run, all segments together.
    unreadable : int
        Lines that `items` could not read.
    first_unreadable : int
        Number of the first such line, from 1; 0 if none.
    unmatched : int
        Lines of late values that `items` left out, since the log has no frame of their step.

    Raises
    ------
    RunLogError
        If there is no such run, it is empty, of another version or no run log.
    """

    def __init__(self, run: str | Path) -> None:
        self.path = locate(run)
        self.unreadable = self.first_unreadable = self.unmatched = 0
        with _opened(self.path) as file:
            first = file.readline()
            if not first:
                raise RunLogError(f"{self.path} is empty: nothing was logged")
            decoder = Decoder(str(self.path))
            header = decoder.decode(first)
            if not isinstance(header, Header):
                raise RunLogError(f"{self.path} is no run log: its first line is no header")
            self.header = header
            self._outline = _outline(file, decoder)
        self.steps, self.seconds = self._outline.steps, self._outline.seconds

    @property
    def name(self) -> str:
        """Name of the run: that of its folder, or of the file."""
        return self.path.absolute().parent.name if self.path.name == FILE_NAME else self.path.stem

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in the order of a frame's norms."""
        return self.header.layers

    def items(self) -> Iterator[Item]:
        """Read the log from the start: headers, frames, marks, pauses and the end.

        Each frame has the values that were logged late for it. Frames of a step that a later
        segment does again are left out; times of a later segment follow on those of the one
        before. `unreadable`, `first_unreadable` and `unmatched` are known at the end.
        """
        decoder = Decoder(str(self.path))
        late = dict(self._outline.late)
        cuts = iter(self._outline.cuts)
        cut, offset, newest, unmatched = math.inf, 0.0, -math.inf, 0
        held: Frame | None = None
        behind: list[Item] = []  # What stands between the held frame and the next one.
        with _opened(self.path) as file:
            for line in file:
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
        """Read the frames alone."""
        return (item for item in self.items() if isinstance(item, Frame))


def _complete(frame: Frame, late: dict[int, list[Values]]) -> Frame:
    """Give a frame the values that stand behind a later step's frame."""
    for values in late.pop(frame.step, ()):
        frame = frame.joined(values)
    return frame


@dataclass(slots=True)
class _Outline:
    """What one pass over a log finds without decoding most of its lines.

    Parameters
    ----------
    cuts : list of float
        For each segment, the first step that a later segment does again; inf if none.
    steps : int
        Frames that count.
    seconds : float
        Duration of all segments together.
    late : dict of int to list of Values
        Values that stand behind a later step's frame, by step.
    """

    cuts: list[float]
    steps: int = 0
    seconds: float = 0.0
    late: dict[int, list[Values]] = field(default_factory=dict)


def _outline(file: BinaryIO, decoder: Decoder) -> _Outline:
    """Outline a log whose first header was read already."""
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
    """Outline a log by the given cuts; return also the first step of each segment."""
    outline = _Outline([math.inf] if cuts is None else list(cuts))
    width = len(decoder.header.layers) if decoder.header is not None else 0
    cut = outline.cuts[0]
    firsts = [math.inf]
    before: int | None = None
    newest = -math.inf
    last = b""
    for line in file:
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
        if isinstance(fields, dict) and not any(key in fields for key in _OTHERS):
            return _late(fields, width)
    except _UNREADABLE:
        pass
    return None


def _seconds_of(line: bytes) -> float:
    try:
        return _seconds(orjson.loads(line)["t"])
    except _UNREADABLE:
        return 0.0


def _step_of(line: bytes, width: int) -> int | None:
    """Read the step of a line that is a frame; None where `Decoder` makes none of it.

    Most lines are judged by their shape alone, which takes a tenth of the time.
    """
    match = _FRAME.match(line)
    if match is not None and line.endswith(b"}\n"):
        first = match.end()
        end = line.find(b"]", first)
        if (
            end > first
            and line.count(b",", first, end) == width - 1
            and line.find(b'"', first, end) < 0
            and line.find(b"[", first, end) < 0
            and line.find(b"{", first, end) < 0
        ):
            return int(match[1])
    if b'"norms"' not in line:
        return None
    try:
        fields = orjson.loads(line)
        frame = _frame(fields, width) if fields.get("norms") is not None else None
    except (AttributeError, *_UNREADABLE):
        return None
    return None if frame is None else frame.step


def _is_header(line: bytes, decoder: Decoder) -> bool:
    try:
        return isinstance(decoder.decode(line), Header)
    except RunLogError:
        # It is raised when the log is read.
        return True
