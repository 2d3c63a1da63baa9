"""The heat map as data: its cells, columns, values, and what stays visible in long runs."""

import math

import numpy as np
import pytest
from logs import write_log

from gradmidi.log import RunLog
from gradmidi.music.preset import load
from gradmidi.music.score import score_of
from gradmidi.report.heatmap import (
    FARTHEST,
    INF,
    MOST_CELLS,
    MOST_COLUMNS,
    NAN,
    NONE,
    ZERO_CODE,
    doublings,
    encode,
    heat_map,
    reduced,
)
from gradmidi.report.labels import groups
from gradmidi.report.rowlabels import brackets


def heat(run, preset="pentatonic"):
    log, preset = RunLog(run), load(preset)
    voices = score_of(log, preset).voices
    return heat_map(log, voices, preset.faults, preset.pitch.reference)


def test_a_cell_is_the_doublings_from_the_layers_own_first_norm(tmp_path):
    rows = [[1.0, 3.0, None, 0.0], [4.0, 1.5, 5.0, 7.0], [0.25, 3.0, 10.0, 0.875]]
    found = heat(write_log(tmp_path / "run", rows))
    none = math.nan
    expected = [[0.0, 2.0, -2.0], [0.0, -1.0, 0.0], [none, 0.0, 1.0], [none, 0.0, -3.0]]
    assert np.array_equal(doublings(found.codes), expected, equal_nan=True)
    assert found.codes[2:, 0].tolist() == [NONE, ZERO_CODE]
    assert (found.first, found.last, found.width, found.end) == (1, 3, 1, 4)


