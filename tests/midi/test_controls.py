"""Knobs and buttons: which message gives which command."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradmidi.errors import GradmidiError, PresetError
from gradmidi.live.session import Session
from gradmidi.midi.controls import COMMANDS, Controls, control_of
from gradmidi.midi.rig import Rig, load
from gradmidi.music.preset import load as load_preset

TABLE = {
    "cc 20 channel 2": "level fc1",
    "cc 21": "level",
    "cc 22": "mute 0",
    "cc 22 channel 3": "solo",
    "cc 23": "panic",
    "note 36 channel 10": "solo 1",
    "note 37": "mute block.0 head",
}


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ((0xB1, 20, 0), {"do": "level", "voice": "fc1", "to": -60.0}),
        ((0xB1, 20, 127), {"do": "level", "voice": "fc1", "to": 12.0}),
        ((0xB0, 20, 127), None),
        ((0xB5, 21, 106), {"do": "level", "voice": None, "to": pytest.approx(0.1, abs=0.1)}),
        ((0xB0, 22, 64), {"do": "mute", "voice": 0, "on": True}),
        ((0xB0, 22, 63), {"do": "mute", "voice": 0, "on": False}),
        ((0xB2, 22, 127), {"do": "solo", "voice": None, "on": True}),
        ((0xB0, 23, 127), {"do": "panic"}),
        ((0xB0, 23, 0), None),
        ((0x99, 36, 1), {"do": "solo", "voice": 1, "on": None}),
        ((0x99, 36, 0), None),
        ((0x89, 36, 64), None),
        ((0x95, 37, 90), {"do": "mute", "voice": "block.0 head", "on": None}),
        ((0xE0, 20, 5), None),
        ((0xC0, 20), None),
        ((0xF8,), None),
        ((), None),
        ([0xF0, 1, 0xF7], None),
    ],
)
def test_a_message_gives_the_command_of_the_rig_or_none(message, found):
    assert Controls(TABLE).command(message) == found


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"cc 200": "panic"}, "midi_in has 'cc 200'; allowed are cc 0 to cc 127 and note 0"),
        ({"cc 20 channel 17": "panic"}, "with a channel from 1 to 16|channel from 1 to 16"),
        ({"knob 3": "panic"}, "midi_in has 'knob 3'"),
        ({"cc 20": "loud"}, "midi_in: 'cc 20' is 'loud'; allowed are mute, solo and level"),
        ({"cc 20": "query"}, "allowed are mute, solo and level"),
        ({"cc 20": "panic fc1"}, "panic, and preset with a name"),
        ({"cc 20": "preset"}, "preset with a name, as 'preset hold'"),
        ({"cc 20": ""}, "allowed are mute"),
        ({"note 20": "level 1"}, "a level needs a controller, as cc 20"),
        ({"cc 20": "panic", "cc  020": "mute"}, "midi_in has 'cc 20' twice; give it one command"),
        ({"cc 20": 5}, r"midi_in.cc 20 = 5; allowed is text"),
        ("cc 20", "midi_in = 'cc 20'; allowed is a table of names and texts"),
    ],
)
def test_a_rig_with_a_control_or_a_command_that_is_none_is_refused(table, message):
    with pytest.raises(PresetError, match=message):
        load(options={"midi_in": table})


@given(st.lists(st.integers(0, 255), max_size=6))
def test_any_bytes_give_a_command_or_none(message):
    assert isinstance(Controls(TABLE).command(message), dict | None)


def test_every_command_of_osc_but_query_can_be_on_a_knob():
    for word in COMMANDS:
        if word != "query":
            text = "preset hold" if word == "preset" else word
            assert Controls({"cc 1": text}).command((0xB0, 1, 127))["do"] == word
    assert Controls({"note 1": "preset 2"}).command((0x90, 1, 9)) == {"do": "preset", "name": "2"}


def test_a_control_is_written_as_the_rig_has_it():
    for message in ((0xB0, 20, 5), (0x9F, 127, 1)):
        name = control_of(message)
        assert Controls({name: "mute"}).command(message) is not None


def test_an_input_without_commands_in_the_rig_is_refused():
    with pytest.raises(GradmidiError, match=r"the rig has no midi_in.*gradmidi check --learn PORT"):
        Session(load_preset("hold"), midi_in="nano")
    rig = Rig(midi_in={"cc 1": "panic"})
    session = Session(load_preset("hold"), rig, midi_in="nano")
    assert Session.from_line(session.to_line()) == session
