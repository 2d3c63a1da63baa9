"""Read the offline files of Weights & Biases (``run-ID.wandb``), without their package.

A file is a header of seven bytes, then records in blocks as in LevelDB's log format; a record is a
message in the encoding of Protocol Buffers. See wandb's ``datastore.py`` and
``wandb_internal.proto``.
"""

import json
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from gradmidi.errors import RunLogError
from gradmidi.sources.encodings import fields, signed, text
from gradmidi.sources.growing import GrowingFile, until_found
from gradmidi.sources.reader import FileReader
from gradmidi.sources.rows import Cell, Row
from gradmidi.text.words import count

__all__ = ["WandbReader"]

READ_BYTES = 1 << 22

IDENT, MAGIC, VERSION = b":W&B", 0xBEE1, 0
_HEADER = struct.Struct("<4sHB")
_RECORD = struct.Struct("<IHB")
BLOCK_BYTES = 32768

FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
"""Types of the pieces of records."""

HISTORY, EXIT = 2, 18
"""Numbers of the fields of ``Record``."""


class WandbReader(FileReader):
    """Reads an offline file of W&B.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    RunLogError
        Also by `poll`: if the file is none of W&B, or of a newer version.
    """

    repeats = True
    counters = ("_step",)

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file: GrowingFile = GrowingFile(path)
        self._restarts = 0
        self._damaged = 0
        self._begin()

    def _begin(self) -> None:
        self._rest = b""
        self._at = 0  # Position of `_rest` in the file.
        self._parts: list[bytes] = []

    @property
    def notes(self) -> list[str]:
        """Messages about damaged records."""
        if not self._damaged:
            return []
        return [f"{self._path}: {count(self._damaged, 'damaged record')} skipped"]

    def poll(self, *, whole: bool = False) -> list[Row]:
        """Return the next rows, see `Reader`."""
        return until_found(self._next)

    def _next(self) -> list[Row] | None:
        chunk = self._file.read(READ_BYTES)
        if self._file.restarts > self._restarts:
            self._restarts = self._file.restarts
            self._begin()
        if not chunk:
            return None
        self._rest += chunk
        rows = []
        for data in self._records():
            try:
                row = self._row(data)
            except (ValueError, IndexError):
                self._damaged += 1
                continue
            if row is not None:
                rows.append(row)
        return rows

    def _records(self) -> Iterator[bytes]:
        """Yield the whole records in the bytes at hand; keep the rest."""
        data, at = self._rest, 0
        if self._at == 0:
            if len(data) < _HEADER.size:
                return
            self._check(*_HEADER.unpack_from(data))
            at = _HEADER.size
        while True:
            left = BLOCK_BYTES - (self._at + at) % BLOCK_BYTES
            if left < _RECORD.size:
                at += left
            if at + _RECORD.size > len(data):
                break
            crc, size, kind = _RECORD.unpack_from(data, at)
            end = at + _RECORD.size + size
            if end > len(data):
                break
            if crc != zlib.crc32(data[at + 6 : end]):
                # The size may be wrong too; the next block begins at a known place.
                self._damaged += 1
                self._parts = []
                at += left
                continue
            if kind in (FULL, FIRST):
                self._parts = []
            self._parts.append(data[at + _RECORD.size : end])
            at = end
            if kind in (FULL, LAST):
                yield b"".join(self._parts)
                self._parts = []
        self._rest = data[at:]
        self._at += min(at, len(data))

    def _check(self, ident: bytes, magic: int, version: int) -> None:
        if ident != IDENT or magic != MAGIC:
            raise RunLogError(f"{self._path} is not an offline file of W&B; give another")
        if version != VERSION:
            raise RunLogError(
                f"{self._path} is an offline file of W&B in format version {version}; this "
                f"gradmidi reads version {VERSION}: export the run as CSV, or update gradmidi"
            )

    def _row(self, data: bytes) -> Row | None:
        for number, value in fields(data):
            if number == EXIT:
                code = next((signed(each) for inner, each in fields(value) if inner == 1), 0)
                self.ending = f"exit code {code}" if code else "closed"
            elif number == HISTORY:
                return self._history(value)
        return None

    def _history(self, data: "int | bytes") -> Row:
        step: float | None = None
        values: dict[str, Cell] = {}
        for number, item in fields(data):
            if number == 1:
                name, found = _item(item)
                if found is not None:
                    values[name] = found
            elif number == 2:
                step = float(next((signed(n) for inner, n in fields(item) if inner == 1), 0))
        own = values.pop("_step", step)
        seconds = values.pop("_timestamp", None)
        values.pop("_runtime", None)
        self._names.update(dict.fromkeys(values))
        t = seconds if isinstance(seconds, float) else None
        return Row(f"step {own:g} of the history", (own,), t, values)


def _item(data: "int | bytes") -> tuple[str, float | None]:
    """Return the name and the number of a ``HistoryItem``; None if it is no number."""
    names: list[str] = []
    found: float | None = None
    for number, value in fields(data):
        if number in (1, 2):
            names.append(text(value))
        elif number == 5:
            found = float(signed(value))
        elif number == 6 and isinstance(value, bytes):
            found = float(struct.unpack("<d", value)[0])
        elif number in (8, 16):
            found = _number(text(value))
    return "/".join(names), found


def _number(text_: str) -> float | None:
    """Return the number in a JSON text; None if it is no number."""
    if text_.startswith(("{", "[")):
        return None
    value = json.loads(text_)
    if isinstance(value, str):
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}.get(value)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
