"""Encodings of binary logs: the fields of Protocol Buffers, and TensorBoard's CRC-32C.

Protocol Buffers: https://protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Value", "fields", "masked", "masked_all", "signed", "single", "text"]

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


POLYNOMIAL = 0x82F63B78
ONES = 0xFFFFFFFF
MASK = 0xA282EAD8

FEW = 8
"""So few records are read one by one, byte by byte."""

LONG = 4096
"""A longer record is computed in pieces."""

Words = NDArray[np.uint32]


@cache
def _table() -> Words:
    """Return the CRC of each byte."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(POLYNOMIAL), table >> 1)
    return table


@cache
def _numbers() -> list[int]:
    return [int(each) for each in _table()]


def masked(data: bytes) -> int:
    """Return the masked CRC of a record, as it stands in a TFRecord file.

    Examples
    --------
    >>> hex(masked(b"123456789"))
    '0xc78ab0e5'

    Notes
    -----
    CRC-32C is in RFC 3720, appendix B.4; the mask is in TensorFlow's ``crc32c.h``.
    """
    if len(data) > LONG:
        return int(masked_all([data])[0])
    table, crc = _numbers(), ONES
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    crc ^= ONES
    return (((crc >> 15) | (crc << 17)) + MASK) & ONES


def masked_all(records: Sequence[bytes]) -> Words:
    """Return the masked CRC of each record.

    Examples
    --------
    >>> [hex(each) for each in masked_all([b"123456789"] * 9)][8]
    '0xc78ab0e5'
    """
    long = [at for at, data in enumerate(records) if len(data) > LONG]
    if len(records) <= FEW and not long:
        return np.array([masked(data) for data in records], np.uint32)
    crcs = np.empty(len(records), np.uint32)
    short = sorted(
        (at for at, data in enumerate(records) if len(data) <= LONG),
        key=lambda at: len(records[at]),
    )
    # Records of similar lengths share a matrix, so that little of it is padding.
    for begin in range(0, len(short), LONG):
        part = short[begin : begin + LONG]
        crcs[part] = _rows([records[at] for at in part])
    for at in long:
        crcs[at] = _long(records[at])
    crcs ^= np.uint32(ONES)
    turned = (crcs >> np.uint32(15)) | (crcs << np.uint32(17))
    return turned + np.uint32(MASK)


def _rows(records: Sequence[bytes]) -> Words:
    """Return the plain CRC register of each record, without the last inversion.

    A register of zeros stays zero over zeros, so records can be padded in front, if their first
    four bytes are inverted instead of the register.
    """
    width = max(4, *map(len, records))
    padded = b"".join(data.rjust(width, b"\0") for data in records)
    table = np.frombuffer(padded, np.uint8).reshape(len(records), width).copy()
    for length in {len(data) for data in records}:
        rows = [at for at, data in enumerate(records) if len(data) == length]
        table[rows, width - length : width - length + 4] ^= 255
    crcs = _registers(table)
    for at, data in enumerate(records):
        if len(data) < 4:
            crcs[at] = _plain(data)
    return crcs


def _plain(data: bytes) -> int:
    table, crc = _numbers(), ONES
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc


def _registers(table: NDArray[np.uint8]) -> Words:
    """Return the register after each row of bytes, from zero."""
    each = _table()
    crcs = np.zeros(len(table), np.uint32)
    for column in np.ascontiguousarray(table.T):
        crcs = each[(crcs ^ column) & 255] ^ (crcs >> 8)
    return crcs


def _long(data: bytes) -> int:
    """Return the register of a long record: of its pieces at once, then put together."""
    width = 1 << max(6, (len(data).bit_length() // 2))
    rows = 1 << max(0, (len(data) - 1) // width).bit_length()
    padded = np.frombuffer(data.rjust(rows * width, b"\0"), np.uint8).copy()
    padded[len(padded) - len(data) :][:4] ^= 255
    crcs = _registers(padded.reshape(rows, width))
    shift = _shift(width)
    while len(crcs) > 1:
        crcs = _apply(shift, crcs[0::2]) ^ crcs[1::2]
        shift = _apply(shift, shift)
    return int(crcs[0])


def _shift(width: int) -> Words:
    """Return what each bit of a register becomes after `width` zero bytes."""
    bits = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32))
    table = _table()
    for _ in range(width):
        bits = table[bits & 255] ^ (bits >> 8)
    return bits


def _apply(shift: Words, crcs: Words) -> Words:
    found = np.zeros_like(crcs)
    for bit in range(32):
        found ^= np.where((crcs >> np.uint32(bit)) & 1, shift[bit], np.uint32(0))
    return found
