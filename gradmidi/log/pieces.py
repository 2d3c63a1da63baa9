"""Read a log in pieces of many lines: parse the frames of a piece at once, or outline the log.

Nearly all lines of a log are frames of one shape. Their rows of norms are cut out and parsed as
one list of numbers, and what is left of the lines as one list of small objects. Whatever might not
be such a frame is left to `gradmidi.log.decoding`, line by line.
"""

import io
import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, BinaryIO, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from gradmidi.errors import RunLogError
from gradmidi.log.blocks import Block
from gradmidi.log.decoding import (
    MOST_SECONDS,
    MOST_STEP,
    NUMBERS,
    OTHERS,
    UNREADABLE,
    Decoder,
    decode_frame,
    decode_late,
    decode_seconds,
    decode_values,
)
from gradmidi.log.items import ABSENT, Header, Values

__all__ = ["Outline", "count_frames", "lines_of", "outline", "parse_frames", "pieces"]

SIZE = 1 << 17
"""Bytes that are read at once: what is made of them stays in the processor's cache."""

FEW = 16
"""So many lines or fewer are read one by one, if they are not all frames."""

SPARSE = 16
"""A piece of which at most one line in so many has no row, or two, is divided."""

NO_VALUES = frozenset({"norms", "updates", "gradmidi", *OTHERS})
"""Keys of lines that are no values of a frame."""

_HEAD = re.compile(rb'\{"step": ?(\d{1,15}), ?"t": ?(?=\d)')
_NAME = len('"norms": ')
_WHOLE = 11
"""The digits of a time before its point, at most, and the point."""
_TIME = 20
"""The characters of most times, and a comma."""

Parsed = TypeVar("Parsed")


def pieces(
    file: BinaryIO, parse: Callable[[bytes], Parsed | None]
) -> Iterator[tuple[bytes, Parsed | None]]:
    """Read a log from where it stands: lines, and what they were parsed to, or None."""
    ahead = b""
    while content := ahead + file.read(SIZE):
        if not content.endswith(b"\n"):
            content += file.readline()
        # Values that were logged late stay with their frame.
        while (ahead := file.readline()) and b"[" not in ahead and len(content) < 2 * SIZE:
            content += ahead
        yield from _divided(content, parse)


