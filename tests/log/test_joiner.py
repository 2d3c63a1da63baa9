"""Frames and what is logged beside them."""

import numpy as np
import pytest

from gradmidi.log import Frame
from gradmidi.log.joiner import PATIENCE_SECONDS, WINDOW_SECONDS, Joiner

STEP_SECONDS = 0.1


def frame(step: int, **extra: float) -> Frame:
    return Frame(step, step * STEP_SECONDS, np.array([float(step)]), extra)


def told(frames: list[Frame]) -> list[tuple[int, dict[str, object]]]:
    return [(each.step, dict(each.extra)) for each in frames]


def test_a_value_after_the_step_stands_on_that_step() -> None:
    joiner = Joiner()
    out = []
    for step in (1, 2, 3):
        out += joiner.frame(frame(step))
        out += joiner.values({"loss": step + 0.5}, step * STEP_SECONDS + 0.001)
    out += joiner.release()
    assert told(out) == [(1, {"loss": 1.5}), (2, {"loss": 2.5}), (3, {"loss": 3.5})]


def test_a_frame_goes_out_at_once_when_it_has_what_the_one_before_had() -> None:
    joiner = Joiner()
    joiner.frame(frame(1))
    joiner.values({"loss": 1.0}, 0.1)
    joiner.values({"lr": 0.1}, 0.1)
    assert told(joiner.frame(frame(2))) == [(1, {"loss": 1.0, "lr": 0.1})]
    assert joiner.values({"loss": 2.0}, 0.2) == []
    assert told(joiner.values({"lr": 0.1}, 0.2)) == [(2, {"loss": 2.0, "lr": 0.1})]


def test_a_value_before_the_first_step_leads_from_then_on() -> None:
    joiner = Joiner()
    out = []
    for step in (1, 2, 3):
        out += joiner.values({"loss": step + 0.5}, step * STEP_SECONDS - 0.05)
        out += joiner.frame(frame(step))
    out += joiner.release()
    assert told(out) == [(1, {"loss": 1.5}), (2, {"loss": 2.5}), (3, {"loss": 3.5})]


def test_a_value_that_comes_too_late_sends_its_frame_again_with_it() -> None:
    joiner = Joiner()
    joiner.frame(frame(1))
    joiner.frame(frame(2))
    assert told(joiner.release()) == [(2, {})]
    again = joiner.values({"loss": 2.0}, 9.0)
    assert told(again) == [(2, {"loss": 2.0})]
    assert again[0].norms.tolist() == [2.0]
    assert again[0].t == pytest.approx(2 * STEP_SECONDS)


def test_a_second_value_of_one_name_never_changes_a_frame_that_is_out() -> None:
    joiner = Joiner()
    joiner.frame(frame(1))
    joiner.values({"loss": 1.0}, 0.1)
    joiner.frame(frame(2))
    assert told(joiner.values({"loss": 2.0}, 0.2)) == [(2, {"loss": 2.0})]
    # A step that a GradScaler threw away, or one more micro-batch: there is no frame for it.
    assert joiner.values({"loss": 7.0}, 0.3) == []
    joiner.frame(frame(3))
    assert told(joiner.values({"loss": 3.0}, 0.4)) == [(3, {"loss": 3.0})]


def test_values_of_steps_that_were_not_looked_at_are_left_out() -> None:
    joiner = Joiner()
    joiner.frame(frame(1))
    joiner.values({"loss": 1.0}, 0.1)
    assert joiner.values({"loss": 2.0}, 0.2, looked_at=False) == []
    assert told(joiner.frame(frame(3))) == [(1, {"loss": 1.0})]


def test_how_long_a_frame_waits() -> None:
    joiner = Joiner()
    assert joiner.deadline == np.inf
    joiner.frame(frame(1))
    assert joiner.deadline == pytest.approx(0.1 + PATIENCE_SECONDS)
    joiner.frame(frame(2))
    assert joiner.deadline == pytest.approx(0.2 + WINDOW_SECONDS), (
        "nobody logs: nothing to wait for"
    )
    joiner.values({"loss": 2.0}, 0.2)
    joiner.frame(frame(3))
    assert joiner.deadline == pytest.approx(0.3 + PATIENCE_SECONDS)
    joiner.release()
    assert joiner.deadline == np.inf


def test_the_first_frame_waits_no_longer_once_something_was_logged() -> None:
    joiner = Joiner()
    joiner.frame(frame(1))
    joiner.values({"loss": 1.0}, 0.15)
    assert joiner.deadline == pytest.approx(0.15 + WINDOW_SECONDS)


@pytest.mark.parametrize("released_in_time", [True, False])
def test_a_run_reads_the_same_however_late_its_values_come(released_in_time: bool) -> None:
    """Whether a timer lets a frame go before or after its loss: the later line has it all."""
    joiner = Joiner()
    last: dict[int, dict[str, object]] = {}
    for step in range(1, 30):
        out = joiner.frame(frame(step))
        if not released_in_time:
            out += joiner.release()
        if step % 4 == 0:
            out += joiner.values({"loss": float(step)}, step * STEP_SECONDS)
        for each in out:
            last[each.step] = dict(each.extra)
    for each in joiner.release():
        last[each.step] = dict(each.extra)
    assert last == {s: ({"loss": float(s)} if s % 4 == 0 else {}) for s in range(1, 30)}
