"""The heat map of a run as text for a terminal: verdict, values, faults, map, axis, legend.

With 256 colours or more, each character of the map shows two rows, one in each half. With fewer
it shows one row, and is higher the larger the norm is.
"""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gradmidi.base.messages import printable
from gradmidi.report.heatmap import (
    INF,
    NONE,
    ZERO_CODE,
    HeatMap,
    Strip,
    colours,
    doublings,
    reduced,
)
from gradmidi.report.labels import Group, fitting, step_ticks
from gradmidi.report.look import palette
from gradmidi.text.faults import short, verdict
from gradmidi.text.words import number

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["picture"]

LEVELS = "▁▂▃▄▅▆▇█"
NO_GRADIENT, NOT_FINITE, ZERO = "╱", "!", "0"
"""Characters of special cells; those that are exactly zero have one only without colours."""

TALL, APART, MOST_STRIPS, NAMED_FAULTS = 8, 24, 2, 3
"""Most layers that have two lines each, and one each; most lines of values and of faults."""

LEAST_WIDTH, LEAST_ROOM = 30, 4
"""Columns of a picture, and lines of its map, at least."""


def picture(heat: HeatMap, name: str, width: int, height: int, *, coloured: bool) -> "list[Text]":
    """Draw a heat map in about `height` lines of at most `width` columns.

    `coloured` is whether the terminal has 256 colours or more.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> from gradmidi.log import RunLog
    >>> from gradmidi.report.heatmap import heat_map
    >>> folder = tempfile.mkdtemp() + "/a"
    >>> with gradmidi.record(folder, layers=["fc1"], files=()) as ears:
    ...     for norm in (1.0, 4.0, 0.25, 0.0):
    ...         ears.frame({"fc1": norm})
    >>> print(picture(heat_map(RunLog(folder), ()), "a", 30, 12, coloured=False)[2].plain)
     fc1 ▅▅▅▅▅▅██████▁▁▁▁▁▁000000
    """
    lines = list(_Picture(heat, max(LEAST_WIDTH, width), height, coloured).lines(name))
    for line in lines:
        line.no_wrap = True
        line.truncate(max(LEAST_WIDTH, width), overflow="ellipsis")
    return lines


