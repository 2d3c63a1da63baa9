"""What a live run's plain lines say, and when."""

import pytest

from gradmidi.cli.keys import watch
from gradmidi.cli.view import KEYS, LINE_SECONDS, PlainLines, Settings


class Live:
    """A run as its player tells of it."""

    voices = ("fc1", "fc2")

    def __init__(self):
        self.status = {}

    def at(self, step, seconds, norms=(0.5, 1.0)):
        self.status = {
            "step": step,
            "seconds": seconds,
            "norms": norms,
            "notes": ["A3", ""],
            "faults": [],
            "fault_count": 0,
            "mark": "",
        }


class Keys:
    def __init__(self, there):
        self.there = there

    def read(self, _seconds):
        return ""


def test_lines_tell_the_rate_and_each_note():
    lines, now = [], 0.0
    plain, live = PlainLines(lines.append, lambda: now), Live()
    for n in range(40):
        now = 0.2 * n
        live.at(1 + n, now, (0.5 if now < LINE_SECONDS else 0.75, 1.0))
        plain.show(live, Settings())
    assert lines == [
        "step 1, fc1 norm 0.5 A3, fc2 norm 1 silent",
        "step 26, 5 steps a second, fc1 norm 0.75 up A3, fc2 norm 1 silent",
    ]


def test_values_are_named_with_their_numbers_and_notes():
    lines, now = [], 0.0
    plain, live = PlainLines(lines.append, lambda: now), Live()
    live.voices = ["loss", "val_acc"]
    for step, loss, values in ((1, 2.5, {"loss": 2.5}), (9, 1.0, {"loss": 1.0, "val_acc": 0.5})):
        now = step
        live.at(step, float(step), ())
        live.status |= {"loss": loss, "values": values, "notes": ["C3", "G3"]}
        plain.show(live, Settings())
    assert lines == [
        "step 1, loss 2.5 C3",
        "step 9, 1 steps a second, loss 1 down C3, val_acc 0.5 G3",
    ]


@pytest.mark.parametrize("there", [True, False])
def test_the_keys_are_reported_once_where_there_are_any(there):
    lines, left = [], iter([True, True, False])
    plain, live = PlainLines(lines.append), Live()
    assert not watch(live, plain, Keys(there), going=lambda: next(left))
    assert lines == [KEYS] * there


def test_what_is_counted_is_told_once_not_every_few_seconds():
    lines, now = [], 0.0
    plain, live = PlainLines(lines.append, lambda: now), Live()
    for n in range(200):
        now = 0.2 * n
        live.at(1, 0.0)
        live.status |= {"errors": n, "late": n // 150}
        plain.show(live, Settings())
    assert [line for line in lines if line.startswith("so far")] == [
        "so far 25 messages refused",
        "so far 1 frame late, 150 messages refused",
    ]