def test_a_number_as_reference_is_used_for_every_layer(tmp_path):
    log = RunLog(write_log(tmp_path / "run", [[1.0, 2.0, 4.0, 8.0]]))
    found = heat_map(log, (), load("pentatonic").faults, 2.0)
    assert doublings(found.codes).ravel().tolist() == [-1.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize("steps", [50, 9_000, 20_000])
def test_one_step_stays_visible_at_any_length(tmp_path, steps):
    rows = np.ones((steps, 2))
    rows[steps // 3, 0] = 1e3
    rows[steps // 2, 1] = 1e-3
    rows[steps // 4, 1] = math.nan
    rows[-1, 0] = math.inf
    found = heat(write_log(tmp_path / "run", rows.tolist(), names=("a", "b"), loss=False))
    assert found.codes.shape[1] <= MOST_COLUMNS

    def column(index):
        return index // found.width

    for codes in (found.codes, reduced(found.codes, 2, 37)):
        scale = codes.shape[1] / found.codes.shape[1]
        near = {
            (row, kind): abs(np.flatnonzero(codes[row] == kind) / scale - column(index)).min()
            for row, kind, index in (
                (0, int(encode(np.array(1e3), np.array(1.0))), steps // 3),
                (1, int(encode(np.array(1e-3), np.array(1.0))), steps // 2),
                (1, NAN, steps // 4),
                (0, INF, steps - 1),
            )
        }
        assert max(near.values()) <= 1.0 / scale
    # Nothing else is coloured.
    assert np.isin(found.codes, (2, 202, 203, NAN, INF)).all()


def test_rows_are_reduced_too(tmp_path):
    names = [f"blocks.{index}" for index in range(2000)]
    rows = np.ones((4, 2000))
    rows[2, 1234] = math.nan
    found = heat(write_log(tmp_path / "run", rows.tolist(), names=names))
    small = reduced(found.codes, 100, 4)
    assert small.shape == (100, 4)
    assert np.argwhere(small == NAN).tolist() == [[1234 // 20, 2]]


@pytest.mark.slow
def test_the_map_of_many_layers_has_a_bounded_size(tmp_path):
    names = [f"blocks.{index}" for index in range(300)]
    run = write_log(tmp_path / "run", np.ones((9000, 300)).tolist(), names=names, loss=False)
    found = heat(run)
    assert found.width == 4
    assert found.codes.shape == (300, 2250)
    assert found.codes.size <= MOST_CELLS


def test_steps_that_were_not_logged_show_the_step_before(tmp_path):
    with_gaps = write_log(tmp_path / "run", [[1.0, 1.0], [2.0, 0.5]], names=("a", "b"))
    path = with_gaps / "run.jsonl"
    path.write_text(path.read_text().replace('"step": 2', '"step": 5'))
    found = heat(with_gaps)
    assert doublings(found.codes).tolist() == [[0, 0, 0, 0, 1], [0, 0, 0, 0, -1]]
    assert (found.first, found.last, found.width) == (1, 5, 1)


def test_values_have_a_strip_and_counters_have_none(tmp_path):
    log = tmp_path / "run"
    write_log(log, [[1.0] * 4] * 40)
    path = log / "run.jsonl"
    lines = path.read_text().splitlines()
    for index in range(1, 41):
        more = (
            f',"accuracy":{0.5 + index / 80},"examples":{index * 32},"lr":0.1,"note":"a","big":true'
        )
        lines[index] = lines[index][:-1] + more + "}"
    path.write_text("\n".join(lines) + "\n")
    found = heat(log)
    assert [strip.name for strip in found.strips] == ["loss", "lr", "accuracy"]
    loss, _, accuracy = found.strips
    assert loss.ends == (0.05, 2.0)
    assert loss.logarithmic
    assert not accuracy.logarithmic
    assert accuracy.high.tolist() == [0.5 + index / 80 for index in range(1, 41)]


def test_faults_have_the_rows_of_their_layers(tmp_path):
    rows = np.ones((60, 4))
    rows[30:, [0, 2, 3]] = math.nan
    found = heat(write_log(tmp_path / "run", rows.tolist()))
    (fault,) = (each for each in found.faults if each.kind == "nan")
    assert fault.steps == (31, 60)
    assert found.rows(fault) == ((0, 1), (2, 4))


def test_voices_of_several_layers_have_brackets(tmp_path):
    names = ["a.0", "b.0", "a.1", "b.1"]
    run = write_log(tmp_path / "run", [[1.0] * 4] * 3, names=names, voices={"a": "a.*", "b": "b.*"})
    assert brackets(heat(run).voices) == [(0, 0, 1), (0, 2, 3), (1, 1, 2), (1, 3, 4)]
    assert brackets(heat(write_log(tmp_path / "plain", [[1.0] * 4])).voices) == []


@pytest.mark.parametrize("norm", [math.nan, None, 0.0, math.inf])
def test_a_run_without_a_number(tmp_path, norm):
    found = heat(write_log(tmp_path / "run", [[norm] * 4] * 3, loss=False))
    assert len(set(found.codes.ravel().tolist())) == 1
    assert np.isnan(doublings(found.codes)).all()
    assert found.strips == ()


def test_far_norms_stay_on_the_scale():
    norms = np.array([1e300, 1e-300, 5e-324])
    assert doublings(encode(norms, np.ones(3))).tolist() == [FARTHEST, -FARTHEST, -FARTHEST]


def test_each_module_is_named_once():
    names = [f"blocks.{block}.attn.{part}" for block in range(15) for part in ("qkv", "proj")]
    found = groups(["stem", *names, "head.fc"])
    assert [group.name for group in found].count("blocks.3.attn") == 1
    assert [group.name for group in found if group.depth == 0][:3] == [
        "stem", "blocks.0.attn", "blocks.1.attn",
    ]  # fmt: skip
    assert {group.name for group in found if group.depth == 1} == {"qkv", "proj"}
    covered = [row for group in found if group.depth == 0 for row in range(group.start, group.stop)]
    assert covered == list(range(32))


@pytest.mark.parametrize("names", [["a", "a.b"], ["", "a"], ["0", "1", "1.2"], ["a.b.c"], []])
def test_odd_names_have_groups(names):
    for group in groups(names):
        assert group.name
        assert 0 <= group.start < group.stop <= len(names)
