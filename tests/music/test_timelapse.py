"""A long run in a few seconds: no spike and no fault is lost, and memory does not grow with it."""

import math
import subprocess
import sys

import mido
import numpy as np
import pytest
import soundfile
from logs import write_log

import gradmidi
from gradmidi._render import render
from gradmidi.log import RunLog
from gradmidi.music.score import compose

SECONDS = 8.0
PEAK = """
import resource, sys
import gradmidi
from gradmidi._render import render
render(sys.argv[1], sys.argv[1] + ".mid", sys.argv[1] + ".wav", length=8.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def rows(steps, layers=3):
    rng = np.random.default_rng(4)
    return np.exp(rng.normal(0, 0.3, (steps, layers)))


def test_no_spike_and_no_fault_is_lost(tmp_path):
    values = rows(6000)
    spikes = {700: 0, 2345: 1, 4999: 2}
    for step, layer in spikes.items():
        values[step, layer] = 1e4
    values[3100, 1] = math.nan
    values[3700:3702, 0] = math.inf
    names = ("a", "b", "c")
    run = write_log(tmp_path / "run", values, names=names, marks={3001: "epoch 2"})
    render(run, tmp_path / "run.mid", tmp_path / "run.wav", length=SECONDS)

    # Half a second of silence is before and after the music.
    heard = soundfile.info(tmp_path / "run.wav").duration - 1.0
    assert heard == pytest.approx(SECONDS, abs=0.25)
    markers = [m.text for m in mido.MidiFile(tmp_path / "run.mid").tracks[0] if m.type == "marker"]
    assert markers.count("epoch 2") == 1
    told = gradmidi.faults(run)
    found = {(fault.kind, fault.found) for fault in told}
    assert {("spike", step + 1) for step in spikes} <= found
    assert {("nan", 3101), ("inf", 3701)} <= found
    faults = [text for text in markers if text != "epoch 2"]
    assert len(faults) == len(told)
    for kind, step in found:
        assert any(text.startswith(kind) and f"step {step}" in text for text in faults)

    from gradmidi.music.events import Step

    slots = [event for event in compose(RunLog(run), length=SECONDS) if isinstance(event, Step)]
    assert len(slots) < 64
    for step, layer in spikes.items():
        (slot,) = [s for s in slots if s.step > step][:1]
        assert slot.norms[layer] == pytest.approx(1e4)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_run(tmp_path):
    peaks = []
    for steps in (2_000, 40_000):
        run = write_log(tmp_path / str(steps), rows(steps, 8), names=tuple("abcdefgh"))
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(run)], check=True, capture_output=True, text=True
        )
        peaks.append(int(done.stdout))
    # Twenty times the steps: their norms alone would be a tenth more.
    assert peaks[1] < 1.05 * peaks[0]
