"""OSC against programs of other authors: liblo's oscdump, SuperCollider, Pure Data, python-osc."""

import contextlib
import re
import shutil
import sys
import time

import numpy as np
import pytest
import soundfile
from studio import (
    RECEIVERS,
    free_port,
    needs,
    recording,
    running,
    sclang,
    wait_for_listener,
)

from gradmidi.midi.rig import Rig
from gradmidi.music.events import Alarm, End, Mark, Off, On, Step
from gradmidi.music.voices import Voice
from gradmidi.sinks.osc import Osc

pytestmark = pytest.mark.receivers

VOICES = (Voice(0, "conv1", (0,)), Voice(1, "fc1", (1, 2, 3)))


def play(port, slots=1, held=0.0, **options):
    """Send what has every address in it."""
    sink = Osc(f"127.0.0.1:{port}", Rig(), "digits", VOICES, 4, **options)
    for index in range(slots):
        sink.send([Step(0, 7 + index, 1.5, (0.5, 2.0), (0.25, 0.75), 2.25)])
        sink.send([On(0, 1, 60, 80, 60.25, 2.0)])
        time.sleep(held)
        sink.send([Off(0, 1, 60)])
    sink.send([Step(0, 500, 1.5, (0.5, 2.0), (0.25, 0.75), float("nan"))])
    fault = Alarm(0, "nan", "fc1", 31, float("nan"))
    sink.send([fault, Mark(0, "époque 2"), End(0, 200, 7.25)])
    sink.close()
    return sink.counters


@contextlib.contextmanager
def vanished(port):
    """Start a note, give a sign of life, and send nothing more within the block."""
    now = [0.0]
    sink = Osc(f"127.0.0.1:{port}", Rig(), "digits", VOICES, 4, clock=lambda: now[0])
    sink.send([On(0, 1, 60, 80, 60.25, 2.0)])
    now[0] = 1.0
    sink.keep_alive()
    try:
        yield
    finally:
        sink.close()


TYPES = {
    "start": "sii",
    "preset": "sff",
    "voice": "isii",
    "step": "if",
    "loss": "f",
    "norms": "ff",
    "level": "ff",
    "notfinite": "ss",
    "note": "iffif",
    "fault": "ssif",
    "mark": "s",
    "stop": "if",
}


@pytest.mark.parametrize("timetags", [None, 0.05])
def test_oscdump_sees_every_address_with_its_types_and_all_that_was_sent(tmp_path, timetags):
    needs("oscdump")
    port = free_port()
    with running(["oscdump", "-L", str(port)], tmp_path / "oscdump.txt") as program:
        wait_for_listener(port)
        counters = play(port, slots=200, timetags=timetags)
        program.wait_for("/gradmidi/stop")
        lines = program.wait_for("/gradmidi/", counters.sent)
    heard = [re.search(r"/gradmidi/(\w+) (\w+) (.*)", line).groups() for line in lines]
    assert {word: tags for word, tags, _ in heard} == TYPES
    assert len(heard) == counters.sent == 4 + 200 * 6 + 4 + 3
    assert [m for m in heard if m[0] != "note"][:7] == [
        ("start", "sii", '"digits" 2 4'),
        ("preset", "sff", '"pentatonic" 120.000000 0.125000'),
        ("voice", "isii", '0 "conv1" 1 1'),
        ("voice", "isii", '1 "fc1" 2 3'),
        ("step", "if", "7 1.500000"),
        ("loss", "f", "2.250000"),
        ("norms", "ff", "0.500000 2.000000"),
    ]
    assert [m[2] for m in heard[-3:]] == ['"nan" "fc1" 31 0.000000', '"epoque 2"', "200 7.250000"]
    assert "error" not in program.text


def test_a_receiver_that_goes_and_comes_back_hears_the_rest(tmp_path):
    needs("oscdump")
    port = free_port()
    sink = None
    try:
        for life in ("first", "second"):
            with running(["oscdump", "-L", str(port)], tmp_path / f"{life}.txt") as program:
                wait_for_listener(port)
                sink = sink or Osc(str(port), Rig(), "run", VOICES, 4)
                sink.send([Mark(0, life), Mark(0, life)])
                program.wait_for(f'/gradmidi/mark s "{life}"', 2)
            sink.send([Mark(0, "lost")])
            sink.send([Mark(0, "lost")])
            assert sink.counters.errors > 0
    finally:
        sink.close()


