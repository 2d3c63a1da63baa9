import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradmidi.detection.kinds import Finding
from gradmidi.log import ABSENT, Layer, combine, row
from gradmidi.music.composer import Composer
from gradmidi.music.events import BRIGHTNESS, FAULT_VOICE, Bend, Control, End, Mark, Off, On, Step
from gradmidi.music.pitch import pitch_to_hz, steps_above, tone
from gradmidi.music.preset import load, names
from gradmidi.music.slots import Slot
from gradmidi.music.voices import Voice

LAYERS = tuple(Layer(name, 10) for name in ("conv1", "conv2", "fc1", "fc2"))
VOICES = tuple(Voice(i, layer.name, (i,)) for i, layer in enumerate(LAYERS))
LOG_PRESETS = [name for name in names() if load(name).pitch.law == "log"]


def play(rows, preset="pentatonic", voices=VOICES, layers=LAYERS, indices=None):
    """Compose rows, one a slot, and return every event."""
    composer = Composer(load(preset), layers, voices)
    events = []
    for i, values in enumerate(rows):
        norms = row(values)
        composer.observe(norms)
        index = i if indices is None else indices[i]
        events += composer.slot(Slot(index, i + 1, i * 0.1, norms))
    return events + composer.finish()


def ons(events, voice=None):
    return [
        e
        for e in events
        if isinstance(e, On) and e.voice != FAULT_VOICE and voice in (None, e.voice)
    ]


