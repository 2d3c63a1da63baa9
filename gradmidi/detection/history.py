"""The faults of a whole run: each kind in which layers, from which step to which."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradmidi.detection.blocks import BlockWatch
from gradmidi.detection.kinds import KINDS, Faults, Finding
from gradmidi.detection.lasting import below
from gradmidi.detection.reports import total
from gradmidi.log import ABSENT, Frame, Item, Layer
from gradmidi.log.blocks import Block

__all__ = ["Fault", "FaultLog"]

TOGETHER = 8
"""Layers that get the same kind of fault within this many steps have it together."""

RELEARNT = frozenset({"exploding", "vanishing"})
"""Kinds after which what has become of a norm or a loss counts as usual, if they last long."""

STAYS = 2.0
"""A norm that has not come back by this factor since it was found counts as usual too."""

REMEMBERED = 256
"""Steps whose times are kept, to say when a fault began."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a run, from the step it began at to the last one that had it.

    Parameters
    ----------
    kind : str
        One of `gradmidi.detection.kinds.FAULTS`.
    layers : tuple of str
        The layers that have it, from input to output; none where it is the run's own, or of a
        logged value.
    steps : tuple of (int, int)
        The step at which it began, and the last one that had it.
    seconds : tuple of (float, float)
        When these steps were, in seconds since the start of the run.
    value : float
        The norm over these layers when the fault was found, may be nan or inf; the logged value;
        of a stalled run the seconds without a step.
    found : int
        The step at which it was found; a lasting fault is reported some steps after it began.
    to_the_end : bool
        Whether it lasted until the log ends.
    present : int
        How many layers had a gradient at step `found`, or no longer had one.
    logged : str
        The name of the logged value that has it, such as ``"loss"``; empty for all others.
    first : tuple of str
        Of ``nan`` and ``inf``, which spread within a few steps, the layers that had it at step
        `found`, if more have it later.
    below : str
        If the layers, or the first ones, are a row of neighbours, the layer that comes next,
        towards the output.
    usual : bool
        Whether it ended because what has become of the norm or the loss counts as usual: it had
        lasted long, or the loss has fallen since.
    ranks : tuple of int
        The processes that had it first, if this is known; of ``slow`` those that were slow.
    others : float
        Of ``slow``: median seconds of the other processes' own work in a step; `value` has those
        of the slow ones.

    Examples
    --------
    >>> fault = Fault("dead", ("fc1",), (12, 60), (1.2, 6.0), 0.0, found=24, present=4)
    >>> fault.layers, fault.steps
    (('fc1',), (12, 60))
    """

    kind: str
    layers: tuple[str, ...]
    steps: tuple[int, int]
    seconds: tuple[float, float]
    value: float
    found: int
    to_the_end: bool = False
    present: int = 0
    logged: str = ""
    first: tuple[str, ...] = ()
    below: str = ""
    usual: bool = False
    ranks: tuple[int, ...] = ()
    others: float = 0.0


class _Open:
    """A fault that goes on, or has just ended."""

    def __init__(self, kind: str, step: int, seconds: float, found: int) -> None:
        self.kind = kind
        self.layers: set[int] = set()
        self.active: set[int] = set()
        self.first, self.begun = step, seconds
        self.last, self.ended = found, seconds
        self.found = found
        self.value = math.nan
        self.present = 0
        self.logged = ""
        self.origin: set[int] = set()
        # The frames, counted from the first, in which it was found and in which a layer's ended.
        self.at = self.over = 0
        # The norm of each layer when it was found.
        self.norms: dict[int, float] = {}
        self.usual = False

    def stays(self, layer: int, norm: float) -> bool:
        """Return whether a norm is about what it was when it was found, or further away."""
        found = self.norms.get(layer, math.nan)
        return norm > found / STAYS if self.kind == "exploding" else 0.0 <= norm < found * STAYS


class FaultLog:
    """Joins what a `Watch` finds, item by item, to faults with a first and a last step.

    Parameters
    ----------
    layers : sequence of Layer
        The run's layers.
    limits : Faults
        A preset's ``[faults]``.
    heard : sequence of str, default ()
        Names or patterns of the logged values that are heard, as for `Watch`.
    watch : BlockWatch, optional
        One with these layers and limits that has seen no item yet; by default a new one.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        limits: Faults,
        heard: Sequence[str] = (),
        watch: BlockWatch | None = None,
    ) -> None:
        self.watch = watch or BlockWatch(layers, limits, heard)
        self._names = [layer.name for layer in layers]
        self._cooldown, self._relearn = limits.cooldown, limits.relearn
        self._faults: list[_Open] = []
        self._active = {kind: np.zeros(len(layers), np.bool_) for kind in self.watch.lasting}
        self._values: dict[tuple[str, str], _Open] = {}
        self._times: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)
        self._following = False
        self._frames = self._judged = 0

    def spans(self, block: Block) -> Iterator[tuple[int, int, bool]]:
        """Take a block of frames, as `BlockWatch.spans` does."""
        for begin, end, calm in self.watch.spans(block):
            if calm:
                self._take(block.part(begin, end))
            yield begin, end, calm

    def _take(self, block: Block) -> None:
        """Take frames with nothing wrong."""
        if self._following:
            self._following = False
            self._take(block.part(0, 1))
            self._follow(block.frame(0))
            block = block.part(1, len(block))
        recent = block.part(-REMEMBERED, len(block))
        self._times.extend(zip(recent.steps.tolist(), recent.t.tolist(), strict=True))
        self._frames += len(block)
        self._judged = int(block.steps[-1])

    def take(self, item: Item | Block) -> None:
        """Take the log's next item, or many frames, as `add` does with each."""
        if not isinstance(item, Block):
            self.add(item)
            return
        for begin, end, calm in self.spans(item):
            for frame in () if calm else item.part(begin, end).frames():
                self.add(frame)

    def add(self, item: Item) -> tuple[Finding, ...]:
        """Take the log's next item; return what was found in it."""
        findings = self.watch.add(item)
        if isinstance(item, Frame):
            self._times.append((item.step, item.t))
            self._frames += 1
            if not item.extra.get("skipped"):
                self._judged = item.step
            if self._following or self.watch.has_lasting:
                self._following = self.watch.has_lasting
                self._follow(item)
        for finding in findings:
            self._note(finding, item if isinstance(item, Frame) else None)
        return findings

    def finish(self, *, running: bool = False) -> tuple[Fault, ...]:
        """Take the end of the log; return all faults, in the order in which they began.

        `running`: the log is still being written, so that a missing end is no fault.
        """
        if not running:
            self.end()
        return self.so_far()

    def end(self) -> tuple[Finding, ...]:
        """Take the end of a log that is no longer written; return what was found in it."""
        findings = self.watch.finish()
        for finding in findings:
            self._note(finding, None)
        return findings

    def so_far(self) -> tuple[Fault, ...]:
        """Return all faults up to the last item, in the order in which they began."""
        made = [self._made(each, each.layers) for each in self._faults]
        return tuple(sorted(made, key=lambda fault: (fault.seconds[0], -KINDS[fault.kind].gravity)))

    def going_on(self) -> tuple[Fault, ...]:
        """Return the faults that go on as of the last item, the gravest first."""
        made = [self._made(each, self._still(each)) for each in self._faults if self._goes_on(each)]
        return tuple(sorted(made, key=lambda fault: -KINDS[fault.kind].gravity))

    def _still(self, each: _Open) -> set[int]:
        """Return the layers that have a fault in the last frame: none of what may be over."""
        if not each.active:
            return set()
        until = self.watch.lasting[each.kind].until
        return {layer for layer in each.active if until[layer] >= self._judged}

    def _goes_on(self, each: _Open) -> bool:
        return bool(self._still(each)) or self._values.get((each.kind, each.logged)) is each

    def _note(self, finding: Finding, frame: Frame | None) -> None:
        """Note a fault of one moment, and one of the run itself."""
        kind = KINDS[finding.kind]
        if kind.lasting:
            return
        if not kind.of_layers and self._faults:
            before = self._faults[-1]
            if before.kind == kind.name == "stalled" and before.first == finding.step:
                before.value = finding.value
                return
        new = _Open(kind.name, finding.step, self._time(finding.step), finding.step)
        new.value, new.logged = finding.value, finding.logged
        if kind.of_layers and not finding.logged:
            assert frame is not None
            new.layers = set(finding.layers)
            # Reported once for each row of neighbours, or of the run and a layer besides.
            for each in self._recent():
                if (each.kind, each.found, each.logged) == (kind.name, finding.step, ""):
                    each.layers |= new.layers
                    self._measure(each, frame)
                    return
            self._measure(new, frame)
        self._faults.append(new)

    def _recent(self) -> list[_Open]:
        return self._faults[-len(self._names) - len(KINDS) :]

    def _follow(self, frame: Frame) -> None:
        for kind, state in self.watch.lasting.items():
            before = self._active[kind]
            if not state.on and not before.any():
                continue
            for layer in np.flatnonzero(before & ~state.active).tolist():
                self._end(kind, layer, int(state.until[layer]), float(frame.norms[layer]))
            new = np.flatnonzero(state.active & ~before)
            if new.size:
                self._begin(kind, new.tolist(), int(state.since[new].min()), frame)
            self._active[kind] = state.active.copy()
        self._follow_values(frame.step)

    def _begin(self, kind: str, layers: list[int], since: int, frame: Frame) -> None:
        """Add layers to a fault that others have just got, or that they had; or begin one."""
        joined = None
        for each in reversed(self._recent()):
            if each.kind != kind or not each.layers:
                continue
            together = each.active and self._frames - each.at <= TOGETHER
            again = each.layers.issuperset(layers) and self._frames - each.over <= self._cooldown
            if together or again:
                joined = each
                break
        if joined is None:
            joined = _Open(kind, since, self._time(since), frame.step)
            joined.at = self._frames
            self._faults.append(joined)
        elif since < joined.first:
            joined.first, joined.begun = since, self._time(since)
        grows = not joined.layers.issuperset(layers)
        if joined.found == frame.step:
            joined.origin.update(layers)
        joined.layers.update(layers)
        joined.active.update(layers)
        joined.norms.update((layer, float(frame.norms[layer])) for layer in layers)
        if grows:
            self._measure(joined, frame)

    def _end(self, kind: str, layer: int, step: int, norm: float) -> None:
        for each in reversed(self._faults):
            if each.kind == kind and layer in each.active:
                each.active.discard(layer)
                each.over = self._frames
                long = self._frames - each.at > self._relearn
                each.usual = kind in RELEARNT and (long or each.stays(layer, norm))
                if step >= each.last:
                    each.last, each.ended = step, self._time(step)
                return

    def _follow_values(self, step: int) -> None:
        active = self.watch.logged.active
        for key in [key for key in self._values if key not in active]:
            over = self._values.pop(key)
            over.usual = over.kind in RELEARNT and self._frames - over.at > self._relearn
        for (kind, name), spell in active.items():
            each = self._values.get((kind, name))
            if each is None:
                each = _Open(kind, spell.since, self._time(spell.since), step)
                each.logged, each.value, each.at = name, spell.value, self._frames
                self._values[kind, name] = each
                self._faults.append(each)
            each.last, each.ended = spell.until, self._time(spell.until)

    def _measure(self, fault: _Open, frame: Frame) -> None:
        """Set the norm over a fault's layers, and how many layers had a gradient."""
        own = frame.norms[sorted(fault.layers)]
        norms = own[own != ABSENT]
        fault.value = total(norms)
        fault.present = int((frame.norms != ABSENT).sum()) + len(own) - len(norms)

    def _time(self, step: int) -> float:
        """Return when a step was; of one that is long past, when the oldest known one was."""
        for known, seconds in reversed(self._times):
            if known <= step:
                return seconds
        return self._times[0][1] if self._times else 0.0

    def _made(self, each: _Open, layers: set[int]) -> Fault:
        last, ended = each.last, each.ended
        goes_on = self._goes_on(each)
        if goes_on:
            last, ended = self._times[-1]
        elif each.active:
            until = self.watch.lasting[each.kind].until
            last = max(int(until[layer]) for layer in each.active)
            ended = self._time(last)
        first = each.origin if KINDS[each.kind].spreads and each.origin < layers else set()
        after = below(sorted(first or layers), len(self._names))
        return Fault(
            each.kind,
            tuple(self._names[layer] for layer in sorted(layers)),
            (each.first, max(each.first, last)),
            (each.begun, max(each.begun, ended)),
            each.value,
            each.found,
            goes_on,
            each.present,
            each.logged,
            tuple(self._names[layer] for layer in sorted(first)),
            "" if after is None else self._names[after],
            each.usual and not goes_on,
        )
