import itertools
import random

import numpy as np
import pytest

from gradmidi.detection.kinds import KINDS, RUN, Finding
from gradmidi.log import Layer
from gradmidi.music.alarms import END, PATTERNS, TICK, WAITING, Alarms, Precedence
from gradmidi.music.events import FAULT_VOICE, PPQ, Alarm, Off, On
from gradmidi.music.pitch import pitch_to_hz
from gradmidi.music.preset import load, names
from gradmidi.music.timing import SlotGrid
from gradmidi.music.voices import Voice, group
from gradmidi.sound.synth import Synth

PRESET = load("pentatonic")
LAYERS = [Layer(f"layer{i}", 10) for i in range(6)]
VOICES = group(LAYERS, 6)
HOMES = (48, 52, 57, 60, 64, 69)
SECOND = round(1.0 / PRESET.time.tick_seconds)


def alarms(preset=PRESET, voices=VOICES, homes=HOMES):
    return Alarms(preset, LAYERS, voices, homes)


def finding(kind, layer, step=7, value=1.5):
    return Finding(kind, layer, step, value)


def ons(events, voice=None):
    return [e for e in events if isinstance(e, On) and (voice is None or e.voice == voice)]


def spans(events):
    """What sounds, of each voice: where it begins and ends."""
    found = []
    for on in ons(events):
        off = min(
            e.tick
            for e in events
            if isinstance(e, Off) and (e.voice, e.note) == (on.voice, on.note) and e.tick > on.tick
        )
        found.append((on.tick, off, on))
    return found


# -- the table ----------------------------------------------------------------------------------


def shape(kind):
    """What is heard of a pattern without knowing any other: rhythm and contour, no pitch."""
    pulses = PATTERNS[kind]
    ups = tuple(np.sign(b.pitch - a.pitch) for a, b in itertools.pairwise(pulses))
    lengths = tuple(pulse.length > 250 for pulse in pulses)
    pauses = tuple(b.start - a.start - a.length > 100 for a, b in itertools.pairwise(pulses))
    return ups, lengths, pauses


def test_every_kind_has_a_sound_and_nothing_else_but_the_end_and_the_tick():
    assert set(PATTERNS) == {*KINDS, END, TICK}


def test_no_two_sounds_share_a_rhythm_and_a_contour():
    shapes = [shape(kind) for kind in PATTERNS]
    assert len(set(shapes)) == len(shapes)


def test_no_two_sounds_share_a_percussion_key():
    keys = [key for kind in PATTERNS for key in {pulse.key for pulse in PATTERNS[kind]}]
    assert len(set(keys)) == len(keys)
    assert all(35 <= key <= 81 for key in keys)


@pytest.mark.parametrize("kind", PATTERNS)
def test_pulses_lie_where_alarms_are_heard_best(kind):
    for pulse in PATTERNS[kind]:
        assert 500 < pitch_to_hz(pulse.pitch) < 3000
        assert 50 <= pulse.length <= 350
    last = PATTERNS[kind][-1]
    assert last.start + last.length < 1900


def test_the_graver_is_the_more_urgent():
    def rate(kind):
        pulses = PATTERNS[kind]
        return len(pulses) / (pulses[-1].start + pulses[-1].length)

    assert rate("nan") > rate("exploding") > rate("vanishing") > rate("stalled")


# -- what, then who -----------------------------------------------------------------------------


def test_a_finding_is_reported_then_pulses_then_its_voice_twice_at_home():
    events = alarms().add(960, [finding("exploding", 2, 41, 1e4)])
    assert events[0] == Alarm(960, "exploding", "layer2", 41, 1e4)
    pulses = ons(events, FAULT_VOICE)
    assert [on.pitch for on in pulses] == [76, 81, 86, 91]
    assert [on.note for on in pulses] == [41, 45, 48, 50]
    assert {on.sound for on in pulses} == {"exploding"}
    who = [span for span in spans(events) if span[2].voice != FAULT_VOICE]
    assert [(on.voice, on.note, on.pitch, on.sound) for _, _, on in who] == [(2, 57, 57.0, "")] * 2
    over = max(end for _, end, on in spans(events) if on.voice == FAULT_VOICE)
    assert over < who[0][0]
    assert who[0][1] < who[1][0]


def test_a_drum_says_who_on_its_own_key_at_the_pitch_of_its_home():
    layers = LAYERS[:4]
    box = Alarms(load("drums"), layers, group(layers, 4), HOMES[:4])
    who = [span for span in spans(box.add(0, [finding("nan", 1)])) if span[2].voice == 1]
    assert [(on.note, on.pitch) for _, _, on in who] == [(45, 52.0)] * 2
    everyone = ons(box.add(10 * SECOND, [finding("nan", RUN)]))
    named = [on.note for on in everyone if on.voice != FAULT_VOICE]
    assert named == [36, 45, 37, 42]


