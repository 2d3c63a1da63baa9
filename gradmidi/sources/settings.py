"""Tell what a program prints before it trains, as its settings, from values of the training."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence

from gradmidi.sources.rows import Row
from gradmidi.sources.selection import is_progress

__all__ = ["has_begun", "only", "without_settings"]

FEW = 3
"""A value with so many steps before the training is none of its settings."""


def without_settings(
    rows: Sequence[Row], columns: Sequence[str]
) -> tuple[list[Row], tuple[str, ...]]:
    """Remove settings from rows, of which each stays, perhaps without values, and from columns.

    The training begins with the value that has the most steps, or, if the text names none, the most
    lines. What stands before is no value: without a step, or with a few later steps only.

    Examples
    --------
    >>> rows = [Row("line 1", (None,), None, {"dropout": 0.1, "lr": 0.5}, line=1)]
    >>> rows += [Row("", (float(n),), None, {"loss": 2.0, "lr": 0.1}, line=n) for n in (2, 3, 4)]
    >>> rows, columns = without_settings(rows, ["dropout", "lr", "loss"])
    >>> [dict(row.values) for row in rows][:2], columns
    ([{}, {'loss': 2.0, 'lr': 0.1}], ('lr', 'loss'))
    """
    steps = {name: found for name, found in _steps(rows).items() if not is_progress(name)}
    main = _forward(max(steps.values(), key=_count, default={}))
    many: set[str] = set()
    first, start, begin = -1.0, 0, 0
    if len(main) > 1:
        # Some programs print the first step, and then their settings.
        (first, start), (_, begin) = main[:2]
        early = _steps(row for row in rows if row.line < begin)
        many = {name for name, found in early.items() if len(found) >= FEW}
    else:
        begin = _most_lines(rows)
    later = {name for row in rows if row.line >= begin for name in row.values} | many
    # A line with other names too is of settings, as ``lr0=0.01 box=0.05``.
    others = {row.line for row in rows if row.line < begin and row.values.keys() - later}
    left = []
    for row in rows:
        is_value = row.line not in others if row.line > start else _is_until(row, first)
        if row.line < begin:
            row = only(row, later if is_value else many)
        left.append(row)
    names = {name for row in left for name in row.values}
    return left, tuple(name for name in columns if name in names)


def has_begun(rows: Sequence[Row]) -> bool:
    """Return whether a value has come at two steps."""
    return any(_count(found) > 1 for name, found in _steps(rows).items() if not is_progress(name))


def _count(steps: Mapping[float, int]) -> int:
    return len(_forward(steps))


def _forward(steps: Mapping[float, int]) -> list[tuple[float, int]]:
    """Return steps with their lines, without those before a step back, as ``warmup_steps=500``."""
    found = sorted(steps.items(), key=lambda item: item[1])
    following = [step for step, _ in found[1:]] + [math.inf]
    return [each for each, next_ in zip(found, following, strict=False) if each[0] <= next_]


def only(row: Row, names: Container[str]) -> Row:
    """Return a row with these of its values."""
    return row._replace(values={n: value for n, value in row.values.items() if n in names})


def _is_until(row: Row, first: float) -> bool:
    """Return whether a row has a step up to the first, as that of an evaluation before it."""
    step = row.counts[0]
    return isinstance(step, float) and step <= first


def _steps(rows: Iterable[Row]) -> dict[str, dict[float, int]]:
    """Return the steps of each value, and the first line of each step."""
    found: dict[str, dict[float, int]] = {}
    for row in rows:
        step = row.counts[0]
        if isinstance(step, float):
            for name in row.values:
                found.setdefault(name, {}).setdefault(step, row.line)
    return found


def _most_lines(rows: Sequence[Row]) -> int:
    """Return the second line of the value with the most lines; the first may be its setting."""
    lines: dict[str, list[int]] = {}
    for row in rows:
        for name in row.values:
            lines.setdefault(name, []).append(row.line)
    most = sorted(lines[max(lines, key=lambda name: len(lines[name]))]) if lines else []
    return most[1] if most[1:] else 0
