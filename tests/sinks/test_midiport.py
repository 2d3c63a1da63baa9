import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradmidi.errors import PortError
from gradmidi.midi.rig import Rig
from gradmidi.music.events import (
    BRIGHTNESS,
    FAULT_VOICE,
    Bend,
    Control,
    End,
    Joined,
    Mark,
    Number,
    Off,
    On,
    Step,
)
from gradmidi.music.preset import load, parse
from gradmidi.music.voices import Voice
from gradmidi.sinks.midiport import MidiPort

PENTATONIC = load("pentatonic")
BENT = parse({"title": "t", "pitch": {"residue": "bend"}}, "bent", "bent.toml")


class Tape:
    """A port that keeps what it is sent."""

    def __init__(self, name):
        self.name = name
        self.messages = []
        self.closed = 0
        self.broken = False
        self.gone = False
        self.unplugged = False
        self.looks = 0

    def look(self):
        self.looks += 1
        self.gone = self.unplugged

    def send(self, message):
        if self.broken or self.closed:
            raise PortError(f"{self.name} is gone")
        self.messages.append(tuple(message))

    def close(self):
        self.closed += 1

    def take(self):
        messages, self.messages = self.messages, []
        return messages


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Desk:
    """A sink, the ports it plays into, its clock and what it said."""

    def __init__(self, voices=4, preset=PENTATONIC, **keys):
        self.tapes = {}
        self.clock = Clock()
        rig = Rig(**{"ports": ("synth",), **keys})
        names = [Voice(i, f"layer{i}", (i,)) for i in range(voices)]
        self.sink = MidiPort(rig, preset, names, clock=self.clock, connect=self.connect)

    def connect(self, name):
        self.tapes[name] = Tape(name)
        return self.tapes[name]

    @property
    def tape(self):
        return self.tapes["synth"]

    def play(self, *events):
        self.sink.send(events)
        return self.tape.take()


def on(voice, note, velocity=80, tick=0):
    return On(tick, voice, note, velocity, pitch=float(note))


def off(voice, note, tick=0):
    return Off(tick, voice, note)


ENDINGS = {(0xB0, 64, 0), (0xB0, 123, 0)}


def test_bends_on_a_channel_that_voices_share_are_warned_of(capsys):
    Desk(voices=3, preset=BENT, channels="1-2")
    assert "layer0 and layer2 share channel 1, and each bend moves both" in capsys.readouterr().err
    Desk(voices=3, preset=BENT, channels="1-2", ports=("synth", "other"))
    Desk(voices=3, preset=BENT, channels="1-2", notes=False)
    Desk(voices=3, channels="1")
    assert capsys.readouterr().err == ""


def test_a_value_that_joins_gets_the_setup_of_its_channel_once():
    preset = parse({"title": "t", "values": {"program": 36}}, "low", "low.toml")
    desk = Desk(voices=2, preset=preset, pan=True, programs=True)
    desk.tape.take()
    assert desk.play(Joined(0, 2, "loss", 0), on(2, 48)) == [
        (0xC2, 35),
        (0xB2, 10, 64),
        (0x92, 48, 80),
    ]
    assert desk.play(Joined(0, 3, "lr", 1))[1] == (0xB3, 10, 34)


def test_events_become_the_bytes_of_their_channel_at_once():
    desk = Desk()
    assert desk.play(on(0, 60), on(3, 72, 100)) == [(0x90, 60, 80), (0x93, 72, 100)]
    assert desk.play(off(0, 60), Control(0, 1, BRIGHTNESS, 30), on(FAULT_VOICE, 37)) == [
        (0x80, 60, 64),
        (0xB1, BRIGHTNESS, 30),
        (0x99, 37, 80),
    ]
    assert desk.sink.counters.sent == 5


def test_what_is_not_for_midi_is_passed_over():
    desk = Desk()
    events = (Mark(0, "epoch 2"), Step(0, 1, 0.1, (1.0,), (0.5,)), End(0, 1, 0.1))
    assert desk.play(*events) == []


def test_voices_past_fifteen_play_on_the_second_port_and_wrap_where_there_is_none():
    desk = Desk(voices=17, ports=("synth", "more"))
    assert desk.play(on(15, 60), on(16, 61)) == []
    assert desk.tapes["more"].take() == [(0x90, 60, 80), (0x91, 61, 80)]
    assert Desk(voices=17).play(on(15, 60), on(16, 61)) == [(0x90, 60, 80), (0x91, 61, 80)]


