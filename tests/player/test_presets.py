"""Another preset while a run plays: its notes, its references and its place in time."""

import math
import socket
import subprocess
import sys
from dataclasses import replace

import mido
import numpy as np
import pytest
from listening import Receiver, until
from logs import write_log
from pythonosc.osc_message_builder import OscMessageBuilder
from test_player import HEADER, Stage, session
from test_timeline import Session as Beats

from gradmidi.log import End, Frame, Header, Layer, row
from gradmidi.midi.rig import Rig
from gradmidi.music.events import Alarm, On, Step
from gradmidi.music.preset import load
from gradmidi.player.presets import Presets
from gradmidi.player.timeline import LinkTimeline

OTHERS = ("chromatic", "classic", "drums", "hold", "orchestra", "pulse")


STOP = (12.5, {"do": "stop"})


def asked(at, name):
    return (at, {"do": "preset", "name": name})


def growing(seconds=12.0):
    """A run whose norms are four doublings higher from its second frame on."""
    norms = [1.0, *[16.0] * 999]
    times = np.arange(0.05, seconds, 0.09).tolist()
    items = [
        (t, Frame(n, t, row([norm, 2.0 * norm])))
        for n, (t, norm) in enumerate(zip(times, norms, strict=False), 1)
    ]
    return [(0.0, HEADER), *items, (seconds, End("closed", seconds, len(items)))]


def keys(heard, since=0.0):
    return {
        (on.voice, on.note) for at, on in heard if isinstance(on, On) and on.norm and at > since
    }


def at_once(script):
    return [*((0.0, item) for _, item in script), (0.0, {"do": "end"})]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("time", ["live", "wall", "step"])
def test_the_run_goes_on_with_the_notes_of_the_other_preset(name, time):
    script = growing() if time == "live" else at_once(growing())
    options = {} if time == "live" else {"paced": True, "time": time}
    outputs = Stage(session(**options), [*script, asked(4.0, name)]).run()
    whole = Stage(session(name, **options), script).run()
    ((turn, before),) = outputs.turns
    # The same notes as if the preset had played from the start, so the references are the same.
    assert keys(outputs.heard[before:]) == keys(whole.heard, 1.0) != set()
    assert not outputs.hanging
    steps = [step.step for _, step in outputs.of(Step)]
    assert steps == sorted(set(steps))
    if time != "live":
        assert len(outputs.of(Step)) > 20
    slot = load(name).time.slot_ticks(2) * load(name).time.tick_seconds
    first = next(at for at, on in outputs.heard[before:] if isinstance(on, On) and on.norm)
    assert turn - 4.0 < slot + (1.3 if time == "step" else 0.3)
    assert first - turn < 0.1 + slot


def test_a_preset_follows_another_and_the_first_comes_back_as_it_was_given(said):
    start = load("pentatonic", {"time.slot": "1/8"})
    script = [*growing(), asked(2.0, "drums"), asked(5.0, "hold"), asked(9.0, "pentatonic")]
    outputs = Stage(session(start), script).run()
    names = [each[1] for each in outputs.calls if each[0] == "change"]
    assert names == ["drums", "hold", "pentatonic"]
    assert said == [f"the preset is {name} from here on" for name in names]
    last, before = outputs.turns[-1]
    starts = {at for at, on in outputs.heard[before:] if isinstance(on, On) and on.voice == 0}
    assert min(np.diff(sorted(starts))) == pytest.approx(0.25, abs=0.01)
    assert last < 10.5
    assert not outputs.hanging


def test_of_several_presets_in_one_slot_the_last_one_counts():
    many = [asked(4.0, name) for name in OTHERS] * 20
    outputs = Stage(session(), [*growing(), *many, asked(4.0, "hold"), asked(6.0, "hold")]).run()
    assert [each[1] for each in outputs.calls if each[0] == "change"] == ["hold"]


