"""Labels of a heat map: the module tree beside its rows, and the ticks on its axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

__all__ = ["Group", "fitting", "groups", "step_ticks", "time_ticks"]


@dataclass(frozen=True, slots=True)
class Group:
    """A module or a layer, and its rows.

    Parameters
    ----------
    start, stop : int
        Its rows, without the last.
    depth : int
        0 for the outermost modules; the modules inside it have one more.
    name : str
        The name below the module that it is in, as ``attn`` inside of ``blocks.3``.
    """

    start: int
    stop: int
    depth: int
    name: str


def groups(names: Sequence[str]) -> tuple[Group, ...]:
    """Return the modules and layers of qualified names, each once, in order of rows.

    Neighbours whose names begin alike are one module. A number joins the name before it, and a
    module with a single part joins its part. A module that holds all layers is left out.

    Examples
    --------
    >>> names = ["stem", "blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp", "blocks.1.mlp"]
    >>> for group in groups(names):
    ...     print(group.start, group.stop, "  " * group.depth + group.name)
    0 1 stem
    1 4 blocks.0
    1 3   attn
    1 2     qkv
    2 3     proj
    3 4   mlp
    4 5 blocks.1.mlp
    """
    paths = [tuple(_components(name or "model")) for name in names]
    shared = 0
    while len(paths) > 1 and len({path[: shared + 1] for path in paths}) == 1:
        if any(len(path) == shared + 1 for path in paths):
            break
        shared += 1
    return tuple(_below(paths, 0, len(paths), shared, 0))


def fitting(groups: Sequence[Group], least: float) -> list[Group]:
    """Return the groups with a label, which needs `least` rows.

    Of modules that are too small for theirs only every few have one, if the module around them has
    room for two of them: a single one would look like its only part.

    Examples
    --------
    >>> parts = ("a.q", "a.k", "mlp")
    >>> found = groups([f"h.{block}.{part}" for block in range(2) for part in parts])
    >>> [group.name for group in fitting(found, 3)], [group.name for group in fitting(found, 1)]
    (['h.0', 'h.1'], ['h.0', 'a', 'q', 'k', 'mlp', 'h.1', 'a', 'q', 'k', 'mlp'])
    """
    found: list[Group] = []
    parents: list[Group] = []
    free: dict[int, float] = {}
    # The small modules in each module, and those of them that have room.
    small: dict[Group | None, list[Group]] = {}
    roomy: dict[Group | None, list[Group]] = {}
    labelled: dict[Group | None, int] = {}
    for group in groups:
        parents = [*parents[: group.depth], group]
        size, middle = group.stop - group.start, (group.start + group.stop) / 2
        parent = parents[-2] if group.depth else None
        if size < least:
            inside = all(p in found and p.stop - p.start >= least for p in parents[:-1])
            if size == 1 or not inside:
                continue
            small.setdefault(parent, []).append(group)
            if middle - least / 2 < free.get(group.depth, 0.0):
                continue
            roomy.setdefault(parent, []).append(group)
        found.append(group)
        labelled[parent] = labelled.get(parent, 0) + 1
        free[group.depth] = middle + least / 2
    single = [
        shown[0]
        for parent, shown in roomy.items()
        if len(shown) == 1 and (len(small[parent]) > 1 or (parent and labelled[parent] == 1))
    ]
    return [group for group in found if group not in single]


def _components(name: str) -> list[str]:
    """Split a qualified name at its dots, but not before a number."""
    parts: list[str] = []
    for part in name.split("."):
        if parts and part.isdecimal():
            parts[-1] += f".{part}"
        else:
            parts.append(part)
    return parts


def _below(
    paths: Sequence[tuple[str, ...]], start: int, stop: int, at: int, depth: int
) -> list[Group]:
    found: list[Group] = []
    # A module's own parameters have no further component: each such row is a group of its own.
    rows = groupby(range(start, stop), lambda i: paths[i][at] if len(paths[i]) > at else i)
    for key, members in rows:
        own = list(members)
        first, last = own[0], own[-1] + 1
        if not isinstance(key, str):
            continue
        end = at + 1
        while last - first == 1 and end < len(paths[first]):
            end += 1
        while last - first > 1 and len({paths[i][: end + 1] for i in own}) == 1:
            if len(paths[first]) <= end:
                break
            end += 1
        found.append(Group(first, last, depth, ".".join(paths[first][at:end])))
        if last - first > 1:
            found += _below(paths, first, last, end, depth + 1)
    return found


TIMES = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800),
    *(3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000),
)
"""Usual distances of seconds on an axis."""


def step_ticks(first: int, last: int, most: int) -> list[tuple[float, str]]:
    """Return at most about `most` round steps, the first step included.

    Examples
    --------
    >>> step_ticks(1, 200, 5)
    [(1, '1'), (50, '50'), (100, '100'), (150, '150'), (200, '200')]
    """
    span = max(1, last - first)
    distance = _round(span / max(1, most - 1))
    steps = [s for s in range(-(-first // distance) * distance, last + 1, distance) if s > first]
    if steps and steps[0] - first < distance / 2:
        steps = steps[1:]
    return [(step, f"{step:,}") for step in (first, *steps)]


def time_ticks(
    seconds: NDArray[np.float64], places: NDArray[np.int_], most: int
) -> list[tuple[float, str]]:
    """Return at most about `most` round times, at the steps `places` of these `seconds`.

    Examples
    --------
    >>> time_ticks(np.array([0.0, 30.0, 60.0]), np.array([1, 2, 3]), 3)
    [(1.0, '0 s'), (2.0, '30 s'), (3.0, '1 min')]
    """
    low, high = float(np.nanmin(seconds)), float(np.nanmax(seconds))
    wanted = (high - low) / max(1, most - 1)
    distance = next((time for time in TIMES if time >= wanted * 0.999), TIMES[-1])
    first = math.ceil(low / distance - 1e-9)
    times = [distance * n for n in range(first, math.floor(high / distance + 1e-9) + 1)]
    at = np.interp(times, np.maximum.accumulate(seconds), places)
    return [(float(place), _time(time)) for place, time in zip(at, times, strict=True)]


def _round(least: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, … that is at least `least`, up to a tenth less."""
    power: int = 10 ** max(0, math.floor(math.log10(max(1.0, least))))
    return next(n * power for n in (1, 2, 5, 10, 20) if n * power >= 0.9 * least)


def _time(seconds: float) -> str:
    """Return a time in seconds, minutes, hours or days."""
    for unit, part, name in ((86400, 3600, "d"), (3600, 60, "h"), (60, 1, "min")):
        if seconds >= unit:
            whole, rest = divmod(seconds, unit)
            if rest == 0.0:
                return f"{whole:g} {name}"
            return f"{whole:g}:{rest / part:02.0f} {name}"
    return f"{seconds:g} s"
