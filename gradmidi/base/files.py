"""Files that are written whole or not at all."""

import contextlib
import errno
import io
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from gradmidi.errors import GradmidiError

__all__ = ["WholeFile", "beside", "check_path", "with_path"]

LONGEST_PREFIX = 50
"""How many characters of a file's name its hidden file's name keeps; systems allow 255 bytes."""


class WholeFile:
    """A new file, which has a hidden, random name until it is complete.

    The hidden file is in the same folder. It is created exclusively, so that a symbolic link is
    never followed, and with the permissions of any new file. As a context manager it is saved at
    the end, or discarded after an exception.

    Parameters
    ----------
    path : str or Path
        The file; its folder must exist. A file of that name is replaced by `save`.

    Attributes
    ----------
    path : Path
        The file.
    part : Path
        The hidden file that is written until `save`.
    file : binary file
        The hidden file, open for writing and reading.

    Raises
    ------
    OSError
        If the hidden file cannot be created, or `path` is a folder; `filename` is `path`.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with WholeFile(path) as new:
    ...     path.exists(), new.file.write(b"whole")
    (False, 5)
    >>> path.read_bytes()
    b'whole'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise _os_error(errno.EISDIR, self.path)
        name = f".{self.path.name[:LONGEST_PREFIX]}.{secrets.token_hex(8)}.part"
        self.part = self.path.with_name(name)
        try:
            self.file: io.BufferedRandom = self.part.open("x+b")
        except OSError as error:
            raise with_path(error, self.path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.save()
            return
        self.discard()
        if (
            isinstance(error, OSError)
            and not isinstance(error, GradmidiError)
            and error.filename in (None, str(self.part))
        ):
            raise with_path(error, self.path) from error

    def save(self) -> None:
        """Flush the file to disk, close it and rename it to `path`.

        Raises
        ------
        OSError
            If that fails; `filename` is `path`, and nothing is left.
        """
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
            self.file.close()
            self.part.replace(self.path)
        except BaseException as error:
            self.discard()
            if isinstance(error, OSError):
                raise with_path(error, self.path) from error
            raise

    def discard(self) -> None:
        """Close and delete the hidden file. Does nothing after `save`."""
        with contextlib.suppress(OSError):
            self.file.close()
        with contextlib.suppress(OSError):
            self.part.unlink()


def beside(path: Path, number: int) -> Path:
    """Return the path next to `path` with a number at the end of its name.

    Examples
    --------
    >>> str(beside(Path("runs/a"), 2)), str(beside(Path("a.jsonl"), 3))
    ('runs/a-2', 'a-3.jsonl')
    """
    # "." and ".." have no name of their own.
    named = path if path.name not in ("", "..") else path.resolve()
    suffix = named.suffix if named.suffix == ".jsonl" else ""
    return named.with_name(f"{named.name.removesuffix(suffix) or 'run'}-{number}{suffix}")


def check_path(path: Path) -> None:
    """Raise OSError if the folder of a file does not exist, or the path is a folder."""
    if not path.parent.is_dir():
        raise _os_error(errno.ENOENT, path.parent)
    if path.is_dir():
        raise _os_error(errno.EISDIR, path)


def with_path(error: OSError, path: Path) -> OSError:
    """Return a copy of a system error with `path` as its file name."""
    return _os_error(error.errno or 0, path, error.strerror)


def _os_error(code: int, path: Path, reason: str | None = None) -> OSError:
    return OSError(code, reason or os.strerror(code), str(path))
