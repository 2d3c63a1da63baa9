"""The parent's side of live output, with a real player and a real receiver."""

import os
import signal
import sys
import time

import numpy as np
import pytest
from listening import SOON_SECONDS, Receiver, until

import gradmidi
from gradmidi.errors import GradmidiError, PortError
from gradmidi.live.feed import Live, merge
from gradmidi.live.session import Session
from gradmidi.log import End, Frame, Header, Layer, Record, Values, encode, row
from gradmidi.music.preset import load

HEADER = Header((Layer("fc1", 10), Layer("fc2", 20)))

stops = pytest.mark.skipif(sys.platform == "win32", reason="Windows stops no process")


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def live(receiver, said):
    live = Live(Session(load("hold"), osc=(receiver.target,)))
    try:
        live.name("a")
        send(live, HEADER)
        yield live
    finally:
        live.close(0.1)


def send(live, record: Record):
    live.send(record, encode(record))


def play(live, receiver, step=1):
    send(live, Frame(step, 0.1, row([1.0, 2.0])))
    until(lambda: receiver.sounding, "a note")


def test_of_frames_that_are_merged_the_largest_norms_stay_and_what_is_no_number_wins():
    older = Frame(1, 0.1, row([9.0, 1.0, None, float("nan"), float("inf")]), {"loss": 2.0})
    newer = Frame(2, 0.2, row([3.0, None, 0.5, 7.0, float("nan")]), {"lr": 0.1})
    both = merge(older, newer)
    np.testing.assert_equal(both.norms, row([9.0, 1.0, 0.5, float("nan"), float("nan")]))
    assert (both.step, both.t, both.extra) == (2, 0.2, {"loss": 2.0, "lr": 0.1})


@stops
def test_while_the_player_does_not_read_frames_are_merged_and_no_spike_is_lost(
    live, receiver, said
):
    play(live, receiver)
    os.kill(live._process.pid, signal.SIGSTOP)
    try:
        for step in range(2, 30_002):
            norm = 4096.0 if step == 20_000 else 1.0
            send(live, Frame(step, 0.1 + step * 1e-5, row([norm, 2.0])))
            send(live, Values(step, {"loss": float(step)}))
        # Flat in memory: what waits in the end is one frame, and the part of a line.
        until(lambda: live.merged > 20_000 and live.backlog <= 2, "all to be merged")
    finally:
        os.kill(live._process.pid, signal.SIGCONT)
    until(lambda: any(norms[0] == 4096.0 for norms in receiver.of("/gradmidi/norms")), "the spike")
    send(live, End("closed", 1.0, 30_001))
    live.close()
    assert not receiver.sounding
    assert live.counts["merged"] == live.merged
    assert f"{live.merged:,} frames were merged into the next" in said[-1]


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
    send(live, Frame(2, 0.2, row([1.0, 2.0])))
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


def test_an_error_is_raised_and_not_said_however_late_it_is_read(said):
    class Late(Live):
        def _await(self):
            self._reader.join(60.0)
            super()._await()

    with pytest.raises(PortError, match="'nowhere' is not an OSC address"):
        Late(Session(load("hold"), osc=("nowhere",)))
    assert said == []


@stops
def test_a_player_that_never_answers_is_reported_once_and_left_behind(
    tmp_path, monkeypatch, capsys
):
    mute = tmp_path / "python"
    mute.write_text('#!/bin/sh\necho $$ > "$0.pid"\nexec sleep 1000\n')
    mute.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(mute))
    monkeypatch.setattr("gradmidi.live.feed.READY_SECONDS", 1.0)
    with gradmidi.record(tmp_path / "a", layers=["fc1"], osc="127.0.0.1:9", files=()) as ears:
        for step in range(1, 501):
            ears.frame([1.0 + step % 3], loss=1.0 / step)
    err = capsys.readouterr().err
    assert err.count("the player did not answer in 1 s: no sound, everything else continues") == 1
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
    assert told.endswith("; everything else works without it")
    assert receiver.silent() < SOON_SECONDS
    assert gradmidi.read(tmp_path / "a").steps == 100


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"osc": ("nowhere",)}, PortError, "'nowhere' is not an OSC address"),
        ({"take": os.devnull + "/a.mid"}, GradmidiError, "cannot be written"),
    ],
)
def test_what_is_wrong_is_raised_before_anything_is_played(options, kind, words):
    with pytest.raises(kind, match=words):
        Live(Session(load("hold"), **options))