def test_fault_sounds_go_to_the_channel_the_rig_gives_them_or_nowhere():
    assert Desk(faults=16).play(on(FAULT_VOICE, 37)) == [(0x9F, 37, 80)]
    assert Desk(faults="off").play(on(FAULT_VOICE, 37), off(FAULT_VOICE, 37)) == []


def test_a_key_struck_again_is_let_go_of_first_and_ends_with_the_last_of_its_notes():
    desk = Desk(channels="1,1")
    assert desk.play(on(0, 60)) == [(0x90, 60, 80)]
    assert desk.play(on(1, 60, 90)) == [(0x80, 60, 64), (0x90, 60, 90)]
    assert desk.play(off(0, 60)) == []
    assert desk.play(off(1, 60)) == [(0x80, 60, 64)]
    assert desk.play(off(1, 60)) == []


def test_silence_ends_each_note_by_its_own_off_and_then_asks_for_all_notes_off():
    desk = Desk()
    desk.play(on(0, 60), on(0, 64), on(2, 67), off(0, 64))
    desk.sink.silence()
    first, second, *rest = desk.tape.take()
    assert {first, second} == {(0x80, 60, 64), (0x82, 67, 64)}
    assert rest == [(0xB0, 64, 0), (0xB0, 123, 0), (0xB2, 64, 0), (0xB2, 123, 0)]
    desk.sink.silence()
    assert desk.tape.take() == []


def test_the_off_of_a_note_that_silence_ended_is_not_sent_and_playing_goes_on():
    desk = Desk()
    desk.play(on(0, 60))
    desk.sink.silence()
    desk.tape.take()
    assert desk.play(off(0, 60)) == []
    assert desk.play(on(0, 60), off(0, 60)) == [(0x90, 60, 80), (0x80, 60, 64)]


def test_close_ends_every_note_puts_what_was_moved_to_the_middle_and_closes_once():
    desk = Desk(preset=BENT)
    desk.tape.take()
    desk.play(on(0, 60), Bend(0, 0, 1.0), Control(0, 1, BRIGHTNESS, 3), Control(0, 1, 7, 3))
    desk.sink.close()
    messages = desk.tape.take()
    assert messages[0] == (0x80, 60, 64)
    assert set(messages[1:]) == {*ENDINGS, (0xE0, 0, 64), (0xB1, BRIGHTNESS, 64)}
    desk.sink.close()
    assert desk.tape.closed == 1
    assert desk.play(on(0, 60), off(0, 60)) == []
    assert desk.sink.counters.dropped == 2


def test_programs_and_pan_are_left_alone_unless_the_rig_asks_for_them():
    orchestra = load("orchestra")
    assert Desk(preset=orchestra).tape.take() == []
    asked = Desk(preset=orchestra, programs=True, pan=True).tape.take()
    programs = [message[1] for message in asked if message[0] & 0xF0 == 0xC0]
    assert [p + 1 for p in programs] == [orchestra.voices.programs[i] for i in (0, 2, 5, 7)]
    pans = [message for message in asked if message[:2] == (0xB0 | message[0] & 15, 10)]
    assert [message[0] & 15 for message in pans] == [0, 1, 2, 3]
    assert pans[0][2] < 64 < pans[3][2]


def test_a_channel_that_voices_share_is_set_up_once():
    asked = Desk(voices=4, preset=load("orchestra"), programs=True, channels="3").tape.take()
    assert [message[0] for message in asked] == [0xC2]


def test_the_bend_range_is_sent_where_voices_bend_and_bends_fill_it():
    desk = Desk(voices=1, preset=BENT, bend_range=12)
    assert desk.tape.take() == [
        (0xB0, 101, 0),
        (0xB0, 100, 0),
        (0xB0, 6, 12),
        (0xB0, 38, 0),
        (0xB0, 101, 127),
        (0xB0, 100, 127),
    ]
    assert desk.play(Bend(0, 0, 12.0), Bend(0, 0, -6.0), Bend(0, 0, 0.0)) == [
        (0xE0, 127, 127),
        (0xE0, 0, 32),
        (0xE0, 0, 64),
    ]
    assert Desk(voices=1).tape.take() == []


def test_refused_messages_are_counted_and_reported_once_and_do_not_raise(said):
    desk = Desk()
    desk.play(on(0, 60), on(1, 62))
    desk.tape.broken = True
    assert desk.play(off(0, 60), on(2, 64)) == []
    assert desk.sink.counters.errors == 2
    assert said == ["MIDI to 'synth': synth is gone; everything else continues"]
    desk.sink.close()
    assert len(said) == 2
    # Not the third: that one was refused at its start.
    assert "2 notes may still sound; once the port is back, run: gradmidi panic" in said[1]


