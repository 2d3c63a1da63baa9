"""What a line of a run log can hold: a header, a frame, late values, a mark, a pause, the end."""

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
    "Record",
    "Scalar",
    "Values",
    "combine",
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
    """A module that owns parameters directly.

    Parameters
    ----------
    name : str
        Its qualified name, as in ``model.named_modules()``.
    size : int
        How many parameters it has; 0 where that is not known.

    Examples
    --------
    >>> Layer("fc1", 400_000).name
    'fc1'
    """

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
        return _loss(self.extra)

    def joined(self, late: "Values") -> "Frame":
        """Return the frame with what was logged late for it.

        Examples
        --------
        >>> Frame(7, 0.1, row([0.5])).joined(Values(7, {"loss": 2.3})).extra
        {'loss': 2.3}
        """
        norms = self.norms if late.norms is None else late.norms
        return Frame(self.step, self.t, norms, {**self.extra, **late.values})


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """What was logged for a step after that step's frame was written.

    Parameters
    ----------
    step : int
        The step of the frame that they belong to, which comes earlier in the log.
    values : mapping
        They join the frame's `extra`; of a name that it has already, the later value counts.
    norms : ndarray of float64, shape (layers,), optional
        Takes the place of the frame's norms: what clipping had taken away was logged late.
    """

    step: int
    values: Mapping[str, Scalar]
    norms: np.ndarray | None = None

    @property
    def loss(self) -> float | None:
        """The loss, where one was logged that is finite."""
        return _loss(self.values)


def _loss(values: Mapping[str, Scalar]) -> float | None:
    loss = values.get("loss")
    return float(loss) if isinstance(loss, (int, float)) and math.isfinite(loss) else None


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
"""What a run consists of."""

Record = Item | Values
"""What one line of a run log holds."""


def row(norms: Iterable[float | None]) -> np.ndarray:
    """Turn norms as a person writes them (None: no gradient) into a frame's row.

    Examples
    --------
    >>> row([0.45, None, float("inf")])
    array([ 0.45, -1.  ,   inf])
    """
    return np.array([ABSENT if norm is None else norm for norm in norms], dtype=np.float64)


def combine(norms: np.ndarray, members: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Combine layers to voices: the root of the sum of squares.

    Parameters
    ----------
    norms : ndarray of float64, shape (layers,) or (frames, layers)
        See `gradmidi.log.Frame`.
    members : ndarray of int
        The layers of every voice, one voice after the other.
    starts : ndarray of int, shape (voices,)
        Where in `members` each voice begins.

    Returns
    -------
    ndarray of float64, shape (voices,) or (frames, voices)
        `ABSENT` where no layer of the voice had a gradient.
    """
    chosen = norms[..., members]
    absent = chosen < 0.0
    largest = np.maximum.reduceat(chosen, starts, axis=-1)
    # Against the voice's largest, so that no square leaves the range of a float.
    unit = np.where(np.isfinite(largest) & (largest > 0.0), largest, 1.0)
    counts = np.diff(starts, append=len(members))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        parts = np.where(absent, 0.0, chosen) / np.repeat(unit, counts, axis=-1)
        total = unit * np.sqrt(np.add.reduceat(parts * parts, starts, axis=-1))
    total = np.where(np.isnan(largest), largest, total)
    return np.where(largest < 0.0, ABSENT, total)
