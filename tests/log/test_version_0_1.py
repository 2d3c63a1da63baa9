"""Logs that version 0.1 wrote: they give what that version itself read from them.

Beside each log in `tests/data` stands what its own reader gave, item by item.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from gradmidi.log import Decoder, Frame, Header, RunLog, Values
from gradmidi.text.describe import describe

DATA = Path(__file__).parents[1] / "data"
NAMES = ("healthy", "requeued", "killed")
NOT_FINITE = ("nan", "inf", "-inf")  # 0.1 left these as texts


def told(item: Any) -> dict[str, Any]:
    """Write an item as the files beside the logs have it."""
    found: dict[str, Any] = {"type": type(item).__name__}
    for name in item.__dataclass_fields__:
        value = getattr(item, name)
        if name == "updates":
            # What 0.1 did not have.
            assert value is None
            continue
        if name == "norms":
            value = [repr(float(norm)) for norm in value]
        elif name == "layers":
            value = [[layer.name, layer.size] for layer in value]
        elif name in ("extra", "other", "config", "voices"):
            value = {k: str(v) if str(v) in NOT_FINITE else v for k, v in value.items()}
        found[name] = value
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_log_of_0_1_gives_what_0_1_read_from_it(name: str) -> None:
    expected = json.loads((DATA / f"{name}-0.1.json").read_text(encoding="utf-8"))
    log = RunLog(DATA / f"{name}-0.1.jsonl")
    assert [told(item) for item in log.items()] == expected["items"]
    assert (log.steps, log.seconds) == (expected["steps"], pytest.approx(expected["seconds"]))
    assert log.unreadable == expected["unreadable"]
    assert log.first_unreadable == expected["first_unreadable"]
    assert log.unmatched == 0
    assert list(describe(log))


def test_the_three_logs_hold_what_they_are_kept_for() -> None:
    healthy = RunLog(DATA / "healthy-0.1.jsonl")
    assert healthy.header.voices == {"first": "0", "größe": "[24]"}
    assert [frame.loss for frame in healthy.frames()][:2] == [0.7016957, 0.7005306]
    killed = RunLog(DATA / "killed-0.1.jsonl")
    assert [frame.step for frame in killed.frames()] == [10, 20, 30, 40, 50, 60, 70]
    assert (killed.unreadable, killed.first_unreadable) == (1, 9)
    requeued = list(RunLog(DATA / "requeued-0.1.jsonl").frames())
    assert [frame.step for frame in requeued] == [1, 2, 3, 4, 5, 6, 7, 8]
    late = {"accuracy": 0.5, "note": "late – ü", "loss": 2.5}
    assert [frame.step for frame in requeued if frame.extra == late] == [3, 7]


def test_of_a_growing_log_of_0_1_a_frame_that_was_written_again_comes_as_late_values() -> None:
    decoder = Decoder("requeued")
    lines = (DATA / "requeued-0.1.jsonl").read_bytes().splitlines(keepends=True)
    records = [decoder.decode(line) for line in lines]
    again = [record for record in records if isinstance(record, Values)]
    assert [(late.step, late.loss) for late in again] == [(3, None), (3, 2.5), (7, None), (7, 2.5)]
    assert sum(isinstance(record, Frame) for record in records) == 10
    assert sum(isinstance(record, Header) for record in records) == 2
