import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import header, write_log

from gradmidi.detection.history import FaultLog
from gradmidi.detection.kinds import Faults
from gradmidi.errors import PresetError, RunLogError
from gradmidi.log import Frame, RunLog, row
from gradmidi.music.events import FAULT_VOICE, Alarm, Control, End, Mark, Off, On, Step
from gradmidi.music.preset import load, names
from gradmidi.music.score import Score, compose, fit, score_of


def rows(count):
    return [[1.0 + 0.1 * (step % 7), 0.5, 2.0, 0.25] for step in range(count)]


def test_the_same_log_and_preset_give_the_same_events(tmp_path):
    run = write_log(tmp_path / "a", rows(50))
    assert list(compose(run)) == list(compose(str(run)))


def test_fed_one_by_one_it_gives_what_the_file_gives(tmp_path):
    run = write_log(tmp_path / "a", rows(50), marks={10: "epoch 1"})
    log = RunLog(run)
    score = Score(log.header, load("pentatonic"))
    one_by_one = []
    for item in log.items():
        one_by_one += score.feed(item)
    assert one_by_one + score.finish() == list(compose(log))


def test_lists_the_faults_that_it_plays_without_a_second_detection(tmp_path):
    broken = [*rows(40), *[[math.nan, 0.5, 2.0, 0.25]] * 20]
    log = RunLog(write_log(tmp_path / "a", broken, closed=False))
    score, alone = Score(log.header, load("pentatonic")), FaultLog(log.layers, Faults())
    listed = score.fault_log()
    for item in log.items():
        score.feed(item)
        alone.add(item)
    score.finish()
    faults = listed.finish()
    assert repr(faults) == repr(alone.finish())  # nan is not equal to nan
    assert [fault.kind for fault in faults] == ["nan", "died"]
    assert score.fault_log() is listed
    assert Score(log.header, load("pentatonic"), time="wall").fault_log() is None


def test_one_slot_a_step_and_marks_where_they_fell(tmp_path):
    run = write_log(tmp_path / "a", rows(20), marks={11: "epoch 2"})
    events = list(compose(run))
    assert [e.step for e in events if isinstance(e, Step)] == list(range(1, 21))
    assert [(e.tick, e.text) for e in events if isinstance(e, Mark) and e.voice is None] == [
        (10 * 120, "epoch 2")
    ]
    closing = [e for e in events if isinstance(e, On) and e.sound == "end"]
    assert closing
    assert min(e.tick for e in closing) == 20 * 120
    assert events[-1] == End(events[-2].tick, 20, pytest.approx(1.95))


def test_a_long_run_is_fitted_to_three_minutes_unless_full_is_asked(tmp_path):
    run = write_log(tmp_path / "a", rows(3000))
    preset = load("pentatonic")

    def seconds(length):
        return list(compose(run, length=length))[-1].tick * preset.time.tick_seconds

    assert 120.0 < seconds(None) <= 181.0
    assert 370.0 < seconds("full") < 376.0
    assert 28.0 < seconds(30.0) <= 31.0


def test_fitting_keeps_the_largest_norm_of_each_slot(tmp_path):
    norms = [[1.0, 1.0, 1.0, 1.0] for _ in range(1000)]
    norms[517][2] = 64.0
    run = write_log(tmp_path / "a", norms)
    heard = [e.norm for e in compose(run, length=10.0) if isinstance(e, On) and e.voice == 2]
    assert max(heard) == 64.0
    assert heard.count(64.0) == 1


def test_wall_time_places_slots_by_the_log_s_seconds(tmp_path):
    run = write_log(tmp_path / "a", rows(20), dt=0.5)
    steps = [e for e in compose(run, time="wall") if isinstance(e, Step)]
    assert [e.tick for e in steps] == [int(e.seconds / 0.125) * 120 for e in steps]
    assert len(steps) == 20


def test_wall_time_is_fitted_too(tmp_path):
    preset = load("pentatonic")
    run = write_log(tmp_path / "a", rows(1000), dt=1.0)
    events = list(compose(run, time="wall", length=20.0))
    assert 19.0 < events[-1].tick * preset.time.tick_seconds <= 21.0


def test_a_run_of_one_step_is_heard(tmp_path):
    events = list(compose(write_log(tmp_path / "a", rows(1))))
    assert sum(isinstance(e, On) and e.voice >= 0 for e in events) == 4


def test_a_run_without_steps_says_so(tmp_path):
    run = write_log(tmp_path / "a", [])
    with pytest.raises(RunLogError, match="holds no steps"):
        list(compose(run))


def test_an_unknown_preset_is_refused_before_anything_is_composed(tmp_path):
    run = write_log(tmp_path / "a", rows(1))
    with pytest.raises(PresetError, match="no preset is called 'x'"):
        list(compose(run, "x"))


@pytest.mark.parametrize(
    ("steps", "seconds", "length", "frames"),
    [
        (1, 0.125, None, 1),
        (1440, 0.125, None, 1),
        (1441, 0.125, None, 2),
        (10**6, 0.125, 8.0, 15625),
    ],
)
def test_steps_share_a_slot_as_soon_as_the_piece_would_be_too_long(steps, seconds, length, frames):
    assert fit(steps, seconds, length) == frames


