"""Write what this process tells about itself, on a thread: its times, and values that are nan."""

import json
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradmidi.base.messages import say
from gradmidi.detection.history import Fault
from gradmidi.detection.kinds import SLOW
from gradmidi.detection.ranks import slow_ranks
from gradmidi.log import FILE_NAME
from gradmidi.log.ranks import (
    MOST_BYTES,
    NotFinite,
    RankReader,
    Work,
    encode_not_finite,
    encode_rank,
    encode_work,
    file_name,
)
from gradmidi.text.faults import fault_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.nn import Module

    from gradmidi.capture.capture import Capture
    from gradmidi.capture.local_work import LocalWork, Times
    from gradmidi.capture.meeting import Note

__all__ = ["Place", "RankFile", "rank_file"]

POLL_SECONDS = 0.1
FIND_SECONDS = 1.0

PATIENCE_SECONDS = 120.0
"""How long the run's folder is looked for; a shared one may be seen late."""

LINE_SECONDS = 5.0
"""At least so long is between two lines of times, and at least `LINE_SHARE` of the run so far."""

LINE_SHARE = 0.01

LEAST_STEPS = 16
"""Steps that a line of times is about, at least."""

WARM_UP = 5
"""First steps that are left out: they may compile or fill a cache."""

MOST_NAMES = 16
"""Names of values that were nan or infinite; of more nothing is written."""

MOST_VALUES = 1024
"""Values that wait until they are read."""

MOST_WATCHED = 64
"""Of more processes, slow ones are not reported while the run goes on."""

RECENT = 8
"""Lines of each process that are looked at then."""

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
        self._work = work
        self._times: list[Times] = []
        self._left_out = WARM_UP  # Steps that are still to be left out.
        self._step: int | None = None  # The last step of the last line.
        self._place: Place | None = None
        self._begun = self._written = time.monotonic()
        self._looked = -math.inf
        self._values: deque[tuple[int, str, Any]] = deque(maxlen=MOST_VALUES)
        self._told: set[tuple[str, bool]] = set()
        self._lines: list[bytes] = []
        self._stop = threading.Event()
        self.mark: Callable[[str], None] | None = None
        self._offset = offset
        self._offset_written = 0
        self._reader: RankReader | None = None
        self._slow: set[int] = set()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="gradmidi rank", daemon=True)
        with suppress(RuntimeError):
            self._thread.start()

    def value(self, step: int, name: str, value: Any) -> None:
        """Note a value of a step: a number, or one that a device still computes."""
        if value is None or isinstance(value, (int, str)):
            return
        if not isinstance(value, float) or not math.isfinite(value):
            self._values.append((step, name, value))

    def close(self) -> None:
        """Write the rest; wait for it for half a second at most."""
        self._work.remove()
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
            self._read_values()
            if self._place is not None and self._offset() != self._offset_written:
                self._lines.append(self._header(self._place.run))
            self._read_times(last=last)
            self._look(last=last)
            has_written = self._write()
            if has_written and not last and self.mark and self._ranks <= MOST_WATCHED:
                self._watch(self.mark)

    def _read_values(self) -> None:
        while self._values:
            step, name, value = self._values.popleft()
            with suppress(Exception):
                number = float(value.item() if hasattr(value, "item") else value)
                key = name, math.isnan(number)
                if math.isfinite(number) or key in self._told or len(self._told) == MOST_NAMES:
                    continue
                self._told.add(key)
                self._lines.append(encode_not_finite(NotFinite(step, name, number)))

    def _read_times(self, *, last: bool) -> None:
        now = time.monotonic()
        wanted = max(LINE_SECONDS, LINE_SHARE * (now - self._begun))
        if not (last or now - self._written >= wanted):
            return
        new = self._work.take()
        self._times += new[self._left_out :]
        self._left_out = max(0, self._left_out - len(new))
        if len(self._times) < LEAST_STEPS:
            return
        # Of many steps only some are timed, which stand for all since the line before.
        first = self._times[0][0] if self._step is None else self._step + 1
        self._step = max(self._times[-1][0], self._work.step())
        medians = [_median(column) for column in np.array(self._times).T[1:]]
        self._times, self._written = [], now
        self._lines.append(encode_work(Work(min(first, self._step), self._step, *medians)))

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
            self._lines.insert(0, b"\n" + self._header(place.run))

    def _watch(self, mark: Callable[[str], None]) -> None:
        """Say and mark which ranks are slow by now."""
        if self._reader is None and self._place is not None:
            self._reader = RankReader(Path(self._place.folder), {self._place.run})
        logs = () if self._reader is None else self._reader.read()
        recent = [replace(log, work=log.work[-RECENT:]) for log in logs]
        for slow in slow_ranks(recent):
            if slow.to_the_end and not self._slow.issuperset(slow.ranks):
                self._slow.update(slow.ranks)
                steps = slow.first, slow.last
                fault = Fault(SLOW.name, (), steps, (0.0, 0.0), slow.seconds, slow.last)
                fault = replace(fault, ranks=slow.ranks, others=slow.others)
                text = f"step {slow.first}: {fault_of(fault)}"
                say(text)
                mark(text)

    def _write(self) -> bool:
        """Write the lines; return whether there were any."""
        if self._place is None and self._find is not None:
            return False
        lines, self._lines = self._lines, []
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


def _median(times: "NDArray[np.float64]") -> float:
    """Return the median of the times that are known; nan if none is."""
    known = times[~np.isnan(times)]
    return float(np.median(known)) if len(known) else math.nan
