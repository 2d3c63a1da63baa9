"""Encode and decode the lines of a run log: valid RFC 8259, norms with seven significant digits.

Times are rounded to microseconds, also in long runs, since live they are the rhythm.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
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
    Scalar,
    Values,
)

__all__ = [
    "Decoder",
    "encode",
    "encode_end",
    "encode_frame",
    "encode_header",
    "encode_mark",
    "encode_pause",
    "encode_values",
]

_ANY = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_MANY = 32
_POWERS = np.array([float(f"1e{exponent}") for exponent in range(19)])


def encode(record: Record) -> bytes:
    """Encode a record."""
    match record:
        case Frame(step, t, norms, extra):
            return encode_frame(step, t, norms.tolist(), extra)
        case Values(step, values, norms):
            return encode_values(step, values, norms)
        case Mark():
            return encode_mark(record)
        case Pause():
            return encode_pause(record)
        case End():
            return encode_end(record)
        case Header():
            return encode_header(record)


def encode_header(header: Header) -> bytes:
    """Encode a header.

    Examples
    --------
    >>> from gradmidi.log.items import Layer
    >>> encode_header(Header((Layer("fc", 10),), started="2026-01-01T00:00:00Z"))[:51]
    b'{"gradmidi": 1, "model": "", "layers": [{"name": "f'
    """
    fields: dict[str, Any] = {
        "gradmidi": VERSION,
        "model": header.model,
        "layers": [{"name": layer.name, "size": layer.size} for layer in header.layers],
        "parameters": header.parameters,
        "clipping": header.clipping,
        "started": header.started,
        "config": dict(header.config),
        **header.other,
    }
    if header.voices:
        fields["voices"] = dict(header.voices)
    if header.resumed:
        fields["resumed"] = True
    return _line(fields)


def encode_frame(
    step: int,
    t: float,
    norms: "Sequence[float] | np.ndarray",
    extra: Mapping[str, Scalar] | None = None,
) -> bytes:
    r"""Encode a frame.

    Parameters
    ----------
    step : int
        From 1.
    t : float
        Seconds.
    norms : sequence or ndarray of float
        One norm for each layer; `ABSENT` for no gradient.
    extra : mapping, optional
        Numbers and texts that were logged for the step.

    Examples
    --------
    >>> from gradmidi.log.items import ABSENT
    >>> encode_frame(1, 0.0162, [0.45, ABSENT, float("nan")], {"loss": 2.301})
    b'{"step": 1, "t": 0.0162, "norms": [0.45, null, "nan"], "loss": 2.301}\n'
    """
    row, beside = _row(norms), _values(extra) if extra else ""
    return f'{{"step": {step}, "t": {_micro(t)}, "norms": [{row}]{beside}}}\n'.encode()


def encode_values(
    step: int, values: Mapping[str, Scalar], norms: "np.ndarray | None" = None
) -> bytes:
    r"""Encode values that were logged for a step after its frame was written.

    Examples
    --------
    >>> encode_values(7, {"loss": 2.3})
    b'{"step": 7, "loss": 2.3}\n'
    """
    row = "" if norms is None else f', "norms": [{_row(norms)}]'
    return f'{{"step": {step}{row}{_values(values)}}}\n'.encode()


def encode_mark(mark: Mark) -> bytes:
    """Encode a mark."""
    return _line({"mark": _text(mark.text), "t": _micro(mark.t)})


def encode_pause(pause: Pause) -> bytes:
    """Encode the begin or the end of a pause."""
    return _line({"pause" if pause.begins else "resume": _text(pause.text), "t": _micro(pause.t)})


def encode_end(end: End) -> bytes:
    """Encode the end."""
    fields = {
        "end": _text(end.reason),
        "t": _micro(end.t),
        "steps": end.steps,
        "dropped": end.dropped,
    }
    return _line({**fields, "clipping": end.clipping} if end.clipping else fields)


def _row(norms: "Sequence[float] | np.ndarray") -> str:
    if len(norms) > _MANY:
        return _many(np.asarray(norms, dtype=np.float64))
    text = ", ".join(["%.7g"] * len(norms)) % tuple(norms)
    if "n" in text or "-" in text:
        return ", ".join(map(_number, norms))
    return text


def _values(values: Mapping[str, Scalar]) -> str:
    return "".join(f", {json.dumps(_text(k))}: {_value(v)}" for k, v in values.items())


def _line(fields: Mapping[str, Any]) -> bytes:
    # The user's config may hold any objects; orjson turns them into values that JSON has.
    default = lambda value: _text(str(value))  # noqa: E731
    plain = orjson.loads(orjson.dumps(_safe(fields), default=default, option=_ANY))
    return (json.dumps(plain, ensure_ascii=False) + "\n").encode()


def _safe(value: Any) -> Any:
    """Replace what UTF-8 cannot encode in all texts of a value."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_safe(key): _safe(each) for key, each in value.items()}
    return [_safe(each) for each in value] if isinstance(value, (list, tuple)) else value


