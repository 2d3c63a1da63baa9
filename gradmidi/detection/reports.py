"""What is reported of a fault that was found, and how often."""

import math

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.kinds import KINDS, RUN, Faults, Finding
from gradmidi.detection.lasting import members
from gradmidi.log import ABSENT, Frame, Scalar

__all__ = ["Reports", "total"]

APART = 1.0
"""Seconds in which the same fault is not reported twice, however many frames they hold."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Reports:
    """Turns what was found into findings, except what was reported a short while ago.

    Parameters
    ----------
    layers : int
        How many there are.
    limits : Faults
        After how many frames and seconds a fault is reported again.
    """

    def __init__(self, layers: int, limits: Faults) -> None:
        self._limits = limits
        # When each kind was last reported: of each layer and, at the end, of the run.
        self._frame = {kind: np.full(layers + 1, -(1 << 60), np.int64) for kind in KINDS}
        self._at = {kind: np.full(layers + 1, -np.inf) for kind in KINDS}
        self._frames = 0

    def begin(self, frames: int = 1) -> None:
        """Count the next frames."""
        self._frames += frames

    def add(
        self,
        kind: str,
        layers: list[int],
        frame: Frame,
        group: Bools | None = None,
        logged: str = "",
    ) -> tuple[Finding, ...]:
        """Report a kind of layers, or `RUN`; `group` holds all layers that have it."""
        if not layers:
            return ()
        frames = self._frames - self._frame[kind]
        seconds = frame.t - self._at[kind]
        due = (frames >= self._limits.cooldown) & (seconds >= APART)
        due |= seconds >= self._limits.remind
        reported = [layer for layer in layers if due[layer]]
        # Reporting the whole run reports each layer.
        mark: list[int] | slice = slice(None) if RUN in reported else reported
        self._frame[kind][mark] = self._frames
        self._at[kind][mark] = frame.t
        present = frame.norms != ABSENT
        known = present if group is None else present | group
        return tuple(
            Finding(
                kind,
                layer,
                frame.step,
                _value(layer, frame) if not logged else _number(frame.extra.get(logged)),
                () if group is None else members(layer, layers, group, present),
                int(known.sum()),
                logged,
            )
            for layer in reported
        )


def _number(value: Scalar) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _value(layer: int, frame: Frame) -> float:
    return total(frame.norms if layer == RUN else frame.norms[layer : layer + 1])


def total(norms: Floats) -> float:
    """Return the norm over all layers, scaled so that no square leaves the range of a float."""
    norms = norms[norms != ABSENT]
    largest = float(norms.max(initial=0.0))
    if not 0.0 < largest < math.inf:
        return largest
    return largest * float(np.sqrt(np.square(norms / largest).sum()))
