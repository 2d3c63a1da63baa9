"""Files that are written whole or not at all, and the lock of a file that grows."""

import contextlib
import errno
import io
import os
import secrets
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from gradmidi.errors import GradmidiError

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind.
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "QUIET_SECONDS",
    "WholeFile",
    "beside",
    "check_path",
    "fcntl",
    "is_locked",
    "is_written",
    "lock",
    "with_path",
]

LONGEST_PREFIX = 50
"""How many characters of a file's name its hidden file's name keeps; systems allow 255 bytes."""

QUIET_SECONDS = 60.0
"""Where there are no locks, a file that has not grown for this long is complete."""

TRIES, TRY_SECONDS = 3, 0.01
"""How often a writer asks for the lock: a reader may hold it for a moment."""

HELD = (errno.EWOULDBLOCK, errno.EACCES)


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


def lock(fd: int) -> bool:
    """Lock a file for writing; return False if another process writes it."""
    if fcntl is None:
        return True
    for attempt in range(TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # Some file systems have no locks; write all the same.
            if error.errno not in HELD:
                return True
        else:
            return True
        if attempt < TRIES - 1:
            time.sleep(TRY_SECONDS)
    return False


def is_locked(path: Path) -> bool | None:
    """Return whether a process writes a file; None where there are no locks."""
    if fcntl is None:
        return None
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in HELD else None
    finally:
        os.close(fd)
    return False


def is_written(path: Path) -> bool:
    """Return whether a file is still being written; where there are no locks, by its age."""
    held = is_locked(path)
    return time.time() - path.stat().st_mtime < QUIET_SECONDS if held is None else held
