"""The module tree of a model, from the names and sizes of its layers, and its division into bands.

`grow` builds the tree: small norms and biases join a neighbour, and modules that repeat are
marked as blocks. `cut` divides it level by level, all modules of a level at once, while the
number of bands allows it. Blocks are never divided; where a level has too many modules,
neighbours form bands of near-equal size. The order of the layers is kept.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

__all__ = ["Band", "Node", "Path", "cut", "grow", "number_of"]

Path = tuple[str, ...]

SMALL = 0.01
"""A norm layer, or a module's own parameters, are small below this share of all parameters."""

_KERNELS = frozenset(side * side + bias for side in (3, 5, 7) for bias in (0, 1))
_NORM = re.compile(r"norm|position|prelu|(?:^|_)(?:bn|ln|gn|ls|rms|bias|scale|pos|wpe)(?:\d|_|$)")
_NUMBERED = re.compile(r"(.*?)(\d+[a-z]?)")


@dataclass(frozen=True, slots=True)
class Node:
    """A module that holds two layers or more, or a layer.

    Parameters
    ----------
    path : tuple of str
        Components of its qualified name.
    start, stop : int
        The range of its layers, including small neighbours that joined it.
    parts : tuple of Node
        Its children; empty for a layer.
    weight : int
        Number of its layers, without small ones.
    block : bool
        Whether it is one of several repeating modules; a block is never divided.
    has_blocks : bool
        Whether it contains a block.
    """

    path: Path
    start: int
    stop: int
    parts: tuple["Node", ...] = ()
    weight: int = 1
    block: bool = False
    has_blocks: bool = False


Band = tuple[Node, ...]
"""Adjacent parts of one node that form one voice."""


def number_of(component: str) -> tuple[str, str] | None:
    """Split a name that ends in a number into text and number; return None for other names.

    Examples
    --------
    >>> number_of("encoder_layer_3"), number_of("0"), number_of("stem")
    (('encoder_layer_', '3'), ('', '0'), None)
    """
    match = _NUMBERED.fullmatch(component)
    return match and (match[1], match[2])


def grow(paths: Sequence[Path], sizes: Sequence[int]) -> Node:
    """Build the tree of a model from its layers' qualified names and numbers of parameters."""
    return _grow(paths, sizes, sum(sizes), 0, len(paths), 0)


def cut(root: Node, most: int) -> list[Band]:
    """Divide a tree into at most `most` bands, in order.

    Modules with further structure are divided first, level by level; then all rows of blocks (or
    of layers) at once. A level with too many parts is divided into as many bands as `most` allows,
    at least two for each module; if that is not possible, it is not divided.
    """
    largest = max((node.weight for node in _walk(root) if node.block), default=0)

    def is_whole(node: Node) -> bool:
        # Do not divide a stem or a head that is no larger than a block either.
        return not node.parts or node.block or (not node.has_blocks and node.weight <= largest)

    bands: list[Band] = [(root,)]
    while True:
        open_ones = [band[0] for band in bands if not is_whole(band[0])]
        level = [node for node in open_ones if not all(map(is_whole, node.parts))] or open_ones
        room = most - len(bands) + len(level)
        if not level or room < 2 * len(level):
            return bands
        shares = _shares(level, room)
        given = {id(node): share for node, share in zip(level, shares, strict=True)}
        bands = [
            new
            for band in bands
            for new in (_bands(band[0], given[id(band[0])]) if id(band[0]) in given else [band])
        ]
        if any(len(node.parts) > share for node, share in zip(level, shares, strict=True)):
            return bands


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts:
        yield from _walk(part)


# -- growing ---------------------------------------------------------------------------------


def _grow(
    paths: Sequence[Path], sizes: Sequence[int], total: int, start: int, stop: int, depth: int
) -> Node:
    """Build the node of the layers from `start` to `stop`, which share `depth` components."""
    if stop - start == 1:
        return Node(paths[start], start, stop)
    parts: list[Node] = []
    # A module's own parameters are a part next to its children; the part has no name component.
    for own, run in groupby(range(start, stop), lambda i: paths[i][depth : depth + 1] or i):
        members = list(run)
        below = depth + isinstance(own, tuple)
        parts.append(_grow(paths, sizes, total, members[0], members[-1] + 1, below))
    parts = _folded(parts, sizes, total, depth)
    path = paths[start][:depth]
    if len(parts) == 1:
        only = parts[0]
        return replace(only, path=path or only.path)
    parts = _with_blocks(parts, paths, depth)
    return Node(
        path,
        start,
        stop,
        tuple(parts),
        weight=sum(part.weight for part in parts),
        # Experts repeat inside a block; they are not a row of blocks.
        has_blocks=path[-1:] != ("experts",) and any(p.block or p.has_blocks for p in parts),
    )


