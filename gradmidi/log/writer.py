"""Writes the run log on a thread of its own: each line whole, and training never held up.

The training thread only puts plain tuples on a queue. The writer sleeps a hundredth of a second
at a time while steps come, so that no put has to wake it, and blocks once they have stopped.
Then it formats what came, hands each item to the feeds (live output), and writes each line
with one unbuffered write to a file opened for appending: whatever kills the process, the log
is whole but for a last line cut short at the most.

With a feed, lines go to the disk by a second thread, so that a disk that hangs does not stop
the sound, and the first one looks more often.
"""

import errno
import math
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gradmidi.base.messages import Warnings
from gradmidi.errors import RunLogError
from gradmidi.log import (
    FILE_NAME,
    FRAME_KEYS,
    End,
    Frame,
    Header,
    Item,
    Mark,
    Pause,
    Scalar,
    encode_end,
    encode_frame,
    encode_header,
    encode_mark,
    encode_pause,
)
from gradmidi.log.folder import Place
from gradmidi.log.joiner import Joiner

if TYPE_CHECKING:
    from gradmidi.log.clipping import Clipping

__all__ = ["BEHIND_SECONDS", "FLUSH_SECONDS", "Feed", "LogWriter"]

BEHIND_SECONDS = 10.0
"""Frames are dropped only once the writer is this far behind."""

BEHIND = ("run log behind", "ten seconds", "steps are left out")

FLUSH_SECONDS = 2.0
"""How long `LogWriter.close` waits for what is still to be written."""

TICK_SECONDS = 0.01
LIVE_TICK_SECONDS = 0.002
IDLE_SECONDS = 1.0

Reader = Callable[[Any], np.ndarray]
"""Turns what capture handed over into a row of norms, on the writer's thread."""


class Feed(Protocol):
    """Takes what the log takes, as it comes: the seam that live output hangs on."""

    def send(self, item: Item) -> None:
        """Take an item, on the writer's thread; must return at once.

        A frame comes at once, and again if values were logged beside it.
        """

    def close(self, timeout: float) -> None:
        """End what sounds and let go, within `timeout` seconds."""


