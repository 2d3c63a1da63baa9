"""The player's process: how it starts, reads lines, answers and ends.

``python -m gradmidi.player.process`` reads a `Session` as its first line on stdin, then the lines
of a run log; a line that begins with ``{"do"`` is a command. It answers on stdout in lines of JSON:
``ready`` or ``error``, then messages to the user and its status, and at the end its counts. It
imports no torch.
"""

import contextlib
import dataclasses
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from typing import Any, BinaryIO

import orjson

from gradmidi.base.messages import messages_to, warn
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.live.session import Session
from gradmidi.player.guard import Guard
from gradmidi.player.outputs import Outputs
from gradmidi.player.player import Player

__all__ = ["COMMAND", "main", "real_time"]

COMMAND = b'{"do"'
"""How a line begins that is a command, and not of a run log."""

OPENING_SECONDS = 10.0
"""How long opening the outputs may take; the parent waits less long."""

PRIORITY = 1
"""The lowest of the real-time priorities: a sound server's own threads come first."""


def main() -> int:
    """Run the player; the exit code is 0 unless it could not start or had to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A thread that decodes must not hold the loop up for the usual 5 ms.
    sys.setswitchinterval(0.0005)
    answers = _Answers()
    with messages_to(answers.say):
        return _run(answers)


def _run(answers: "_Answers") -> int:
    try:
        session = Session.from_line(sys.stdin.buffer.readline())
    except (GradmidiError, ValueError, KeyError, TypeError) as error:
        return answers.refuse(error)
    guard = Guard({"rig": dataclasses.asdict(session.rig), "osc": session.osc}, answers.descriptor)
    try:
        # Opening a port is a native call too.
        guard.allow(OPENING_SECONDS)
        try:
            outputs = Outputs(session)
        except (GradmidiError, OSError) as error:
            return answers.refuse(error)
        real_time(0)
        if guard.pid is not None:
            real_time(guard.pid)
        player = Player(session, outputs, answers.send, guard=guard)
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: player.stop())
        answers.send({"ready": True})
        threading.Thread(target=_read, args=(sys.stdin.buffer, player), daemon=True).start()
        faulthandler.enable(file=sys.stderr)
        try:
            player.run()
        except Exception as error:
            warn(f"the player has stopped: {type(error).__name__}: {error}")
            return 1
        finally:
            answers.send({"done": player.counts()})
        return 0
    finally:
        guard.close()


def real_time(process: int) -> bool:
    """Let a process run as soon as it wakes, before those that compute.

    Where training keeps every core busy, an ordinary process that wakes waits some milliseconds
    for the end of a time slice. The player sleeps nearly always, so it asks to be spared that, as
    sound servers do. The system allows it to root and, on most music systems, to the group
    ``audio`` (``rtprio`` in limits.conf(5)).

    Parameters
    ----------
    process : int
        Its id; 0 is this process. Threads and processes that it starts later are included.

    Returns
    -------
    bool
        Whether the system allowed it. Else nothing has changed.

    Notes
    -----
    `SCHED_RR` of sched(7), POSIX.1-2008, section 2.8.4.
    """
    if not hasattr(os, "sched_setscheduler"):
        return False
    try:
        os.sched_setscheduler(process, os.SCHED_RR, os.sched_param(PRIORITY))
    except OSError:
        return False
    return True


def _read(stream: BinaryIO, player: Player) -> None:
    """Put each line into the player's inbox with the time it came, on a thread of its own."""
    inbox = player.inbox
    try:
        for line in stream:
            arrived = time.perf_counter()
            if line.startswith(COMMAND):
                inbox.put((arrived, orjson.loads(line)))
                continue
            item = player.decoder.decode(line)
            if item is not None:
                inbox.put((arrived, item))
    except (RunLogError, orjson.JSONDecodeError) as error:
        warn(str(error))
    finally:
        inbox.put((time.perf_counter(), None))


class _Answers:
    """Sends answers to the parent: whole lines, without ever waiting for it.

    Attributes
    ----------
    descriptor : int
        Where they are written to.
    """

    def __init__(self) -> None:
        self.descriptor = os.dup(1)
        # What a library prints must not get between the lines.
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self._rest = b""
        if hasattr(os, "set_blocking"):
            with contextlib.suppress(OSError):
                os.set_blocking(self.descriptor, False)

    def send(self, answer: dict[str, Any]) -> None:
        """Send one answer; leave it out where the parent does not read."""
        line = orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
        with self._lock, contextlib.suppress(OSError):
            # A pipe takes a line of more than 4 KiB in parts (POSIX, PIPE_BUF): first the rest of
            # the line before.
            if self._rest:
                self._rest = self._rest[os.write(self.descriptor, self._rest) :]
            if not self._rest:
                self._rest = line[os.write(self.descriptor, line) :]

    def say(self, message: logging.LogRecord) -> None:
        """Send a message to the user."""
        self.send({"say": message.getMessage(), "level": message.levelno})

    def refuse(self, error: Exception) -> int:
        """Send what keeps the player from starting; return the exit code."""
        self.send({"error": str(error), "kind": type(error).__name__})
        return 1


if __name__ == "__main__":
    # Everything is closed by now. The interpreter's own end would abort if the thread above
    # still reads stdin, or if a sound library finds its server gone.
    os._exit(main())
