"""The time of a process's own work, from hooks of its model and its optimizer."""

import math
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from gradmidi.capture.capture import Capture
from gradmidi.capture.local_work import ENOUGH, LocalWork, count_updates
from gradmidi.listener.other_rank import StepCounter


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def stamp(self) -> float:
        return self.now

    def has_come(self, stamp: float) -> bool:
        return True

    def seconds(self, begin: float, end: float) -> float:
        return end - begin

    def pass_(self, seconds: float) -> None:
        self.now += seconds


class Device(Clock):
    """A device that is late: it has come only to what was asked for so many seconds ago."""

    late = 5.0

    def has_come(self, stamp: float) -> bool:
        return stamp <= self.now - self.late


class Slow(nn.Module):
    """Takes time in its forward pass."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def forward(self, x):
        self.clock.pass_(self.seconds)
        return x


def test_loading_and_computing_are_told_apart_and_waiting_is_left_out() -> None:
    clock = Clock()
    net = nn.Sequential(nn.Linear(2, 3), Slow(clock, 4.0), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(net.parameters())
    steps = iter(range(1, 9))
    work = LocalWork(net, [optimizer], lambda: next(steps), clock)
    for step in range(4):
        clock.pass_(2.0)  # Loads data.
        net(torch.ones(1, 2)).sum().backward()
        clock.pass_(50.0)  # Waits for the other processes.
        if step == 3:
            net.eval()
        optimizer.step()
    assert work.take() == [(1, 2.0, 6.0, 56.0), (2, 2.0, 6.0, 56.0), (3, 2.0, 6.0, 56.0)]
    assert work.take() == []
    work.remove()
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert (work.take(), len(net._forward_pre_hooks)) == ([], 0)
    assert len(optimizer._optimizer_step_pre_hooks) == 0
    assert not net[0].weight._post_accumulate_grad_hooks


def test_gradients_that_are_accumulated_count_together() -> None:
    clock = Clock()
    net = nn.Sequential(nn.Linear(2, 3), Slow(clock, 1.0), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(net.parameters())
    work = LocalWork(net, [optimizer], lambda: 7, clock)
    for _ in range(2):
        for _ in range(3):
            clock.pass_(2.0)
            net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert work.take() == [(7, 2.0, 9.0, 9.0)]


def train(work: LocalWork, net: nn.Module, optimizer: Any, clock: Clock, steps: int) -> list:
    for _ in range(steps):
        clock.pass_(1.0)
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    return work.take()


def test_what_a_device_has_not_done_is_read_later() -> None:
    clock, net = Device(), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters())
    work = LocalWork(net, [optimizer], lambda: 7, clock)
    assert train(work, net, optimizer, clock, 6) == []
    assert train(work, net, optimizer, clock, 3) == [(7, 1.0, 1.0, 1.0)] * 3


@pytest.mark.parametrize("method", ["stamp", "has_come", "seconds"])
def test_a_device_that_cannot_do_it_does_not_stop_the_training(method: str) -> None:
    clock, net = Clock(), nn.Linear(2, 1)
    calls = []

    def fails(*_: object) -> None:
        calls.append(1)
        raise RuntimeError("events are of different devices")

    setattr(clock, method, fails)
    optimizer = torch.optim.SGD(net.parameters())
    work = LocalWork(net, [optimizer], lambda: 7, clock)
    assert train(work, net, optimizer, clock, 9) == train(work, net, optimizer, clock, 9) == []
    assert len(calls) == 1, "it is not tried again"


def test_of_many_steps_some_are_timed() -> None:
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters())
    steps = iter(range(1000))
    work = LocalWork(net, [optimizer], lambda: next(steps))
    for _ in range(2):
        for _ in range(ENOUGH + 30):
            net(torch.ones(1, 2)).sum().backward()
            optimizer.step()
        assert len(work.take()) == ENOUGH


def test_without_a_gradient_the_time_is_not_known() -> None:
    clock = Clock()
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(net.parameters())
    work = LocalWork(net, [optimizer], lambda: 7, clock)
    for _ in range(2):
        net[1](net(torch.ones(1, 2)).new_ones(1, 3)).sum().backward()
        optimizer.step()
    ((_, forward, gradient, _),) = work.take()
    assert (forward, math.isnan(gradient)) == (0.0, True)


@pytest.mark.slow
def test_a_compiled_forward_pass_has_no_time_and_stays_one_graph() -> None:
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters())
    work = LocalWork(net, [optimizer], lambda: 7)

    @torch.compile(fullgraph=True, backend="eager")
    def forward(x):
        return net(x).sum()

    for _ in range(3):
        forward(torch.ones(1, 2)).backward()
        optimizer.step()
    assert [math.isnan(forward) for _, forward, _, _ in work.take()] == [True, True]


def test_updates_are_counted_also_those_that_a_scaler_skips() -> None:
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    counter = StepCounter(10)
    capture = Capture(net, optimizer)
    count_updates(capture, counter)
    for factor in (1.0, math.inf, 1.0):
        scaler.scale(net(torch.ones(1, 2)).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert counter.step == 13
    capture.detach(quiet=True)
