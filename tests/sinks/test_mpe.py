"""MPE, received by a decoder that follows MPE 1.0 (RP-053) and shares no code with the sink."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import mido
import pytest
from logs import write_log

import gradmidi
from gradmidi.errors import PresetError
from gradmidi.log import RunLog
from gradmidi.midi.rig import Rig
from gradmidi.music.events import FAULT_VOICE, On, Step
from gradmidi.music.preset import load
from gradmidi.music.score import score_of
from gradmidi.sinks.midiport import MidiPort


@dataclass
class Channel:
    """The state of one channel; a member's bend range is 48 by default, the master's is 2."""

    bend_range: int = 2
    bend: float = 0.0
    timbre: int = 64
    pressure: int = 0
    parameter: dict[int, int] = field(default_factory=dict)
    shaped: set[str] = field(default_factory=set)


@dataclass
class Receiver:
    """A receiver of a lower zone: what each note sounded as, and what was wrong."""

    members: int = 0
    channels: list[Channel] = field(default_factory=lambda: [Channel() for _ in range(16)])
    notes: list[tuple[int, float, int]] = field(default_factory=list)
    pressures: dict[int, list[int]] = field(default_factory=dict)
    held: set[tuple[int, int]] = field(default_factory=set)

    def take(self, message: mido.Message) -> None:
        state = self.channels[message.channel]
        member = 1 <= message.channel <= self.members
        if message.type == "control_change":
            self.control(message, state)
        elif message.type == "pitchwheel":
            state.bend = message.pitch / 8192.0
            state.shaped.add("bend")
        elif message.type == "aftertouch":
            state.pressure = message.value
            state.shaped.add("pressure")
            self.pressures.setdefault(message.channel, []).append(message.value)
        elif message.type == "note_on" and message.velocity:
            assert message.channel != 0, "a note on the master channel"
            if member:
                # MPE 1.0, 2.3: a member's state is set before its note.
                assert state.shaped == {"bend", "pressure", "timbre"}
            master = self.channels[0]
            semitones = state.bend * state.bend_range + master.bend * master.bend_range
            self.held.add((message.channel, message.note))
            self.notes.append((message.channel, message.note + semitones, state.pressure))
        elif message.type in ("note_on", "note_off"):
            self.held.remove((message.channel, message.note))

    def control(self, message: mido.Message, state: Channel) -> None:
        if message.control in (100, 101):
            state.parameter[message.control] = message.value
        elif message.control == 6 and state.parameter == {101: 0, 100: 6}:
            assert message.channel == 0, "an upper zone, which was not asked for"
            self.members = message.value
            for channel in self.channels[1 : 1 + self.members]:
                channel.bend_range = 48
        elif message.control == 6 and state.parameter == {101: 0, 100: 0}:
            if 1 <= message.channel <= self.members:
                # 2.2.6: a bend range of one member is that of all.
                for channel in self.channels[1 : 1 + self.members]:
                    channel.bend_range = message.value
            else:
                state.bend_range = message.value
        elif message.control == 74:
            state.timbre = message.value
            state.shaped.add("timbre")


class Wire:
    name = "synth"

    def __init__(self) -> None:
        self.receiver = Receiver()

    def send(self, message) -> None:
        if message[0] != 0xFE:
            self.receiver.take(mido.Message.from_bytes(message))

    def close(self) -> None:
        pass


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rows = [[1.3 ** (i % 9), 2.0, 0.7 ** (i % 5), 1.0 + i / 7] for i in range(40)]
    rows[20] = [900.0 * norm for norm in rows[20]]
    return write_log(tmp_path / "a", rows)


RIG = Rig(ports=("synth",), mpe=True)


def events_of(run: Path, preset: str, rig: Rig) -> list:
    log = RunLog(run)
    score = score_of(log, load(preset), rig=rig)
    events = [event for item in log.items() for event in score.feed(item)]
    return [*events, *score.finish()]


@pytest.mark.parametrize("preset", ["chromatic", "pentatonic", "hold"])
def test_a_receiver_hears_each_voice_on_a_member_channel_in_tune(run: Path, preset: str) -> None:
    events = events_of(run, preset, RIG)
    wire = Wire()
    sink = MidiPort(
        RIG, load(preset), score_of(RunLog(run), load(preset)).all_voices, connect=lambda name: wire
    )
    sink.send(events)
    sink.close()
    receiver = wire.receiver
    assert receiver.members == 8
    assert not receiver.held
    ons = [event for event in events if isinstance(event, On)]
    exact = load(preset).pitch.residue == "bend"
    for on, (channel, pitch, _) in zip(ons, receiver.notes, strict=True):
        if on.voice == FAULT_VOICE:
            assert channel == 9
            continue
        assert channel == on.voice + 1
        # A fourteen-bit bend of 48 semitones has steps of 0.6 cents. The notes that identify a
        # voice at fault keep the bend of its own note.
        assert not on.norm or pitch == pytest.approx(on.pitch if exact else on.note, abs=0.006)


def test_pressure_follows_the_norm_and_the_spike_is_pressed(run: Path) -> None:
    wire = Wire()
    events = events_of(run, "hold", RIG)
    sink = MidiPort(
        RIG, load("hold"), score_of(RunLog(run), load("hold")).all_voices, connect=lambda name: wire
    )
    sink.send(events)
    pressures = wire.receiver.pressures
    # The second voice has a steady norm, but for the spike.
    assert set(pressures) == {1, 2, 3, 4}
    levels = [event.levels[1] for event in events if isinstance(event, Step)]
    assert max(pressures[2]) == round(127 * max(levels)) > pressures[2][1] + 20
    # After the end it returns to 0.
    assert pressures[2][1] == pressures[2][-2] == round(127 * levels[0])
    assert pressures[2][-1] == 0


@pytest.mark.parametrize("preset", ["chromatic", "pentatonic"])
def test_a_file_is_received_as_the_cable_and_decodes_to_its_norms(
    run: Path, tmp_path: Path, preset: str
) -> None:
    path = tmp_path / "a.mid"
    gradmidi.render(run, path, preset=preset, rig=Rig(mpe=True))
    receiver = Receiver()
    for message in mido.MidiFile(path):
        if not message.is_meta:
            receiver.take(message)
    assert receiver.members == 8
    assert not receiver.held
    expected = [e for e in events_of(run, preset, RIG) if isinstance(e, On) and e.voice >= 0]
    found = [note for note in receiver.notes if note[0] != 9]
    assert len(found) == len(expected)
    plain = tmp_path / "plain.mid"
    gradmidi.render(run, plain, preset=preset)
    for read, true in zip(decoded(path), decoded(plain), strict=True):
        # Norms at the rail are texts.
        assert [type(norm) for norm in read] == [type(norm) for norm in true]
        numbers = [norm for norm in read if isinstance(norm, float)]
        assert numbers == pytest.approx([n for n in true if isinstance(n, float)], rel=0.003)


def decoded(path: Path) -> list[list]:
    lines = map(json.loads, gradmidi.decode(path).lines())
    return [line["norms"] for line in lines if "norms" in line]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"channels": "1-4"}, "mpe = true sets channels and bend_range; leave both out"),
        ({"bend_range": 12}, "mpe = true sets channels and bend_range; leave both out"),
        ({"faults": 1}, "with mpe = true, channel 1 is the zone's master; give another"),
        ({"cc": {"loss": 20}, "cc_channel": 1}, "channel 1 is the zone's master"),
        ({"faults": 2}, "leaves no channel for the voices"),
    ],
)
def test_what_does_not_fit_a_zone_is_refused(keys: dict, message: str) -> None:
    with pytest.raises(PresetError, match=message):
        Rig(mpe=True, **keys)


def test_a_zone_ends_before_the_channels_of_faults_and_values() -> None:
    assert Rig(mpe=True).voice_channels == tuple(range(2, 10))
    assert Rig(mpe=True, faults="off").voice_channels == tuple(range(2, 17))
    assert Rig(mpe=True, faults=16).voice_channels == tuple(range(2, 16))
    rig = Rig(mpe=True, faults=16, cc={"loss": 20}, cc_channel=12)
    assert rig.voice_channels == tuple(range(2, 12))
