"""The JSON schema in docs/ describes the lines that gradmidi writes, and no others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradmidi
from gradmidi.log import Decoder, Values, encode_values

jsonschema = pytest.importorskip("jsonschema", reason="the schema is checked with jsonschema")

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"


@pytest.fixture(scope="module")
def schema() -> Any:
    text = (ROOT / "docs" / "run-log.schema.json").read_text(encoding="utf-8")
    validator = jsonschema.Draft202012Validator
    validator.check_schema(json.loads(text))
    return validator(json.loads(text))


def lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"}\n")]


@pytest.mark.parametrize("name", ["healthy", "requeued", "killed"])
def test_logs_of_0_1_follow_the_schema(schema: Any, name: str) -> None:
    found = lines(DATA / f"{name}-0.1.jsonl")
    assert len(found) > 5
    for line in found:
        schema.validate(json.loads(line))


def test_a_log_with_every_kind_of_line_follows_the_schema(schema: Any, tmp_path: Path) -> None:
    for _ in range(2):
        with gradmidi.record(tmp_path / "a", layers=["fc1", "fc2"], resume=True, files=()) as ears:
            ears.frame([0.5, None], loss=float("nan"), lr=-1)
            ears.frame([float("inf"), float("nan")])
            ears.mark("epoch 1")
            ears.log(loss=float("-inf"), note="ü", best=True)
            with ears.pause("eval"):
                pass
            ears.frame(np.array([0.0, 1e-30]))
    found = lines(tmp_path / "a" / "run.jsonl")
    assert any(b'"resumed": true' in line for line in found)
    decoder = Decoder("a")
    assert any(isinstance(decoder.decode(line), Values) for line in found)
    for line in (*found, encode_values(2, {"total_norm": 5.0}, np.array([3.0, 4.0]))):
        schema.validate(json.loads(line))


def test_the_example_in_the_docs_follows_the_schema(schema: Any) -> None:
    page = (ROOT / "docs" / "run-log.md").read_text(encoding="utf-8")
    example = page.split("```json\n")[1].split("```")[0].splitlines()
    assert len(example) == 6
    for line in example:
        schema.validate(json.loads(line))


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"step": 2}',
        '{"gradmidi": 2, "layers": [{"name": "fc1", "size": 1}]}',
        '{"gradmidi": 1}',
        '{"gradmidi": 1, "layers": [{"name": "fc1", "size": 1}], "voices": {"top": 1}}',
        '{"step": 2, "t": "nan", "norms": [1, 2]}',
        '{"step": 2, "t": 0.1, "norms": [1, "x"]}',
        '{"step": 2, "t": 0.1, "norms": [-1]}',
        '{"step": "two", "loss": 2.3}',
        '{"mark": "epoch 2"}',
        '{"end": "closed", "t": 1.0}',
    ],
)
def test_other_lines_do_not(schema: Any, line: str) -> None:
    assert not schema.is_valid(json.loads(line))