class LogWriter:
    """Writes a run log, off the thread that trains.

    Parameters
    ----------
    place : Place
        Where to; the writer owns its file from here on.
    header : Header
        The first line, or the first of a new segment where the run goes on.
    feeds : sequence of Feed, optional
        Live output: each gets what the log gets.
    clock : callable, default `time.perf_counter`
        Seconds.
    warnings : Warnings, optional
        Where run-time trouble is counted.
    clipping : Clipping, optional
        What is known of clipping; mends frames, and its word stands in the end line.

    Attributes
    ----------
    path : Path
        The log.
    steps : int
        Frames written.
    size : int
        Bytes written.

    Raises
    ------
    RunLogError
        If not even the header can be written.
    """

    def __init__(
        self,
        place: Place,
        header: Header,
        *,
        feeds: Sequence[Feed] = (),
        clock: Callable[[], float] = time.perf_counter,
        warnings: Warnings | None = None,
        clipping: "Clipping | None" = None,
    ) -> None:
        self.path = place.folder / FILE_NAME
        self.steps = 0
        self.size = 0
        self._skipped = 0
        self._left_out = 0
        self._lost = 0
        self._seen = 0
        self._frame_bytes = 0
        self._frame_lines = 0
        self._last_step: int | None = None
        self._feeds = tuple(feeds)
        self._clock = clock
        self._start = clock()
        self._warnings = warnings or Warnings()
        self._clipping = clipping
        self._fd = place.fd
        self._torn = place.torn
        self._open = True
        self._ended = False
        self._behind_since: float | None = None
        self._tick = LIVE_TICK_SECONDS if self._feeds else TICK_SECONDS
        # Lines on their way to a thread of the disk's own; None: there is no such thread.
        self._lines: queue.SimpleQueue[tuple[Any, ...]] | None = None
        self._disk_since: float | None = None
        self._joiner = Joiner()
        self._queue: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._begin(replace(header, resumed=place.resumed))
        self._threads = [threading.Thread(target=self._run, name="gradmidi run log", daemon=True)]
        if self._feeds:
            self._lines = queue.SimpleQueue()
            self._threads.append(
                threading.Thread(target=self._keep, name="gradmidi disk", daemon=True)
            )
        for thread in self._threads:
            thread.start()
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    @property
    def is_open(self) -> bool:
        """Whether it still takes anything: not once closed, nor in a forked child."""
        return self._open

    @property
    def dropped(self) -> int:
        """Lines that did not come into the log: ten seconds behind, or the disk full."""
        # Three counts, since three threads count.
        return self._skipped + self._left_out + self._lost

    @property
    def bytes_per_step(self) -> float:
        """How many bytes of the log a step takes, so far; 0.0 before the first."""
        return self._frame_bytes / self._frame_lines if self._frame_lines else 0.0

    def now(self) -> float:
        """Seconds since the writer began: the `t` of what happens now."""
        return self._clock() - self._start

    def frame(
        self,
        step: int,
        norms: Any,
        read: Reader | None = None,
        extra: Mapping[str, Scalar] | None = None,
        skipped: Any = None,
    ) -> None:
        """Put a frame on its way; it is stamped with the time of this call.

        Parameters
        ----------
        step : int
            The optimizer update.
        norms : ndarray, or what `read` takes
            A norm a layer, see `gradmidi.log.Frame`.
        read : callable, optional
            Turns `norms` into that row, on the writer's own thread.
        extra : mapping, optional
            Values that stand beside the norms.
        skipped : bool, or tensor of one number, optional
            Whether the step was thrown away; read on the writer's own thread.
        """
        if not self._open:
            return
        t = self._clock() - self._start
        behind = self._behind_since
        if behind is not None and t - behind > BEHIND_SECONDS:
            self._skipped += 1
            self._warnings.note(*BEHIND)
            return
        self._queue.put((self._on_frame, t, step, norms, read, extra, skipped))

    def values(self, values: Mapping[str, Any], *, looked_at: bool = True) -> None:
        """Put values on their way to the frame they belong to, see `Joiner`."""
        if self._open:
            self._queue.put((self._on_values, self.now(), values, looked_at))

    def mark(self, text: str) -> None:
        """Put a mark on its way."""
        if self._open:
            self._queue.put((self._on_mark, self.now(), text))

    def pause(self, text: str, *, begins: bool) -> None:
        """Put the begin or the end of a pause on its way."""
        if self._open:
            self._queue.put((self._on_pause, self.now(), text, begins))

    def close(self, reason: str = "closed", timeout: float = FLUSH_SECONDS) -> bool:
        """Write what is left and the end line, for at most `timeout` seconds.

        May be called again, to wait longer.

        Returns
        -------
        bool
            Whether all is written.
        """
        if self._open:
            self._open = False
            self._queue.put((self._on_end, self.now(), reason))
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    # -- everything below runs on the writer's own thread ---------------------------------------

    def _run(self) -> None:
        idle = 0.0
        while not self._ended:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                self._behind_since = None
                left = self._joiner.deadline - self.now()
                if left <= 0.0:
                    self._guarded(self._emit_frames, self._joiner.release())
                    continue
                if left < math.inf or idle < IDLE_SECONDS:
                    nap = min(self._tick, max(left, self._tick / 10))
                    idle += nap
                    time.sleep(nap)
                    continue
                item = self._queue.get()
                time.sleep(self._tick)
            idle = 0.0
            action, t, *rest = item
            self._behind_since = t
            self._guarded(action, t, *rest)

    def _guarded(self, action: Callable[..., None], *args: Any) -> None:
        try:
            action(*args)
        except Exception as error:
            self._warnings.note("run log", error, "one line is lost")
            self._lost += 1

    def _on_frame(
        self,
        t: float,
        step: int,
        norms: Any,
        read: Reader | None,
        extra: Mapping[str, Scalar] | None,
        skipped: Any,
    ) -> None:
        row = norms if read is None else read(norms)
        beside = dict(extra or {})
        if skipped is not None and bool(skipped):
            beside["skipped"] = True
        frame = Frame(step, t, row, beside)
        # At once: sound does not wait for a loss.
        if self._feeds:
            self._feed(self._restored(self._joiner.leading(frame)))
        self._seen += 1
        self._emit_frames(self._joiner.frame(frame))

    def _on_values(self, t: float, values: Mapping[str, Any], looked_at: bool) -> None:
        read: dict[str, Scalar] = {}
        for name, value in values.items():
            try:
                read[name] = _scalar(name, value)
            except Exception as error:
                self._warnings.note(f"log({name}=…)", error, "it is left out")
        self._emit_frames(self._joiner.values(read, t, looked_at=looked_at))

    def _on_mark(self, t: float, text: str) -> None:
        self._emit_frames(self._joiner.release())
        mark = Mark(text, t)
        self._feed(mark)
        self._put(mark, encode_mark(mark))

    def _on_pause(self, t: float, text: str, begins: bool) -> None:
        self._emit_frames(self._joiner.release())
        pause = Pause(text, t, begins)
        self._feed(pause)
        self._put(pause, encode_pause(pause))

    def _on_end(self, t: float, reason: str) -> None:
        self._ended = True
        self._guarded(self._emit_frames, self._joiner.release())
        self._feed(End(reason, t, self._seen))
        if self._lines is None:
            self._finish(t, reason)
        else:
            self._lines.put((t, self._finish, t, reason))

    def _emit_frames(self, frames: Sequence[Frame]) -> None:
        for frame in map(self._restored, frames):
            if self._clipping is not None:
                self._clipping.observe(frame)
            if frame.extra:
                self._feed(frame)
            self._put(frame, encode_frame(frame.step, frame.t, frame.norms, frame.extra))

    def _restored(self, frame: Frame) -> Frame:
        return frame if self._clipping is None else self._clipping.restored(frame)

    def _feed(self, item: Item) -> None:
        for feed in self._feeds:
            try:
                feed.send(item)
            except Exception as error:
                self._warnings.note("live output", error, "training and the log go on")

    def _put(self, item: Item, line: bytes) -> None:
        if self._lines is None:
            self._record(item, line)
            return
        since = self._disk_since
        now = self.now()
        if since is not None and now - since > BEHIND_SECONDS and isinstance(item, Frame):
            self._left_out += 1
            self._warnings.note(*BEHIND)
        else:
            self._lines.put((now, self._record, item, line))

    # -- what writes: the same thread, or with a feed the disk's own -----------------------------

    def _keep(self) -> None:
        assert self._lines is not None
        while self._fd >= 0:
            since, action, *rest = self._lines.get()
            self._disk_since = since
            self._guarded(action, *rest)
            self._disk_since = None

    def _record(self, item: Item, line: bytes) -> None:
        if not self._write(line) or not isinstance(item, Frame):
            return
        again = item.step == self._last_step
        self.steps += not again
        self._last_step = item.step
        self._frame_bytes += len(line)
        self._frame_lines += not again

    def _finish(self, t: float, reason: str) -> None:
        try:
            word = "" if self._clipping is None or not self.steps else self._clipping.word
            self._write(encode_end(End(reason, t, self.steps, self.dropped, word)))
        finally:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _write(self, line: bytes) -> bool:
        whole = b"\n" + line if self._torn else line
        try:
            written = os.write(self._fd, whole)
        except OSError as error:
            self._warnings.note("run log", error.strerror, "lines are lost until it can be written")
            written = 0
        else:
            if written < len(whole):
                self._warnings.note("run log", "a line was cut short", "goes on trying")
                self._torn = True
        self.size += written
        if written < len(whole):
            self._lost += 1
            return False
        self._torn = False
        return True

    def _begin(self, header: Header) -> None:
        line = b""
        try:
            line = encode_header(header)
            whole = b"\n" + line if self._torn else line
            self.size += os.write(self._fd, whole)
            if self.size < len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except (OSError, TypeError, ValueError) as error:
            os.close(self._fd)
            reason = getattr(error, "strerror", None) or error
            then = "free some space, or give another out" if line else "mend config="
            raise RunLogError(f"cannot write the run log {self.path}: {reason}; {then}") from error
        self._torn = False
        self._feed(header)

    def _forked(self) -> None:
        # A forked child has no such thread: it must not write, wait, or keep the file open.
        self._open = False
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _scalar(name: str, value: Any) -> Scalar:
    """Read what was logged; a tensor on a device is waited for here, where nothing else waits."""
    if name in FRAME_KEYS:
        raise ValueError("a frame has its own")
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, int):
        # One that no float holds would make the whole line unreadable.
        float(value)
    if value is None or isinstance(value, (float, int, str)):
        return value
    raise TypeError(f"{type(value).__name__} is no number and no text")
