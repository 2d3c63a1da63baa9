"""Steps of several optimizers within one `backward`: one update (`Gathering`)."""

import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from gradmidi.capture.norms import Norms, Row
from gradmidi.capture.steps import Consumer, Stride
from gradmidi.log import ABSENT

__all__ = ["Gathering", "in_backward"]

NOT_IN_BACKWARD = -1

# Private to torch; without it such steps are frames of their own.
_task: Callable[[], int] = getattr(torch._C, "_current_graph_task_id", lambda: NOT_IN_BACKWARD)


def in_backward() -> bool:
    """Return whether this is called from within `backward`."""
    return _task() != NOT_IN_BACKWARD


class Gathering:
    """What several optimizers see that step during one `backward`: handed over when it is done.

    Parameters
    ----------
    consumer : Consumer
        Takes the norms.
    stride : Stride
        Which of the updates are read.
    """

    def __init__(self, consumer: Consumer, stride: Stride) -> None:
        self._consumer = consumer
        self._stride = stride
        self._task = NOT_IN_BACKWARD
        self._due = False
        self._seconds = 0.0
        self._parts: list[tuple[Norms, Row]] = []
        self._error: Exception | None = None

    def add(self, read: Callable[[], tuple[Norms, Row]]) -> None:
        """Read the norms that one optimizer is about to use; never raise."""
        begin = time.perf_counter()
        try:
            if self._task != (task := _task()):
                # What is left of a backward that raised is of no update.
                self._task, self._parts, self._error, self._seconds = task, [], None, 0.0
                self._due = self._stride.due()
                engine: Any = torch.autograd.Variable._execution_engine
                engine.queue_callback(self._done)
            if self._due:
                self._parts.append(read())
        except Exception as error:
            self._error = error
        self._seconds += time.perf_counter() - begin

    def _done(self) -> None:
        parts, self._parts = self._parts, []
        if self._error is not None:
            self._consumer.fail(self._error)
        elif not self._due:
            self._consumer.skip()
        else:
            begin = time.perf_counter()
            # One tuple, as of any other step.
            norms = tuple(each for norms, _ in parts for each in norms)
            rows = [(row, len(norms)) for norms, row in parts]
            self._consumer.take(norms, partial(_combined, rows=rows))
            self._stride.spent(self._seconds + time.perf_counter() - begin)


def _combined(norms: Norms, *, rows: Sequence[tuple[Row, int]]) -> np.ndarray:
    """Make one row of several, in which a layer may stand in more than one."""
    left = iter(norms)
    table = np.stack([row(tuple(itertools.islice(left, count))) for row, count in rows])
    there = table != ABSENT
    with np.errstate(over="ignore", invalid="ignore"):
        combined: np.ndarray = np.hypot.reduce(np.where(there, table, 0.0))
    combined[~there.any(0)] = ABSENT
    return combined
