"""Frames to slots: the unit of musical time, by steps for files or by the clock for live.

Where several frames fall into one slot each layer keeps its largest norm (nan over inf over
number over zero over none, which is what `numpy.maximum` does with `ABSENT` below zero), and
every fault and mark is kept. A slot is handed on as soon as it is known to be complete.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gradmidi.detection.detector import Finding
from gradmidi.log import Frame

__all__ = ["Slot", "Slots", "StepSlots", "WallSlots"]


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """What is heard at once.

    Parameters
    ----------
    index : int
        From 0; the slot begins at tick ``index * slot_ticks``.
    step : int
        The last step that fell into it.
    seconds : float
        That step's time.
    norms : ndarray of float64, shape (layers,)
        The largest norm of each layer; see `gradmidi.log.ABSENT`.
    loss : float or None
        The last finite loss in it.
    frames : int
        How many frames fell into it.
    findings : tuple of Finding
        Every fault that was found in it.
    marks : tuple of str
        Every mark that fell into it.
    """

    index: int
    step: int
    seconds: float
    norms: np.ndarray
    loss: float | None = None
    frames: int = 1
    findings: tuple[Finding, ...] = ()
    marks: tuple[str, ...] = ()


class Slots(Protocol):
    """Turns frames into slots."""

    def add(self, frame: Frame, findings: Sequence[Finding]) -> Slot | None:
        """Take a frame; return the slot that is complete now, if one is."""

    def mark(self, text: str) -> None:
        """Take a mark; it goes to the slot of the next frame."""

    def finish(self) -> Slot | None:
        """Return what is left."""


class _Gathering:
    """The slot that is being filled."""

    def __init__(self) -> None:
        self._slot: Slot | None = None
        self._marks: tuple[str, ...] = ()

    def mark(self, text: str) -> None:
        self._marks += (text,)

    def _fill(self, index: int, frame: Frame, findings: Sequence[Finding]) -> Slot:
        held = self._slot
        if held is None:
            slot = Slot(
                index,
                frame.step,
                frame.t,
                frame.norms,
                frame.loss,
                1,
                tuple(findings),
                self._marks,
            )
        else:
            loss = frame.loss
            slot = Slot(
                index,
                frame.step,
                frame.t,
                np.maximum(held.norms, frame.norms),
                held.loss if loss is None else loss,
                held.frames + 1,
                (*held.findings, *findings),
                held.marks + self._marks,
            )
        self._marks = ()
        self._slot = slot
        return slot

    def finish(self) -> Slot | None:
        slot, self._slot = self._slot, None
        return slot


class StepSlots(_Gathering):
    """One slot every `frames` frames: deterministic, for files.

    Examples
    --------
    >>> from gradmidi.log import row
    >>> slots = StepSlots(2)
    >>> slots.add(Frame(1, 0.0, row([1.0, 5.0])), ())
    >>> slots.add(Frame(2, 0.1, row([2.0, None])), ()).norms
    array([2., 5.])
    """

    def __init__(self, frames: int = 1) -> None:
        super().__init__()
        self.frames = frames
        self._index = 0

    def add(self, frame: Frame, findings: Sequence[Finding]) -> Slot | None:
        """Take a frame; return the slot once it holds `frames` of them."""
        slot = self._fill(self._index, frame, findings)
        if slot.frames < self.frames:
            return None
        self._index += 1
        return self.finish()


class WallSlots(_Gathering):
    """Slots on a grid of seconds: a frame falls into the slot its time is in.

    Parameters
    ----------
    seconds : float
        Length of a slot.
    apart : int, default 1
        A slot is filled at the earliest this many after the last one that was: frames that
        come sooner are gathered in that one.

    Examples
    --------
    >>> from gradmidi.log import row
    >>> slots = WallSlots(0.125)
    >>> slots.add(Frame(1, 0.01, row([1.0])), ())
    >>> slots.add(Frame(2, 0.30, row([1.0])), ()).index
    0
    """

    def __init__(self, seconds: float, apart: int = 1) -> None:
        super().__init__()
        self.seconds = seconds
        self.apart = apart
        self._index = 0

    def index_of(self, t: float) -> int:
        """Find the slot that a time of the log, in seconds, lies in."""
        return int(t / self.seconds)

    def until(self, index: int) -> Slot | None:
        """Say that slot `index` has begun: return the one that was filled before it, if any.

        A frame that comes later falls into slot `index` at the earliest.
        """
        done = None
        if self._slot is not None and self._slot.index < index:
            done = self.finish()
            self._index += self.apart
        self._index = max(self._index, index)
        return done

    def add(self, frame: Frame, findings: Sequence[Finding]) -> Slot | None:
        """Take a frame; return the slot before it once the frame falls into a later one."""
        done = self.until(self.index_of(frame.t))
        self._fill(self._index, frame, findings)
        return done
