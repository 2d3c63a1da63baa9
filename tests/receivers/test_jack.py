"""MIDI ports against JACK, jack_midi_dump and FluidSynth: nothing here is ours but the sender."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import mido
import numpy as np
import pytest
import soundfile
from logs import write_log
from studio import Program, dumped, midi_dump, needs_live_midi, recording, sounding, wait_until

from gradmidi.errors import PortError
from gradmidi.log import Layer
from gradmidi.midi import ports
from gradmidi.midi.rig import Rig
from gradmidi.music.composer import Composer
from gradmidi.music.events import FAULT_VOICE, Off, On
from gradmidi.music.preset import load
from gradmidi.music.slots import Slot
from gradmidi.music.voices import Voice
from gradmidi.sinks.midiport import MidiPort

needs_live_midi()

pytestmark = pytest.mark.receivers

PENTATONIC = load("pentatonic")


def voices(count):
    return tuple(Voice(i, f"layer{i}", (i,)) for i in range(count))


class Tape:
    """A port that keeps what it is sent."""

    name = "tape"

    def __init__(self):
        self.messages = []

    def send(self, message):
        self.messages.append(tuple(message))

    def close(self):
        pass


def run_of(count, slots):
    """Compose slots of norms that wander, as a run's do."""
    names = voices(count)
    composer = Composer(PENTATONIC, [Layer(v.name, 1) for v in names], names)
    norms = np.random.default_rng(1)
    walk = np.exp(np.cumsum(norms.normal(0.0, 0.4, (slots, count)), axis=0))
    for index, row in enumerate(walk):
        composer.observe(row)
        yield composer.slot(Slot(index, index + 1, 0.1 * index, row))


def test_every_message_arrives_at_another_program_in_order(jack, dump):
    program = dump("counting")
    slots = list(run_of(15, 200))
    tape = Tape()
    rig = Rig(ports=("counting",))
    copy = MidiPort(rig, PENTATONIC, voices(15), connect=lambda name: tape)
    sink = MidiPort(rig, PENTATONIC, voices(15))
    for events in slots:
        sink.send(events)
        copy.send(events)
        time.sleep(0.005)
    sink.send([On(0, FAULT_VOICE, 37, 100, 37.0)])
    copy.send([On(0, FAULT_VOICE, 37, 100, 37.0)])
    sink.close()
    copy.close()
    assert len(tape.messages) > 6000
    wait_until(lambda: len(dumped(program)) >= len(tape.messages), "all messages")
    assert dumped(program) == tape.messages
    assert sink.counters.sent == len(tape.messages)
    assert sink.counters.dropped == sink.counters.errors == 0


