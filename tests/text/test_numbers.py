"""Lines of text about logged values."""

import math

import pytest
from logs import write_log
from typer.testing import CliRunner

import gradmidi
from gradmidi.cli.app import app
from gradmidi.log import End, Frame, Header, Layer, encode, row
from gradmidi.text.numbers import MOST_KEPT, Gathered


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "a" / "run.jsonl"
    path.parent.mkdir()
    items = [Header(())]
    for step in range(1, 101):
        values = {"loss": max(1.0, 3.0 - 0.1 * step), "lr": 0.1, "note": "x"}
        items.append(
            Frame(step, 0.1 * step, row([]), values | ({"bad": math.nan} if step < 3 else {}))
        )
    path.write_bytes(b"".join(map(encode, [*items, End("closed", 10.1, 100)])))
    return path.parent


def told(*words):
    done = CliRunner().invoke(app, ["describe", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_every_value_of_a_run_without_layers_has_a_line_and_a_plateau_is_described(run):
    assert told(run) == [
        "run a: 0 layers, 100 steps in 10 s, closed",
        "no faults",
        "loss: first 2.9, last 1, lowest 1 at step 20, highest 2.9 at step 1; level since step 21",
        "lr: first 0.1, last 0.1",
        "bad: no finite number",
    ]
    assert told(run, "--now") == [
        "run a: step 100 at 10 s, closed",
        "nothing is wrong now",
        "loss 1, first 2.9",
        "lr 0.1, first 0.1",
        "bad nan, first nan",
    ]


def test_beside_layers_a_value_has_a_line_if_it_is_asked_for(tmp_path):
    run = write_log(tmp_path / "a", [[1.0] * 4] * 3)
    assert "loss: first 2, last 0.6667" in told(run)
    line = "loss: first 2, last 0.6667, lowest 0.6667 at step 3, highest 2 at step 1"
    assert line in told(run, "--values", "lo*")
    assert told(run, "--now", "--values", "loss")[2] == "loss 0.6667, first 2"
    done = CliRunner().invoke(app, ["describe", str(run), "--values", "foo"])
    assert done.exit_code == 1
    assert "no logged value is called 'foo'; there are: loss" in str(done.exception)


def test_a_spike_of_a_value_that_is_heard_is_told_where_it_sounds(tmp_path):
    with gradmidi.record(tmp_path / "a", layers=["fc1"], values="loss", files="txt") as ears:
        for step in range(100):
            ears.frame([1.0], loss=9.0 if step == 80 else 2.0)
    text = (tmp_path / "a" / "run.txt").read_text()
    assert "step 81: spike in the loss (9)" in text
    assert "no faults" in told(tmp_path / "a")
    done = CliRunner().invoke(
        app, ["describe", str(tmp_path / "a"), "--values", "loss", "--fail-on", "spike"]
    )
    assert done.exit_code == 3


def test_what_a_file_of_few_imported_layers_plays_is_described(tmp_path):
    header = Header((Layer("total", 0),), config={"imported": "log.csv"})
    items = [
        Frame(step, 0.1 * step, row([1.0]), {"loss": 9.0 if step == 81 else 2.0})
        for step in range(1, 101)
    ]
    path = tmp_path / "a" / "run.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"".join(map(encode, [header, *items, End("imported", 10.1, 100)])))
    gradmidi.render(tmp_path / "a", tmp_path / "a.txt")
    text = (tmp_path / "a.txt").read_text().splitlines()
    assert "step 81: spike in the loss (9)" in text
    assert told(tmp_path / "a") == text == str(gradmidi.read(tmp_path / "a")).splitlines()


@pytest.mark.parametrize(
    ("numbers", "since"),
    [
        ([5.0 - 0.01 * n for n in range(400)], 0),
        ([max(1.0, 5.0 - 0.04 * n) for n in range(400)], 81),
        ([1.0] * 400, 0),
        ([1.0] * 10, 0),
        ([5.0] * 390 + [1.0] * 10, 0),
    ],
    ids=["falls to the end", "falls, then stays", "constant", "too few", "only the end differs"],
)
def test_a_value_is_level_where_it_hardly_changes_any_more(numbers, since):
    gathered = Gathered("loss")
    for step, number in enumerate(numbers, 1):
        gathered.add(step, number)
    assert gathered.numbers().level_since == since


def test_memory_stays_flat():
    gathered = Gathered("loss")
    for step in range(1, 50_000):
        gathered.add(step, max(1.0, 10.0 - step / 1000))
    assert len(gathered._kept) <= MOST_KEPT
    found = gathered.numbers()
    assert (found.first, found.last, found.lowest_step) == (9.999, 1.0, 9000)
    assert 9000 <= found.level_since <= 15001


def test_a_value_that_ends_in_nan_says_so(tmp_path):
    path = tmp_path / "run.jsonl"
    losses = enumerate((2.0, 1.0, math.nan), 1)
    items = [Header(()), *(Frame(step, 0.1 * step, row([]), {"loss": x}) for step, x in losses)]
    path.write_bytes(b"".join(map(encode, items)))
    line = "loss: first 2, last nan, lowest 1 at step 2, highest 2 at step 1"
    assert line in list(gradmidi.describe(path))
