"""Listener that opens no port and makes no run, for ranks other than 0."""

import atexit
import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradmidi.base.checks import steps_made
from gradmidi.base.messages import warn
from gradmidi.errors import GradmidiError
from gradmidi.listener.listener import Listener
from gradmidi.listener.rank_file import RankFile
from gradmidi.listener.recording import Row

if TYPE_CHECKING:
    from gradmidi.capture.capture import Capture

__all__ = ["OtherRank", "StepCounter"]


class StepCounter:
    """Counts steps and records nothing; a `gradmidi.capture.steps.Consumer`.

    Parameters
    ----------
    step : int, default 0
        Steps made before.

    Attributes
    ----------
    step : int
        The last step.
    updates : int
        The steps that were counted, whatever their numbers.
    on_replace : callable
        Called when another listener is attached to the same optimizer.
    """

    def __init__(self, step: int = 0) -> None:
        self.step = step
        self.updates = 0
        self.on_replace: Callable[[], None] = lambda: None
        self._warned = False

    def take(self, norms: Any, row: Row, skipped: Any = None) -> None:
        """Count a step."""
        self.skip()

    def update(self, norms: Any, row: Row) -> None:
        """Do nothing."""

    def skip(self) -> None:
        """Count a step."""
        self.step += 1
        self.updates += 1

    def fail(self, error: Exception) -> None:
        """Count a step that could not be measured, and warn about the first."""
        self.skip()
        if not self._warned:
            self._warned = True
            warn(f"capture: {type(error).__name__}: {error}; training continues")

    def see_clipping(self) -> None:
        """Do nothing."""

    def miss_clipping(self, text: str) -> None:
        """Do nothing."""

    def replace(self) -> None:
        """End the run, because another listener is attached to the same optimizer."""
        self.on_replace()


class OtherRank(Listener):
    """A Listener that opens no port and makes no run.

    If the model is sharded, it measures this process's part for rank 0. It has a small file of its
    own beside the run log, if it can find that.

    Parameters
    ----------
    capture : Capture or None
        The capture of the model; None for `record`.
    counter : StepCounter
        Counts this process's steps.
    out : path, optional
        The folder of the run on rank 0, if given.
    rank_file : RankFile, optional
        The file that tells about this process.

    Attributes
    ----------
    folder : Path
        `out`, or ``runs``, since only rank 0 knows the folder of the run.
    """

    def __init__(
        self,
        capture: "Capture | None",
        counter: StepCounter,
        out: str | os.PathLike[str] | None = None,
        rank_file: RankFile | None = None,
    ) -> None:
        self.folder = Path("runs" if out is None else out)
        self.layers = () if capture is None else capture.layers
        self._counter = counter
        self._capture = capture
        self._readout = None
        self.rank_file = rank_file
        self._early: set[str] = set()
        counter.on_replace = self.close
        atexit.register(self.close)

    @property
    def step(self) -> int:
        """The last step."""
        return self._counter.step

    @step.setter
    def step(self, step: int) -> None:
        with contextlib.suppress(GradmidiError):
            self._counter.step = steps_made(step)

    @property
    def live(self) -> None:
        """None, since only rank 0 plays."""
        return

    @property
    def bytes_per_step(self) -> float:
        """0.0, since only rank 0 writes."""
        return 0.0

    def frame(self, norms: Any, *, loss: Any = None, lr: Any = None, step: Any = None) -> None:
        """Do nothing."""

    def log(self, **values: Any) -> None:
        """Note values that are nan or infinite; never wait, never raise."""
        file, counter = self.rank_file, self._counter
        if file is None:
            return
        for name, value in values.items():
            with contextlib.suppress(Exception):
                if not counter.updates:
                    self._early.add(name)
                # As rank 0 assigns values to steps.
                update = counter.updates + (name in self._early)
                file.value(update, name, self._now_or_later(value))

    def mark(self, text: str) -> None:
        """Do nothing."""

    @contextlib.contextmanager
    def pause(self, text: str = "pause") -> Iterator[None]:
        """Do nothing."""
        yield

    def capture(self) -> None:
        """Measure this process's part of a sharded model."""
        if self._capture is not None:
            self._capture.look()

    def close(self, reason: str = "closed") -> None:
        """Remove all hooks."""
        atexit.unregister(self.close)
        if self.rank_file is not None:
            self.rank_file.close()
        if self._capture is not None:
            self._capture.detach(quiet=True)

    def __exit__(self, *_: object) -> None:
        self.close()
