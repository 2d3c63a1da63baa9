"""Read tables of TOML into frozen dataclasses whose keys declare their meaning and limits."""

import dataclasses
import math
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from types import UnionType
from typing import Any

from gradmidi.errors import PresetError

__all__ = ["key", "read_toml", "section", "setting", "shown"]

MOST_BYTES = 1_000_000
"""The largest preset or rig."""

T = typing.TypeVar("T")


def key(default: Any, doc: str, **limits: Any) -> Any:
    """Declare a key of a table: its default, its meaning and its limits."""
    metadata = {"doc": doc, **limits}
    if isinstance(default, dict):
        return field(default_factory=default.copy, hash=False, metadata=metadata)
    return field(default=default, metadata=metadata)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    PresetError
        If it cannot be read, is larger than `MOST_BYTES` or is no TOML; it says `what` it is.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise PresetError(f"{what} {path} is larger than {MOST_BYTES:,} bytes")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise PresetError(f"{what} {path} cannot be read: {error.strerror}") from error
    except RecursionError:
        raise PresetError(f"{what} {path} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:
        text = str(error).splitlines()[0]
        if text.startswith("Exceeds the limit"):
            text = "a number has too many digits"
        raise PresetError(f"{what} {path} is not valid TOML: {text}") from error


def section(kind: type[T], table: dict[str, Any], source: str) -> T:
    """Read one table into a frozen dataclass whose fields were declared by `key`.

    Parameters
    ----------
    kind : type
        The dataclass.
    table : dict
        The keys and values, as read from TOML.
    source : str
        File and section, for error messages.

    Raises
    ------
    PresetError
        If a key is unknown, a type is wrong or a value is out of range.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = {}
    for word, value in table.items():
        if word not in fields:
            raise PresetError(f"{source} {_unknown(kind, word, fields)}")
        declared = fields[word]
        values[word] = _checked(declared.type, value, declared.metadata, f"{source} {word}")
    return kind(**values)


def _unknown(kind: type, word: str, names: typing.Iterable[str]) -> str:
    """Return the error for an unknown key; a former key may be a class attribute now."""
    if isinstance(fixed := getattr(kind, word, None), (int, float)):
        return f"{word} is not a key any more: it is always {fixed:g}; delete the line"
    return f"unknown key {word!r}; there are: {', '.join(names)}"


_TYPE_NAMES = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}


def _checked(kind: Any, value: Any, limits: typing.Mapping[str, Any], where: str) -> Any:
    if isinstance(kind, UnionType):
        fitting = [k for k in typing.get_args(kind) if _fits(k, value)]
        if not fitting:
            allowed = " or ".join(_TYPE_NAMES[k] for k in typing.get_args(kind))
            raise PresetError(f"{where} = {shown(value)}; allowed is {allowed}")
        kind = fitting[0]
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        length = limits.get("length")
        if not isinstance(value, list) or (length is not None and len(value) != length):
            count = "a list" if length is None else f"a list of {length}"
            raise PresetError(f"{where} = {shown(value)}; allowed is {count}")
        return tuple(_checked(item, member, limits, where) for member in value)
    if typing.get_origin(kind) is Mapping:
        if not isinstance(value, dict):
            what = "texts" if typing.get_args(kind)[1] is str else "numbers"
            raise PresetError(f"{where} = {shown(value)}; allowed is a table of names and {what}")
        item = typing.get_args(kind)[1]
        return {name: _checked(item, v, limits, f"{where}.{name}") for name, v in value.items()}
    if not _fits(kind, value):
        raise PresetError(f"{where} = {shown(value)}; allowed is {_TYPE_NAMES[kind]}")
    if "choices" in limits and value not in limits["choices"]:
        raise PresetError(
            f"{where} = {shown(value)}; allowed is one of: {', '.join(limits['choices'])}"
        )
    least, most = limits.get("least", -math.inf), limits.get("most", math.inf)
    if kind in (int, float) and not least <= value <= most:
        raise PresetError(f"{where} = {shown(value)}; allowed is {least} to {most}")
    return float(value) if kind is float else value


def _fits(kind: type, value: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def setting(text: str) -> tuple[str, Any]:
    """Read one setting as it is written on a command line: ``KEY=VALUE``.

    Returns
    -------
    key : str
        As written, such as ``channels`` or ``time.tempo``.
    value
        The text after ``=`` read as TOML; the text itself if it is not TOML.

    Raises
    ------
    PresetError
        If there is no ``=`` or nothing before it.

    Examples
    --------
    >>> setting("time.tempo=90"), setting("channels=1-4"), setting("clock=true")
    (('time.tempo', 90), ('channels', '1-4'), ('clock', True))
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise PresetError(f"--set {text}; write KEY=VALUE, as time.tempo=90 or channels=1-4")
    try:
        table = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
    return key.strip(), table["value"] if table.keys() == {"value"} else value.strip()


def shown(value: object) -> str:
    """Format a value as it is written in the file, shortened for an error message."""
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else text[:57] + "..."
