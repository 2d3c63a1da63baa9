"""Run logs that tests write by hand."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gradmidi.log import (
    End,
    Header,
    Layer,
    Mark,
    encode_end,
    encode_frame,
    encode_header,
    encode_mark,
)
from gradmidi.log import row as norms_row

NAMES = ("conv1", "conv2", "fc1", "fc2")


def header(names: Sequence[str] = NAMES, **fields: object) -> Header:
    layers = tuple(Layer(name, 10 * (i + 1)) for i, name in enumerate(names))
    return Header(layers, model="Net", parameters="all", clipping="none", **fields)  # type: ignore[arg-type]


def write_log(
    folder: Path,
    rows: Iterable[Sequence[float | None]],
    *,
    names: Sequence[str] = NAMES,
    dt: float = 0.1,
    marks: Mapping[int, str] | None = None,
    loss: bool | Sequence[float] = True,
    closed: bool = True,
    voices: Mapping[str, str] | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.jsonl"
    step = 0
    with path.open("wb") as file:
        file.write(encode_header(header(names, voices=voices or {})))
        for step, values in enumerate(rows, 1):
            if marks and step in marks:
                file.write(encode_mark(Mark(marks[step], (step - 1) * dt)))
            extra = {"loss": 2.0 / step} if loss is True else {}
            if not isinstance(loss, bool):
                extra["loss"] = loss[step - 1]
            file.write(encode_frame(step, (step - 0.5) * dt, norms_row(values).tolist(), extra))
        if closed:
            file.write(encode_end(End("closed", step * dt, step)))
    return folder
