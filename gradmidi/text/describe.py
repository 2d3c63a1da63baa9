"""A run in plain text: lines that each stand alone, for a terminal and for a screen reader."""

import math
import time
from collections import deque
from collections.abc import Iterator

import numpy as np

from gradmidi.detection.detector import Finding, Watch
from gradmidi.detection.limits import Faults
from gradmidi.log import End, Frame, RunLog

__all__ = ["describe", "describe_now", "fault_line"]

SAMPLES = 20_000
"""Rows kept for the medians; a longer run gives every n-th step to them, and says so."""


FAULTS = 100
"""Faults told one by one."""

RECENT = 16
"""Frames before the last whose median says which way a norm goes."""

MOVED = 2.0**0.25
"""A norm that grew or fell by this is called up or down: a quarter of a doubling."""


class _Layer:
    """What is told of one layer, gathered frame by frame."""

    def __init__(self) -> None:
        self.first = self.last = math.nan
        self.largest, self.largest_step = -math.inf, 0
        self.zeros = self.absent = 0
        self.zero_since: int | None = None
        self.odd: dict[str, tuple[int, int]] = {}

    def add(self, step: int, norm: float) -> None:
        if not math.isfinite(norm):
            kind = "nan" if math.isnan(norm) else "inf"
            first, count = self.odd.get(kind, (step, 0))
            self.odd[kind] = (first, count + 1)
            self.zero_since = None
            return
        if norm < 0.0:
            self.absent += 1
            self.zero_since = None
            return
        if norm == 0.0:
            self.zeros += 1
            if self.zero_since is None:
                self.zero_since = step
        else:
            self.zero_since = None
        if math.isnan(self.first):
            self.first = norm
        self.last = norm
        if norm > self.largest:
            self.largest, self.largest_step = norm, step


def describe(log: RunLog, limits: Faults | None = None) -> Iterator[str]:
    """Tell a run in lines: what it was, then each layer's numbers, then what was wrong.

    Parameters
    ----------
    log : RunLog
        A finished or a still growing run.
    limits : Faults, optional
        What is wrong: a preset's ``[faults]``; by default those that presets begin with.

    Yields
    ------
    str
        One line each, with no markup, that makes sense on its own.
    """
    layers = [_Layer() for _ in log.layers]
    every = max(1, math.ceil(log.steps / SAMPLES))
    rows: list[np.ndarray] = []
    losses: list[float] = []
    steps, seconds, ending = 0, 0.0, "not closed: still running, or killed"
    clipping = log.header.clipping
    watch = Watch(log.layers, limits or Faults())
    found: list[Finding] = []
    for item in log.items():
        found += watch.add(item)
        if isinstance(item, Frame):
            if steps % every == 0:
                rows.append(item.norms)
            steps += 1
            seconds = item.t
            for layer, norm in zip(layers, item.norms.tolist(), strict=True):
                layer.add(item.step, norm)
            if item.loss is not None:
                losses = [losses[0] if losses else item.loss, item.loss]
        elif isinstance(item, End):
            ending = item.reason
            clipping = item.clipping or clipping
            if item.dropped:
                ending += f", {item.dropped} lines dropped"
    header = log.header
    model = f"{header.model}, " if header.model else ""
    yield (
        f"run {log.name}: {model}{_count(len(layers), 'layer')}, {_count(steps, 'step')} "
        f"in {seconds:.3g} s, {ending}"
    )
    yield f"norms cover {_COVER[header.parameters]}, {_CLIPPING.get(clipping, clipping)}"
    if losses:
        yield f"loss: first {losses[0]:.4g}, last {losses[-1]:.4g}"
    if log.unreadable:
        yield (
            f"left out as unreadable: {_count(log.unreadable, 'line')}, "
            f"the first is line {log.first_unreadable}"
        )
    if log.unmatched:
        yield (
            f"left out: {_count(log.unmatched, 'line')} of values logged late, for steps that "
            "the log does not hold"
        )
    medians = _medians(rows, len(layers))
    sampled = f" (of every {every}th step)" if every > 1 else ""
    for info, layer, median in zip(log.layers, layers, medians, strict=True):
        size = f"{info.name}, {_count(info.size, 'number')}"
        if math.isnan(layer.first):
            yield f"{size}: no finite norm"
            continue
        yield (
            f"{size}: first {layer.first:.4g}, median {median:.4g}{sampled}, "
            f"last {layer.last:.4g}, largest {layer.largest:.4g} at step {layer.largest_step}"
        )
    for info, layer in zip(log.layers, layers, strict=True):
        for kind, (first, count) in layer.odd.items():
            yield f"{info.name}: {kind} at {_count(count, 'step')}, first at step {first}"
        if layer.zero_since is not None:
            yield f"{info.name}: dead, exactly zero from step {layer.zero_since} to the end"
        elif layer.zeros:
            yield f"{info.name}: exactly zero at {_count(layer.zeros, 'step')}"
        if layer.absent:
            yield f"{info.name}: no gradient at {_count(layer.absent, 'step')}"
    yield from _faults(log, [*found, *watch.finish()])


