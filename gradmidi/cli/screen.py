"""Show a live run on the whole terminal: a row for each voice, faults, keys."""

import contextlib
import math
import os
import signal
import textwrap
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradmidi.base.messages import printable
from gradmidi.cli.view import Rate, Settings, Status, counts_line, norms_of
from gradmidi.text import words

if TYPE_CHECKING:
    from rich.text import Text

    from gradmidi.live.feed import Live

__all__ = ["Screen", "Shown", "screen_lines"]

KEYS = (
    "space mute · + - level · ↑ ↓ Enter solo · n numbers · f fault · ? help · q quit",
    "space mute · ↑ ↓ Enter solo · ? help · q quit",
    "space mute · ? help · q quit",
    "? help · q quit",
)
"""The keys in the last line: the first of these that fits."""

HELP = (
    "space  mute, or unmute",
    "+ -    louder, quieter by 3 dB",
    "↑ ↓    choose a voice; also k j",
    "Enter  hear only it, or all again",
    "1-9    the same for voice 1 to 9",
    "n f    the numbers; the last fault",
    "bar: below home to the left of │,",
    "above it to the right",
)

BLOCKS, SPARKS = "▏▎▍▌▋▊▉█", "▁▂▃▄▅▆▇█"

RANGE = 8.0
"""Degrees of the scale either side of home that a bar shows."""

MOST_HISTORY = 200

MESSAGE_SECONDS = 10.0
"""How long a message is shown."""

MOST_SAID = 100
"""How many messages are printed when the view is closed."""

FAULT, ABOVE, BELOW = "bold red", "yellow", "cyan"


@dataclass(slots=True)
class Shown:
    """What the screen shows.

    Parameters
    ----------
    voices : sequence of str
        Names of the voices.
    status : Status
        The player's status.
    settings : Settings
        What keys changed.
    rate : Rate
        Steps per second.
    last : int or None
        The last step of a finished run.
    message : str
        The last message.
    history : list of deque of float
        Degrees above home of each voice, the newest last; inf where its norm is nan or infinite.
    helps : bool
        Whether the keys are explained.
    """

    voices: Sequence[str]
    status: Status
    settings: Settings = field(default_factory=Settings)
    rate: Rate = field(default_factory=Rate)
    last: int | None = None
    message: str = ""
    history: "list[deque[float]]" = field(default_factory=list)
    helps: bool = False


