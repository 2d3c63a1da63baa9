"""The lock of a log that is being written: its writer holds it, and readers ask for it."""

import errno
import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind.
    fcntl = None  # type: ignore[assignment]

__all__ = ["QUIET_SECONDS", "fcntl", "is_locked", "is_written", "lock"]

QUIET_SECONDS = 60.0
"""Where there are no locks, a log without an end that has not grown for this long is over."""

TRIES, TRY_SECONDS = 3, 0.01
"""How often a writer asks for the lock: a reader may hold it for a moment."""

HELD = (errno.EWOULDBLOCK, errno.EACCES)


def lock(fd: int) -> bool:
    """Lock a log for writing; return False if another process writes it."""
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
    """Return whether a process writes a log; None where there are no locks."""
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
    """Return whether a log is still being written; where there are no locks, by its age."""
    held = is_locked(path)
    return time.time() - path.stat().st_mtime < QUIET_SECONDS if held is None else held
