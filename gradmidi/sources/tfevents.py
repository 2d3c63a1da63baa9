"""Read TensorBoard's event files, also while they grow, without TensorFlow or TensorBoard.

An event file is a sequence of TFRecords: length, CRC of the length, an ``Event`` message in the
encoding of Protocol Buffers, CRC of the message. See TensorFlow's ``record_writer.h``,
``event.proto`` and ``summary.proto``.
"""

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradmidi.sources.encodings import Value, fields, masked, masked_all, signed, single, text
from gradmidi.sources.growing import GrowingFile, until_found

__all__ = ["Event", "EventFile"]

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = 12
_CRC_BYTES = 4

_SCALAR = re.compile(
    rb"\t(.{8})(?:\x10([\x80-\xff]*[\x00-\x7f]))?\*([\x00-\x7f])\n([\x00-\x7f])\n([\x00-\x7f])",
    re.DOTALL,
)
"""The start of an event with one scalar and nothing else, up to the tag: almost all events."""

_DOUBLE = struct.Struct("<d").unpack
_FLOAT = struct.Struct("<f").unpack_from

READ_BYTES = 1 << 22
"""How many bytes are decoded at once."""

MOST_BYTES = 1 << 31
"""No record is longer; a length above it is damaged."""

START = 1
"""``SessionLog.START``: a process starts to write, and an earlier one's later steps are void."""

DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 6: "<i1", 4: "<u1", 5: "<i2", 9: "<i8", 19: "<f2"}
"""Element types of ``TensorProto``, by their number in ``types.proto``, without bfloat16."""


class Event(NamedTuple):
    """The scalars of one event.

    Parameters
    ----------
    step : int
        Its step.
    seconds : float
        Its time, in seconds since 1970.
    values : dict of str to float
        Scalar by tag; of a histogram the square root of its sum of squares.
    start : bool
        Whether a process starts here, and steps of `step` or more from before are void.
    """

    step: int
    seconds: float
    values: dict[str, float]
    start: bool = False


