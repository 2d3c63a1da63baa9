"""When a norm is a fault, and which: thresholds, hysteresis and cool-down, on frames.

A norm is judged by its logarithm against that layer's own recent past (`gradmidi.detection.past`),
with absolute limits behind. What many layers do at once is told once, as the run's; of
neighbours that do the same at once the one nearest the output is told, for backward met it there
first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.limits import Faults
from gradmidi.detection.loss import LossPast
from gradmidi.detection.pace import Pace
from gradmidi.detection.past import BLOCK, NONE, Past, logarithms
from gradmidi.log import ABSENT, End, Frame, Header, Item, Layer, Pause

__all__ = ["KINDS", "RUN", "Finding", "Watch"]

KINDS = ("nan", "inf", "exploding", "dead", "vanishing", "spike", "skipped", "stalled", "died")
"""Every kind of fault, gravest first."""

RUN = -1
"""In place of a layer: the whole run."""

APART = 1.0
"""Seconds in which the same fault is not told twice, however many frames they hold."""

FEW = 2
"""So many layers are never the whole run."""

_LASTING = KINDS[:5]
_NAN, _INF, _EXPLODING, _DEAD, _VANISHING = range(len(_LASTING))
_SPIKE, _SKIPPED = KINDS.index("spike"), KINDS.index("skipped")

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault as it was found.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    layer : int
        Index of the layer; `RUN` where the fault is the whole run's.
    step : int
        The step it was seen at.
    value : float
        The norm at that step, may be nan or inf; of the whole run the norm over all layers;
        of a run that stalled the seconds without a step, of one that died its last second.
    """

    kind: str
    layer: int
    step: int
    value: float


