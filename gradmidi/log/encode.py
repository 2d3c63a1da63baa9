"""Items of a run log to lines: norms of seven significant digits, valid RFC 8259.

Times have microseconds instead, after a month as at the start: live, they are the rhythm.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from gradmidi.log.items import VERSION, End, Header, Mark, Pause, Scalar

__all__ = ["encode_end", "encode_frame", "encode_header", "encode_mark", "encode_pause"]

_ANY = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_MANY = 32
_POWERS = np.array([float(f"1e{exponent}") for exponent in range(19)])


def encode_header(header: Header) -> bytes:
    """Write a header as a line.

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
    r"""Write a frame as a line: norms of seven significant digits, valid RFC 8259.

    Parameters
    ----------
    step : int
        From 1.
    t : float
        Seconds.
    norms : sequence or ndarray of float
        One a layer; `ABSENT` for none.
    extra : mapping, optional
        Numbers and texts to stand beside the norms.

    Examples
    --------
    >>> from gradmidi.log.items import ABSENT
    >>> encode_frame(1, 0.0162, [0.45, ABSENT, float("nan")], {"loss": 2.301})
    b'{"step": 1, "t": 0.0162, "norms": [0.45, null, "nan"], "loss": 2.301}\n'
    """
    if len(norms) > _MANY:
        text = _many(np.asarray(norms, dtype=np.float64))
    else:
        text = ", ".join(["%.7g"] * len(norms)) % tuple(norms)
        if "n" in text or "-" in text:
            text = ", ".join(map(_number, norms))
    tail = ""
    if extra:
        tail = "".join(f", {json.dumps(_text(k))}: {_value(v)}" for k, v in extra.items())
    return f'{{"step": {step}, "t": {_micro(t)}, "norms": [{text}]{tail}}}\n'.encode()


def encode_mark(mark: Mark) -> bytes:
    """Write a mark as a line."""
    return _line({"mark": _text(mark.text), "t": _micro(mark.t)})


def encode_pause(pause: Pause) -> bytes:
    """Write the begin or the end of a pause as a line."""
    return _line({"pause" if pause.begins else "resume": _text(pause.text), "t": _micro(pause.t)})


def encode_end(end: End) -> bytes:
    """Write the end as a line."""
    fields = {
        "end": _text(end.reason),
        "t": _micro(end.t),
        "steps": end.steps,
        "dropped": end.dropped,
    }
    return _line({**fields, "clipping": end.clipping} if end.clipping else fields)


def _line(fields: Mapping[str, Any]) -> bytes:
    # Once through orjson, which makes of whatever a user keeps beside the run what JSON has.
    default = lambda value: _text(str(value))  # noqa: E731
    plain = orjson.loads(orjson.dumps(_safe(fields), default=default, option=_ANY))
    return (json.dumps(plain, ensure_ascii=False) + "\n").encode()


def _safe(value: Any) -> Any:
    """Make every text safe that a user keeps beside the run."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_safe(key): _safe(each) for key, each in value.items()}
    return [_safe(each) for each in value] if isinstance(value, (list, tuple)) else value


def _text(text: str) -> str:
    """Make half a surrogate pair, which a file name may hold, a question mark."""
    return text.encode("utf-8", "replace").decode()


def _micro(seconds: float) -> float:
    return round(float(seconds), 6)


def _number(value: float) -> str:
    if math.isfinite(value):
        return "null" if value < 0 else f"{value:.7g}"
    return '"nan"' if math.isnan(value) else '"inf"'


def _many(norms: np.ndarray) -> str:
    """Write hundreds of norms at once: a fifth of the time under the interpreter's lock.

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