class EventFile:
    """An event file, finished or growing.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    path : Path
        The file.
    damaged : int
        Records, or stretches of the file, that were skipped because their CRC is wrong.
    first_damaged : int
        Position of the first one, in bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = GrowingFile(path)
        self._rest = b""
        self._begin = 0  # Position of `_rest` in the file.
        self._scalars: dict[str, bool] = {}
        self._restarts = 0
        self.damaged = self.first_damaged = 0

    @property
    def missing(self) -> bool:
        """Whether the file is gone."""
        return self._file.missing

    def poll(self) -> list[Event]:
        """Return the events that were added since the last call; empty if there are none."""
        return until_found(self._next)

    def _next(self) -> list[Event] | None:
        chunk = self._file.read(READ_BYTES)
        if self._file.restarts > self._restarts:
            self._restarts = self._file.restarts
            self._rest, self._begin = b"", 0
        if not chunk:
            return None
        self._rest += chunk
        events = []
        for data in self._records():
            event = self._event(data)
            if event is not None:
                events.append(event)
        return events

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # -- records -----------------------------------------------------------------------------

    def _records(self) -> Iterator[bytes]:
        """Return the whole records in the bytes at hand, without damaged ones."""
        data, at = self._rest, 0
        while True:
            places, end, broken = _frame(data, at)
            heads = masked_all([data[place : place + 8] for place, _ in places])
            bodies = masked_all([data[place + 12 : place + 12 + size] for place, size in places])
            for (place, size), head, body in zip(
                places, heads.tolist(), bodies.tolist(), strict=True
            ):
                if head != _CRC.unpack_from(data, place + 8)[0]:
                    # The length is wrong, so the next record must be searched.
                    end, broken = place, True
                    break
                if body != _CRC.unpack_from(data, place + 12 + size)[0]:
                    self._note(place)
                    continue
                yield data[place + 12 : place + 12 + size]
            at = end
            if not broken:
                break
            found = _search(data, at + 1)
            if found is None:
                # Keep what may be the start of a record.
                self._note(at)
                at = max(at, len(data) - _HEADER_BYTES + 1)
                break
            self._note(at)
            at = found
        self._rest = data[at:]
        self._begin += at

    def _note(self, place: int) -> None:
        self.damaged += 1
        if self.damaged == 1:
            self.first_damaged = self._begin + place

    # -- events ------------------------------------------------------------------------------

    def _event(self, data: bytes) -> Event | None:
        try:
            return _scalar(data) or self._decoded(data)
        except (ValueError, IndexError, struct.error, UnicodeDecodeError):
            self.damaged += 1
            return None

    def _decoded(self, data: bytes) -> Event | None:
        step, seconds, start = 0, 0.0, False
        values: dict[str, float] = {}
        for number, value in fields(data):
            if number == 1:
                seconds = single(value, "<d")
            elif number == 2:
                step = signed(value)
            elif number == 5:
                for inner, each in fields(value):
                    if inner == 1:
                        self._add(each, values)
            elif number == 7:
                start = any(inner == 1 and each == START for inner, each in fields(value))
        return Event(step, seconds, values, start) if values or start else None

    def _add(self, data: Value, values: dict[str, float]) -> None:
        """Add a ``Summary.Value``, if it is a scalar or a histogram."""
        tag, plugin = "", None
        found: float | None = None
        tensor: Value = b""
        for number, value in fields(data):
            if number == 1:
                tag = text(value)
            elif number == 2:
                found = single(value, "<f")
            elif number == 5:
                found = _norm(value)
            elif number == 8:
                tensor = value
            elif number == 9:
                plugin = _plugin(value)
        if plugin is not None:
            # The first value of a tag alone says what the tag is.
            self._scalars[tag] = plugin == "scalars"
        if found is None and tensor and self._scalars.get(tag):
            found = _element(tensor)
        if found is not None:
            values[tag] = found


def _frame(data: bytes, at: int) -> tuple[list[tuple[int, int]], int, bool]:
    """Split bytes into records by their lengths.

    Return the place and size of each, the end of the last, and whether the next length is damaged.
    """
    places: list[tuple[int, int]] = []
    end = len(data)
    while at + _HEADER_BYTES <= end:
        size = _LENGTH.unpack_from(data, at)[0]
        whole = _HEADER_BYTES + size + _CRC_BYTES
        if at + whole > end:
            # Wait for the rest, unless the length itself is damaged.
            good = size < MOST_BYTES and _is_header(data, at)
            return places, at, not good
        places.append((at, size))
        at += whole
    return places, at, False


def _is_header(data: bytes, at: int) -> bool:
    return masked(data[at : at + 8]) == int(_CRC.unpack_from(data, at + 8)[0])


def _search(data: bytes, at: int) -> int | None:
    """Return the place of the next record, or None."""
    while at + _HEADER_BYTES <= len(data):
        # The upper bytes of every length are zero.
        zeros = data.find(b"\0\0\0\0", at + 4)
        if zeros < 0:
            return None
        at = max(at, zeros - 4)
        if at + _HEADER_BYTES <= len(data) and _is_header(data, at):
            return at
        at += 1
    return None


def _scalar(data: bytes) -> Event | None:
    """Decode an event with one scalar in a fifth of the time; return None for any other."""
    match = _SCALAR.match(data)
    if match is None:
        return None
    seconds, step, summary, value, name = match.groups()
    begin = match.end()
    end = begin + name[0]
    size = len(data)
    if (
        end + 5 != size
        or data[end] != 0x15
        or match.start(4) + 1 + value[0] != size
        or match.start(3) + 1 + summary[0] != size
    ):
        return None
    number = 0 if step is None else signed(step)
    tag = data[begin:end].decode("utf-8", "replace")
    return Event(number, _DOUBLE(seconds)[0], {tag: _FLOAT(data, end + 1)[0]})


def _norm(data: Value) -> float | None:
    """Return the square root of a ``HistogramProto``'s sum of squares."""
    for number, value in fields(data):
        if number == 5:
            return math.sqrt(single(value, "<d"))
    return None


def _plugin(data: Value) -> str:
    """Return the plugin's name of a ``SummaryMetadata``."""
    for number, value in fields(data):
        if number == 1:
            for inner, each in fields(value):
                if inner == 1:
                    return text(each)
    return ""


def _element(data: Value) -> float | None:
    """Return the first element of a ``TensorProto``."""
    dtype, content, found = 0, b"", None
    for number, value in fields(data):
        if number == 1 and isinstance(value, int):
            dtype = value
        elif number == 4:
            content = value if isinstance(value, bytes) else b""
        elif number == 5:
            found = single(value, "<f")
        elif number == 6:
            found = single(value, "<d")
        elif number in (7, 10):
            found = float(signed(value))
    if found is None and content and dtype in DTYPES:
        found = float(np.frombuffer(content, DTYPES[dtype])[0])
    return found
