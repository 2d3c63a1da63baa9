"""Decode the lines of a run log; what is missing, of another type or out of range is refused."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from gradmidi.errors import RunLogError
from gradmidi.log.items import (
    ABSENT,
    VERSION,
    End,
    Frame,
    Header,
    Item,
    Layer,
    Mark,
    Pause,
    Record,
    Values,
)

__all__ = [
    "MOST_SECONDS",
    "MOST_STEP",
    "NUMBERS",
    "OTHERS",
    "UNREADABLE",
    "Decoder",
    "decode_frame",
    "decode_late",
    "decode_seconds",
    "decode_values",
]

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

UNREADABLE = (KeyError, TypeError, ValueError, OverflowError)
"""Exceptions for a line whose fields are missing, of the wrong type or out of range."""

MOST_STEP = 2**53
"""The largest step: JSON's largest exact whole number (RFC 8259, section 6)."""

MOST_SECONDS = 1e10
"""The largest time: three hundred years."""

NUMBERS = frozenset((int, float, bool))
"""Types of numbers, as parsed."""

_SCALARS = NUMBERS | {str}


class Decoder:
    """Decodes the lines of one log in order, from a file, a pipe or a file that still grows.

    Parameters
    ----------
    source : str
        Name of the log in error messages.
    anew : bool, default False
        Whether another run may begin, with other layers, as in a log that is followed.

    Attributes
    ----------
    header : Header or None
        The latest header.
    unreadable : int
        Lines that could not be read.
    first_unreadable : int
        Number of the first such line, from 1; 0 if none.
    """

    def __init__(self, source: str, *, anew: bool = False) -> None:
        self.source = source
        self._anew = anew
        self.header: Header | None = None
        self.unreadable = 0
        self.first_unreadable = 0
        self._width = 0
        self._last: tuple[int, float] | None = None  # Step and time of the last frame.
        self._number = 0

    def decode(self, line: bytes) -> Record | None:
        """Decode one line; return None if it is blank or unreadable (counted).

        Raises
        ------
        RunLogError
            If the first line is not a header, or a header is of another version or layers.
        """
        self._number += 1
        try:
            record = self._record(orjson.loads(line))
        except RunLogError:
            raise
        except UNREADABLE:
            record = None
        if record is None and line.strip():
            if self.header is None:
                raise RunLogError(
                    f"{self.source} is not a run log: its first line is not a gradmidi header"
                )
            self.unreadable += 1
            self.first_unreadable = self.first_unreadable or self._number
        return record

    def skip(self, lines: int, step: int, t: float) -> None:
        """Count lines that were decoded elsewhere: frames, the last of them at `step` and `t`."""
        self._number += lines
        self._last = step, t

    def _record(self, fields: Any) -> Record | None:
        if not isinstance(fields, dict):
            return None
        if self.header is not None and fields.get("norms") is not None:
            return self._frame(fields) if "t" in fields else decode_late(fields, self._width)
        if "gradmidi" in fields:
            return self._header(fields)
        if self.header is None:
            return None
        for key, make in OTHERS.items():
            if key in fields:
                return make(fields)
        return decode_late(fields, self._width) if "step" in fields else None

    def _frame(self, fields: dict[str, Any]) -> Frame | Values | None:
        frame = decode_frame(fields, self._width)
        if frame is None:
            return None
        if (frame.step, frame.t) == self._last:
            # Version 0.1 wrote a frame again, with what was logged late for it.
            return Values(frame.step, frame.extra, frame.norms, frame.updates)
        self._last = frame.step, frame.t
        return frame

    def _header(self, fields: dict[str, Any]) -> Header:
        version = fields.pop("gradmidi")
        if version != VERSION:
            raise RunLogError(
                f"{self.source} is a run log of version {version}; this gradmidi reads version "
                f"{VERSION}: install the gradmidi that wrote it"
            )
        layers = tuple(
            Layer(_decode_text(layer["name"]), _decode_count(layer["size"]))
            for layer in fields.pop("layers")
        )
        config = fields.pop("config", {})
        another = self._anew and not fields.get("resumed")
        if self.header is not None and layers != self.header.layers and not another:
            raise RunLogError(f"{self.source}: line {self._number} resumes with other layers")
        self._width = len(layers)
        self._last = None
        self.header = Header(
            layers,
            str(fields.pop("model", "")),
            str(fields.pop("parameters", "all")),
            str(fields.pop("clipping", "unknown")),
            str(fields.pop("started", "")),
            config if isinstance(config, dict) else {},
            bool(fields.pop("resumed", False)),
            _voices(fields),
            fields,
        )
        return self.header


