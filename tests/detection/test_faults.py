"""Faults on norms that are written by hand; `test_watched_runs` judges real training runs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradmidi.detection.detector import Watch
from gradmidi.detection.history import FaultLog
from gradmidi.detection.kinds import RUN, Faults, Finding
from gradmidi.log import ABSENT, End, Frame, Header, Layer, Mark, Pause

NAN, INF = math.nan, math.inf


def layers(count):
    return tuple(Layer(f"layer{i}", 100) for i in range(count))


def noise(steps, count, *, seed=0, spread=0.5):
    """Norms of a healthy run: each layer on a level of its own, lognormal about it."""
    rng = np.random.default_rng(seed)
    levels = 10.0 ** rng.uniform(-2, 1, count)
    return levels * np.exp(rng.normal(0.0, spread, (steps, count)))


def frames(norms, *, first=1, apart=0.1, t=0.0, **extra):
    return [
        Frame(first + i, t + apart * (i + 1), np.array(row, np.float64), extra)
        for i, row in enumerate(norms)
    ]


def watch(items, count=None, limits=None):
    """What is found in a list of items, or in a table of norms."""
    if isinstance(items, np.ndarray):
        items = frames(items)
    count = count or len(next(item for item in items if isinstance(item, Frame)).norms)
    ears = Watch(layers(count), limits or Faults())
    found = []
    for item in items:
        found += ears.add(item)
    return found


def faults_of(norms):
    """The faults of a run with these norms."""
    log = FaultLog(layers(norms.shape[1]), Faults())
    for frame in frames(norms):
        log.add(frame)
    return log.so_far()


def told(found):
    return [(finding.kind, finding.layer, finding.step) for finding in found]


# -- nothing wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("count", [1, 4, 15])
def test_noise_is_no_fault_however_wide(count, spread):
    assert watch(noise(3000, count, spread=spread)) == []


def test_batches_that_are_learnt_already_hardly_move_a_layer_and_are_no_fault():
    norms = noise(3000, 4)
    norms *= np.where(np.random.default_rng(1).random((3000, 1)) < 0.1, 1e-4, 1.0)
    assert watch(norms) == []


def test_warming_up_over_decades_is_no_fault():
    norms = noise(1000, 6, spread=0.2)
    norms *= 10.0 ** np.minimum(np.arange(1000) / 60.0, 2.0)[:, None]
    assert watch(norms) == []


def test_all_norms_falling_by_decades_as_the_loss_does_is_no_fault():
    norms = noise(3000, 6, spread=0.3)
    norms *= 10.0 ** (-np.arange(3000) / 250.0)[:, None]
    assert watch(norms, limits=Faults(floor=1e-30)) == []


def test_a_drop_of_the_rate_is_no_fault():
    norms = noise(1000, 6)
    norms[500:] *= 0.2
    assert watch(norms) == []


def test_a_layer_that_is_frozen_and_unfreezes_is_no_fault():
    norms = noise(1000, 6)
    norms[:400, :3] = ABSENT
    norms[400:420, 0] *= np.linspace(0.01, 1.0, 20)
    assert watch(norms) == []


def test_a_run_that_is_taken_up_again_may_begin_on_other_levels():
    norms = noise(900, 4)
    norms[450:] *= 40.0
    resumed = Header(layers(4), resumed=True)
    items = frames(norms)
    items[450:450] = [End("closed", 45.0, 450), resumed]
    assert watch(items) == []
    again = frames(norms[:450]) + frames(norms[450:], first=300, t=50.0)
    assert watch(again) == []


def test_marks_and_a_line_written_twice_change_nothing():
    norms = noise(200, 3)
    norms[150, 1] = NAN
    items = frames(norms)
    items.insert(100, Mark("epoch 2", 10.0))
    items.insert(151, items[150])
    assert told(watch(items)) == [("nan", 1, 150)] or told(watch(items)) == [("nan", 1, 151)]


def test_networks_that_are_trained_in_turn_have_gaps_and_no_fault():
    for turn in (1, 5, 50):
        norms = noise(2000, 6)
        first = np.arange(2000) // turn % 2 == 0
        norms[first, :3] = ABSENT
        norms[~first, 3:] = ABSENT
        assert watch(norms) == []
    # Five of the one for each of the other, which gets a gradient by way of it.
    norms = noise(2000, 6)
    norms[np.arange(2000) % 6 != 5, :3] = ABSENT
    assert watch(norms) == []


def test_experts_and_blocks_that_only_some_batches_use_are_no_fault():
    norms = noise(4000, 8)
    share = np.array([1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.03, 0.01])
    norms[np.random.default_rng(3).random(norms.shape) >= share] = ABSENT
    norms[1000:1100] = ABSENT  # rows of values alone
    assert "missing" not in {kind for kind, *_ in told(watch(norms))}


def test_a_stage_that_takes_over_from_another_is_no_fault():
    norms = noise(1000, 6)
    norms[:400, :3] = ABSENT
    norms[400:, 3:5] = ABSENT
    norms[400:, :3] *= np.minimum(1.0, np.linspace(0.05, 1.0, 600))[:, None]
    assert watch(norms) == []


# -- each kind, at its layer and step -----------------------------------------------------------


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("step", [1, 2, 17, 300])
def test_what_is_not_finite_is_told_at_once(step, value):
    norms = noise(400, 8)
    norms[step - 1, 5] = value
    (finding,) = watch(norms)
    assert told([finding]) == [("nan" if math.isnan(value) else "inf", 5, step)]
    assert str(finding.value) == str(value)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_spike_of_one_layer_is_told_at_its_step_with_its_norm(count):
    norms = noise(400, count)
    norms[300, count - 1] = 100.0 * norms[:300, count - 1].max()
    found = watch(norms)
    assert told(found) == [("spike", count - 1, 301)]
    assert found[0].value == norms[300, count - 1]


def test_a_spike_that_stays_is_exploding():
    norms = noise(400, 8)
    norms[300:, 3] *= 200.0
    found = watch(norms)
    assert [(f.kind, f.layer) for f in found[:2]] == [("spike", 3), ("exploding", 3)]
    assert found[1].step <= 310


def test_growth_without_a_jump_is_exploding_and_no_spike():
    norms = noise(400, 8, spread=0.1)
    norms[200:, 2] *= 1.4 ** np.minimum(np.arange(200), 30)
    found = watch(norms)
    assert [(f.kind, f.layer) for f in found[:1]] == [("exploding", 2)]
    assert 205 < found[0].step < 225
    assert "spike" not in {f.kind for f in found}


def test_blowing_up_within_the_first_steps_is_exploding():
    norms = noise(60, 4, spread=0.2)
    norms[2:] *= 10.0 ** np.minimum(np.arange(1, 59), 6)[:, None]
    found = watch(norms)
    assert told(found)[0][:2] == ("exploding", RUN)
    assert found[0].step < 12


def test_rising_by_many_decades_in_the_first_steps_is_told_though_all_die_of_it():
    norms = noise(60, 4, spread=0.2)
    norms[:7] *= 10.0 ** np.array([0.0, 1.0, 0.6, 1.5, 3.0, 5.2, 6.5])[:, None]
    norms[7:] = 0.0
    assert told(watch(norms)) == [("exploding", RUN, 6), ("dead", RUN, 19)]
    # Fewer decades are growth, be it fast.
    norms[:7] **= 0.5
    assert told(watch(norms)) == [("dead", RUN, 19)]


def test_a_layer_that_falls_while_another_does_not_is_vanishing():
    norms = noise(600, 8)
    norms[300:, 4] *= np.maximum(0.7 ** np.arange(300), 1e-6)
    found = watch(norms)
    assert told(found)[0][:2] == ("vanishing", 4)
    assert 310 < found[0].step < 350


def test_a_layer_that_hardly_moves_from_the_first_step_is_vanishing():
    norms = noise(200, 6, spread=0.3)
    norms[:, 0] = 1e-6 * norms[:, 5]
    found = watch(norms)
    assert told(found)[0][:2] == ("vanishing", 0)
    assert found[0].step <= 40


@pytest.mark.parametrize("first", [0, 200])
def test_a_layer_of_zeros_is_dead_after_a_while(first):
    norms = noise(400, 8)
    norms[first:, 2] = 0.0
    found = watch(norms)
    assert told(found)[0] == ("dead", 2, first + Faults().dead)
    assert found[0].value == 0.0


def test_zeros_now_and_then_are_not_dead():
    norms = noise(2000, 4)
    norms[np.random.default_rng(3).random(2000) < 0.4, 1] = 0.0
    assert watch(norms) == []


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_zeros_of_experts_that_few_batches_use_are_not_dead(share):
    norms = noise(3000, 10)
    norms[:, 8:] = 1.0
    norms[:, :8][np.random.default_rng(3).random((3000, 8)) < share] = 0.0
    assert watch(norms) == []


def test_an_expert_that_no_batch_uses_any_more_is_dead():
    norms = noise(600, 4)
    norms[:, 1][np.random.default_rng(3).random(600) < 0.5] = 0.0
    norms[400:, 1] = 0.0
    (found,) = [each for each in watch(norms) if each.kind == "dead" and each.step < 500]
    assert 400 < found.step < 440


@pytest.mark.parametrize("seed", range(8))
def test_a_rare_expert_is_never_dead_to_the_end_and_one_that_dies_is_told_where_it_did(seed):
    used = np.random.default_rng(seed).random((2000, 8)) < 0.1
    norms = noise(2000, 10, seed=seed)
    norms[:, :8][~used] = 0.0
    assert not [each for each in faults_of(norms) if each.to_the_end]
    norms[1000:, 3] = 0.0
    last = 1000 - int(used[:1000, 3][::-1].argmax())
    (dead,) = [each for each in faults_of(norms) if each.to_the_end]
    assert (dead.kind, dead.layers, dead.steps) == ("dead", ("layer3",), (last + 1, 2000))


def test_a_layer_that_is_dead_from_the_start_is_found_among_experts():
    norms = noise(600, 10)
    norms[:, :8][np.random.default_rng(1).random((600, 8)) < 0.6] = 0.0
    norms[:, 8] = 0.0
    assert [each.layers for each in faults_of(norms) if each.to_the_end] == [("layer8",)]


def test_beside_a_layer_that_rose_far_the_others_have_not_vanished():
    norms = noise(3000, 8, spread=0.1)
    norms[600:, 5] *= np.minimum(1e5, 1.5 ** np.minimum(np.arange(2400), 40))
    assert {finding.kind for finding in watch(norms)} == {"exploding"}


def test_a_branch_that_begins_at_zero_may_exceed_the_others_while_the_loss_falls():
    steps = np.arange(400)
    norms = np.ones((400, 6)) * np.random.default_rng(1).uniform(0.9, 1.1, (400, 6))
    norms[:, ::2] *= 1e-9 * np.minimum(2e9, 10.0 ** np.minimum(steps / 2.5, 20))[:, None]
    losses = 0.2 + 2.0 * np.exp(-steps / 100)
    items = [
        replace(frame, extra={"loss": float(loss)})
        for frame, loss in zip(frames(norms), losses, strict=True)
    ]
    assert watch(items) == []


def test_a_step_that_was_thrown_away_is_skipped_and_its_nan_is_no_fault():
    items = frames(noise(300, 4))
    odd = Frame(200, items[199].t, np.array([1.0, INF, NAN, 2.0]), {"skipped": True})
    items[199] = odd
    found = watch(items)
    assert told(found) == [("skipped", RUN, 200)]
    # And it leaves no trace in what is usual.
    items[199] = Frame(200, items[199].t, np.full(4, 1e9), {"skipped": True})
    assert told(watch(items)) == [("skipped", RUN, 200)]


# -- many layers at once ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [NAN, INF, 1e5])
def test_what_more_than_half_of_the_layers_do_is_told_once_as_the_run_s(value):
    norms = noise(400, 15)
    norms[300] = value if not math.isfinite(value) else value * norms[300]
    found = watch(norms)
    assert told(found) == [({"nan": "nan", "inf": "inf"}.get(str(value), "spike"), RUN, 301)]
    if math.isfinite(value):
        assert found[0].value == pytest.approx(np.sqrt((norms[300] ** 2).sum()))


def test_two_layers_are_never_the_whole_run():
    norms = noise(300, 2)
    norms[200] = NAN
    assert told(watch(norms)) == [("nan", 1, 201)]


def test_of_neighbours_the_one_nearest_the_output_is_told():
    norms = noise(400, 15)
    norms[300, [3, 4, 5, 9]] = NAN
    assert told(watch(norms)) == [("nan", 9, 301), ("nan", 5, 301)]


def test_where_backward_met_it_is_told_beside_the_whole_run():
    norms = noise(400, 15)
    norms[300:, :11] = 0.0
    assert told(watch(norms))[:2] == [("dead", RUN, 312), ("dead", 10, 312)]


def test_a_nan_that_spreads_is_told_where_it_was_single_and_once_when_everywhere():
    norms = noise(400, 15)
    norms[300, 4] = NAN
    norms[301:] = NAN
    found = watch(frames(norms, apart=0.01))
    assert told(found) == [("nan", 4, 301), ("nan", RUN, 302)]


def test_layers_without_a_gradient_do_not_count_as_half():
    norms = noise(400, 10)
    norms[:, :5] = ABSENT
    norms[300, 5:8] = NAN
    assert told(watch(norms)) == [("nan", RUN, 301), ("nan", 7, 301)]


def test_the_gravest_few_of_one_step_are_told():
    norms = noise(400, 20)
    norms[300, [0, 2, 4, 6]] = 1e4 * norms[300, [0, 2, 4, 6]]
    norms[300, 10], norms[300, 12] = INF, NAN
    found = watch(norms)
    assert told(found) == [("nan", 12, 301), ("inf", 10, 301), ("spike", 6, 301)]


# -- once, and again ----------------------------------------------------------------------------


def test_what_lasts_is_told_again_every_thirty_seconds():
    norms = noise(1000, 6)
    norms[100:, 2] = 0.0
    seconds = [f.step * 0.1 for f in watch(norms) if f.kind == "dead"]
    assert seconds == pytest.approx([11.2, 41.2, 71.2], abs=0.11)


def test_a_nan_that_comes_and_goes_is_told_at_most_once_in_fifty_steps():
    norms = noise(500, 4)
    norms[100::12, 1] = NAN
    steps = [f.step for f in watch(frames(norms, apart=0.05))]
    assert len(steps) >= 5
    assert min(np.diff(steps)) >= Faults().cooldown


def test_faults_of_a_slow_run_are_told_again_after_thirty_seconds_whatever_the_steps():
    norms = noise(120, 4)
    norms[100, 1], norms[110, 1] = NAN, NAN
    assert [f.step for f in watch(frames(norms, apart=20.0))] == [101, 111]
    assert [f.step for f in watch(frames(norms, apart=0.02))] == [101]


def test_an_explosion_is_told_until_the_norm_is_clearly_back():
    norms = noise(2000, 4, spread=0.1)
    norms[300:600, 1] *= 100.0
    exploding = [f.step for f in watch(frames(norms, apart=0.1)) if f.kind == "exploding"]
    assert exploding[0] < 310
    assert len(exploding) == 1
    norms[300:1200, 1] *= np.r_[np.ones(300), np.full(600, 100.0)]
    exploding = [f.step for f in watch(frames(norms, apart=0.1)) if f.kind == "exploding"]
    assert len(exploding) == 3


def test_a_new_level_that_lasts_is_taken_as_usual_in_the_end():
    norms = noise(4000, 4, spread=0.1)
    norms[300:, 1] *= 100.0
    found = watch(frames(norms, apart=0.1))
    assert 1200 <= max(f.step for f in found) < 1500
    norms[3500, 1] *= 100.0
    assert told(watch(frames(norms, apart=0.1)))[-1] == ("spike", 1, 3501)


def test_every_threshold_is_the_preset_s():
    norms = noise(400, 4)
    norms[300, 1] = 5.0 * norms[:300, 1].max()
    assert watch(norms) == []
    assert told(watch(norms, limits=Faults(spike=4.0))) == [("spike", 1, 301)]
    norms[310:, 2] = 0.0
    assert told(watch(norms, limits=Faults(dead=30))) == [("dead", 2, 340)]


# -- the run as a whole -------------------------------------------------------------------------


def test_a_gap_of_ten_seconds_and_of_five_steps_is_a_stall():
    for apart, gap, stalls in (
        (0.1, 9.0, False),
        (0.1, 11.0, True),
        (4.0, 15.0, False),
        (4.0, 17.0, True),
    ):
        items = frames(noise(50, 2), apart=apart)
        items += frames(noise(10, 2), first=51, t=items[-1].t + gap, apart=apart)
        expected = [("stalled", RUN, 50)] if stalls else []
        assert told(watch(items)) == expected


def test_a_gradient_that_stops_coming_is_told_once_with_its_step():
    norms = noise(1000, 6)
    norms[699:, :2] = ABSENT
    norms[850:, 5] = ABSENT
    items = frames(norms)
    assert told(watch(items)) == [("missing", 1, 715), ("missing", 5, 866)]
    faults = FaultLog(layers(6), Faults())
    for item in items:
        faults.add(item)
    below, last = faults.so_far()
    assert (below.layers, below.steps, below.to_the_end) == (
        ("layer0", "layer1"),
        (700, 1000),
        True,
    )
    assert (below.present, last.layers, last.steps) == (6, ("layer5",), (851, 1000))


def test_a_gradient_that_comes_back_ends_its_absence():
    norms = noise(1000, 4)
    norms[299:600, 1] = ABSENT
    faults = FaultLog(layers(4), Faults())
    for item in frames(norms):
        faults.add(item)
    (fault,) = faults.so_far()
    assert (fault.kind, fault.steps, fault.to_the_end) == ("missing", (300, 600), False)


def test_a_block_of_one_of_two_networks_that_take_turns_can_be_missing_too():
    norms = noise(1000, 6)
    turn = np.arange(1000) % 2 == 0
    norms[turn, :3] = ABSENT
    norms[~turn, 3:] = ABSENT
    norms[500:, 1] = ABSENT
    assert [(kind, layer) for kind, layer, _ in told(watch(norms))] == [("missing", 1)]


def paced(long, steps=2000, apart=0.05):
    """Frames `apart` seconds apart, and longer where `long` has a length for a step."""
    t, items = 0.0, []
    for step, norms in enumerate(noise(steps, 2), 1):
        t += long.get(step, apart)
        items.append(Frame(step, t, norms))
    return items


def stalls(items):
    return [finding.step for finding in watch(items) if finding.kind == "stalled"]


def test_long_steps_that_come_regularly_are_no_stall_once_they_came_before():
    assert stalls(paced(dict.fromkeys(range(321, 2000, 320), 12.0))) == [320]
    # Rollouts of a length and a distance that vary.
    random = np.random.default_rng(0)
    at = np.cumsum(random.integers(90, 111, 18)).tolist()
    assert len(stalls(paced({step: random.uniform(11.0, 19.0) for step in at}))) <= 2


def test_an_evaluation_and_a_longer_one_of_each_fifth_epoch_have_a_rhythm_each():
    long = {step: 40.0 if step % 500 == 0 else 12.0 for step in range(100, 4000, 100)}
    assert stalls(paced(long, 4000)) == [99, 499]


def test_a_longer_one_is_expected_again_after_as_many_steps_as_the_run_had_before_it():
    long = {step: 120.0 if step % 1000 == 0 else 30.0 for step in range(100, 3300, 100)}
    assert stalls(paced(long, 3300)) == [99, 999]


def test_a_step_that_leaves_the_rhythm_of_long_ones_is_a_stall():
    regular = dict.fromkeys(range(201, 2000, 200), 12.0)
    assert stalls(paced(regular | {1501: 12.0})) == [200, 1500]
    assert stalls(paced(regular | {1601: 30.0})) == [200, 1600]
    assert stalls(paced({201: 12.0, 331: 12.0, 791: 12.0})) == [200, 330, 790]


def test_by_the_clock_an_expected_long_step_is_due_at_twice_its_usual_length():
    ears = Watch(layers(2), Faults())
    items = paced({201: 12.0, 401: 12.0}, 600)
    for item in items:
        ears.add(item)
    assert ears.due == pytest.approx(items[-1].t + 24.0)


def test_a_pause_is_no_stall_but_what_comes_after_it_may_be():
    items = frames(noise(50, 2))
    items += [Pause("eval", 5.1, True), Pause("eval", 605.1, False)]
    later = frames(noise(10, 2), first=51, t=605.0)
    assert watch(items + later) == []
    late = frames(noise(10, 2), first=51, t=620.0)
    assert told(watch(items + late)) == [("stalled", RUN, 50)]


def test_the_first_steps_may_take_long():
    times = [60.0, 180.0, 181.0, 182.0, 183.0, 184.0]
    items = [Frame(i, t, np.ones(2)) for i, t in enumerate(times, 1)]
    assert watch(items) == []


def test_by_the_clock_a_stall_is_told_when_it_is_due_and_every_thirty_seconds():
    ears = Watch(layers(2), Faults())
    for item in frames(noise(50, 2)):
        ears.add(item)
    assert ears.due == pytest.approx(15.0)
    assert ears.overdue(14.9) == ()
    assert ears.overdue(15.0) == (Finding("stalled", RUN, 50, pytest.approx(10.0)),)
    assert ears.overdue(15.1) == ()
    assert ears.due == pytest.approx(45.0)
    assert told(ears.overdue(45.0)) == [("stalled", RUN, 50)]
    # The step that ends it does not tell it once more.
    assert ears.add(Frame(51, 50.0, np.ones(2))) == ()
    assert ears.due == pytest.approx(60.0)


def test_a_log_without_an_end_died_and_one_with_an_end_did_not():
    for items, died in (
        (frames(noise(50, 2)), True),
        ([*frames(noise(50, 2)), End("closed", 5.1, 50)], False),
        ([], False),
    ):
        ears = Watch(layers(2), Faults())
        for item in items:
            assert ears.add(item) == ()
        expected = (Finding("died", RUN, 50, pytest.approx(5.0)),) if died else ()
        assert ears.finish() == expected
        assert ears.finish() == ()
        assert ears.due == math.inf or died


def test_a_run_that_was_killed_and_taken_up_again_died_once():
    items = frames(noise(100, 2))
    items.append(Header(layers(2), resumed=True))
    items += frames(noise(100, 2, seed=1), first=81, t=400.0)
    items.append(End("closed", 500.0, 180))
    assert told(watch(items, 2)) == [("died", RUN, 100)]


# -- the loss bears witness -----------------------------------------------------------------------


def losing(losses, norms=None):
    """What is found where these losses are logged, beside norms in which nothing is wrong."""
    norms = noise(len(losses), 3) if norms is None else norms
    items = [
        replace(frame, extra={"loss": loss})
        for frame, loss in zip(frames(norms), losses, strict=True)
    ]
    return told(watch(items))


def falling(steps, *, last, seed=0):
    """Losses of small batches, falling from 2.3."""
    noisy = np.random.default_rng(seed).lognormal(0.0, 0.3, steps)
    return 2.3 * (last / 2.3) ** (np.arange(steps) / steps) * noisy


def test_a_loss_that_rises_and_stays_is_the_runs_explosion():
    losses = falling(200, last=0.3)
    losses[150:] = 5.0
    assert losing(losses) == [("exploding", RUN, 154)]


def test_a_loss_that_rises_for_three_steps_or_falls_is_none():
    losses = falling(1000, last=1e-4)
    losses[150:153] = 50.0
    assert losing(losses) == []


def test_a_loss_that_stays_up_is_told_again_every_thirty_seconds_and_then_is_what_is_usual():
    losses = np.concatenate([falling(100, last=1.0), np.full(2000, 20.0)])
    steps = [step for _, _, step in losing(losses)]
    assert steps == [104, 404, 704, 1004]


def test_a_loss_that_comes_back_ends_it():
    losses = falling(400, last=1.0)
    losses[150:170] = 20.0
    losses[300:] = 20.0
    assert losing(losses) == [("exploding", RUN, 154), ("exploding", RUN, 304)]


def test_losses_that_are_negative_bear_no_witness():
    assert losing([-1.0] * 100 + [-100.0] * 50 + [90.0] * 50) == []


def test_a_loss_that_is_nan_or_infinite_is_told_at_once():
    items = frames(noise(200, 3))
    values = [1.0] * 100 + [NAN] * 50 + [-INF] * 50
    items = [replace(f, extra={"loss": v}) for f, v in zip(items, values, strict=True)]
    found = watch(items)
    assert told(found) == [("nan", RUN, 101), ("inf", RUN, 151)]
    assert [f.logged for f in found] == ["loss", "loss"]


def test_a_loss_that_is_nan_for_long_is_told_again_every_thirty_seconds_and_is_one_fault():
    values = [1.0] * 100 + [NAN] * 700 + [1.0] * 100
    items = frames(noise(900, 2))
    items = [replace(f, extra={"loss": v}) for f, v in zip(items, values, strict=True)]
    assert told(watch(items)) == [("nan", RUN, step) for step in (101, 401, 701)]
    log = FaultLog(layers(2), Faults())
    for item in items:
        log.add(item)
    (fault,) = log.so_far()
    assert (fault.kind, fault.logged, fault.layers) == ("nan", "loss", ())
    assert (fault.steps, fault.found, fault.to_the_end) == ((101, 800), 101, False)
    assert log.going_on() == ()


def test_any_value_that_becomes_nan_is_told_but_a_mean_over_nothing_yet_is_not():
    def logging(name, values):
        items = frames(noise(len(values), 2))
        items = [replace(f, extra={name: v}) for f, v in zip(items, values, strict=True)]
        return [(f.kind, f.logged, f.step) for f in watch(items)]

    assert logging("val/acc", [0.5] * 20 + [NAN] * 3 + [0.5] * 30) == [("nan", "val/acc", 21)]
    # The mean reward before an episode has ended.
    assert logging("reward", [NAN] * 30 + [1.0] * 30) == []
    assert logging("val_loss", [NAN] * 30) == [("nan", "val_loss", 1)]
    # Of a value that is logged every tenth step, one nan in fifty steps is told.
    rare = [None if i % 10 else INF if i % 20 else 0.1 for i in range(100)]
    assert logging("rate", rare) == [("inf", "rate", 11)]


def test_a_value_that_is_infinite_when_the_scaler_skips_the_update_is_no_fault_of_its_own():
    items = frames(noise(40, 2), grad=1.0)
    items[20] = replace(items[20], extra={"grad": INF, "skipped": True, "total_norm": INF})
    assert told(watch(items)) == [("skipped", RUN, 21)]
    items[20] = replace(items[20], extra={"grad": INF, "skipped": True, "loss": NAN})
    assert told(watch(items)) == [("nan", RUN, 21), ("skipped", RUN, 21)]


def test_a_loss_that_is_logged_too_late_for_its_frame_counts_once():
    norms = noise(120, 3)
    items = []
    for frame, loss in zip(frames(norms), [1.0] * 100 + [9.0] * 20, strict=True):
        items += [frame, replace(frame, extra={"loss": loss})]
    # What is known of step 104 is judged with the frame that comes next.
    assert told(watch(items)) == [("exploding", RUN, 105)]
    twice = [item for item in items if item.loss is not None for _ in range(2)]
    assert told(watch(twice)) == [("exploding", RUN, 104)]


def test_a_run_taken_up_again_keeps_the_loss_it_had():
    items = frames(noise(100, 2), loss=1.0)
    items += [End("closed", 10.1, 100), Header(layers(2), resumed=True)]
    items += frames(noise(50, 2, seed=1), first=101, t=20.0, loss=1.9)
    assert watch(items, 2) == []
    items += frames(noise(50, 2, seed=2), first=151, t=26.0, loss=30.0)
    assert told(watch(items, 2)) == [("exploding", RUN, 154)]


def test_what_is_wrong_now_holds_a_loss_that_is_up():
    ears = Watch(layers(2), Faults())
    for item in frames(noise(100, 2), loss=1.0) + frames(noise(10, 2), first=101, t=10.0, loss=9.0):
        ears.add(item)
    assert [(each.kind, each.layer) for each in ears.going_on()] == [("exploding", RUN)]
    for item in frames(noise(10, 2), first=111, t=11.0, loss=1.0):
        ears.add(item)
    assert ears.going_on() == ()


def test_norms_that_rise_as_the_loss_falls_may_rise_further():
    norms = noise(200, 3, spread=0.2)
    norms[120:, 0] *= 15.0
    level = [2.3] * 200
    learns = [2.3] * 110 + [0.8] * 90
    spike, exploding = ("spike", 0, 121), ("exploding", 0, 124)
    assert losing(level, norms) == [spike, exploding]
    assert losing(learns, norms) == [spike]
    norms[120:, 0] *= 10.0
    assert losing(learns, norms) == [spike, exploding]


def test_what_exploded_is_usual_as_soon_as_the_run_has_learnt_since():
    norms = noise(1000, 3, spread=0.2)
    norms[120:, 0] *= 50.0
    level = [2.3] * 1000
    learns = [2.3] * 300 + [1.2] * 700
    first = [("spike", 0, 121), ("exploding", 0, 124)]
    assert losing(level, norms) == [*first, ("exploding", 0, 424), ("exploding", 0, 724)]
    assert losing(learns, norms) == first
    # What explodes after that is told as ever.
    norms[700:, 1] *= 50.0
    assert losing(learns, norms) == [*first, ("spike", 1, 701), ("exploding", 1, 704)]


def test_branches_that_begin_at_zero_may_rise_until_they_carry_as_much_as_the_others():
    rng = np.random.default_rng(0)
    norms = noise(600, 4, spread=0.3) / noise(1, 4, spread=0.0)
    rise = 1e-7 * 10.0 ** np.minimum(np.arange(600) / 30.0, 6.8)
    norms[:, 2] *= rise
    norms[0, 2] = 0.0
    assert watch(norms) == []
    assert losing(2.3 - 0.001 * np.arange(600) + rng.normal(0.0, 0.1, 600), norms) == []
    # What rises further than all others is told.
    norms[:, 2] *= np.where(np.arange(600) >= 250, 500.0, 1.0)
    assert ("exploding", 2) in {(kind, layer) for kind, layer, _ in told(watch(norms))}


def test_a_layer_that_wakes_as_the_loss_leaves_a_plateau_is_no_fault():
    norms = noise(800, 3, spread=0.05) / noise(1, 3, spread=0.0) * (0.02, 0.03, 0.3)
    norms[:, 0] *= np.minimum(10.0, 2.0 ** np.maximum(0.0, (np.arange(800) - 150) / 5.0))
    loss = 6.8 - 0.2 * np.clip((np.arange(800) - 150) / 80.0, 0.0, 1.0)
    assert losing(loss, norms) == []
    # Where the loss stays, it is told.
    assert {kind for kind, *_ in losing([6.8] * 800, norms)} == {"exploding"}


def test_a_layer_that_is_small_beside_the_largest_even_after_it_rose_does_not_explode():
    norms = noise(600, 3, spread=0.1) / noise(1, 3, spread=0.0) * (0.0003, 0.02, 0.25)
    norms[300:, 0] *= np.minimum(40.0, 1.3 ** np.arange(300.0))
    assert "exploding" not in {kind for kind, *_ in told(watch(norms))}


def test_layers_are_faint_per_parameter_and_not_while_they_rise():
    def found(norms, sizes):
        ears = Watch([Layer(f"layer{i}", size) for i, size in enumerate(sizes)], Faults())
        return [f for frame in frames(norms) for f in ears.add(frame)]

    norms = noise(300, 3, spread=0.1) / noise(1, 3, spread=0.0) * (5e-5, 1.0, 1.0)
    assert told(found(norms, (100, 100, 100)))[0][:2] == ("vanishing", 0)
    # Ten parameters beside ten million.
    assert found(norms, (10, 10_000_000, 10_000_000)) == []
    norms[:, 0] *= np.minimum(1e4, 10.0 ** (np.arange(300) / 60.0)) / 3.0
    assert found(norms, (100, 100, 100)) == []


def test_layers_left_behind_in_the_first_frames_vanish():
    norms = noise(200, 4, spread=0.2)
    norms[3:, :2] *= 0.01
    assert ("vanishing", 1) in {(kind, layer) for kind, layer, _ in told(watch(norms))}
    together = noise(200, 4, spread=0.2)
    together[3:] *= 0.01
    assert watch(together) == []


# -- bad input ----------------------------------------------------------------------------------


def test_a_run_that_is_all_nan():
    found = watch(np.full((700, 12), NAN))
    assert told(found) == [("nan", RUN, 1), ("nan", RUN, 301), ("nan", RUN, 601)]


def test_a_run_in_which_every_layer_is_dead_from_the_first_step():
    found = watch(np.zeros((200, 12)))
    assert told(found) == [("dead", RUN, 12)]


def test_a_single_step():
    assert watch(np.array([[1.0, 2.0]])) == []
    assert told(watch(np.array([[NAN, 2.0]]))) == [("nan", 0, 1)]


def test_norms_at_the_edges_of_a_float():
    tiny = watch(noise(100, 6) * 1e-45)
    assert told(tiny)[0][:2] == ("vanishing", RUN)
    huge = watch(noise(100, 6) * 1e36)
    assert told(huge)[0][:2] == ("exploding", RUN)
    both = noise(100, 6)
    both[:, 0], both[:, 5] = 1e-45, 1e38
    assert {(f.kind, f.layer) for f in watch(both)} == {("vanishing", 0), ("exploding", 5)}
    largest = np.full((50, 3), 1.7e308)
    assert {f.kind for f in watch(largest)} == {"exploding"}


def test_two_thousand_layers():
    norms = noise(200, 2000)
    norms[150, 1234] = NAN
    norms[160, :] *= 1e4
    found = watch(norms)
    assert told(found) == [("nan", 1234, 151), ("spike", RUN, 161)]


def test_no_layer_has_a_gradient():
    assert watch(np.full((100, 4), ABSENT)) == []


def test_one_layer_alone():
    norms = noise(400, 1)
    norms[200:, 0] *= 1e-3
    # Whether the loss fell or the gradient vanished cannot be told from one norm.
    assert watch(norms) == []
    norms[300:, 0] = 0.0
    assert told(watch(norms))[0] == ("dead", 0, 312)


def test_the_same_items_give_the_same_findings_one_by_one_or_not():
    rng = np.random.default_rng(9)
    norms = noise(500, 5) * np.exp(rng.standard_cauchy((500, 5)))
    norms[rng.random((500, 5)) < 0.01] = NAN
    first, second = watch(norms), watch(norms.copy())
    assert len(first) > 5
    assert list(map(str, first)) == list(map(str, second))


# -- levels, and what counts as usual -------------------------------------------------------------


def test_norms_of_small_batches_that_stay_far_above_their_level_explode():
    norms = noise(800, 3, spread=0.7)
    norms[500:, 1] *= 25.0
    log = FaultLog(layers(3), Faults())
    for item in frames(norms):
        log.add(item)
    exploding = [fault for fault in log.so_far() if fault.kind == "exploding"]
    assert [fault.layers for fault in exploding] == [("layer1",)]
    assert abs(exploding[0].steps[0] - 501) <= 5


def test_what_was_beyond_a_limit_does_not_count_as_usual_afterwards():
    for factor, kinds in ((1000.0, {"spike", "exploding"}), (1e-4, {"vanishing"})):
        norms = noise(900, 3, spread=0.2)
        norms[300:500, 1] *= factor
        assert {kind for kind, *_ in told(watch(norms))} == kinds
        assert max(step for *_, step in told(watch(norms))) < 500


def test_a_layer_that_is_always_small_is_vanishing_only_if_all_nearer_the_input_are():
    norms = noise(300, 5, spread=0.1) / noise(1, 5, spread=0.0)
    small = norms.copy()
    small[:, 2] *= 5e-5
    assert watch(small) == []
    small[:, :2] *= 5e-5
    assert {(kind, layer) for kind, layer, _ in told(watch(small))} == {
        ("vanishing", RUN),
        ("vanishing", 2),
    }
    # An embedding that is tied to the output lives.
    small[:, 0] = 1.0
    assert told(watch(small))[0][:2] == ("vanishing", 2)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("factor", [1e-4, 1e3, NAN])
def test_a_cut_in_the_depth_is_told_of_the_layer_it_is_at(first, factor):
    norms = noise(400, 10, spread=0.2) / noise(1, 10, spread=0.0)
    norms[199:, first:7] *= factor
    lasting = [f for f in watch(norms) if f.kind != "spike"]
    names = {f.layer for f in lasting if f.step == lasting[0].step}
    # A first layer that is tied to the last one lives, and then the run as a whole does.
    assert names == ({RUN, 6} if first == 0 else {6})
    log = FaultLog(layers(10), Faults())
    for item in frames(norms):
        log.add(item)
    fault = next(fault for fault in log.so_far() if fault.kind != "spike")
    assert fault.layers == tuple(f"layer{i}" for i in range(first, 7))
    assert (fault.below, fault.steps[0]) == ("layer7", 200)


def test_a_layer_that_has_a_gradient_in_every_second_frame_can_have_each_lasting_fault():
    for factor, kind in ((1e3, "exploding"), (1e-5, "vanishing"), (0.0, "dead")):
        norms = noise(1200, 6, spread=0.3)
        norms[::2, :3] = ABSENT
        norms[1::2, 3:] = ABSENT
        assert watch(norms) == []
        norms[600:, 0] = np.where(norms[600:, 0] == ABSENT, ABSENT, norms[600:, 0] * factor)
        log = FaultLog(layers(6), Faults())
        for item in frames(norms):
            log.add(item)
        lasting = [fault for fault in log.so_far() if fault.kind != "spike"]
        assert [(fault.kind, fault.layers) for fault in lasting] == [(kind, ("layer0",))]
        assert abs(lasting[0].steps[0] - 601) <= 5
        assert lasting[0].to_the_end or lasting[0].steps[1] >= 1199


def test_where_a_nan_began_is_said_when_all_layers_have_it():
    norms = noise(100, 8)
    norms[50, :3] = NAN
    norms[51:] = NAN
    log = FaultLog(layers(8), Faults())
    for item in frames(norms):
        log.add(item)
    (fault,) = log.so_far()
    assert (fault.kind, len(fault.layers), fault.steps) == ("nan", 8, (51, 100))
    assert (fault.first, fault.below) == (("layer0", "layer1", "layer2"), "layer3")
    # What all have from the first is said of all.
    norms[50] = NAN
    log = FaultLog(layers(8), Faults())
    for item in frames(norms):
        log.add(item)
    assert log.so_far()[0].first == ()


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_norm_that_stays_up_while_the_run_learns_is_told_once_and_then_usual(comes_back):
    steps = np.arange(1200)
    rng = np.random.default_rng(7)
    norms = np.array([0.3, 0.2, 0.5, 0.8]) * np.exp(rng.normal(0.0, 0.25, (len(steps), 4)))
    norms[500 : 550 if comes_back else None, 2] *= 200.0
    losses = (0.2 + 2.1 * np.exp(-steps / 400)) * np.exp(rng.normal(0.0, 0.1, len(steps)))
    found = FaultLog(layers(4), Faults())
    reports = []
    for frame, loss in zip(frames(norms), losses, strict=True):
        reports += found.add(replace(frame, extra={"loss": loss}))
    assert [report.kind for report in reports] == ["spike", "exploding"]
    (fault,) = [each for each in found.so_far() if each.kind == "exploding"]
    assert fault.steps[0] == 501
    assert fault.usual is not comes_back
    assert not comes_back or fault.steps[1] == 550
