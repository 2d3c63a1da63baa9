"""A fake clock drives the schedule: what sounds when, and that it is what a file holds."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradmidi.log import (
    Decoder,
    End,
    Frame,
    Header,
    Layer,
    Mark,
    Pause,
    Values,
    encode_frame,
    encode_header,
    row,
)
from gradmidi.music.composer import SILENCE_SECONDS
from gradmidi.music.events import Alarm, Off, On, Step
from gradmidi.music.events import End as EndEvent
from gradmidi.music.preset import load
from gradmidi.music.score import Score
from gradmidi.player.metronome import Grid
from gradmidi.player.schedule import Schedule
from gradmidi.player.timeline import LEAD_SECONDS, MARGIN_SECONDS

PRESET = load("pentatonic")
HOLD = load("hold")
SWINGING = load("pentatonic", {"time.swing": 0.62, "pitch.on_fault": "A 0 1 5 7 8"})
SLOT = 0.125
HEADER = Header((Layer("fc1", 10), Layer("fc2", 20)))


def frame(step, t, norm=1.0, **extra):
    return Frame(step, t, row([norm, 2.0 * norm]), extra)


def listen(schedule, lines, until, *, zero=1000.0):
    """Hand `(item, delay)` to a schedule at `zero + t + delay`; return what is due when.

    A pipe keeps the order. The clock goes to whatever comes next: a line, or what the
    schedule waits for.
    """
    arrivals = np.maximum.accumulate([zero + item.t + delay for item, delay in lines]).tolist()
    lines = [(arrived, item) for arrived, (item, _) in zip(arrivals, lines, strict=True)]
    heard = []
    now = zero
    while now < zero + until and not schedule.finished:
        while lines and lines[0][0] <= now:
            arrived, item = lines.pop(0)
            schedule.take(item, arrived)
        heard += schedule.advance(now)
        now = min(max(schedule.wake, now + 1e-4), lines[0][0] if lines else math.inf, zero + until)
    return heard


def run_to(schedule, now, until):
    """Advance a schedule from slot to slot, as the player does."""
    heard = schedule.advance(now)
    while schedule.wake <= until:
        heard += schedule.advance(schedule.wake)
    return heard


def sounded(heard, step):
    """When the slot that holds a step began to sound."""
    return next(due for due, event in heard if isinstance(event, Step) and event.step >= step)


def as_a_file(items, preset=PRESET):
    score = Score(HEADER, preset, time="wall")
    events = [event for item in items for event in score.feed(item)]
    return events + score.finish()


def run_of(times, preset=PRESET):
    rng = np.random.default_rng(7)
    norms = np.exp(rng.normal(0.0, 1.5, len(times)))
    frames = [
        frame(n + 1, t, norm, loss=n + 1.0)
        for n, (t, norm) in enumerate(zip(times, norms, strict=True))
    ]
    return [*frames, End("closed", times[-1] + 0.001, len(frames))]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.0005, 1.5), min_size=1, max_size=40),
    st.lists(st.floats(0.0, MARGIN_SECONDS - LEAD_SECONDS - 1e-4), min_size=41, max_size=41),
    st.sampled_from([PRESET, HOLD, load("classic"), load("orchestra"), SWINGING]),
)
def test_a_take_is_the_file_where_no_line_comes_late(gaps, ways, preset):
    items = run_of(np.cumsum(gaps).tolist(), preset)
    # The first line is the quickest: the grid is laid by it.
    lines = list(zip(items, [0.0, *ways], strict=False))
    schedule = Schedule(preset, HEADER)
    heard = listen(schedule, lines, sum(gaps) + 30.0)
    assert schedule.counts.late == 0
    assert schedule.counts.frames == len(items) - 1
    assert [event for _, event in heard] == as_a_file(items, preset)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.0005, 1.5), min_size=1, max_size=40),
    st.sets(st.integers(0, 39)),
    st.sampled_from([PRESET, load("classic"), load(PRESET, {"values.which": ["loss", "v*"]})]),
    st.booleans(),
)
def test_a_take_of_values_is_the_file_too(gaps, seen, preset, layers):
    header = HEADER if layers else Header(())
    items = []
    for n, item in enumerate(run_of(np.cumsum(gaps).tolist())):
        if isinstance(item, Frame):
            late = {"val_loss": 2.0 + n} if n in seen else {}
            norms = item.norms if layers else row([])
            item = replace(item, norms=norms, extra={**item.extra, **late})
        else:
            # An end that comes at once makes the last slot of half a second start early.
            item = replace(item, t=item.t + 2.0)
        items.append(item)
    schedule = Schedule(preset, header)
    heard = listen(schedule, [(item, 0.0) for item in items], sum(gaps) + 30.0)
    score = Score(header, preset, time="wall")
    events = [event for item in items for event in score.feed(item)]
    assert [event for _, event in heard] == events + score.finish()


def test_values_that_come_late_join_the_next_frame():
    items = [frame(1, 0.01, loss=1.0), frame(2, 0.5), frame(3, 1.0)]
    schedule = Schedule(load(PRESET, {"values.which": ["acc"]}), HEADER)
    schedule.take(items[0], 100.01)
    heard = schedule.advance(100.3)
    before = schedule.counts.late
    schedule.take(Values(1, {"acc": 0.5, "loss": 3.0}), 100.31)
    assert schedule.counts.late == before + 1
    schedule.take(items[1], 100.5)
    heard += schedule.advance(100.8)
    steps = [event for _, event in heard if isinstance(event, Step)]
    assert [step.values for step in steps] == [(("loss", 1.0),), (("acc", 0.5), ("loss", 3.0))]
    assert [event.norm for _, event in heard if isinstance(event, On) and event.voice == 2] == [0.5]


def test_the_first_note_sounds_one_slot_and_the_margin_after_the_hook_at_the_latest():
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.uniform(0.01, 0.5, 300)).tolist()
    schedule = Schedule(PRESET, HEADER)
    heard = listen(schedule, [(item, 0.004) for item in run_of(times)], 300.0)
    steps = {event.step: due for due, event in heard if isinstance(event, Step)}
    waits = [steps[n + 1] - (1000.0 + t) for n, t in enumerate(times) if n + 1 in steps]
    assert len(waits) > 200
    assert min(waits) > 0.0
    assert max(waits) <= SLOT + 0.004 + MARGIN_SECONDS + 1e-9 < SLOT + 0.0215


def test_what_sounds_lies_on_a_grid_of_slots():
    rng = np.random.default_rng(2)
    items = run_of(np.cumsum(rng.uniform(0.01, 0.9, 100)).tolist())
    heard = listen(Schedule(PRESET, HEADER), [(item, 0.002) for item in items], 200.0)
    dues = np.array([due for due, event in heard if isinstance(event, Step)])
    places = (dues - dues[0]) / SLOT
    assert np.abs(places - places.round()).max() < 1e-6


def test_events_are_handed_on_before_they_are_due():
    class Clock:
        now = 0.0

    schedule = Schedule(PRESET, HEADER)
    early = []
    for item in run_of([0.1 * n for n in range(1, 50)])[:-1]:
        schedule.take(item, item.t)
        Clock.now = max(Clock.now, item.t)
        while schedule.wake < item.t + 0.1:
            Clock.now = schedule.wake
            early += [
                due - Clock.now
                for due, event in schedule.advance(Clock.now)
                if isinstance(event, On)
            ]
    assert len(early) > 60
    assert min(early) >= LEAD_SECONDS - 1e-9


def test_a_late_frame_goes_to_the_next_slot_and_is_counted():
    schedule = Schedule(PRESET, HEADER)
    lines = [(frame(1, 0.01), 0.0), (frame(2, 0.13, 64.0), 0.2), (End("closed", 2.0, 2), 0.0)]
    heard = listen(schedule, lines, 5.0)
    steps = [(event.tick // 120, event.step) for _, event in heard if isinstance(event, Step)]
    assert steps == [(0, 1), (2, 2)]
    assert (schedule.counts.frames, schedule.counts.late) == (2, 1)


def test_after_days_of_training_the_rhythm_is_as_at_the_start():
    """As lines come from the pipe: at a million seconds they tell the time as finely as at 0."""
    rng = np.random.default_rng(3)
    gaps = np.cumsum(rng.uniform(0.04, 0.06, 400))
    ways = rng.uniform(0.0, MARGIN_SECONDS - LEAD_SECONDS - 1e-3, 400)
    heard = {}
    for begin in (0.0, 1e6):
        pipe = Decoder("the run")
        pipe.decode(encode_header(HEADER))
        frames = [frame(n + 1, begin + t) for n, t in enumerate(gaps.tolist())]
        items = [pipe.decode(encode_frame(f.step, f.t, f.norms.tolist())) for f in frames]
        # They come when they were sent, whatever time their lines tell; the first is the quickest.
        lines = [
            (item, sent.t - item.t + way)
            for item, sent, way in zip(items, frames, [0.0, *ways.tolist()], strict=False)
        ]
        schedule = Schedule(PRESET, HEADER)
        events = listen(schedule, lines, begin + 30.0)
        heard[begin] = [(due - begin, e.step) for due, e in events if isinstance(e, Step)]
        assert schedule.counts.late == 0
        assert schedule.counts.shifts == 0
        assert schedule.counts.frames == 400
    assert len(heard[0.0]) > 150
    assert [step for _, step in heard[1e6]] == [step for _, step in heard[0.0]]
    assert [due for due, _ in heard[1e6]] == pytest.approx([due for due, _ in heard[0.0]], abs=1e-5)


def test_a_burst_after_a_silence_keeps_its_largest_norm():
    schedule = Schedule(PRESET, HEADER)
    burst = [(frame(n, 0.1 * n, 64.0 if n == 7 else 1.0), 2.0 - 0.1 * n) for n in range(2, 15)]
    heard = listen(schedule, [(frame(1, 0.01), 0.0), *burst], 5.0)
    last = [event for _, event in heard if isinstance(event, Step)][-1]
    assert last.norms == (64.0, 128.0)
    assert schedule.counts.late == 13


def test_delay_smooths_bursts():
    items = [frame(n, 0.1 * n) for n in range(1, 100)]
    # A file system that shows new lines every two seconds.
    lines = [(item, 2.0 - item.t % 2.0 if item.step > 5 else 0.0) for item in items]
    heard = {}
    for delay in (0.0, 2.1):
        schedule = Schedule(PRESET, HEADER, delay=delay)
        events = listen(schedule, lines, 20.0)
        heard[delay] = (schedule.counts.late, sum(isinstance(e, Step) for _, e in events))
    assert heard[0.0][0] > 0
    assert heard[2.1][0] == 0
    assert heard[2.1][1] > heard[0.0][1]


def test_an_empty_slot_is_a_rest_and_its_notes_end_on_time():
    schedule = Schedule(PRESET, HEADER)
    heard = listen(schedule, [(frame(1, 0.01), 0.0)], 3.0)
    ons = [due for due, event in heard if isinstance(event, On)]
    offs = [due for due, event in heard if isinstance(event, Off)]
    assert len(ons) == len(offs) == 2
    assert offs[0] - ons[0] == pytest.approx(0.75 * SLOT, abs=0.002)


def test_a_held_note_ends_ten_seconds_after_the_last_line_and_comes_back():
    schedule = Schedule(HOLD, HEADER)
    lines = [(frame(1, 0.01), 0.0), (frame(2, 30.0), 0.0)]
    heard = listen(schedule, lines, 31.0)
    kinds = [(type(e), due) for due, e in heard if isinstance(e, (On, Off))]
    assert [kind for kind, _ in kinds] == [On, On, Off, Off, On, On]
    assert kinds[2][1] - kinds[0][1] == pytest.approx(SILENCE_SECONDS + SLOT, abs=0.01)


def test_lines_that_were_there_set_references_in_silence():
    schedule = Schedule(PRESET, HEADER, history=True)
    for n in range(1, 500):
        schedule.take(frame(n, 0.1 * n, 8.0), 0.0)
    assert schedule.advance(1.0) == []
    schedule.go_live()
    heard = listen(schedule, [(frame(500, 50.0, 16.0), 0.0)], 60.0)
    # One doubling above what was there at the start: one step above home.
    homes = PRESET.home_notes(2)
    above = [PRESET.notes[PRESET.notes.index(home) + 1] for home in homes]
    assert [event.note for _, event in heard if isinstance(event, On)] == above
    assert schedule.base == 400 * 120


def test_a_finished_run_is_read_only_as_far_as_it_is_heard():
    schedule = Schedule(PRESET, HEADER, paced=True)
    items = [frame(n, 30.0 + 0.1 * n) for n in range(1000)]
    taken, now, heard = 0, 0.0, []
    while now < 20.0:
        while taken < len(items) and schedule.wants(now):
            schedule.take(items[taken], now)
            taken += 1
        heard += schedule.advance(now)
        now += 0.01
    assert taken == pytest.approx(210, abs=5)
    assert schedule.counts.late == schedule.counts.shifts == 0
    first = heard[0][0]
    assert first < 0.05
    steps = [(event.step, due) for due, event in heard if isinstance(event, Step)]
    assert steps[-1][1] - steps[0][1] == pytest.approx(items[steps[-1][0]].t - items[0].t, abs=SLOT)


def test_a_finished_run_by_steps_sounds_one_slot_a_step():
    schedule = Schedule(PRESET, HEADER, paced=True, time="step")
    for n in range(10):
        schedule.take(frame(n + 1, 100.0 * n), 0.0)
    schedule.take(End("closed", 1000.0, 10), 0.0)
    schedule.close(0.0)
    heard = []
    now = 0.0
    while not schedule.finished and now < 10.0:
        heard += schedule.advance(now)
        now += 0.05
    dues = [due for due, event in heard if isinstance(event, Step)]
    assert np.diff(dues) == pytest.approx(SLOT)
    assert isinstance(heard[-1][1], EndEvent)


def test_a_clock_that_stood_still_does_not_leave_the_run_an_hour_behind():
    schedule = Schedule(PRESET, HEADER)
    before = [(frame(n, 0.1 * n), 0.0) for n in range(1, 50)]
    # The lid was closed for an hour: our clock knows nothing of it, the log's does.
    after = [(frame(n, 3600.0 + 0.1 * n), -3600.0) for n in range(50, 100)]
    heard = listen(schedule, before + after, 10.2)
    assert schedule.counts.shifts == 1
    assert sounded(heard, 90) - (1000.0 + 9.0) < 2 * SLOT + 0.03


def test_lines_that_all_miss_the_grid_are_moved_to_it():
    schedule = Schedule(PRESET, HEADER)
    lines = [(frame(1, 0.1), 0.0), *((frame(n, 0.1 * n), 1.0) for n in range(2, 300))]
    listen(schedule, lines, 40.0)
    assert schedule.counts.shifts == 1
    assert 90 <= schedule.counts.late <= 130


def test_lines_that_lie_far_ahead_of_the_grid_are_moved_to_it():
    schedule = Schedule(PRESET, HEADER)
    lines = [(frame(1, 0.1), 1.0), *((frame(n, 0.1 * n), 0.0) for n in range(12, 300))]
    heard = listen(schedule, lines, 40.0)
    assert sounded(heard, 50) - 1005.0 > 1.0
    assert sounded(heard, 250) - 1025.0 < 2 * SLOT + 0.03
    assert schedule.counts.shifts == 1
    assert schedule.counts.late < 15


def test_a_process_that_slept_goes_on_with_what_is_new():
    schedule = Schedule(PRESET, HEADER)
    schedule.take(frame(1, 0.01), 0.01)
    schedule.advance(0.2)
    for n in range(2, 100):
        schedule.take(frame(n, 0.1 * n, 64.0 if n == 50 else 1.0), 0.1 * n)
    heard = schedule.advance(9.95)
    steps = [event for _, event in heard if isinstance(event, Step)]
    assert len(steps) == 1
    assert steps[0].norms[0] == 64.0
    assert schedule.counts.late > 90


def test_a_value_that_is_logged_late_joins_its_frame():
    schedule = Schedule(PRESET, HEADER)
    schedule.take(frame(1, 0.01), 0.01)
    schedule.take(Values(1, {"loss": 2.5}), 0.03)
    heard = schedule.advance(0.2)
    assert [event.loss for _, event in heard if isinstance(event, Step)] == [2.5]
    assert (schedule.counts.frames, schedule.counts.late) == (1, 0)


def test_norms_that_are_restored_late_take_the_place_of_the_frames():
    schedule = Schedule(PRESET, HEADER)
    schedule.take(frame(1, 0.01), 0.01)
    restored = np.full_like(frame(1, 0.01).norms, 64.0)
    schedule.take(Values(1, {"total_norm": 64.0}, restored), 0.03)
    heard = schedule.advance(0.2)
    assert [event.norms[0] for _, event in heard if isinstance(event, Step)] == [64.0]


def test_values_that_come_late_for_a_frame_of_the_past_join_it():
    schedule = Schedule(PRESET, HEADER, history=True)
    recalled = []
    schedule.score.recall = recalled.append
    schedule.take(frame(1, 0.01), 0.01)
    schedule.take(Values(1, {"loss": 2.5}), 0.02)
    schedule.take(Mark("epoch 2", 0.02), 0.02)
    schedule.take(frame(2, 0.03), 0.03)
    schedule.go_live()
    assert [getattr(item, "extra", None) for item in recalled] == [{"loss": 2.5}, None, {}]


def test_a_value_that_is_logged_too_late_joins_the_next_frame():
    schedule = Schedule(PRESET, HEADER)
    schedule.take(frame(1, 0.01), 0.01)
    run_to(schedule, 0.0, 0.2)
    schedule.take(Values(1, {"loss": 2.5}), 0.21)
    schedule.take(frame(2, 0.22), 0.22)
    heard = run_to(schedule, 0.22, 0.6)
    assert [(e.step, e.loss) for _, e in heard if isinstance(e, Step)] == [(2, 2.5)]
    assert schedule.counts.late == 1


def test_a_segment_that_resumes_goes_on_where_the_one_before_ended():
    schedule = Schedule(PRESET, HEADER)
    before = [(frame(n, 0.1 * n), 0.0) for n in range(1, 50)]
    heard = listen(schedule, before, 6.0)
    schedule.take(replace(HEADER, resumed=True), 1006.0)
    after = [(frame(n, 0.1 * (n - 20)), 0.0) for n in range(21, 60)]
    heard += listen(schedule, after, 10.0, zero=1300.0)
    assert sounded(heard, 59) - 1303.9 < 2 * SLOT + 0.03
    ticks = [event.tick for _, event in heard]
    assert ticks == sorted(ticks)
    assert schedule.counts.late == 0


@pytest.mark.parametrize("how", ["paced", "history"])
@pytest.mark.parametrize("closed", [True, False])
def test_a_segment_that_was_closed_has_not_died_when_the_next_begins(how, closed):
    schedule = Schedule(PRESET, HEADER, **{how: True})
    for n in range(1, 20):
        schedule.take(frame(n, 0.1 * n), 0.0)
    if closed:
        schedule.take(End("closed", 2.0, 19), 0.0)
    schedule.take(replace(HEADER, resumed=True), 0.0)
    for n in range(20, 40):
        schedule.take(frame(n, 0.1 * (n - 20)), 0.0)
    schedule.take(End("closed", 2.0, 20), 0.0)
    if how == "history":
        schedule.go_live()
        schedule.take(frame(40, 2.1), 0.0)
    else:
        schedule.close(0.0)
    found = [event.kind for _, event in run_to(schedule, 0.0, 6.0) if isinstance(event, Alarm)]
    assert found == ([] if closed or how == "history" else ["died"])


def test_the_end_ends_everything():
    schedule = Schedule(HOLD, HEADER)
    heard = listen(schedule, [(item, 0.001) for item in run_of([0.1, 0.2, 0.3])], 5.0)
    kinds = [type(event) for _, event in heard]
    assert kinds.count(On) == kinds.count(Off) > 0
    assert kinds[-1] is EndEvent
    assert schedule.finished
    assert schedule.wake == math.inf


def test_the_end_of_a_long_slot_does_not_wait_for_it():
    slow = replace(PRESET, time=replace(PRESET.time, tempo=20.0, slot="1/1"))
    schedule = Schedule(slow, HEADER)
    schedule.take(frame(1, 0.1), 0.1)
    schedule.take(End("closed", 0.2, 1), 0.2)
    heard = schedule.advance(schedule.wake)
    assert next(due for due, event in heard if isinstance(event, On)) < 0.5
    assert schedule.finished


def test_an_end_without_a_step_is_an_end():
    schedule = Schedule(PRESET, HEADER)
    schedule.take(End("closed", 1000.2, 0), 5.0)
    heard = schedule.advance(5.1)
    assert [type(event) for _, event in heard][-1] is EndEvent
    assert schedule.finished


def test_a_run_that_breaks_off_is_finished_too():
    schedule = Schedule(HOLD, HEADER)
    schedule.take(frame(1, 0.1), 0.1)
    heard = schedule.advance(0.3)
    schedule.close(0.4)
    heard += schedule.advance(0.6)
    kinds = [type(event) for _, event in heard]
    assert kinds.count(On) == kinds.count(Off) > 2
    assert schedule.finished


def test_a_mark_goes_with_the_frame_it_stands_before():
    schedule = Schedule(PRESET, HEADER)
    schedule.take(frame(1, 0.01), 0.01)
    schedule.take(Mark("epoch 2", 0.2), 0.2)
    schedule.take(frame(2, 0.3), 0.3)
    heard = run_to(schedule, 0.0, 0.6)
    marks = [event for _, event in heard if getattr(event, "text", "") == "epoch 2"]
    assert [mark.tick // 120 for mark in marks] == [2]


def test_with_a_clock_the_first_slot_waits_for_its_bar():
    schedule = Schedule(PRESET, HEADER, grid=Grid(102.0, SLOT / 6))
    schedule.take(frame(1, 0.01), 100.2)
    schedule.take(frame(2, 3.0), 103.2)
    heard = run_to(schedule, 101.0, 110.0)
    steps = {event.step: due for due, event in heard if isinstance(event, Step)}
    assert schedule.due(0) == pytest.approx(102.0)
    assert steps[2] == pytest.approx(102.0 + 24 * SLOT)


def test_with_a_clock_that_runs_already_the_first_slot_falls_on_a_tick_of_it():
    schedule = Schedule(PRESET, HEADER, paced=True, grid=Grid(102.0, SLOT / 6))
    schedule.take(frame(1, 77.7), 110.01)
    places = (schedule.due(schedule.base) - 102.0) / (SLOT / 6)
    assert places == pytest.approx(round(places))
    assert 0.0 < schedule.due(schedule.base) - 110.01 < MARGIN_SECONDS + SLOT / 6 + 1e-6


def test_a_run_that_stalls_is_reported_when_it_does_live_as_in_a_file():
    times = [0.1 * n for n in range(1, 40)] + [60.0 + 0.1 * n for n in range(1, 40)]
    items = run_of(times)
    schedule = Schedule(PRESET, HEADER)
    heard = listen(schedule, [(item, 0.001) for item in items], 70.0)
    stalls = [(due, e) for due, e in heard if isinstance(e, Alarm) and e.kind == "stalled"]
    assert stalls[0][0] - 1003.9 == pytest.approx(10.0, abs=2 * SLOT)
    assert len(stalls) == 2  # Told again while it lasts.
    assert [event for _, event in heard] == as_a_file(items)
    assert schedule.counts.late == 0


def test_a_pause_is_no_stall():
    frames = [frame(n, 0.1 * n) for n in range(1, 40)]
    items = [*frames, Pause("eval", 4.0, True), Pause("eval", 50.0, False), frame(40, 50.1)]
    schedule = Schedule(PRESET, HEADER)
    heard = listen(schedule, [(item, 0.001) for item in items], 55.0)
    assert not any(isinstance(e, Alarm) for _, e in heard)


def test_a_run_that_breaks_off_has_died_and_one_that_ends_has_not():
    for end in (True, False):
        schedule = Schedule(PRESET, HEADER)
        for n in range(1, 20):
            schedule.take(frame(n, 0.1 * n), 0.1 * n)
        heard = run_to(schedule, 0.0, 2.0)
        if end:
            schedule.take(End("closed", 2.0, 19), 2.0)
        schedule.close(2.001)
        heard += run_to(schedule, 2.01, 3.0)
        kinds = [event.kind for _, event in heard if isinstance(event, Alarm)]
        assert kinds == ([] if end else ["died"])
        due = [due for due, event in heard if isinstance(event, EndEvent)]
        assert due[0] > 2.0


def test_the_end_has_its_place_where_the_run_ended():
    items = [frame(1, 0.1), frame(2, 0.2), End("closed", 3.0, 2)]
    schedule = Schedule(PRESET, HEADER)
    heard = listen(schedule, [(item, 0.001) for item in items], 5.0)
    assert [event for _, event in heard] == as_a_file(items)
    assert heard[-1][1].tick >= 24 * 120
