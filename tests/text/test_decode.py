import itertools
import math
from collections import Counter
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from logs import write_log

import gradmidi
from gradmidi._render import render
from gradmidi.errors import GradmidiError
from gradmidi.log import Header, Layer, encode_frame, encode_header
from gradmidi.midi.metadata import text_in
from gradmidi.music import composer
from gradmidi.music.events import On
from gradmidi.music.preset import names
from gradmidi.music.score import compose
from gradmidi.text.decode import decode

DECODABLE = [name for name in names() if name != "classic"]


def through(folder, rows, preset, **options):
    write_log(folder / "a", rows)
    render(folder / "a", folder / "a.mid", preset=preset, **options)
    return decode(folder / "a.mid")


@pytest.mark.parametrize("name", DECODABLE)
def test_norms_come_back_within_one_percent(tmp_path, name):
    rng = np.random.default_rng(1)
    rows = np.exp(rng.uniform(-4.0, 4.0, (60, 4)))
    rows[0] = [0.5, 1.0, 2.0, 0.25]
    # Within eight doublings of the reference, where every preset has room.
    rows[1:] = np.clip(rows[1:], rows[0] / 200.0, rows[0] * 200.0)
    found = through(tmp_path, rows.tolist(), name)
    assert found.voices == ("conv1", "conv2", "fc1", "fc2")
    values = np.array([[value.norm for value in row] for row in found.rows])
    assert np.abs(values / rows - 1.0).max() < 0.01
    assert {value.bound for row in found.rows for value in row} == {0}


@pytest.mark.parametrize("name", DECODABLE)
@given(st.floats(-50.0, 50.0))
@example(-50.0)
@example(50.0)
@settings(max_examples=25, deadline=None)
def test_at_the_rails_only_a_bound_comes_back(tmp_path_factory, name, doublings):
    norm = 2.0**doublings
    found = through(tmp_path_factory.mktemp("d"), [[1.0] * 4, *[[norm] * 4] * 4], name)
    values = [value for row in found.rows[1:] for value in row]
    for value in values:
        if value.bound:
            assert value.norm <= norm * 1.01 if value.bound > 0 else value.norm >= norm * 0.99
        else:
            assert value.norm == pytest.approx(norm, rel=0.01)
    # A note that gave way to who is at fault stands as a number, the others as bounds.
    written = [value.written() for value in values if value.bound]
    if abs(doublings) > 40:
        assert written
        assert all(text.startswith("≥" if doublings > 0 else "≤") for text in written)


@pytest.mark.parametrize(("leap", "seed"), [(1e3, 3), (1e5, 3), (1e-2, 1), (1e-3, 4)])
def test_strokes_that_gave_way_to_who_is_at_fault_are_still_counted(tmp_path, leap, seed):
    norms = np.exp(np.random.default_rng(seed).uniform(-3.0, 3.0, (60, 4)))
    norms[0] = 1.0
    norms[20:40, 1] *= leap
    found = through(tmp_path, norms.tolist(), "drums", length="full")
    for value, norm in zip(itertools.chain(*found.rows), norms.ravel(), strict=True):
        if value.bound:
            assert value.norm <= norm * 1.01 if value.bound > 0 else value.norm >= norm * 0.99
        else:
            assert value.norm == pytest.approx(norm, rel=0.01)
    bar, grid = 4 * 480, 60
    struck = Counter(
        event.tick // bar
        for event in compose(tmp_path / "a", "drums", length="full")
        if isinstance(event, On) and event.voice == 1 and event.tick % grid == 0
    )
    strokes = 9 + np.clip(np.floor(np.log2(norms[:, 1]) + 0.5), -8, 8)
    assert [slot for slot in range(60) if struck[slot] < strokes[slot]], "none gave way"


@pytest.mark.parametrize("name", DECODABLE)
def test_a_norm_whose_note_gave_way_to_who_is_at_fault_is_not_lost(tmp_path, name):
    norms = np.ones((60, 4))
    norms[:, 1] = np.exp(np.random.default_rng(4).normal(0.0, 0.1, 60))
    norms[0] = 1.0
    norms[30, 1] = 100.0
    found = through(tmp_path, norms.tolist(), name, length="full")
    assert "norm" in (tmp_path / "a.mid").read_bytes().decode("latin-1"), "none gave way"
    values = np.array([[math.nan if v is None else v.norm for v in row] for row in found.rows])
    assert np.abs(values / norms - 1.0).max() < 0.01


@pytest.mark.parametrize("name", DECODABLE)
def test_a_rest_comes_back_as_none(tmp_path, name):
    rows = [[1.0] * 4, [1.0, 0.0, None, math.nan], [1.0] * 4]
    found = through(tmp_path, rows, name)
    assert [value is None for value in found.rows[1]] == [False, True, True, True]


def test_a_fitted_file_gives_the_largest_norm_of_each_slot(tmp_path):
    rows = np.exp(np.random.default_rng(2).uniform(-2.0, 2.0, (400, 4)))
    # Forty slots of 125 ms, and the sound of the end.
    found = through(tmp_path, rows.tolist(), "pentatonic", length=5.6)
    assert found.frames_per_slot == 10
    top = rows.reshape(40, 10, 4).max(axis=1)
    values = np.array([[value.norm for value in row] for row in found.rows])
    assert np.abs(values / top - 1.0).max() < 0.01


