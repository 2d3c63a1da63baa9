"""The summary of a run, what it was and what was wrong, and its verdict in one sentence.

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
from gradmidi.detection.kinds import FAULTS, SLOW, Faults
from gradmidi.detection.logged import Change
from gradmidi.detection.ranks import RankFaults
from gradmidi.log import End, Header, Item, RunLog, Scalar, numbers_of
from gradmidi.log.blocks import Block
from gradmidi.log.items import loss_of
from gradmidi.log.values import chosen
from gradmidi.text.faults import fault_of, ranks_of
from gradmidi.text.numbers import (
    SAMPLES,
    Gathered,
    LayerNumbers,
    NormNumbers,
    UpdateNumbers,
    ValueNumbers,
    medians,
)
from gradmidi.text.words import count, layers_of, logged_value

__all__ = ["Summarizer", "Summary", "broke", "short", "summarize", "verdict"]


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


HAPPENED = {
    "nan": "became nan",
    "inf": "became infinite",
    "exploding": "exploded",
    "dead": "became exactly zero",
    "missing": "lost {} gradient",
    "vanishing": "vanished",
}
"""What happened to layers, by the kind of fault that lasts."""


MOST_NAMED = 3
"""Layers that are named one by one."""


def broke(faults: Sequence[Fault]) -> Fault | None:
    """Return the first fault that broke the run: one that lasts to the end, or an urgent one."""
    return next(iter(_breaking(faults)), None)


def _breaking(faults: Sequence[Fault]) -> list[Fault]:
    return [
        each
        for each in faults
        if FAULTS[each.kind].lasting and (each.to_the_end or FAULTS[each.kind].urgent)
    ]


def verdict(faults: Sequence[Fault]) -> str:
    """Return the verdict on a run: healthy, or what broke, when and where.

    Parameters
    ----------
    faults : sequence of Fault
        All faults of the run, in the order in which they began.

    Examples
    --------
    >>> verdict([Fault("exploding", ("fc1",), (8, 20), (0.8, 2.0), 1e5, 8, present=4)])
    'Broke at step 8: fc1 exploded'
    >>> verdict([Fault("spike", ("fc1",), (312, 312), (31.2, 31.2), 57.5, 312, present=4)])
    'Did not break; 1 fault, spike in fc1 at step 312'
    >>> loss = Fault("exploding", (), (4, 14), (0.4, 1.4), 3.6e7, 4, logged="loss")
    >>> verdict([loss, Fault("exploding", ("fc1",), (5, 20), (0.5, 2.0), 1e5, 8, present=4)])
    'Broke at step 4: the loss exploded; step 5: fc1 exploded'
    >>> dead = Fault("dead", ("fc1", "fc2"), (21, 90), (2.1, 9.0), 0.0, 33, True, present=2)
    >>> verdict([Fault("exploding", ("fc1",), (8, 20), (0.8, 2.0), 1e5, 8, present=2), dead])
    'Broke at step 8: fc1 exploded; step 21: all layers became exactly zero'
    >>> verdict([])
    'Healthy'
    """
    if not faults:
        return "Healthy"
    breaking = _breaking(faults)
    if breaking:
        stages = breaking[:1]
        # The loss alone does not say where.
        stages += [each for each in breaking if each.layers][:1]
        # How most layers ended is what is seen and heard for the rest of the run.
        stages += [
            each for each in breaking if each.to_the_end and 2 * len(each.layers) > each.present > 0
        ][-1:]
        told = dict.fromkeys(f"step {each.steps[0]}: {_happened(each)}" for each in stages)
        return f"Broke at {'; '.join(told)}"
    first = faults[0]
    step = first.steps[0]
    if first.kind == "died":
        return f"Stopped at step {step}: the log has no end"
    what = fault_of(first).partition(" (")[0]
    first_of = "the first: " if len(faults) > 1 else ""
    return f"Did not break; {count(len(faults), 'fault')}, {first_of}{what} at step {step}"


def short(found: Fault) -> str:
    """Return a fault in a few words, for a picture.

    Examples
    --------
    >>> short(Fault("dead", ("fc1",), (12, 60), (1.2, 6.0), 0.0, 24, True, present=4))
    'fc1 dead'
    """
    if found.logged:
        return f"{found.logged} {found.kind}"
    if found.kind == SLOW.name:
        return f"{ranks_of(found.ranks)} {found.kind}"
    if not found.layers:
        return f"run {found.kind}"
    if len(found.layers) == 1:
        return f"{found.layers[0]} {found.kind}"
    who = "all" if len(found.layers) >= found.present > 0 else f"{len(found.layers):,}"
    return f"{who} layers {found.kind}"


def _happened(found: Fault) -> str:
    happened = HAPPENED[found.kind]
    where = f" on {ranks_of(found.ranks)} first" if found.ranks else ""
    if found.logged:
        return f"{logged_value(found.logged)} {happened}{where}"
    who = layers_of(found.layers, found.present or len(found.layers) + 1)[0]
    if len(found.layers) > MOST_NAMED and who != "all layers":
        who = f"{found.layers[0]} and {len(found.layers) - 1:,} more layers"
        if 2 * len(found.layers) > found.present > 0:
            who = f"{len(found.layers):,} of {found.present:,} layers"
    return f"{who} {happened.format('its' if len(found.layers) == 1 else 'their')}{where}"
