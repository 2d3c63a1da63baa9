"""The parent's side of live output, with a real player and a real receiver."""

import io
import os
import signal
import sys
import time
from collections import defaultdict

import numpy as np
import orjson
import pytest
from listening import SOON_SECONDS, Receiver, until

import gradmidi
from gradmidi.errors import GradmidiError, PortError
from gradmidi.live.feed import Live, merge
from gradmidi.live.ledger import Ledger
from gradmidi.live.session import Session
from gradmidi.log import End, Frame, Header, Layer, row
from gradmidi.midi.rig import Rig
from gradmidi.music.events import Off, On
from gradmidi.music.preset import load
from gradmidi.player import rescue
from gradmidi.player.outputs import Outputs

HEADER = Header((Layer("fc1", 10), Layer("fc2", 20)))

stops = pytest.mark.skipif(sys.platform == "win32", reason="Windows stops no process")


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def live(receiver):
    said = []
    live = Live(Session(load("hold"), osc=(receiver.target,)), said.append)
    live.said = said
    try:
        live.name("a")
        live.send(HEADER)
        yield live
    finally:
        live.close(0.1)


def play(live, receiver, step=1):
    live.send(Frame(step, 0.1, row([1.0, 2.0])))
    until(lambda: receiver.sounding, "a note")


def test_of_frames_that_are_merged_the_largest_norms_stay_and_what_is_no_number_wins():
    older = Frame(1, 0.1, row([9.0, 1.0, None, float("nan"), float("inf")]), {"loss": 2.0})
    newer = Frame(2, 0.2, row([3.0, None, 0.5, 7.0, float("nan")]), {"lr": 0.1})
    both = merge(older, newer)
    np.testing.assert_equal(both.norms, row([9.0, 1.0, 0.5, float("nan"), float("nan")]))
    assert (both.step, both.t, both.extra) == (2, 0.2, {"loss": 2.0, "lr": 0.1})


@stops
def test_while_the_player_does_not_read_frames_are_merged_and_no_spike_is_lost(live, receiver):
    play(live, receiver)
    os.kill(live._process.pid, signal.SIGSTOP)
    try:
        for step in range(2, 30_002):
            norm = 4096.0 if step == 20_000 else 1.0
            live.send(Frame(step, 0.1 + step * 1e-5, row([norm, 2.0])))
        # Flat in memory: what waits in the end is one frame, and the part of a line.
        until(lambda: live.merged > 20_000 and live.backlog <= 2, "all to be merged")
    finally:
        os.kill(live._process.pid, signal.SIGCONT)
    until(lambda: any(norms[0] == 4096.0 for norms in receiver.of("/gradmidi/norms")), "the spike")
    live.send(End("closed", 1.0, 30_001))
    live.close()
    assert not receiver.sounding
    assert live.counts["merged"] == live.merged
    assert f"{live.merged} frames were merged into the next" in live.said[-1]


@stops
def test_a_player_that_is_stopped_is_ended_and_so_is_what_it_left_sounding(live, receiver):
    play(live, receiver)
    os.kill(live._process.pid, signal.SIGSTOP)
    began = time.monotonic()
    live.close(0.1)
    assert not live.alive
    assert receiver.silent(began) < SOON_SECONDS


def test_a_run_can_be_closed_twice_and_then_takes_nothing(live, receiver):
    play(live, receiver)
    live.close()
    live.close()
    live.send(Frame(2, 0.2, row([1.0, 2.0])))
    live.do("mute")
    assert not live.alive
    assert receiver.of("/gradmidi/stop")
    assert not receiver.sounding
    # Whoever it was fed by is gone without an end.
    assert receiver.of("/gradmidi/fault")[-1][0] == "died"


def test_it_tells_how_things_are_only_once_it_is_watched(live, receiver):
    play(live, receiver)
    assert live.status == {}
    live.watch()
    until(lambda: live.status.get("norms"), "a status")
    assert live.voices == ["fc1", "fc2"]
    assert live.status["norms"] == [1.0, 2.0]
    assert all(live.status["notes"])


@stops
def test_what_sounds_is_kept_in_no_file_with_a_name(live, receiver):
    play(live, receiver)
    assert live._ledger.sounding()
    assert not live._ledger.path.exists()


