"""Blocks of frames: many steps of a run in arrays, for what is faster done at once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradmidi.log.items import Frame, Item

__all__ = ["Block", "gathered"]

MOST = 2048
"""Most frames in a block."""

LEAST = 64
"""Frames in a block of a run with very many layers."""

NUMBERS = 1 << 17
"""Norms in a block between these: about a megabyte."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive frames of a run, with nothing between them.

    Parameters
    ----------
    steps : ndarray of int64, shape (frames,)
        The step of each frame.
    t : ndarray of float64, shape (frames,)
        The time of each frame.
    norms : ndarray of float64, shape (frames, layers)
        The norms of each frame, see `Frame`.
    extra : list of mapping
        The logged values of each frame.
    updates : list of (ndarray or None)
        The sizes of updates of each frame, see `Frame`; empty if no frame has any.

    Examples
    --------
    >>> block = Block.of([Frame(1, 0.1, np.array([0.5])), Frame(2, 0.2, np.array([0.6]))])
    >>> len(block), block.norms.shape, block.frame(1).step
    (2, (2, 1), 2)
    """

    steps: NDArray[np.int64]
    t: NDArray[np.float64]
    norms: NDArray[np.float64]
    extra: Sequence[Any]
    updates: Sequence[np.ndarray | None] = ()

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> "Block":
        """Make a block of frames."""
        updates = [frame.updates for frame in frames]
        return cls(
            np.array([frame.step for frame in frames], np.int64),
            np.array([frame.t for frame in frames], np.float64),
            np.stack([frame.norms for frame in frames]),
            [frame.extra for frame in frames],
            updates if any(each is not None for each in updates) else (),
        )

    def __len__(self) -> int:
        return len(self.steps)

    def frame(self, index: int) -> Frame:
        """Return one frame."""
        updates = self.updates[index] if self.updates else None
        step, t = int(self.steps[index]), float(self.t[index])
        return Frame(step, t, self.norms[index], self.extra[index], updates)

    def frames(self) -> Iterator[Frame]:
        """Return each frame."""
        updates = self.updates or (None,) * len(self)
        return map(Frame, self.steps.tolist(), self.t.tolist(), self.norms, self.extra, updates)

    def part(self, begin: int, end: int) -> "Block":
        """Return the frames from `begin` on, before `end`."""
        chosen = slice(begin, end)
        return Block(
            self.steps[chosen],
            self.t[chosen],
            self.norms[chosen],
            self.extra[chosen],
            self.updates[chosen],
        )


def gathered(items: Iterable[Block | Item], width: int) -> Iterator[Block | Item]:
    """Gather all frames, single ones and those of blocks, into blocks of some size.

    Parameters
    ----------
    items : iterable of Block, Frame or another item
        A run.
    width : int
        How many layers it has.
    """
    most = max(LEAST, min(MOST, NUMBERS // max(1, width)))
    parts: list[Block | Frame] = []
    count = 0
    for item in items:
        frames = len(item) if isinstance(item, Block) else isinstance(item, Frame)
        if isinstance(item, (Block, Frame)):
            parts.append(item)
            count += frames
        if parts and (count >= most or not frames):
            yield _joined(parts)
            parts, count = [], 0
        if not frames:
            yield item
    if parts:
        yield _joined(parts)


def _joined(parts: Iterable[Block | Frame]) -> Block:
    blocks: list[Block] = []
    single: list[Frame] = []
    for part in parts:
        if isinstance(part, Frame):
            single.append(part)
            continue
        if single:
            blocks.append(Block.of(single))
            single = []
        blocks.append(part)
    if single:
        blocks.append(Block.of(single))
    if len(blocks) == 1:
        return blocks[0]
    updates: list[np.ndarray | None] = []
    if any(len(block.updates) for block in blocks):
        for block in blocks:
            updates += block.updates or [None] * len(block)
    return Block(
        np.concatenate([block.steps for block in blocks]),
        np.concatenate([block.t for block in blocks]),
        np.concatenate([block.norms for block in blocks]),
        [extra for block in blocks for extra in block.extra],
        updates,
    )