def test_fluidsynth_sounds_while_notes_are_held_and_is_silent_once_they_are_ended(
    jack, synth, tmp_path
):
    organ = load("orchestra")
    held = [On(0, voice, 60 + 4 * voice, 100, 60.0) for voice in range(4)]
    path = tmp_path / "out.wav"
    with recording(jack, 4, path, "fs:left", "fs:right"):
        sink = MidiPort(Rig(ports=("fs:midi",), programs=True), organ, voices(4))
        sink.send(held)
        # A note that nobody ends: closing has to.
        time.sleep(1.5)
        sink.close()
    sound, rate = soundfile.read(path)
    level = np.abs(sound).max(axis=1)
    assert level[rate:].max() > 0.01
    assert level[-rate // 4 :].max() == 0.0
    assert len(synth.wait_for("event_post_noteon")) == 4
    assert len(synth.wait_for("event_post_noteoff", 4)) == 4
    assert len(synth.wait_for("event_post_prog")) == 4


def test_a_run_leaves_as_many_offs_as_ons_at_fluidsynth(jack, synth):
    sink = MidiPort(Rig(ports=("fs:midi_00",)), PENTATONIC, voices(6))
    ons = 0
    for events in run_of(6, 60):
        ons += sum(isinstance(event, On) for event in events)
        # The offs of every third voice never come.
        sink.send([e for e in events if not (isinstance(e, Off) and e.voice % 3 == 0)])
        time.sleep(0.002)
    sink.close()
    synth.wait_for("event_post_noteon", ons)
    synth.wait_for("event_post_noteoff", ons)
    sounding = set()
    for line in synth.lines:
        word, *numbers = line.split() or [""]
        if word == "event_post_noteon":
            sounding.add((numbers[0], numbers[1]))
        if word == "event_post_noteoff":
            sounding.discard((numbers[0], numbers[1]))
    assert sounding == set()
    assert len([line for line in synth.lines if "post_noteon" in line]) == ons


def test_a_port_of_our_own_is_there_for_others_to_connect_to(jack, dump):
    program = dump("other")
    output = ports.open_output("virtual:mine")
    try:
        assert "gradmidi:mine" in jack.ports()
        jack.connect("gradmidi:mine", "other:input")
        output.send((0x90, 60, 80))
        program.wait_for("90 3c 50")
    finally:
        output.close()
    assert "gradmidi:mine" not in jack.ports()


def test_ports_are_listed_and_found_by_a_part(jack, dump):
    dump("finding one")
    dump("finding two")
    assert {"finding one:input", "finding two:input"} <= set(ports.names())
    output = ports.open_output("ONE")
    output.close()
    assert output.name == "finding one:input"
    with pytest.raises(PortError, match=r"'finding' matches 2 MIDI outputs: 'finding one:input'"):
        ports.open_output("finding")
    with pytest.raises(PortError, match=r"no MIDI output matches 'Volca'; there are: .*'finding"):
        ports.open_output("Volca")


def test_a_message_after_close_is_refused_and_crashes_nothing(jack, dump):
    dump("closed")
    output = ports.open_output("closed")
    output.close()
    output.close()
    for _ in range(3):
        with pytest.raises(PortError, match="'closed:input' is closed"):
            output.send((0x90, 60, 80))


def test_panic_silences_what_someone_else_left_sounding(jack, synth):
    output = ports.open_output("fs:midi")
    for channel in range(16):
        output.send((0x90 | channel, 60, 100))
    synth.wait_for("event_post_noteon", 16)
    ports.panic(output)
    output.close()
    for channel in range(16):
        synth.wait_for(f"event_post_cc {channel} 123 0")
        synth.wait_for(f"event_post_noteoff {channel} 60 ")
    assert len(synth.wait_for("event_post_noteoff", 2048)) == 2048


@pytest.mark.slow
def test_the_commands_list_check_and_silence(jack, dump):
    program = dump("desk")
    listed = gradmidi("ports")
    assert "desk:input" in listed.stdout.splitlines()
    checked = gradmidi("check", "desk", "--voices", "2", "--channels", "3,5")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.splitlines()[:7] == [
        "voice 1: channel 3, layer 1",
        "voice 2: channel 5, layer 2",
        "faults: channel 10",
        "0.0 s: voice 1, layer 1: home, A3",
        "0.5 s: voice 1, layer 1: one doubling up, C4",
        "1.0 s: voice 2, layer 2: home, E5",
        "1.5 s: voice 2, layer 2: one doubling up, G5",
    ]
    assert checked.stderr == ""
    notes = [message for message in dumped(program) if message[0] & 0xF0 == 0x90]
    assert [message[:2] for message in notes[:4]] == [
        (0x92, 57),
        (0x92, 60),
        (0x94, 76),
        (0x94, 79),
    ]
    silenced = gradmidi("panic", "desk")
    assert silenced.stdout == "desk:input: silent\n"
    program.wait_for("8f 7f 40")
    wrong = gradmidi("panic", "Volca")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("gradmidi: no MIDI output matches 'Volca'; there are: ")
    assert wrong.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("library", ["rtmidi", "rtmidi2"])
def test_a_device_that_is_unplugged_is_played_again_when_it_is_back(own_jack, tmp_path, library):
    """`jack_midi_dump` is the device: JACK forgets the connection when it ends."""
    pytest.importorskip(library)
    script = f"""
        import sys, time
        sys.modules["rtmidi"] = None if {library!r} == "rtmidi2" else __import__("rtmidi")
        from gradmidi.midi import ports
        output = ports.open_output("device")
        for line in sys.stdin:
            output.look()
            output.send((0x90, int(line), 80))
            print(output.gone, flush=True)
        output.close()
    """

    def play(key):
        player.stdin.write(f"{key}\n")
        player.stdin.flush()
        return player.stdout.readline().strip()

    with midi_dump(own_jack, "device", tmp_path / "first.txt") as device:
        player = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)],
            env={**os.environ, **own_jack.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            # JACK connects a port at its next cycle; what is sent before is lost.
            wait_until(lambda: play(60) == "False" and (0x90, 60, 80) in dumped(device), "a note")
        except BaseException:
            player.kill()
            raise
    try:
        wait_until(lambda: play(61) == "True", "the end of the device")
        with midi_dump(own_jack, "device", tmp_path / "second.txt") as device:
            wait_until(
                lambda: play(62) == "False" and (0x90, 62, 80) in dumped(device),
                "a note after the return",
            )
            player.stdin.close()
            assert player.wait(20) == 0
    finally:
        player.kill()
        player.stdout.close()
        player.wait(20)


RTMIDI2 = """
import sys, time
sys.modules["rtmidi"] = None
from gradmidi.midi import ports
output = ports.open_output("second")
virtual = ports.open_output("virtual:own")
print(ports.names(), virtual.name, flush=True)
time.sleep(0.1)
output.send((0x90, 60, 80))
output.send((0xD0, 5))
output.send((0x80, 60, 64))
input()
began = time.monotonic()
try:
    for _ in range(5000):
        output.send((0x90, 60, 80))
except ports.PortError as error:
    print(error)
print(time.monotonic() - began < 5.0)
virtual.close()
output.close()
"""
"""Plays through rtmidi2, and goes on playing when the server has ended."""


@pytest.mark.slow
def test_rtmidi2_plays_beside_this_server_and_notices_its_end(own_jack, tmp_path):
    pytest.importorskip("rtmidi2", reason="rtmidi2 is not installed")
    with midi_dump(own_jack, "second", tmp_path / "second.txt") as program:
        player = subprocess.Popen(
            [sys.executable, "-c", RTMIDI2],
            env={**os.environ, **own_jack.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: len(dumped(program)) == 3, "three messages")
            assert dumped(program) == [(0x90, 60, 80), (0xD0, 5), (0x80, 60, 64)]
            assert [port for port in own_jack.ports() if port.endswith(":own")]
            own_jack.stop()
            out = player.communicate("\n", timeout=30)[0]
        finally:
            player.kill()
    first, *rest = out.splitlines()
    assert "'second:input'" in first
    assert first.endswith("gradmidi:own")
    assert rest == ["MIDI output 'second:input' is closed: the JACK server has ended", "True"]
    assert player.returncode == 0


@pytest.mark.slow
def test_controllers_without_notes_arrive_as_the_take_and_the_file_have_them(jack, dump, tmp_path):
    program = dump("modular")
    rows = [[2.0 ** (i % 5), 1.0] for i in range(12)]
    run = write_log(tmp_path / "a", rows, names=("a", "b"))
    rig, take, file = tmp_path / "rig.toml", tmp_path / "take.mid", tmp_path / "file.mid"
    rig.write_text("notes = false\ncc = {level = 20, loss = 21}\ncc_fine = ['loss']\n")
    words = ("--rig", rig, "--set", "faults.sound=false")
    played = gradmidi("play", run, "--midi", "modular", "--take", take, *words)
    assert played.returncode == 0, played.stderr
    rendered = gradmidi("render", run, "-o", file, *words)
    assert rendered.returncode == 0, rendered.stderr
    wanted = [
        (0xB0 | m.channel, m.control, m.value)
        for m in mido.MidiFile(file)
        if m.type == "control_change" and m.control != 10
    ]
    assert {message[:2] for message in wanted} == {(0xB0, 20), (0xB1, 20), (0xBF, 21), (0xBF, 53)}
    assert [m.bytes() for m in mido.MidiFile(take)] == [m.bytes() for m in mido.MidiFile(file)]
    heard = [message for message in dumped(program) if message[0] != 0xFE]
    # At the end, what was moved returns to 0 once more, when the port is closed.
    assert heard[: len(wanted)] == wanted
    assert all(message[2] == 0 for message in heard[len(wanted) :])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGINT])
