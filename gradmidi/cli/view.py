"""A live run in words, and as plain lines on a terminal."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradmidi.text import words

if TYPE_CHECKING:
    from gradmidi.live.feed import Live

__all__ = [
    "KEYS",
    "PlainLines",
    "Rate",
    "Settings",
    "Status",
    "counts_line",
    "norms_of",
    "numbers_line",
]

DRAW_SECONDS = 0.2
LINE_SECONDS = 5.0
LEVEL_STEP_DB = 3.0
CHANGE = 2.0**0.25
"""A norm that changed by at least this factor is shown as up or down: a quarter of a doubling."""

COUNTS = {
    "merged": ("frame merged", "frames merged"),
    "late": ("frame late", "frames late"),
    "stale": ("note too late to sound", "notes too late to sound"),
    "unreadable": ("line unreadable", "lines unreadable"),
    "dropped": ("message left out", "messages left out"),
    "errors": ("message refused", "messages refused"),
    "underruns": ("gap in the sound", "gaps in the sound"),
}
"""Words for a player's counts that are shown if they are not zero: singular and plural."""

KEYS = (
    "keys: space mutes, + and - change the level, 1 to 9 solo a voice, j and k choose a voice "
    "and Enter solos it, n says the numbers, f the last fault, ? these keys, q quits"
)
"""The keys, for screen readers."""

Status = Mapping[str, Any]


# -- words ---------------------------------------------------------------------------------------


def counts_line(status: Status) -> str:
    """Return the counts of merged, late and left-out items; empty if all are zero.

    Examples
    --------
    >>> counts_line({"merged": 3, "late": 0, "underruns": 1})
    '3 frames merged, 1 gap in the sound'
    """
    counted = ((status.get(key, 0), nouns) for key, nouns in COUNTS.items())
    return ", ".join(words.count(times, *nouns) for times, nouns in counted if times)


def numbers_line(
    voices: Sequence[str],
    status: Status,
    before: Status | None = None,
    rate: float | None = None,
) -> str:
    """Return the numbers in one line, with each norm's change since `before` and its note.

    The voices of logged values come first, with their numbers.

    Examples
    --------
    >>> now = {"step": 9, "loss": 2.0, "norms": [0.5, 1.0], "notes": ["A3", ""]}
    >>> numbers_line(["fc1", "fc2"], now, {"norms": [0.25, 1.0]}, 8.0)
    'step 9, 8 steps a second, loss 2, fc1 norm 0.5 up A3, fc2 norm 1 silent'
    """
    parts = [f"step {status['step']}"]
    if rate is not None:
        parts.append(f"{words.number(rate, 3)} steps a second")
    norms = norms_of(status)
    named = voices[len(norms) :]
    if status.get("loss") is not None and "loss" not in named:
        parts.append(f"loss {words.number(float(status['loss']), 3)}")
    known = (before or {}).get("values", {})
    for name, note in zip(named, status["notes"][len(norms) :], strict=False):
        value = status["values"].get(name)
        if value is not None:
            way = _changed(float(known.get(name, value)), float(value))
            text = words.number(float(value), 3)
            parts.append(f"{name} {text}{way}{f' {note}' if note else ''}")
    earlier = norms_of(before) if before and before.get("norms") else norms
    for name, norm, old, note in zip(voices, norms, earlier, status["notes"], strict=False):
        heard = f"{_way(old, norm)} {note}" if note else " silent"
        parts.append(f"{name} {words.norm(norm, 3)}{heard}")
    return ", ".join(parts)


def norms_of(status: Status) -> list[float]:
    """Return the norms of a status; JSON has no nan, so some are texts."""
    return [float(norm) for norm in status["norms"]]


def _way(old: float, new: float) -> str:
    if new > old * CHANGE:
        return " up"
    return " down" if new * CHANGE < old else ""


def _changed(old: float, new: float) -> str:
    return " up" if new > old else " down" if new < old else ""


@dataclass(slots=True)
class Rate:
    """Steps per second, over the last few seconds of the run's own time.

    Examples
    --------
    >>> rate = Rate()
    >>> rate.add(1, 0.0), rate.add(2, 8.0)
    (None, None)
    >>> rate.steps, str(rate)
    (0.125, '1 step in 8 s')
    """

    _seen: list[tuple[int, float]] = field(default_factory=list)

    def add(self, step: int, seconds: float) -> None:
        """Add the run's current step and time."""
        if not self._seen or seconds > self._seen[-1][1]:
            before = [each for each in self._seen if each[0] <= step]
            late = [each for each in before if seconds - each[1] < LINE_SECONDS]
            self._seen = [*(late or before[-1:]), (step, seconds)]

    def __str__(self) -> str:
        rate = self.steps
        if rate is None or rate <= 0.0:
            return ""
        if rate >= 0.95:
            return f"{rate:,.0f} steps/s" if rate >= 99.5 else f"{rate:.2g} steps/s"
        seconds = 1.0 / rate
        return f"1 step in {f'{seconds:.3g} s' if seconds < 100.0 else f'{seconds / 60:.3g} min'}"

    @property
    def steps(self) -> float | None:
        """Steps per second; None while unknown."""
        if len(self._seen) < 2:
            return None
        (first, begin), (last, end) = self._seen[0], self._seen[-1]
        return (last - first) / (end - begin)


@dataclass(slots=True)
class Settings:
    """What keys change: mute, level, the voice that is heard alone, and the voice chosen."""

    level: float = 0.0
    muted: bool = False
    solo: int | None = None
    chosen: int = 0

    @property
    def in_words(self) -> list[str]:
        """What is not as at the start, most important first."""
        found = ["muted"] if self.muted else []
        found += [f"voice {self.solo + 1} alone"] if self.solo is not None else []
        return [*found, f"level {self.level:+g} dB"] if self.level else found


# -- lines ---------------------------------------------------------------------------------------


class PlainLines:
    """A view of complete lines that make sense on their own.

    Parameters
    ----------
    write : callable
        Called with each line.
    clock : callable
        Returns seconds.
    numbers : bool, default True
        Whether to write numbers, besides faults and marks.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        numbers: bool = True,
    ) -> None:
        self.say = write
        self._clock = clock
        self.rate = Rate()
        self._next = -math.inf if numbers else math.inf
        self._before: Status | None = None
        self._faults = 0
        self._mark = ""
        self._counted: set[str] = set()

    def begin(self) -> None:
        """Write a line about the keys."""
        self.say(KEYS)

    def help(self) -> None:
        """Write the line about the keys again."""
        self.say(KEYS)

    def pause(self, _keys: object) -> None:
        """Do nothing: stopping at Ctrl-Z needs no change of the terminal."""

    def show(self, live: "Live", _state: Settings) -> None:
        """Write the lines that are due."""
        status = live.status
        if "step" not in status:
            return
        self.rate.add(status["step"], status["seconds"])
        new = min(status["fault_count"] - self._faults, len(status["faults"]))
        self._faults = status["fault_count"]
        for fault in status["faults"][len(status["faults"]) - new :]:
            self.say(f"fault, {fault['text']}")
        if status["mark"] != self._mark:
            self._mark = status["mark"]
            self.say(f"mark: {self._mark}")
        now = self._clock()
        if now < self._next:
            return
        if self._before is None or status["step"] != self._before["step"]:
            self.say(numbers_line(live.voices, status, self._before, self.rate.steps))
        counted = {key for key in COUNTS if status.get(key)}
        if counted - self._counted:
            self._counted |= counted
            self.say(f"so far {counts_line(status)}")
        self._before = status
        self._next = now + LINE_SECONDS
