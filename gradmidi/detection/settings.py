"""Logged settings, such as a batch size: whole numbers that stay as they are, and then change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

__all__ = ["Change", "Settings"]

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
