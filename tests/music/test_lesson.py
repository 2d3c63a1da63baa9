"""The legend and the tour: their texts, times and sounds, for every preset."""

import pytest

from gradmidi.detection.kinds import KINDS
from gradmidi.music.alarms import END, PATTERNS, TICK
from gradmidi.music.composer import Composer
from gradmidi.music.events import FAULT_VOICE, Bend, Control, Off, On, Sounding
from gradmidi.music.lesson import TAUGHT, TOUR_VOICES, legend, speech_seconds, tour
from gradmidi.music.preset import load, names
from gradmidi.music.voices import Voice

VALUE = TOUR_VOICES[-1].index


def strikes(cue, voice):
    return [event for event in cue.events if isinstance(event, On) and event.voice == voice]


@pytest.mark.parametrize("name", names())
def test_every_sound_of_a_tour_comes_after_its_text_is_over_and_ends(name):
    cues = list(tour(load(name)))
    sounding, over = Sounding(), -1.0
    for cue in cues:
        assert cue.tick * cue.seconds >= over
        assert [event.tick for event in cue.events] == sorted(event.tick for event in cue.events)
        for event in cue.events:
            assert isinstance(event, On | Off | Control | Bend)
            over = event.tick * cue.seconds
            assert over >= cue.tick * cue.seconds + speech_seconds(cue.text)
            if isinstance(event, On):
                sounding.start((event.voice, event.note), event)
            elif isinstance(event, Off):
                assert sounding.end((event.voice, event.note)) is not None
    assert list(sounding) == []


def test_the_changes_of_a_norm_are_heard_as_the_text_says():
    cues = {cue.text: cue for cue in tour(load("pentatonic"))}
    taught = {text: strikes(cue, TAUGHT)[0].note for text, cue in cues.items() if strikes(cue, 1)}
    home = taught["home"]
    assert taught["higher: the norm has doubled"] == home + 3
    assert taught["lower: the norm has halved"] == home - 2
    assert taught["the same, brighter: the norm is a little larger"] == home
    bright = cues["the same, brighter: the norm is a little larger"].events
    assert [event.value for event in bright if isinstance(event, Control)] == [114]


def test_a_tour_of_drums_speaks_of_strokes_and_plays_them():
    cues = {cue.text: cue for cue in tour(load("drums"))}
    counts = [
        len(strikes(cues[text], TAUGHT))
        for text in (
            "home",
            "more strokes: the norm has doubled",
            "fewer strokes: the norm has halved",
        )
    ]
    assert counts == [9, 10, 8]


def test_a_value_and_its_reference_tone_are_part_of_the_tour():
    cues = [cue for cue in tour(load("pentatonic")) if strikes(cue, VALUE)]
    assert [(strikes(cue, VALUE)[0].note, strikes(cue, VALUE)[0].velocity) for cue in cues] == [
        (48, 80),
        (45, 80),
        (33, 80),
        (48, 48),
    ]


def test_each_fault_sounds_after_its_name_then_the_tick_and_the_end():
    cues = list(tour(load("pentatonic")))
    faults = [cue for cue in cues if strikes(cue, FAULT_VOICE)]
    assert [cue.text.split(":")[0] for cue in faults[: len(KINDS)]] == list(KINDS)
    for cue, kind in zip(faults, (*KINDS, TICK, END), strict=True):
        keys = [on.note for on in strikes(cue, FAULT_VOICE)]
        assert keys == [pulse.key for pulse in PATTERNS[kind]]
        named = len(strikes(cue, TAUGHT))
        assert named == (2 if kind in KINDS and KINDS[kind].of_layers else 0)
    assert cues[-1].text == "the end of a run"


def test_a_preset_without_fault_sounds_says_so():
    assert list(tour(load("classic")))[-1].text == "this preset has no sounds for faults"


@pytest.mark.parametrize("name", ["pentatonic", "drums", "orchestra"])
def test_the_lines_of_the_legend_are_what_a_piece_plays(name):
    preset = load(name)
    voices = [Voice(0, "conv1", (0,)), Voice(1, "fc1", (1,))]
    from gradmidi.log import Layer

    layers = [Layer(voice.name, 1) for voice in voices]
    composer = Composer(preset, layers, voices, legend=True)
    ons = [event for event in composer.finish() if isinstance(event, On)]
    cues = list(legend(preset, voices))
    assert len(cues) == 6
    ends = [cue.tick for cue in cues[1:]] + [1 << 30]
    for cue, end in zip(cues, ends, strict=True):
        own = [on for on in ons if cue.tick <= on.tick < end and not on.sound]
        assert {on.voice for on in own} == {0 if "conv1" in cue.text else 1}
        if name == "drums":
            assert cue.text.endswith(f"{len(own)} strokes")
        else:
            assert len(own) == 1
    if name == "pentatonic":
        assert [cue.text for cue in cues[:3]] == [
            "voice 1, conv1: home, A3",
            "voice 1, conv1: one doubling up, C4",
            "voice 1, conv1: three doublings up, E4",
        ]
        assert [cue.tick * cue.seconds for cue in cues] == [0.0, 0.5, 1.0, 2.0, 2.5, 3.0]