@pytest.mark.parametrize("name", ["nothing", "/etc/passwd", "../presets/hold.toml", "x" * 9000, ""])
def test_a_name_that_is_none_is_one_line_and_changes_nothing(name, capsys):
    stage = Stage(session(), [*growing(3.0), asked(1.0, name), asked(1.5, name)])
    outputs = stage.run()
    assert not outputs.turns
    assert stage.player.counts()["unknown"] == 2
    (line,) = capsys.readouterr().err.splitlines()
    shown = repr(name[:40])
    assert f"another preset: no preset is called {shown}; there are: chromatic," in line
    assert line.endswith("the run plays on as before")


def test_a_preset_of_a_file_may_be_asked_for_only_if_the_run_started_with_it():
    own = replace(load("hold"), name="mine")
    presets = Presets(own, Rig())
    for name in ("mine", "hold"):
        presets.ask(name)
    assert presets.unknown == 0
    presets.ask("other")
    assert presets.unknown == 1


def test_limits_of_faults_and_voices_of_values_stay_as_they_were_asked_for():
    start = load("pentatonic", {"faults.spike": 30, "values.which": ["loss"]})
    high = [(t, replace(f, extra={"loss": 2.0})) for t, f in growing()[1:-1]]
    jump = replace(high[80][1], norms=row([320.0, 640.0]))
    high[80] = (high[80][0], jump)
    outputs = Stage(session(start), [(0.0, HEADER), *high, asked(4.0, "hold"), STOP]).run()
    assert "spike" not in {alarm.kind for _, alarm in outputs.of(Alarm)}
    ((_, before),) = outputs.turns
    assert 2 in {on.voice for _, on in outputs.heard[before:] if isinstance(on, On)}
    begins = [call for call in outputs.calls if call[0] == "begin"]
    assert [call[2] for call in begins] == [["fc1", "fc2", "loss"]] * 2


def test_what_was_wrong_is_not_reported_again_and_what_goes_wrong_later_is():
    script = growing()
    for at, item in script[20:]:
        if isinstance(item, Frame):
            norms = [math.nan, 3200.0 if item.step == 90 else 32.0]
            script[script.index((at, item))] = (at, replace(item, norms=row(norms)))
    outputs = Stage(session(), [*script, asked(4.0, "hold")]).run()
    kinds = [(alarm.kind, alarm.layer) for _, alarm in outputs.of(Alarm)]
    assert kinds.count(("nan", "fc1")) == 1
    assert ("spike", "fc2") in kinds
    assert not outputs.hanging


def test_other_voices_are_told_and_what_is_muted_stays_muted_by_name():
    header = Header(tuple(Layer(f"block.{n}.fc", 10) for n in range(12)))
    times = np.arange(0.05, 12.0, 0.09).tolist()
    script = [(0.0, header)]
    script += [(t, Frame(n, t, row([1.0] * 12))) for n, t in enumerate(times, 1)]
    stage = Stage(session(), [*script, asked(4.0, "drums"), asked(8.0, "hold"), STOP])
    mute = [(1.0, {"do": "mute", "voice": 3})]
    stage.script = sorted([*stage.script, *mute], key=lambda each: each[0])
    outputs = stage.run()
    voices = [each["voices"] for each in stage.said if "voices" in each]
    assert [len(each) for each in voices] == [12, 8, 12]
    (_, first), (_, second) = outputs.turns
    assert len({voice for voice, _ in keys(outputs.heard[first:second])}) >= 6
    assert not outputs.hanging


def test_before_a_line_is_live_the_preset_changes_at_once():
    past = [(0.0, item) for _, item in growing(5.0)[:-1]]
    later = [(t, replace(f, step=f.step + 100, t=f.t + 6.0)) for t, f in growing(9.0)[2:-1]]
    later = [(1.0 + t, f) for t, f in later]
    script = [*past, asked(0.5, "hold"), (0.9, {"do": "live"}), *later, STOP]
    outputs = Stage(session(history=True), script).run()
    assert outputs.turns[0][1] == 0
    part = load("hold").parts(2)
    up = {(voice, part[voice].notes[part[voice].home + 4]) for voice in (0, 1)}
    assert keys(outputs.heard) == up
    assert not outputs.hanging


