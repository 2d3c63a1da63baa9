"""What clipping leaves in the numbers: a ceiling, and norms that a known total restores."""

import math
from dataclasses import replace

import numpy as np

from gradmidi.base.messages import warn
from gradmidi.log import ABSENT, Frame

__all__ = ["TOTAL", "Clipping"]

TOTAL = "total_norm"
"""What the norm of all gradients together, before clipping, is logged as."""

TIMES = 10
"""So many totals at one round value, and none above it, are no accident."""

ALIKE = 1e-4
CLIPPED = 1.01
"""A total that is larger than what was seen by less than this may be rounding."""


class Clipping:
    """Tells of a run's frames whether they were taken before clipping, and mends those that can be.

    Parameters
    ----------
    whole : bool
        Whether a frame's layers hold all parameters: only then are their norms together the
        total that clipping goes by.

    Attributes
    ----------
    seen : bool
        Whether clipping was seen before it was done; set by whoever sees it.
    missed : bool
        Whether there was clipping that nobody sees; set likewise.

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
        """What a run log says of it, see `gradmidi.log.Header`."""
        if self.missed and not self._restored:
            return "unknown"
        if self.seen or self._restored:
            return "before"
        return "after" if self._told else "none"

    def restored(self, frame: Frame) -> Frame:
        """Undo global clipping that was not seen, where the total from before it was logged.

        Such clipping scales every norm alike, so that the total's quotient gives them back.
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
        """See whether totals end at the same round value again and again; tell it once."""
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
                f"the gradients together look clipped at {value:g} before they are seen here; if "
                "it is their common norm that your code clips, hear them from before by "
                f"ears.clip_grad_norm_({value:g}) in its place, or log what it returns: "
                f"ears.log({TOTAL}=…)"
            )

    def _judges(self, frame: Frame) -> bool:
        return self._whole and not self.seen and not frame.extra.get("skipped")


def _total(norms: np.ndarray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.square(norms[norms != ABSENT]).sum()))