def _folded(parts: list[Node], sizes: Sequence[int], total: int, depth: int) -> list[Node]:
    """Join small layers to the part before them, or the first ones to the part after."""
    small = [_is_small(part, sizes, total, depth) for part in parts]
    if all(small):
        return parts
    kept: list[Node] = []
    start = parts[0].start
    for part, drop in zip(parts, small, strict=True):
        if not drop:
            kept.append(part if kept else replace(part, start=start))
        elif kept:
            kept[-1] = replace(kept[-1], stop=part.stop)
    return kept


def _is_small(part: Node, sizes: Sequence[int], total: int, depth: int) -> bool:
    at, name = part.start, part.path[-1:]
    if part.stop - at > 1 or sizes[at] >= SMALL * total:
        return False
    if len(part.path) == depth or _NORM.search(name[0].lower()):
        return True
    if depth == at == 0 and name[0][:1].isupper():
        # The model's own parameters, such as a class token, come first, under its class's name.
        return True
    # The last layer is the model's output layer, even if it is small.
    return name[0].isdecimal() and 0 < at < len(sizes) - 1 and _fits_norm(sizes[at - 1], sizes[at])


def _fits_norm(before: int, size: int) -> bool:
    """Return whether a layer has the size of a norm layer that follows the layer before it.

    A norm has two parameters for each channel; the layer before it has its fan-in for each. That
    is rarely less than an eighth of the channels, except in depthwise convolutions.
    """
    channels, odd = divmod(size, 2)
    if odd or not channels:
        return False
    fan_in, rest = divmod(before, channels)
    return not rest and (channels <= 8 * fan_in or fan_in in _KERNELS)


def _with_blocks(parts: list[Node], paths: Sequence[Path], depth: int) -> list[Node]:
    """Mark the blocks: repeating parts of two layers or more that contain no blocks."""
    able = [part.weight > 1 and not part.has_blocks for part in parts]
    inside = [
        frozenset(path[depth + 1 :] for path in paths[part.start : part.stop]) for part in parts
    ]
    kinds = [_kind(part.path, depth) for part in parts]
    count = Counter((kinds[at], inside[at]) for at, ok in enumerate(able) if ok)

    def repeats(at: int) -> bool:
        if not able[at] or kinds[at] is None:
            return False
        beside = [i for i in (at - 1, at + 1) if 0 <= i < len(parts) and able[i]]
        return count[kinds[at], inside[at]] > 1 or any(
            kinds[i] == kinds[at] and 2 * len(inside[i] & inside[at]) >= len(inside[i] | inside[at])
            for i in beside
        )

    return [replace(part, block=repeats(at)) for at, part in enumerate(parts)]


def _kind(path: Path, depth: int) -> str | None:
    """Return a part's name at its level without its number; None if it has no number."""
    number = number_of(path[depth]) if len(path) > depth else None
    return None if number is None else number[0]


# -- cutting ---------------------------------------------------------------------------------


def _shares(level: Sequence[Node], room: int) -> list[int]:
    """Distribute `room` bands: two to each module, then one at a time to the heaviest bands."""
    shares = [2] * len(level)
    for _ in range(room - sum(shares)):
        wanting = [i for i, node in enumerate(level) if shares[i] < len(node.parts)]
        if not wanting:
            break
        shares[max(wanting, key=lambda i: level[i].weight / shares[i])] += 1
    return shares


def _bands(node: Node, count: int) -> list[Band]:
    """Group a node's parts into `count` bands of weights as equal as possible."""
    parts = list(node.parts)
    # Layers that joined the node join its first and its last part.
    parts[0] = replace(parts[0], start=node.start)
    parts[-1] = replace(parts[-1], stop=node.stop)
    sums = [0]
    for part in parts:
        sums.append(sums[-1] + part.weight)
    edges = [0]
    for band in range(1, count):
        goal = node.weight * band / count
        allowed = range(edges[-1] + 1, len(parts) - count + band + 1)
        edges.append(min(allowed, key=lambda edge: abs(sums[edge] - goal)))
    edges.append(len(parts))
    return [tuple(parts[a:b]) for a, b in pairwise(edges)]
