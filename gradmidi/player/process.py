"""The player's process: its start, reading of lines, answers and end.

``python -m gradmidi.player.process`` reads a `Session` as the first line of stdin, then the lines
of a run log; a line that begins with ``{"do"`` is a command. It answers on stdout in lines of JSON:
``ready`` or ``error``, then messages to the user and its status, and at the end its counts. It does
not import torch.
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

from gradmidi.base.messages import messages_to, say, warn
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.live.session import Session
from gradmidi.music.events import PPQ
from gradmidi.player.guard import Guard
from gradmidi.player.outputs import Outputs
from gradmidi.player.player import Player
from gradmidi.player.timeline import OPENING_SECONDS, Link, LinkTimeline, Timeline

__all__ = ["COMMAND", "main", "real_time"]

COMMAND = b'{"do"'
"""The start of a line that is a command instead of a line of a run log."""

MOST_UNREAD = 1 << 20
"""How many bytes of answers are kept for a parent that does not read them."""

LAST_SECONDS = 1.0
"""How long the last answer may wait for the parent."""

PRIORITY = 1
"""The lowest real-time priority, so that the threads of a sound server come first."""


def main() -> int:
    """Run the player; return 0 unless it could not start or had to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The thread that decodes must not delay the loop for the default of 5 ms.
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
        # Opening a port is a native call too, so the guard watches it.
        guard.allow(OPENING_SECONDS)
        try:
            timeline = _timeline(session)
            outputs = Outputs(session)
        except (GradmidiError, OSError) as error:
            return answers.refuse(error)
        real_time(0)
        if guard.pid is not None:
            real_time(guard.pid)
        player = Player(session, outputs, answers.send, guard=guard, timeline=timeline)
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda *_: player.stop())
        answers.send({"ready": True})
        threading.Thread(target=_read, args=(sys.stdin.buffer, player), daemon=True).start()
        faulthandler.enable(file=sys.stderr)
        try:
            player.run()
            while player.anew is not None:
                say("the log begins anew: what follows is another run")
                guard.allow(OPENING_SECONDS)
                outputs = Outputs(player.session, outputs.number + 1)
                player = player.again(outputs)
                player.run()
        except Exception as error:
            warn(f"the player has stopped: {type(error).__name__}: {error}")
            return 1
        finally:
            answers.finish({"done": player.counts()})
        return 0
    finally:
        guard.close()


def _timeline(session: Session) -> Timeline:
    """Return the seconds to count slots in, and join the session of Ableton Link if asked to."""
    if not session.rig.link:
        return Timeline()
    time = session.preset.time
    bar = time.bar_ticks / PPQ
    return LinkTimeline(time.tempo, bar, Link(time.tempo, bar))


def real_time(process: int) -> bool:
    """Give a process a real-time priority, so that it runs as soon as it wakes.

    If training keeps every core busy, an ordinary process waits for some milliseconds, until the
    end of a time slice. The player sleeps most of the time, so it asks for this priority, as sound
    servers do. The system allows it to root and, on most music systems, to the group ``audio``
    (``rtprio`` in limits.conf(5)).

    Parameters
    ----------
    process : int
        Process id; 0 is this process. The priority also applies to threads and processes that it
        starts later.

    Returns
    -------
    bool
        Whether the system allowed it.

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
    """Put each line into the player's inbox with its arrival time; runs on a separate thread."""
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
    """Sends answers to the parent in whole lines, without waiting for it.

    Attributes
    ----------
    descriptor : int
        File descriptor of the parent's pipe.
    """

    def __init__(self) -> None:
        self.descriptor = os.dup(1)
        # Keep the output of libraries out of the answers.
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self._rest = b""
        if hasattr(os, "set_blocking"):
            with contextlib.suppress(OSError):
                os.set_blocking(self.descriptor, False)

    def send(self, answer: dict[str, Any]) -> None:
        """Send one answer; leave it out if the parent does not read."""
        line = orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
        with self._lock, contextlib.suppress(OSError):
            # A pipe may take a line of more than 4 KiB in parts (POSIX, PIPE_BUF), so send the rest
            # of the previous line first. A status is left out meanwhile; the next one is newer.
            if not self._rest or ("status" not in answer and len(self._rest) < MOST_UNREAD):
                self._rest += line
            self._rest = self._rest[os.write(self.descriptor, self._rest) :]

    def finish(self, answer: dict[str, Any]) -> None:
        """Send the last answer; wait a little for a parent that has not read the earlier ones."""
        end = time.monotonic() + LAST_SECONDS
        self.send(answer)
        while self._rest and time.monotonic() < end:
            time.sleep(0.01)
            try:
                with self._lock, contextlib.suppress(BlockingIOError):
                    self._rest = self._rest[os.write(self.descriptor, self._rest) :]
            except OSError:
                return

    def say(self, message: logging.LogRecord) -> None:
        """Send a message to the user."""
        self.send({"say": message.getMessage(), "level": message.levelno})

    def refuse(self, error: Exception) -> int:
        """Send the error that prevents the player from starting; return the exit code."""
        self.send({"error": str(error), "kind": type(error).__name__})
        return 1


if __name__ == "__main__":
    # Everything is closed now. A normal exit of the interpreter would abort if the thread above
    # still reads stdin, or if the server of a sound library has ended.
    os._exit(main())