def wrong(count, step, layer, norm):
    """A healthy run in which one layer's norm is `norm` at one step (and 0.0 from it on)."""
    norms = rows(count)
    norms[step][layer] = norm
    if norm == 0.0:
        for values in norms[step:]:
            values[layer] = 0.0
    return norms


@pytest.mark.parametrize(
    ("kind", "norm"), [("nan", math.nan), ("inf", math.inf), ("spike", 1000.0), ("dead", 0.0)]
)
def test_first_what_is_wrong_sounds_then_who(tmp_path, kind, norm):
    run = write_log(tmp_path / "a", wrong(400, 300, 1, norm))
    events = list(compose(run, length="full"))
    told = [e for e in events if isinstance(e, Alarm)]
    assert [(e.kind, e.layer) for e in told] == [(kind, "conv2")]
    start = told[0].tick
    what = [e.tick for e in events if isinstance(e, On) and e.sound == kind]
    assert what
    assert what[0] == start
    home = load("pentatonic").home_notes(4)[1]
    who = [
        e.tick
        for e in events
        if isinstance(e, On)
        and (e.voice, e.note) == (1, home)
        and e.tick > what[-1]
        and e.tick % 120 != 15
    ]
    assert len(who) == 2
    softer = [
        e.velocity
        for e in events
        if isinstance(e, On) and e.voice == 0 and start <= e.tick < who[-1]
    ]
    assert softer
    assert max(softer) < 60


def test_a_healthy_run_raises_nothing(tmp_path):
    events = compose(write_log(tmp_path / "a", rows(1000)))
    assert not [e for e in events if isinstance(e, Alarm)]


def test_where_every_voice_is_dead_a_faint_tick_each_bar_says_that_the_run_goes_on(tmp_path):
    run = write_log(tmp_path / "a", rows(20) + [[0.0] * 4] * 160)
    events = list(compose(run))
    ticks = [e.tick for e in events if isinstance(e, On) and e.sound == "tick"]
    assert len(ticks) >= 8
    assert {b - a for a, b in pairwise(ticks[-5:])} == {4 * 480}


def test_a_run_that_was_killed_ends_with_a_sound_of_its_own(tmp_path):
    events = list(compose(write_log(tmp_path / "a", rows(50), closed=False)))
    assert [e.kind for e in events if isinstance(e, Alarm)] == ["died"]
    assert [e for e in events if isinstance(e, On) and e.sound == "died"]
    assert not [e for e in events if isinstance(e, On) and e.sound == "end"]


def test_classic_has_no_fault_sounds(tmp_path):
    events = list(compose(write_log(tmp_path / "a", wrong(50, 30, 1, math.nan)), "classic"))
    assert [e.kind for e in events if isinstance(e, Alarm)] == ["nan"]
    assert not [e for e in events if isinstance(e, On) and e.voice == FAULT_VOICE]


norms = st.one_of(
    st.none(), st.just(0.0), st.just(math.nan), st.just(math.inf), st.floats(1e-3, 1e6)
)


@given(
    st.lists(st.lists(norms, min_size=4, max_size=4), min_size=1, max_size=40),
    st.sampled_from(names()),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_with_every_fault_there_is_no_note_hangs_and_no_voice_cuts_itself_short(
    table, preset, legend
):
    score = Score(header(), load(preset), legend=legend)
    events = []
    for step, values in enumerate([*rows(20), *table], 1):
        events += score.feed(Frame(step, step * 0.1, row(values)))
    events += score.finish()
    assert [e.tick for e in events] == sorted(e.tick for e in events)
    sounding = []
    for event in events:
        if isinstance(event, On):
            key = (event.voice, event.note)
            assert key not in sounding or event.voice == FAULT_VOICE
            sounding.append(key)
        elif isinstance(event, Off):
            sounding.remove((event.voice, event.note))
        elif isinstance(event, Control):
            assert event.voice >= 0
    assert not sounding


def test_the_legend_plays_each_voice_at_home_then_one_then_three_doublings_up(tmp_path):
    score = Score(header(), load("pentatonic"), legend=True)
    events = score.feed(Frame(1, 0.1, row([1.0] * 4)))
    key = [(e.tick, e.note) for e in events if isinstance(e, On) and e.tick < 4 * 1920]
    assert key[:4] == [(0, 57), (480, 60), (960, 64), (1920, 64)]
    assert len(key) == 12
    assert [e.tick for e in events if isinstance(e, Step)] == [4 * 1920]


def test_a_score_has_the_voices_of_the_header_where_no_others_are_given(tmp_path):
    run = write_log(tmp_path / "a", rows(10), voices={"convolutions": "conv*", "top": "fc2"})
    log, preset = RunLog(run), load("pentatonic")
    assert [v.name for v in score_of(log, preset).voices] == ["convolutions", "top"]
    assert {e.voice for e in compose(log) if isinstance(e, On)} - {FAULT_VOICE} == {0, 1}
    score = score_of(log, preset, patterns={"all": "*"})
    assert [(v.name, v.layers) for v in score.voices] == [("all", (0, 1, 2, 3))]
