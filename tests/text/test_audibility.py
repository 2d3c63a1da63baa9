import numpy as np
import pytest

from gradmidi.log import Layer
from gradmidi.music.composer import Composer
from gradmidi.music.events import BRIGHTNESS, Control, On
from gradmidi.music.preset import load, names
from gradmidi.music.slots import Slot
from gradmidi.music.voices import group
from gradmidi.text.audibility import change, describe, room

CONTRACTED = [name for name in names() if name != "classic"]


@pytest.mark.parametrize("name", CONTRACTED)
def test_a_doubling_moves_a_voice_by_at_least_two_semitones(name):
    assert change(load(name), 2.0).cents >= 200.0


@pytest.mark.parametrize("name", CONTRACTED)
def test_a_tenth_more_is_heard_in_cents_or_in_brightness(name):
    preset = load(name)
    found = change(preset, 1.1)
    if preset.pitch.residue == "bend":
        assert found.cents >= 30.0
    else:
        assert found.brightness >= 16


@pytest.mark.parametrize("name", CONTRACTED)
@pytest.mark.parametrize("voices", [1, 2, 4, 15])
def test_eight_doublings_fit_either_side_of_every_home(name, voices):
    fall, rise = room(load(name), voices)
    assert fall >= 8.0 - 1e-9
    assert rise >= 8.0 - 1e-9


def strokes(doublings, voices=1):
    """What comes out of `drums` at so many doublings above home: strokes, and brightness, of each
    voice.
    """
    layers = [Layer(f"layer{i}", 10) for i in range(voices)]
    composer = Composer(load("drums"), layers, group(layers, voices), references=[1.0] * voices)
    counts, bright = [0] * voices, [64] * voices
    for event in composer.slot(Slot(0, 1, 0.1, np.full(voices, 2.0**doublings))):
        if isinstance(event, On):
            counts[event.voice] += 1
        elif isinstance(event, Control) and event.controller == BRIGHTNESS:
            bright[event.voice] = event.value
    return counts, bright


PLACES = np.linspace(-8.45, 8.45, 300)


@pytest.mark.parametrize("factor", [2.0, 10.0])
def test_where_rhythm_carries_the_norm_as_many_strokes_come_out_as_are_promised(factor):
    up = np.log2(factor)
    more = [
        strokes(place + up)[0][0] - strokes(place)[0][0]
        for place in PLACES[np.abs(PLACES + up) < 8.45]
    ]
    assert min(more) == change(load("drums"), factor).strokes >= 1


def test_a_tenth_more_is_heard_in_the_brightness_of_the_strokes_or_in_their_number():
    moved = []
    for place in PLACES[np.abs(PLACES + np.log2(1.1)) < 8.45]:
        (before, dim), (after, bright) = strokes(place), strokes(place + np.log2(1.1))
        if before == after:
            moved.append(bright[0] - dim[0])
        else:
            assert after[0] == before[0] + 1
    assert min(moved) >= 16
    assert min(moved) >= change(load("drums"), 1.1).brightness


@pytest.mark.parametrize("voices", [1, 4, 8])
def test_a_drum_gains_a_stroke_with_each_of_eight_doublings_either_side_of_home(voices):
    for doublings in range(-8, 9):
        assert strokes(float(doublings), voices) == ([9 + doublings] * voices, [64] * voices)
    for beyond in (8.5, 9.0, 12.0, 100.0):
        assert strokes(beyond, voices) == ([17] * voices, [127] * voices)
        assert strokes(-beyond, voices) == ([1] * voices, [0] * voices)


def test_drums_promise_strokes_and_name_the_keys_that_are_struck():
    lines = list(describe(load("drums")))
    assert lines[1] == "a norm twice as large: at least 1 more stroke in each slot"
    assert lines[0].endswith("the same number of strokes, brighter by at least 17 of 127")
    assert any("9 strokes at home, at least 1 and at most 17" in line for line in lines)
    assert any(line.startswith("between two numbers of strokes, the bright") for line in lines)
    assert lines[-1] == "four voices strike the MIDI notes C2 (36), A2 (45), C#2 (37), F#2 (42)"
    assert room(load("drums"), 8) == (8.0, 8.0)


def test_classic_is_told_without_promises():
    lines = list(describe(load("classic")))
    assert lines[0] == "from a norm of 0.0001 to one ten times as large: 0.78 cents"
    assert lines[2] == "from a norm of 1 to one ten times as large: 2400 cents"
    assert "nothing is promised" in lines[-1]


@pytest.mark.parametrize("name", CONTRACTED)
def test_what_a_listener_gets_is_told_in_lines_that_stand_alone(name):
    lines = list(describe(load(name)))
    factors = ["1.1 times", "twice", "ten times"]
    assert [line.split(" as large")[0] for line in lines[:3]] == [f"a norm {f}" for f in factors]
    assert any(line.startswith("range: ") for line in lines)
    assert any(line.startswith("between two ") for line in lines)
