import math

import numpy as np

from gradmidi.detection.kinds import Finding
from gradmidi.log import ABSENT, Frame, row
from gradmidi.music.slots import StepSlots, WallSlots


def frame(step, *norms, t=None, **extra):
    return Frame(step, step * 0.1 if t is None else t, row(norms), extra)


def test_one_frame_a_slot_by_default():
    slots = StepSlots()
    found = [slots.add(frame(step, step), ()) for step in (1, 2, 3)]
    assert [(slot.index, slot.step, slot.norms.tolist()) for slot in found] == [
        (0, 1, [1.0]),
        (1, 2, [2.0]),
        (2, 3, [3.0]),
    ]
    assert slots.finish() is None


def test_the_largest_norm_of_a_slot_stays_and_what_is_not_finite_wins():
    slots = StepSlots(3)
    slots.add(frame(1, 1.0, None, 0.0, math.nan, math.inf), ())
    slots.add(frame(2, 9.0, None, None, 5.0, 7.0), ())
    slot = slots.add(frame(3, 2.0, None, 0.0, math.inf, 1.0), ())
    assert slot.norms[0] == 9.0
    assert slot.norms[1] == ABSENT
    assert slot.norms[2] == 0.0
    assert math.isnan(slot.norms[3])
    assert slot.norms[4] == math.inf
    assert (slot.step, slot.frames) == (3, 3)


def test_every_fault_and_mark_of_a_slot_is_kept_and_the_last_loss():
    first, second = Finding("spike", 0, 1, 9.0), Finding("nan", 1, 2, math.nan)
    slots = StepSlots(2)
    slots.mark("epoch 1")
    slots.add(frame(1, 1.0, loss=2.0), (first,))
    slots.mark("epoch 2")
    slot = slots.add(frame(2, 1.0, loss=math.nan), (second,))
    assert slot.findings == (first, second)
    assert slot.marks == ("epoch 1", "epoch 2")
    assert math.isnan(slot.loss)


def test_what_is_left_of_a_slot_comes_at_the_end():
    slots = StepSlots(4)
    slots.add(frame(1, 1.0), ())
    left = slots.finish()
    assert left is not None
    assert left.frames == 1
    assert slots.finish() is None


def test_wall_slots_follow_the_log_s_own_time():
    slots = WallSlots(0.5)
    done = [slots.add(frame(i, float(i), t=t), ()) for i, t in enumerate([0.1, 0.4, 0.6, 2.1])]
    assert done[0] is None
    assert done[1] is None
    assert (done[2].index, done[2].norms.tolist()) == (0, [1.0])
    assert (done[3].index, done[3].norms.tolist()) == (1, [2.0])
    last = slots.finish()
    assert (last.index, last.norms.tolist()) == (4, [3.0])


def test_a_frame_of_the_past_joins_the_present_slot():
    slots = WallSlots(0.5)
    slots.add(frame(1, 1.0, t=1.2), ())
    assert slots.add(frame(2, 5.0, t=0.1), ()) is None
    last = slots.finish()
    assert (last.index, last.norms.tolist()) == (2, [5.0])


def test_a_spike_of_one_step_is_never_averaged_away():
    rng = np.random.default_rng(0)
    for position in rng.integers(0, 1000, 20):
        slots = StepSlots(37)
        tops = []
        for step in range(1000):
            slot = slots.add(frame(step, 100.0 if step == position else 1.0), ())
            tops += [] if slot is None else [slot.norms[0]]
        rest = slots.finish()
        tops += [] if rest is None else [rest.norms[0]]
        assert max(tops) == 100.0


def test_a_slot_that_is_closed_by_time_is_the_one_a_later_frame_would_have_closed():
    by_time, by_frame = WallSlots(0.5), WallSlots(0.5)
    for slots in (by_time, by_frame):
        slots.add(frame(1, 1.0, t=0.1), ())
    closed = by_time.until(2)
    assert by_time.until(3) is None
    completed = by_frame.add(frame(2, 2.0, t=1.2), ())
    assert (closed.index, closed.norms.tolist()) == (completed.index, completed.norms.tolist())


def test_a_frame_whose_slot_is_over_falls_into_the_one_that_has_begun():
    slots = WallSlots(0.5)
    slots.until(7)
    slots.add(frame(1, 1.0, t=0.1), ())
    assert slots.finish().index == 7


def test_frames_that_come_faster_than_a_voice_may_speak_are_gathered():
    slots = WallSlots(0.05, spacing=2)
    done = [slots.add(frame(i, float(i), t=i * 0.05 + 0.01), ()) for i in range(6)]
    assert [(slot.index, slot.norms[0]) for slot in done if slot] == [(0, 0.0), (2, 2.0), (4, 4.0)]
    assert (slots.finish().norms.tolist(), slots.finish()) == ([5.0], None)
