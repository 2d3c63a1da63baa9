"""Find the faults of a run, frame by frame.

The logarithm of a norm is compared with that layer's own recent past (`gradmidi.detection.past`)
and with fixed limits. A fault that most layers have at once is named once, as the run's; of
neighbouring layers that have the same fault at once the one nearest the output is named, since
the backward pass reaches it first.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.kinds import KINDS, LASTING, RUN, Faults, Finding
from gradmidi.detection.lasting import Absence, Lasting, Lull, Streak, members, named
from gradmidi.detection.logged import Logged, Settings, Spell
from gradmidi.detection.loss import LossPast
from gradmidi.detection.pace import Pace
from gradmidi.detection.past import BLOCK, NONE, Past, logarithms
from gradmidi.detection.rates import Rate
from gradmidi.detection.reports import Reports, total
from gradmidi.log import ABSENT, End, Frame, Header, Item, Layer, Pause

__all__ = ["Watch"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Watch:
    """Finds the faults of a run, item by item; its only clock is the log's own seconds.

    Parameters
    ----------
    layers : sequence of Layer
        The run's layers, input to output.
    limits : Faults
        A preset's ``[faults]``.
    heard : sequence of str, default ()
        Names or patterns of the logged values that are heard; in a run without layers all are.

    Notes
    -----
    A spike is a norm above all of the recent past; a layer explodes where its norm stays there.
    A layer vanishes where its norm falls and not every other layer's does: where all norms fall
    together, the loss has fallen. A logged loss that stays far above what it was is reported as
    exploding; logged values that are nan or infinite are reported too. ZClip (A. Kumar et al.,
    2025, arXiv:2504.02507) compares a norm with its own recent mean and variance; here these are
    order statistics of logarithms, since norms of small batches are far from normal.

    Examples
    --------
    >>> watch = Watch([Layer("fc1", 10), Layer("fc2", 10)], Faults())
    >>> for step in range(1, 100):
    ...     assert not watch.add(Frame(step, 0.1 * step, np.array([1.0, 2.0])))
    >>> watch.add(Frame(100, 10.0, np.array([1.0, np.nan])))
    (Finding(kind='nan', layer=1, step=100, value=nan),)
    """

    def __init__(self, layers: Sequence[Layer], limits: Faults, heard: Sequence[str] = ()) -> None:
        self._limits = limits
        count = len(layers)
        self._past = Past(count, limits, [layer.size for layer in layers])
        self._pace = Pace(limits)
        self._loss = LossPast(limits)
        self._rate = Rate()
        self.settings = Settings()
        self.logged = Logged(limits, heard if layers or heard else ("*",))
        self._above, self._risen = Streak(count), Streak(count)
        self._below, self._zeros = Streak(count), Streak(count)
        self.lasting = {kind.name: Lasting(kind, count, limits) for kind in LASTING}
        self._absence = Absence(count)
        self._lull = Lull(count, limits)
        self._beyond = np.zeros(count, np.int64)
        self._reports = Reports(count, limits)
        self._busy = False
        self._diverging_reported = -math.inf
        self._lossless = False
        self._present = np.ones(count, np.bool_)
        self._norms = np.full(count, ABSENT)
        self._step = 0
        self._t = 0.0
        self._ended = True

    # -- of the run ---------------------------------------------------------------------------

    def going_on(self) -> tuple[Finding, ...]:
        """Return what is wrong as of the last frame, gravest first, with the step it began at."""
        found: list[Finding] = []
        for kind, state in self.lasting.items():
            layers = named(state.active, self._present)
            for layer in layers:
                group = members(layer, layers, state.active, self._present)
                since = int(state.since[list(group)].min())
                present = int((self._present | state.active).sum())
                value = total(self._norms[list(group)])
                found.append(Finding(kind, layer, since, value, group, present))
            for (each, name), spell in self.logged.active.items():
                if each == kind:
                    found.append(Finding(kind, RUN, spell.since, spell.value, logged=name))
        return tuple(found)

    @property
    def at_fault(self) -> Bools:
        """Which layers have a lasting fault as of the last frame."""
        found: Bools = np.logical_or.reduce([state.active for state in self.lasting.values()])
        return found

    @property
    def due(self) -> float:
        """The log's second from which on `overdue` finds a fault; inf for never."""
        return self._pace.due

    def overdue(self, t: float) -> tuple[Finding, ...]:
        """Judge that no item came before second `t` of the log: the run may have stalled.

        Parameters
        ----------
        t : float
            Seconds of the log, later than its last item.
        """
        if not self._pace.is_due(t):
            return ()
        return (Finding("stalled", RUN, self._step, self._pace.report(t)),)

    def finish(self) -> tuple[Finding, ...]:
        """Judge that nothing more will come: the run died if its log has no end."""
        if self._ended:
            return ()
        self._ended = True
        return (Finding("died", RUN, self._step, self._t),)

    def add(self, item: Item) -> tuple[Finding, ...]:
        """Take the log's next item; return what is wrong, gravest first.

        Parameters
        ----------
        item : Frame, Header, Pause, End or Mark
            Frames are judged; the others say where a segment begins, pauses and ends.
        """
        if isinstance(item, Frame):
            return self._frame(item)
        if isinstance(item, Header):
            return self._resume(item) if item.resumed else ()
        if isinstance(item, Pause):
            self._pace.pause(item.t, item.begins)
        elif isinstance(item, End):
            self._ended = True
            self._pace.restart()
        return ()

    def _resume(self, header: Header) -> tuple[Finding, ...]:
        # A running process has gone back to an earlier step.
        died = () if header.other.get("rewound") else self.finish()
        self._step = 0
        self._pace.restart()
        self._forget()
        return died

    def _forget(self) -> None:
        self._loss.restart()
        self.logged.restart()
        self._rate.restart()
        self._absence.restart()
        self._diverging_reported = -math.inf
        self._forget_norms()

    def _forget_norms(self) -> None:
        self._past.restart()
        self._lull.restart()
        for streak in (self._above, self._risen, self._below, self._zeros):
            streak.clear()

    @property
    def has_lasting(self) -> bool:
        """Whether any lasting fault goes on, in a layer or in a logged value."""
        return bool(self.logged.active) or (self._busy and self._any_on)

    @property
    def _any_on(self) -> bool:
        return any(state.on for state in self.lasting.values())

    # -- one frame ----------------------------------------------------------------------------

    def _frame(self, frame: Frame) -> tuple[Finding, ...]:
        if frame.step == self._step:
            # The same step again, with values that were logged after its line was written.
            if self._lossless:
                self._take_loss(frame)
            return self.logged.add(frame) + self._rate.add(frame)
        late = self.overdue(frame.t)
        if frame.step < self._step:
            self._forget()
        self._pace.step(frame.t)
        self._step, self._t, self._ended = frame.step, frame.t, False
        self._reports.begin()
        late += self.logged.add(frame)
        if frame.extra and self.settings.add(frame.step, frame.extra):
            # Another batch size gives other norms and losses.
            self._loss = LossPast(self._limits)
            self._forget_norms()
        if frame.extra.get("skipped"):
            return late + self._reports.add("skipped", [RUN], frame)
        self._take_loss(frame)
        late += self._rate.add(frame)
        logs = logarithms(frame.norms)
        past = self._past
        if past.meet(logs, frame.norms):
            self._loss.excuse()
        if not (self._busy or self._loss.diverges) and past.is_usual(logs):
            # Nearly every frame: all norms are numbers within their limits.
            self._present, self._norms = self._absence.add_all(frame.step), frame.norms
            if past.add(logs):
                past.set_limits(None)
            return late
        present = frame.norms != ABSENT
        lost = self._absence.add(present, frame.step)
        odd = not np.isfinite(frame.norms).all()
        high = bool((logs > past.trigger).any())
        low = past.any_faint or bool((logs < past.low).any())
        zero = not frame.norms.all()
        found: tuple[Finding, ...] = ()
        wrong = odd or high or low or zero or lost is not None
        if wrong or self._busy or self._loss.diverges:
            found = self._judge(frame, logs, odd, high, low, zero, lost)
        self._present, self._norms = present, frame.norms
        if past.add(logs, self._unusual() if self._busy else None):
            past.set_limits(self._held() if self._busy else None)
        return late + found if late else found

    def _judge(
        self,
        frame: Frame,
        logs: Floats,
        odd: bool,
        high: bool,
        low: bool,
        zero: bool,
        lost: Bools | None,
    ) -> tuple[Finding, ...]:
        """Judge a frame in which something may be wrong, or was."""
        norms, lasting = frame.norms, self.lasting
        number = (logs > NONE) & (logs < np.inf)
        found: tuple[Finding, ...] = ()
        if odd or lasting["nan"].on:
            nan = np.isnan(norms)
            found += self._move("nan", frame, nan, nan, nan)
        if odd or lasting["inf"].on:
            inf = np.isinf(norms)
            found += self._move("inf", frame, inf, inf, inf)
        if high or self._risen.any or lasting["exploding"].on:
            found += self._find_exploding(frame, logs, number)
        found += self._find_diverging(frame)
        if zero or self._zeros.any or lasting["dead"].on:
            found += self._find_dead(frame)
        if lost is not None or lasting["missing"].on:
            found += self._find_missing(frame, lost)
        if low or self._below.any or lasting["vanishing"].on:
            found += self._find_vanishing(frame, logs, number)
        if high:
            found += self._find_spikes(frame, logs, number)
        counting = self._risen.any or self._below.any or self._zeros.any
        self._busy = counting or bool(self.logged.active) or self._any_on
        gravest = sorted(found, key=lambda each: -KINDS[each.kind].gravity)
        return tuple(gravest[: self._limits.most])

    def _find_exploding(self, frame: Frame, logs: Floats, number: Bools) -> tuple[Finding, ...]:
        limits, past = self._limits, self._past
        more = math.log(limits.young) if self._loss.falls_fast else 0.0
        high, far = (number & (logs > limit + more) for limit in (past.level, past.high))
        small = far
        if high.any():
            # A layer that carries nothing explodes only together with others.
            carries = logs > past.least(number, self._loss.falls)
            small, high, far = far & ~carries, high & carries, far & carries
        # Frames in which a layer has no gradient, as networks that take turns, say nothing of it.
        there = frame.norms != ABSENT
        above = np.clip(self._above.length + np.where(far, 1, -1) * there, 0, 2 * limits.sustain)
        self._above.set(above, frame.step)
        risen = np.clip(self._risen.length + np.where(high, 1, -1) * there, 0, 2 * limits.steady)
        self._risen.set(risen, frame.step)
        # A layer that rose by many decades in its first frames may be nan before `sustain`.
        leapt = far & (logs > past.leap)
        if not self.lasting["exploding"].on:
            self._loss.mark()
        raised = leapt | far & (above >= limits.sustain) | high & (risen >= limits.steady)
        half = far & (2 * above >= limits.sustain) | high & (2 * risen >= limits.steady)
        held = number & (logs > past.high - 0.5 * math.log(limits.exploding))
        return self._move("exploding", frame, raised, raised | half | small, held, self._risen)

    def _take_loss(self, frame: Frame) -> None:
        loss = frame.loss
        self._lossless = loss is None
        rate = frame.extra.get("lr")
        if isinstance(rate, float):
            self._loss.set_rate(rate)
        self._loss.add(loss, frame.step)

    def _find_diverging(self, frame: Frame) -> tuple[Finding, ...]:
        key = ("exploding", "loss")
        if not self._loss.diverges:
            self._diverging_reported = -math.inf
            self.logged.active.pop(key, None)
            return ()
        loss = math.nan if frame.loss is None else frame.loss
        spell = self.logged.active.setdefault(key, Spell(self._loss.since, frame.step, loss))
        spell.until = self._loss.until
        if frame.t - self._diverging_reported < self._limits.remind:
            return ()
        self._diverging_reported = frame.t
        return self._reports.add("exploding", [RUN], frame, logged="loss")

    def _find_dead(self, frame: Frame) -> tuple[Finding, ...]:
        zero, there = frame.norms == 0.0, frame.norms != ABSENT
        zeros = np.maximum(self._zeros.length + np.where(zero, 1, -2) * there, 0)
        self._zeros.set(zeros, frame.step)
        lull = self._lull
        surprise = lull.surprise(zero, there, self._past.frames, frame.step)
        dead = there & (surprise >= 1.0) & (zeros >= self._limits.dead) & (not self._loss.learnt)
        perhaps = there & (surprise >= 0.5) & (2 * zeros >= self._limits.dead)
        held = zero & (surprise >= 1.0)
        return self._move("dead", frame, dead, perhaps, held, lull.row)

    def _find_missing(self, frame: Frame, lost: Bools | None) -> tuple[Finding, ...]:
        streak = self._absence.streak
        held = streak.length > 0
        lost = np.zeros_like(held) if lost is None else lost
        return self._move("missing", frame, lost, lost, held, streak)

    def _find_vanishing(self, frame: Frame, logs: Floats, number: Bools) -> tuple[Finding, ...]:
        limits, past = self._limits, self._past
        low = number & (logs < past.low)
        length = np.where(low, self._below.length + 1, 0)
        self._below.set(np.where(frame.norms == ABSENT, self._below.length, length), frame.step)
        raised = number & (self._below.length >= limits.fading)
        if raised.any():
            raised &= (logs < past.floor) | self._fell_alone()
        raised |= past.faint & number
        if self._loss.learnt:
            raised = np.zeros_like(raised)
        held = (logs < past.low + 0.5 * math.log(limits.vanishing)) | past.faint
        return self._move("vanishing", frame, raised, raised, number & held, self._below)

    def _fell_alone(self) -> Bools:
        """Find the layers that fell much further than the one that fell least."""
        fall = self._past.middle - self._past.largest(self._limits.fading - 1)
        known = fall[np.isfinite(fall)]
        # Where the loss falls by decades, norms fall with it, some more than others.
        least = max(self._loss.fall, float(known.min())) if known.size else 0.0
        alone: Bools = fall - least >= math.log(self._limits.vanishing)
        return alone

    def _find_spikes(self, frame: Frame, logs: Floats, number: Bools) -> tuple[Finding, ...]:
        calm = number & ~self.lasting["exploding"].active
        if not (calm & self._past.stands_out(logs, 1.0)).any():
            return ()
        together = calm & self._past.stands_out(logs, 0.5)
        return self._reports.add("spike", named(together, frame.norms != ABSENT), frame, together)

    def _move(
        self,
        kind: str,
        frame: Frame,
        raised: Bools,
        joined: Bools,
        held: Bools,
        streak: Streak | None = None,
    ) -> tuple[Finding, ...]:
        """Move a lasting kind on by a frame, as `Lasting.move` says."""
        state = self.lasting[kind]
        layers = state.move(frame, raised, joined, held, streak)
        return self._reports.add(kind, layers, frame, state.active)

    def _held(self) -> Bools:
        """Find the layers whose limits stay as they are: those that are beyond their limits.

        After `relearn` frames their limits follow again; those of exploding layers as soon as the
        loss has fallen.
        """
        exploding = self.lasting["exploding"].active
        beyond = exploding | self.lasting["vanishing"].active
        self._beyond = (self._beyond + BLOCK) * beyond
        perhaps = self._risen.length > 0
        if self._past.is_first:
            # Later the median moves slowly, and has to: norms may fall for good.
            perhaps |= self._below.length > 0
        held: Bools = np.where(beyond, self._beyond <= self._limits.relearn, perhaps)
        return held & ~exploding if self._loss.learns else held

    def _unusual(self) -> Bools | None:
        """Find the layers whose norms, as they are now, will not count as usual."""
        exploding, vanishing = self.lasting["exploding"], self.lasting["vanishing"]
        if not exploding.on and not vanishing.on:
            return None
        beyond = vanishing.active if self._loss.learns else exploding.active | vanishing.active
        unusual: Bools = beyond & (self._beyond <= self._limits.relearn)
        return unusual