def _voices(fields: dict[str, Any]) -> dict[str, str]:
    """Remove the user's voices from a header's fields and return them; leave invalid ones."""
    voices = fields.get("voices")
    if not isinstance(voices, dict) or not all(isinstance(each, str) for each in voices.values()):
        return {}
    del fields["voices"]
    return voices


def decode_frame(fields: dict[str, Any], width: int) -> Frame | None:
    """Decode a frame; return None if it does not have a norm for each layer."""
    norms = _decode_row(fields.pop("norms"), width)
    if norms is None:
        return None
    step, seconds = _decode_count(fields.pop("step")), decode_seconds(fields.pop("t"))
    updates = _decode_row(fields.pop("updates"), width) if _has_updates(fields) else None
    return Frame(step, seconds, norms, decode_values(fields), updates)


def decode_late(fields: dict[str, Any], width: int) -> Values | None:
    """Decode values that were logged late."""
    norms = fields.pop("norms", None)
    row = None if norms is None else _decode_row(norms, width)
    if norms is not None and row is None:
        return None
    fields.pop("t", None)
    updates = _decode_row(fields.pop("updates"), width) if _has_updates(fields) else None
    return Values(_decode_count(fields.pop("step")), decode_values(fields), row, updates)


def _has_updates(fields: dict[str, Any]) -> bool:
    """Return whether a line has a row of updates; a logged value may be called so too."""
    return type(fields.get("updates")) is list


def decode_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers and texts, with nan and infinity in place of the texts for them."""
    if NUMBERS.issuperset(map(type, values.values())):
        return values
    return {
        name: _NOT_FINITE.get(value, value) if type(value) is str else value
        for name, value in values.items()
        if type(value) in _SCALARS
    }


def _decode_row(norms: Any, width: int) -> np.ndarray | None:
    """Make a row of norms; return None unless there is one number for each layer."""
    if type(norms) is not list or len(norms) != width:
        return None
    if None in norms:
        norms = [ABSENT if norm is None else norm for norm in norms]
    row = np.array(norms, np.float64)
    return row if row.ndim == 1 else None


def decode_seconds(t: Any) -> float:
    """Decode a time; raise ValueError if it is none."""
    seconds = float(t)
    if not abs(seconds) <= MOST_SECONDS:
        raise ValueError(f"{t} is not a time")
    return seconds


def _decode_count(value: Any) -> int:
    count = int(value)
    if not 0 <= count <= MOST_STEP:
        raise ValueError(f"{value} is not a number of steps")
    return count


def _decode_text(value: Any) -> str:
    if type(value) not in _SCALARS:
        raise TypeError(f"{type(value).__name__} is not a text")
    return str(value)


OTHERS: dict[str, Callable[[dict[str, Any]], Item]] = {
    "mark": lambda fields: Mark(_decode_text(fields["mark"]), decode_seconds(fields["t"])),
    "pause": lambda fields: Pause(_decode_text(fields["pause"]), decode_seconds(fields["t"]), True),
    "resume": lambda fields: Pause(
        _decode_text(fields["resume"]), decode_seconds(fields["t"]), False
    ),
    "end": lambda fields: End(
        _decode_text(fields["end"]),
        decode_seconds(fields["t"]),
        _decode_count(fields["steps"]),
        _decode_count(fields.get("dropped", 0)),
        str(fields.get("clipping", "")),
    ),
}