def describe_now(
    log: RunLog, now: float | None = None, limits: Faults | None = None
) -> Iterator[str]:
    """Tell where a run stands: its last step, each layer's norm, and what is wrong with it.

    Parameters
    ----------
    log : RunLog
        A run that goes on, or one that is over.
    now : float, optional
        Seconds since the epoch, to tell how long ago the log was written; by default the clock.
    limits : Faults, optional
        As of `describe`.

    Yields
    ------
    str
        One line each, with no markup, that makes sense on its own.
    """
    age = max(0.0, (time.time() if now is None else now) - log.path.stat().st_mtime)
    watch = Watch(log.layers, limits or Faults())
    last: Frame | None = None
    recent: deque[np.ndarray] = deque(maxlen=RECENT)
    losses: list[float] = []
    found: list[Finding] = []
    end: End | None = None
    for item in log.items():
        found += watch.add(item)
        end = item if isinstance(item, End) else None
        if isinstance(item, Frame):
            if last is not None:
                recent.append(last.norms)
            last = item
            if item.loss is not None:
                losses = [losses[0] if losses else item.loss, item.loss]
    if last is None:
        yield f"run {log.name}: no step yet"
        return
    told = end.reason if end else f"written {age:.0f} s ago"
    yield f"run {log.name}: step {last.step} at {last.t:.3g} s, {told}"
    if losses:
        yield f"loss {losses[1]:.4g}, first {losses[0]:.4g}"
    usual = _medians(list(recent), len(log.layers))
    for info, norm, before in zip(log.layers, last.norms.tolist(), usual, strict=True):
        yield f"{info.name} {_now(norm, before)}"
    stalled = watch.overdue(last.t + age) if end is None else ()
    lasting = watch.lasting
    for kind, index in lasting:
        where = log.layers[index].name if index >= 0 else "the whole run"
        yield f"{kind} now: {where}"
    if stalled:
        yield f"stalled now: no step for {age:.0f} s"
    if not lasting and not stalled:
        yield "nothing is wrong now"
    if found:
        name = log.layers[found[-1].layer].name if found[-1].layer >= 0 else ""
        yield "last fault, " + fault_line(found[-1].kind, name, found[-1].step, found[-1].value)


def _now(norm: float, before: float) -> str:
    """Tell a layer's norm, and which way it goes from the median of the frames before."""
    if norm == 0.0:
        return "norm exactly zero"
    if norm < 0.0:
        return "no gradient"
    if not math.isfinite(norm):
        return f"norm {norm}"
    way = " up" if norm > before * MOVED else " down" if norm * MOVED < before else ""
    return f"norm {norm:.4g}{way}"


def fault_line(kind: str, layer: str, step: int, value: float) -> str:
    """Tell one fault in one plain line.

    Examples
    --------
    >>> fault_line("spike", "fc1", 312, 57.5)
    'step 312: spike in fc1, 57.5'
    """
    if kind in ("stalled", "died"):
        return f"step {step}: the run {kind}"
    return f"step {step}: {kind} in {layer or 'the whole run'}, {value:.4g}"


def _faults(log: RunLog, found: list[Finding]) -> Iterator[str]:
    if not found:
        yield "no faults"
        return
    yield f"faults: {len(found):,}" + (f", the first {FAULTS} are" if len(found) > FAULTS else "")
    for each in found[:FAULTS]:
        layer = log.layers[each.layer].name if each.layer >= 0 else ""
        yield fault_line(each.kind, layer, each.step, each.value)


_CLIPPING = {
    "before": "from before clipping",
    "after": "from after clipping",
    "none": "no clipping was seen",
    "unknown": "clipping unknown",
}
_COVER = {"all": "all parameters", "weights": "weights alone"}


def _medians(rows: list[np.ndarray], layers: int) -> list[float]:
    if not rows:
        return [math.nan] * layers
    table = np.stack(rows)
    medians = []
    for column in table.T:
        finite = column[np.isfinite(column) & (column >= 0.0)]
        medians.append(float(np.median(finite)) if finite.size else math.nan)
    return medians


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
