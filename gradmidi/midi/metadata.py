"""Texts in a `.mid` that `compose` writes and `decode` needs to turn notes into norms.

They are sequencer-specific meta events, since notation programs print text events as lyrics.
Version 0.1 wrote text events, which are read too.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["data_of", "follow", "problem", "read", "text_in", "unroll", "write"]

PREFIX = "gradmidi "

OWNER = 0x7D
"""First byte of a sequencer-specific event: the manufacturer's ID for non-commercial use (MIDI 1.0,
System Exclusive IDs)."""

MOST_SLOTS = 2_000_000
"""The most slots that are decoded: a million steps, and as many again."""

Check = Callable[[Any], bool]
"""Returns whether a value is allowed."""


def _whole(least: int, most: int) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -1e300 < value < 1e300


def _list(check: Check, length: int | None = None) -> Check:
    return lambda value: (
        isinstance(value, list) and all(map(check, value)) and length in (None, len(value))
    )


def _text(value: Any) -> bool:
    return isinstance(value, str)


REQUIRED: Mapping[str, Check] = {
    "voice": _whole(0, 10_000),
    "layers": _list(_text),
    "law": _text,
    "home": _whole(0, 127),
    "reference": lambda value: value is None or (_number(value) and value > 0),
    "step": lambda value: _number(value) and value > 0,
    "scale": _text,
    "range": _list(_text, 2),
    "residue": _text,
    "hz": lambda value: _list(_number, 2)(value) and value[1] != 0,
    "style": _text,
    "origin": _whole(0, 2**31),
    "offset": _whole(0, 2**31),
    "slot_ticks": _whole(1, 2**31),
    "frames_per_slot": _whole(1, 2**53),
}
"""The fields of a voice's text event."""


def _scale(row: Any) -> bool:
    return _list(lambda _: True, 2)(row) and _whole(0, MOST_SLOTS)(row[0]) and _text(row[1])


OPTIONAL: Mapping[str, Check] = {
    "slots": _whole(0, MOST_SLOTS),
    "steps": _list(_list(_whole(0, 2**53), 4)),
    "scales": _list(_scale),
    "tuning": _list(_number),
    "swing": _whole(0, 2**31),
}

OF_VALUE: Mapping[str, Check] = {
    "value": _text,
    "home": _whole(0, 127),
    "scale": _text,
    "range": _list(_text, 2),
    "residue": _text,
    "slot_ticks": _whole(1, 2**31),
    "period": _whole(1, 2**31),
    "offset": _whole(0, 2**31),
}
"""The fields of the text event of a logged value, and, if its law is known:"""

LAW_OF_VALUE: Mapping[str, Check] = {
    "reference": _number,
    "factor": lambda value: _number(value) and value > 0 and value != 1,
    "difference": lambda value: _number(value) and value > 0,
    **{name: OPTIONAL[name] for name in ("steps", "scales", "tuning", "swing")},
}


def problem(
    mapping: Mapping[str, Any],
    required: Mapping[str, Check] = REQUIRED,
    optional: Mapping[str, Check] = OPTIONAL,
) -> str:
    """Return what is wrong with the fields of a text event, or an empty text.

    Examples
    --------
    >>> problem({"voice": -1})
    "'voice' is -1"
    >>> problem({"voice": 1, "slots": []})
    "'layers' is missing"
    """
    for name, check in {**required, **optional}.items():
        if name not in mapping:
            if name in required:
                return f"{name!r} is missing"
        elif not check(mapping[name]):
            return f"{name!r} is {str(mapping[name])[:40]}"
    return ""


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
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def data_of(text: str) -> tuple[int, ...]:
    """Return the data of the sequencer-specific event of an ASCII text."""
    return (OWNER, *text.encode("ascii"))


def text_in(message: Any) -> str:
    """Return the text of a meta event, a mido message; an empty text if it has none."""
    if message.type == "text":
        return str(message.text)
    data = tuple(message.data) if message.type == "sequencer_specific" else ()
    return bytes(data[1:]).decode("ascii", "replace") if data[:1] == (OWNER,) else ""


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
