"""The folder of a run, opened and locked."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gradmidi.base.environment import Job
from gradmidi.base.files import beside, fcntl, lock
from gradmidi.errors import RunLogError
from gradmidi.log import FILE_NAME, Decoder, Header, Layer

__all__ = ["A_RUN", "IN_PROGRESS", "OTHER_LAYERS", "RunFolder", "check_out", "open_folder"]

TAIL_BYTES = 65536

A_RUN, OTHER_LAYERS = "a run", "a run of other layers"
IN_PROGRESS = "a run that is still being written"
"""What a folder may hold."""

HEADER = b'{"gradmidi"'
"""The start of a header's line."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder with its log, open and locked.

    Parameters
    ----------
    path : Path
        The folder.
    fd : int
        File descriptor of the log, open for appending; -1 if the system has none left.
    last_step : int
        The last step in the log; 0 in a new log.
    resumed : bool
        Whether the run continues an earlier one of the same layers.
    replaced : bool
        Whether the run takes the place of an earlier one, whose log is empty now.
    cut_short : bool
        Whether the last line of the log is incomplete.
    taken : str
        If the requested folder could not be used: what it holds, as "a run of other layers".
    layers : tuple of Layer
        The layers of the run that is continued, in its order.
    """

    path: Path
    fd: int
    last_step: int = 0
    resumed: bool = False
    replaced: bool = False
    cut_short: bool = False
    taken: str = ""
    layers: tuple[Layer, ...] = ()


def open_folder(
    out: str | os.PathLike[str],
    header: Header,
    *,
    resume: bool | None = None,
    overwrite: bool = False,
    job: Job | None = None,
    any_order: bool = False,
) -> RunFolder:
    """Open the folder of a run: `out`, or ``out-2``, ``out-3`` and so on if it holds another run.

    Parameters
    ----------
    out : path
        A folder, which may hold an earlier run.
    header : Header
        The header to write. Only a run of the same layers and parameters is continued.
    resume : bool, optional
        Whether to continue an earlier run; by default if `job` wrote it, and was
        started again since.
    overwrite : bool, default False
        Whether to replace the run in `out`.
    job : Job, optional
        The job of this process.
    any_order : bool, default False
        Whether to continue also a run that has the same layers in another order.

    Raises
    ------
    RunLogError
        If `out` is a file or cannot be created.
    """
    wanted = Path(out)
    folder, number, taken = wanted, 1, ""
    while True:
        fd = _open(folder, wanted)
        if fd < 0:
            return RunFolder(folder, fd)
        path, there = folder / FILE_NAME, IN_PROGRESS
        if lock(fd):
            size = os.fstat(fd).st_size
            if size == 0:
                return RunFolder(folder, fd, taken=taken)
            if overwrite and number == 1:
                _check_writable(folder, wanted, fd)
                os.ftruncate(fd, 0)
                return RunFolder(folder, fd, replaced=True)
            there = OTHER_LAYERS
            layers = _same_layers(path, header, any_order)
            if layers is not None:
                there = A_RUN
                if resume or (resume is None and job and _is_of(path, size, job)):
                    last_step, cut_short = _tail(path, size)
                    return RunFolder(folder, fd, last_step, True, False, cut_short, taken, layers)
        os.close(fd)
        taken = taken or there
        number += 1
        folder = beside(wanted, number)


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


def _above_stderr(fd: int) -> int:
    """Return a descriptor above 2: with stderr closed, all messages would go to the log."""
    if fd > 2 or fcntl is None:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _check_writable(folder: Path, wanted: Path, fd: int) -> None:
    """Raise unless files can be added to the folder of a run that is about to be replaced."""
    if not os.access(folder, os.W_OK | os.X_OK):
        os.close(fd)
        raise _refusal(wanted, f"{folder} may not be written to")


def _refusal(wanted: Path, reason: str) -> RunLogError:
    return RunLogError(
        f"cannot write a run to {str(wanted)!r}: {reason}; out= must be a folder, "
        "there already or one that can be made"
    )


def _open(folder: Path, wanted: Path) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / FILE_NAME, flags, 0o666)
        return _above_stderr(fd)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            return -1
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            blocking = next((p for p in (folder, *folder.parents) if p.is_file()), folder)
            reason = f"{blocking} is a file"
        else:
            reason = error.strerror or str(error)
        raise _refusal(wanted, reason) from error


def _same_layers(path: Path, header: Header, any_order: bool) -> tuple[Layer, ...] | None:
    """Return the layers of a log; None if they are not the same as in `header`."""
    try:
        with path.open("rb") as file:
            found = Decoder(str(path)).decode(file.readline())
    except (OSError, RunLogError):
        return None
    if not isinstance(found, Header) or found.parameters != header.parameters:
        return None
    same = found.layers == header.layers or (any_order and set(found.layers) == set(header.layers))
    return found.layers if same else None


def _is_of(path: Path, size: int, job: Job) -> bool:
    """Return whether a job was started again since it wrote the last segment of a log."""
    if not job.note:
        return False
    with path.open("rb") as file:
        end = size
        while end > 0:
            start = max(0, end - TAIL_BYTES)
            file.seek(start)
            # A header may begin in one block and end in the next one.
            at = file.read(min(size, end + len(HEADER)) - start).rfind(b"\n" + HEADER)
            if at >= 0 or start == 0:
                file.seek(start + at + 1)
                break
            end = start
        fields = _fields(file.readline())
    earlier = fields.get("job")
    variables = earlier if isinstance(earlier, dict) else {}
    return job.continues(Job.of({name: str(value) for name, value in variables.items()}))


def _fields(line: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


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
                    step = _fields(line).get("step")
                    if isinstance(step, int):
                        return step, not tail.endswith(b"\n")
            if length >= size:
                return 0, not tail.endswith(b"\n")
            length *= 4
