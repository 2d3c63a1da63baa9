"""Which steps are looked at."""

import pytest

pytest.importorskip("torch")

from gradmidi.capture.steps import Stride


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def looked_at(stride: Stride, clock: Clock, steps: int, step: float, look: float) -> list[int]:
    seen = []
    for index in range(steps):
        if stride.due():
            clock.now += look
            stride.spent(look)
            seen.append(index)
        clock.now += step
    return seen


def test_every_step_by_default() -> None:
    stride = Stride()
    assert all(stride.due() for _ in range(10))


def test_each_nth_step_and_the_first() -> None:
    stride = Stride(every=4)
    assert [index for index in range(12) if stride.due()] == [0, 4, 8]


def test_the_budget_holds_whatever_a_look_costs() -> None:
    for look in (0.0001, 0.001, 0.05):
        clock = Clock()
        stride = Stride(budget=0.005, clock=clock)
        looked_at(stride, clock, 2_000, step=0.01, look=look)
        begun = clock.now
        seen = looked_at(stride, clock, 50_000, step=0.01, look=look)
        share = look * len(seen) / (clock.now - begun)
        assert 0.0025 < share < 0.005


def test_the_budget_holds_where_some_looks_are_held_up() -> None:
    clock, spent = Clock(), 0.0
    stride = Stride(budget=0.005, clock=clock)
    for _ in range(50_000):
        if stride.due():
            look = 0.005 if stride.looks % 5 == 4 else 0.001
            clock.now += look
            stride.spent(look)
            spent += look
        clock.now += 0.01
    assert 0.0045 < spent / clock.now < 0.00501


def test_a_budget_that_no_stride_can_meet_leaves_two_looks() -> None:
    # The first one plans and is not counted, the second shows what a look costs.
    clock = Clock()
    stride = Stride(budget=1e-9, clock=clock)
    assert looked_at(stride, clock, 100_000, step=0.01, look=0.005) == [0, 1]


def test_one_look_that_stood_still_does_not_blind_the_rest() -> None:
    clock = Clock()
    stride = Stride(budget=0.01, clock=clock)
    usual = looked_at(stride, clock, 5_000, step=0.01, look=0.001)[-1]
    assert usual > 4_900
    while not stride.due():
        clock.now += 0.01
    clock.now += 3600.0
    stride.spent(3600.0)
    assert len(looked_at(stride, clock, 500, step=0.01, look=0.001)) > 30


def test_a_cheap_look_leaves_out_no_step() -> None:
    clock = Clock()
    stride = Stride(budget=0.01, clock=clock)
    assert looked_at(stride, clock, 50, step=0.1, look=0.0001) == list(range(50))


def test_every_is_the_least_stride_of_a_budget() -> None:
    clock = Clock()
    stride = Stride(every=3, budget=0.5, clock=clock)
    assert looked_at(stride, clock, 9, step=0.1, look=0.001) == [0, 3, 6]


def test_the_stride_follows_a_step_that_becomes_longer() -> None:
    clock = Clock()
    stride = Stride(budget=0.01, clock=clock)
    looked_at(stride, clock, 2000, step=0.01, look=0.001)
    assert looked_at(stride, clock, 200, step=1.0, look=0.001)[-20:] == list(range(180, 200))


def test_what_looking_took_leaves_out_the_first_look_which_plans() -> None:
    stride = Stride()
    stride.spent(9.0)
    stride.spent(0.25)
    stride.spent(0.25)
    assert (stride.seconds, stride.looks) == (0.5, 3)
