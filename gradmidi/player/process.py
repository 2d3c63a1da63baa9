"""The player's process: lines in, answers out, and how it begins and ends.

``python -m gradmidi.player.process`` reads a `Session` as its first line on stdin, then the lines
of a run log; a line that begins with ``{"do"`` is a command. On stdout it answers, in lines of
JSON: ready, or what is wrong; then what is to be said; at the end what it counted. It imports
no torch.
"""

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from typing import Any, BinaryIO

import orjson

from gradmidi.base.messages import LOGGER
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.live.session import Session
from gradmidi.player.outputs import Outputs
from gradmidi.player.player import Player
from gradmidi.player.priority import real_time
from gradmidi.player.watchdog import Watchdog

__all__ = ["COMMAND", "main"]

COMMAND = b'{"do"'
"""How a line that is no line of a run log begins."""


def main() -> int:
    """Be the player's process; the exit code is 0 unless it could not begin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A thread that decodes must not hold the loop up for the usual 5 ms.
    sys.setswitchinterval(0.0005)
    answers = _Answers()
    LOGGER.addHandler(_ToParent(answers))
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        session = Session.from_line(sys.stdin.buffer.readline())
        outputs = Outputs(session, lambda text: answers.say({"say": text}))
    except (GradmidiError, OSError, ValueError, KeyError, TypeError) as error:
        answers.say({"error": str(error), "kind": type(error).__name__})
        return 1
    real_time()
    player = Player(session, outputs, answers.say, watchdog=Watchdog())
    signal.signal(signal.SIGTERM, lambda *_: setattr(player, "stopping", True))
    answers.say({"ready": True})
    threading.Thread(target=_listen, args=(sys.stdin.buffer, player), daemon=True).start()
    faulthandler.enable(file=sys.stderr)
    try:
        player.run()
    except Exception as error:
        answers.say({"say": f"the player has stopped: {type(error).__name__}: {error}"})
        return 1
    finally:
        answers.say({"done": player.counts()})
    return 0


def _listen(stream: BinaryIO, player: Player) -> None:
    """Read lines and stamp them with when they came, on a thread of its own."""
    decoder = player.decoder
    inbox = player.inbox
    for line in stream:
        arrived = time.perf_counter()
        try:
            if line.startswith(COMMAND):
                inbox.put((arrived, orjson.loads(line)))
                continue
            item = decoder.decode(line)
        except (RunLogError, orjson.JSONDecodeError) as error:
            player.say({"say": str(error)})
            break
        if item is not None:
            inbox.put((arrived, item))
    inbox.put((time.perf_counter(), None))


class _Answers:
    """What goes to the parent: whole lines, without ever waiting for it."""

    def __init__(self) -> None:
        self._fd = os.dup(1)
        # What a library prints must not get between the lines.
        os.dup2(2, 1)
        self._lock = threading.Lock()
        if hasattr(os, "set_blocking"):
            with contextlib.suppress(OSError):
                os.set_blocking(self._fd, False)

    def say(self, answer: dict[str, Any]) -> None:
        line = orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
        # A pipe takes lines of up to 4 KiB whole or not at all (POSIX, PIPE_BUF).
        with self._lock, contextlib.suppress(OSError):
            os.write(self._fd, line)


class _ToParent(logging.Handler):
    """Sends messages to the user through the parent."""

    def __init__(self, answers: _Answers) -> None:
        super().__init__()
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        self._answers.say({"say": record.getMessage()})


if __name__ == "__main__":
    # Everything is closed by now. The interpreter's own end would abort if the thread above
    # still reads stdin, or if a sound library finds its server gone.
    os._exit(main())
