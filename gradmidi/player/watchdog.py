"""Ends a process in which a native call never returns, and none that merely stands still.

Such a call may keep the interpreter for good, so that no thread of the process gets to act. A
process of its own watches: it counts moments in which it ran itself and got no sign of life.
Where a laptop's lid was closed or a container paused, it stood still as well; where the
watched process alone was stopped, the system says so. A timer of the C runtime could tell
neither, and would end the process the moment it goes on. Run as a file, this is that process;
it needs nothing but the standard library.
"""

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["MOMENT_SECONDS", "Watchdog", "is_stopped", "watch"]

MOMENT_SECONDS = 0.05
"""How often the watching process looks."""

CALM_MOMENTS = 4
"""After so many moments without a sign of life it looks whether the process was stopped."""

STOPPED = ("T", "t")
"""States of a process that a signal or a debugger stopped, as ps(1) and proc(5) have them."""


class Watchdog:
    """What the watched process holds: the time it may take until its next sign of life.

    On Windows, where nobody stops a process, a timer of the C runtime does it.

    Examples
    --------
    >>> watchdog = Watchdog()
    >>> watchdog.allow(3.0)
    >>> watchdog.close()
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        if os.name != "posix":
            return
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).absolute()), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._pipe = self._process.stdin.fileno()  # type: ignore[union-attr]
            os.set_blocking(self._pipe, False)

    def allow(self, seconds: float) -> None:
        """Give a sign of life; without another one in `seconds`, the process is ended.

        Parameters
        ----------
        seconds : float
            More than 0, at most 12.
        """
        if self._process is None:
            faulthandler.dump_traceback_later(seconds, exit=True)
            return
        # Where the pipe is full or closed, nobody watches.
        with contextlib.suppress(OSError):
            os.write(self._pipe, bytes((max(1, round(seconds / MOMENT_SECONDS)),)))

    def close(self) -> None:
        """End the watching. May be called twice."""
        process, self._process = self._process, None
        if process is None:
            faulthandler.cancel_dump_traceback_later()
            return
        process.kill()
        process.communicate()


def is_stopped(process: int) -> bool:
    """Tell whether a process stands still since a signal stopped it.

    Examples
    --------
    >>> is_stopped(os.getpid())
    False
    """
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        asked = ["ps", "-o", "state=", "-p", str(process)]
        try:
            state = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        except OSError:
            return False
    return state.strip().startswith(STOPPED)


def watch(process: int, pipe: int) -> None:
    """Watch a process by the signs of life it gives, until it is gone.

    Parameters
    ----------
    process : int
        The parent of this process.
    pipe : int
        Brings a byte with each sign of life: how many moments may pass until the next.
    """
    os.set_blocking(pipe, False)
    allowed = quiet = 0
    while True:
        time.sleep(MOMENT_SECONDS)
        try:
            signs = os.read(pipe, 65536)
        except BlockingIOError:
            quiet += 1
        else:
            if not signs:
                return
            allowed, quiet = signs[-1], 0
        if quiet > CALM_MOMENTS and is_stopped(process):
            quiet = 0
        if allowed and quiet >= allowed and os.getppid() == process:
            os.kill(process, signal.SIGKILL)
            return


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch(int(sys.argv[1]), 0)