def test_a_key_let_go_of_and_struck_again_at_the_same_moment_is_known_to_sound():
    ledger = Ledger()
    outputs = Outputs(Session(load("hold"), ledger=str(ledger.path)), print)
    try:
        start, end = On(0, 1, 57, 80, pitch=57.0), Off(480, 1, 57)
        outputs.send([start])
        outputs.send([end, start])
        assert [(on.voice, on.note) for on in ledger.sounding()] == [(1, 57)]
        outputs.send([start, end])
        assert not ledger.sounding()
    finally:
        outputs.close()
        ledger.close()


def test_what_is_wrong_is_said_once_however_late_it_is_heard_of():
    class Late(Live):
        def _await(self):
            self._reader.join(60.0)
            super()._await()

    said = []
    with pytest.raises(PortError, match="'nowhere' is no OSC address"):
        Late(Session(load("hold"), osc=("nowhere",)), said.append)
    assert said == []


@stops
def test_a_player_that_never_answers_is_told_once_and_left_behind(tmp_path, monkeypatch, capsys):
    mute = tmp_path / "python"
    mute.write_text('#!/bin/sh\necho $$ > "$0.pid"\nexec sleep 1000\n')
    mute.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(mute))
    monkeypatch.setattr("gradmidi.live.feed.READY_SECONDS", 1.0)
    with gradmidi.record(tmp_path / "a", layers=["fc1"], osc="127.0.0.1:9", files=()) as ears:
        for step in range(1, 501):
            ears.frame([1.0 + step % 3], loss=1.0 / step)
    err = capsys.readouterr().err
    assert err.count("the player did not answer in 1 s: no sound, all else goes on") == 1
    assert "has ended" not in err
    assert gradmidi.read(tmp_path / "a").steps == 500
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "python.pid").read_text()), 0)


def test_without_a_sound_card_it_is_said_once_and_the_run_goes_on(tmp_path, receiver, capsys):
    with gradmidi.record(
        tmp_path / "a", layers=["fc1"], osc=receiver.target, audio="no such card", files=()
    ) as ears:
        for step in range(1, 101):
            ears.frame([1.0 + step % 3])
        until(lambda: receiver.step == 100, "the last step")
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "sound card" in line]
    assert told.startswith("gradmidi: ")
    assert told.endswith("; all else goes on without")
    assert receiver.silent() < SOON_SECONDS
    assert gradmidi.read(tmp_path / "a").steps == 100


class Wire:
    """A port that keeps what it is sent."""

    def __init__(self):
        self.messages = []
        self.closed = False

    def send(self, message):
        self.messages.append(message)

    def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("clock", "ends"),
    [
        (False, {"synth": [(0x81, 60, 64), (0xB1, 64, 0), (0xB1, 123, 0)]}),
        (True, {"synth": [(0x81, 60, 64), (0xB1, 64, 0), (0xB1, 123, 0), (0xFC,)]}),
        ("drums", {"synth": [(0x81, 60, 64), (0xB1, 64, 0), (0xB1, 123, 0)], "drums": [(0xFC,)]}),
        ("virtual:beat", {"synth": [(0x81, 60, 64), (0xB1, 64, 0), (0xB1, 123, 0)]}),
    ],
)
def test_what_a_killed_player_has_left_going_is_ended(monkeypatch, clock, ends):
    session = Session(load("hold"), Rig(ports=("synth",), clock=clock))
    lines = session.to_line() + orjson.dumps([(1, 60, 60.0)]) + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    wires = defaultdict(Wire)
    monkeypatch.setattr(rescue, "open_output", wires.__getitem__)
    assert rescue.main() == 0
    assert {name: wire.messages for name, wire in wires.items()} == ends
    assert all(wire.closed for wire in wires.values())


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"osc": ("nowhere",)}, PortError, "'nowhere' is no OSC address"),
        ({"take": os.devnull + "/a.mid"}, GradmidiError, "cannot be written"),
    ],
)
def test_what_is_wrong_is_raised_before_anything_is_played(options, kind, words):
    with pytest.raises(kind, match=words):
        Live(Session(load("hold"), **options), print)
