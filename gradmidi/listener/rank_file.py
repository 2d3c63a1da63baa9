"""The file in which a process writes about itself, on a thread, in the run's folder."""

import json
import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gradmidi.base.messages import say
from gradmidi.detection.ranks import SlowWatch
from gradmidi.listener.rank_lines import RankLines
from gradmidi.log import FILE_NAME
from gradmidi.log.ranks import MOST_BYTES, encode_rank, file_name
from gradmidi.text.faults import fault_of

if TYPE_CHECKING:
    from torch.nn import Module

    from gradmidi.capture.capture import Capture
    from gradmidi.capture.local_work import LocalWork
    from gradmidi.capture.meeting import Note

__all__ = ["Place", "RankFile", "rank_file"]

POLL_SECONDS = 0.1
FIND_SECONDS = 1.0

PATIENCE_SECONDS = 120.0
"""How long the run's folder is looked for; a shared one may be seen late."""

MOST_WATCHED = 64
"""Of more processes, slow ones are not reported while the run goes on."""

JOIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is recorded, as rank 0 tells the others.

    Parameters
    ----------
    folder : str
        Its absolute path.
    run : str
        When the run was started, as the header of its log has it.
    """

    folder: str
    run: str

    def text(self) -> str:
        """Return it as a text."""
        return json.dumps([self.folder, self.run])

    @classmethod
    def of(cls, text: str) -> "Place":
        """Return the place that `text` has written."""
        folder, run = json.loads(text)
        return cls(folder, run)


def rank_file(
    note: "Note | None",
    model: "Module",
    capture: "Capture",
    step: Callable[[], int],
    place: Place | None = None,
    offset: Callable[[], int] = lambda: 0,
) -> "RankFile | None":
    """Begin the file of this process; None where no other trains with it. Never raise.

    Parameters
    ----------
    note : Note or None
        Where rank 0 tells the others the place of the run.
    model, capture
        What is trained.
    step : callable
        Returns the number of the last step, on rank 0, or of the last update.
    place : Place, optional
        The place, on rank 0.
    offset : callable, optional
        On rank 0: returns the difference of these numbers.
    """
    if note is None:
        return None
    try:
        from gradmidi.capture.local_work import LocalWork

        if place is not None:
            note.leave(place.text())

        def find() -> Place | None:
            if place is not None:
                return place
            text = note.found()
            return None if text is None else Place.of(text)

        work = LocalWork(model, capture.given, step)
        return RankFile(note.rank, note.ranks, find, work, offset)
    except Exception:
        # The store is gone, or the model does not take hooks.
        return None


class RankFile:
    """The file of one process, written by a thread. Nothing here raises, or waits for a disk.

    Nothing is written if the run's folder is not there, as on a computer that does not share it.

    Parameters
    ----------
    rank, ranks : int
        The process's rank, and how many there are.
    find : callable
        Returns the place of the run; None if it is not known yet. Called on the thread.
    work : LocalWork
        The times of the process's steps.
    offset : callable, optional
        Returns by how much the numbers of steps exceed those of updates.

    Attributes
    ----------
    value : callable
        Notes a value of a step, see `RankLines.value`.
    mark : callable or None
        Marks a text in the run: it is called once for each rank that is slow, which is also said.
    """

    def __init__(
        self,
        rank: int,
        ranks: int,
        find: Callable[[], Place | None],
        work: "LocalWork",
        offset: Callable[[], int] = lambda: 0,
    ) -> None:
        self._rank, self._ranks = rank, ranks
        self._find: Callable[[], Place | None] | None = find
        self._lines = RankLines(work)
        self.value = self._lines.value
        self._place: Place | None = None
        self._begun = time.monotonic()
        self._looked = -math.inf
        self._waiting: list[bytes] = []  # Lines that are not written yet.
        self._stop = threading.Event()
        self.mark: Callable[[str], None] | None = None
        self._offset = offset
        self._offset_written = 0
        self._watch: SlowWatch | None = None
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="gradmidi rank", daemon=True)
        with suppress(RuntimeError):
            self._thread.start()

    def close(self) -> None:
        """Write the rest; wait for it for half a second at most."""
        self._lines.close()
        self._stop.set()
        if os.getpid() == self._process and self._thread.is_alive():
            self._thread.join(JOIN_SECONDS)

    # -- on the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._turn(last=False)
        self._turn(last=True)

    def _turn(self, *, last: bool) -> None:
        # A disk that is full or gone, a store that is closed: the training is not told.
        with suppress(Exception):
            self._waiting += self._lines.of_values()
            if self._place is not None and self._offset() != self._offset_written:
                self._waiting.append(self._header(self._place.run))
            self._waiting += self._lines.of_times(last=last)
            self._look(last=last)
            has_written = self._write()
            if has_written and not last and self.mark and self._ranks <= MOST_WATCHED:
                self._report_slow(self.mark)

    def _header(self, run: str) -> bytes:
        self._offset_written = self._offset()
        return encode_rank(self._rank, self._ranks, run, self._offset_written)

    def _look(self, *, last: bool) -> None:
        """Look for the run's folder, once a second."""
        now = time.monotonic()
        if self._find is None or (now - self._looked < FIND_SECONDS and not last):
            return
        self._looked = now
        if now - self._begun > PATIENCE_SECONDS:
            self._find = None
            return
        try:
            place = self._find()
        except Exception:
            self._find = None
            raise
        if place is not None and Path(place.folder, FILE_NAME).is_file():
            self._find, self._place = None, place
            # The last line of an earlier process may be incomplete.
            self._waiting.insert(0, b"\n" + self._header(place.run))

    def _report_slow(self, mark: Callable[[str], None]) -> None:
        """Say and mark which ranks are slow by now."""
        if self._watch is None and self._place is not None:
            self._watch = SlowWatch(Path(self._place.folder), self._place.run)
        for fault in () if self._watch is None else self._watch.new():
            text = f"step {fault.steps[0]}: {fault_of(fault)}"
            say(text)
            mark(text)

    def _write(self) -> bool:
        """Write the lines; return whether there were any."""
        if self._place is None and self._find is not None:
            return False
        lines, self._waiting = self._waiting, []
        if self._place is None or not lines:
            return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, name, 0)
        file = os.open(Path(self._place.folder, file_name(self._rank)), flags, 0o666)
        try:
            if os.fstat(file).st_size > MOST_BYTES // 2:
                os.ftruncate(file, 0)
                lines.insert(0, self._header(self._place.run))
            os.write(file, b"".join(lines))
        finally:
            os.close(file)
        return True
