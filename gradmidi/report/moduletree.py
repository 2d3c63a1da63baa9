"""Labels for rows of layers: the module tree, with each module named once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

__all__ = ["Group", "fitting", "groups"]


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
