"""The parent's side of live output: starts a player, speaks to it, and outlives it.

Nothing here ever waits for the player but its start (bounded) and `close` (bounded). Where the
pipe is full, since the player was stopped or the machine is busy, frames are merged: of each
layer the largest norm stays, so no spike is lost and memory stays flat.
"""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from gradmidi.base.messages import say
from gradmidi.errors import GradmidiError, PortError
from gradmidi.live.ledger import Ledger
from gradmidi.live.session import Session
from gradmidi.log import (
    End,
    Frame,
    Header,
    Item,
    Mark,
    Pause,
    encode_end,
    encode_frame,
    encode_header,
    encode_mark,
    encode_pause,
)
from gradmidi.midi.ports import VIRTUAL

__all__ = ["CLOSE_SECONDS", "READY_SECONDS", "Live", "encode", "merge"]

READY_SECONDS = 5.0
"""How long an answer of the player is awaited; without one, all goes on without sound."""

CLOSE_SECONDS = 2.0
"""How long the player may take to end."""

KILL_SECONDS = 0.5
WAIT_SECONDS = 0.02
RESCUE_SECONDS = 3.0

ERRORS: dict[str, type[GradmidiError]] = {"PortError": PortError}

Say = Callable[[str], None]


def encode(item: Item) -> bytes:
    """Write an item as its line of a run log."""
    match item:
        case Frame(step, t, norms, extra):
            return encode_frame(step, t, norms.tolist(), extra)
        case Mark():
            return encode_mark(item)
        case Pause():
            return encode_pause(item)
        case End():
            return encode_end(item)
        case Header():
            return encode_header(item)


def merge(older: Frame, newer: Frame) -> Frame:
    """Make one frame of two that follow each other: the newer, with the largest norms of both.

    Examples
    --------
    >>> from gradmidi.log import row
    >>> merge(Frame(1, 0.1, row([9.0, 1.0])), Frame(2, 0.2, row([3.0, None]))).norms
    array([9., 1.])
    """
    extra = {**older.extra, **newer.extra} if older.extra else newer.extra
    return replace(newer, norms=np.maximum(older.norms, newer.norms), extra=extra)


