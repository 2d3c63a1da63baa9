"""The lines of a live run on the whole terminal: a row for each voice, faults, counts, keys."""

import math
import textwrap
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gradmidi.base.messages import printable
from gradmidi.cli.view import Rate, Settings, Status, counts_line, norms_of
from gradmidi.text import words

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["Shown", "screen_lines"]

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
