"""A run in plain text: lines that each stand alone, for a terminal and for a screen reader."""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradmidi.base.messages import printable
from gradmidi.detection.history import Fault, FaultLog
from gradmidi.detection.kinds import FAULTS, Faults
from gradmidi.detection.ranks import RankFaults
from gradmidi.log import End, Frame, Header, Layer, RunLog, numbers_of
from gradmidi.log.blocks import Block
from gradmidi.log.values import chosen
from gradmidi.text.faults import fault_of
from gradmidi.text.numbers import LayerNumbers, medians
from gradmidi.text.numbers import lines as value_lines
from gradmidi.text.summary import Summary, summarize
from gradmidi.text.words import (
    ago,
    count,
    duration,
    layers_of,
    norm,
    number,
    unread,
    when,
)

__all__ = ["Standing", "describe", "fault_line", "faults_line", "lines_of", "standing"]

RECENT = 16
"""Frames before the last whose median says which way a norm goes."""

MOVED = 2.0**0.25
"""A norm that grew or fell by this is called up or down: a quarter of a doubling."""


def describe(log: RunLog, limits: Faults | None = None, heard: Sequence[str] = ()) -> Iterator[str]:
    """Describe a run in lines; the arguments are those of `summarize`."""
    yield from lines_of(summarize(log, limits, heard))


def lines_of(summary: Summary) -> Iterator[str]:
    """Write a summary in lines, as `describe` gives them."""
    return map(printable, _lines(summary))


def _lines(summary: Summary) -> Iterator[str]:
    model = f"{summary.model}, " if summary.model else ""
    running = f"still running, last step {ago(summary.age)}"
    ending = summary.ending or (running if summary.running else "not closed")
    dropped = f", {count(summary.dropped, 'line')} dropped" if summary.dropped else ""
    took = f" in {duration(summary.seconds)}" if summary.timed else " at unknown times"
    yield (
        f"run {summary.name}: {model}{count(len(summary.layers), 'layer')}, "
        f"{count(summary.steps, 'step')}{took}, {ending}{dropped}"
    )
    yield count(len(summary.faults), "fault") if summary.faults else "no faults"
    for each in summary.faults:
        yield fault_line(each)
    for change in summary.changes:
        yield (
            f"step {change.step}: {change.name} changed from {change.before} to {change.after}; "
            "norms and loss are compared with those from here on"
        )
    covers = "; ".join(
        filter(None, (_COVER.get(summary.parameters), _CLIPPING.get(summary.clipping)))
    )
    if covers and summary.layers:
        yield f"norms: {covers}"
    yield from value_lines(summary.values)
    if summary.losses and not any(value.name == "loss" for value in summary.values):
        yield f"loss: first {number(summary.losses[0])}, last {number(summary.losses[-1])}"
    if summary.unreadable:
        yield unread(summary.unreadable, summary.first_unreadable)
    if summary.unmatched:
        yield (
            f"left out: {count(summary.unmatched, 'line')} of values logged late, for steps that "
            "the log does not hold"
        )
    sampled = f" (of every {summary.every}th step)" if summary.every > 1 else ""
    for layer in summary.layers:
        # Other tools' logs do not say how many parameters a layer has.
        name = layer.name + (f" ({count(layer.size, 'parameter')})" if layer.size else "")
        if math.isnan(layer.first):
            yield f"{name}: no finite norm"
            continue
        yield (
            f"{name}: first {number(layer.first)}, median {number(layer.median)}{sampled}, "
            f"last {number(layer.last)}, largest {number(layer.largest)} "
            f"at step {layer.largest_step}"
        )
    for layer in summary.layers:
        if math.isfinite(layer.update):
            yield (
                f"{layer.name}: update, as a share of the weights: median "
                f"{number(layer.update)}, largest {number(layer.largest_update)}"
            )
    yield from _odd(summary.layers)