class _Picture:
    """The parts of one picture."""

    def __init__(self, heat: HeatMap, width: int, height: int, coloured: bool) -> None:
        self.heat, self.width, self.coloured = heat, width, coloured
        self.strips = heat.strips[:MOST_STRIPS] if heat.layers else heat.strips
        names = min(NAMED_FAULTS, len(heat.faults))
        self.told = textwrap.wrap(printable(verdict(heat.faults)), width)
        # Besides the map: title, triangles, axis, legend.
        room = max(LEAST_ROOM, height - len(self.told) - len(self.strips) - names - 4)
        layers = len(heat.layers)
        # Few layers have a line each, so that their names are beside them.
        self.single = layers <= min(room, APART) or not coloured
        self.rows = min(layers, room if self.single else 2 * room)
        self.twice = self.coloured and layers <= TALL and 2 * layers <= room
        self.labels = self._labels()
        texts = [*self.labels.values(), *(printable(strip.name) for strip in self.strips)]
        self.left = min(max(4, *map(len, texts)), max(8, width // 4)) + 1
        self.ends = [f" {number(s.ends[0], 3)} to {number(s.ends[1], 3)}" for s in self.strips]
        inner = max(8, width - self.left - max(map(len, self.ends), default=0))
        columns = max(1, heat.codes.shape[1])
        # Each of few steps is as wide as the others.
        self.inner = columns * (inner // columns) if columns <= inner else inner

    def lines(self, name: str) -> "Iterator[Text]":
        """Yield all lines."""
        from rich.text import Text

        yield Text(printable(name), style="bold")
        for told in self.told:
            yield Text(told, style="red" if self.heat.faults else "")
        for strip, ends in zip(self.strips, self.ends, strict=True):
            yield self._beside(strip.name).append(self._curve(strip)).append(ends, style="dim")
        yield from self._faults()
        if self.heat.layers:
            yield from self._map()
        yield self._axis()
        if self.heat.layers:
            yield self._legend()

    def _beside(self, label: str) -> "Text":
        """Return the start of a line: a label, of which a long one is cut at its start."""
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        room, label = self.left - 1, printable(label)
        if cell_len(label) > room:
            label = "…" + label[1 - room :]
        return Text(set_cell_size(" " * (room - cell_len(label)) + label, room) + " ")

    def _spread(self, cells: Sequence[str]) -> str:
        return "".join(cell * (self.inner // len(cells)) for cell in cells)

    def _curve(self, strip: Strip) -> str:
        """Return the largest values of a strip as characters; where there is none, a blank."""
        size = min(self.inner, len(strip.high))
        values = np.fmax.reduceat(strip.high, np.arange(size) * len(strip.high) // size)
        low, high = strip.ends
        if strip.logarithmic:
            values, low, high = np.log(values), np.log(low), np.log(high)
        shares = (values - low) / ((high - low) or 1.0)
        return self._spread([" " if np.isnan(share) else _level(share) for share in shares])

    def _column(self, step: int) -> int:
        """Return the character of the map in which a step is."""
        return (step - self.heat.first) * self.inner // max(1, self.heat.end - self.heat.first)

    def _faults(self) -> "Iterator[Text]":
        """Yield the names of the first faults, the last of them uppermost, then triangles."""
        if not self.heat.faults:
            return
        marks = [" "] * self.inner
        for fault in self.heat.faults:
            marks[self._column(fault.steps[0])] = "▼"
        for fault in self.heat.faults[:NAMED_FAULTS][::-1]:
            name = f"step {fault.steps[0]:,}: {printable(short(fault))}"
            start = self.left + self._column(fault.steps[0])
            line = self._beside("")
            line.pad_right(max(0, min(start, self.width - len(name)) - self.left))
            yield line.append(name, style="red")
        yield self._beside("").append("".join(marks), style="red")

    def _labels(self) -> dict[int, str]:
        """Return the names beside rows of the map, with those of the modules around them."""
        total, rows = len(self.heat.layers), self.rows
        if rows == total and self.single:
            return dict(enumerate(self.heat.layers))
        shown = fitting(self.heat.groups, total / rows * (1 if self.single else 2))
        found: dict[int, str] = {}
        around: list[Group] = []
        for group in self.heat.groups:
            around = [*around[: group.depth], group]
            if group in shown and not any(
                each.depth == group.depth + 1 and group.start <= each.start < group.stop
                for each in shown
            ):
                place = (group.start + group.stop - 1) * rows // (2 * total)
                found[place] = ".".join(each.name for each in around)
        return found

    def _map(self) -> "Iterator[Text]":
        codes = reduced(self.heat.codes, self.rows, self.inner)
        each = 1 if self.single else 2
        for row in range(0, self.rows, each):
            label = next((self.labels[at] for at in (row, row + each - 1) if at in self.labels), "")
            line = self._beside(label)
            upper, lower = codes[row], codes[min(row + each, self.rows) - 1]
            wide = self.inner // len(upper)
            for pair in zip(upper.tolist(), lower.tolist(), strict=True):
                line.append(*self._cell(*pair, wide))
            yield line
            if self.twice:
                yield self._beside("") + line[self.left :]

    def _cell(self, upper: int, lower: int, wide: int) -> tuple[str, str]:
        """Return the characters of a cell, and their style."""
        if upper == lower == NONE:
            return NO_GRADIENT * wide, "dim" if self.coloured else ""
        if not self.coloured:
            share = (doublings(np.uint8(upper)) / self.heat.limit + 1.0) / 2.0  # type: ignore[arg-type]
            special = ZERO if upper == ZERO_CODE else NOT_FINITE
            return (special if np.isnan(share) else _level(float(share))) * wide, ""
        table = colours(self.heat.limit)
        first, second = (_hexadecimal(table[code]) for code in (upper, lower))
        if min(upper, lower) >= INF:
            return NOT_FINITE * wide, f"#ffffff on {first}"
        if lower == NONE:
            return "▀" * wide, first
        return "▄" * wide, second if upper == NONE else f"{second} on {first}"

    def _axis(self) -> "Text":
        line = self._beside("step")
        for step, text in step_ticks(self.heat.first, self.heat.last, max(2, self.inner // 12)):
            start = self.left + self._column(int(step)) - (len(text) - 1) // 2
            start = max(self.left, min(start, self.left + self.inner - len(text)))
            if start >= line.cell_len:
                line.pad_right(start - line.cell_len)
                line.append(text)
        return line

    def _legend(self) -> "Text":
        from rich.text import Text

        heat, factor = self.heat, 2**self.heat.limit
        line = Text(f"1/{factor} ")
        if self.coloured:
            for colour in palette(np.linspace(-1.0, 1.0, 12)):
                line.append(" ", style=f"on {_hexadecimal(255 * colour)}")
        else:
            line.append(LEVELS)
        line.append(f" {factor} × the first norm")
        grey = _hexadecimal(colours(1)[ZERO_CODE])
        found = [
            (" ", f"on {grey}", "zero", heat.codes == ZERO_CODE),
            (NOT_FINITE, "#ffffff on #000000", "nan or inf", heat.codes >= INF),
            (NO_GRADIENT, "dim", "no gradient", heat.codes == NONE),
        ]  # fmt: skip
        for text, style, meaning, where in found:
            if where.any():
                shown = ZERO if text == " " and not self.coloured else text
                line.append("  ").append(shown, style=style if self.coloured else "")
                line.append(f" {meaning}")
        # It begins at the map, unless it is too long.
        line.pad_left(max(0, min(self.left, self.width - line.cell_len)))
        return line


def _level(share: float) -> str:
    """Return a character for a share of the height."""
    return LEVELS[max(0, min(7, int(8.0 * share)))]


def _hexadecimal(colour: NDArray[np.generic]) -> str:
    """Return the first three of these numbers from 0 to 255 as a colour."""
    return "#" + "".join(f"{round(float(part)):02x}" for part in colour[:3])
