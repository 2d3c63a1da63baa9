"""The level of the loss: a collapse that small batches hide, and what is none."""

import numpy as np
import pytest

from gradmidi.detection.detector import Watch
from gradmidi.detection.history import FaultLog
from gradmidi.detection.kinds import RUN, Faults
from gradmidi.log import End, Frame, Header, Layer
from gradmidi.text.describe import fault_line

LAYERS = (Layer("a", 100), Layer("b", 100))


def frames(losses, *, first=1, **values):
    rng = np.random.default_rng(0)
    return [
        Frame(
            first + i,
            0.1 * (first + i),
            rng.uniform(0.5, 1.0, 2),
            {"loss": float(loss), **{name: float(each[i]) for name, each in values.items()}},
        )
        for i, loss in enumerate(losses)
    ]


def found(items):
    watch = Watch(LAYERS, Faults())
    return [(f.kind, f.layer, f.step) for item in items for f in watch.add(item)]


def small_batches(steps, level, seed=0):
    """Losses of a classifier with batches of four: single ones are far above their median."""
    return level * np.random.default_rng(seed).lognormal(0.0, 1.0, steps)


def chance(steps, seed=1):
    return np.random.default_rng(seed).normal(2.3, 0.2, steps)


def learning(steps):
    return np.concatenate([chance(40), small_batches(steps - 40, 0.4)])


@pytest.mark.parametrize("seed", range(4))
def test_a_collapse_that_single_losses_of_small_batches_exceed_is_told_with_its_first_step(seed):
    losses = np.concatenate([chance(40), small_batches(460, 0.4, seed), chance(200, seed + 9)])
    assert losses[440:500].max() * 2.0 > losses[500:].max(), "the largest says nothing"
    log = FaultLog(LAYERS, Faults())
    for item in frames(losses):
        log.add(item)
    (fault,) = log.so_far()
    assert (fault.kind, fault.logged, fault.to_the_end) == ("exploding", "loss", True)
    assert abs(fault.steps[0] - 501) <= 5
    assert 501 < fault.found <= 520


def test_a_burst_of_wrong_labels_is_told():
    losses = learning(700)
    losses[500:512] = np.random.default_rng(5).uniform(4.0, 9.0, 12)
    assert [(kind, layer) for kind, layer, _ in found(frames(losses))] == [("exploding", RUN)]


@pytest.mark.parametrize("seed", range(4))
def test_losses_of_small_batches_that_keep_their_level_are_none(seed):
    losses = np.concatenate([chance(40), small_batches(4000, 0.4, seed)])
    assert found(frames(losses)) == []


def test_a_loss_that_rises_and_falls_by_itself_is_no_measure():
    rng = np.random.default_rng(0)
    # The value function of reinforcement learning: it rises as the rewards do.
    level = np.exp(0.8 * np.sin(np.arange(3000) / 150.0))
    losses = level * rng.lognormal(0.0, 0.5, 3000)
    assert found(frames(losses)) == []
    # It rises faster at each rollout; the first times are before a level is known.
    sawtooth = np.exp(-(np.arange(3000) % 40) / 15.0) * rng.lognormal(0.0, 0.2, 3000)
    assert found(frames(sawtooth)) == []


def test_a_new_cycle_of_the_learning_rate_is_none_and_a_rate_the_run_never_had_is():
    losses = learning(700)
    losses[500:540] = 5.0 * np.median(losses[400:500])
    again = np.where(np.arange(700) < 100, 0.1, np.where(np.arange(700) < 499, 0.01, 0.1))
    assert found(frames(losses, lr=again)) == []
    higher = np.where(np.arange(700) < 499, 0.01, 0.1)
    assert [kind for kind, *_ in found(frames(losses, lr=higher))] == ["exploding"]


def test_a_run_that_is_taken_up_again_may_begin_on_a_higher_loss():
    losses = learning(600)
    losses[500:530] *= 3.0
    items = frames(losses)
    items[500:500] = [End("closed", 50.0, 500), Header(LAYERS, resumed=True)]
    assert found(items) == []


def test_layers_that_begin_to_learn_may_raise_the_loss_for_a_while():
    losses = learning(600)
    losses[500:515] = 1.4
    items = frames(losses)
    assert [kind for kind, *_ in found(items)] == ["exploding"]
    for item in items[:500]:
        item.norms[0] = -1.0
    assert found(items) == []


def test_where_the_data_is_learnt_by_heart_gradients_may_vanish_and_be_zero():
    items = frames(np.maximum(2.3 * 10.0 ** (-np.arange(900) / 60.0), 1e-9))
    for i, item in enumerate(items):
        item.norms[:] *= max(10.0 ** (-i / 60.0), 1e-13)
        item.norms[0] *= 0.01 if i > 500 else 1.0
        if i > 850:
            item.norms[:] = 0.0
    assert found(items) == []
    # The same norms while the loss stays.
    for item in items:
        item.extra["loss"] = 2.3
    assert {"vanishing", "dead"} <= {kind for kind, *_ in found(items)}


def rising(rate, *, learnt=0.3, first=2.3, steps=2000, since=600):
    """A loss that falls from `first` to `learnt`, and from a step on grows by a rate a step."""
    at = np.arange(steps)
    level = learnt + (first - learnt) * np.exp(-at / 80)
    level[since:] *= (1.0 + rate) ** np.arange(steps - since)
    return level * np.random.default_rng(3).normal(1.0, 0.05, steps)


def test_a_loss_that_grows_too_slowly_to_stand_out_is_told_when_it_is_above_the_first():
    log = FaultLog(LAYERS, Faults())
    for item in frames(rising(0.003)):
        log.add(item)
    (fault,) = log.so_far()
    assert (fault.kind, fault.logged, fault.to_the_end) == ("exploding", "loss", True)
    above = 600 + np.log(2.3 / 0.3) / np.log(1.003)
    assert abs(fault.steps[0] - above) < 150


def test_a_loss_that_only_loses_some_of_what_it_learnt_is_no_fault():
    assert not found(frames(rising(0.003, steps=1000)))


def test_a_loss_that_was_never_low_may_be_above_the_first():
    growing = 1.0 + 0.004 * np.arange(2000)
    assert not found(frames(growing * np.random.default_rng(4).normal(1.0, 0.1, 2000)))


def test_after_a_thousand_steps_a_level_counts_as_usual_and_the_fault_says_so():
    losses = np.concatenate([np.full(200, 0.3), np.full(1300, 2.0), np.full(100, 0.3)])
    losses *= np.random.default_rng(5).normal(1.0, 0.05, len(losses))
    log = FaultLog(LAYERS, Faults())
    for item in frames(losses):
        log.add(item)
    (fault,) = log.so_far()
    assert fault.steps[0] == 201
    assert 1201 <= fault.steps[1] < 1300
    assert fault.usual
    assert fault_line(fault).endswith("; from then on it counts as usual")
