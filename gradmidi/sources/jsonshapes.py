"""The forms in which JSON files hold a table: by row, by column, by step, by metric."""

import json
from collections.abc import Iterator
from typing import Any

__all__ = ["entries_of", "parsed"]

TRIPLE = ("wall_time", "step", "value")
"""What TensorBoard writes of a scalar, in a list each."""


def parsed(text: str) -> Any:
    """Parse JSON; return a list of them where several objects follow each other.

    Examples
    --------
    >>> parsed("[1]"), parsed('{"a": 1}  {"a": 2}')
    ([1], [{'a': 1}, {'a': 2}])
    """
    try:
        # The json module reads NaN and Infinity, which many programs write.
        return json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
    return list(_following(text))


def _following(text: str) -> Iterator[Any]:
    decoder, place = json.JSONDecoder(), 0
    while rest := text[place:].lstrip():
        place = len(text) - len(rest)
        found, place = decoder.raw_decode(text, place)
        yield found


def entries_of(state: Any) -> list[Any] | None:
    """Return the rows of a table, an object each; None if there is none.

    Examples
    --------
    >>> entries_of({"loss": [2.5, 2.0]})
    [{'loss': 2.5}, {'loss': 2.0}]
    >>> entries_of({"columns": ["step", "loss"], "data": [[1, 2.5]]})
    [{'step': 1, 'loss': 2.5}]
    >>> entries_of({"loss": {"steps": [10], "values": [2.5]}})
    [{'metric': 'loss', 'step': 10, 'value': 2.5}]
    >>> entries_of({"loss": {"0": 2.5, "1": 2.0}}), entries_of({"10": {"loss": 2.5}})
    ([{'loss': 2.5}, {'loss': 2.0}], [{'step': 10, 'loss': 2.5}])
    """
    if isinstance(state, list):
        if state and all(isinstance(each, list) and len(each) == len(TRIPLE) for each in state):
            return [dict(zip(TRIPLE, each, strict=True)) for each in state]
        return state if any(isinstance(each, dict) for each in state) else None
    if not isinstance(state, dict):
        return None
    columns, data = state.get("columns"), state.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        rows = (row for row in data if isinstance(row, list))
        return [dict(zip(map(str, columns), row, strict=False)) for row in rows]
    objects = {name: each for name, each in state.items() if isinstance(each, dict)}
    lists = {name: each for name, each in state.items() if isinstance(each, list)}
    if objects and len(objects) == len(state):
        if all(map(_is_count, objects)):
            return [{"step": int(step), **each} for step, each in objects.items()]
        if all(each and all(map(_is_count, each)) for each in objects.values()):
            places = dict.fromkeys(place for each in objects.values() for place in each)
            return [
                {name: each[place] for name, each in objects.items() if place in each}
                for place in places
            ]
    long = [entry for name, each in state.items() for entry in _of_metric(name, each)]
    if long:
        return long
    if most := max(map(len, lists.values()), default=0):
        return [
            {name: cells[at] for name, cells in lists.items() if at < len(cells)}
            for at in range(most)
        ]
    inner = [found for each in objects.values() if (found := entries_of(each))]
    return inner[0] if len(inner) == 1 else None


def _of_metric(name: str, held: Any) -> list[dict[str, Any]]:
    """Return a row for each value of a metric with lists of steps and values, or a list of both."""
    if isinstance(held, dict) and isinstance(held.get("values"), list):
        kinds = (("step", "steps"), ("time", "timestamps"), ("value", "values"))
        columns = {kind: held[key] for kind, key in kinds if isinstance(held.get(key), list)}
        rows = zip(*columns.values(), strict=False)
        return [{"metric": name, **dict(zip(columns, row, strict=True))} for row in rows]
    if isinstance(held, list):
        rows_of: list[dict[str, Any]] = [each for each in held if isinstance(each, dict)]
        if len(rows_of) == len(held) and all({"step", "value"} <= row.keys() for row in rows_of):
            return [{"metric": name, **row} for row in rows_of]
    return []


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 16