def test_a_note_whose_end_was_refused_is_ended_once_the_port_takes_it(said):
    desk = Desk()
    desk.play(on(0, 60))
    desk.tape.broken = True
    desk.play(off(0, 60))
    desk.tape.broken = False
    desk.tape.take()
    desk.sink.close()
    assert (0x80, 60, 64) in desk.tape.take()
    assert len(said) == 1


def test_a_port_that_was_gone_for_a_while_plays_on():
    desk = Desk()
    desk.tape.broken = True
    desk.play(on(0, 60))
    desk.tape.broken = False
    assert desk.play(off(0, 60), on(0, 62)) == [(0x80, 60, 64), (0x90, 62, 80)]


def test_a_port_that_cannot_be_opened_closes_those_before_it():
    opened = []

    def connect(name):
        if name == "second":
            raise PortError("no MIDI output matches 'second'")
        opened.append(Tape(name))
        return opened[-1]

    with pytest.raises(PortError, match="'second'"):
        MidiPort(Rig(ports=("first", "second")), PENTATONIC, (), connect=connect)
    assert opened[0].closed == 1
    with pytest.raises(PortError, match="names no MIDI port; give one"):
        MidiPort(Rig(), PENTATONIC, (), connect=connect)


# -- a limit ------------------------------------------------------------------------------------


def test_over_the_limit_notes_are_left_out_whole_and_no_off_is():
    desk = Desk(din_limit=900)
    sent = desk.play(*(on(0, key) for key in range(60)))
    assert sent == [(0x90, key, 80) for key in range(45)]
    assert desk.sink.counters.dropped == 15
    assert desk.play(*(off(0, key) for key in range(60))) == [(0x80, key, 64) for key in range(45)]


def test_over_the_limit_a_fault_still_sounds():
    desk = Desk(din_limit=900)
    desk.play(*(on(0, key) for key in range(60)))
    assert desk.play(on(FAULT_VOICE, 37), on(1, 60)) == [(0x99, 37, 80)]


def test_controllers_wait_for_room_and_only_the_newest_is_sent():
    desk = Desk(din_limit=900)
    desk.play(*(on(0, key) for key in range(40)))
    assert desk.play(*(Control(0, 1, BRIGHTNESS, value) for value in range(5))) == []
    assert desk.play(Bend(0, 2, 1.0)) == []
    assert desk.sink.counters.dropped == 4
    desk.clock.now += 0.02
    assert desk.play(on(3, 60)) == [(0xB1, BRIGHTNESS, 4), (0x93, 60, 80)]
    desk.clock.now += 10.0
    assert desk.play() == [(0xE2, 0, 96)]
    desk.clock.now += 10.0
    assert desk.play() == []


def test_what_waits_when_the_port_closes_is_counted():
    desk = Desk(din_limit=900)
    desk.play(*(on(0, key) for key in range(40)), Control(0, 1, BRIGHTNESS, 9))
    desk.sink.close()
    assert desk.sink.counters.dropped == 1
    assert (0xB1, BRIGHTNESS, 9) not in desk.tape.messages


def test_without_a_limit_nothing_is_left_out():
    desk = Desk()
    assert (
        len(
            desk.play(
                *(on(0, key) for key in range(128)),
                *(Control(0, 1, BRIGHTNESS, value) for value in range(128)),
            )
        )
        == 256
    )
    assert desk.sink.counters.dropped == 0


NOTES = st.tuples(
    st.sampled_from(["on", "off"]),
    st.integers(0, 3),
    st.integers(60, 62),
    st.floats(0.0, 0.02),
)


@given(
    notes=st.lists(NOTES, max_size=80),
    limit=st.sampled_from([0, 20, 100]),
    channels=st.sampled_from(["1-4", "1", "1,1,2,2"]),
    silent_at=st.integers(0, 80),
)
def test_whatever_is_played_no_note_is_left_sounding_and_every_off_has_its_on(
    notes, limit, channels, silent_at
):
    desk = Desk(din_limit=limit, channels=channels)
    for index, (kind, voice, key, seconds) in enumerate(notes):
        desk.clock.now += seconds
        desk.sink.send([on(voice, key) if kind == "on" else off(voice, key)])
        if index == silent_at:
            desk.sink.silence()
            assert sounding(desk.tape.messages) == set()
    desk.sink.close()
    assert sounding(desk.tape.messages) == set()


def sounding(messages):
    """Follow the notes; a key that is struck while it sounds, or ended while silent, is wrong."""
    held = set()
    for status, key, _ in messages:
        if status & 0xF0 == 0x90:
            assert (status & 15, key) not in held
            held.add((status & 15, key))
        elif status & 0xF0 == 0x80:
            held.remove((status & 15, key))
    return held


