"""Encode the lines of a run log: valid RFC 8259, norms with seven significant digits.

Times are rounded to microseconds, also in long runs, since live they are the rhythm.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from gradmidi.log.items import (
    VERSION,
    End,
    Frame,
    Header,
    Mark,
    Pause,
    Record,
    Scalar,
    Values,
)

__all__ = [
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
        case Frame(step, t, norms, extra, updates):
            return encode_frame(step, t, norms.tolist(), extra, updates)
        case Values(step, values, norms, updates):
            return encode_values(step, values, norms, updates)
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
    updates: "np.ndarray | None" = None,
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
    updates : ndarray of float, optional
        One number for each layer, see `gradmidi.log.Frame`.

    Examples
    --------
    >>> from gradmidi.log.items import ABSENT
    >>> encode_frame(1, 0.0162, [0.45, ABSENT, float("nan")], {"loss": 2.301})
    b'{"step": 1, "t": 0.0162, "norms": [0.45, null, "nan"], "loss": 2.301}\n'
    """
    row, beside = _row(norms), _values(extra) if extra else ""
    if updates is not None:
        beside = f', "updates": [{_row(updates)}]{beside}'
    return f'{{"step": {step}, "t": {_micro(t)}, "norms": [{row}]{beside}}}\n'.encode()


def encode_values(
    step: int,
    values: Mapping[str, Scalar],
    norms: "np.ndarray | None" = None,
    updates: "np.ndarray | None" = None,
) -> bytes:
    r"""Encode values that were logged for a step after its frame was written.

    Examples
    --------
    >>> encode_values(7, {"loss": 2.3})
    b'{"step": 7, "loss": 2.3}\n'
    """
    row = "" if norms is None else f', "norms": [{_row(norms)}]'
    if updates is not None:
        row += f', "updates": [{_row(updates)}]'
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
