"""Logged values: their faults, and settings, which are whole numbers that stay and then change."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from gradmidi.detection.kinds import RUN, Faults, Finding
from gradmidi.detection.loss import LossPast
from gradmidi.log import Frame, Scalar, numbers_of
from gradmidi.log.values import chosen

__all__ = ["Change", "Logged", "Settings", "Spell"]

STEADY = 64
"""Frames with one number after which another one is a change of a setting."""

MOST = 100
"""Most changes that are kept."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a logged setting.

    Parameters
    ----------
    step : int
        The first step with the new number.
    name : str
        The setting's name.
    before, after : int
        The two numbers.
    """

    step: int
    name: str
    before: int
    after: int


class Settings:
    """Finds changes of settings among logged values.

    A setting is a whole number that was the same in many frames. Numbers that count, as epochs or
    samples, grow by the same amount each time, or by one, and are none.

    Attributes
    ----------
    changes : list of Change
        The changes so far.

    Examples
    --------
    >>> settings = Settings()
    >>> sizes = [32] * 100 + [256] * 10
    >>> [step for step, size in enumerate(sizes, 1) if settings.add(step, {"batch": size})]
    [101]
    """

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self._held: dict[str, tuple[int, int]] = {}  # The number, and in how many frames.
        self._by: dict[str, int] = {}  # How much it changed the last time.

    def copy(self) -> "Settings":
        """Return settings that go on from here by themselves."""
        other = Settings()
        other.changes, other._held, other._by = self.changes[:], {**self._held}, {**self._by}
        return other

    def take(self, name: str, numbers: Iterable[int]) -> int:
        """Take numbers of one name up to the first that changes a setting; return how many."""
        taken = 0
        for number, run in groupby(numbers):
            if self.add(0, {name: number}):
                break
            more = sum(1 for _ in run) - 1
            held, frames = self._held[name]
            self._held[name] = held, frames + more
            taken += 1 + more
        return taken

    def add(self, step: int, values: Mapping[str, Any]) -> bool:
        """Take a frame's logged values; return whether a setting has changed."""
        changed = False
        for name, value in values.items():
            if type(value) is not int:
                continue
            before, frames = self._held.get(name, (value, 0))
            if value == before:
                self._held[name] = value, frames + 1
                continue
            self._held[name] = value, 1
            by, self._by[name] = self._by.get(name, 1), value - before
            if frames >= STEADY and before > 0 < value and self._by[name] not in (by, 1):
                changed = True
                if len(self.changes) < MOST:
                    self.changes.append(Change(step, name, before, value))
        return changed


UNJUDGED = frozenset({"total_norm"})
"""Values that are not judged: the norm over all layers, whose layers are."""


@dataclass(slots=True)
class Spell:
    """A lasting fault of one logged value.

    Parameters
    ----------
    since, until : int
        The first and, so far, the last step that had it.
    value : float
        The value at the first step.
    """

    since: int
    until: int
    value: float
    without: int = 0


