"""Spikes and exploding of logged values that are heard; what is not heard is judged as before."""

import math

import numpy as np
import pytest

from gradmidi.detection.detector import Watch
from gradmidi.detection.history import FaultLog
from gradmidi.detection.kinds import Faults
from gradmidi.log import End, Frame, Layer, row

LAYERS = (Layer("fc1", 10), Layer("fc2", 10))


def frames(name, numbers, layers=0):
    return [
        Frame(step, 0.1 * step, row([1.0] * layers), {name: number})
        for step, number in enumerate(numbers, 1)
    ]


def found(items, layers=(), heard=()):
    log = FaultLog(layers, Faults(), heard)
    for item in [*items, End("closed", items[-1].t + 0.1, len(items))]:
        log.add(item)
    return [(each.kind, each.logged, each.steps, each.to_the_end) for each in log.finish()]


def noisy(level, count, seed=0, noise=0.05):
    return (level * np.exp(np.random.default_rng(seed).normal(0.0, noise, count))).tolist()


def test_one_loss_above_twice_the_largest_of_its_past_is_a_spike():
    losses = [*noisy(2.0, 100), 5.0, *noisy(2.0, 100, 1)]
    assert found(frames("train/loss", losses)) == [("spike", "train/loss", (101, 101), False)]


def test_losses_that_stay_there_explode_and_are_over_when_they_fall():
    losses = [*noisy(2.0, 100), *noisy(9.0, 60, 1), *noisy(2.0, 60, 2)]
    assert found(frames("val_loss", losses)) == [
        ("exploding", "val_loss", (101, 160), False),
        ("spike", "val_loss", (101, 101), False),
    ]
    assert found(frames("val_loss", losses[:150]))[0] == (
        "exploding",
        "val_loss",
        (101, 150),
        True,
    )


def test_a_logged_norm_may_be_larger_than_a_loss_before_it_is_a_spike():
    norms = [*noisy(1.0, 100), 5.0, *noisy(1.0, 100, 1), 9.0, *noisy(1.0, 20, 2)]
    assert found(frames("grad_norm", norms)) == [("spike", "grad_norm", (202, 202), False)]


@pytest.mark.parametrize("name", ["lr", "accuracy", "reward", "tokens", "weight_norm"])
def test_other_values_may_rise_as_they_like(name):
    numbers = [*noisy(1.0, 100), *noisy(50.0, 100)]
    assert found(frames(name, numbers)) == []


@pytest.mark.parametrize(
    "losses",
    [
        [3.0 * math.exp(-step / 60) + 0.5 for step in range(400)],
        [1.0] * 400,
        noisy(2.0, 400, 3, 0.15),
        [abs(math.sin(step / 15)) + 0.5 for step in range(400)],
        [*noisy(2.0, 60), -1.0, *noisy(2.0, 40), 9.0],
    ],
    ids=["falls", "a plateau", "noise", "waves", "was negative"],
)
def test_what_only_looks_like_a_fault_is_none(losses):
    assert found(frames("loss", losses)) == []


def test_beside_layers_a_value_is_judged_only_if_it_is_heard():
    losses = [*noisy(2.0, 100), 5.0, *noisy(2.0, 50, 1)]
    items = frames("train/loss", losses, layers=2)
    assert found(items, LAYERS) == []
    assert found(items, LAYERS, ("lr",)) == []
    assert found(items, LAYERS, ("train/*",)) == [("spike", "train/loss", (101, 101), False)]


def test_the_value_loss_is_found_exploding_once():
    losses = [*noisy(2.0, 100), *noisy(9.0, 60, 1)]
    for layers, heard in (((), ()), (LAYERS, ("loss",))):
        kinds = [each[:2] for each in found(frames("loss", losses, len(layers)), layers, heard)]
        assert kinds == [("exploding", "loss"), ("spike", "loss")]


def test_a_spike_is_reported_again_only_after_a_while():
    losses = noisy(2.0, 400)
    for step in (200, 210, 340):
        losses[step - 1] = 30.0 * step
    watch = Watch((), Faults())
    steps = [each.step for item in frames("loss", losses) for each in watch.add(item)]
    assert steps == [200, 340]


def test_skipped_steps_and_what_is_not_finite_are_not_judged():
    items = frames("loss", noisy(2.0, 100))
    items += [Frame(101, 10.1, row([]), {"loss": 90.0, "skipped": True})]
    assert [each[0] for each in found(items)] == ["skipped"]
    items = [*frames("loss", [*noisy(2.0, 100), math.inf])]
    assert [each[:2] for each in found(items)] == [("inf", "loss")]
