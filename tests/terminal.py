"""Commands in a terminal of their own: what they draw, and keys that are typed there."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

from listening import until

ENV = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", "GRADMIDI_PLAIN": ""}


def command(*words):
    return [sys.executable, "-m", "gradmidi", *map(str, words)]


class Terminal:
    """A command in a terminal of its own.

    Parameters
    ----------
    words : object
        The words of the command.
    stdin : int, optional
        A pipe in place of the terminal.
    size : tuple of int
        Columns and lines.
    """

    def __init__(self, *words, stdin=None, size=(80, 24)):
        import pty

        self._ours, theirs = pty.openpty()
        self.resize(*size)
        self.before = self.settings()
        self.process = subprocess.Popen(
            command(*words),
            stdin=theirs if stdin is None else stdin,
            stdout=theirs,
            stderr=theirs,
            env={k: v for k, v in ENV.items() if k not in ("COLUMNS", "LINES")},
            start_new_session=True,
            preexec_fn=lambda: _own(theirs),
        )
        self._theirs = theirs
        self.text = ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def resize(self, columns, lines):
        import fcntl
        import struct
        import termios

        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, size)

    def settings(self):
        import termios

        return termios.tcgetattr(self._ours)

    def _read(self):
        import select

        while True:
            if select.select([self._ours], [], [], 0.05)[0]:
                self.text += os.read(self._ours, 65536).decode(errors="replace")
            elif self.process.poll() is not None:
                return

    def wait_for(self, text):
        until(lambda: text in self.text, f"{text!r} in {self.text!r}")

    def press(self, keys):
        os.write(self._ours, keys.encode())

    def end(self):
        """Wait for its own end; return the exit code."""
        code = self.process.wait(20)
        self._thread.join(10)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._thread.join(10)
        os.close(self._ours)
        os.close(self._theirs)


def _own(terminal):
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
