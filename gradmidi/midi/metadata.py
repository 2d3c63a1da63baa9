"""Text events in a `.mid` that `compose` writes and `decode` needs to turn notes into norms."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["follow", "read", "unroll", "write"]

PREFIX = "gradmidi "


def write(content: Mapping[str, Any]) -> str:
    """Write a text event.

    Examples
    --------
    >>> write({"slots": 200})
    'gradmidi {"slots": 200}'
    """
    return PREFIX + json.dumps(content)


def read(text: str) -> dict[str, Any]:
    """Read a text event; return an empty dict if gradmidi did not write it.

    Examples
    --------
    >>> read('gradmidi {"slots": 200}'), read("verse"), read("gradmidi was here")
    ({'slots': 200}, {}, {})
    """
    if not text.startswith(PREFIX):
        return {}
    try:
        content = json.loads(text.removeprefix(PREFIX))
    except json.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def follow(rows: list[list[int]], slot: int, step: int) -> None:
    """Add a slot's last step to run-length rows: first slot, its step, steps per slot, slots.

    Examples
    --------
    >>> rows: list[list[int]] = []
    >>> for slot, step in enumerate((1, 11, 21, 22, 23)):
    ...     follow(rows, slot, step)
    >>> rows
    [[0, 1, 10, 3], [3, 22, 1, 2]]
    """
    if rows:
        first, begin, spacing, count = rows[-1]
        if slot == first + count and (count == 1 or step == begin + spacing * count):
            rows[-1] = [first, begin, step - begin if count == 1 else spacing, count + 1]
            return
    rows.append([slot, step, 0, 1])


def unroll(rows: Sequence[Sequence[int]], slots: int) -> tuple[int | None, ...]:
    """Return the last step of each slot from the rows of `follow`; None for an empty slot.

    Examples
    --------
    >>> unroll([[0, 1, 10, 3], [4, 22, 0, 1]], 6)
    (1, 11, 21, None, 22, None)
    """
    steps: list[int | None] = [None] * slots
    for first, begin, spacing, count in rows:
        for index in range(min(count, slots - first)):
            steps[first + index] = begin + spacing * index
    return tuple(steps)