def _odd(layers: Sequence[LayerNumbers]) -> Iterator[str]:
    """Say which layers had norms that are no numbers above zero; equal lines are one."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        texts = []
        if layer.nan:
            texts.append(f"nan at {count(layer.nan, 'step')}, first at step {layer.first_nan}")
        if layer.inf:
            texts.append(f"inf at {count(layer.inf, 'step')}, first at step {layer.first_inf}")
        if layer.zero_since:
            texts.append(f"exactly zero from step {layer.zero_since} to the end")
        elif layer.zero:
            texts.append(f"exactly zero at {count(layer.zero, 'step')}")
        if layer.absent:
            texts.append(f"no gradient at {count(layer.absent, 'step')}")
        for text in texts:
            found.setdefault(text, []).append(layer.name)
    for text, names in found.items():
        who, beside = layers_of(names, len(layers))
        yield f"{who}{f' ({beside})' if beside else ''}: {text}"


def fault_line(found: Fault) -> str:
    """Return one fault as a line.

    Examples
    --------
    >>> fault_line(Fault("spike", ("fc1",), (312, 312), (3.1, 3.1), 57.5, 312, present=4))
    'step 312: spike in fc1 (norm 57.5)'
    >>> fault_line(Fault("dead", ("c",), (12, 60), (1.2, 6.0), 0.0, 24, True, present=4))
    'step 12 to the end: c dead'
    """
    first, last = found.steps
    ends = None if found.to_the_end else last
    usual = "; from then on it counts as usual" if found.usual else ""
    return f"{when(first, ends)}: {fault_of(found)}{usual}"


def faults_line(found: Sequence[Fault]) -> str:
    """Return how many faults there were, and which was the first; empty where there was none.

    Examples
    --------
    >>> faults_line([Fault("exploding", ("a", "b"), (6, 9), (0.6, 0.9), 2.471e5, 9, present=2)])
    '1 fault, at step 6: all layers exploding (total norm 2.5e5)'
    """
    if not found:
        return ""
    first = found[0]
    text = f"at step {first.steps[0]}: {fault_of(first)}"
    if len(found) == 1:
        return f"1 fault, {text}"
    return f"{count(len(found), 'fault')}. First, {text}"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands, from one reading of its log.

    Parameters
    ----------
    name : str
        Name of the run.
    layers : tuple of Layer
        Its layers.
    last : Frame or None
        The last frame.
    usual : list of float
        Median norm of each layer in the frames before.
    ending : str
        How the run has ended, or that it goes on.
    wrong : tuple of Fault
        The faults that go on.
    stalled : float or None
        Seconds without a step, if the run is stalled.
    values : dict of str to tuple of float
        First and last number of each logged value that is told.
    past : Fault or None
        The last fault.
    """

    name: str
    layers: tuple[Layer, ...]
    last: Frame | None
    usual: Sequence[float]
    ending: str
    wrong: tuple[Fault, ...]
    stalled: float | None
    values: Mapping[str, tuple[float, float]]
    past: Fault | None

    @property
    def kinds(self) -> set[str]:
        """The kinds of the faults that go on."""
        kinds = {each.kind for each in self.wrong}
        return kinds if self.stalled is None else {*kinds, "stalled"}

    def lines(self) -> Iterator[str]:
        """Write it in lines, with no markup, that each make sense on their own."""
        return map(printable, self._lines())

    def _lines(self) -> Iterator[str]:
        if self.last is None:
            yield f"run {self.name}: no step yet"
            return
        yield f"run {self.name}: step {self.last.step} at {number(self.last.t, 3)} s, {self.ending}"
        for each in self.wrong:
            yield f"{fault_of(each)}, since step {each.steps[0]}"
        if self.stalled is not None:
            yield f"the run stalled: no step for {self.stalled:.0f} s"
        if not self.kinds:
            yield "nothing is wrong now"
        for name, (first, value) in self.values.items():
            yield f"{name} {number(value)}, first {number(first)}"
        norms = self.last.norms.tolist()
        for info, value, before in zip(self.layers, norms, self.usual, strict=True):
            yield f"{info.name} {_now(value, before)}"
        if self.past is not None:
            yield f"last fault, {fault_line(self.past)}"


def standing(
    log: RunLog,
    now: float | None = None,
    limits: Faults | None = None,
    heard: Sequence[str] = (),
) -> Standing:
    """Read where a run stands: its last step, each layer's norm, and what is wrong with it.

    Parameters
    ----------
    log : RunLog
        A run that goes on, or one that is over.
    now : float, optional
        Seconds since the epoch, from which the log's age is counted; by default the clock.
    limits, heard
        As of `describe`.

    Returns
    -------
    Standing
    """
    age = log.age if now is None else max(0.0, now - log.path.stat().st_mtime)
    faults = FaultLog(log.layers, limits or Faults(), heard)
    values: dict[str, tuple[float, float]] = {}
    last: Frame | None = None
    recent: deque[np.ndarray] = deque(maxlen=RECENT)
    end: End | None = None
    running = log.running
    ranks = RankFaults(log.path)
    ranks.begin(log.header)
    for item in log.items():
        faults.add(item)
        end = item if isinstance(item, End) else None
        if isinstance(item, Header):
            ranks.begin(item)
        elif isinstance(item, Frame):
            if last is not None:
                recent.append(last.norms)
            last = item
            if ranks.waits_for(item.step):
                ranks.add(Block.of([item]))
            for name, value in numbers_of(item.extra).items():
                values[name] = values.get(name, (value,))[0], value
    going = f"{'still running' if running else 'not closed'}, last step {ago(age)}"
    stalled = end is None and bool(faults.watch.overdue((last.t if last else 0.0) + age))
    told = sorted(values, key=lambda name: name != "loss")
    past = ranks.joined(faults.so_far())
    wrong = [each for each in ranks.joined(faults.going_on()) if each.to_the_end]
    return Standing(
        log.name,
        log.layers,
        last,
        medians(list(recent), len(log.layers)),
        end.reason if end else going,
        tuple(sorted(wrong, key=lambda each: -FAULTS[each.kind].gravity)),
        age if stalled else None,
        {
            name: values[name]
            for name in told
            if name == "loss" or not log.layers or (heard and chosen(name, heard))
        },
        past[-1] if past else None,
    )


def _now(value: float, before: float) -> str:
    """Return a layer's norm, and which way it goes from the median of the frames before."""
    finite = math.isfinite(value) and value > 0.0
    way = " up" if value > before * MOVED else " down" if value * MOVED < before else ""
    return f"{norm(value)}{way if finite else ''}"


_CLIPPING = {
    "before": "from before clipping",
    "after": "from after clipping",
    "none": "gradients were not clipped",
    "unknown": "",
}
_COVER = {"all": "", "weights": "weights only"}
