"""CRC-32C (Castagnoli), as TensorBoard's event files use it, of many records at once."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["masked", "masked_all"]

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
