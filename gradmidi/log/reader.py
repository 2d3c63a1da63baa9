"""Read a run log on disk as a stream (`RunLog`)."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gradmidi.base.files import is_written
from gradmidi.errors import RunLogError
from gradmidi.log.blocks import Block, gathered
from gradmidi.log.decoding import Decoder
from gradmidi.log.items import FILE_NAME, Frame, Header, Item, Layer, Values, numbers_of
from gradmidi.log.pieces import lines_of, outline, parse_frames, pieces

__all__ = ["RunLog", "locate"]


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


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Open a log; raise `RunLogError` if it cannot be read, also where the disk fails later."""
    try:
        with path.open("rb") as file:
            yield file
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
        with _reading(self.path) as file:
            first = file.readline()
            if not first:
                raise RunLogError(f"{self.path} is empty: {_why_empty(self.path)}")
            decoder = Decoder(str(self.path))
            header = decoder.decode(first)
            if not isinstance(header, Header):
                raise RunLogError(f"{self.path} is not a run log: its first line is not a header")
            self.header = header
            self._outline = outline(file, decoder)
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
        for item in self._read():
            if isinstance(item, Block):
                yield from item.frames()
            else:
                yield item

    def blocks(self) -> Iterator[Block | Item]:
        """Read the log as `items` does, with all frames in blocks."""
        return gathered(self._read(), len(self.layers))

    def _read(self) -> Iterator[Block | Item]:
        decoder = Decoder(str(self.path))
        late = dict(self._outline.late)
        cuts = iter(self._outline.cuts)
        cut, offset, newest, unmatched = math.inf, 0.0, -math.inf, 0
        held: Frame | None = None
        behind: list[Item] = []  # Items between the held frame and the next one.
        for content, block in self._pieces():
            if block is not None:
                first, last = int(block.steps[0]), int(block.steps[-1])
                if (
                    last < cut
                    and (held is None or held.step != first)
                    and (np.diff(block.steps) > 0).all()
                    and (not late or late.keys().isdisjoint(block.steps.tolist()))
                ):
                    if held is not None:
                        yield _complete(held, late)
                        yield from behind
                        behind = []
                    decoder.skip(content.count(b"\n"), last, float(block.t[-1]))
                    if offset:
                        block = replace(block, t=block.t + offset)
                    if len(block) > 1:
                        yield block.part(0, -1)
                    held = block.frame(-1)
                    newest = last
                    continue
            for line in lines_of(content):
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

    def _pieces(self) -> Iterator[tuple[bytes, Block | None]]:
        width = len(self.layers)
        with _reading(self.path) as file:
            yield file.readline(), None
            yield from pieces(file, lambda content: parse_frames(content, width))

    def frames(self) -> Iterator[Frame]:
        """Read only the frames."""
        return (item for item in self.items() if isinstance(item, Frame))


def _complete(frame: Frame, late: dict[int, list[Values]]) -> Frame:
    """Return a frame with its values that come after a later step's frame in the log."""
    for values in late.pop(frame.step, ()):
        frame = frame.joined(values)
    return frame
