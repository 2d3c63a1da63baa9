"""Write a run log on a separate thread, so that training never waits for it.

The training thread only puts plain tuples on a queue. The writer polls it a hundred times a second
while steps come, so that no put has to wake it, and blocks when they have stopped. Each line is one
unbuffered write to a file opened for appending.

A frame is written once. Values that are ready when the writer handles their frame are on its
line; values that come later, or that a device still computes, get their own line. Without live
output the writer waits another hundredth of a second for them. With live output a frame is sent
at once, the writer polls five times as often, and a second thread writes to the disk, so that a
disk that hangs does not stop the sound.
"""

import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradmidi.base.messages import Warnings
from gradmidi.errors import RunLogError
from gradmidi.log import (
    FILE_NAME,
    End,
    Frame,
    Header,
    Layer,
    Mark,
    Pause,
    Scalar,
    Values,
    encode,
    encode_header,
)
from gradmidi.log.folder import RunFolder
from gradmidi.log.output import BEHIND, BEHIND_SECONDS, Awake, Disk, Feed, Lines, LogFile
from gradmidi.log.values import TOTAL, Assignment, Clipping, is_at_hand, read_scalar

__all__ = ["FLUSH_SECONDS", "Feed", "LogWriter"]

FLUSH_SECONDS = 2.0
"""How long `LogWriter.close` waits for the rest to be written."""

TICK_SECONDS = 0.01
LIVE_TICK_SECONDS = 0.002
IDLE_SECONDS = 1.0

Reader = Callable[[Any], np.ndarray]
"""Makes a row of norms from what capture passed on; called on the writer's thread."""


