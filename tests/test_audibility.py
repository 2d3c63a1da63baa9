import pytest

from gradmidi.audibility import change, describe, room
from gradmidi.preset import load, names

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


def test_classic_is_told_without_promises():
    lines = list(describe(load("classic")))
    assert lines[0] == "x10 from a norm of 0.0001: 0.78 cents"
    assert "no promise" in lines[-1]


@pytest.mark.parametrize("name", CONTRACTED)
def test_what_a_listener_gets_is_told_in_lines_that_stand_alone(name):
    lines = list(describe(load(name)))
    assert [line.split(" in norm")[0] for line in lines[:3]] == ["x1.1", "x2", "x10"]
    assert any(line.startswith("range: ") for line in lines)
    assert any(line.startswith("rounding ") for line in lines)
