"""Read what is added to a file, and notice when it is replaced, truncated or removed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

from gradmidi.errors import RunLogError

__all__ = ["CHUNK_BYTES", "GrowingFile", "until_found"]

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