class LogWriter:
    """Writes the log of one run.

    Parameters
    ----------
    folder : RunFolder
        The open log; the writer owns the file from here on.
    header : Header
        The first line of the log, or of a new segment if a run is continued.
    feeds : sequence of Feed, optional
        Live outputs; each gets every line of the log.
    clock : callable, default `time.perf_counter`
        Returns seconds.
    warnings : Warnings, optional
        Counts run-time errors.
    clipping : Clipping, optional
        Undoes clipping if possible, and gives the end line its `clipping`.
    held : bool, default False
        Keep back the header, and all lines, until `arrange` or the first frame.

    Raises
    ------
    RunLogError
        If the header cannot be written.
    """

    def __init__(
        self,
        folder: RunFolder,
        header: Header,
        *,
        feeds: Sequence[Feed] = (),
        clock: Callable[[], float] = time.perf_counter,
        warnings: Warnings | None = None,
        clipping: Clipping | None = None,
        held: bool = False,
    ) -> None:
        self.path = folder.path / FILE_NAME  # The log.
        self.cost = 0.0  # Processor time of the writer's thread, in seconds, after the end.
        self._given = self._skipped = self._seen = 0
        self._feeds = tuple(feeds)
        self._clock = clock
        self._start = self._opened = clock()
        self._warnings = warnings or Warnings()
        self._clipping = clipping
        self._file = LogFile(folder, self._warnings)
        self._open, self._ended, self._dropping = True, False, False
        self._awake = Awake()
        self._behind_since: float | None = None
        self._tick = LIVE_TICK_SECONDS if self._feeds else TICK_SECONDS
        self._assignment = Assignment()
        self._held: Frame | None = None  # Read but not written yet.
        self._last: Frame | None = None  # Written; with all values logged for it since.
        self._queue: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        header = replace(header, resumed=folder.resumed)
        self._lines = Lines(header, self._file, self._feeds, self._warnings, held=held)
        if folder.fd < 0:
            self._give_up("the system has no file descriptor left")
            return
        self._begin(header)
        self._thread = threading.Thread(target=self._run, name="gradmidi run log", daemon=True)
        try:
            disk = Disk(self._file, self._warnings, clock, threaded=bool(self._feeds))
            self._disk = self._lines.disk = disk
            self._thread.start()
        except RuntimeError as error:
            self._give_up(str(error))
        if hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (method := forked()) and method())

    @property
    def is_open(self) -> bool:
        """Whether the writer is open: begun, not closed, and not in a forked child."""
        return self._open

    @property
    def steps(self) -> int:
        """Number of frames written."""
        return self._file.steps

    @property
    def dropped(self) -> int:
        """Number of lines not written, because of the ten-second limit or a full disk."""
        # Three counts, one for each thread that counts.
        return self._skipped + self._disk.left_out + self._file.lost

    @property
    def unwritten(self) -> int:
        """Number of frames that still wait to be written after `close`, 0 if all is written."""
        if not self._thread.is_alive() and self._disk.join(0.0):
            return 0
        return self._given - self._file.frames - self._disk.left_out

    @property
    def is_there(self) -> bool:
        """Whether the log was still at its path when it was closed."""
        return self._file.is_there

    @property
    def bytes_per_step(self) -> float:
        """Bytes of the log per step so far; 0.0 before the first."""
        return self._file.frame_bytes / self.steps if self.steps else 0.0

    def now(self) -> float:
        """Seconds since the segment started: the `t` of a record made now."""
        return self._clock() - self._start

    @property
    def seconds(self) -> float:
        """Seconds since the writer started."""
        return self._clock() - self._opened

    def frame(
        self,
        step: int,
        norms: Any,
        read: Reader | None = None,
        extra: Mapping[str, Scalar] | None = None,
        skipped: Any = None,
    ) -> None:
        """Queue a frame with the time of this call.

        `read` makes a row from `norms`, and `skipped` returns whether the step was skipped; both
        are called on the writer's thread, which may wait for a device.
        """
        if not self._open:
            return
        now = self._clock()
        t, since = now - self._start, self._awake.at(now)
        behind = self._behind_since
        self._dropping = behind is not None and since - behind > BEHIND_SECONDS
        if self._dropping:
            self._skipped += 1
            self._warnings.note(*BEHIND)
            return
        self._given += 1
        self._queue.put((since, self._on_frame, t, step, norms, read, extra, skipped))

    def values(self, values: Mapping[str, Any], *, looked_at: bool = True) -> None:
        """Queue values for their frame, see `Assignment`.

        Parameters
        ----------
        values : mapping of str to float, int, str, bool, None or tensor of one number
            A tensor is read on the writer's thread.
        looked_at : bool, default True
            Whether the last step was captured; if not, values for it are left out.
        """
        if self._open:
            captured = looked_at and not self._dropping
            self._queue.put((self._awake.seconds, self._on_values, self.now(), values, captured))

    def update(self, step: int, norms: Any, read: Reader) -> None:
        """Queue the size of a step's update; `read` makes a row of it on the writer's thread."""
        if self._open and not self._dropping:
            self._queue.put((self._awake.seconds, self._on_update, self.now(), step, norms, read))

    def mark(self, text: str) -> None:
        """Queue a mark."""
        if self._open:
            self._queue.put((self._awake.seconds, self._on_mark, self.now(), text))

    def pause(self, text: str, *, begins: bool) -> None:
        """Queue the begin or the end of a pause."""
        if self._open:
            self._queue.put((self._awake.seconds, self._on_pause, self.now(), text, begins))

    def arrange(self, layers: tuple[Layer, ...]) -> None:
        """Queue the final order of the layers, if the header is kept back."""
        if self._open:
            self._queue.put((self._awake.seconds, self._on_layers, 0.0, layers))

    def begin_segment(self) -> None:
        """Queue a header: the next frames have earlier steps, and replace those before."""
        if self._open:
            self._start = self._clock()
            self._queue.put((self._awake.seconds, self._on_segment, 0.0))

    def close(self, reason: str = "closed", timeout: float = FLUSH_SECONDS) -> bool:
        """Write the remaining lines and the end line, within `timeout` seconds.

        May be called again, to wait longer. Returns whether everything is written.
        """
        if self._open:
            self._open = False
            self._queue.put((self._awake.seconds, self._on_end, self.now(), reason))
        end = time.monotonic() + timeout
        self._thread.join(timeout)
        return not self._thread.is_alive() and self._disk.join(end - time.monotonic())

    # -- the writer's thread ---------------------------------------------------------------------

    def _run(self) -> None:
        idle = 0.0
        # With live output, send a frame at once; else wait a tick for values to put on its line.
        patience = 0.0 if self._feeds else self._tick
        while not self._ended:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                self._behind_since = None
                if idle >= patience:
                    self._guarded(self._release)
                if idle < IDLE_SECONDS:
                    idle += self._tick
                    time.sleep(self._tick)
                    continue
                item = self._queue.get()
                time.sleep(self._tick)
            idle = 0.0
            self._behind_since, action, *rest = item
            self._guarded(action, *rest)

    def _guarded(self, action: Callable[..., None], *args: Any) -> None:
        try:
            action(*args)
        except Exception as error:
            self._warnings.note("run log", error, "one line is lost")
            self._file.lost += 1

    def _on_frame(
        self,
        t: float,
        step: int,
        norms: Any,
        read: Reader | None,
        extra: Mapping[str, Scalar] | None,
        skipped: Any,
    ) -> None:
        # Write the previous frame before waiting for this frame's norms.
        self._release()
        row = norms if read is None else read(norms)
        beside = dict(extra or {})
        if skipped is not None and bool(skipped):
            beside["skipped"] = True
        self._settle()
        self._held = self._assignment.begin(Frame(step, t, row, beside))
        self._seen += 1

    def _on_values(self, t: float, values: Mapping[str, Any], looked_at: bool) -> None:
        if not all(map(is_at_hand, values.values())):
            # Do not delay the sound for a loss.
            self._release()
        read: dict[str, Scalar] = {}
        for name, value in values.items():
            try:
                read[name] = read_scalar(name, value)
            except Exception as error:
                self._warnings.note(f"log({name}=…)", error, "it is left out")
        found = self._assignment.assign(read, looked_at=looked_at)
        if not found:
            return
        if self._held is not None:
            self._held = self._held.joined(Values(self._held.step, found))
        elif self._last is not None:
            last = self._last = self._last.joined(Values(self._last.step, found))
            restored = self._restored(last) if TOTAL in found else last
            norms = None if restored is last else restored.norms
            self._lines.send(Values(last.step, found, norms))

    def _on_update(self, t: float, step: int, norms: Any, read: Reader) -> None:
        late, held = Values(step, {}, updates=read(norms)), self._held
        if held is not None and held.step == step:
            self._held = held.joined(late)
        elif self._last is not None and self._last.step == step:
            self._lines.send(late)

    def _on_mark(self, t: float, text: str) -> None:
        self._release()
        self._lines.send(Mark(text, t))

    def _on_pause(self, t: float, text: str, begins: bool) -> None:
        self._release()
        self._lines.send(Pause(text, t, begins))

    def _on_segment(self, t: float) -> None:
        self._release()
        self._settle()
        self._last = None
        self._lines.rewind()

    def _on_layers(self, t: float, layers: tuple[Layer, ...]) -> None:
        self._lines.arrange(layers)

    def _on_end(self, t: float, reason: str) -> None:
        self._ended = True
        self._guarded(self._release)
        self._guarded(self._lines.arrange)
        self._settle()
        self.cost = time.thread_time()
        # Send it at once: the log's own end is written after all other lines.
        end = End(reason, t, self._seen)
        self._lines.feed(end, encode(end))

        def last() -> bytes:
            steps = self._file.steps
            word = "" if self._clipping is None or not steps else self._clipping.word
            return encode(End(reason, t, steps, self.dropped, word))

        self._disk.finish(last)

    def _release(self) -> None:
        """Write the frame that is held."""
        if self._held is not None:
            frame, self._held = self._held, None
            self._last = frame
            self._lines.send(self._restored(frame))

    def _settle(self) -> None:
        """Stop expecting values for the last frame."""
        if self._clipping is not None and self._last is not None:
            self._clipping.observe(self._last)

    def _restored(self, frame: Frame) -> Frame:
        return frame if self._clipping is None else self._clipping.restored(frame)

    def _begin(self, header: Header) -> None:
        line = b""
        try:
            line = encode_header(header)
            self._lines.begin(line)
        except (OSError, TypeError, ValueError) as error:
            self._file.close()
            reason = getattr(error, "strerror", None) or error
            then = "free some space, or give another out" if line else "mend config="
            raise RunLogError(f"cannot write the run log {self.path}: {reason}; {then}") from error

    def _give_up(self, reason: str) -> None:
        """Record nothing, since the system lacks something; training continues."""
        self._open = False
        self._file.close()
        self._warnings.note("run log", reason, "this run is not recorded, training continues")

    def _forked(self) -> None:
        # A forked child has no writer thread: it must not write, wait, or keep the file open.
        self._open = False
        self._file.close()
