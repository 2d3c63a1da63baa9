"""Rates that are too high, found from the sizes of updates; and runs that only look like it."""

import numpy as np
import pytest

from gradmidi.detection.detector import Watch
from gradmidi.detection.history import FaultLog
from gradmidi.detection.kinds import Faults
from gradmidi.log import ABSENT, Frame, Header, Layer
from gradmidi.text.describe import fault_line

LAYERS = (Layer("a", 10), Layer("b", 10), Layer("c", 10))
USUAL = 2e-3


def frame(step: int, size: float | None = None, loss: float | None = None) -> Frame:
    updates = None if size is None else np.array([size, 0.5 * size, ABSENT])
    extra = {} if loss is None else {"loss": loss}
    return Frame(step, 0.1 * step, np.array([1.0, 2.0, 0.5]), extra, updates)


def found(sizes: dict[int, float], losses=lambda _: None, steps: int = 300) -> list[int]:
    watch = Watch(LAYERS, Faults())
    told = []
    for step in range(1, steps + 1):
        told += watch.add(frame(step, sizes.get(step), losses(step)))
    assert all((each.kind, each.layer) == ("overshooting", -1) for each in told)
    return [each.step for each in told]


def each_tenth(size) -> dict[int, float]:
    return {step: size(step) for step in range(1, 300, 10)}


def test_a_usual_run_a_warmup_and_the_first_step_of_adam_are_no_fault() -> None:
    falls = lambda step: 2.0 / step**0.3  # noqa: E731
    assert found(each_tenth(lambda _: USUAL), falls) == []
    assert found(each_tenth(lambda step: 1e-5 * step), falls) == []
    assert found(each_tenth(lambda step: 0.2 if step == 1 else USUAL), falls) == []


def test_an_update_that_replaces_the_weights_is_found_at_once_and_told_once() -> None:
    assert found(each_tenth(lambda _: 1.5)) == [1]
    assert found(each_tenth(lambda step: 0.4 if step == 51 else USUAL)) == [51]


def test_an_update_that_has_grown_is_found_before_it_is_large() -> None:
    assert found(each_tenth(lambda step: 0.08 if step >= 101 else 0.01)) == [101]
    assert found(each_tenth(lambda step: 0.03 if step >= 101 else 0.01)) == []


def test_after_a_large_update_the_loss_has_to_fall() -> None:
    sizes = each_tenth(lambda step: 0.22 if step == 1 else USUAL)
    (step,) = found(sizes, lambda _: 2.3)
    assert 40 <= step <= 60
    assert found(sizes, lambda step: 2.3 * 0.99**step) == []
    assert found(each_tenth(lambda _: USUAL), lambda _: 2.3) == [], "a plateau of small updates"


def test_it_may_be_told_again_after_calm_and_in_a_new_segment() -> None:
    calm = each_tenth(lambda step: 0.4 if step in (51, 251) else USUAL)
    assert found(calm) == [51, 251]
    watch = Watch(LAYERS, Faults())
    assert watch.add(frame(1, 1.5))
    watch.add(Header(LAYERS, resumed=True))
    assert watch.add(frame(1, 1.5))


def test_sizes_that_come_after_their_frame_are_judged_once() -> None:
    watch = Watch(LAYERS, Faults())
    assert watch.add(frame(1)) == ()
    assert [each.kind for each in watch.add(frame(1, 1.5))] == ["overshooting"]
    assert watch.add(frame(1, 1.5, loss=2.0)) == ()


@pytest.mark.parametrize("size", [float("nan"), float("inf"), ABSENT])
def test_sizes_that_are_no_numbers_are_left_to_other_faults(size: float) -> None:
    assert found({1: size, 11: size}) == []


def test_it_is_told_in_words() -> None:
    log = FaultLog(LAYERS, Faults())
    log.add(frame(1, 1.0))
    (fault,) = log.finish()[:1]
    assert fault_line(fault) == (
        "step 1: the learning rate is too high (an update changed the weights by 75 %)"
    )
