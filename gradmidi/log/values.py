"""Logged values: assign them to frames, choose them, undo clipping with a logged total norm."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from gradmidi.base.messages import warn
from gradmidi.log import ABSENT, FRAME_KEYS, Frame, Scalar

__all__ = [
    "TOTAL",
    "Assignment",
    "Clipping",
    "chosen",
    "is_at_hand",
    "read_scalar",
]

TOTAL = "total_norm"
"""Name of the value that is the norm of all gradients together, before clipping."""

TIMES = 10
"""How many total norms at one round value, with none above it, show clipping."""

ALIKE = 1e-4
CLIPPED = 1.01
"""A logged total above the total of the layers by less than this factor is rounding."""


class Clipping:
    """Tracks whether a run clips its gradients, and undoes it if the total norm was logged.

    Parameters
    ----------
    whole : bool
        Whether a frame's layers hold all parameters. Only then is the root of the sum of squares
        the total norm that clipping compares with its limit.

    Attributes
    ----------
    seen : bool
        Whether the norms were read before clipping; set by capture.
    missed : bool
        Whether gradients were clipped without capture measuring them before; set by capture.

    Examples
    --------
    >>> clipping = Clipping(whole=True)
    >>> frame = Frame(1, 0.0, np.array([0.6, 0.8]), {"total_norm": 5.0})
    >>> clipping.restored(frame).norms
    array([3., 4.])
    >>> clipping.word
    'before'
    """

    def __init__(self, *, whole: bool) -> None:
        self.seen = self.missed = False
        self._whole = whole
        self._restored = False
        self._ceiling = 0.0
        self._times = 0
        self._told = False

    @property
    def word(self) -> str:
        """The value of `clipping` in the run log, see `gradmidi.log.Header`."""
        if self.missed and not self._restored:
            return "unknown"
        if self.seen or self._restored:
            return "before"
        return "after" if self._told else "none"

    def restored(self, frame: Frame) -> Frame:
        """Undo global clipping, if the total norm before it was logged.

        Global clipping scales all norms by one factor, the quotient of the two totals.
        """
        known = frame.extra.get(TOTAL)
        if not self._judges(frame) or not isinstance(known, (int, float)):
            return frame
        total = _total(frame.norms)
        if not math.isfinite(known) or not 0.0 < total < math.inf or known <= CLIPPED * total:
            return frame
        self._restored = True
        norms = np.where(frame.norms == ABSENT, ABSENT, frame.norms * (known / total))
        return replace(frame, norms=norms)

    def observe(self, frame: Frame) -> None:
        """Warn once if the total norms never exceed one round value, which shows clipping."""
        if TOTAL in frame.extra or not self._judges(frame):
            return
        total = _total(frame.norms)
        if not 0.0 < total < math.inf or self._told:
            return
        if total > self._ceiling * (1.0 + ALIKE):
            self._ceiling, self._times = total, 1
        elif total > self._ceiling * (1.0 - ALIKE):
            self._times += 1
        value = float(f"{self._ceiling:.2g}")
        if self._times >= TIMES and abs(self._ceiling - value) < ALIKE * value:
            self._told = True
            warn(
                f"the gradients seem to be clipped to a total norm of {value:g} before they are "
                "measured; to record the norms before clipping, call "
                f"ears.clip_grad_norm_({value:g}) instead, or log the total norm: "
                f"ears.log({TOTAL}=…)"
            )

    def _judges(self, frame: Frame) -> bool:
        return self._whole and not self.seen and not frame.extra.get("skipped")


def _total(norms: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.square(norms[norms != ABSENT]).sum()))


class Assignment:
    """Decides which frame a logged value belongs to, from the order of the calls.

    Values of a name that is first logged before the first frame belong to the next frame. Values
    of every other name belong to the last frame; of several for one frame, the first counts, or
    the first that is nan or infinite: a batch that was left out because of it is not hidden.

    Examples
    --------
    >>> assignment = Assignment()
    >>> assignment.assign({"lr": 0.1}, looked_at=True)
    {}
    >>> assignment.begin(Frame(1, 0.0, np.array([0.5]))).extra
    {'lr': 0.1}
    >>> assignment.assign({"loss": 2.3, "lr": 0.2}, looked_at=True)
    {'loss': 2.3}
    """

    def __init__(self) -> None:
        self._leading: set[str] = set()
        self._next: dict[str, Scalar] = {}
        self._given: set[str] | None = None  # The last frame's names; None before any frame.
        self._odd: set[str] = set()  # Those of them with a value that is nan or infinite.

    def begin(self, frame: Frame) -> Frame:
        """Return the next frame with the values that were logged before it, for it."""
        if self._next:
            frame = replace(frame, extra={**self._next, **frame.extra})
            self._next = {}
        self._given = set(frame.extra)
        self._odd = set()
        return frame

    def assign(self, values: Mapping[str, Scalar], *, looked_at: bool) -> dict[str, Scalar]:
        """Return the values that belong to the last frame; keep those for the next."""
        found: dict[str, Scalar] = {}
        for name, value in values.items():
            if self._given is None:
                self._leading.add(name)
            odd = _is_odd(value)
            if name in self._leading:
                if odd or not _is_odd(self._next.get(name)):
                    self._next[name] = value
            elif looked_at and self._given is not None:
                if name not in self._given or (odd and name not in self._odd):
                    self._given.add(name)
                    found[name] = value
                if odd:
                    self._odd.add(name)
        return found


def _is_odd(value: Scalar) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def chosen(name: str, which: Sequence[str]) -> bool:
    """Return whether a value's name is among names and patterns; without any, every name is.

    Examples
    --------
    >>> chosen("val/loss", ["val/*"]), chosen("lr", ["loss"]), chosen("lr", [])
    (True, False, True)
    """
    return not which or any(name == each or fnmatchcase(name, each) for each in which)


def is_at_hand(value: Any) -> bool:
    """Return whether a value can be read without waiting for a device."""
    if value is None or isinstance(value, (float, int, str)):
        return True
    return bool(getattr(value, "has_arrived", False))


def read_scalar(name: str, value: Any) -> Scalar:
    """Read a logged value; wait for a tensor on a device."""
    if name in FRAME_KEYS:
        raise ValueError(f"{name!r} is a key of every frame; log it by another name")
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, int):
        # An integer beyond the range of a float would make the whole line unreadable.
        float(value)
    if value is None or isinstance(value, (float, int, str)):
        return value
    raise TypeError(f"{type(value).__name__} is neither a number nor a text")
