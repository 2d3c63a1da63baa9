"""Start a player process, and send it a run's lines and commands.

Only the start and `close` wait for the player, both for a limited time. While the pipe is full
(the player was stopped, or the machine is busy), frames are merged: each layer keeps its largest
norm, so no spike is lost and memory does not grow.
"""

import contextlib
import logging
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from gradmidi.base.environment import python
from gradmidi.base.messages import say, warn
from gradmidi.errors import GradmidiError, PortError
from gradmidi.live.session import Session
from gradmidi.log import Frame, Record, Values, encode
from gradmidi.text.words import count

__all__ = ["CLOSE_SECONDS", "READY_SECONDS", "Live", "NoPlayerError", "merge"]

READY_SECONDS = 5.0
"""How long to wait for the player's first answer. If none comes, there is no sound."""

CLOSE_SECONDS = 2.0
"""How long the player may take to end."""

KILL_SECONDS = 0.5
WAIT_SECONDS = 0.02
SILENCE_SECONDS = 12.0

ERRORS: dict[str, type[GradmidiError]] = {"PortError": PortError}


class NoPlayerError(GradmidiError):
    """The player cannot be started: the system has no process, thread or descriptor left."""


Entry = tuple[Record | None, bytes]
"""The record of a line (None if it must not be merged), and the line (empty after merging)."""


def merge(older: Frame, newer: Frame) -> Frame:
    """Merge two successive frames into the newer one, with the larger norm of each layer.

    Examples
    --------
    >>> from gradmidi.log import row
    >>> merge(Frame(1, 0.1, row([9.0, 1.0])), Frame(2, 0.2, row([3.0, None]))).norms
    array([9., 1.])
    """
    extra = {**older.extra, **newer.extra} if older.extra else newer.extra
    return replace(newer, norms=np.maximum(older.norms, newer.norms), extra=extra)