class Watch:
    """Finds the faults of a run, item by item: no clock but the log's own seconds.

    Parameters
    ----------
    layers : sequence of Layer
        The run's layers, input to output.
    limits : Faults
        A preset's ``[faults]``.

    Notes
    -----
    A spike is a frame above all of the recent past; exploding is one that stays. Vanishing is
    a fall that not every layer shares: where all norms fall together the loss has fallen.
    A loss that is logged, and rises far above what it was, is exploding too: the whole run's.
    Comparing a norm with its own recent distribution is what ZClip does (A. Kumar et al.,
    2025, arXiv:2504.02507); order statistics of logarithms stand here for its mean and
    variance, since norms of small batches are far from normal.

    Examples
    --------
    >>> watch = Watch([Layer("fc1", 10), Layer("fc2", 10)], Faults())
    >>> for step in range(1, 100):
    ...     assert not watch.add(Frame(step, 0.1 * step, np.array([1.0, 2.0])))
    >>> watch.add(Frame(100, 10.0, np.array([1.0, np.nan])))
    (Finding(kind='nan', layer=1, step=100, value=nan),)
    """

    def __init__(self, layers: Sequence[Layer], limits: Faults) -> None:
        self._limits = limits
        count = len(layers)
        self._past = Past(count, limits)
        self._pace = Pace(limits)
        self._loss = LossPast(limits)
        self._above = np.zeros(count, np.int64)
        self._below = np.zeros(count, np.int64)
        self._zeros = np.zeros(count, np.int64)
        # Of each lasting kind: which layers are in it, for how long, and for how long not.
        self._active = np.zeros((len(_LASTING), count), np.bool_)
        self._without = np.zeros((len(_LASTING), count), np.int64)
        self._whole = [False] * len(_LASTING)
        self._reminded = [-math.inf] * len(_LASTING)
        self._beyond = np.zeros(count, np.int64)
        # When each kind was told last: of each layer and, at the end, of the whole run.
        self._told_frame = np.full((_SKIPPED + 1, count + 1), -(1 << 60), np.int64)
        self._told_at = np.full((_SKIPPED + 1, count + 1), -np.inf)
        self._on = [False] * len(_LASTING)
        self._busy = self._rising = self._falling = self._still = False
        self._diverging_told = -math.inf
        self._lossless = False
        self._there = np.ones(count, np.bool_)
        self._frames = 0
        self._step = 0
        self._t = 0.0
        self._ended = True

    # -- of the run ---------------------------------------------------------------------------

    @property
    def lasting(self) -> tuple[tuple[str, int], ...]:
        """What is wrong as of the last frame, gravest first: kind and layer, or `RUN`."""
        found: list[tuple[str, int]] = []
        for kind, active in zip(_LASTING, self._active, strict=True):
            found += [(kind, layer) for layer in _who(active, self._there)]
            if kind == _LASTING[_EXPLODING] and self._loss.diverges and (kind, RUN) not in found:
                found.append((kind, RUN))
        return tuple(found)

    @property
    def due(self) -> float:
        """The log's second at which `overdue` will have something to tell; inf for never."""
        return self._pace.due

    def overdue(self, t: float) -> tuple[Finding, ...]:
        """Say that no item came before second `t` of the log: find that the run has stalled.

        Parameters
        ----------
        t : float
            Seconds of the log, later than its last item.
        """
        if t < self._pace.due:
            return ()
        return (Finding("stalled", RUN, self._step, self._pace.tell(t)),)

    def finish(self) -> tuple[Finding, ...]:
        """Say that nothing more will come: find that the run died, if its log has no end."""
        if self._ended:
            return ()
        self._ended = True
        return (Finding("died", RUN, self._step, self._t),)

    def add(self, item: Item) -> tuple[Finding, ...]:
        """Take the log's next item; return what is wrong, gravest first.

        Parameters
        ----------
        item : Frame, Header, Pause, End or Mark
            A frame is judged; the others tell where the run begins anew, pauses and ends.
        """
        if isinstance(item, Frame):
            return self._frame(item)
        if isinstance(item, Header):
            return self._resume() if item.resumed else ()
        if isinstance(item, Pause):
            self._pace.pause(item.t, item.begins)
        elif isinstance(item, End):
            self._ended = True
            self._pace.restart()
        return ()

    def _resume(self) -> tuple[Finding, ...]:
        died = self.finish()
        self._step = 0
        self._pace.restart()
        self._forget()
        return died

    def _forget(self) -> None:
        self._past.restart()
        self._loss.restart()
        self._diverging_told = -math.inf
        self._above[:] = self._below[:] = self._zeros[:] = 0
        self._rising = self._falling = self._still = False

    # -- one frame ----------------------------------------------------------------------------

    def _frame(self, frame: Frame) -> tuple[Finding, ...]:
        if frame.step == self._step:
            # Written again, with what was logged too late for its line.
            if self._lossless:
                self._take_loss(frame)
            return ()
        late = self.overdue(frame.t)
        if frame.step < self._step:
            self._forget()
        self._pace.step(frame.t)
        self._step, self._t, self._ended = frame.step, frame.t, False
        self._frames += 1
        if frame.extra.get("skipped"):
            return late + self._tell(_SKIPPED, [RUN], frame)
        self._take_loss(frame)
        logs = logarithms(frame.norms)
        past = self._past
        past.meet(logs)
        odd = not np.isfinite(frame.norms).all()
        high = bool((logs > past.trigger).any())
        low = past.any_faint or bool((logs < past.low).any())
        zero = not frame.norms.all()
        found: tuple[Finding, ...] = ()
        if odd or high or low or zero or self._busy or self._loss.diverges:
            found = self._judge(frame, logs, odd, high, low, zero)
        self._there = frame.norms != ABSENT
        if past.add(logs):
            past.draw(self._held() if self._busy else None)
        return late + found if late else found

    def _judge(
        self, frame: Frame, logs: Floats, odd: bool, high: bool, low: bool, zero: bool
    ) -> tuple[Finding, ...]:
        """Judge a frame in which something may be wrong, or was."""
        norms, on = frame.norms, self._on
        number = (logs > NONE) & (logs < np.inf)
        found: tuple[Finding, ...] = ()
        if odd or on[_NAN]:
            nan = np.isnan(norms)
            found += self._last(_NAN, frame, nan, nan, nan)
        if odd or on[_INF]:
            inf = np.isinf(norms)
            found += self._last(_INF, frame, inf, inf, inf)
        if high or self._rising or on[_EXPLODING]:
            found += self._explodes(frame, logs, number)
        found += self._diverges(frame)
        if zero or self._still or on[_DEAD]:
            found += self._dies(frame)
        if low or self._falling or on[_VANISHING]:
            found += self._vanishes(frame, logs, number)
        if high:
            found += self._spikes(frame, logs, number)
        lasts = any(on) or self._loss.diverges
        self._busy = lasts or self._rising or self._falling or self._still
        return found[: self._limits.most]

    def _explodes(self, frame: Frame, logs: Floats, number: Bools) -> tuple[Finding, ...]:
        limits, past = self._limits, self._past
        limit = past.high + math.log(limits.young) if self._loss.falls else past.high
        high = number & (logs > limit)
        self._above = np.clip(self._above + np.where(high, 1, -1), 0, 2 * limits.sustain)
        self._rising = bool(self._above.any())
        # What has risen by many decades in its first frames may not live through `sustain`.
        leapt = high & (logs > past.leap)
        if not self._on[_EXPLODING]:
            self._loss.mark()
        return self._last(
            _EXPLODING,
            frame,
            leapt | high & (self._above >= limits.sustain),
            leapt | high & (2 * self._above >= limits.sustain),
            number & (logs > past.high - 0.5 * math.log(limits.exploding)),
        )

    def _take_loss(self, frame: Frame) -> None:
        self._lossless = frame.loss is None
        self._loss.add(frame.loss)

    def _diverges(self, frame: Frame) -> tuple[Finding, ...]:
        if not self._loss.diverges:
            self._diverging_told = -math.inf
            return ()
        if frame.t - self._diverging_told < self._limits.remind:
            return ()
        self._diverging_told = frame.t
        return self._tell(_EXPLODING, [RUN], frame)

    def _dies(self, frame: Frame) -> tuple[Finding, ...]:
        limits = self._limits
        zero = frame.norms == 0.0
        self._zeros = np.maximum(self._zeros + np.where(zero, 1, -2), 0)
        self._still = bool(self._zeros.any())
        return self._last(
            _DEAD, frame, self._zeros >= limits.dead, 2 * self._zeros >= limits.dead, zero
        )

    def _vanishes(self, frame: Frame, logs: Floats, number: Bools) -> tuple[Finding, ...]:
        limits, past = self._limits, self._past
        low = number & (logs < past.low)
        self._below = (self._below + 1) * low
        self._falling = bool(self._below.any())
        raised = self._below >= limits.fading
        if raised.any():
            raised &= (logs < past.floor) | self._alone()
        raised |= past.faint & number
        held = (logs < past.low + 0.5 * math.log(limits.vanishing)) | past.faint
        return self._last(_VANISHING, frame, raised, raised, number & held)

    def _alone(self) -> Bools:
        """Find the layers that fell much further than the one that fell least."""
        fall = self._past.middle - self._past.largest(self._limits.fading - 1)
        known = fall[np.isfinite(fall)]
        least = max(0.0, float(known.min())) if known.size else 0.0
        alone: Bools = fall - least >= math.log(self._limits.vanishing)
        return alone

    def _spikes(self, frame: Frame, logs: Floats, number: Bools) -> tuple[Finding, ...]:
        calm = number & ~self._active[_EXPLODING]
        if not (calm & self._past.stands_out(logs, 1.0)).any():
            return ()
        together = calm & self._past.stands_out(logs, 0.5)
        return self._tell(_SPIKE, _who(together, frame.norms != ABSENT), frame)

    def _last(
        self, kind: int, frame: Frame, raised: Bools, joined: Bools, held: Bools
    ) -> tuple[Finding, ...]:
        """Move a lasting kind on by a frame.

        Parameters
        ----------
        kind : int
            Index into `_LASTING`.
        frame : Frame
            The frame.
        raised, joined, held : ndarray of bool, shape (layers,)
            Layers it is raised for; that go with those; that it still holds for.
        """
        if not self._on[kind] and not raised.any():
            return ()
        active, without = self._active[kind], self._without[kind]
        without += 1
        without[held] = 0
        active &= without < self._limits.clear
        new = raised & ~active
        layers: list[int] = []
        if new.any():
            new |= joined & ~active
            active |= new
            without[new] = 0
            self._reminded[kind] = frame.t
            there = frame.norms != ABSENT
            layers = _who(active, there)
            if RUN not in layers:
                layers = _who(new, there)
            elif self._whole[kind]:
                layers = []
            self._whole[kind] |= RUN in layers
        elif frame.t - self._reminded[kind] >= self._limits.remind and (active & held).any():
            self._reminded[kind] = frame.t
            layers = _who(active & held, frame.norms != ABSENT)
        self._on[kind] = bool(active.any())
        self._whole[kind] &= self._on[kind]
        return self._tell(kind, layers, frame)

    def _held(self) -> Bools:
        """Find the layers whose limits must not follow them: those that are beyond them.

        For so long, that is: in the end what lasts is what is usual; of what exploded as soon as
        the run has learnt since.
        """
        beyond = self._active[_EXPLODING] | self._active[_VANISHING]
        self._beyond = (self._beyond + BLOCK) * beyond
        perhaps = self._above > 0
        if self._past.is_first:
            # Later the median follows slowly, and must, of all layers alike.
            perhaps |= self._below > 0
        held: Bools = np.where(beyond, self._beyond <= self._limits.relearn, perhaps)
        return held & ~self._active[_EXPLODING] if self._loss.learns else held

    def _tell(self, kind: int, layers: list[int], frame: Frame) -> tuple[Finding, ...]:
        """Tell of layers, but for those that were told of too short a while ago."""
        if not layers:
            return ()
        frames = self._frames - self._told_frame[kind]
        seconds = self._t - self._told_at[kind]
        due = (frames >= self._limits.cooldown) & (seconds >= APART)
        due |= seconds >= self._limits.remind
        told = [layer for layer in layers if due[layer]]
        # Where the whole run is told, each layer is.
        mark: list[int] | slice = slice(None) if RUN in told else told
        self._told_frame[kind, mark] = self._frames
        self._told_at[kind, mark] = self._t
        return tuple(_finding(kind, layer, frame) for layer in told)


def _who(group: Bools, there: Bools) -> list[int]:
    """Name a group of layers: the whole run, or the last of each row of neighbours.

    Where the whole run is named and the group is all layers up to one of them, that one is
    named too: there the fault came in.
    """
    present = np.flatnonzero(there | group)
    member = group[present]
    ends = member & ~np.append(member[1:], False)
    last: list[int] = present[ends].tolist()[::-1]
    if len(last) == 0:
        return []
    if member.sum() > max(FEW, len(present) / 2):
        return [RUN, *last] if len(last) == 1 and member[0] and not member[-1] else [RUN]
    return last


def _finding(kind: int, layer: int, frame: Frame) -> Finding:
    value = _total(frame.norms) if layer == RUN else float(frame.norms[layer])
    return Finding(KINDS[kind], layer, frame.step, value)


def _total(norms: Floats) -> float:
    """Combine the layers' norms, without leaving the range of a float on the way."""
    norms = norms[norms != ABSENT]
    largest = float(norms.max(initial=0.0))
    if not 0.0 < largest < math.inf:
        return largest
    return largest * float(np.sqrt(np.square(norms / largest).sum()))
