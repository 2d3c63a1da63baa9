"""Read the fields of messages in the encoding of Protocol Buffers, without their schemas.

See https://protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Iterator

__all__ = ["Value", "fields", "signed", "single", "text"]

Value = int | bytes
"""A varint as an int; any other field as its bytes."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def fields(data: Value) -> Iterator[tuple[int, Value]]:
    r"""Yield the number and the value of each field of a message.

    Raises
    ------
    ValueError
        If the bytes are no message.

    Examples
    --------
    >>> list(fields(b"\x08\x96\x01\x12\x02hi"))
    [(1, 150), (2, b'hi')]
    """
    if isinstance(data, int):
        raise ValueError("a number is no message")
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == LENGTH:
            size, at = _varint(data, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"there is no wire type {kind}")
        if at + size > end:
            raise ValueError("a field is longer than its message")
        yield key >> 3, data[at : at + size]
        at += size


def signed(value: Value) -> int:
    """Return a varint, or the first of packed varints, as an ``int64``."""
    number = value if isinstance(value, int) else _varint(value, 0)[0]
    return number - (1 << 64) if number >= 1 << 63 else number


def single(value: Value, code: str) -> float:
    """Return a float, or the first of packed floats; `code` is that of `struct`."""
    if isinstance(value, int):
        raise ValueError("a varint is no float")
    return float(struct.unpack_from(code, value)[0])


def text(value: Value) -> str:
    """Return a text."""
    if isinstance(value, int):
        raise ValueError("a varint is no text")
    return value.decode("utf-8", "replace")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place after it."""
    number = data[at]
    at += 1
    if number < 128:
        return number, at
    number &= 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError("a varint is too long")
