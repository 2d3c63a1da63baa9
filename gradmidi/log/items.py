"""What a line of a run log can be: a header, a frame, a mark, a pause, the end."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = [
    "ABSENT",
    "FILE_NAME",
    "FRAME_KEYS",
    "VERSION",
    "End",
    "Frame",
    "Header",
    "Item",
    "Layer",
    "Mark",
    "Pause",
    "Scalar",
    "row",
]

VERSION = 1
FILE_NAME = "run.jsonl"

ABSENT = -1.0
"""In a row of norms: the layer had no gradient. Below every norm, so the larger of two wins."""

Scalar = float | int | str | bool | None

FRAME_KEYS = frozenset({"step", "t", "norms"})
"""What every frame has; nothing logged beside it may be called so."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A module that owns parameters directly: its qualified name and how many numbers it holds."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a segment.

    Parameters
    ----------
    layers : tuple of Layer
        Name and size of each, in the order of a frame's norms.
    model : str
        The model's class name; empty where there is no model.
    parameters : str
        ``"all"`` or ``"weights"``: which of a layer's parameters its norm covers.
    clipping : str
        Where the norms were taken: ``"before"`` clipping, ``"after"`` it, ``"none"`` where no
        clipping was seen, or ``"unknown"``, which is all that can be said before training.
    started : str
        UTC time in ISO 8601.
    config : mapping
        Whatever the user wants kept beside the run.
    resumed : bool
        Whether this segment continues an earlier one.
    voices : mapping of str to str
        The user's own voices: name to a pattern over layer names; empty where there are none.
    other : mapping
        Keys this version does not know, kept.
    """

    layers: tuple[Layer, ...]
    model: str = ""
    parameters: str = "all"
    clipping: str = "unknown"
    started: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    resumed: bool = False
    voices: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One step's record.

    Parameters
    ----------
    step : int
        The optimizer update, from 1.
    t : float
        Seconds since the run started.
    norms : ndarray of float64, shape (layers,)
        A norm each; 0.0 exactly zero, `ABSENT` no gradient, nan and inf as they were.
    extra : mapping
        What was logged beside: ``loss``, ``lr`` and the like.
    """

    step: int
    t: float
    norms: np.ndarray
    extra: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        """The loss, where one was logged that is finite."""
        value = self.extra.get("loss")
        if isinstance(value, (int, float)) and math.isfinite(value):
            return float(value)
        return None


@dataclass(frozen=True, slots=True)
class Mark:
    """A text at a time: an epoch, a change of the rate."""

    text: str
    t: float


@dataclass(frozen=True, slots=True)
class Pause:
    """No step is expected from here on (`begins`), or again from here on."""

    text: str
    t: float
    begins: bool


@dataclass(frozen=True, slots=True)
class End:
    """The run was closed: why, when, after how many steps, how many lines were dropped.

    `clipping` is what is known by now of what the header could not say; empty where nothing is.
    """

    reason: str
    t: float
    steps: int
    dropped: int = 0
    clipping: str = ""


Item = Header | Frame | Mark | Pause | End


def row(norms: Iterable[float | None]) -> np.ndarray:
    """Turn norms as a person writes them (None: no gradient) into a frame's row.

    Examples
    --------
    >>> row([0.45, None, float("inf")])
    array([ 0.45, -1.  ,   inf])
    """
    return np.array([ABSENT if norm is None else norm for norm in norms], dtype=np.float64)
