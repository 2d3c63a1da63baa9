"""What the sound card is given, recorded at the other side by a program of another author."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from studio import PATIENCE_SECONDS, needs, running, wait_until

import gradmidi
from gradmidi.music.preset import load

pytestmark = [pytest.mark.receivers, pytest.mark.slow]

RATE = 44100


@pytest.fixture
def pulse(tmp_path):
    """A PulseAudio server of our own with a sink that plays nowhere; its environment."""
    needs("pulseaudio", "pactl", "parec")
    # In a process of its own: PortAudio aborts the one it is in once a JACK server has gone.
    if called(sys.executable, "-c", "import sounddevice", env={}).returncode:
        pytest.skip("sounddevice or PortAudio is not installed")
    path = tmp_path / "pulse.sock"
    env = {
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "PULSE_SERVER": f"unix:{path}",
        "JACK_NO_START_SERVER": "1",
    }
    argv = [
        *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"),
        *("-L", f"module-native-protocol-unix socket={path} auth-anonymous=1"),
        *("-L", f"module-null-sink sink_name=nowhere rate={RATE}"),
    ]
    with running(argv, tmp_path / "pulse.txt", env) as server:

        def answers():
            assert server.process.poll() is None, f"pulseaudio ended:\n{server.text}"
            return "nowhere" in called("pactl", "list", "short", "sinks", env=env).stdout

        wait_until(answers, "PulseAudio")
        yield env


def called(*argv, env):
    return subprocess.run(
        argv,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )


@contextlib.contextmanager
def recorded(path, env):
    """Record what the sink is given, while the block runs."""
    argv = ["parec", "-d", "nowhere.monitor", "--format=float32le", f"--rate={RATE}", str(path)]
    argv += ["--channels=2", "--latency-msec=50"]
    with running(argv, path.with_suffix(".txt"), env) as program:
        wait_until(lambda: path.exists() and path.stat().st_size, "the first sample")
        yield
        program.stop(signal.SIGINT)


def test_a_run_is_heard_at_its_pitch_and_then_there_is_silence(pulse, tmp_path):
    with gradmidi.record(tmp_path / "a", layers=["fc1"], files=()) as ears:
        for _ in range(40):
            ears.frame([2.0])
            time.sleep(0.05)
    path = tmp_path / "heard.raw"
    with recorded(path, pulse):
        argv = (sys.executable, "-m", "gradmidi", "play", str(tmp_path / "a"))
        played = called(*argv, "--card", "pulse", "--preset", "hold", "--plain", env=pulse)
        assert played.returncode == 0, played.stderr
        size = path.stat().st_size
        # Another second of what comes after the end.
        wait_until(lambda: path.stat().st_size > size + RATE * 8, "a second more")
    samples = np.fromfile(path, np.float32)
    sound = samples[: len(samples) // 2 * 2].reshape(-1, 2)
    loud = np.flatnonzero(np.abs(sound).max(axis=1) > 0.01)
    assert len(loud) > RATE // 2, "nothing was heard"
    assert not sound[-RATE // 2 :].any(), "it does not end in silence"
    # A norm that never moves sits at home.
    note = sound[loud[0] :][RATE // 4 : RATE].mean(axis=1)
    spectrum = np.abs(np.fft.rfft(note * np.hanning(len(note)), 8 * len(note)))
    home = 440.0 * 2.0 ** ((load("hold").home_notes(1)[0] - 69) / 12)
    assert np.argmax(spectrum) * RATE / (8 * len(note)) == pytest.approx(home, rel=0.01)
