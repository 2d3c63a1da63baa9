"""The numbers of each layer over a run, gathered many frames at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradmidi.log import Frame, Layer
from gradmidi.log.blocks import Block

__all__ = ["SAMPLES", "LayerNumbers", "NormNumbers", "UpdateNumbers", "medians"]

SAMPLES = 20_000
"""Rows kept for the medians; of a longer run every n-th step counts, and the text says so."""

BATCH = 512
"""Frames whose numbers are gathered at once."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerNumbers:
    """One layer's norms over a run.

    Parameters
    ----------
    name : str
        The layer's name.
    size : int
        How many parameters it has.
    first, median, last, largest : float
        Of its finite norms; nan where there are none.
    largest_step : int
        The step of the largest one; 0 where there is none.
    update, largest_update : float
        Median and largest size of an update, divided by the size of the weights; nan where none
        was measured.
    nan, inf, zero, absent : int
        Steps at which its norm was nan, infinite or exactly zero, or there was no gradient.
    first_nan, first_inf : int
        The first such step; 0 where there is none.
    zero_since : int
        The step from which on it was exactly zero to the end; 0 where it was not.
    """

    name: str
    size: int
    first: float = math.nan
    median: float = math.nan
    last: float = math.nan
    largest: float = math.nan
    largest_step: int = 0
    nan: int = 0
    inf: int = 0
    zero: int = 0
    absent: int = 0
    first_nan: int = 0
    first_inf: int = 0
    zero_since: int = 0
    update: float = math.nan
    largest_update: float = math.nan


class NormNumbers:
    """The numbers of all layers, gathered many frames at a time."""

    def __init__(self, layers: int) -> None:
        self._rows: list[np.ndarray] = []
        self._steps: list[int] = []
        self._floats = {name: np.full(layers, math.nan) for name in ("first", "last")}
        self._largest = np.full(layers, -math.inf)
        names = ("nan", "inf", "zero", "absent", "first_nan", "first_inf", "zero_since")
        self._counts = {name: np.zeros(layers, np.int64) for name in (*names, "largest_step")}

    def add(self, frame: Frame) -> None:
        """Add the next frame."""
        self._rows.append(frame.norms)
        self._steps.append(frame.step)
        if len(self._rows) == BATCH:
            self._gather_rows()

    def of(self, layers: Sequence[Layer], medians: Sequence[float]) -> tuple[LayerNumbers, ...]:
        """Return the numbers of every layer."""
        self._gather_rows()
        largest = np.where(self._largest >= 0.0, self._largest, math.nan)
        columns = {**self._floats, "largest": largest, **self._counts}
        values = {name: column.tolist() for name, column in columns.items()}
        return tuple(
            LayerNumbers(
                layer.name,
                layer.size,
                median=medians[at],
                **{name: column[at] for name, column in values.items()},
            )
            for at, layer in enumerate(layers)
        )

    def add_block(self, block: Block) -> None:
        """Add many frames."""
        self._gather_rows()
        self._gather(block.norms, block.steps)

    def _gather_rows(self) -> None:
        if self._rows:
            self._gather(np.stack(self._rows), np.array(self._steps, np.int64))
            self._rows.clear()
            self._steps.clear()

    def _gather(self, norms: Floats, steps: NDArray[np.int64]) -> None:
        counts, first = self._counts, self._floats["first"]
        highest = norms.max(axis=0)
        if norms.min(initial=math.inf) > 0.0 and (highest < math.inf).all():
            # In most frames all norms are numbers above zero.
            self._floats["first"] = np.where(np.isnan(first), norms[0], first)
            self._floats["last"] = norms[-1].copy()
            counts["zero_since"][:] = 0
            larger = highest > self._largest
            counts["largest_step"][larger] = steps[norms[:, larger].argmax(axis=0)]
            self._largest = np.where(larger, highest, self._largest)
            return
        for name, found in (("nan", np.isnan(norms)), ("inf", norms == math.inf)):
            new = (counts[name] == 0) & found.any(axis=0)
            counts[f"first_{name}"][new] = steps[found.argmax(axis=0)[new]]
            counts[name] += found.sum(axis=0)
        zero = norms == 0.0
        counts["zero"] += zero.sum(axis=0)
        counts["absent"] += (norms < 0.0).sum(axis=0)
        # Where the zeros at the end of these frames begin; they may go on from before.
        length = np.where(zero.all(axis=0), len(norms), (~zero)[::-1].argmax(axis=0))
        since = np.where(length > 0, steps[np.minimum(len(norms) - length, len(norms) - 1)], 0)
        before = (length == len(norms)) & (counts["zero_since"] > 0)
        counts["zero_since"] = np.where(before, counts["zero_since"], since)
        number = np.isfinite(norms) & (norms >= 0.0)
        some = number.any(axis=0)
        at = np.arange(norms.shape[1])
        firsts, lasts = (
            norms[number.argmax(axis=0), at],
            norms[::-1][number[::-1].argmax(axis=0), at],
        )
        self._floats["first"] = np.where(np.isnan(first) & some, firsts, first)
        self._floats["last"] = np.where(some, lasts, self._floats["last"])
        masked = np.where(number, norms, -math.inf)
        peak = masked.argmax(axis=0)
        larger = masked[peak, at] > self._largest
        counts["largest_step"][larger] = steps[peak[larger]]
        self._largest = np.where(larger, masked[peak, at], self._largest)


class UpdateNumbers:
    """Sizes of updates, of which at most `SAMPLES` rows are kept, evenly spread."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self._every = 1
        self._seen = 0
        self._largest: np.ndarray | None = None

    def add(self, row: np.ndarray) -> None:
        """Add the updates of a step."""
        finite = np.where(np.isfinite(row) & (row >= 0.0), row, np.nan)
        self._largest = finite if self._largest is None else np.fmax(self._largest, finite)
        if self._seen % self._every == 0:
            self._rows.append(row)
        self._seen += 1
        if len(self._rows) > SAMPLES:
            del self._rows[1::2]
            self._every *= 2

    def numbers(self, layers: int) -> list[dict[str, Any]]:
        """Return the keywords of `LayerNumbers` for each layer; none if nothing was measured."""
        if self._largest is None:
            return [{} for _ in range(layers)]
        pairs = zip(medians(self._rows, layers), self._largest.tolist(), strict=True)
        return [{"update": median, "largest_update": largest} for median, largest in pairs]


def medians(rows: Sequence[np.ndarray], layers: int) -> list[float]:
    """Return the median of each layer's finite norms; nan where it has none."""
    if not rows:
        return [math.nan] * layers
    found = []
    for column in np.stack(rows).T:
        finite = column[np.isfinite(column) & (column >= 0.0)]
        # The sum of two norms may leave the range of a float, that of their halves does not.
        found.append(2.0 * float(np.median(0.5 * finite)) if finite.size else math.nan)
    return found