class Logged:
    """Finds the logged values that are nan or infinite, and spikes of those that are judged.

    A loss is judged from its first value on, every other value once it was finite: a mean over
    the episodes that have ended is nan until one has.

    Of the values that are heard, losses and gradient norms may also be a spike, and exploding if
    they stay high: above twice, of norms six times the largest of their last 64 values. The value
    ``loss`` is judged for exploding by `Watch`, heard or not. A value that does not change is no
    fault.

    Parameters
    ----------
    limits : Faults
        After how many values without a fault it is over, and when it is reported again.
    heard : sequence of str, default ()
        Names or patterns of the values that are heard.

    Attributes
    ----------
    active : dict of (str, str) to Spell
        What goes on: kind, and name of the value.

    Examples
    --------
    >>> import numpy as np
    >>> logged = Logged(Faults())
    >>> logged.add(Frame(1, 0.1, np.array([1.0]), {"loss": 2.3}))
    ()
    >>> logged.add(Frame(2, 0.2, np.array([1.0]), {"loss": math.nan}))
    (Finding(kind='nan', layer=-1, step=2, value=nan),)
    """

    def __init__(self, limits: Faults, heard: Sequence[str] = ()) -> None:
        self._limits = limits
        self._heard = tuple(heard)
        self._pasts: dict[str, LossPast | None] = {}
        self._known: set[str] = set()
        self._reported: dict[tuple[str, str], tuple[int, float]] = {}
        self._frames = 0
        self.active: dict[tuple[str, str], Spell] = {}

    def restart(self) -> None:
        """Begin a new segment of the run: nothing goes on."""
        self.active.clear()
        for past in self._pasts.values():
            if past is not None:
                past.restart()

    def add(self, frame: Frame) -> tuple[Finding, ...]:
        """Take a frame's values; return those that have become nan or infinite."""
        self._frames += 1
        found: list[Finding] = []
        for name, value in frame.extra.items():
            if isinstance(value, float) and name not in UNJUDGED:
                if math.isfinite(value):
                    self._known.add(name)
                # The scaler skips an update because something is infinite.
                elif is_loss(name) or (name in self._known and not frame.extra.get("skipped")):
                    found += self._add(name, value, frame)
        if self.active:
            self._end(frame.extra)
        if self._heard and not frame.extra.get("skipped"):
            for name, number in numbers_of(frame.extra).items():
                found += self._judge(name, number, frame)
        return tuple(found)

    def pasts_of(self, names: Iterable[str]) -> dict[str, LossPast] | None:
        """Return the pasts of those of the values that are judged; None if it is not known of one.

        Parameters
        ----------
        names : iterable of str
            Values that are numbers.
        """
        if not self._heard:
            return {}
        pasts = {}
        for name in names:
            if name not in self._pasts:
                return None
            past = self._pasts[name]
            if past is not None:
                pasts[name] = past
        return pasts

    def take(self, frames: int, finite: Iterable[str], pasts: Mapping[str, LossPast]) -> None:
        """Take frames in which nothing is wrong with any value.

        Parameters
        ----------
        frames : int
            How many there are.
        finite : iterable of str
            Values of which they have a floating-point number.
        pasts : mapping of str to LossPast
            The pasts that `pasts_of` returned, with these frames.
        """
        self._frames += frames
        self._known.update(name for name in finite if name not in UNJUDGED)
        self._pasts.update(pasts)

    def _judge(self, name: str, number: float, frame: Frame) -> tuple[Finding, ...]:
        """Find a spike, or exploding, of a value that is a loss or a norm."""
        if name not in self._pasts:
            times = self._times(name) if chosen(name, self._heard) else None
            self._pasts[name] = None if times is None else LossPast(self._limits, times)
        past = self._pasts[name]
        if past is None or not math.isfinite(number):
            return ()
        was_high = past.high
        past.add(number, frame.step)
        key = ("exploding", name)
        if past.diverges and name != "loss":
            spell = self.active.setdefault(key, Spell(past.since, frame.step, number))
            spell.until = past.until
            return self._report(key, number, frame)
        if not past.diverges and name != "loss":
            self.active.pop(key, None)
        if past.high and not was_high and not past.diverges:
            return self._report(("spike", name), number, frame)
        return ()

    def _times(self, name: str) -> float | None:
        if is_loss(name):
            return self._limits.diverging
        return self._limits.exploding if is_norm(name) else None

    def _report(self, key: tuple[str, str], number: float, frame: Frame) -> tuple[Finding, ...]:
        """Report a fault, unless it was reported a short while ago."""
        frames, t = self._reported.get(key, (-self._limits.cooldown, -math.inf))
        due = self._frames - frames >= self._limits.cooldown if key[0] == "spike" else False
        if not due and frame.t - t < self._limits.remind:
            return ()
        self._reported[key] = (self._frames, frame.t)
        return (Finding(key[0], RUN, frame.step, number, logged=key[1]),)

    def _add(self, name: str, value: float, frame: Frame) -> tuple[Finding, ...]:
        key = ("nan" if math.isnan(value) else "inf", name)
        spell = self.active.get(key)
        frames, t = self._reported.get(key, (-self._limits.cooldown, -math.inf))
        due = frame.t - t >= self._limits.remind
        if spell is None:
            spell = self.active[key] = Spell(frame.step, frame.step, value)
            due |= self._frames - frames >= self._limits.cooldown
        spell.until, spell.without = frame.step, 0
        if not due:
            return ()
        self._reported[key] = (self._frames, frame.t)
        return (Finding(key[0], RUN, frame.step, value, logged=name),)

    def _end(self, values: Mapping[str, Scalar]) -> None:
        """End what the last values, of those that are logged, were without."""
        for key, spell in list(self.active.items()):
            if key[0] == "exploding":
                continue
            value = values.get(key[1])
            if isinstance(value, (int, float)) and math.isfinite(value):
                spell.without += 1
                if spell.without >= self._limits.clear:
                    del self.active[key]


def is_loss(name: str) -> bool:
    """Return whether a value is a loss, by its name.

    Examples
    --------
    >>> is_loss("train/Loss"), is_loss("lr")
    (True, False)
    """
    return "loss" in name.lower()


def is_norm(name: str) -> bool:
    """Return whether a value is the norm of gradients, by its name.

    Examples
    --------
    >>> is_norm("train/grad_norm"), is_norm("gnorm"), is_norm("weight_norm")
    (True, True, False)
    """
    return "norm" in name.lower() and ("grad" in name.lower() or "gnorm" in name.lower())
