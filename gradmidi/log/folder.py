"""Where a run goes: the folder asked for, an earlier run of the same layers, or the next name."""

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from gradmidi.errors import RunLogError
from gradmidi.log import FILE_NAME, Decoder, Header

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind.
    fcntl = None  # type: ignore[assignment]

__all__ = ["Place", "check_out", "place"]

TAIL_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Place:
    """A log that is open and ours.

    Parameters
    ----------
    folder : Path
        The run's folder.
    fd : int
        The log, open for appending.
    last_step : int
        The last step already in it; 0 in a new log.
    resumed : bool
        Whether it holds a run of the same layers that goes on.
    torn : bool
        Whether its last line has no end.
    taken : Path or None
        The folder that was asked for, where that one holds something else.
    """

    folder: Path
    fd: int
    last_step: int = 0
    resumed: bool = False
    torn: bool = False
    taken: Path | None = None


def place(out: str | os.PathLike[str], header: Header, *, resume: bool = True) -> Place:
    """Find and open the folder a run goes to: `out`, or ``out-2``, ``out-3`` and so on.

    Parameters
    ----------
    out : path
        A folder, which may hold an earlier run.
    header : Header
        Its layers and parameters tell whether an earlier run is the same one.
    resume : bool, default True
        Whether to go on with an earlier run of the same layers.

    Raises
    ------
    RunLogError
        If `out` is a file or cannot be created.
    """
    wanted = Path(out)
    folder, number = wanted, 1
    while True:
        fd = _open(folder, wanted)
        taken = wanted if number > 1 else None
        if _lock(fd):
            size = os.fstat(fd).st_size
            if size == 0:
                return Place(folder, fd, taken=taken)
            if resume and _same_layers(folder / FILE_NAME, header):
                last_step, torn = _tail(folder / FILE_NAME, size)
                return Place(folder, fd, last_step, True, torn, taken)
        os.close(fd)
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")


def check_out(out: str | os.PathLike[str]) -> None:
    """See that a run could be written to `out`, and make nothing.

    Raises
    ------
    RunLogError
        If it is a file, or cannot be created.
    """
    wanted = Path(out).absolute()
    try:
        there = next(path for path in (wanted, *wanted.parents) if path.exists())
    except OSError as error:
        raise _refusal(Path(out), error.strerror or str(error)) from error
    if not there.is_dir():
        raise _refusal(Path(out), f"{there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _refusal(Path(out), f"{there} may not be written to")


def _refusal(wanted: Path, reason: str) -> RunLogError:
    return RunLogError(
        f"cannot write a run to {str(wanted)!r}: {reason}; out= must be a folder, "
        "there already or one that can be made"
    )


def _open(folder: Path, wanted: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / FILE_NAME, flags, 0o666)
    except OSError as error:
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            blocking = next((p for p in (folder, *folder.parents) if p.is_file()), folder)
            reason = f"{blocking} is a file"
        else:
            reason = error.strerror or str(error)
        raise _refusal(wanted, reason) from error


def _lock(fd: int) -> bool:
    """Take the log for ourselves; False where another writer has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks is no reason not to write.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _same_layers(path: Path, header: Header) -> bool:
    try:
        with path.open("rb") as file:
            found = Decoder(str(path)).decode(file.readline())
    except (OSError, RunLogError):
        return False
    return isinstance(found, Header) and (
        (found.layers, found.parameters) == (header.layers, header.parameters)
    )


def _tail(path: Path, size: int) -> tuple[int, bool]:
    """Find the last step in a log, and whether its last line has no end."""
    length = TAIL_BYTES
    with path.open("rb") as file:
        while True:
            file.seek(max(0, size - length))
            tail = file.read(length)
            lines = tail.split(b"\n")
            # The first piece may be the end of a longer line.
            for line in reversed(lines if length >= size else lines[1:]):
                if b'"norms"' in line:
                    with contextlib.suppress(orjson.JSONDecodeError, KeyError, TypeError):
                        return int(orjson.loads(line)["step"]), not tail.endswith(b"\n")
            if length >= size:
                return 0, not tail.endswith(b"\n")
            length *= 4
