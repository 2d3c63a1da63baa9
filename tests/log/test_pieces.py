"""Logs are read in pieces of many lines exactly as they are read line by line."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradmidi.errors import RunLogError
from gradmidi.log import Decoder, Frame, RunLog, pieces
from gradmidi.log.blocks import Block

HEADER = {"model": "Net", "parameters": "all", "clipping": "none", "config": {"a": [1, {"b": 2}]}}

Fields = dict[str, Any]

FRAMES: dict[str, Callable[[Fields], Any]] = {
    "loss": lambda fields: {**fields, "loss": 2.5, "lr": 0.1, "epoch": 3},
    "values first": lambda fields: {"loss": 2.5, **fields},
    "texts": lambda fields: {**fields, "loss": "nan", "note": "a", "none": None, "on": True},
    "objects": lambda fields: {**fields, "a": {}, "b": {"c": 1}},
    "lists": lambda fields: {**fields, "a": [1, 2]},
    "brackets": lambda fields: {**fields, "a": "[1]", "b": "}{", "c": '"norms": [1'},
    "no norms": lambda fields: {**fields, "norms": [None] * len(fields["norms"])},
    "nan": lambda fields: {**fields, "norms": ["nan", *fields["norms"][1:]]},
    "inf": lambda fields: {**fields, "norms": [*fields["norms"][1:], "inf"]},
    "no number": lambda fields: {**fields, "norms": ["x", *fields["norms"][1:]]},
    "a null in quotes": lambda fields: {**fields, "norms": ["null", *fields["norms"][1:]]},
    "a comma in quotes": lambda fields: {**fields, "norms": ["1,2", *fields["norms"][2:]]},
    "too few": lambda fields: {**fields, "norms": fields["norms"][1:]},
    "too many": lambda fields: {**fields, "norms": [*fields["norms"], 1.0]},
    "rows in a row": lambda fields: {**fields, "norms": [fields["norms"]]},
    "one number": lambda fields: {**fields, "norms": 3},
    "another row": lambda fields: {**fields, "norms": 3, "other": fields["norms"]},
    "updates": lambda fields: {**fields, "updates": fields["norms"]},
    "whole numbers": lambda fields: {**fields, "norms": [10**25] * len(fields["norms"]), "t": 3},
    "yes": lambda fields: {**fields, "norms": [True] * len(fields["norms"])},
    "a step that is a text": lambda fields: {**fields, "step": str(fields["step"])},
    "a step that is no whole number": lambda fields: {**fields, "step": fields["step"] + 0.5},
    "a step too large": lambda fields: {**fields, "step": 2**60},
    "a time that is a text": lambda fields: {**fields, "t": str(fields["t"])},
    "a time too late": lambda fields: {**fields, "t": 1e11},
    "a time too late by its exponent": lambda fields: json.dumps(fields).replace(
        f'"t": {fields["t"]}', '"t": 1.5e11'
    ),
    "a time of ten digits": lambda fields: {**fields, "t": 9999999999.5},
    "a short time": lambda fields: {**fields, "t": 1.5e-07},
    "small norms": lambda fields: {**fields, "norms": [3.2e-09] * len(fields["norms"])},
    "another name for a time": lambda fields: json.dumps(fields).replace('"t"', '"t2"'),
    "another name for a step": lambda fields: json.dumps(fields).replace('"step"', '"st1ep"'),
    "another name for norms": lambda fields: json.dumps(fields).replace('"norms"', '"norms2"'),
    "a time before": lambda fields: {**fields, "t": -2.5},
    "twice": lambda fields: (fields, fields),
    "written again": lambda fields: [fields, {**fields, "loss": 0.5}],
    "the same step": lambda fields: [fields, {**fields, "t": fields["t"] + 1.0}],
    "late": lambda fields: [fields, {"step": fields["step"], "loss": 1.5}],
    "later": lambda fields: [{"step": fields["step"] - 3, "acc": 1.5}, fields],
    "a mark": lambda fields: [{"mark": "epoch [1]", "t": fields["t"]}, fields],
    "a pause": lambda fields: [{"pause": "", "t": 1.0}, fields, {"resume": "", "t": 9.0}],
    "two lines": lambda fields: json.dumps(fields, indent=0),
    "a carriage return": lambda fields: json.dumps(fields) + "\r",
    "half a line": lambda fields: json.dumps(fields)[: 20 + fields["step"] % 20],
    "nothing": lambda fields: [],
    "blank": lambda fields: " ",
    "an object in two lines": lambda fields: '{"a": [{"b": 1}\n{"c": 2}]}',
    "no log": lambda fields: "[1, 2]\nnull\n{}\n}{",
}
"""Ways in which the line of a frame may differ from most."""


def written(width: int, compact: bool, kinds: list[tuple[str, int]], end: str) -> bytes:
    """Write a log: of each kind of line so many, or plain ones in between."""
    layers = [{"name": f"fc{index}", "size": 4} for index in range(width)]
    header = {"gradmidi": 1, **HEADER, "layers": layers}
    separators = (",", ":") if compact else (", ", ": ")
    lines, step = [json.dumps(header)], 0
    for kind, count in kinds:
        if kind == "a segment":
            lines.append(json.dumps({**header, "resumed": True}))
            step = max(0, step - count)
            continue
        for number in range(count):
            step += 1
            norms = [float(f"{0.1 + 1.37 * (step + index) % 7:.7g}") for index in range(width)]
            fields: Fields = {"step": step, "t": 0.25 * step, "norms": norms}
            change = FRAMES.get(kind)
            made = change(fields) if change and not number % 3 else fields
            if isinstance(made, str):
                lines.append(made)
            elif isinstance(made, tuple):
                lines.append(", ".join(json.dumps(each) for each in made))
            else:
                made = made if isinstance(made, list) else [made]
                lines += [json.dumps(each, separators=separators) for each in made]
    return ("\n".join(lines) + end).encode()


def plain(item: Any) -> str:
    """Write an item so that equal ones are equal, with the types of what it holds."""
    if not isinstance(item, Frame):
        return repr(item)
    updates = None if item.updates is None else item.updates.tolist()
    return repr((item.step, item.t, item.norms.tolist(), dict(item.extra), updates))


def everything(path: Path) -> tuple[list[str], list[str], Any]:
    """Read all of a log: items, frames of blocks, and what is known at the end."""
    try:
        log = RunLog(path)
        items = [plain(item) for item in log.items()]
    except RunLogError as error:
        return [str(error)], [str(error)], None
    blocks: list[str] = []
    for item in log.blocks():
        if isinstance(item, Block):
            assert [plain(item.frame(i)) for i in range(len(item))] == list(
                map(plain, item.frames())
            )
            blocks += map(plain, item.frames())
        else:
            blocks.append(plain(item))
    counts = (log.steps, log.seconds, log.logged, log.unreadable, log.first_unreadable)
    return items, blocks, (*counts, log.unmatched)


@settings(max_examples=150, deadline=None)
@given(
    width=st.sampled_from([0, 1, 2, 5]),
    compact=st.booleans(),
    kinds=st.lists(
        st.tuples(
            st.one_of(st.just("plain"), st.sampled_from([*FRAMES, "a segment"])),
            st.sampled_from([1, 2, 3, 30]),
        ),
        max_size=8,
    ),
    end=st.sampled_from(["\n", "", '\n{"end": "closed", "t": 99.0, "steps": 5}\n']),
    size=st.sampled_from([1, 200, 1000, 1 << 16]),
)
def test_pieces_are_read_as_lines_are(
    width: int, compact: bool, kinds: list[tuple[str, int]], end: str, size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "run.jsonl"
        path.write_bytes(written(width, compact, kinds, end))
        patch.setattr(pieces, "SIZE", size)
        patch.setattr(pieces, "FEW", 2)
        items, blocks, known = everything(path)
        assert blocks == items
        patch.setattr(pieces, "_divided", lambda content, parse: [(content, None)])
        assert (items, blocks, known) == everything(path)


@pytest.mark.parametrize("kind", [*FRAMES, "a segment"])
def test_each_kind_of_line_among_plain_ones(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(written(3, False, [("plain", 40), (kind, 1), ("plain", 40)], "\n"))
    items, blocks, known = everything(path)
    assert blocks == items
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_divided", lambda content, parse: [(content, None)])
        assert (items, blocks, known) == everything(path)


@pytest.mark.parametrize("end", ["\n", "", '\n{"end": "closed", "t": 9.0, "steps": 1}\n'])
def test_a_log_with_one_frame(end: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(written(3, False, [("loss", 1)], end))
    (block,) = (item for item in RunLog(path).blocks() if isinstance(item, Block))
    assert [plain(frame) for frame in block.frames()] == list(map(plain, RunLog(path).frames()))
    assert (len(block), RunLog(path).steps, RunLog(path).seconds > 0.0) == (1, 1, True)


@pytest.mark.parametrize("count", [1, 40])
def test_frames_of_another_width_are_unreadable_and_of_another_segment_refused(
    count: int, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    three = written(3, False, [("loss", 40)], "\n")
    header, *four = written(4, False, [("loss", 40 + count)], "\n").splitlines(keepends=True)
    path.write_bytes(three + b"".join(four[40:]))
    log = RunLog(path)
    assert sum(len(item) for item in log.blocks() if isinstance(item, Block)) == log.steps == 40
    assert (log.unreadable, log.first_unreadable) == (count, 42)
    resumed = header.replace(b'{"gradmidi": 1', b'{"gradmidi": 1, "resumed": true', 1)
    path.write_bytes(three + resumed + b"".join(four[40:]))
    with pytest.raises(RunLogError, match="line 42 resumes with other layers"):
        list(RunLog(path).blocks())


def test_plain_frames_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.jsonl"
    kinds = [("loss", 500), ("a mark", 1), ("no norms", 500)]
    path.write_bytes(written(3, False, kinds, '\n{"end": "closed", "t": 9.0, "steps": 5}\n'))
    single = []
    decode = Decoder.decode
    monkeypatch.setattr(
        Decoder,
        "decode",
        lambda self, line: single.append(line) or decode(self, line),
    )
    log = RunLog(path)
    assert sum(len(item) for item in log.blocks() if isinstance(item, Block)) == 1001
    # The header, which is read twice, and the lines around the mark and the end.
    assert len(single) < 40


def test_frames_with_late_values_are_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.jsonl"
    header, *frames = written(3, False, [("plain", 1000)], "\n").splitlines()
    late = [b'{"step": %d, "loss": 1.5}' % step for step in range(1, 1001)]
    lines = [line for pair in zip(frames, late, strict=True) for line in pair]
    path.write_bytes(b"\n".join([header, *lines, b""]))
    log = RunLog(path)
    single = []
    decode = Decoder.decode
    monkeypatch.setattr(
        Decoder, "decode", lambda self, line: single.append(line) or decode(self, line)
    )
    assert [frame.extra for frame in log.frames()] == [{"loss": 1.5}] * 1000
    assert len(single) == 1
