"""Outline a log: its steps, seconds and segments, in one pass that decodes few of its lines."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
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
from gradmidi.log.items import Header, Values
from gradmidi.log.pieces import count_frames, lines_of, pieces

__all__ = ["Outline", "outline"]

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