def _divided(
    content: bytes, parse: Callable[[bytes], Parsed | None]
) -> Iterator[tuple[bytes, Parsed | None]]:
    parsed = parse(content)
    if parsed is None:
        lines = content.count(b"\n")
        middle = content.find(b"\n", len(content) // 2) + 1
        odd = abs(content.count(b"[") - lines)
        if lines > FEW and odd * SPARSE <= lines and 0 < middle < len(content):
            yield from _divided(content[:middle], parse)
            yield from _divided(content[middle:], parse)
            return
    yield content, parsed


def lines_of(content: bytes) -> list[bytes]:
    """Return the lines of a piece; `bytes.splitlines` also divides at other characters."""
    return list(io.BytesIO(content))


def _lines(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """Return the characters, where each line begins, and where it ends."""
    characters = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    return characters, np.append(0, ends[:-1] + 1), ends


def parse_frames(content: bytes, width: int) -> Block | None:
    """Parse frames without further rows, and values in the lines after their frame.

    Return None if a line is something else, or may be.
    """
    characters, starts, ends = _lines(content)
    lines = len(ends)
    # Each line begins and ends an object, and there are no others.
    for brace, places in ((characters == ord("{"), starts), (characters == ord("}"), ends - 1)):
        if np.count_nonzero(brace) != lines or not brace[places].all():
            return None
    try:
        fields = orjson.loads(b"[" + content[:-1].replace(b"\n", b",") + b"]")
        if len(fields) != lines:
            return None
        late = np.count_nonzero(characters == ord("[")) != lines
        if late:
            fields = _with_late(fields)
        rows = [each.pop("norms") for each in fields]
        steps = [each.pop("step") for each in fields]
        times = [each.pop("t") for each in fields]
        # Without texts, only names are quoted.
        marks = 6 * lines + 2 * sum(map(len, fields))
        texts = late or np.count_nonzero(characters == ord('"')) != marks
        if texts and (
            set(map(type, rows)) != {list}
            or not NUMBERS.issuperset(map(type, steps))
            or not NUMBERS.issuperset(map(type, times))
        ):
            return None
        if set(map(len, rows)) != {width}:
            return None
        step = np.fromiter(steps, np.int64, len(steps))
        t = np.fromiter(times, np.float64, len(times))
        if not 0 <= step.min() <= step.max() <= MOST_STEP or not np.abs(t).max() <= MOST_SECONDS:
            return None
        norms = _numbers(list(chain.from_iterable(rows))).reshape(len(rows), width)
    except UNREADABLE:
        return None
    if texts or None in chain.from_iterable(map(dict.values, fields)):
        fields = list(map(decode_values, fields))
    return Block(step, t, norms, fields)


def _numbers(norms: list[Any]) -> NDArray[np.float64]:
    """Make an array of norms; raise ValueError or TypeError if one is no norm."""
    numbers = np.empty(len(norms))
    try:
        struct.pack_into(f"{len(norms)}d", numbers.data, 0, *norms)
    except struct.error:
        # Texts for nan and infinity, and null for no gradient.
        numbers = np.array([ABSENT if norm is None else norm for norm in norms], np.float64)
        if numbers.ndim != 1:
            raise ValueError("rows in a row") from None
    return numbers


def _with_late(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the frames with the values of the lines that follow; none if there is another line."""
    frames: list[dict[str, Any]] = []
    for each in fields:
        if type(each.get("norms")) is list and type(each.get("updates")) is not list:
            frames.append(each)
        elif frames and each["step"] == frames[-1]["step"] and each.keys().isdisjoint(NO_VALUES):
            del each["step"]
            each.pop("t", None)
            frames[-1].update(decode_values(each))
        else:
            return []
    return frames


def count_frames(content: bytes, width: int) -> tuple[NDArray[np.int64], float] | None:
    """Return the steps of frames and the last time; None if a line is something else, or may be.

    Of frames that are alike but for their digits, only the steps are read.
    """
    found = _steps_of(content)
    if found is not None:
        last = content.rfind(b"\n", 0, -1) + 1
        first = content.find(b"\n") + 1
        ends = parse_frames(content[:first] + content[last:], width)
        return None if ends is None else (found, float(ends.t[-1]))
    block = parse_frames(content, width)
    return None if block is None else (block.steps, float(block.t[-1]))


def _steps_of(content: bytes) -> NDArray[np.int64] | None:
    """Return the steps of lines that are alike but for numbers, if the first is a frame."""
    head = _HEAD.match(content)
    if head is None or not content.endswith(b"\n"):
        return None
    characters, starts, ends = _lines(content)
    rows = np.flatnonzero(characters == ord("["))
    shape = content.translate(None, b"0123456789.+-e")
    if len(rows) != len(ends) or shape != shape[: shape.find(b"\n") + 1] * len(ends):
        return None
    names = characters.take(rows[:, None] + np.arange(-_NAME, 0), mode="clip")
    heads = characters.take(starts[:, None] + np.arange(head.end() + _TIME), mode="clip")
    first, end = head.span(1)
    digits, times = heads[:, first:end] - ord("0"), heads[:, head.end() :]
    heads[:, first:end] = 0
    whole = (times == ord(".")) | (times == ord(","))
    after = (times == ord(",")).argmax(axis=1)
    if (
        (names != names[0]).any()
        or (heads[:, : head.end()] != heads[0, : head.end()]).any()
        or (digits > 9).any()
        or not after.all()
        or not whole[:, :_WHOLE].any(axis=1).all()
        or ((times == ord("e")) & (np.arange(_TIME) < after[:, None])).any()
    ):
        return None
    return digits @ 10 ** np.arange(end - first - 1, -1, -1)


_FRAME = re.compile(rb'\{"step": ?(\d{1,18}), ?"t": ?\d[\d.e+-]*, ?"norms": ?\[')
_STEP = re.compile(rb'\{"step": ?(\d{1,18}),')


@dataclass(slots=True)
class Outline:
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


def outline(file: BinaryIO, decoder: Decoder) -> Outline:
    """Outline a log whose first header has been read."""
    start = file.tell()
    found, firsts = _pass(file, decoder, None)
    if len(firsts) == 1:
        return found
    cuts = [math.inf] * len(firsts)
    for index in range(len(firsts) - 1, 0, -1):
        cuts[index - 1] = min(cuts[index], firsts[index])
    file.seek(start)
    return _pass(file, decoder, cuts)[0]


def _pass(
    file: BinaryIO, decoder: Decoder, cuts: Sequence[float] | None
) -> tuple[Outline, list[float]]:
    """Outline a log with the given cuts; also return the first step of each segment."""
    found = Outline([math.inf] if cuts is None else list(cuts))
    width = len(decoder.header.layers) if decoder.header is not None else 0
    cut = found.cuts[0]
    firsts = [math.inf]
    before: int | None = None
    newest = -math.inf
    last: bytes | float = 0.0  # The line of the last frame, or its time.
    for content, counted in pieces(file, lambda content: count_frames(content, width)):
        if counted is not None:
            steps, t = counted
            if steps[-1] < cut and (np.diff(steps) > 0).all():
                first = int(steps[0])
                if firsts[-1] == math.inf:
                    firsts[-1] = first
                found.steps += len(steps) - (first == before)
                before = newest = int(steps[-1])
                last = t
                continue
        for line in lines_of(content):
            step = _step_of(line, width)
            if step is not None:
                if firsts[-1] == math.inf:
                    firsts[-1] = step
                if step < cut:
                    if step != before:
                        found.steps += 1
                        before = newest = step
                    last = line
            elif b'"gradmidi"' in line and _is_header(line, decoder):
                found.seconds += _seconds_of(last)
                last = 0.0
                before = None
                firsts.append(math.inf)
                cut = math.inf if cuts is None else cuts[len(firsts) - 1]
            elif b'"step"' in line:
                match = _STEP.match(line)
                if match is not None and int(match[1]) == before:
                    continue
                values = _late_of(line, width)
                if (
                    values is not None
                    and values.step < min(cut, newest + 1)
                    and values.step != before
                ):
                    found.late.setdefault(values.step, []).append(values)
    found.seconds += _seconds_of(last)
    return found, firsts


def _late_of(line: bytes, width: int) -> Values | None:
    try:
        fields = orjson.loads(line)
        if isinstance(fields, dict) and not any(key in fields for key in OTHERS):
            return decode_late(fields, width)
    except UNREADABLE:
        pass
    return None


def _seconds_of(line: bytes | float) -> float:
    try:
        return line if isinstance(line, float) else decode_seconds(orjson.loads(line)["t"])
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
