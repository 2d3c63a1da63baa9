"""The sink that sends faults as text messages, through apprise, from a process of its own.

``python -m gradmidi.sinks.notify`` reads the addresses as the first line of stdin, then lines of
JSON with the run's name and faults. It answers ``ready`` or ``error``, later each error of
sending. It ends, after the last message, when stdin is closed: also after the player has ended.
"""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from gradmidi.base.messages import Warnings
from gradmidi.errors import GradmidiError
from gradmidi.music.events import Alarm, Event
from gradmidi.sinks.registry import Counters
from gradmidi.text.words import alarm, count

__all__ = ["APART_SECONDS", "Digest", "Notify"]

APART_SECONDS = 60.0
"""Least time between two messages; the faults found in between are one message."""

AGAIN_SECONDS = 3600.0
"""The same fault of the same layers is sent again only after this time."""

MOST_LINES = 10
"""Most faults in one message; of more, their number."""

READY_SECONDS = 4.0
"""How long to wait for the first answer. The parent waits a little longer for the player."""


class Notify:
    """Sends each fault to addresses of apprise: chat, mail, desktop and many others.

    `send`, `silence` and `close` never wait and never raise: messages that cannot be delivered are
    counted, and the user is warned once.

    Parameters
    ----------
    addresses : sequence of str
        URLs of apprise, as ``slack://…``.

    Attributes
    ----------
    counters : Counters
        Faults that were handed on, and errors of sending.
    process : subprocess.Popen
        The process that sends.

    Raises
    ------
    GradmidiError
        If apprise does not know an address; only its scheme is shown, since the rest is often
        secret.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self.counters = Counters()
        self._warnings = Warnings()
        self._closed = False
        self._ready: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gradmidi.sinks.notify"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._pipe = self.process.stdin.fileno()  # type: ignore[union-attr]
        if hasattr(os, "set_blocking"):
            with contextlib.suppress(OSError):
                os.set_blocking(self._pipe, False)
        threading.Thread(target=self._read, name="gradmidi notify", daemon=True).start()
        self._write({"addresses": list(addresses)})
        with contextlib.suppress(queue.Empty):
            answer = self._ready.get(timeout=READY_SECONDS)
            if "ready" not in answer:
                self.close()
                raise GradmidiError(answer.get("error", "notify: the process that sends has ended"))

    def name(self, run: str) -> None:
        """Set the run's name, the title of each message."""
        self._write({"run": run})

    def send(self, events: Sequence[Event]) -> None:
        """Hand on the faults among the events."""
        for event in events:
            if isinstance(event, Alarm):
                what = f"{event.kind} {event.layer} {' '.join(event.layers)}"
                if self._write({"what": what, "fault": alarm(event)}):
                    self.counters.sent += 1
                else:
                    self.counters.dropped += 1

    def silence(self) -> None:
        """Do nothing, since messages make no sound."""

    def keep_alive(self) -> None:
        """Do nothing, since no note can hang."""

    def close(self) -> None:
        """Let the process send what is left, without waiting for it. May be called twice."""
        self._closed = True
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]

    def _write(self, values: dict[str, Any]) -> bool:
        """Write a line; return whether the pipe took it."""
        if self._closed:
            return False
        line = orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)
        # Lines of up to 4 KiB are written whole or not at all (POSIX, PIPE_BUF).
        with contextlib.suppress(OSError):
            return os.write(self._pipe, line) == len(line)
        return False

    def _read(self) -> None:
        with self.process.stdout as answers:  # type: ignore[union-attr]
            for line in answers:
                answer = orjson.loads(line)
                if "failed" in answer:
                    self.counters.errors += 1
                    self._warnings.note("notify", answer["failed"], "everything else continues")
                else:
                    self._ready.put(answer)
        self.process.wait()
        self._ready.put({})


class Digest:
    """Joins faults to messages, so that they are at least `APART_SECONDS` apart.

    Examples
    --------
    >>> digest = Digest()
    >>> digest.add("nan fc1", "step 7: fc1 nan", 0.0)
    >>> digest.take(0.0)
    'step 7: fc1 nan'
    >>> digest.add("inf fc1", "step 8: fc1 inf", 1.0)
    >>> digest.add("nan fc1", "step 9: fc1 nan", 2.0)
    >>> digest.take(3.0), digest.wait(3.0), digest.take(60.0)
    (None, 57.0, 'step 8: fc1 inf')
    """

    def __init__(self) -> None:
        self._next = 0.0
        self._waiting: list[str] = []
        self._left_out = 0
        self._known: dict[str, float] = {}

    def add(self, what: str, text: str, now: float) -> None:
        """Add a fault as a line of text; `what` says which, to recognise it when it is repeated."""
        if now < self._known.get(what, 0.0):
            return
        self._known[what] = now + AGAIN_SECONDS
        if len(self._waiting) < MOST_LINES:
            self._waiting.append(text)
        else:
            self._left_out += 1

    def take(self, now: float, *, last: bool = False) -> str | None:
        """Return the message that is due, if any; with `last`, whatever is left."""
        if not self._waiting or (now < self._next and not last):
            return None
        more = [f"and {count(self._left_out, 'more fault')}"] if self._left_out else []
        lines, self._waiting, self._left_out = [*self._waiting, *more], [], 0
        self._next = now + APART_SECONDS
        return "\n".join(lines)

    def wait(self, now: float) -> float | None:
        """Return how many seconds to wait for the next message; None: there is none."""
        return max(0.0, self._next - now) if self._waiting else None


def main() -> int:
    """Read lines from stdin and send messages until stdin is closed and all is sent."""
    out = os.dup(1)
    # Keep the output of libraries out of the answers.
    os.dup2(2, 1)
    apprise = _recipients(orjson.loads(sys.stdin.buffer.readline())["addresses"], out)
    if apprise is None:
        return 1
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_lines, args=(lines,), daemon=True).start()
    _send(lines, lambda title, body: _deliver(apprise, title, body, out))
    return 0


def _read_lines(lines: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    lines.put(b"")


def _recipients(addresses: Sequence[str], out: int) -> Any:
    """Return the open apprise, or answer which address is wrong and return None."""
    from apprise import Apprise

    apprise = Apprise()
    for address in addresses:
        if not apprise.add(address):
            scheme, colon, _ = address.partition("://")
            shown = f"{scheme}://…" if colon else "…"
            _answer(
                out,
                error=f"notify={shown!r} is not an address that apprise knows; write one as "
                "slack://…, mailto://… or json://HOST:PORT (https://appriseit.com lists all)",
            )
            return None
    _answer(out, ready=True)
    return apprise


def _send(
    lines: "queue.SimpleQueue[bytes]",
    deliver: Callable[[str, str], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    digest, run = Digest(), "a run"
    line = None
    while line != b"":
        try:
            line = lines.get(timeout=digest.wait(clock()))
        except queue.Empty:
            line = None
        if line:
            values = orjson.loads(line)
            run = values.get("run", run)
            if "fault" in values:
                digest.add(values["what"], values["fault"], clock())
        text = digest.take(clock(), last=line == b"")
        if text is not None:
            deliver(f"gradmidi: {run}", text)


def _deliver(apprise: Any, title: str, body: str, out: int) -> None:
    try:
        if not apprise.notify(title=title, body=body):
            _answer(out, failed="a message was not delivered")
    except Exception as error:
        _answer(out, failed=f"a message was not delivered: {type(error).__name__}: {error}")


def _answer(out: int, **values: Any) -> None:
    with contextlib.suppress(OSError):
        os.write(out, orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    sys.exit(main())
