"""Logged values that are nan or infinite."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gradmidi.detection.kinds import RUN, Finding
from gradmidi.detection.limits import Faults
from gradmidi.log import Frame, Scalar

__all__ = ["Logged", "Spell"]

UNJUDGED = frozenset({"total_norm"})
"""Values that are not judged: the norm over all layers, whose layers are."""


@dataclass(slots=True)
class Spell:
    """A lasting fault of one logged value.

    Parameters
    ----------
    since, until : int
        The first and, so far, the last step that had it.
    value : float
        The value at the first step.
    """

    since: int
    until: int
    value: float
    without: int = 0


class Logged:
    """Finds the logged values that are nan or infinite.

    A loss is judged from its first value on, every other value once it was finite: a mean over
    the episodes that have ended is nan until one has.

    Parameters
    ----------
    limits : Faults
        After how many values without a fault it is over, and when it is reported again.

    Attributes
    ----------
    active : dict of (str, str) to Spell
        What goes on: kind, and name of the value.

    Examples
    --------
    >>> import numpy as np
    >>> logged = Logged(Faults())
    >>> logged.add(Frame(1, 0.1, np.array([1.0]), {"loss": 2.3}))
    ()
    >>> logged.add(Frame(2, 0.2, np.array([1.0]), {"loss": math.nan}))
    (Finding(kind='nan', layer=-1, step=2, value=nan),)
    """

    def __init__(self, limits: Faults) -> None:
        self._limits = limits
        self._known: set[str] = set()
        self._reported: dict[tuple[str, str], tuple[int, float]] = {}
        self._frames = 0
        self.active: dict[tuple[str, str], Spell] = {}

    def restart(self) -> None:
        """Begin a new segment of the run: nothing goes on."""
        self.active.clear()

    def add(self, frame: Frame) -> tuple[Finding, ...]:
        """Take a frame's values; return those that have become nan or infinite."""
        self._frames += 1
        found: list[Finding] = []
        for name, value in frame.extra.items():
            if isinstance(value, float) and name not in UNJUDGED:
                if math.isfinite(value):
                    self._known.add(name)
                # The scaler skips an update because something is infinite.
                elif is_loss(name) or (name in self._known and not frame.extra.get("skipped")):
                    found += self._add(name, value, frame)
        if self.active:
            self._end(frame.extra)
        return tuple(found)

    def _add(self, name: str, value: float, frame: Frame) -> tuple[Finding, ...]:
        key = ("nan" if math.isnan(value) else "inf", name)
        spell = self.active.get(key)
        frames, t = self._reported.get(key, (-self._limits.cooldown, -math.inf))
        due = frame.t - t >= self._limits.remind
        if spell is None:
            spell = self.active[key] = Spell(frame.step, frame.step, value)
            due |= self._frames - frames >= self._limits.cooldown
        spell.until, spell.without = frame.step, 0
        if not due:
            return ()
        self._reported[key] = (self._frames, frame.t)
        return (Finding(key[0], RUN, frame.step, value, logged=name),)

    def _end(self, values: Mapping[str, Scalar]) -> None:
        """End what the last values, of those that are logged, were without."""
        for key, spell in list(self.active.items()):
            value = values.get(key[1])
            if isinstance(value, (int, float)) and math.isfinite(value):
                spell.without += 1
                if spell.without >= self._limits.clear:
                    del self.active[key]


def is_loss(name: str) -> bool:
    """Return whether a value is a loss, by its name.

    Examples
    --------
    >>> is_loss("train/Loss"), is_loss("lr")
    (True, False)
    """
    return "loss" in name.lower()