@given(
    st.lists(
        st.lists(
            st.one_of(
                st.none(),
                st.floats(0.0, allow_infinity=True, width=32),
                st.just(math.nan),
            ),
            min_size=4,
            max_size=4,
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(names()),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_norms_every_note_is_in_range_and_ends(rows, preset):
    events = play(rows, preset)
    ticks = [event.tick for event in events]
    assert ticks == sorted(ticks)
    assert isinstance(events[-1], End)
    sounding = {}
    for event in events:
        match event:
            case On(voice=voice, note=note, velocity=velocity, pitch=pitch):
                assert 0 <= note <= 127
                assert 1 <= velocity <= 127
                assert 8.0 < pitch_to_hz(pitch) <= 20_000.0
                assert not sounding.get((voice, note)), "struck while it sounds"
                sounding[voice, note] = True
            case Off(voice=voice, note=note):
                assert sounding.pop((voice, note))
            case Control(value=value):
                assert 0 <= value <= 127
            case Bend(semitones=semitones):
                assert abs(semitones) <= 2.0
            case Step(norms=norms, levels=levels):
                assert all(map(math.isfinite, norms))
                assert all(0.0 <= level <= 1.0 for level in levels)
    assert not sounding


def test_a_bend_above_the_highest_note_stays_in_its_range():
    events = play([[None, None, None, 139.0]], "classic")
    bend, centre = (event for event in events if isinstance(event, Bend))
    assert centre.semitones == 0.0
    (note,) = ons(events)
    assert (note.note, bend.semitones, round(note.pitch, 2)) == (127, 2, 129.02)


def test_a_piece_that_bends_starts_and_ends_with_a_bend_on_each_channel():
    events = play([[1.0] * 4, [1.1, 1.0, 1.0, 1.0]], "chromatic")
    bends = [event for event in events if isinstance(event, Bend)]
    assert [(e.tick, e.semitones) for e in bends[:4]] == [(0, 0.0), (15, 0.0), (30, 0.0), (45, 0.0)]
    last = {event.voice: event.semitones for event in bends}
    assert last == dict.fromkeys(range(4), 0.0)


@given(st.floats(1e-12, 1e12), st.floats(1.0, 1e6), st.sampled_from(LOG_PRESETS))
def test_a_larger_norm_never_sounds_lower(ratio, factor, name):
    preset = load(name)
    home = preset.notes.index(preset.home_notes(4)[1])
    low, high = (
        tone(preset.pitch, preset.notes, home, steps_above(preset.pitch, norm, 1.0))
        for norm in (ratio, ratio * factor)
    )
    assert high.pitch >= low.pitch
    assert high.note >= low.note
    if high.note == low.note:
        assert high.brightness >= low.brightness


def test_a_voice_is_at_home_at_its_reference_and_a_step_up_at_double():
    events = play([[0.5, 0.5, 0.5, 0.5], [1.0, 0.25, 0.5, 8.0]])
    assert [e.note for e in ons(events)[:4]] == [57, 64, 72, 79]
    assert [e.note for e in ons(events)[4:]] == [60, 62, 72, 88]
    assert [e.norm for e in ons(events)[4:]] == [1.0, 0.25, 0.5, 8.0]


def test_the_reference_is_the_first_finite_norm_above_zero():
    rows = [[math.nan, 0.0, None, math.inf], [0.3, 0.4, 0.5, 0.6], [0.6, 0.8, 1.0, 1.2]]
    events = play(rows)
    assert [e.note for e in ons(events)] == [57, 64, 72, 79, 60, 67, 74, 81]


@pytest.mark.parametrize("silent", [0.0, None, math.nan, math.inf])
def test_zero_none_and_what_is_not_finite_are_rests(silent):
    events = play([[1.0] * 4, [1.0, silent, 1.0, 1.0], [1.0] * 4])
    assert [len(ons(events, voice)) for voice in range(4)] == [3, 2, 3, 3]


def test_a_chord_is_staggered_within_half_a_slot_and_ends_before_its_next():
    events = play([[1.0] * 4, [1.0] * 4])
    assert [e.tick for e in ons(events)] == [0, 15, 30, 45, 120, 135, 150, 165]
    offs = [e.tick for e in events if isinstance(e, Off)]
    assert offs == [90, 105, 120, 135, 210, 225, 240, 255]


def test_brightness_carries_what_rounding_took_and_moves_only_when_it_changes():
    events = play([[1.0] * 4, [1.0] * 4, [1.1, 1.0, 1.0, 1.0]])
    moves = [e for e in events if isinstance(e, Control)]
    assert [(e.tick, e.voice, e.value) for e in moves] == [
        (0, 0, 64),
        (15, 1, 64),
        (30, 2, 64),
        (45, 3, 64),
        (240, 0, 81),
    ]
    assert {e.controller for e in moves} == {BRIGHTNESS}


def test_classic_is_200_plus_100_norm_hertz_one_voice_after_the_other():
    events = play([[0.45, 1.5, 0.1, 0.7]], "classic")
    heard = ons(events)
    assert [pitch_to_hz(e.pitch) for e in heard] == pytest.approx([245.0, 350.0, 210.0, 270.0])
    assert [e.tick for e in heard] == [0, 10, 20, 30]
    assert events[-1] == End(60, 1, 0.0)


def test_classic_never_plays_what_is_not_finite_or_above_20_khz():
    events = play([[math.nan, math.inf, 198.1, 1.0], [1e30, -0.0, 197.9, None]], "classic")
    assert [(e.tick, e.norm) for e in ons(events)] == [(30, 1.0), (80, 197.9)]


def test_hold_sounds_only_what_changes():
    rows = [[1.0, 1.0, 1.0, 1.0]] * 3 + [[1.0, 2.0, 1.1, 0.0]] * 2
    events = play(rows, "hold")
    assert [(e.tick, e.voice) for e in ons(events)] == [(0, 0), (15, 1), (30, 2), (45, 3), (375, 1)]
    offs = [(e.tick, e.voice) for e in events if isinstance(e, Off)]
    assert offs == [(375, 1), (405, 3), (600, 0), (600, 1), (600, 2)]
    assert Control(390, 2, BRIGHTNESS, 81) in events


def test_hold_strikes_a_held_note_again_every_four_bars():
    events = play([[1.0] * 4] * 260, "hold")
    assert [e.tick for e in ons(events, 0)] == [bars * 4 * 480 for bars in (0, 4, 8, 12, 16)]


def test_drums_strike_once_more_a_bar_for_each_doubling_on_a_key_of_their_own():
    events = play([[1.0] * 4, [2.0, 0.5, 256.0, 1 / 256.0]], "drums")
    bar = 4 * 480
    first = [sum(e.tick < bar for e in ons(events, voice)) for voice in range(4)]
    second = [sum(bar <= e.tick < 2 * bar for e in ons(events, voice)) for voice in range(4)]
    assert first == [9, 9, 9, 9]
    assert second == [10, 8, 17, 1]
    assert [{e.note for e in ons(events, voice)} for voice in range(4)] == [{36}, {45}, {37}, {42}]


@pytest.mark.parametrize("name", ["pentatonic", "drums"])
def test_a_voice_s_own_notes_give_way_to_those_that_say_that_it_is_at_fault(name):
    preset = load(name)
    composer = Composer(preset, LAYERS, VOICES, references=[1.0] * 4)
    norms = row([1.0] * 4)
    found = (Finding("spike", 1, 1, 1.0),)
    events = composer.slot(Slot(0, 1, 0.1, norms, findings=found))
    for index in range(1, 8):
        events += composer.slot(Slot(index, index + 1, 0.1, norms))
    events += composer.finish()
    own = [e for e in events if isinstance(e, (On, Off)) and e.voice == 1]
    # Nothing is struck on a key that sounds: on and off take turns on the one key.
    assert len({e.note for e in own}) == 1
    assert [type(e) for e in own] == [On, Off] * (len(own) // 2)
    pairs = zip(own[::2], own[1::2], strict=True)
    who = [(on, off) for on, off in pairs if off.tick - on.tick > 130]
    assert len(who) == 2
    (first, _), (_, last) = who
    assert sum(isinstance(e, On) and first.tick <= e.tick < last.tick for e in own) == 2
    assert first.pitch == preset.home_notes(4)[1]
    assert first.note == {"pentatonic": 64, "drums": 45}[name]


def test_the_legend_of_drums_shows_a_doubling_by_strokes_on_the_voice_s_own_key():
    composer = Composer(load("drums"), LAYERS, VOICES, references=[1.0] * 4, legend=True)
    bar = 4 * 480
    assert composer.start_of(0) == 4 * 3 * bar
    events = composer.slot(Slot(0, 1, 0.1, row([1.0] * 4)))
    key = [e for e in ons(events) if e.tick < composer.start_of(0)]
    for voice, note in enumerate((36, 45, 37, 42)):
        own = [e for e in key if e.voice == voice]
        bars = [sum(e.tick // bar == 3 * voice + index for e in own) for index in range(3)]
        assert bars == [9, 10, 12]
        assert {e.note for e in own} == {note}
        assert len({e.pitch for e in own}) == 3
    assert len(key) == 4 * (9 + 10 + 12)


def test_a_held_note_ends_ten_seconds_after_the_last_slot_of_a_gap():
    events = play([[1.0] * 4, [1.0] * 4], "hold", indices=[0, 200])
    offs = [e.tick for e in events if isinstance(e, Off)]
    # One slot of 120 ticks, then 10 s of 960 ticks a second.
    assert offs[:4] == [120 + 9600] * 4


def test_a_voice_s_norm_is_the_root_of_the_sum_of_squares():
    voices = (Voice(0, "a", (0, 1)), Voice(1, "b", (2, 3)))
    events = play([[3.0, 4.0, None, 2.0], [6.0, 8.0, None, None]], voices=voices)
    steps = [e for e in events if isinstance(e, Step)]
    assert steps[0].norms == (5.0, 2.0)
    assert steps[1].norms == (10.0, 2.0)
    assert [e.voice for e in ons(events)] == [0, 1, 0]


def test_combining_keeps_what_is_wrong():
    members, starts = np.array([0, 1, 2, 3, 4, 5]), np.array([0, 2, 4])
    found = combine(row([1.0, math.nan, math.inf, math.nan, None, None]), members, starts)
    assert math.isnan(found[0])
    assert math.isnan(found[1])
    assert found[2] == ABSENT
    found = combine(row([1.0, math.inf, 1e200, 1e200, 0.0, None]), members, starts)
    assert found[0] == math.inf
    assert found[2] == 0.0


def test_the_file_is_reported_how_to_read_each_voice_once_its_reference_is_known():
    events = play([[1.0, 0.0, 1.0, 0.0], [1.0, 3.0, 1.0, 0.0]])
    texts = [e for e in events if isinstance(e, Mark) and '"home"' in e.text]
    assert [(e.tick, e.voice) for e in texts] == [(0, 0), (0, 2), (120, 1), (240, 3)]
    mapping = json.loads(texts[2].text.removeprefix("gradmidi "))
    assert mapping["reference"] == 3.0
    assert mapping["home"] == 64
    assert mapping["layers"] == ["conv2"]
    assert json.loads(texts[3].text.removeprefix("gradmidi "))["reference"] is None
    counts = [e.voice for e in events if isinstance(e, Mark) and e.text == 'gradmidi {"slots": 2}']
    assert counts == [0, 1, 2, 3]


def test_velocity_follows_the_steps_and_how_far_a_voice_moves_within_its_range():
    settings = {"loudness.per_step": 2.0, "loudness.change": 40.0}
    events = play([[1.0] * 4, [2.0, 0.5, 1e9, 1e-9]], load("pentatonic", settings))
    # All are new; then one moves by one step up, one by one down, and two by many.
    assert [e.velocity for e in ons(events)] == [100] * 4 + [94, 90, 108, 56]


def test_a_voice_that_stays_recedes_and_one_that_moves_steps_forward():
    events = play([[1.0] * 2] * 24 + [[1.0, 4.0]] * 2, voices=VOICES[:2], layers=LAYERS[:2])
    still, moved = ([e.velocity for e in ons(events, voice)] for voice in (0, 1))
    assert still == sorted(still, reverse=True)
    assert still[0] - still[-1] > 40
    assert moved[:24] == still[:24]
    assert moved[24] - still[24] > 40


def test_a_voice_that_rested_is_new():
    events = play([[1.0] * 4] * 12 + [[0.0] * 4] + [[1.0] * 4])
    found = [e.velocity for e in ons(events, 0)]
    assert found[-1] == found[0] > found[-2]


def test_norms_at_the_ends_of_float_stay_at_the_rails():
    events = play([[1.0] * 4, [1e-45, 1e38, 5e-324, 1.7e308]])
    assert [e.note for e in ons(events)[4:]] == [26, 98, 26, 98]
    assert [e.value for e in events if isinstance(e, Control)][4:] == [0, 127, 0, 127]
