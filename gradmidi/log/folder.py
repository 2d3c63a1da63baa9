"""The folder of a run, opened and locked, and the file of its log."""

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from gradmidi.base.messages import Warnings
from gradmidi.errors import RunLogError
from gradmidi.log import FILE_NAME, Decoder, Frame, Header, Record, Values

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind.
    fcntl = None  # type: ignore[assignment]

__all__ = ["LogFile", "RunFolder", "check_out", "open_folder"]

TAIL_BYTES = 65536


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder with its log, open and locked.

    Parameters
    ----------
    path : Path
        The folder.
    fd : int
        File descriptor of the log, open for appending.
    last_step : int
        The last step in the log; 0 in a new log.
    resumed : bool
        Whether the run continues an earlier one of the same layers.
    cut_short : bool
        Whether the last line of the log is incomplete.
    taken : Path or None
        The requested folder, if it holds another run.
    """

    path: Path
    fd: int
    last_step: int = 0
    resumed: bool = False
    cut_short: bool = False
    taken: Path | None = None


def open_folder(out: str | os.PathLike[str], header: Header, *, resume: bool = True) -> RunFolder:
    """Open the folder of a run: `out`, or ``out-2``, ``out-3`` and so on if it holds another run.

    Parameters
    ----------
    out : path
        A folder, which may hold an earlier run.
    header : Header
        The header to write; an earlier run of the same layers and parameters is continued.
    resume : bool, default True
        Whether an earlier run may be continued.

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
                return RunFolder(folder, fd, taken=taken)
            if resume and _same_layers(folder / FILE_NAME, header):
                last_step, cut_short = _tail(folder / FILE_NAME, size)
                return RunFolder(folder, fd, last_step, True, cut_short, taken)
        os.close(fd)
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")


class LogFile:
    """The file of a run log, written one whole line at a time.

    Parameters
    ----------
    folder : RunFolder
        The open folder; `close` closes its file.
    warnings : Warnings
        Counts the errors of writing.

    Attributes
    ----------
    steps, size, lost : int
        Frames written, bytes written, and lines that could not be written.
    frame_bytes : int
        Bytes of frames and of their late values.
    """

    def __init__(self, folder: RunFolder, warnings: Warnings) -> None:
        self.steps = self.size = self.lost = self.frame_bytes = 0
        self._fd = folder.fd
        self._cut_short = folder.cut_short
        self._last_step: int | None = None
        self._warnings = warnings

    @property
    def is_open(self) -> bool:
        """Whether the file is still open."""
        return self._fd >= 0

    def begin(self, line: bytes) -> None:
        """Write the header, or raise OSError."""
        whole = self._whole(line)
        self.size += os.write(self._fd, whole)
        if self.size < len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._cut_short = False

    def put(self, record: Record, line: bytes) -> None:
        """Write the line of a record; skip late values whose frame was not written."""
        if isinstance(record, Values) and record.step != self._last_step:
            return
        if not self.write(line):
            return
        if isinstance(record, Frame):
            self.steps += 1
            self._last_step = record.step
        if isinstance(record, (Frame, Values)):
            self.frame_bytes += len(line)

    def write(self, line: bytes) -> bool:
        """Write a line; if that fails, count it and return False."""
        whole = self._whole(line)
        try:
            written = os.write(self._fd, whole)
        except OSError as error:
            self._warnings.note("run log", error.strerror, "lines are lost until it can be written")
            written = 0
        else:
            if written < len(whole):
                self._warnings.note("run log", "a line was cut short", "gradmidi will try again")
                self._cut_short = True
        self.size += written
        if written < len(whole):
            self.lost += 1
            return False
        self._cut_short = False
        return True

    def close(self) -> None:
        """Close the file. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _whole(self, line: bytes) -> bytes:
        return b"\n" + line if self._cut_short else line


def check_out(out: str | os.PathLike[str]) -> None:
    """Check that a run can be written to `out`, without creating anything.

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
    """Lock the log; return False if another process writes it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some file systems have no locks; write all the same.
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
    """Return the last step in a log, and whether its last line was cut short."""
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
