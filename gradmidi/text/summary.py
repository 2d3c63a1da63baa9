"""The summary of a run: what it was, and what was wrong.

`summarize` reads a run once; everything that is said about a whole run is written from the
`Summary` it returns: `describe`, `run.txt`, the page, the last lines of `listen`, JSON.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gradmidi.detection.history import Fault, FaultLog
from gradmidi.detection.kinds import Faults
from gradmidi.detection.logged import Change
from gradmidi.detection.ranks import RankFaults
from gradmidi.log import End, Header, Item, RunLog, Scalar, numbers_of
from gradmidi.log.blocks import Block
from gradmidi.log.items import loss_of
from gradmidi.log.values import chosen
from gradmidi.text.numbers import (
    SAMPLES,
    Gathered,
    LayerNumbers,
    NormNumbers,
    UpdateNumbers,
    ValueNumbers,
    medians,
)

__all__ = ["Summarizer", "Summary", "summarize"]


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
        How long the run took; 0 where the log has no times.
    timed : bool
        Whether the log has times: those of other tools may have none.
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
    timed: bool
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
    for item in log.blocks():
        gatherer.add(item)
    return gatherer.finish()


class Summarizer:
    """Sums up a run block by block, for a caller that reads the log for something else too.

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
        self._numbers = NormNumbers(len(log.layers))
        self._every = max(1, math.ceil(log.steps / SAMPLES))
        self._sampled: list[np.ndarray] = []
        self._updates = UpdateNumbers()
        self._losses: list[float] = []
        self._steps, self._seconds, self._ending, self._dropped = 0, 0.0, "", 0
        self._clipping = log.header.clipping
        self._ranks = RankFaults(log.path)
        self._ranks.begin(log.header)
        self._finds = faults is None
        self._faults = faults or FaultLog(log.layers, limits or Faults(), self._heard)

    def add(self, item: Item | Block) -> None:
        """Add the log's next item, as `RunLog.blocks` gives it: frames come in blocks."""
        if self._finds:
            self._faults.take(item)
        if isinstance(item, Block):
            self._add_frames(item)
        elif isinstance(item, Header):
            self._ranks.begin(item)
        elif isinstance(item, End):
            self._ending, self._dropped = item.reason, self._dropped + item.dropped
            self._clipping = item.clipping or self._clipping

    def _add_frames(self, block: Block) -> None:
        # A copy: a row would keep its block.
        self._sampled.extend(block.norms[-self._steps % self._every :: self._every].copy())
        self._steps += len(block)
        self._seconds, self._ending = float(block.t[-1]), ""
        self._numbers.add(block)
        self._ranks.add(block)
        for updates in block.updates:
            if updates is not None:
                self._updates.add(updates)
        if self._heard:
            for step, values in zip(block.steps.tolist(), block.extra, strict=True):
                self._hear(step, values)
        losses = [loss for loss in map(loss_of, block.extra) if loss is not None]
        if losses:
            self._losses = [self._losses[0] if self._losses else losses[0], losses[-1]]

    def _hear(self, step: int, values: Mapping[str, Scalar]) -> None:
        for name, value in numbers_of(values).items():
            if name not in self._values and chosen(name, self._heard):
                self._values[name] = Gathered(name)
            if name in self._values:
                self._values[name].add(step, value)

    def finish(self) -> Summary:
        """Return the summary of the items so far."""
        log = self._log
        running = self._running and not self._ending
        timed = log.header.config.get("seconds") != "nominal"
        return Summary(
            name=log.name,
            model=log.header.model,
            steps=self._steps,
            seconds=self._seconds if timed else 0.0,
            timed=timed,
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
            faults=self._ranks.joined(self._faults.finish(running=self._running)),
            changes=tuple(self._faults.watch.settings.changes),
        )

    def _layers(self) -> tuple[LayerNumbers, ...]:
        layers = self._log.layers
        numbers = self._numbers.of(layers, medians(self._sampled, len(layers)))
        sizes = self._updates.numbers(len(layers))
        return tuple(replace(each, **size) for each, size in zip(numbers, sizes, strict=True))