@pytest.mark.parametrize("kind", KINDS)
def test_every_note_that_begins_ends(kind):
    events = alarms().add(0, [finding(kind, 1 if KINDS[kind].of_layers else RUN)])
    assert len(ons(events)) == sum(isinstance(e, Off) for e in events)
    assert [e.tick for e in events] == sorted(e.tick for e in events)
    sounding = {}
    for event in events:
        key = (getattr(event, "voice", None), getattr(event, "note", None))
        if isinstance(event, On):
            assert sounding.get(key, 0) == 0
            sounding[key] = 1
        elif isinstance(event, Off):
            sounding[key] -= 1
    assert not any(sounding.values())


def test_seconds_are_the_preset_s_ticks():
    slow = load("classic")
    assert slow.time.tick_seconds == pytest.approx(0.001)
    loud = type(slow)(slow.name, slow.title, time=slow.time)
    first, second = ons(alarms(loud).add(0, [finding("stalled", RUN)]))[:2]
    assert second.tick - first.tick == 700


def test_a_layer_that_shares_a_voice_is_named_by_that_voice():
    voices = (Voice(0, "front", (0, 1, 2)), Voice(1, "back", (3, 4)))
    events = alarms(voices=voices, homes=(48, 60)).add(0, [finding("nan", 4)])
    assert events[0].layer == "layer4"
    assert [on.voice for on in ons(events) if on.voice != FAULT_VOICE] == [1, 1]
    silent = alarms(voices=voices, homes=(48, 60)).add(0, [finding("nan", 5)])
    assert {on.voice for on in ons(silent)} == {FAULT_VOICE}


def test_of_the_whole_run_all_voices_speak_in_turn_but_not_where_it_has_none():
    events = alarms().add(0, [finding("nan", RUN)])
    assert events[0].layer == ""
    assert [on.voice for on in ons(events) if on.voice != FAULT_VOICE] == list(range(6))
    for kind in ("skipped", "stalled", "died"):
        assert {on.voice for on in ons(alarms().add(0, [finding(kind, RUN)]))} == {FAULT_VOICE}


def test_layers_with_one_fault_share_its_pulses_and_are_named_one_after_another():
    events = alarms().add(0, [finding("dead", 4), finding("dead", 1)])
    assert len(ons(events, FAULT_VOICE)) == 2
    assert [on.voice for on in ons(events) if on.voice != FAULT_VOICE] == [4, 4, 1, 1]
    assert sum(isinstance(e, Alarm) for e in events) == 2


# -- one after another --------------------------------------------------------------------------


def test_the_graver_goes_first_whatever_the_order():
    box = alarms()
    events = box.add(0, [finding("spike", 0), finding("nan", 1), finding("dead", 2)])
    assert {on.sound for on in ons(events, FAULT_VOICE)} == {"nan"}
    heard = [on.sound for tick in range(0, 20 * SECOND, 120) for on in ons(box.add(tick))]
    kinds = [kind for kind, _ in itertools.groupby(filter(None, heard))]
    assert kinds == ["dead", "spike"]


def test_a_graver_one_does_not_wait_for_a_lesser_but_a_lesser_does():
    box = alarms()
    box.add(0, [finding("stalled", RUN)])
    assert not ons(box.add(120, [finding("died", RUN)]))
    now = ons(box.add(240, [finding("nan", 0)]), FAULT_VOICE)
    assert now[0].tick == 240
    assert not ons(box.add(360, [finding("inf", 1)]))


@pytest.mark.slow
def test_never_more_than_two_faults_at_once_and_every_one_is_reported_in_text():
    rng = random.Random(5)
    box, events, count = alarms(), [], 0
    for tick in range(0, 240 * SECOND, 120):
        found = [
            finding(rng.choice([*KINDS]), rng.randrange(-1, 6))
            for _ in range(rng.choice([0] * 9 + [3]))
        ]
        count += len(found)
        events += box.add(tick, found)
    assert sum(isinstance(e, Alarm) for e in events) == count > 400
    pulses = [(start, end, on.sound) for start, end, on in spans(events) if on.sound]
    assert len(pulses) > 300
    edges = sorted([(a, 1) for a, _, _ in pulses] + [(b, -1) for _, b, _ in pulses])
    assert max(itertools.accumulate(change for _, change in edges)) <= 2
    for voice in range(6):
        own = sorted((a, b) for a, b, on in spans(events) if on.voice == voice)
        assert all(b <= c for (_, b), (c, _) in itertools.pairwise(own))


def test_what_waits_is_bounded_and_the_least_grave_goes():
    box = alarms()
    box.add(0, [finding("nan", 0)])
    box.add(0, [finding("spike", i) for i in range(6)] + [finding("dead", i) for i in range(6)])
    heard = [on for tick in range(0, 30 * SECOND, 120) for on in ons(box.add(tick))]
    dead = [on.voice for on in heard if on.voice != FAULT_VOICE][: 2 * 6]
    assert dead[::2] == [0, 1, 2, 3, 4, 5]
    named = {on.voice for on in heard[heard.index(next(o for o in heard if o.sound == "spike")) :]}
    assert len(named - {FAULT_VOICE}) <= WAITING - 6


def test_what_waited_too_long_is_not_heard_any_more():
    box = alarms()
    box.add(0, [finding("nan", 0), finding("skipped", RUN)])
    assert not ons(box.add(60 * SECOND))