def _text(text: str) -> str:
    """Replace lone surrogates, which a file name may hold, by question marks."""
    return text.encode("utf-8", "replace").decode()


def _micro(seconds: float) -> float:
    return round(float(seconds), 6)


def _number(value: float) -> str:
    if math.isfinite(value):
        return "null" if value < 0 else f"{value:.7g}"
    return '"nan"' if math.isnan(value) else '"inf"'


def _many(norms: np.ndarray) -> str:
    """Format hundreds of norms at once, in a fifth of the time under the interpreter's lock.

    Between 1e-12 and 1e6 seven digits are a whole number over an exact power of ten, so that
    the shortest text of the quotient is those digits; the few others are written one by one.
    """
    usual = (norms >= 1e-12) & (norms < 1e6)
    plain = np.where(usual, norms, 1.0)
    power = _POWERS[6 - np.floor(np.log10(plain)).astype(np.intp)]
    digits = np.where(norms == 0.0, 0.0, np.rint(plain * power) / power)
    odd = np.flatnonzero(~usual & (norms != 0.0))
    if not odd.size:
        text = orjson.dumps(digits, option=orjson.OPT_SERIALIZE_NUMPY)
    else:
        values: list[Any] = digits.tolist()
        for index in odd.tolist():
            values[index] = orjson.Fragment(_number(float(norms[index])))
        text = orjson.dumps(values)
    return text[1:-1].replace(b",", b", ").decode()


def _value(value: Scalar) -> str:
    if isinstance(value, float):
        if math.isfinite(value):
            return f"{value:.7g}"
        return '"nan"' if math.isnan(value) else '"inf"' if value > 0 else '"-inf"'
    return json.dumps(_text(value) if isinstance(value, str) else value, ensure_ascii=False)


# -- decoding --------------------------------------------------------------------------------------

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

UNREADABLE = (KeyError, TypeError, ValueError)
"""Exceptions for a line whose fields are missing or of the wrong type."""


class Decoder:
    """Decodes the lines of one log in order, from a file, a pipe or a file that still grows.

    Parameters
    ----------
    source : str
        Name of the log in error messages.

    Attributes
    ----------
    header : Header or None
        The latest header.
    unreadable : int
        Lines that could not be read.
    first_unreadable : int
        Number of the first such line, from 1; 0 if none.
    """

    def __init__(self, source: str) -> None:
        self.source = source
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
            return Values(frame.step, frame.extra, frame.norms)
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
            Layer(str(layer["name"]), int(layer["size"])) for layer in fields.pop("layers")
        )
        if self.header is not None and layers != self.header.layers:
            raise RunLogError(f"{self.source}: line {self._number} resumes with other layers")
        self._width = len(layers)
        self._last = None
        self.header = Header(
            layers,
            str(fields.pop("model", "")),
            str(fields.pop("parameters", "all")),
            str(fields.pop("clipping", "unknown")),
            str(fields.pop("started", "")),
            fields.pop("config", {}),
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
    norms = _decode_row(fields.pop("norms"), width)
    if norms is None:
        return None
    step, seconds = int(fields.pop("step")), decode_seconds(fields.pop("t"))
    return Frame(step, seconds, norms, _decode_values(fields))


def decode_late(fields: dict[str, Any], width: int) -> Values | None:
    norms = fields.pop("norms", None)
    row = None if norms is None else _decode_row(norms, width)
    if norms is not None and row is None:
        return None
    fields.pop("t", None)
    return Values(int(fields.pop("step")), _decode_values(fields), row)


def _decode_values(values: dict[str, Any]) -> dict[str, Any]:
    """Replace the texts that JSON has in place of nan and infinity by these numbers."""
    texts = {k: v for k, v in values.items() if type(v) is str and v in _NOT_FINITE}
    return values | {name: _NOT_FINITE[text] for name, text in texts.items()}


def _decode_row(norms: Any, width: int) -> np.ndarray | None:
    """Make a row of norms; return None unless there is one number for each layer."""
    if type(norms) is not list or len(norms) != width:
        return None
    if None in norms:
        norms = [ABSENT if norm is None else norm for norm in norms]
    row = np.array(norms, np.float64)
    return row if row.ndim == 1 else None


def decode_seconds(t: Any) -> float:
    seconds = float(t)
    if not math.isfinite(seconds):
        raise ValueError(f"{t} is not a time")
    return seconds


OTHERS: dict[str, Callable[[dict[str, Any]], Item]] = {
    "mark": lambda fields: Mark(str(fields["mark"]), decode_seconds(fields["t"])),
    "pause": lambda fields: Pause(str(fields["pause"]), decode_seconds(fields["t"]), True),
    "resume": lambda fields: Pause(str(fields["resume"]), decode_seconds(fields["t"]), False),
    "end": lambda fields: End(
        str(fields["end"]),
        decode_seconds(fields["t"]),
        int(fields["steps"]),
        int(fields.get("dropped", 0)),
        str(fields.get("clipping", "")),
    ),
}
