"""The guard: ends a process that is stuck, leaves one that stood still, and ends what is left."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from dataclasses import asdict

import pytest
from listening import Receiver, until

from gradmidi.errors import PortError
from gradmidi.midi.rig import Rig
from gradmidi.player.guard import MOMENT_SECONDS, is_stopped, silence

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows stops no process")

ALLOWED_SECONDS = 0.5

WATCHED = f"""
    import ctypes, signal, time
    from gradmidi.player.guard import Guard

    # PyDLL keeps the interpreter while it calls: what a native call does that never returns.
    signal.signal(signal.SIGUSR1, lambda *_: ctypes.PyDLL(None).sleep(1000))
    guard = Guard({{}})
    print(guard.pid, flush=True)
    for _ in range(400):
        guard.allow({ALLOWED_SECONDS})
        print("alive", flush=True)
        time.sleep(0.05)
"""


@pytest.fixture
def watched():
    """A process that gives signs of life, and the pid of what watches it."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WATCHED)], stdout=subprocess.PIPE, text=True
    )
    try:
        process.watcher = int(process.stdout.readline())
        assert process.stdout.readline() == "alive\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextlib.contextmanager
def stopped(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def goes_on(process):
    """Let it live for far longer than it may be quiet."""
    for _ in range(round(3 * ALLOWED_SECONDS / MOMENT_SECONDS)):
        assert process.stdout.readline() == "alive\n"
    assert process.poll() is None


@pytest.mark.slow
def test_a_process_that_gives_signs_of_life_is_left_alone(watched):
    goes_on(watched)


@pytest.mark.slow
def test_a_process_that_is_stuck_is_ended_though_no_thread_of_it_can_act(watched):
    watched.send_signal(signal.SIGUSR1)
    until(lambda: watched.poll() is not None, "the end of what is stuck")
    assert watched.returncode == -signal.SIGKILL
    until(lambda: not is_there(watched.watcher), "the end of what watched")


@pytest.mark.slow
@pytest.mark.parametrize("both", [False, True])
def test_a_process_that_was_stopped_goes_on_when_it_is_continued(watched, both):
    with stopped(*[watched.watcher] * both, watched.pid):
        until(lambda: is_stopped(watched.pid), "it to stand still")
        time.sleep(4 * ALLOWED_SECONDS)
    goes_on(watched)


@pytest.mark.slow
def test_what_watches_ends_with_what_it_watches(watched):
    watched.kill()
    until(lambda: not is_there(watched.watcher), "the end of what watched")


# -- the notes that a player leaves ------------------------------------------------------------

CHANNEL_1 = [(0xB0, 64, 0), (0xB0, 120, 0), (0xB0, 123, 0)]
FAULTS = [(0xB9, 64, 0), (0xB9, 120, 0), (0xB9, 123, 0)]
STOP = (0xFC,)


class Wire:
    """A port that keeps what it is sent."""

    def __init__(self):
        self.messages = []
        self.closed = False

    def send(self, message):
        self.messages.append(message)

    def close(self):
        self.closed = True


@pytest.mark.parametrize(("clock", "stopped"), [(False, None), (True, "synth"), ("drums", "drums")])
def test_every_note_and_channel_that_the_voices_have_is_ended(monkeypatch, clock, stopped):
    wires = defaultdict(Wire)
    monkeypatch.setattr("gradmidi.midi.ports.open_output", wires.__getitem__)
    rig = asdict(Rig(ports=("synth",), clock=clock))
    assert silence(rig, (), 1, [(0, 60, 60.0), (-1, 67, 94.0)]) == []
    offs = [(0x80, 60, 64), (0x89, 67, 64)]
    expected = {"synth": [*offs, *CHANNEL_1, *FAULTS]}
    if stopped:
        expected.setdefault(stopped, []).append(STOP)
    assert {name: wire.messages for name, wire in wires.items()} == expected
    assert all(wire.closed for wire in wires.values())


def test_the_controllers_of_a_rig_return_to_zero_on_every_port_of_a_mirror(monkeypatch):
    wires = defaultdict(Wire)
    monkeypatch.setattr("gradmidi.midi.ports.open_output", wires.__getitem__)
    cc = {"level": 20, "loss": 21, "fault": 23}
    rig = Rig(ports=("a", "b"), faults="off", cc=cc, mirror=True)
    assert silence(json.loads(json.dumps(asdict(rig))), (), 1, [(0, 60, 60.0)]) == []
    values = [(0xBF, 21, 0), (0xBF, 23, 0)]
    expected = [(0x80, 60, 64), *CHANNEL_1, (0xB0, 20, 0), *values]
    assert {name: wire.messages for name, wire in wires.items()} == dict.fromkeys("ab", expected)


def test_what_cannot_be_silenced_is_reported(monkeypatch):
    def refuse(name):
        raise PortError(f"no MIDI output matches {name!r}")

    monkeypatch.setattr("gradmidi.midi.ports.open_output", refuse)
    own, other = silence(asdict(Rig(ports=("virtual:ours", "synth"))), (), 20)
    assert own.startswith("virtual:ours ended with the player")
    assert other == (
        "notes may still sound at 'synth': no MIDI output matches 'synth'; run: gradmidi panic"
    )


def test_osc_receivers_get_the_end_of_every_note_and_then_stop():
    with Receiver() as receiver:
        silence(asdict(Rig()), (receiver.target,), 2, [(0, 60, 60.25), (-1, 67, 94.0)])
        until(lambda: receiver.of("/gradmidi/stop"), "stop")
        assert receiver.of("/gradmidi/note") == [[0, 60.25, 0.0, 0, 0.0]]
