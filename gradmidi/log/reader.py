"""Lines of a run log to items: from a file, a pipe or a file that still grows."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from gradmidi.errors import RunLogError
from gradmidi.log.items import (
    ABSENT,
    FILE_NAME,
    FRAME_KEYS,
    VERSION,
    End,
    Frame,
    Header,
    Item,
    Layer,
    Mark,
    Pause,
)

__all__ = ["Decoder", "RunLog", "locate"]

_FRAME = re.compile(rb'\{"step": ?(\d+), ?"t": ?\d[\d.e+-]*, ?"norms": ?\[')

_BROKEN = (orjson.JSONDecodeError, KeyError, TypeError, ValueError)
"""What is raised by a line that does not hold what it should."""


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
        raise _unreadable(path, error) from error
    if not there:
        raise RunLogError(
            f"no run at {str(run)!r}; give a folder that holds {FILE_NAME}, or that file"
        )
    return path


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> RunLogError:
    return RunLogError(
        f"{path} cannot be read: {error.strerror}; have it made readable, or give another run"
    )


class Decoder:
    """Reads a log line by line: the same for a file, a pipe and a file that still grows.

    Parameters
    ----------
    source : str
        What is read, for errors.

    Attributes
    ----------
    header : Header or None
        The latest header.
    broken : int
        Lines that could not be read.
    first_broken : int
        Number of the first such line, from 1; 0 if none.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.header: Header | None = None
        self.broken = 0
        self.first_broken = 0
        self._number = 0

    def decode(self, line: bytes) -> Item | None:
        """Read one line; None where it holds nothing or is broken (then it is counted).

        Raises
        ------
        RunLogError
            If the first line is no header, or a header is of another version or layers.
        """
        self._number += 1
        if not line.strip():
            return None
        try:
            fields = orjson.loads(line)
            item = self._item(fields) if isinstance(fields, dict) else None
        except _BROKEN as error:
            if isinstance(error, RunLogError):
                raise
            item = None
        if item is None:
            if self.header is None:
                raise RunLogError(
                    f"{self.source} is no run log: its first line is no gradmidi header"
                )
            self.broken += 1
            self.first_broken = self.first_broken or self._number
        return item

    def _item(self, fields: dict[str, Any]) -> Item | None:
        if self.header is not None and fields.get("norms") is not None:
            return _frame(fields, len(self.header.layers))
        if "gradmidi" in fields:
            return self._header(fields)
        if self.header is None:
            return None
        if "mark" in fields:
            return Mark(str(fields["mark"]), _seconds(fields))
        if "pause" in fields:
            return Pause(str(fields["pause"]), _seconds(fields), True)
        if "resume" in fields:
            return Pause(str(fields["resume"]), _seconds(fields), False)
        if "end" in fields:
            return End(
                str(fields["end"]),
                _seconds(fields),
                int(fields["steps"]),
                int(fields.get("dropped", 0)),
                str(fields.get("clipping", "")),
            )
        return None

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


def _frame(fields: dict[str, Any], layers: int) -> Frame | None:
    norms = fields["norms"]
    if len(norms) != layers:
        return None
    if None in norms:
        norms = [ABSENT if norm is None else norm for norm in norms]
    row = np.array(norms, np.float64)
    if row.ndim != 1:
        return None
    extra = {k: v for k, v in fields.items() if k not in FRAME_KEYS} if len(fields) > 3 else {}
    return Frame(int(fields["step"]), _seconds(fields), row, extra)


def _seconds(fields: dict[str, Any]) -> float:
    t = float(fields["t"])
    if not math.isfinite(t):
        raise ValueError(f"{t} is no time")
    return t