class Screen:
    """The view on the terminal's alternate screen, which is left at the end.

    Messages that came meanwhile, and faults, are then printed as lines.

    Parameters
    ----------
    console : rich.console.Console
        The terminal.
    last : int or None
        The last step of a finished run.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        console: Any,
        last: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._shown = Shown((), {}, last=last)
        self._entered = False
        self._said: deque[str] = deque(maxlen=MOST_SAID)
        self._until = 0.0
        self._faults = 0
        self._stops = self._continued = False

    @property
    def rate(self) -> Rate:
        """Steps per second."""
        return self._shown.rate

    def begin(self) -> None:
        """Do nothing, since the screen shows the keys."""

    def help(self) -> None:
        """Explain the keys, or stop it."""
        self._shown.helps = not self._shown.helps

    def say(self, text: str) -> None:
        """Show a message; before the screen is used, print it."""
        if not self._entered:
            self._print(text)
            return
        self._shown.message = printable(text)
        self._until = self._clock() + MESSAGE_SECONDS
        self._said.append(text)

    def show(self, live: "Live", settings: Settings) -> None:
        """Draw the screen."""
        if "step" not in live.status:
            return
        shown = self._shown
        status = live.status
        moved = shown.status.get("step") != status["step"]
        shown.voices, shown.status, shown.settings = live.voices, status, settings
        if moved:
            # A finished run is played in another time than its own.
            seconds = status["seconds"] if shown.last is None else self._clock()
            shown.rate.add(status["step"], seconds)
            _remember(shown.history, status)
        self._note_faults(status)
        if self._clock() > self._until:
            shown.message = ""
        if not self._entered:
            # Noted first, so that an interrupt in the next lines does not leave it so.
            self._entered = True
            self._console.set_alt_screen(True)
            self._console.show_cursor(False)
        from rich.console import Group
        from rich.control import Control
        from rich.screen import Screen as Whole

        width, height = self._console.size
        whole = Whole(Group(*screen_lines(shown, width, height)))
        self._console.control(Control.home())
        self._console.print(whole, end="")

    def note(self, number: int, _frame: object) -> None:
        """Handle SIGTSTP (Ctrl-Z) and SIGCONT: a frame may be half drawn, so `pause` acts."""
        if number == signal.SIGCONT:
            self._continued = True
        elif self._entered:
            self._stops = True
        else:
            signal.raise_signal(signal.SIGSTOP)

    def pause(self, keys: Any) -> None:
        """Stop the process after Ctrl-Z, with the terminal as it was; enter the screen again.

        `keys` are `gradmidi.cli.keys.Keys`.
        """
        if self._stops:
            self._stops = False
            self._leave()
            keys.release()
            # All threads stop here, until SIGCONT.
            os.kill(os.getpid(), signal.SIGSTOP)
        if self._continued:
            self._continued = False
            keys.take()
            # The next `show` enters it.
            self._entered = False

    def close(self) -> None:
        """Leave the screen; print the messages and faults that it showed."""
        if not self._entered:
            return
        # The terminal may be gone.
        with contextlib.suppress(OSError):
            self._leave()
            for text in self._said:
                self._print(text)

    def _leave(self) -> None:
        self._console.set_alt_screen(False)
        self._console.show_cursor(True)

    def _note_faults(self, status: Status) -> None:
        new = min(status["fault_count"] - self._faults, len(status["faults"]))
        self._faults = status["fault_count"]
        for fault in status["faults"][len(status["faults"]) - new :]:
            self._said.append(f"fault, {fault['text']}")

    def _print(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _remember(history: "list[deque[float]]", status: Status) -> None:
    degrees = [float(number) for number in status["degrees"]]
    norms = norms_of(status)
    while len(history) < len(degrees):
        history.append(deque(maxlen=MOST_HISTORY))
    for voice, past in enumerate(history[: len(degrees)]):
        odd = voice < len(norms) and not math.isfinite(norms[voice])
        past.append(math.inf if odd else degrees[voice])


def screen_lines(shown: Shown, width: int, height: int) -> "list[Text]":
    """Return at most `height` lines of at most `width` columns; the newest fault is whole."""
    from rich.text import Text

    status = shown.status
    keys = next((line for line in KEYS if len(line) <= width), KEYS[-1])
    left = height - 2
    faults = [_wrapped(fault["text"], width, left - 1) for fault in status["faults"][::-1]]
    below: list[Text] = []
    if shown.message:
        lines = _wrapped(shown.message, width, left // 2)
        below += [Text(line, style="bold") for line in lines]
    counts = counts_line(status)
    if counts:
        below += [Text(line, style="yellow") for line in _wrapped(counts, width, 2)]
    newest = [Text(line, style=FAULT) for line in (faults[0] if faults else ())]
    below = below[: max(0, left - len(newest) - 1)]
    room = left - len(newest) - len(below)
    rows = [Text(line) for line in HELP[:room]] if shown.helps else _rows(shown, width, room)
    # Older faults, if there is room for them.
    older: list[Text] = []
    for lines in faults[1:]:
        if len(rows) + len(older) + len(lines) > room:
            break
        older = [*(Text(line, style="red") for line in lines), *older]
    head = Text(_head(shown, width), style="bold")
    blank = [Text("")] * (room - len(rows) - len(older))
    body = [head, *rows, *blank, *older, *newest, *below, Text(keys, style="dim")]
    for line in body:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return body[:height]


def _wrapped(text: str, width: int, most: int) -> list[str]:
    lines = textwrap.wrap(printable(text), width) or [""]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], lines[most - 1][: width - 1] + "…"] if most > 0 else []


def _head(shown: Shown, width: int) -> str:
    """Return the first line: step, progress, settings, rate and loss, as far as there is room."""
    status = shown.status
    head = f"step {status['step']:,}"
    if shown.last:
        share = min(max(status["step"] / shown.last, 0.0), 1.0)
        head += f" of {shown.last:,}, {math.floor(100.0 * share)} %"
    loss = status.get("loss")
    more = [
        *shown.settings.in_words,
        str(shown.rate),
        "" if loss is None else f"loss {words.number(float(loss), 3)}",
    ]
    for part in filter(None, more):
        if len(head) + 3 + len(part) <= width:
            head = f"{head} · {part}"
    if shown.last and (room := width - len(head) - 3) >= 8:
        done = round(share * min(room, 30))
        head += "  " + "━" * done + "╌" * (min(room, 30) - done)
    return head


def _rows(shown: Shown, width: int, room: int) -> "list[Text]":
    """Return the rows of the voices; of too many, those around the one chosen."""
    from rich.text import Text

    total = len(shown.voices)
    first, count = 0, total
    if total > room:
        count = max(1, room - 1)
        first = min(max(shown.settings.chosen - count // 2, 0), total - count)
    name_width = min(max(map(len, map(printable, shown.voices)), default=1), max(8, width // 4))
    rows = [_row(shown, voice, name_width, width) for voice in range(first, first + count)]
    if total > room > 1:
        wrong = set(shown.status["wrong"]) - set(range(first, first + count))
        faulty = f", {len(wrong)} of them at fault" if wrong else ""
        rows.append(
            Text(f"  … {total - count} more with ↑ ↓{faulty}", style="red" if wrong else "")
        )
    return rows


def _row(shown: Shown, voice: int, name_width: int, width: int) -> "Text":
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    status = shown.status
    norms = norms_of(status)
    name = shown.voices[voice]
    value = norms[voice] if voice < len(norms) else float(status["values"].get(name, "nan"))
    number = _cell(value) if voice < len(norms) else words.number(value, 3)
    odd = not math.isfinite(value) and (voice < len(norms) or name in status["values"])
    wrong = voice in status["wrong"] or odd
    notes = status["notes"]
    note = notes[voice] if voice < len(notes) else ""
    silent = shown.settings.muted or shown.settings.solo not in (None, voice)
    mark = ">" if voice == shown.settings.chosen else " "
    label = printable(name)
    if cell_len(label) > name_width:
        # Names of neighbouring layers differ at their ends.
        label = "…" + label[1 - name_width :]
    row = Text()
    row.append(f"{mark}{voice + 1:>2}", style="bold" if mark == ">" else "dim")
    row.append("!" if wrong else " ", style=FAULT)
    row.append(set_cell_size(label, name_width) + " ", style="dim" if silent else "")
    row.append(f"{number:>9} {note or '–':<3} ", style=FAULT if wrong else "")
    degrees = float(status["degrees"][voice]) if voice < len(status["degrees"]) else math.nan
    room = width - row.cell_len
    half = min(10, (room - 1) // 2 if room < 32 else (room - 2) // 4)
    if half >= 2:
        row.append_text(_bar(degrees, half, wrong=wrong))
        past = shown.history[voice] if voice < len(shown.history) else ()
        sparks = width - row.cell_len - 1
        if sparks >= 4:
            row.append(" " + _sparkline(list(past)[-sparks:]), style="dim")
    return row


def _bar(degrees: float, half: int, *, wrong: bool) -> "Text":
    """Return a bar that begins at home, in the middle."""
    from rich.text import Text

    bar = Text()
    if math.isnan(degrees):
        bar.append(" " * half + "│" + " " * half)
        return bar
    eighths = round(min(abs(degrees) / RANGE, 1.0) * half * 8)
    full, part = divmod(eighths, 8)
    if degrees >= 0.0:
        text = "█" * full + (BLOCKS[part - 1] if part else "")
        bar.append(" " * half + "│")
        bar.append(f"{text:<{half}}", style=FAULT if wrong else ABOVE)
        return bar
    text = ("▐" if part >= 4 else "") + "█" * full
    bar.append(f"{text:>{half}}", style=FAULT if wrong else BELOW)
    bar.append("│" + " " * half)
    return bar


def _sparkline(past: Sequence[float]) -> str:
    """Return a character for each number; nan is a blank, and inf an exclamation mark.

    Examples
    --------
    >>> _sparkline([-8.0, 0.0, 8.0, float("nan"), float("inf")])
    '▁▅█ !'
    """
    text = ""
    for degrees in past:
        if math.isinf(degrees):
            text += "!" if degrees > 0.0 else SPARKS[0]
        elif math.isnan(degrees):
            text += " "
        else:
            share = min(max((degrees + RANGE) / (2.0 * RANGE), 0.0), 1.0)
            text += SPARKS[math.floor(share * 7.0 + 0.5)]
    return text


def _cell(norm: float) -> str:
    """Return a norm: zero, and no gradient (below zero), are words."""
    if norm == 0.0:
        return "zero"
    return "none" if norm < 0.0 else words.number(norm, 3)