@pytest.mark.parametrize("name", ["orchestra", "drums", "hold"])
@pytest.mark.parametrize("paced", [False, True])
def test_with_a_midi_clock_tempo_and_beat_stay(name, paced):
    script = at_once(growing()) if paced else growing()
    rig = Rig(ports=("synth",), clock=True)
    stage = Stage(session(rig=rig, paced=paced), [*script, asked(5.0, name)])
    outputs = stage.run()
    starts = [at for at, message in outputs.ticks if message == (0xFA,)]
    ticks = [at for at, message in outputs.ticks if message == (0xF8,)]
    assert len(starts) == 1
    assert np.diff(ticks) == pytest.approx(60.0 / (120.0 * 24.0), abs=1e-3)
    ((_, before),) = outputs.turns
    begin = starts[0] + 60.0 / (120.0 * 24.0) / 2
    slot = stage.player.session.preset.time.slot_ticks(2) / 960.0
    first = {at for at, on in outputs.heard[before:] if isinstance(on, Step)}
    assert first
    for at in first:
        assert math.remainder(at - begin, slot) == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize("name", ["orchestra", "drums"])
def test_with_link_the_slots_stay_on_the_beats_of_the_session(name):
    def timeline(clock):
        return LinkTimeline(120.0, 4.0, Beats(clock, [], 120.0, 0.0), clock)

    stage = Stage(session(rig=Rig(link=True)), [*growing(), asked(5.0, name)], timeline=timeline)
    outputs = stage.run()
    ((_, before),) = outputs.turns
    slot = stage.player.session.preset.time.slot_ticks(2) / 960.0
    first = {at for at, on in outputs.heard[before:] if isinstance(on, Step)}
    assert len(first) > 2
    for at in first:
        assert math.remainder(at, slot) == pytest.approx(0.0, abs=4e-3)
    assert stage.player.session.preset.time.tempo == 120.0


@pytest.mark.slow
def test_a_desk_changes_the_preset_of_a_running_player_which_says_so(tmp_path):
    run = write_log(tmp_path / "a", [[1.0, 2.0, 3.0, 4.0]] * 400)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        place = probe.getsockname()[1]
    words = ["play", run, "--plain", "--osc-in", place, "--take", tmp_path / "take.mid"]

    def send(name):
        builder = OscMessageBuilder("/gradmidi/preset")
        builder.add_arg(name)
        desk.sendto(builder.build().dgram, ("127.0.0.1", place))

    desk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with Receiver() as receiver, desk:
        argv = [sys.executable, "-m", "gradmidi", *map(str, words), "--osc", receiver.target]
        player = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        try:
            until(lambda: receiver.step > 10, "ten steps")
            send("../../hold.toml")
            send("orchestra")
            until(lambda: len(receiver.of("/gradmidi/start")) == 2, "the start of the other one")
            until(lambda: len(receiver.of("/gradmidi/voice")) == 8, "its voices")
            began = len(receiver.messages)
            until(lambda: receiver.step > 40, "more steps")
        finally:
            player.terminate()
            error = player.communicate(timeout=30)[1]
        assert [each[0] for each in receiver.of("/gradmidi/preset")][:2] == [
            "pentatonic",
            "orchestra",
        ]
        assert len(receiver.of("/gradmidi/stop")) == 1
        assert not receiver.sounding
        pitches = {
            each[1] for _, address, each in receiver.messages[began:] if address.endswith("note")
        }
    homes = set(load("orchestra").home_notes(4))
    assert pitches == homes
    assert error.count("no preset is called '../../hold.toml'") == 1
    assert error.splitlines().count("the preset is orchestra from here on") == 1
    assert "live: 1 preset was asked for and not found" in error
    assert "Traceback" not in error
    first, second = (mido.MidiFile(tmp_path / name) for name in ("take.mid", "take-2.mid"))
    assert len(_notes(first)) > 8
    assert {message.note for message in _notes(first)} == set(load("pentatonic").home_notes(4))
    assert {message.note for message in _notes(second) if message.channel != 9} == homes


def _notes(file):
    return [m for track in file.tracks for m in track if m.type == "note_on" and m.velocity]
