"""The demo as a new user starts it, heard by a synth over JACK and by SuperCollider at once."""

import re
import sys

import numpy as np
import pytest
import soundfile
from studio import PATIENCE_SECONDS, needs_live_midi, recording, running, sclang

import gradmidi

needs_live_midi()

pytestmark = [pytest.mark.receivers, pytest.mark.slow]

STEPS = 60
FAULTS = 10 - 1


def posted(lines):
    """What FluidSynth tells of notes: whether they start, their channel from 0 and key."""
    for line in lines:
        if match := re.match(r"event_post_note(on|off) (\d+) (\d+) (\d+)", line):
            yield match[1] == "on", int(match[2]), int(match[3])


def printed(lines):
    """What SuperCollider printed of notes: whether they start, their voice and key."""
    for line in lines:
        if match := re.match(r"note (\d+) ([\d.]+) [\d.]+ (\d+) ", line):
            yield match[3] != "0", int(match[1]), round(float(match[2]))


def sounding(told):
    """The notes that are on after all that was told."""
    held = set()
    for starts, *note in told:
        (held.add if starts else held.discard)(tuple(note))
    return held


def test_the_demo_plays_into_fluidsynth_and_supercollider_at_once(jack, synth, tmp_path):
    pytest.importorskip("torch")
    ports = ("fs:left", "SuperCollider:out_1")
    heard, rest = tmp_path / "heard.wav", tmp_path / "rest.wav"
    with sclang(jack, tmp_path) as (supercollider, port):
        argv = [sys.executable, "-m", "gradmidi", "demo", "--steps", str(STEPS)]
        argv += ["--midi", "virtual:gradmidi", "--osc", f"127.0.0.1:{port}"]
        argv += ["--out", str(tmp_path / "a")]
        with running(argv, tmp_path / "demo.txt") as demo:
            jack.wait_for("gradmidi:gradmidi")
            jack.connect("gradmidi:gradmidi", "fs:midi_00")
            with recording(jack, 2, heard, *ports):
                synth.wait_for("event_post_noteon")
            assert demo.process.wait(4 * PATIENCE_SECONDS) == 0, demo.text
        supercollider.wait_for(f"^stop {STEPS} ")
        # The bell of the end rings for some seconds, at a synth of samples.
        with recording(jack, 6, rest, *ports):
            pass
        assert not [line for line in supercollider.lines if "ERROR" in line or "FAILURE" in line]
        over_osc, over_midi = list(printed(supercollider.lines)), list(posted(synth.lines))
    assert not sounding(over_osc)
    assert not sounding(over_midi)
    # Note by note the same, from when the synth was connected on, but for the end's own sound,
    # which is a message of another kind over OSC.
    starts = [note for starts, *note in over_osc if starts]
    struck = [note for starts, *note in over_midi if starts and note[0] != FAULTS]
    assert gradmidi.read(tmp_path / "a").steps == STEPS
    assert len(starts) > 2 * STEPS
    assert len(struck) > len(starts) / 2
    assert struck == starts[-len(struck) :]
    assert "gradmidi:gradmidi" not in jack.ports()
    loud, _ = soundfile.read(heard)
    quiet, rate = soundfile.read(rest)
    assert (np.abs(loud).max(axis=0) > 0.01).all()
    assert np.abs(quiet[-rate // 2 :]).max() < 1e-4
    assert "Traceback" not in demo.text
    assert {"run.jsonl", "run.mid", "run.wav"} <= {p.name for p in (tmp_path / "a").iterdir()}