def test_a_check_that_is_ended_in_a_note_ends_that_note(jack, dump, how):
    heard = dump("checked")
    argv = [sys.executable, "-m", "gradmidi", "check", "checked", "--voices", "1"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: sounding(dumped(heard)), "a note of the check")
        process.send_signal(how)
        _, err = process.communicate(timeout=30)
        wait_until(lambda: not sounding(dumped(heard)), "the note's end")
    finally:
        process.kill()
        process.communicate()
    assert b"Traceback" not in err
    if how != signal.SIGINT:
        assert process.returncode == -how


def gradmidi(*arguments, env=None):
    return subprocess.run(
        [sys.executable, "-m", "gradmidi", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
        check=False,
    )


def test_without_a_jack_server_the_error_is_one_line_and_no_library_writes_beside_it():
    found = gradmidi("ports", env={"JACK_DEFAULT_SERVER": "none", "JACK_NO_START_SERVER": "1"})
    if found.returncode == 0:
        pytest.skip("this machine has another MIDI system")
    assert found.returncode == 1
    assert found.stdout == ""
    (line,) = found.stderr.splitlines()
    assert line.startswith("gradmidi: no MIDI system answers (tried: ")


# -- the other end dies ---------------------------------------------------------------------------

PLAYING = """
    import sys, time
    from gradmidi.music.events import Off, On
    from gradmidi.music.preset import load
    from gradmidi.midi.rig import Rig
    from gradmidi.sinks.midiport import MidiPort
    from gradmidi.music.voices import Voice

    sink = MidiPort(Rig(ports=(sys.argv[1],)), load("pentatonic"), [Voice(0, "a", (0,))])
    sink.send([On(0, 0, 30, 80, 30.0)])
    print("playing", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            sink.send([On(0, 0, 60, 80, 60.0), Off(0, 0, 60)])
        print("errors", sink.counters.errors, flush=True)
    sink.close()
    print("closed", flush=True)
"""


def playing(jack, port, tmp_path):
    script = tmp_path / "playing.py"
    script.write_text(textwrap.dedent(PLAYING))
    return Program([sys.executable, str(script), port], tmp_path / "playing.txt", jack.env)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_jack_server_that_dies_stops_no_sender(own_jack, tmp_path, how):
    program = playing(own_jack, "virtual:mine", tmp_path)
    try:
        program.wait_for("^playing")
        program.write("10\n")
        assert program.wait_for("^errors") == ["errors 0"]
        own_jack.stop(how)
        # As many as would never return if they were sent.
        program.write("3000\n")
        *_, last = program.wait_for("^errors", 2)
        assert int(last.split()[1]) > 5900
        program.process.stdin.close()
        program.wait_for("^closed")
        assert program.process.wait(10) == 0
        told = [line for line in program.lines if line.startswith("gradmidi: ")]
        assert len(told) == 2
        assert "is closed: the JACK server has ended; everything else continues" in told[0]
        assert "1 note may still sound" in told[1]
    finally:
        program.stop()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_receiver_that_dies_stops_no_sender_and_another_hears_the_rest(own_jack, tmp_path, how):
    with midi_dump(own_jack, "first", tmp_path / "first.txt") as first:
        program = playing(own_jack, "virtual:mine", tmp_path)
        try:
            program.wait_for("^playing")
            own_jack.connect("gradmidi:mine", "first:input")
            program.write("10\n")
            first.wait_for("90 3c 50")
            first.stop(how)
            program.write("100\n")
            program.wait_for("^errors 0", 2)
            with midi_dump(own_jack, "second", tmp_path / "second.txt") as second:
                own_jack.connect("gradmidi:mine", "second:input")
                program.write("5\n")
                second.wait_for("90 3c 50")
                program.process.stdin.close()
                second.wait_for("80 1e 40")
            program.wait_for("^closed")
        finally:
            program.stop()