@pytest.mark.slow
def test_supercollider_prints_what_was_sent_and_plays_it(jack, tmp_path):
    path = tmp_path / "out.wav"
    with sclang(jack, tmp_path) as (program, port):
        with recording(jack, 4, path, "SuperCollider:out_1", "SuperCollider:out_2"):
            play(port, slots=4, held=0.2)
        program.wait_for("^stop 200 7.25")
        lines = [line.rstrip() for line in program.lines]
        with vanished(port):
            program.wait_for("^no sign of life: every note ended")
    for line in (
        "start digits 2 4",
        "voice 1 fc1 2 3",
        "step 7 1.5",
        "loss 2.25",
        "norms 0.5 2.0",
        "level 0.25 0.75",
        "notfinite loss nan",
        "note 1 60.25 0.0 80 2.0",
        "note 1 60.25 0.0 0 2.0",
        "fault nan fc1 31 0.0",
        "mark epoque 2",
    ):
        assert line in lines
    assert lines.count("note 1 60.25 0.0 80 2.0") == 4
    assert not [line for line in lines if "ERROR" in line or "FAILURE" in line]
    sound, rate = soundfile.read(path)
    assert np.abs(sound).max() > 0.01
    assert np.abs(sound[-rate // 4 :]).max() == 0.0
    # The second of two voices stands right, and its pitch is in what is heard.
    note = sound[np.argmax(np.abs(sound[:, 1]) > 0.01) :][: rate // 10]
    assert np.abs(note[:, 1]).max() > 2 * np.abs(note[:, 0]).max()
    spectrum = np.abs(np.fft.rfft(note[:, 1] * np.hanning(len(note)), 8 * len(note)))
    heard = np.argmax(spectrum) * rate / (8 * len(note))
    assert heard == pytest.approx(440 * 2 ** ((60.25 - 69) / 12), abs=rate / len(note) / 4)


def test_pure_data_prints_what_was_sent(tmp_path):
    needs("pd")
    port = free_port()
    for name in ("gradmidi.pd", "gradmidi-voice.pd"):
        shutil.copy(RECEIVERS / name, tmp_path)
    patch = tmp_path / "gradmidi.pd"
    assert "msg 30 50 listen 9000;" in patch.read_text()
    patch.write_text(patch.read_text().replace("listen 9000", f"listen {port}"))
    argv = ["pd", "-nogui", "-noaudio", "-nomidi", "-stderr", "-send", "pd dsp 1", str(patch)]
    with running(argv, tmp_path / "pd.txt", {"HOME": str(tmp_path)}) as program:
        wait_for_listener(port)
        play(port, slots=3, held=0.01)
        program.wait_for("^stop: 200 7.25")
        lines = list(program.lines)
        with vanished(port):
            program.wait_for("^no sign of life: bang")
    assert lines == [
        "start: digits 2 4",
        "voice: 0 conv1 1 1",
        "voice: 1 fc1 2 3",
        *[
            line.format(7 + index)
            for index in range(3)
            for line in (
                "step: {} 1.5",
                "loss: 2.25",
                "norms: 0.5 2",
                "level: 0.25 0.75",
                "note: 1 60.25 0 80 2",
                "note: 1 60.25 0 0 2",
            )
        ],
        "step: 500 1.5",
        "norms: 0.5 2",
        "level: 0.25 0.75",
        "notfinite: loss nan",
        "fault: nan fc1 31 0",
        "mark: epoque 2",
        "stop: 200 7.25",
    ]


def test_the_python_receiver_prints_what_was_sent(tmp_path):
    port = free_port()
    argv = [sys.executable, str(RECEIVERS / "receive.py"), str(port)]
    with running(argv, tmp_path / "receive.txt") as program:
        program.wait_for("listening on")
        play(port)
        program.wait_for("/gradmidi/stop")
    assert program.lines == [
        f"listening on {port}",
        "/gradmidi/start digits 2 4",
        "/gradmidi/preset pentatonic 120.0 0.125",
        "/gradmidi/voice 0 conv1 1 1",
        "/gradmidi/voice 1 fc1 2 3",
        "/gradmidi/step 7 1.5",
        "/gradmidi/loss 2.25",
        "/gradmidi/norms 0.5 2.0",
        "/gradmidi/level 0.25 0.75",
        "on  fc1 pitch 60.25 norm 2",
        "off fc1 pitch 60.25 norm 2",
        "/gradmidi/step 500 1.5",
        "/gradmidi/norms 0.5 2.0",
        "/gradmidi/level 0.25 0.75",
        "/gradmidi/notfinite loss nan",
        "/gradmidi/fault nan fc1 31 0.0",
        "/gradmidi/mark epoque 2",
        "/gradmidi/stop 200 7.25",
    ]