def test_classic_comes_back_as_closely_as_its_bend_allows(tmp_path):
    found = through(tmp_path, [[0.45, 1.5, 0.1, 3.0]], "classic")
    assert [value.norm for value in found.rows[0]] == pytest.approx([0.45, 1.5, 0.1, 3.0], abs=0.01)


def test_lines_are_json_a_row_a_slot(tmp_path):
    import json

    lines = list(through(tmp_path, [[1.0] * 4, [1.0, 0.0, 1.0, 1.0]], "pentatonic").lines())
    assert json.loads(lines[0])["layers"] == [["conv1"], ["conv2"], ["fc1"], ["fc2"]]
    assert json.loads(lines[2]) == {
        "slot": 1,
        "step": 2,
        "norms": [pytest.approx(1.0, rel=0.01), None, *[pytest.approx(1.0, rel=0.01)] * 2],
    }


def test_each_slot_has_the_number_of_its_last_step(tmp_path):
    header = Header(tuple(Layer(name, 10) for name in "ab"))
    looked_at = [1, 11, 21, 31, 34, 37, 40]
    lines = [encode_frame(step, 0.1 * step, [1.0, 2.0], {}) for step in looked_at]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.jsonl").write_bytes(encode_header(header) + b"".join(lines))
    render(tmp_path / "a", tmp_path / "a.mid", preset="pentatonic")
    assert decode(tmp_path / "a.mid").steps == tuple(looked_at)
    render(tmp_path / "a", tmp_path / "two.mid", preset="pentatonic", length=1.1)
    assert decode(tmp_path / "two.mid").steps == (11, 31, 37, 40)
    # By the clock, slots into which no step fell have none.
    render(tmp_path / "a", tmp_path / "wall.mid", preset="pentatonic", time="wall")
    found = decode(tmp_path / "wall.mid")
    assert [step for step in found.steps if step is not None] == looked_at
    assert [index for index, step in enumerate(found.steps) if step is not None] == [
        int(0.1 * step / found.seconds) for step in looked_at
    ]


def test_the_steps_of_a_long_run_come_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(composer, "MOST_ROWS", 3)
    gaps = np.random.default_rng(0).integers(1, 50, 40)
    looked_at = np.cumsum(gaps).tolist()
    header = Header((Layer("a", 10),))
    lines = [encode_frame(step, 0.1 * step, [1.0], {}) for step in looked_at]
    (tmp_path / "run.jsonl").write_bytes(encode_header(header) + b"".join(lines))
    render(tmp_path, tmp_path / "a.mid", preset="pentatonic")
    assert decode(tmp_path / "a.mid").steps == tuple(looked_at)
    texts = [text_in(each) for each in mido.MidiFile(tmp_path / "a.mid").tracks[1] if each.is_meta]
    assert sum('"steps"' in text for text in texts) > 5


def test_a_file_of_somebody_else_is_refused(tmp_path):
    file = mido.MidiFile()
    file.add_track("piano").append(mido.Message("note_on", note=60, time=0))
    file.save(tmp_path / "b.mid")
    with pytest.raises(GradmidiError, match="holds no text events of gradmidi"):
        decode(tmp_path / "b.mid")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a MIDI file",
        b"MThd\x00\x00\x00\x06\x00\x01",
        b"MThd\xff\xff\xff\x06\x00\x01\x00\x01\x01\xe0",
        b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x01\xe0MTrk\x00\x00\x00\x06\x00\xff\x59\x02\x7e\x35",
    ],
    ids=["empty", "text", "no length", "too long", "a key of 126 flats"],
)
def test_what_is_no_midi_file_is_refused(tmp_path, content):
    (tmp_path / "c.mid").write_bytes(content)
    with pytest.raises(GradmidiError, match="cannot be read as a MIDI file"):
        decode(tmp_path / "c.mid")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(GradmidiError, match=r"d\.mid cannot be read as a MIDI file: No such file"):
        decode(tmp_path / "d.mid")


def test_slots_that_are_alike_are_read_at_once(tmp_path):
    with gradmidi.record(tmp_path / "a", layers=["fc1"], files=()) as listener:
        for norm in (0.5, 1.0, *[0.0] * 98, 0.25):
            listener.frame([norm])
    render(tmp_path / "a", tmp_path / "a.mid")
    rows = [
        None if row[0] is None else round(row[0].norm, 2) for row in decode(tmp_path / "a.mid").rows
    ]
    assert rows == [0.5, 1.0, *[None] * 98, 0.25]


@pytest.mark.parametrize("name", ["pentatonic", "chromatic", "hold"])
def test_files_that_version_0_1_wrote_are_read(name):
    rows = np.exp(np.random.default_rng(1).uniform(-3, 3, (24, 2)))
    rows[0] = [0.5, 1.0]
    found = decode(Path(__file__).parents[1] / "data" / f"{name}-0.1.mid")
    assert (found.voices, found.steps) == (("conv1", "fc1"), tuple(range(1, 25)))
    values = np.array([[value.norm for value in row] for row in found.rows])
    assert np.abs(values / rows - 1.0).max() < 0.01
