"""The summary of a run: what it was, what was wrong, when, and in which layers.

`summarize` reads a run once; everything that is said about a whole run is written from the
`Summary` it returns: `describe`, `run.txt`, the page, the last lines of `listen`, JSON.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gradmidi.detection.history import Fault, FaultLog
from gradmidi.detection.limits import Faults
from gradmidi.log import End, Frame, RunLog
from gradmidi.log.values import chosen, numbers_of
from gradmidi.text.values import Gathered, ValueNumbers

__all__ = ["LayerNumbers", "Summary", "medians", "summarize"]

SAMPLES = 20_000
"""Rows kept for the medians; of a longer run every n-th step counts, and the text says so."""


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

    def to_dict(self) -> dict[str, Any]:
        """Return the summary in types that JSON has: ``"nan"``, ``"inf"`` for such numbers."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


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
    header = log.header
    layers = [_Gathered() for _ in log.layers]
    every = max(1, math.ceil(log.steps / SAMPLES))
    rows: list[np.ndarray] = []
    losses: list[float] = []
    values: dict[str, Gathered] = {}
    if not log.layers and not heard:
        heard = ("*",)
    steps, seconds, ending, dropped = 0, 0.0, "", 0
    clipping = header.clipping
    found = FaultLog(log.layers, limits or Faults(), heard)
    running, age = log.running, log.age
    for item in log.items():
        found.add(item)
        if isinstance(item, Frame):
            if steps % every == 0:
                rows.append(item.norms)
            steps += 1
            seconds, ending = item.t, ""
            for layer, norm in zip(layers, item.norms.tolist(), strict=True):
                layer.add(item.step, norm)
            for name, value in numbers_of(item.extra).items() if heard else ():
                if name not in values and chosen(name, heard):
                    values[name] = Gathered(name)
                if name in values:
                    values[name].add(item.step, value)
            if item.loss is not None:
                losses = [losses[0] if losses else item.loss, item.loss]
        elif isinstance(item, End):
            ending, dropped = item.reason, dropped + item.dropped
            clipping = item.clipping or clipping
    numbers = tuple(
        LayerNumbers(info.name, info.size, median=median, **layer.numbers())
        for info, layer, median in zip(log.layers, layers, medians(rows, len(layers)), strict=True)
    )
    return Summary(
        name=log.name,
        model=header.model,
        steps=steps,
        seconds=seconds,
        ending=ending,
        running=running and not ending,
        age=round(age, 3) if running and not ending else 0.0,
        dropped=dropped,
        unreadable=log.unreadable,
        first_unreadable=log.first_unreadable,
        unmatched=log.unmatched,
        parameters=header.parameters,
        clipping=clipping,
        losses=tuple(losses),
        values=tuple(each.numbers() for each in values.values()),
        every=every,
        layers=numbers,
        faults=found.finish(running=running),
    )


class _Gathered:
    """One layer's numbers, gathered frame by frame."""

    def __init__(self) -> None:
        self.first = self.last = math.nan
        self.largest, self.largest_step = -math.inf, 0
        self.nan = self.inf = self.zero = self.absent = 0
        self.first_nan = self.first_inf = self.zero_since = 0

    def add(self, step: int, norm: float) -> None:
        """Add the next step's norm."""
        if norm == 0.0:
            self.zero += 1
            self.zero_since = self.zero_since or step
        else:
            self.zero_since = 0
        if math.isnan(norm):
            self.nan += 1
            self.first_nan = self.first_nan or step
        elif math.isinf(norm):
            self.inf += 1
            self.first_inf = self.first_inf or step
        elif norm < 0.0:
            self.absent += 1
        else:
            if math.isnan(self.first):
                self.first = norm
            self.last = norm
            if norm > self.largest:
                self.largest, self.largest_step = norm, step

    def numbers(self) -> dict[str, Any]:
        """Return them as keywords of `LayerNumbers`."""
        return vars(self) | ({} if self.largest >= 0.0 else {"largest": math.nan})


def medians(rows: Sequence[np.ndarray], layers: int) -> list[float]:
    """Return the median of each layer's finite norms; nan where it has none."""
    if not rows:
        return [math.nan] * layers
    found = []
    for column in np.stack(rows).T:
        finite = column[np.isfinite(column) & (column >= 0.0)]
        found.append(float(np.median(finite)) if finite.size else math.nan)
    return found