class Live:
    """A player in a separate process.

    Parameters
    ----------
    session : Session
        What the player plays, and its outputs.

    Attributes
    ----------
    merged : int
        Frames that were merged into the next one because the pipe was full.
    status : dict
        The newest status, after `watch` was called; see `gradmidi.player.mixer.Status`.
    voices : list of str
        Names of the voices, after the player has sent them.
    lines : int
        Number of lines that the player has processed, by its newest status.
    counts : dict
        The player's counts, after it has ended.

    Raises
    ------
    NoPlayerError
        If no process or thread can be started.
    PortError, GradmidiError
        If the player cannot open a port or an address, or a value is invalid.
    """

    def __init__(self, session: Session) -> None:
        self.merged = 0
        self.status: dict[str, Any] = {}
        self.voices: list[str] = []
        self.lines = 0
        self.counts: dict[str, Any] = {}
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._closing = False
        self._lost = False
        self._ready = self._silenced = False
        self._waiting = 0
        self._answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._session = session
        try:
            self._process = _start("gradmidi.player.process")
        except OSError as error:
            reason = error.strerror or str(error)
            raise NoPlayerError(f"the player cannot be started: {reason}") from error
        self._pipe = self._process.stdin.fileno()  # type: ignore[union-attr]
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())
        with contextlib.suppress(AttributeError, OSError):
            os.set_blocking(self._pipe, False)
        self._reader = threading.Thread(target=self._read, name="gradmidi player", daemon=True)
        self._writer = threading.Thread(target=self._write, name="gradmidi feed", daemon=True)
        self._queue.put((None, session.to_line()))
        try:
            self._writer.start()
            self._reader.start()
        except RuntimeError as error:
            self._closing = self._lost = True
            self._end()
            self._shut()
            if self._process.stdout is not None:
                self._process.stdout.close()
            raise NoPlayerError(f"the player cannot be started: {error}") from error
        self._await()

    @property
    def alive(self) -> bool:
        """Whether the player is running."""
        return not self._lost and self._process.poll() is None

    # -- to the player --------------------------------------------------------------------------

    def name(self, run: str) -> None:
        """Send the run's name; call it before sending the header."""
        self.do("run", name=run)

    def send(self, record: Record, line: bytes) -> None:
        """Send the run's next line, and return at once."""
        if not self._lost:
            self._queue.put((record, line))

    def write(self, line: bytes) -> None:
        """Send a line of a run log that must not be merged."""
        if not self._lost:
            self._queue.put((None, line))

    def watch(self) -> None:
        """Ask the player for its status several times a second."""
        self.do("watch")

    @property
    def backlog(self) -> int:
        """Number of items that wait to be written to the player."""
        return self._queue.qsize() + self._waiting

    def do(self, command: str, **values: Any) -> None:
        """Send the player a command: mute, solo, level, live, end or stop."""
        if not self._lost:
            self._queue.put((None, _command(command, **values)))

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Wait `timeout` seconds for the player to end, then kill it. May be called twice."""
        if self._closing:
            return
        self._closing = True
        self._queue.put(None)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._end()
        self._reader.join(KILL_SECONDS)
        self._say_counts()

    # -- threads --------------------------------------------------------------------------------

    def _write(self) -> None:
        """Write the queued lines; merge frames while the pipe is full."""
        rest = memoryview(b"")
        waiting: deque[Entry | None] = deque()
        sent_merged = 0
        while True:
            if not rest and not waiting:
                waiting.append(self._queue.get())
            while True:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                waiting.append(item)
            if rest:
                waiting = self._merged(waiting)
            if not rest and self.merged > sent_merged:
                waiting.appendleft((None, _command("merged", frames=self.merged - sent_merged)))
                sent_merged = self.merged
            self._waiting = len(waiting)
            while waiting and not rest:
                entry = waiting.popleft()
                if entry is None:
                    self._shut()
                    return
                record, line = entry
                if record is not None and not line:
                    line = encode(record)
                rest = self._put(line)
            if rest:
                rest = self._put(rest)
            if rest:
                time.sleep(WAIT_SECONDS)
            if self._lost:
                self._shut()
                return

    def _merged(self, waiting: Iterable[Entry | None]) -> deque[Entry | None]:
        """Merge successive frames, together with the values that were logged late for them."""
        kept: deque[Entry | None] = deque()
        for entry in waiting:
            record = entry[0] if entry is not None else None
            last = kept[-1][0] if kept and kept[-1] is not None else None
            if isinstance(last, Frame) and isinstance(record, Frame):
                self.merged += 1
                kept[-1] = merge(last, record), b""
            elif isinstance(last, Frame) and isinstance(record, Values):
                kept[-1] = last.joined(record), b""
            else:
                kept.append(entry)
        return kept

    def _put(self, data: bytes | memoryview) -> memoryview:
        """Write as many bytes as the pipe accepts; return the rest."""
        view = memoryview(data)
        try:
            return view[os.write(self._pipe, view) :]
        except BlockingIOError:
            return view
        except OSError:
            self._lost = True
            return view[:0]

    def _shut(self) -> None:
        stdin = self._process.stdin
        if stdin is not None:
            with contextlib.suppress(OSError):
                stdin.close()

    def _read(self) -> None:
        """Read the answers of the player and its guard until both have ended."""
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                with contextlib.suppress(orjson.JSONDecodeError):
                    self._take(orjson.loads(line))
        self._process.wait()
        self._answer.put({})
        self._lost = True
        if not self.counts:
            if not self._closing:
                warn(
                    f"the player has ended ({_code(self._process.returncode)}): "
                    "no sound from here on, everything else continues"
                )
            if self._ready and not self._silenced:
                self._silence()
        self._queue.put(None)

    def _take(self, answer: dict[str, Any]) -> None:
        if "ready" in answer or "error" in answer:
            self._ready = "ready" in answer
            # The player ends after an error, so its end needs no further message.
            self._closing = self._closing or "error" in answer
            self._answer.put(answer)
        if "say" in answer:
            say(answer["say"], answer.get("level", logging.WARNING))
        self._silenced = self._silenced or "silenced" in answer
        self.status = answer.get("status", self.status)
        self.lines = answer.get("lines", self.lines)
        self.voices = answer.get("voices", self.voices)
        self.counts = answer.get("done", self.counts)

    # -- begin and end --------------------------------------------------------------------------

    def _await(self) -> None:
        try:
            answer = self._answer.get(timeout=READY_SECONDS)
        except queue.Empty:
            warn(
                f"the player did not answer in {READY_SECONDS:g} s: no sound, "
                "everything else continues"
            )
            self._closing = self._lost = True
            self._end()
            return
        if "error" in answer:
            self._end()
            self._reader.join(KILL_SECONDS)
            raise ERRORS.get(answer["kind"], GradmidiError)(answer["error"])

    def _end(self) -> None:
        for way in (self._process.terminate, self._process.kill):
            way()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS)
                return

    def _silence(self) -> None:
        """End the player's notes if its guard has ended too, or if there was no guard."""
        session = self._session
        left = {"rig": asdict(session.rig), "osc": session.osc, "voices": len(self.voices)}
        with contextlib.suppress(OSError):
            process = _start("gradmidi.player.guard", "0")
            try:
                line = orjson.dumps({**left, "path": sys.path}) + b"\n"
                answers, _ = process.communicate(line, SILENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                answers, _ = process.communicate()
            for answer in answers.splitlines():
                self._take(orjson.loads(answer))

    def _say_counts(self) -> None:
        counts = self.counts
        found = [_counted(counts[name], *_COUNTS[name]) for name in _COUNTS if counts.get(name)]
        if found:
            say("live: " + ", ".join(found))

    def _forked(self) -> None:
        # If a child kept the pipe open, the player would not notice the end of this process.
        self._lost = self._closing = True
        self._shut()


_COUNTS = {
    "late": ("frame", "came late and sounded in the next slot"),
    "merged": ("frame", "were merged into the next"),
    "unreadable": ("line", "could not be read"),
    "unknown": ("preset", "were asked for and not found"),
    "stale": ("note", "were too late and were left out"),
    "dropped": ("message", "were left out"),
    "errors": ("message", "were refused"),
    "underruns": ("gap", "in the sound"),
}
"""What is counted, and what happened to it."""


def _counted(number: int, noun: str, what: str) -> str:
    return f"{count(number, noun)} {what.replace('were', 'was') if number == 1 else what}"


def _command(command: str, **values: Any) -> bytes:
    # The name of a folder may be no UTF-8.
    texts = {k: v.encode("utf-8", "replace").decode() for k, v in values.items() if type(v) is str}
    return orjson.dumps({"do": command, **values, **texts}) + b"\n"


def _code(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _start(module: str, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a module of this gradmidi in a new session, which Ctrl-C does not reach."""
    here = str(Path(__file__).parents[2])
    before = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([here, before] if before else [here])
    return subprocess.Popen(
        # -P: do not import a file next to the user's script instead of a library.
        [python(), "-P", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )
