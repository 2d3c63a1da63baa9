"""The records of a run log: header, frame, late values, mark, pause and end."""

from collections.abc import Iterable, Mapping, Sequence
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
    "loss_of",
    "numbers_of",
    "row",
    "unwrapped",
]

WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Names that a wrapper puts into the path of what it wraps, wherever it stands."""

LEADING_WRAPPERS = (("module",), ("base_model", "model"), ("_forward_module",), ("_module",))
"""The same, but only at the head of every path: a user's own module may be called so."""


def unwrapped(paths: Sequence[Sequence[str]]) -> list[list[str]]:
    """Remove the names of wrappers from the paths of all layers.

    Examples
    --------
    >>> unwrapped([["module", "_orig_mod", "fc1"], ["module", "head"]])
    [['fc1'], ['head']]
    >>> unwrapped([["module", "fc1"], ["head"]])
    [['module', 'fc1'], ['head']]
    """
    found = [[part for part in path if part not in WRAPPERS] for path in paths]
    for head in LEADING_WRAPPERS:
        if found and all(tuple(path[: len(head)]) == head for path in found):
            return unwrapped([path[len(head) :] for path in found])
    return found


VERSION = 1
FILE_NAME = "run.jsonl"

ABSENT = -1.0
"""In a row of norms: the layer had no gradient. It is below every norm, so `max` ignores it."""

Scalar = float | int | str | bool | None

FRAME_KEYS = frozenset({"step", "t", "norms"})
"""Keys of every frame; logged values cannot have these names."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A module that owns parameters directly.

    Parameters
    ----------
    name : str
        Its qualified name, as in ``model.named_modules()``.
    size : int
        Number of parameters; 0 if unknown.

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
        Name and size of each layer, in the order of a frame's norms.
    model : str
        The model's class name; empty without a model.
    parameters : str
        ``"all"`` or ``"weights"``: the parameters of a layer that its norm covers.
    clipping : str
        When the norms were measured: ``"before"`` clipping, ``"after"`` it, ``"none"`` if no
        clipping was seen, or ``"unknown"``, as always before training.
    started : str
        UTC time in ISO 8601.
    config : mapping
        Values that the user stores with the run.
    resumed : bool
        Whether this segment continues an earlier one.
    voices : mapping of str to str
        The user's own voices: name to a pattern over layer names; empty if there are none.
    other : mapping
        Keys that this version does not know; they are kept.
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
    """The record of one step.

    Parameters
    ----------
    step : int
        Number of the optimizer step, from 1.
    t : float
        Seconds since the run started.
    norms : ndarray of float64, shape (layers,)
        The norm of each layer: 0.0 for exactly zero, `ABSENT` for no gradient; may be nan or inf.
    extra : mapping
        Values that were logged for the step: ``loss``, ``lr`` and others.
    updates : ndarray of float64, shape (layers,), optional
        Size of the update of each layer's weights, divided by the size of the weights (L2 norms);
        `ABSENT` for a layer that was not updated. Only in steps in which it was measured.
    """

    step: int
    t: float
    norms: np.ndarray
    extra: Mapping[str, Scalar] = field(default_factory=dict)
    updates: np.ndarray | None = None

    @property
    def loss(self) -> float | None:
        """The logged loss, may be nan or infinite; None if there is none."""
        return loss_of(self.extra)

    def joined(self, late: "Values") -> "Frame":
        """Return the frame with values that were logged late for it.

        Examples
        --------
        >>> Frame(7, 0.1, row([0.5])).joined(Values(7, {"loss": 2.3})).extra
        {'loss': 2.3}
        """
        norms = self.norms if late.norms is None else late.norms
        updates = self.updates if late.updates is None else late.updates
        return Frame(self.step, self.t, norms, {**self.extra, **late.values}, updates)


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Values that were logged for a step after its frame was written.

    Parameters
    ----------
    step : int
        The step of their frame, which comes earlier in the log.
    values : mapping
        Added to the frame's `extra`; a name that it has already gets the new value.
    norms : ndarray of float64, shape (layers,), optional
        Replaces the frame's norms, if the total norm before clipping was logged late.
    updates : ndarray of float64, shape (layers,), optional
        The frame's `updates`, which are measured after its norms.
    """

    step: int
    values: Mapping[str, Scalar]
    norms: np.ndarray | None = None
    updates: np.ndarray | None = None

    @property
    def loss(self) -> float | None:
        """The logged loss, may be nan or infinite; None if there is none."""
        return loss_of(self.values)


def numbers_of(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the logged values that are numbers; they may be nan or infinite.

    Examples
    --------
    >>> numbers_of({"loss": 2.3, "skipped": True, "note": "a", "epoch": 3})
    {'loss': 2.3, 'epoch': 3.0}
    """
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def loss_of(values: Mapping[str, Scalar]) -> float | None:
    """Return the loss among logged values; None if there is none."""
    loss = values.get("loss")
    return float(loss) if isinstance(loss, (int, float)) else None


@dataclass(frozen=True, slots=True)
class Mark:
    """A text at a time, such as an epoch or a change of the learning rate."""

    text: str
    t: float


@dataclass(frozen=True, slots=True)
class Pause:
    """The begin (`begins`) or the end of a pause, in which no step is expected."""

    text: str
    t: float
    begins: bool


@dataclass(frozen=True, slots=True)
class End:
    """The end of a run: reason, time, number of steps, number of dropped lines.

    `clipping` is the header's `clipping` as known at the end; empty if nothing new is known.
    """

    reason: str
    t: float
    steps: int
    dropped: int = 0
    clipping: str = ""


Item = Header | Frame | Mark | Pause | End
"""The items of a run."""

Record = Item | Values
"""The record of one line of a run log."""


def row(norms: Iterable[float | None]) -> np.ndarray:
    """Make a frame's row from norms; None means no gradient.

    Examples
    --------
    >>> row([0.45, None, float("inf")])
    array([ 0.45, -1.  ,   inf])
    """
    return np.array([ABSENT if norm is None else norm for norm in norms], dtype=np.float64)


def combine(norms: np.ndarray, members: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Combine norms of layers to norms of voices: the root of the sum of squares.

    Parameters
    ----------
    norms : ndarray of float64, shape (layers,) or (frames, layers)
        See `gradmidi.log.Frame`.
    members : ndarray of int
        Indices of the layers of all voices, one voice after the other.
    starts : ndarray of int, shape (voices,)
        Where in `members` each voice begins.

    Returns
    -------
    ndarray of float64, shape (voices,) or (frames, voices)
        `ABSENT` if no layer of the voice had a gradient.
    """
    if not len(starts):
        return np.empty((*norms.shape[:-1], 0))
    chosen = norms[..., members]
    absent = chosen < 0.0
    largest = np.maximum.reduceat(chosen, starts, axis=-1)
    # Divide by the voice's largest norm, so that no square overflows or underflows.
    unit = np.where(np.isfinite(largest) & (largest > 0.0), largest, 1.0)
    counts = np.diff(starts, append=len(members))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        parts = np.where(absent, 0.0, chosen) / np.repeat(unit, counts, axis=-1)
        total = unit * np.sqrt(np.add.reduceat(parts * parts, starts, axis=-1))
    total = np.where(np.isnan(largest), largest, total)
    return np.where(largest < 0.0, ABSENT, total)
