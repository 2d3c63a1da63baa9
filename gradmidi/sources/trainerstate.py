"""What a Transformers Trainer keeps beside each checkpoint: ``trainer_state.json``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradmidi.errors import RunLogError
from gradmidi.sources.points import Point

__all__ = ["read"]


def read(path: Path) -> Iterator[Point]:
    """Read what a Trainer logged; it knows the steps and not the time.

    Raises
    ------
    RunLogError
        If it is no such file.
    """
    try:
        # Python's reader, since the Trainer writes NaN and Infinity as Python does.
        state = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise RunLogError(f"cannot read {path}: {error}") from error
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise RunLogError(f"{path} has no 'log_history': it is no trainer_state.json")
    return _points(history, path)


def _points(history: list[Any], path: Path) -> Iterator[Point]:
    for number, entry in enumerate(history, 1):
        step = entry.get("step") if isinstance(entry, dict) else None
        if type(step) is not int:
            raise RunLogError(
                f"{path}: entry {number} of 'log_history' has no whole number as its 'step': "
                "it is not as a Trainer writes it"
            )
        for name, value in entry.items():
            if name != "step" and (value is None or isinstance(value, (float, int, str))):
                held = value if value is None or isinstance(value, str) else float(value)
                yield Point(name, step, None, held)
