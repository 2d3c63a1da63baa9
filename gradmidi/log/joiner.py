"""Frames and what is logged beside them: which step a loss belongs to, and how long to wait.

A loop steps, then logs the step's loss. So a frame is held back for a moment, values that come
after it join it, and it goes out as soon as it has all that the frame before it was given. What
comes too late is not lost and not given to the wrong step: the frame goes out once more, with
it, and of a step that stands twice the later line wins. Nothing but the order of the calls
decides whose step a value is, so a run logged twice reads the same however the threads fell.
"""

import math
from collections.abc import Mapping

from gradmidi.log import Frame, Scalar

__all__ = ["PATIENCE_SECONDS", "WINDOW_SECONDS", "Joiner"]

WINDOW_SECONDS = 0.01
"""How long a frame waits for values where the frame before it was given none."""

PATIENCE_SECONDS = 1.0
"""How long the first frame waits, and one where the frame before it was given some."""


class Joiner:
    """Joins logged values to frames; holds no clock, thread or file.

    Every method returns the frames that go out now. A name that is logged before any frame
    leads: from then on its values belong to the frame that comes next. Every other name
    follows: its values belong to the frame that came last.

    Attributes
    ----------
    deadline : float
        When the frame that is held goes out in any case, in the frames' seconds; inf if none
        is held.

    Examples
    --------
    >>> import numpy as np
    >>> joiner = Joiner()
    >>> joiner.frame(Frame(1, 0.0, np.array([0.5])))
    []
    >>> joiner.values({"loss": 2.3}, 0.001)
    []
    >>> [(frame.step, frame.extra) for frame in joiner.release()]
    [(1, {'loss': 2.3})]
    """

    def __init__(self) -> None:
        self.deadline = math.inf
        self._held: Frame | None = None
        self._last: Frame | None = None
        self._next: dict[str, Scalar] = {}
        self._leading: set[str] = set()
        self._given: set[str] = set()
        self._usual: set[str] | None = None

    def frame(self, frame: Frame) -> list[Frame]:
        """Take the next frame; the one before it goes out."""
        out = self.release()
        self._held = self.leading(frame)
        self._next = {}
        patient = self._usual is None or self._usual
        self.deadline = frame.t + (PATIENCE_SECONDS if patient else WINDOW_SECONDS)
        return out

    def leading(self, frame: Frame) -> Frame:
        """Give a frame that is about to be taken the values that were logged before it."""
        return _with(frame, {**self._next, **frame.extra}) if self._next else frame

    def values(
        self, values: Mapping[str, Scalar], t: float, *, looked_at: bool = True
    ) -> list[Frame]:
        """Take what was logged at `t`; the frame that it completes goes out.

        Parameters
        ----------
        values : mapping
            Names and values.
        t : float
            Seconds, on the frames' clock.
        looked_at : bool, default True
            Whether the last step was captured at all. Values that follow a step which was
            not are left out.
        """
        late: dict[str, Scalar] = {}
        for name, value in values.items():
            if self._held is None and self._last is None:
                self._leading.add(name)
            if name in self._leading:
                self._next[name] = value
            elif not looked_at:
                continue
            elif self._held is not None:
                self._held = _with(self._held, {name: value})
                self._given.add(name)
            elif self._last is not None and name not in self._last.extra:
                late[name] = value
            else:
                self._next[name] = value
        if late and self._last is not None:
            self._last = _with(self._last, late)
            self._usual = (self._usual or set()) | late.keys()
            return [self._last]
        if self._held is None or not self._given:
            return []
        if self._usual is None:
            self.deadline = min(self.deadline, t + WINDOW_SECONDS)
            return []
        return self.release() if self._usual and self._usual <= self._given else []

    def release(self) -> list[Frame]:
        """Let the frame that is held go out."""
        self.deadline = math.inf
        if self._held is None:
            return []
        self._last, self._held = self._held, None
        self._usual, self._given = self._given, set()
        return [self._last]


def _with(frame: Frame, values: Mapping[str, Scalar]) -> Frame:
    return Frame(frame.step, frame.t, frame.norms, {**frame.extra, **values})
