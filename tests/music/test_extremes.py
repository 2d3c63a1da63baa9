"""Runs that nobody would wish for, from the log to the file: heard, told, and never a bad note."""

import math
from collections import Counter

import mido
import numpy as np
import pytest
import soundfile
from logs import write_log

from gradmidi._render import render
from gradmidi.log import RunLog
from gradmidi.music.events import FAULT_VOICE, On
from gradmidi.music.preset import load, names
from gradmidi.music.score import compose
from gradmidi.text.decode import decode
from gradmidi.text.describe import describe

NAN, INF = math.nan, math.inf

RUNS = {
    "all nan": [[NAN] * 4] * 60,
    "dead from the first step": [[0.0] * 4] * 60,
    "a single step": [[1.0, 2.0, 3.0, 4.0]],
    "a single nan": [[1.0, NAN, 3.0, 4.0]],
    "norms of 1e-45": [[1e-45, 1.0, 1.0, 1.0]] * 60,
    "norms of 1e38": [[1.0, 1.0, 1.0, 1e38]] * 60,
    "from 1e-45 to 1e38": [[1e-45] * 4] * 30 + [[1e38] * 4] * 30,
    "unfreezes in the middle": [[None, None, 1.0, 1.0]] * 30 + [[2.0, 0.5, 1.0, 1.0]] * 30,
    "never a gradient": [[None] * 4] * 60,
}

TOLD = {
    "all nan": "step 1 to the end: all layers nan",
    "dead from the first step": "step 1 to the end: all layers dead",
    "a single step": "no faults",
    "a single nan": "step 1 to the end: conv2 nan",
    "norms of 1e-45": "conv1 vanishing",
    "norms of 1e38": "fc2 exploding",
    "from 1e-45 to 1e38": "all layers exploding",
    "unfreezes in the middle": "no faults",
    "never a gradient": "no faults",
}


def strokes(path):
    """What a MIDI file strikes and lets go of, by channel; that nothing hangs is asserted."""
    struck, sounding = [], Counter()
    for message in mido.MidiFile(path):
        if message.type == "note_on" and message.velocity:
            struck.append((message.channel + 1, message.note))
            sounding[message.channel, message.note] += 1
        elif message.type in ("note_on", "note_off"):
            sounding[message.channel, message.note] -= 1
    assert not any(sounding.values())
    return struck


@pytest.mark.parametrize("what", RUNS)
def test_it_is_reported_in_a_line(what, tmp_path):
    lines = list(describe(RunLog(write_log(tmp_path / "run", RUNS[what]))))
    assert any(TOLD[what] in line for line in lines), lines


@pytest.mark.parametrize("preset", names())
@pytest.mark.parametrize("what", RUNS)
def test_it_becomes_files_that_are_sound(what, preset, tmp_path):
    run = write_log(tmp_path / "run", RUNS[what])
    # A slot of drums is a bar: an eighth of the piece is enough of it.
    length = 15.0 if preset == "drums" else None
    render(run, tmp_path / "a.mid", tmp_path / "a.wav", preset=preset, length=length)
    strokes(tmp_path / "a.mid")
    samples, _ = soundfile.read(tmp_path / "a.wav")
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() < 0.9


@pytest.mark.parametrize("what", ["all nan", "dead from the first step", "never a gradient"])
def test_where_no_voice_has_a_norm_the_run_is_still_heard_to_be_alive(what, tmp_path):
    run = write_log(tmp_path / "run", [RUNS[what][0]] * 200)
    sounds = Counter(e.sound for e in compose(run) if isinstance(e, On) and e.voice == FAULT_VOICE)
    assert sounds["tick"] >= 5
    assert (sounds["nan"] > 0) == (what == "all nan")
    assert (sounds["dead"] > 0) == (what == "dead from the first step")


@pytest.mark.parametrize(("what", "voice"), [("norms of 1e-45", 0), ("norms of 1e38", 3)])
def test_the_edges_of_a_float_are_a_home_like_any_other(what, voice, tmp_path):
    render(write_log(tmp_path / "run", RUNS[what]), tmp_path / "a.mid")
    rows = decode(tmp_path / "a.mid").rows
    assert rows[0][voice].norm == pytest.approx(RUNS[what][0][voice], rel=0.01)


def test_beyond_all_doublings_a_voice_stays_at_the_rail(tmp_path):
    run = write_log(tmp_path / "run", RUNS["from 1e-45 to 1e38"])
    own = [e.note for e in compose(run) if isinstance(e, On) and e.voice == 3 and e.norm]
    preset = load("pentatonic")
    assert own[0] == preset.home_notes(4)[3]
    assert own[-1] == preset.notes[-1]


def test_a_layer_that_unfreezes_enters_at_home_in_the_middle(tmp_path):
    run = write_log(tmp_path / "run", RUNS["unfreezes in the middle"])
    first = {}
    for event in compose(run):
        if isinstance(event, On) and event.voice >= 0:
            first.setdefault(event.voice, event)
    slot = load("pentatonic").time.slot_ticks(4)
    assert [first[voice].tick // slot for voice in range(4)] == [30, 30, 0, 0]
    assert tuple(first[voice].note for voice in range(4)) == load("pentatonic").home_notes(4)


def test_two_thousand_layers_are_fifteen_voices_on_one_port(tmp_path):
    layers = [f"blocks.{i // 8}.{i % 8}" for i in range(2000)]
    norms = np.exp(np.random.default_rng(0).normal(0.0, 0.3, (40, 2000)))
    norms[30, 1234] = NAN
    run = write_log(tmp_path / "run", norms.tolist(), names=layers)
    render(run, tmp_path / "a.mid")
    assert {channel for channel, _ in strokes(tmp_path / "a.mid")} == set(range(1, 17))
    lines = list(describe(RunLog(run)))
    assert lines[0].startswith("run run: Net, 2,000 layers, 40 steps")
    assert f"step 31: {layers[1234]} nan" in lines


@pytest.mark.slow
def test_two_thousand_layers_are_heard_and_seen(tmp_path):
    pytest.importorskip("matplotlib")
    layers = [f"blocks.{i // 8}.{i % 8}" for i in range(2000)]
    norms = np.exp(np.random.default_rng(0).normal(0.0, 0.3, (40, 2000)))
    norms[30, 1234] = NAN
    run = write_log(tmp_path / "run", norms.tolist(), names=layers)
    paths = render(run, *(tmp_path / f"a{ending}" for ending in (".wav", ".html", ".png")))
    sound, page, picture = paths
    samples, _ = soundfile.read(sound)
    assert np.isfinite(samples).all()
    assert 0.02 < np.abs(samples).max() < 0.9
    text = page.read_text(encoding="utf-8")
    assert text.count('class="lane" data-voice=') == 15
    assert f"step 31: {layers[1234]} nan" in text
    assert [name for name in layers if name not in text] == []
    assert page.stat().st_size < 3_000_000
    assert picture.read_bytes().startswith(b"\x89PNG")
