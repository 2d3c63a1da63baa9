"""Read the cells of a CSV file: numbers with either decimal mark, and times."""

import contextlib
import math
import re
from datetime import datetime
from pathlib import Path

from gradmidi.errors import RunLogError

__all__ = ["EMPTY", "Numbers", "is_number", "time_of"]

EMPTY = frozenset({"", "-", "--", "none", "null", "na", "n/a", "#n/a", "<na>"})
UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""A time larger than the first number counts from 1970, in so many parts of a second."""

DATES = ("%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%b %d %Y %H:%M:%S")
"""Forms of dates beside ISO 8601's in which the day cannot be taken for the month."""

_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_THOUSANDS_DOT = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")
_PRINTED = re.compile(r"(?:tensor|(?:np\.|numpy\.)?float\d+|array)\(([^,()]+)(?:,.*)?\)")
"""A number as Python prints one of PyTorch's or NumPy's."""

_DURATION = re.compile(r"(?:(\d+) days?,? )?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")
_UNITS = re.compile(r"(?=\d)(?:(\d+)d ?)?(?:(\d+)h ?)?(?:(\d+)m(?:in)? ?)?(?:(\d+(?:\.\d+)?)s)?")


def is_number(text: str) -> bool:
    """Return whether a text is a number as Python reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


class Numbers:
    """Reads the cells of one file as numbers, with a decimal point or a decimal comma."""

    def __init__(self, path: Path, delimiter: str) -> None:
        self._path = path
        self._delimiter = delimiter
        self._comma = self._dot = ""

    def read(self, text: str, where: str, column: str) -> float | str | None:
        """Read a cell; return None if it is empty, and the text if it is not a number."""
        if text.lower() in EMPTY:
            return None
        try:
            found = float(text)
        except ValueError:
            pass
        else:
            if not self._dot and _THOUSANDS_DOT.fullmatch(text):
                self._dot = f"{where} has {text!r} in {column!r}"
            return found
        if self._delimiter == "," and _THOUSANDS.fullmatch(text):
            raise RunLogError(
                f"{self._path}: {where} has {text!r} in {column!r}, which may be a decimal comma "
                "or thousands; write it with a decimal point and without a comma"
            )
        if _DECIMAL_COMMA.fullmatch(text):
            self._comma = self._comma or f"{where} has {text!r} in {column!r}"
            return float(text.replace(".", "").replace(",", "."))
        if text.endswith("%") and is_number(text[:-1]):
            return float(text[:-1])
        printed = _PRINTED.fullmatch(text)
        if printed is not None and is_number(printed[1]):
            return float(printed[1])
        return text

    def check(self) -> None:
        """Raise if a point may separate thousands, because other cells have decimal commas."""
        if self._comma and self._dot:
            raise RunLogError(
                f"{self._path}: {self._dot}, which may be thousands, since {self._comma}; write "
                "all numbers with a decimal point"
            )


def time_of(text: str) -> float | None:
    """Read a time: seconds, smaller units since 1970, a duration or a date; None if it is none."""
    if text.lower() in EMPTY:
        return None
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        match = _DURATION.fullmatch(text) or _UNITS.fullmatch(text)
        if match is not None:
            days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
            return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        return _date(text)
    if not math.isfinite(found):
        return None
    return found / next((parts for least, parts in UNITS if found > least), 1.0)


def _date(text: str) -> float | None:
    """Read a date, as ISO 8601 or as one writes it in English or German."""
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    for form in DATES:
        with contextlib.suppress(ValueError):
            return datetime.strptime(text, form).timestamp()
    return None
