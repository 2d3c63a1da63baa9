import itertools

import pytest
from logs import write_log
from typer.testing import CliRunner

from gradmidi.cli.app import app
from gradmidi.cli.ports import layout, perform, sweeps
from gradmidi.detection.kinds import KINDS
from gradmidi.midi.rig import Rig
from gradmidi.music.alarms import END, PATTERNS
from gradmidi.music.events import FAULT_VOICE, Off, On, Sounding
from gradmidi.music.lesson import check as cues
from gradmidi.music.preset import load, names
from gradmidi.music.voices import Voice
from gradmidi.sinks.registry import Memory

VOICES = (Voice(0, "conv1", (0,)), Voice(1, "blocks.0-3", (1, 2, 3, 4)))


def voices_of(played):
    return [cue for cue in played if cue.text.startswith("voice")]


def test_each_voice_plays_at_home_and_one_doubling_up_and_is_named():
    played = voices_of(cues(load("pentatonic"), VOICES))
    assert [cue.text for cue in played] == [
        "voice 1, conv1: home, A3",
        "voice 1, conv1: one doubling up, C4",
        "voice 2, blocks.0-3: home, E5",
        "voice 2, blocks.0-3: one doubling up, G5",
    ]
    ons = [event for cue in played for event in cue.events if isinstance(event, On)]
    assert [(on.tick, on.voice, on.note) for on in ons] == [
        (0, 0, 57),
        (480, 0, 60),
        (960, 1, 76),
        (1440, 1, 79),
    ]


def test_the_voice_of_a_value_plays_its_home_and_one_note_lower():
    voices = (*VOICES, Voice(2, "loss", ()), Voice(3, "val_acc", ()))
    played = voices_of(cues(load("pentatonic"), voices))
    assert [cue.text for cue in played[4:]] == [
        "voice 3, loss: home, C3",
        "voice 3, loss: one note lower, A2",
        "voice 4, val_acc: home, G3",
        "voice 4, val_acc: one note lower, E3",
    ]
    alone = voices_of(cues(load("drums"), (Voice(0, "loss", ()),)))
    assert [cue.text for cue in alone] == [
        "voice 1, loss: home, C3",
        "voice 1, loss: one note lower, A2",
    ]


@pytest.mark.parametrize("name", names())
def test_every_preset_is_checked_with_one_voice_at_a_time_and_each_note_ended(name):
    sounding = Sounding()
    for cue in cues(load(name), VOICES):
        assert any(isinstance(event, On) for event in cue.events)
        for event in cue.events:
            if isinstance(event, On):
                assert all(on.voice == event.voice for on in sounding)
                sounding.start((event.voice, event.note), event)
            elif isinstance(event, Off):
                assert sounding.end((event.voice, event.note)) is not None
    assert list(sounding) == []


def test_the_keys_of_a_drum_machine_are_checked_as_they_are():
    drums = load("drums")
    played = voices_of(cues(drums, VOICES))
    notes = {e.note for cue in played for e in cue.events if isinstance(e, On)}
    assert notes <= set(drums.voices.keys)


def test_after_the_voices_comes_every_fault_sound_by_name_and_no_two_at_once():
    played = list(cues(load("pentatonic"), VOICES))
    voices, faults = played[:4], played[4:]
    assert [cue.text for cue in faults] == [
        *(f"fault sound: {kind}" for kind in KINDS),
        "fault sound: the end of a run",
    ]
    over = voices[-1].events[-1].tick
    for cue, kind in zip(faults, (*KINDS, END), strict=True):
        ons = [event for event in cue.events if isinstance(event, On)]
        assert [on.note for on in ons] == [pulse.key for pulse in PATTERNS[kind]]
        assert {on.voice for on in ons} == {FAULT_VOICE}
        assert cue.events[0].tick >= over
        over = cue.events[-1].tick


def test_a_preset_without_fault_sounds_has_none_to_check():
    assert len(list(cues(load("classic"), VOICES))) == 4


def test_cues_are_reported_as_they_sound_each_event_in_its_time():
    now, heard = [7.0], []

    def sleep(seconds):
        now[0] += seconds

    class Timed(Memory):
        def send(self, events):
            heard.extend((now[0], event) for event in events)

    perform(
        cues(load("pentatonic"), VOICES),
        Timed(),
        lambda text: heard.append((now[0], text)),
        clock=lambda: now[0],
        sleep=sleep,
    )
    ons = [seconds for seconds, what in heard if isinstance(what, On)]
    assert ons[:4] == pytest.approx([7.0, 7.5, 8.0, 8.5])
    texts = [(seconds, what) for seconds, what in heard if isinstance(what, str | On)]
    assert len(texts) > 20
    for (told, text), (struck, on) in itertools.pairwise(texts):
        if isinstance(text, str):
            assert isinstance(on, On)
            assert told == struck


def test_the_list_for_a_daw_names_ports_where_there_are_several():
    rig = Rig(ports=("synth", "more"), channels="1,2", faults="off")
    assert list(layout(rig, ["a", "b", "c"])) == [
        "voice 1: channel 1, a",
        "voice 2: channel 2, b",
        "voice 3: port 'more', channel 1, c",
        "faults: off",
    ]


def test_a_sweep_moves_one_controller_at_a_time_to_its_top_and_back():
    rig = Rig(cc={"level": 20, "loss": 21}, cc_fine=("loss",))
    last = list(cues(load("pentatonic"), VOICES))[-1]
    found = list(sweeps(rig, (*VOICES, Voice(2, "acc", ())), last))
    assert [cue.text for cue in found] == [
        "controller 20, conv1: level",
        "controller 20, blocks.0-3: level",
        "controller 21, loss",
    ]
    over = last.events[-1].tick
    for cue, top in zip(found, (127, 127, 16383), strict=True):
        values = [event.value for event in cue.events]
        assert (values[0], max(values), values[-1]) == (0, top, 0)
        assert len({(event.voice, event.controller) for event in cue.events}) == 1
        assert cue.events[0].tick > over
        over = cue.events[-1].tick


def test_the_list_is_printed_without_a_port_and_without_playing(tmp_path):
    run = write_log(tmp_path / "a", [[1.0] * 4] * 3)
    rig = tmp_path / "rig.toml"
    rig.write_text("ports = ['Nowhere']\nchannels = '3-9'\ncc = {level = 20, loss = 21}\n")
    words = ["check", "--list", "--run", run, "--rig", rig, "--set", "cc_fine=['level']"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert (done.exit_code, done.output.splitlines()) == (
        0,
        [
            "voice 1: channel 3, conv1",
            "voice 2: channel 4, conv2",
            "voice 3: channel 5, fc1",
            "voice 4: channel 6, fc2",
            "faults: channel 10",
            "level of each voice: controllers 20 and 52 on its channel",
            "loss: channel 16, controller 21",
        ],
    )
    refused = CliRunner().invoke(app, ["check"])
    assert refused.exit_code == 2
    assert "give PORT, a MIDI output; --list prints the channels without one" in refused.output
