"""Show a live run on a terminal: a picture that is redrawn, or plain lines."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradmidi.base.messages import printable
from gradmidi.text import words

if TYPE_CHECKING:
    from rich.table import Table

    from gradmidi.live.feed import Live

__all__ = ["Picture", "PlainLines", "Rate", "numbers_line"]

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

HELP = "space mute · + - level · 1-9 solo · n numbers · f last fault · q quit"

KEYS = (
    "keys: space mutes, + and - change the level, 1 to 9 solo a voice, "
    "n says the numbers, f the last fault, q quits"
)
"""The same for screen readers."""

Status = Mapping[str, Any]


# -- words -------------------------------------------------------------------------------------


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
    norms = _norms(status)
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
    earlier = _norms(before) if before and before.get("norms") else norms
    for name, norm, old, note in zip(voices, norms, earlier, status["notes"], strict=False):
        heard = f"{_way(old, norm)} {note}" if note else " silent"
        parts.append(f"{name} {words.norm(norm, 3)}{heard}")
    return ", ".join(parts)


def _norms(status: Status) -> list[float]:
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
    >>> rate.steps
    0.125
    """

    _seen: list[tuple[int, float]] = field(default_factory=list)

    def add(self, step: int, seconds: float) -> None:
        """Add the run's current step and time."""
        if not self._seen or seconds > self._seen[-1][1]:
            before = [each for each in self._seen if each[0] <= step]
            late = [each for each in before if seconds - each[1] < LINE_SECONDS]
            self._seen = [*(late or before[-1:]), (step, seconds)]

    @property
    def steps(self) -> float | None:
        """Steps per second; None while unknown."""
        if len(self._seen) < 2:
            return None
        (first, begin), (last, end) = self._seen[0], self._seen[-1]
        return (last - first) / (end - begin)


# -- two ways to show --------------------------------------------------------------------------


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

    def show(self, live: "Live", _state: str) -> None:
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


class Picture:
    """A picture with a row for each voice, redrawn several times per second.

    Parameters
    ----------
    console : rich.console.Console
        The terminal.
    """

    def __init__(self, console: Any) -> None:
        from rich.live import Live as Drawing

        self._console = console
        self.rate = Rate()
        self._drawing = Drawing(console=console, auto_refresh=False, transient=False)
        self._drawing.start()

    def begin(self) -> None:
        """Do nothing, since the picture shows the keys."""

    def say(self, text: str) -> None:
        """Write a line above the picture."""
        self._console.print(printable(text), markup=False, highlight=False)

    def show(self, live: "Live", state: str) -> None:
        """Draw the picture."""
        if "step" in live.status:
            self.rate.add(live.status["step"], live.status["seconds"])
            self._drawing.update(
                picture(live.voices, live.status, state, self.rate.steps, self._console.width),
                refresh=True,
            )

    def close(self) -> None:
        """Leave the last picture on the terminal."""
        self._drawing.stop()


def picture(
    voices: Sequence[str], status: Status, state: str, rate: float | None, width: int
) -> "Table":
    """Return the picture: state of the run, a row for each voice, faults, counts, keys."""
    from rich.table import Table
    from rich.text import Text

    head = [f"step {status['step']}"]
    if rate is not None:
        head.append(f"{words.number(rate, 3)} steps/s")
    named = voices[len(status["norms"]) :]
    if status.get("loss") is not None and "loss" not in named:
        head.append(f"loss {words.number(float(status['loss']), 3)}")
    head += [state] if state else []
    rows = Table.grid(padding=(0, 1))
    rows.add_column(justify="right", style="dim")
    rows.add_column(no_wrap=True, max_width=max(8, width // 3))
    rows.add_column(justify="right", min_width=8)
    rows.add_column(min_width=4)
    rows.add_column()
    norms = _norms(status)
    room = max(4, width - width // 3 - 22)
    for index, name in enumerate(voices[: len(status["norms"])]):
        level = status["levels"][index]
        bar = Text("━" * round(level * room), style="red" if index in status["wrong"] else "cyan")
        rows.add_row(
            str(index + 1),
            Text(printable(name), overflow="ellipsis"),
            _cell(norms[index]),
            status["notes"][index] or "–",
            bar,
        )
    for index, name in enumerate(named, len(status["norms"])):
        note = status["notes"][index] if index < len(status["notes"]) else ""
        rows.add_row(
            str(index + 1),
            Text(printable(name), overflow="ellipsis"),
            words.number(float(status["values"].get(name, "nan")), 3),
            note or "–",
            Text(""),
        )
    whole = Table.grid()
    whole.add_row(Text(" · ".join(head), style="bold", overflow="ellipsis", no_wrap=True))
    whole.add_row(rows)
    for fault in status["faults"][-3:]:
        whole.add_row(
            Text(printable(fault["text"]), style="red", overflow="ellipsis", no_wrap=True)
        )
    counts = counts_line(status)
    if counts:
        whole.add_row(Text(counts, style="yellow"))
    whole.add_row(Text(HELP, style="dim", overflow="ellipsis", no_wrap=True))
    return whole


def _cell(norm: float) -> str:
    """Return a norm in the picture: zero, and no gradient (below zero), are words."""
    if norm == 0.0:
        return "zero"
    return "none" if norm < 0.0 else words.number(norm, 3)