class RunLog:
    """A finished (or still growing) run log on disk, read as a stream.

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
        Frames that count: those of a step that was done again are left out.
    seconds : float
        How long the run took, all segments together.

    Raises
    ------
    RunLogError
        If there is no such run, it is empty, of another version or no run log.
    """

    def __init__(self, run: str | Path) -> None:
        self.path = locate(run)
        self.broken = 0
        self.first_broken = 0
        with _opened(self.path) as file:
            first = file.readline()
            if not first:
                raise RunLogError(f"{self.path} is empty: nothing was logged")
            decoder = Decoder(str(self.path))
            header = decoder.decode(first)
            if not isinstance(header, Header):
                raise RunLogError(f"{self.path} is no run log: its first line is no header")
            self.header = header
            self.steps, self.seconds, self._cut = _scan(file, decoder, len(header.layers))

    @property
    def name(self) -> str:
        """What to call the run: its folder's name, or the file's."""
        return self.path.absolute().parent.name if self.path.name == FILE_NAME else self.path.stem

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in the order of a frame's norms."""
        return self.header.layers

    def items(self) -> Iterator[Item]:
        """Read the log from the start: headers, frames, marks, pauses and the end.

        Frames of a step that is written again later are left out; times of a later
        segment follow on those of the one before. `broken` and `first_broken` tell
        afterwards what was skipped.
        """
        return _latest(self._lines())

    def _lines(self) -> Iterator[Item]:
        decoder = Decoder(str(self.path))
        segment, offset, last = -1, 0.0, 0.0
        cut = math.inf
        with _opened(self.path) as file:
            for line in file:
                item = decoder.decode(line)
                if isinstance(item, Frame):
                    if item.step >= cut:
                        continue
                    if offset:
                        item = Frame(item.step, item.t + offset, item.norms, item.extra)
                    last = item.t
                elif isinstance(item, Header):
                    segment += 1
                    cut = self._cut[segment] if segment < len(self._cut) else math.inf
                    offset = last
                elif item is None:
                    continue
                elif offset:
                    item = replace(item, t=item.t + offset)
                yield item
        self.broken, self.first_broken = decoder.broken, decoder.first_broken

    def frames(self) -> Iterator[Frame]:
        """Read the frames alone."""
        return (item for item in self.items() if isinstance(item, Frame))


def _latest(items: Iterable[Item]) -> Iterator[Item]:
    """Let the later of two frames of one step stand, in the earlier one's place."""
    held: list[Item] = []
    for item in items:
        if isinstance(item, Frame):
            if held and isinstance(held[0], Frame) and held[0].step == item.step:
                held[0] = item
                continue
            yield from held
            held = [item]
        elif held and not isinstance(item, Header):
            held.append(item)
        else:
            yield from held
            held = []
            yield item
    yield from held


def _scan(file: BinaryIO, decoder: Decoder, layers: int) -> tuple[int, float, list[float]]:
    """Count the frames that stand and their seconds; find where each segment is overtaken."""
    firsts: list[int | None] = [None]
    lasts = [b""]
    steps = 0
    before: int | None = None
    start = file.tell()
    for line in file:
        step = _step_of(line, layers)
        if step is not None:
            steps += step != before
            before = step
            lasts[-1] = line
            if firsts[-1] is None:
                firsts[-1] = step
        elif _is_header(line, decoder):
            firsts.append(None)
            lasts.append(b"")
            before = None
    cut: list[float] = [math.inf] * len(firsts)
    for index in range(len(firsts) - 2, -1, -1):
        later = firsts[index + 1]
        cut[index] = min(cut[index + 1], math.inf if later is None else later)
    if len(firsts) > 1:
        file.seek(start)
        segment = steps = 0
        before = None
        lasts = [b""] * len(firsts)
        for line in file:
            step = _step_of(line, layers)
            if step is not None:
                if step < cut[segment]:
                    steps += step != before
                    before = step
                    lasts[segment] = line
            elif _is_header(line, decoder):
                segment += 1
                before = None
    return steps, sum(map(_seconds_of, lasts)), cut


def _seconds_of(line: bytes) -> float:
    try:
        return _seconds(orjson.loads(line))
    except _BROKEN:
        return 0.0


def _step_of(line: bytes, layers: int) -> int | None:
    """Tell the step of a line that is a frame; None where `Decoder` makes none of it.

    Of most lines the shape alone is looked at, which takes a tenth of the time.
    """
    match = _FRAME.match(line)
    if match is not None and line.endswith(b"}\n"):
        first = match.end()
        end = line.find(b"]", first)
        if (
            end > first
            and line.count(b",", first, end) == layers - 1
            and line.find(b'"', first, end) < 0
            and line.find(b"[", first, end) < 0
            and line.find(b"{", first, end) < 0
        ):
            return int(match[1])
    if b'"norms"' not in line:
        return None
    try:
        frame = _frame(orjson.loads(line), layers)
    except _BROKEN:
        return None
    return None if frame is None else frame.step


def _is_header(line: bytes, decoder: Decoder) -> bool:
    if b'"gradmidi"' not in line:
        return False
    try:
        return isinstance(decoder.decode(line), Header)
    except RunLogError:
        # It is told when the log is read.
        return True