class Live:
    """A player at work.

    Parameters
    ----------
    session : Session
        What it plays and where to.
    say : callable
        Takes a line for the user.

    Attributes
    ----------
    merged : int
        Frames that were merged into the next one, since the player did not read.
    status : dict
        What the player told last, since `watch`; see `gradmidi.player.mixer`.
    voices : list of str
        The voices' names, once the player knows them.
    lines : int
        Lines that the player has taken, as it told last.
    counts : dict
        What the player counted, once it has ended.

    Raises
    ------
    PortError, GradmidiError
        If the player says that a port, an address or a value is wrong.
    """

    def __init__(self, session: Session, say: Say = say) -> None:
        self.merged = 0
        self.status: dict[str, Any] = {}
        self.voices: list[str] = []
        self.lines = 0
        self.counts: dict[str, Any] = {}
        self._say = say
        self._queue: queue.SimpleQueue[Item | bytes | None] = queue.SimpleQueue()
        self._closing = False
        self._lost = False
        self._ready = False
        self._waiting = 0
        self._answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._ledger: Ledger | None = None
        with contextlib.suppress(OSError):
            self._ledger = Ledger()
            session = replace(session, ledger=str(self._ledger.path))
        self._session = session
        self._process = _start("gradmidi.player.process")
        self._pipe = self._process.stdin.fileno()  # type: ignore[union-attr]
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())
        with contextlib.suppress(AttributeError, OSError):
            os.set_blocking(self._pipe, False)
        self._reader = threading.Thread(target=self._read, name="gradmidi player", daemon=True)
        self._reader.start()
        self._writer = threading.Thread(target=self._write, name="gradmidi feed", daemon=True)
        self._queue.put(session.to_line())
        self._writer.start()
        self._await()

    @property
    def alive(self) -> bool:
        """Whether the player still plays."""
        return not self._lost and self._process.poll() is None

    # -- to the player --------------------------------------------------------------------------

    def name(self, run: str) -> None:
        """Tell the run's name; before its header."""
        self.do("run", name=run)

    def send(self, item: Item) -> None:
        """Hand on the run's next item, and return at once."""
        if not self._lost:
            self._queue.put(item)

    def write(self, line: bytes) -> None:
        """Hand on a line of a run log as it is."""
        if not self._lost:
            self._queue.put(line)

    def watch(self) -> None:
        """Ask the player to tell several times a second how things are."""
        self.do("watch")

    @property
    def backlog(self) -> int:
        """Items that were not written to the player yet."""
        return self._queue.qsize() + self._waiting

    def do(self, command: str, **values: Any) -> None:
        """Tell the player to do something: mute, solo, level, live, end, stop."""
        if not self._lost:
            self._queue.put(orjson.dumps({"do": command, **values}) + b"\n")

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Let the player end, for at most `timeout` seconds, then end it. May be called twice."""
        if self._closing:
            return
        self._closing = True
        self._queue.put(None)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._end()
        self._reader.join(KILL_SECONDS)
        if not self._reader.is_alive():
            self._forget()
        self._tell()

    # -- threads --------------------------------------------------------------------------------

    def _write(self) -> None:
        """Write what comes; while the pipe is full, merge it."""
        rest = memoryview(b"")
        waiting: deque[Item | bytes | None] = deque()
        told = 0
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
            if not rest and self.merged > told:
                waiting.appendleft(_command("merged", frames=self.merged - told))
                told = self.merged
            self._waiting = len(waiting)
            while waiting and not rest:
                entry = waiting.popleft()
                if entry is None:
                    self._shut()
                    return
                rest = self._put(entry if isinstance(entry, bytes) else encode(entry))
            if rest:
                rest = self._put(rest)
            if rest:
                time.sleep(WAIT_SECONDS)
            if self._lost:
                self._shut()
                return

    def _merged(self, waiting: Iterable[Item | bytes | None]) -> deque[Item | bytes | None]:
        """Make one frame of all that follow each other."""
        kept: deque[Item | bytes | None] = deque()
        for item in waiting:
            last = kept[-1] if kept else None
            if isinstance(item, Frame) and isinstance(last, Frame):
                self.merged += item.step != last.step
                kept[-1] = merge(last, item)
            else:
                kept.append(item)
        return kept

    def _put(self, data: bytes | memoryview) -> memoryview:
        """Write what the pipe takes; return what is left."""
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
        """Read what the player says, until it ends."""
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
                self._say(
                    f"the player has ended ({_code(self._process.returncode)}): "
                    "no sound from here on, all else goes on"
                )
            self._rescue()
        self._queue.put(None)

    def _take(self, answer: dict[str, Any]) -> None:
        if "ready" in answer or "error" in answer:
            self._ready = "ready" in answer
            # An error tells all: the player's end, which follows, is no news.
            self._closing = self._closing or "error" in answer
            self._answer.put(answer)
        if "say" in answer:
            self._say(answer["say"])
        self.status = answer.get("status", self.status)
        self.lines = answer.get("lines", self.lines)
        self.voices = answer.get("voices", self.voices)
        self.counts = answer.get("done", self.counts)

    # -- begin and end --------------------------------------------------------------------------

    def _await(self) -> None:
        try:
            answer = self._answer.get(timeout=READY_SECONDS)
        except queue.Empty:
            self._say(
                f"the player did not answer in {READY_SECONDS:g} s: no sound, all else goes on"
            )
            self._closing = self._lost = True
            self._end()
            return
        if "error" in answer:
            self._end()
            self._reader.join(KILL_SECONDS)
            self._forget()
            raise ERRORS.get(answer["kind"], GradmidiError)(answer["error"])
        if self._ledger is not None:
            # Both have it by now; without a name, nothing stays behind whoever is killed.
            self._ledger.unlink()

    def _end(self) -> None:
        for way in (self._process.terminate, self._process.kill):
            way()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS)
                return

    def _rescue(self) -> None:
        """End what a player that was killed has left going, by a process of its own."""
        rig = self._session.rig
        left = self._ledger.sounding() if self._ledger is not None else []
        if not left and not (self._ready and rig.clock):
            return
        if left and any(port.startswith(VIRTUAL) for port in rig.ports):
            self._say("its own MIDI port is gone with it: what a synth still plays, panic ends")
        notes = orjson.dumps([(note.voice, note.note, note.pitch) for note in left])
        with contextlib.suppress(OSError):
            process = _start("gradmidi.player.rescue")
            try:
                process.communicate(self._session.to_line() + notes + b"\n", RESCUE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def _forget(self) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def _tell(self) -> None:
        counts = self.counts
        told = [f"{counts[name]} {words}" for name, words in _TOLD.items() if counts.get(name)]
        if told:
            self._say("live: " + ", ".join(told))

    def _forked(self) -> None:
        # Else a child that outlives this process would keep the player from noticing its end.
        self._lost = self._closing = True
        self._shut()


_TOLD = {
    "late": "frames came late and sounded in the next slot",
    "merged": "frames were merged into the next",
    "broken": "lines could not be read",
    "stale": "notes were too late to be struck",
    "dropped": "messages were left out",
    "errors": "messages were refused",
    "underruns": "gaps in the sound",
}


def _command(command: str, **values: Any) -> bytes:
    return orjson.dumps({"do": command, **values}) + b"\n"


def _code(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _start(module: str) -> "subprocess.Popen[bytes]":
    """Start a process of ours: away from this terminal's Ctrl-C, and with the same gradmidi."""
    here = str(Path(__file__).parents[2])
    before = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([here, before] if before else [here])
    return subprocess.Popen(
        # -P: a file of the user's beside the script must not stand in for one of ours.
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
    )
