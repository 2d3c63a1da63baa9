"""Logs as other tools write them, byte by byte, for tests that must not depend on those tools."""

import struct
import zlib
from pathlib import Path


def crc32c(data: bytes) -> int:
    """Return the CRC bit by bit, as RFC 3720 defines it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: "int | bytes") -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def record(message: bytes) -> bytes:
    """Return a TFRecord."""
    length = struct.pack("<Q", len(message))
    return length + masked(length) + message + masked(message)


def scalar(tag: str, value: float, step: int, seconds: float) -> bytes:
    """Return a record of one scalar, as PyTorch's SummaryWriter writes it."""
    summary = field(1, field(1, tag.encode()) + b"\x15" + struct.pack("<f", value))
    return event(step, seconds, field(5, summary))


def event(step: int, seconds: float, body: bytes) -> bytes:
    message = b"\x09" + struct.pack("<d", seconds) + (field(2, step) if step else b"") + body
    return record(message)


def start(step: int, seconds: float) -> bytes:
    """Return the record that ``SummaryWriter(purge_step=…)`` begins with."""
    return event(step, seconds, field(7, field(1, 1)))


VERSION = event(0, 1000.0, field(3, b"brain.Event:2"))


def events(folder: Path, *records: bytes, number: int = 1) -> Path:
    """Write an event file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"events.out.tfevents.{1_700_000_000 + number}.host.1.{number}"
    path.write_bytes(VERSION + b"".join(records))
    return path


def wandb(path: Path, *entries: "dict[str, str] | int", version: int = 0) -> Path:
    """Write an offline file of W&B: an entry is a history by name, or the exit code."""
    out = struct.pack("<4sHB", b":W&B", 0xBEE1, version)
    for entry in entries:
        if isinstance(entry, int):
            message = field(18, field(1, entry))
        else:
            items = [field(2, k.encode()) + field(16, v.encode()) for k, v in entry.items()]
            message = field(2, b"".join(field(1, item) for item in items))
        begin = True
        while message or begin:
            left = 32768 - len(out) % 32768
            if left < 7:
                out += bytes(left)
                left = 32768
            piece, message = message[: left - 7], message[left - 7 :]
            kind = (1 if begin else 4) if not message else (2 if begin else 3)
            begin = False
            crc = zlib.crc32(bytes([kind]) + piece)
            out += struct.pack("<IHB", crc, len(piece), kind) + piece
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out)
    return path
