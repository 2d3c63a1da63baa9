import math
import random
from itertools import pairwise

import pytest
from logs import write_log

from gradmidi.log import RunLog
from gradmidi.midi.rig import Rig
from gradmidi.music.changes import Controllers, position
from gradmidi.music.events import End, Number, Step
from gradmidi.music.preset import load
from gradmidi.music.score import score_of

ALL = Rig(cc={"level": 20, "loss": 21, "fault": 23})
SLOT, SECONDS = 120, 0.125


def step(index, levels=(), values=(), tick=None):
    tick = index * SLOT if tick is None else tick
    return Step(tick, index, index * SECONDS, (1.0,) * len(levels), tuple(levels), values=values)


def made(rig, voices=1, seconds=SECONDS):
    return Controllers(rig, voices, SLOT, seconds)


def test_a_level_jumps_to_its_first_value_and_then_moves_in_even_steps_during_a_slot():
    rig = Rig(cc={"level": 20})
    controllers = made(rig)
    assert controllers.slot(0, step(0, [0.5]), faulty=False) == [Number(0, 0, 20, 64)]
    moved = controllers.slot(1, step(1, [1.0]), faulty=False)
    # Six steps in an eighth of a second: not more than fifty a second.
    assert [(each.tick, each.value) for each in moved] == [
        (120, 74),
        (140, 85),
        (160, 96),
        (180, 106),
        (200, 116),
        (220, 127),
    ]
    assert controllers.slot(2, step(2, [1.0]), faulty=False) == []
    assert controllers.finish(400) == [Number(400, 0, 20, 0)]


def test_with_fourteen_bits_a_small_change_is_sent_and_read_back_from_two_controllers():
    controllers = made(Rig(cc={"level": 20}, cc_fine=("level",)))
    controllers.slot(0, step(0, [0.5]), faulty=False)
    last = controllers.slot(1, step(1, [0.501]), faulty=False)[-1]
    (upper, high), (lower, low) = last.controls()
    assert (upper, lower) == (20, 52)
    assert (high * 128 + low) / 16383 == pytest.approx(0.501, abs=1e-4)
    assert made(Rig(cc={"level": 20})).slot(1, step(1, [0.501]), faulty=False)[0].controls() == (
        (20, 64),
    )


@pytest.mark.parametrize("fine", [(), ("level",)])
@pytest.mark.parametrize("seconds", [0.03, 0.125, 0.5])
@pytest.mark.parametrize("voices", [1, 4, 15, 60])
def test_all_controllers_together_fit_a_cable_and_alternate(voices, seconds, fine):
    controllers = made(Rig(cc={"level": 20}, cc_fine=fine), voices, seconds)
    controllers.slot(0, step(0, [0.0] * voices), faulty=False)
    sent, slots, chance = [], 40, random.Random(1)
    for index in range(1, slots + 1):
        level = chance.random()
        sent += controllers.slot(index, step(index, [level] * voices), faulty=False)
    sent.sort(key=lambda each: each.tick)
    messages = sum(len(each.controls()) for each in sent)
    assert 0 < messages <= 400.0 * slots * seconds + voices * 2
    assert {each.voice for each in sent} == set(range(voices))
    if seconds == 0.125 and voices == 15:
        # No burst: at one tick there are few messages.
        ticks = [each.tick for each in sent]
        assert max(map(ticks.count, ticks)) <= 2


def test_faults_are_a_gate_that_jumps_and_stays_for_a_slot():
    controllers = made(Rig(cc={"fault": 23}), 0)
    assert controllers.slot(0, step(0), faulty=False) == [Number(0, None, 23, 0)]
    assert controllers.fault(120) == [Number(120, None, 23, 127)]
    assert controllers.fault(120) == []
    assert controllers.slot(1, step(1), faulty=True) == []
    assert controllers.slot(2, step(2), faulty=False) == [Number(240, None, 23, 0)]
    controllers.fault(360)
    assert controllers.finish(500) == [Number(500, None, 23, 0)]


@pytest.mark.parametrize(
    ("name", "first", "number", "share"),
    [
        ("loss", [2.0], 2.0, 0.5),
        ("loss", [2.0], 2000.0, 1.0),
        ("loss", [2.0], 1e9, 1.0),
        ("loss", [2.0], 0.002, 0.0),
        ("loss", [2.0], 0.0, 0.0),
        ("lr", [1e-3, 1e-3, 1e-3], 1e-4, 0.5 - 1 / 6),
        ("val_acc", [0.1, 0.2, 0.3], 0.9, 0.9),
        ("accuracy", [10.0, 20.0, 30.0], 90.0, 0.9),
        ("reward", [-20.0, -19.0, -20.0], -20.0, 0.5),
        ("reward", [-20.0, -19.0, -20.0], 1e300, 1.0),
        ("zeros", [0.0], 0.0, 0.5),
    ],
)
def test_a_value_stands_where_the_manual_says(name, first, number, share):
    assert position(name, first, number) == pytest.approx(share)


def events_of(tmp_path, rig, rows):
    log = RunLog(write_log(tmp_path / "a", rows, names=("a", "b", "c")))
    score = score_of(log, load("pentatonic"), rig=rig)
    events = [event for item in log.items() for event in score.feed(item)]
    return [*events, *score.finish()]


def test_a_run_gives_controllers_in_order_of_ticks_and_the_same_music(tmp_path):
    rows = [[1.5 ** (i % 7), 0.5, 2.0 if i < 30 else math.nan] for i in range(40)]
    with_rig = events_of(tmp_path, ALL, rows)
    numbers = [event for event in with_rig if isinstance(event, Number)]
    assert all(a.tick <= b.tick for a, b in pairwise(with_rig))
    gate = [(each.tick // SLOT, each.value) for each in numbers if each.controller == 23]
    # Layer 3 becomes nan in slot 30; the gate stays open to the end.
    assert gate[:2] == [(0, 0), (30, 127)]
    assert gate[2] == (with_rig[-1].tick // SLOT, 0)
    assert isinstance(with_rig[-1], End)
    music = [event for event in with_rig if not isinstance(event, Number)]
    # As text, since nan is not equal to itself.
    assert list(map(repr, music)) == list(map(repr, events_of(tmp_path, None, rows)))
