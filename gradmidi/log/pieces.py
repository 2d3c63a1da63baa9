"""Read a log in pieces of many lines, and parse the frames of a piece at once.

Nearly all lines of a log are frames of one shape. Their rows of norms are cut out and parsed as
one list of numbers, and what is left of the lines as one list of small objects. Whatever might not
be such a frame is left to `gradmidi.log.decoding`, line by line.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from gradmidi.log.decoding import (
    MOST_SECONDS,
    MOST_STEP,
    OTHERS,
    UNREADABLE,
    decode_values,
)
from gradmidi.log.items import ABSENT

__all__ = ["Piece", "pieces"]

SIZE = 1 << 16
"""Bytes that are read at once: what is made of them stays in the processor's cache."""

FEW = 16
"""So many lines or fewer are read one by one, if they are not all frames."""

SPARSE = 16
"""A piece of which at most one line in so many has no row, or two, is divided."""

ROW = 5_047_309_118
"""Stands for a row of norms while the rest of its line is parsed."""

NO_VALUES = frozenset({"norms", "updates", "gradmidi", *OTHERS})
"""Keys of lines that are no values of a frame."""

_ROW = str(ROW).encode()
_ABSENT = str(ABSENT).encode()
_TIMES = frozenset((int, float))


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Frames without further rows, and what was logged late for them in the lines that follow.

    Whether their norms are numbers is open.

    Parameters
    ----------
    content : bytes
        The lines.
    steps : ndarray of int64, shape (frames,)
        The step of each frame.
    t : ndarray of float64, shape (frames,)
        The time of each frame.
    fields : list of dict
        The other fields of each frame, as parsed.
    """

    content: bytes
    steps: NDArray[np.int64]
    t: NDArray[np.float64]
    fields: list[dict[str, Any]]
    _rows: bytes
    _texts: bool

    @property
    def lines(self) -> list[bytes]:
        """The lines, one by one."""
        return _lines(self.content)

    def is_sound(self, width: int) -> bool:
        """Return whether all norms are numbers, or texts for nan and infinity.

        Without quotation marks and braces they are taken for numbers.
        """
        alike = b'"' not in self._rows and b"{" not in self._rows
        return alike or self.norms(width) is not None

    def norms(self, width: int) -> NDArray[np.float64] | None:
        """Parse the norms: an array of shape (frames, layers); None if a line is unreadable."""
        rows = self._rows
        if b"null" in rows:
            if b'"' in rows:
                return None
            rows = rows.replace(b"null", _ABSENT)
        norms = np.empty((len(self.fields), width))
        if not width:
            return norms
        try:
            numbers = orjson.loads(b"[" + rows + b"]")
            if len(numbers) != norms.size:
                return None
            try:
                struct.pack_into(f"{norms.size}d", norms.data, 0, *numbers)
            except struct.error:
                # Texts for nan and infinity.
                norms[:] = np.array(numbers, np.float64).reshape(norms.shape)
        except UNREADABLE:
            return None
        return norms

    def values(self) -> list[dict[str, Any]]:
        """Return the logged values of each frame."""
        return list(map(decode_values, self.fields)) if self._texts else self.fields


def pieces(file: BinaryIO, width: int) -> Iterator[Piece | list[bytes]]:
    """Read a log from where it stands: pieces of frames, and other lines as they are."""
    ahead = b""
    while content := ahead + file.read(SIZE):
        if not content.endswith(b"\n"):
            content += file.readline()
        # Values that were logged late stay with their frame.
        while (ahead := file.readline()) and b"[" not in ahead and len(content) < 2 * SIZE:
            content += ahead
        yield from _divided(content, width)


def _divided(content: bytes, width: int) -> Iterator[Piece | list[bytes]]:
    piece = _piece(content, width)
    if piece is not None:
        yield piece
        return
    lines = content.count(b"\n")
    middle = content.find(b"\n", len(content) // 2) + 1
    odd = abs(content.count(b"[") - lines)
    if lines > FEW and odd * SPARSE <= lines and 0 < middle < len(content):
        yield from _divided(content[:middle], width)
        yield from _divided(content[middle:], width)
    else:
        yield _lines(content)


def _lines(content: bytes) -> list[bytes]:
    # `bytes.splitlines` also divides lines at other characters.
    return list(io.BytesIO(content))


def _piece(content: bytes, width: int) -> Piece | None:
    """Parse lines without their norms; None if a line is something else, or may be."""
    first, *rest = content.split(b"[")
    cut = [each.partition(b"]") for each in rest]
    count, lines = len(cut), content.count(b"\n")
    text = _ROW.join([first, *(after for _, _, after in cut)])
    # Without brackets, no object goes on in a line that begins with a brace.
    if (
        not count
        or b"]" in text
        or not text.startswith(b"{")
        or not text.endswith(b"}\n")
        or text.count(b"}\n{") != lines - 1
    ):
        return None
    bodies = [body for body, _, _ in cut]
    rows = b",".join(bodies)
    commas = set(map(bytes.count, bodies, repeat(b",")))
    if commas != {max(0, width - 1)} or b"\n" in rows or (not width and rows.strip(b" ,")):
        return None
    try:
        fields = orjson.loads(b"[" + text[:-1].replace(b"\n", b",") + b"]")
        if len(fields) != lines:
            return None
        if lines > count:
            fields = _with_late(fields)
        if len(fields) != count or {each.pop("norms") for each in fields} != {ROW}:
            return None
        steps = [each.pop("step") for each in fields]
        times = [each.pop("t") for each in fields]
        if set(map(type, steps)) != {int} or not _TIMES.issuperset(map(type, times)):
            return None
        if not 0 <= min(steps) <= max(steps) <= MOST_STEP:
            return None
        t = np.array(times, np.float64)
    except (AttributeError, *UNREADABLE):
        return None
    if not np.abs(t).max() <= MOST_SECONDS:
        return None
    # Where all values are numbers, only names are quoted.
    marks = 6 * count + 2 * sum(map(len, fields))
    texts = text.count(b'"') != marks or text.count(b"{") != lines or b"null" in text
    return Piece(content, np.array(steps, np.int64), t, fields, rows, texts)


def _with_late(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the frames with the values of the lines that follow; none if there is another line."""
    frames: list[dict[str, Any]] = []
    for each in fields:
        if each.get("norms") == ROW:
            frames.append(decode_values(each))
        elif frames and each["step"] == frames[-1]["step"] and each.keys().isdisjoint(NO_VALUES):
            del each["step"]
            each.pop("t", None)
            frames[-1].update(decode_values(each))
        else:
            return []
    return frames
