"""The summary of a run: what it was, what was wrong, when, and in which layers.

`summarize` reads a run once; everything that is said about a whole run is written from the
`Summary` it returns: `describe`, `run.txt`, the page, the last lines of `listen`, JSON.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gradmidi.detection.history import Fault, FaultLog
from gradmidi.detection.limits import Faults
from gradmidi.detection.settings import Change
from gradmidi.log import End, Frame, Item, Layer, RunLog, numbers_of
from gradmidi.log.values import chosen
from gradmidi.text.values import Gathered, ValueNumbers

__all__ = ["LayerNumbers", "Summarizer", "Summary", "medians", "summarize"]

SAMPLES = 20_000
"""Rows kept for the medians; of a longer run every n-th step counts, and the text says so."""


BATCH = 512
"""Frames whose numbers are gathered at once."""


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


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole run, summed up.

    Parameters
    ----------
    name : str
        The run's name.
    model : str
        The model's class; empty where there is none.
    steps : int
        Steps in the log.
    seconds : float
        How long the run took.
    ending : str
        How it ended, as the log says; empty where the log has no end.
    running : bool
        Whether it is still being written.
    age : float
        Seconds since the log was last written, of a run that is still being written; else 0.
    dropped : int
        Lines that could not be written.
    unreadable, first_unreadable : int
        Lines that could not be read, and the number of the first one; 0 where there is none.
    unmatched : int
        Lines of values logged late for steps that the log does not hold.
    parameters : {"all", "weights"}
        Which parameters the norms cover.
    clipping : {"before", "after", "none", "unknown"}
        Whether norms are from before or after clipping, or there was none.
    losses : tuple of float
        The first and the last logged loss; empty where none was logged.
    values : tuple of ValueNumbers
        The logged values that are heard: in a run without layers all.
    every : int
        The medians are of every n-th step.
    layers : tuple of LayerNumbers
        Each layer's norms.
    faults : tuple of Fault
        What was wrong, in the order in which it began.
    changes : tuple of Change
        Changes of logged settings, such as a batch size.
    """

    name: str
    model: str
    steps: int
    seconds: float
    ending: str
    running: bool
    age: float
    dropped: int
    unreadable: int
    first_unreadable: int
    unmatched: int
    parameters: str
    clipping: str
    losses: tuple[float, ...]
    values: tuple[ValueNumbers, ...]
    every: int
    layers: tuple[LayerNumbers, ...]
    faults: tuple[Fault, ...]
    changes: tuple[Change, ...] = ()

    def to_json(self) -> str:
        """Return the summary as a JSON object: ``"nan"``, ``"inf"`` for such numbers."""
        return json.dumps(_plain(asdict(self)), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def summarize(log: RunLog, limits: Faults | None = None, heard: Sequence[str] = ()) -> Summary:
    """Read a run once and sum it up.

    Parameters
    ----------
    log : RunLog
        A run that is over, or one that still goes on.
    limits : Faults, optional
        A preset's ``[faults]``; by default the shipped presets' own.
    heard : sequence of str, default ()
        Names or patterns of the logged values that are heard beside layers: a preset's
        ``values.which``.

    Returns
    -------
    Summary
    """
    gatherer = Summarizer(log, limits, heard)
    for item in log.items():
        gatherer.add(item)
    return gatherer.finish()


class Summarizer:
    """Sums up a run item by item, for a caller that reads the log for something else too.

    `faults` is one to which the caller adds the items.
    """

    def __init__(
        self,
        log: RunLog,
        limits: Faults | None = None,
        heard: Sequence[str] = (),
        faults: FaultLog | None = None,
    ) -> None:
        self._log = log
        self._heard = tuple(heard) if log.layers or heard else ("*",)
        self._values: dict[str, Gathered] = {}
        self._running, self._age = log.running, log.age
        self._numbers = _Numbers(len(log.layers))
        self._every = max(1, math.ceil(log.steps / SAMPLES))
        self._sampled: list[np.ndarray] = []
        self._updates = _Updates()
        self._losses: list[float] = []
        self._steps, self._seconds, self._ending, self._dropped = 0, 0.0, "", 0
        self._clipping = log.header.clipping
        self._finds = faults is None
        self._faults = faults or FaultLog(log.layers, limits or Faults(), self._heard)

    def add(self, item: Item) -> None:
        """Add the log's next item."""
        if self._finds:
            self._faults.add(item)
        if isinstance(item, Frame):
            if self._steps % self._every == 0:
                self._sampled.append(item.norms)
            self._steps += 1
            self._seconds, self._ending = item.t, ""
            self._numbers.add(item)
            if item.updates is not None:
                self._updates.add(item.updates)
            for name, value in numbers_of(item.extra).items() if self._heard else ():
                if name not in self._values and chosen(name, self._heard):
                    self._values[name] = Gathered(name)
                if name in self._values:
                    self._values[name].add(item.step, value)
            loss = item.loss
            if loss is not None:
                self._losses = [self._losses[0] if self._losses else loss, loss]
        elif isinstance(item, End):
            self._ending, self._dropped = item.reason, self._dropped + item.dropped
            self._clipping = item.clipping or self._clipping

    def finish(self) -> Summary:
        """Return the summary of the items so far."""
        log = self._log
        running = self._running and not self._ending
        return Summary(
            name=log.name,
            model=log.header.model,
            steps=self._steps,
            seconds=self._seconds,
            ending=self._ending,
            running=running,
            age=round(self._age, 3) if running else 0.0,
            dropped=self._dropped,
            unreadable=log.unreadable,
            first_unreadable=log.first_unreadable,
            unmatched=log.unmatched,
            parameters=log.header.parameters,
            clipping=self._clipping,
            losses=tuple(self._losses),
            values=tuple(each.numbers() for each in self._values.values()),
            every=self._every,
            layers=self._layers(),
            faults=self._faults.finish(running=self._running),
            changes=tuple(self._faults.watch.settings.changes),
        )

    def _layers(self) -> tuple[LayerNumbers, ...]:
        layers = self._log.layers
        numbers = self._numbers.of(layers, medians(self._sampled, len(layers)))
        sizes = self._updates.numbers(len(layers))
        return tuple(replace(each, **size) for each, size in zip(numbers, sizes, strict=True))


class _Numbers:
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
            self._gather()

    def of(self, layers: Sequence[Layer], medians: Sequence[float]) -> tuple[LayerNumbers, ...]:
        """Return the numbers of every layer."""
        self._gather()
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

    def _gather(self) -> None:
        if not self._rows:
            return
        norms, steps, counts = np.stack(self._rows), np.array(self._steps), self._counts
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
        first = self._floats["first"]
        self._floats["first"] = np.where(np.isnan(first) & some, firsts, first)
        self._floats["last"] = np.where(some, lasts, self._floats["last"])
        masked = np.where(number, norms, -math.inf)
        peak = masked.argmax(axis=0)
        larger = masked[peak, at] > self._largest
        counts["largest_step"][larger] = steps[peak[larger]]
        self._largest = np.where(larger, masked[peak, at], self._largest)
        self._rows.clear()
        self._steps.clear()


class _Updates:
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
        found.append(float(np.median(finite)) if finite.size else math.nan)
    return found
