"""The lines that a process writes about itself: times of its own work, and values that are nan."""

import math
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from gradmidi.log.ranks import NotFinite, Work, encode_not_finite, encode_work

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gradmidi.capture.local_work import LocalWork, Times

__all__ = ["RankLines"]

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


class RankLines:
    """Makes the lines of one process. Nothing here waits for a disk.

    Parameters
    ----------
    work : LocalWork
        The times of the process's steps.
    """

    def __init__(self, work: "LocalWork") -> None:
        self._work = work
        self._times: list[Times] = []
        self._left_out = WARM_UP  # Steps that are still to be left out.
        self._step: int | None = None  # The last step of the last line.
        self._begun = self._written = time.monotonic()
        self._values: deque[tuple[int, str, Any]] = deque(maxlen=MOST_VALUES)
        self._told: set[tuple[str, bool]] = set()

    def value(self, step: int, name: str, value: Any) -> None:
        """Note a value of a step: a number, or one that a device still computes."""
        if value is None or isinstance(value, (int, str)):
            return
        if not isinstance(value, float) or not math.isfinite(value):
            self._values.append((step, name, value))

    def close(self) -> None:
        """Measure no more steps."""
        self._work.remove()

    # -- on the file's thread --------------------------------------------------------------------

    def of_values(self) -> list[bytes]:
        """Return a line for each new value that is nan or infinite, the first of its name."""
        lines = []
        while self._values:
            step, name, value = self._values.popleft()
            with suppress(Exception):
                number = float(value.item() if hasattr(value, "item") else value)
                key = name, math.isnan(number)
                if math.isfinite(number) or key in self._told or len(self._told) == MOST_NAMES:
                    continue
                self._told.add(key)
                lines.append(encode_not_finite(NotFinite(step, name, number)))
        return lines

    def of_times(self, *, last: bool) -> list[bytes]:
        """Return the line of the steps since the one before, if it is time for it."""
        now = time.monotonic()
        wanted = max(LINE_SECONDS, LINE_SHARE * (now - self._begun))
        if not (last or now - self._written >= wanted):
            return []
        new = self._work.take()
        self._times += new[self._left_out :]
        self._left_out = max(0, self._left_out - len(new))
        if len(self._times) < LEAST_STEPS:
            return []
        # Of many steps only some are timed, which stand for all since the line before.
        first = self._times[0][0] if self._step is None else self._step + 1
        self._step = max(self._times[-1][0], self._work.step())
        medians = [_median(column) for column in np.array(self._times).T[1:]]
        self._times, self._written = [], now
        return [encode_work(Work(min(first, self._step), self._step, *medians))]


def _median(times: "NDArray[np.float64]") -> float:
    """Return the median of the times that are known; nan if none is."""
    known = times[~np.isnan(times)]
    return float(np.median(known)) if len(known) else math.nan