@given(rate=st.integers(10, 900), notes=st.lists(st.floats(0.0, 0.01), min_size=1, max_size=128))
def test_beyond_its_burst_a_limited_port_never_carries_more_notes_than_its_rate(rate, notes):
    desk = Desk(din_limit=rate)
    start = desk.clock.now
    for key, seconds in enumerate(notes):
        desk.clock.now += seconds
        desk.sink.send([on(0, key)])
    burst = max(1.0, rate * 0.05)
    assert len(desk.tape.messages) <= burst + rate * (desk.clock.now - start) + 1e-6
    assert desk.sink.counters.sent + desk.sink.counters.dropped == len(notes)


def test_active_sensing_is_sent_while_notes_sound_and_not_otherwise():
    desk = Desk()
    desk.sink.keep_alive()
    assert desk.play(on(0, 60)) == [(0x90, 60, 80)]
    sent = []
    for _ in range(40):
        desk.clock.now += 0.0625
        desk.sink.keep_alive()
        sent.append(desk.tape.take())
    # A receiver that gets nothing for 0.3 s ends its notes.
    assert sent[:6] == [[], [], [(0xFE,)], [], [], [(0xFE,)]]
    desk.play(off(0, 60))
    desk.clock.now += 1.0
    desk.sink.keep_alive()
    assert desk.tape.take() == []


def test_a_rig_switches_active_sensing_off():
    desk = Desk(active_sensing=False)
    desk.play(on(0, 60))
    desk.clock.now += 1.0
    desk.sink.keep_alive()
    assert desk.tape.take() == []


# -- controllers, mirrors, no notes -------------------------------------------------------------


def test_numbers_become_controllers_of_their_voice_or_of_the_channel_of_values():
    rig = {"cc": {"level": 20, "loss": 21}, "cc_fine": ("loss",), "cc_channel": 2}
    desk = Desk(**rig)
    # Channel 2 is taken, so voice 2 has channel 3.
    assert desk.play(Number(0, 1, 20, 100), Number(0, None, 21, 8193, fine=True)) == [
        (0xB2, 20, 100),
        (0xB1, 21, 64),
        (0xB1, 53, 1),
    ]
    desk.sink.close()
    assert set(desk.tape.take()) == {(0xB2, 20, 0), (0xB1, 21, 0), (0xB1, 53, 0)}


def test_numbers_above_the_limit_wait_and_the_newest_counts():
    desk = Desk(din_limit=20, cc={"level": 20})
    assert desk.play(Number(0, 0, 20, 1), Number(0, 0, 20, 2), Number(0, 0, 20, 3)) == [
        (0xB0, 20, 1)
    ]
    desk.clock.now += 1.0
    assert desk.play() == [(0xB0, 20, 3)]


def test_a_mirror_plays_each_voice_on_every_port_and_ends_it_there():
    desk = Desk(ports=("synth", "more"), mirror=True)
    assert desk.play(on(1, 60), on(FAULT_VOICE, 37)) == [(0x91, 60, 80), (0x99, 37, 80)]
    assert desk.tapes["more"].take() == [(0x91, 60, 80), (0x99, 37, 80)]
    desk.sink.silence()
    for tape in desk.tapes.values():
        assert {(0x81, 60, 64), (0x89, 37, 64)} <= set(tape.take())


def test_without_notes_only_controllers_and_fault_sounds_are_sent():
    desk = Desk(notes=False, cc={"level": 20}, preset=BENT)
    desk.tape.take()
    events = (on(0, 60), Control(0, 0, BRIGHTNESS, 9), Bend(0, 0, 0.5), Number(0, 0, 20, 100))
    assert desk.play(*events, off(0, 60)) == [(0xB0, 20, 100)]
    assert desk.play(on(FAULT_VOICE, 37), off(FAULT_VOICE, 37)) == [(0x99, 37, 80), (0x89, 37, 64)]


def test_a_device_is_looked_for_now_and_then_and_the_user_is_told_what_changed(capsys):
    desk = Desk()
    for second, unplugged in enumerate([False, True, True, True, False, False]):
        desk.tape.unplugged = unplugged
        for _ in range(20):
            desk.clock.now += 0.1
            desk.sink.keep_alive()
        assert desk.tape.looks == second + 1 or abs(desk.tape.looks - second - 1) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "gradmidi: MIDI output 'synth' is gone; it is played again when it is back",
        "gradmidi: MIDI output 'synth' is back",
    ]
