"""Read what is added to a file, as bytes or as lines of text; notice when it is replaced or cut."""

import codecs
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from gradmidi.errors import RunLogError

__all__ = ["CHUNK_BYTES", "GrowingFile", "TextFile", "until_found"]

T = TypeVar("T")

CHUNK_BYTES = 1 << 16

HEAD_BYTES = 512
"""The start of the file, which is compared to notice that the file was rewritten in place."""


class GrowingFile:
    """A file that another process appends to.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    position : int
        How many bytes were read.
    restarts : int
        How often the file was replaced, truncated or rewritten; each time it is read from its
        start again.
    missing : bool
        Whether there is no such file now; reading continues when it is back.

    Raises
    ------
    RunLogError
        If the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarts = 0
        self.missing = False
        self._file = self._open()
        self.position = 0
        self._head = b""

    @property
    def size(self) -> int:
        """Size of the open file in bytes."""
        return os.fstat(self._file.fileno()).st_size

    def read(self, most: int = CHUNK_BYTES) -> bytes:
        """Return the next bytes; empty if there are none now."""
        chunk = self._file.read(most)
        if self._rewritten(self.position + len(chunk)) if chunk else self._replaced():
            self._restart()
            return b""
        self._head += chunk[: HEAD_BYTES - len(self._head)]
        self.position += len(chunk)
        return chunk

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("rb", buffering=0)
        except OSError as error:
            raise RunLogError(f"{self.path} cannot be read: {error.strerror}") from error

    def _restart(self) -> None:
        try:
            file = self._open()
        except RunLogError:
            self.missing = True
            return
        self._file.close()
        self._file = file
        self.position = 0
        self._head = b""
        self.restarts += 1

    def _rewritten(self, position: int) -> bool:
        """Return whether the file has another start now; go to `position`."""
        self._file.seek(0)
        head = self._file.read(len(self._head))
        self._file.seek(position)
        return head != self._head

    def _replaced(self) -> bool:
        """Return whether the path is another file now, or the file was truncated."""
        try:
            there = self.path.stat()
        except OSError:
            self.missing = True
            return False
        self.missing = False
        own = os.fstat(self._file.fileno())
        return there.st_size < self.position or (
            (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino)
        )


def until_found(read: Callable[[], list[T] | None]) -> list[T]:
    """Read piece by piece until one holds something; `read` returns None when there is no more.

    Examples
    --------
    >>> pieces = iter([[], [], ["row"], None])
    >>> until_found(lambda: next(pieces)), until_found(lambda: next(pieces))
    (['row'], [])
    """
    while (found := read()) is not None:
        if found:
            return found
    return []


READ_BYTES = 1 << 22
"""How many bytes are decoded at once."""

_BYTE_ORDERS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


class TextFile:
    """A text file in UTF-8, in UTF-16 with a byte order mark, or in a code page.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        What the file should be, for error messages.

    Attributes
    ----------
    notes : list of str
        Messages to the user.

    Raises
    ------
    RunLogError
        If the file cannot be opened.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.notes: list[str] = []
        self._kind = kind
        self._file = GrowingFile(path)
        self._restarts = 0
        self._begin()

    def _begin(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        self._encoding = ""
        self._rest = ""
        self._lines = 0

    @property
    def restarts(self) -> int:
        """How often the file was replaced; after that, its lines come from the start again."""
        return self._restarts

    @property
    def missing(self) -> bool:
        """Whether the file is gone."""
        return self._file.missing

    def poll(self, *, whole: bool = False) -> list[str]:
        """Return the next lines, with their line breaks; `whole`: the last one is complete.

        Raises
        ------
        RunLogError
            If the file is not text.
        """
        return until_found(lambda: self._next(whole=whole))

    def _next(self, *, whole: bool) -> list[str] | None:
        chunk = self._file.read(READ_BYTES)
        if self._file.restarts > self._restarts:
            self._restarts = self._file.restarts
            self._begin()
        if not chunk and not (whole and self._rest):
            return None
        text = self._rest + self._decoded(chunk)
        end = len(text) if not chunk else text.rfind("\n") + 1
        self._rest = text[end:]
        lines = list(io.StringIO(text[:end], newline=""))
        self._lines += len(lines)
        return lines

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _decoded(self, chunk: bytes) -> str:
        if self._decoder is None:
            marks = (e for mark, e in _BYTE_ORDERS.items() if chunk.startswith(mark))
            self._encoding = next(marks, "utf-8")
            self._decoder = codecs.getincrementaldecoder(self._encoding)()
        if self._encoding != "utf-16" and b"\0" in chunk:
            raise RunLogError(
                f"{self.path} is not a {self._kind}: it is not text; export it as {self._kind}"
            )
        waiting = self._decoder.getstate()[0]
        try:
            return self._decoder.decode(chunk)
        except UnicodeDecodeError as error:
            if self._encoding not in ("utf-8", "utf-8-sig"):
                raise RunLogError(f"{self.path} cannot be read: {error}") from error
            return self._in_code_page(waiting + chunk, error.start)

    def _in_code_page(self, data: bytes, place: int) -> str:
        """Decode bytes that are not UTF-8; the rest of the file is read in the same way."""
        line = self._lines + self._rest.count("\n") + data.count(b"\n", 0, place) + 1
        for encoding in ("cp1252", "latin-1"):
            decoder = codecs.getincrementaldecoder(encoding)()
            try:
                text = decoder.decode(data)
            except UnicodeDecodeError:
                continue
            self._encoding, self._decoder = encoding, decoder
            self.notes.append(f"line {line} is not UTF-8: the file is read as {encoding}")
            return text
        raise AssertionError("latin-1 decodes all bytes")