def test_the_same_finding_does_not_wait_twice():
    box = alarms()
    box.add(0, [finding("nan", 0)])
    for _ in range(5):
        box.add(0, [finding("spike", 3)])
    heard = [on for tick in range(0, 20 * SECOND, 120) for on in ons(box.add(tick))]
    assert len([on for on in heard if on.sound == "spike"]) == 3


# -- silence, and its sounds --------------------------------------------------------------------


def test_a_run_in_which_nothing_sounds_ticks_faintly_once_a_bar():
    box = alarms()
    ticks = [on for tick in range(0, 8 * 4 * PPQ, 120) for on in ons(box.idle(tick))]
    assert [on.tick for on in ticks] == [bar * 4 * PPQ for bar in range(8)]
    assert {on.sound for on in ticks} == {TICK}
    assert ticks[0].velocity < PRESET.faults.velocity / 2


def test_no_tick_while_a_fault_is_reported():
    box = alarms()
    box.add(0, [finding("dead", RUN)])
    first = next(on for tick in range(0, 8 * 4 * PPQ, 120) for on in ons(box.idle(tick)))
    assert box.sounds(first.tick - 120)
    assert not box.sounds(first.tick)


def test_the_end_sounds_after_the_fault_that_is_reported():
    box = alarms()
    last = max(e.tick for e in box.add(0, [finding("nan", 0)]))
    end = ons(box.end(120))
    assert {on.sound for on in end} == {END}
    assert end[0].tick >= last


# -- precedence over the notes of norms ----------------------------------------------------------


def precedence():
    parts = PRESET.parts(6)
    assert (parts[3].offset, parts[3].slot_ticks, parts[3].key) == (30, 120, 64)
    return Precedence(parts, spacing=120, grid=SlotGrid(120), duck=0.5)


def test_a_voice_is_identified_once_where_two_faults_ask_for_it_at_the_same_time():
    faults = precedence()
    notes = [On(960, 3, 64, 80, 64.0), Off(1100, 3, 64)]
    assert faults.admit(960, notes) == notes
    assert faults.admit(1080, notes) == []
    later = [On(1200, 3, 64, 80, 64.0), Off(1300, 3, 64)]
    assert faults.admit(1200, later) == later


def test_an_identification_note_does_not_start_where_the_voice_plays_its_norms():
    faults = precedence()
    (on, _) = faults.admit(960, [On(990, 3, 64, 80, 64.0), Off(1100, 3, 64)])
    assert on.tick == 991


def test_a_note_gives_way_only_on_the_key_and_at_the_time_of_an_identification():
    faults = precedence()
    faults.admit(960, [On(960, 3, 64, 80, 64.0), Off(1100, 3, 64)])
    assert faults.gives_way(3, 64, 1090, 1200)
    assert not faults.gives_way(3, 64, 1100, 1200)
    assert not faults.gives_way(3, 72, 1000, 1100)
    assert not faults.gives_way(2, 69, 1000, 1100)


def test_other_notes_are_softer_while_a_fault_sounds():
    faults = precedence()
    faults.admit(960, [On(960, FAULT_VOICE, 60, 100, 80.0), Off(1100, FAULT_VOICE, 60)])
    assert [faults.velocity(tick, 81) for tick in (959, 960, 1099, 1100)] == [81, 40, 40, 81]


def test_without_sound_faults_are_text_alone():
    box = alarms(load("classic"))
    events = box.add(0, [finding("nan", 0), finding("died", RUN)])
    assert [type(e) for e in events] == [Alarm, Alarm]
    assert box.idle(0) == box.end(0) == []


@pytest.mark.parametrize("name", names())
def test_every_preset_takes_every_fault(name):
    preset = load(name)
    voices = group(LAYERS, preset.voices.most)
    box = Alarms(preset, LAYERS, voices, preset.home_notes(len(voices)))
    for index, kind in enumerate(KINDS):
        box.add(10**6 * index, [finding(kind, index % 6)])


# -- as samples ---------------------------------------------------------------------------------


def level(wave, hz, rate=44100):
    phase = np.exp(-2j * np.pi * hz * np.arange(len(wave)) / rate)
    return abs(wave @ phase) * 2 / len(wave)


@pytest.mark.parametrize("kind", ["nan", "vanishing", "exploding"])
def test_the_synth_plays_each_pulse_at_its_pitch_and_place(kind):
    synth = Synth(PRESET, 6)
    synth.send(alarms().add(0, [finding(kind, RUN)]))
    wave = synth.render(3 * 44100).mean(axis=1)
    pitches = sorted({pulse.pitch for pulse in PATTERNS[kind]})
    for pulse in PATTERNS[kind]:
        start = round((pulse.start + 25) / 1000 * 44100)
        part = wave[start : start + round((pulse.length - 30) / 1000 * 44100)]
        own = level(part, pitch_to_hz(pulse.pitch))
        assert own > 0.05
        for other in pitches:
            if other != pulse.pitch:
                assert level(part, pitch_to_hz(other)) < own / 3
