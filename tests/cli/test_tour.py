"""The command `tour`, and the timelines of `--legend` and `check`."""

import os
import shutil
import signal
import socket
import subprocess
import sys

import mido
import numpy as np
import pytest
import soundfile
from logs import write_log
from typer.testing import CliRunner

from gradmidi.cli.app import app
from gradmidi.music.lesson import tour
from gradmidi.music.preset import load
from gradmidi.sound.speech import PROGRAM, SpokenFile, speech
from gradmidi.text.words import timeline

PRESET = load("pentatonic")
RATE = 44100


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def lines(preset=PRESET, begin=0.0):
    return [timeline(begin + cue.tick * cue.seconds, cue.text) for cue in tour(preset)]


def test_a_tour_is_written_as_text_notes_and_sound_with_the_same_times(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    paths = [tmp_path / f"tour{ending}" for ending in (".txt", ".mid", ".wav")]
    done = invoke("tour", *(word for path in paths for word in ("-o", path)))
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [str(path) for path in paths]
    # A sound file begins half a second later than notes do.
    assert paths[0].read_text().splitlines() == lines(begin=0.5)
    file = mido.MidiFile(paths[1])
    tick, markers = 0, []
    for message in file.tracks[0]:
        tick += message.time
        if message.type == "marker":
            markers.append(timeline(tick / 960, message.text))
    assert markers == lines()
    sound, rate = soundfile.read(paths[2])
    cues = list(tour(PRESET))
    assert len(sound) / rate == pytest.approx(1.0 + cues[-1].events[-1].tick / 960, abs=0.1)
    # Without the program that speaks, there is silence where a text is spoken.
    assert np.abs(sound[: int(5.4 * rate)]).max() == 0.0
    assert np.abs(sound[int(6.5 * rate) : int(7.5 * rate)]).max() > 0.05


@pytest.mark.receivers
@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"{PROGRAM} is not installed")
def test_the_names_are_spoken_where_espeak_is_installed(tmp_path):
    done = invoke("tour", "-o", tmp_path / "tour.wav")
    assert done.exit_code == 0, done.output
    sound, rate = soundfile.read(tmp_path / "tour.wav")
    for cue in tour(PRESET):
        begin = int((0.5 + cue.tick * cue.seconds) * rate)
        spoken = sound[begin : begin + int(0.8 * rate)]
        assert np.sqrt((spoken**2).mean()) > 0.01, cue.text
    long = speech("one two three four five six seven eight nine ten eleven twelve", 1.0)
    assert len(long) <= RATE


def test_speech_is_added_to_the_sound_at_its_place(tmp_path):
    from gradmidi.music.events import End

    words = np.full(1000, 0.25, np.float32)
    sink = SpokenFile(tmp_path / "a.wav", PRESET, 4, spoken=[(0.5, words), (0.51, words)])
    sink.send([End(960, 0, 0.0)])
    sink.close()
    sound, rate = soundfile.read(tmp_path / "a.wav")
    assert (len(sound), rate) == (2 * RATE, RATE)
    sound = sound[RATE // 2 : -RATE // 2]
    heard = np.flatnonzero(np.abs(sound[:, 0]) > 0.1)
    assert (heard[0], heard[-1]) == (22050, 22491 + 999)
    assert sound[22600, 0] == pytest.approx(0.5, abs=1e-3)


def test_the_preset_in_use_is_toured_and_the_text_is_printed(tmp_path):
    done = invoke("tour", "-o", tmp_path / "a.mid", "--preset", "drums", "--set", "time.tempo=90")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == lines(load("drums", {"time.tempo": 90}))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "nothing to play to; give -o FILE, --audio, --midi PORT or --osc HOST:PORT"),
        (["-o", "tour.html"], "tour.html may end in: .wav .flac .ogg .mp3 .mid .txt"),
    ],
)
def test_wrong_usage_is_refused(words, error):
    done = invoke("tour", *words)
    assert done.exit_code == 2
    assert error in " ".join(done.output.split())


@pytest.mark.slow
def test_a_live_tour_prints_each_text_when_it_comes_and_ends_its_notes_at_sigterm():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(30.0)
        process = subprocess.Popen(
            [sys.executable, "-m", "gradmidi", "tour", "--osc", str(ear.getsockname()[1])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            addresses = [ear.recv(2048).split(b"\0")[0] for _ in range(6)]
            assert process.stdout.readline().decode().strip() == lines()[0]
            while b"/gradmidi/note" not in addresses:
                addresses.append(ear.recv(2048).split(b"\0")[0])
            process.send_signal(signal.SIGTERM)
            assert process.wait(20.0) != 0
            while addresses[-1] != b"/gradmidi/stop":
                addresses.append(ear.recv(2048).split(b"\0")[0])
        finally:
            process.kill()
            process.communicate()
    assert addresses[:7] == [
        b"/gradmidi/start",
        b"/gradmidi/preset",
        *[b"/gradmidi/voice"] * 5,
    ]
    assert addresses.count(b"/gradmidi/note") % 2 == 0


def test_a_folder_that_is_missing_is_an_error_in_one_line(tmp_path):
    for ending in (".wav", ".mid", ".txt"):
        done = invoke("tour", "-o", tmp_path / "no" / f"a{ending}")
        assert done.exit_code == 1
        assert f"a{ending} could not be written: No such file" in str(done.exception)


def test_render_prints_the_timeline_of_its_legend(tmp_path):
    run = write_log(tmp_path / "a", [[1.0] * 4] * 3)
    done = invoke("render", run, "-o", tmp_path / "a.mid", "--legend")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[:4] == [
        "0.0 s: voice 1, conv1: home, A3",
        "0.5 s: voice 1, conv1: one doubling up, C4",
        "1.0 s: voice 1, conv1: three doublings up, E4",
        "2.0 s: voice 2, conv2: home, E4",
    ]
    assert len(done.stderr.splitlines()) == 12
    for given in (["-o", tmp_path / "a.wav"], ["--stems", tmp_path / "stems"]):
        done = invoke("render", run, *given, "--legend")
        assert done.stderr.splitlines()[0] == "0.5 s: voice 1, conv1: home, A3"
