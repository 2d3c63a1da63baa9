import math

from logs import write_log
from typer.testing import CliRunner

from gradmidi._render import render
from gradmidi.cli.app import app
from gradmidi.log import RunLog
from gradmidi.music.preset import load
from gradmidi.text.describe import describe, describe_now


def told(run):
    return list(describe(RunLog(run)))


def test_a_run_is_told_in_numbers(tmp_path):
    rows = [[0.5, 1.0, 2.0, 4.0], [0.7, 1.0, 9.0, 4.0], [0.6, 1.0, 3.0, 2.0]]
    assert told(write_log(tmp_path / "a", rows)) == [
        "run a: Net, 4 layers, 3 steps in 0.25 s, closed",
        "norms cover all parameters, no clipping was seen",
        "loss: first 2, last 0.6667",
        "conv1, 10 numbers: first 0.5, median 0.6, last 0.6, largest 0.7 at step 2",
        "conv2, 20 numbers: first 1, median 1, last 1, largest 1 at step 1",
        "fc1, 30 numbers: first 2, median 3, last 3, largest 9 at step 2",
        "fc2, 40 numbers: first 4, median 4, last 2, largest 4 at step 1",
        "no faults",
    ]


def test_what_is_wrong_is_what_the_preset_says(tmp_path):
    rows = [[1.0] * 4] * 60
    rows[40] = [1.0, 50.0, 1.0, 1.0]
    run = write_log(tmp_path / "a", rows)
    calm = tmp_path / "calm.toml"
    calm.write_text('title = "calm"\n[faults]\nspike = 1000.0\n')
    assert told(run)[-2:] == ["faults: 1", "step 41: spike in conv2, 50"]
    assert list(describe(RunLog(run), load(calm).faults))[-1] == "no faults"
    asked = CliRunner().invoke(app, ["describe", str(run), "--preset", str(calm)])
    assert asked.stdout.splitlines()[-1] == "no faults"
    # What a page or a text says in words is what its picture and its sound are made by.
    for name, line in (("pentatonic", "spike in conv2"), (calm, "no faults")):
        render(run, tmp_path / "a.txt", tmp_path / "a.html", preset=name)
        assert line in (tmp_path / "a.txt").read_text()
        page = (tmp_path / "a.html").read_text()
        assert ("spike in conv2" in page) == (name == "pentatonic")


def test_what_was_wrong_is_told_by_layer_and_step(tmp_path):
    rows = [
        [1.0, 1.0, None, 1.0],
        [math.nan, 0.0, None, 1.0],
        [math.nan, 0.0, None, math.inf],
        [1.0, 0.0, None, 0.0],
        [1.0, 0.0, None, 1.0],
    ]
    lines = told(write_log(tmp_path / "a", rows, loss=False))
    assert "fc1, 30 numbers: no finite norm" in lines
    assert "conv1: nan at 2 steps, first at step 2" in lines
    assert "conv2: dead, exactly zero from step 2 to the end" in lines
    assert "fc2: inf at 1 step, first at step 3" in lines
    assert "fc2: exactly zero at 1 step" in lines
    assert "fc1: no gradient at 5 steps" in lines
    assert "step 2: nan in conv1, nan" in lines
    assert "step 3: inf in fc2, inf" in lines


def test_a_run_that_was_killed_and_lines_that_cannot_be_read_are_told(tmp_path):
    run = write_log(tmp_path / "a", [[1.0] * 4] * 3, closed=False)
    with (run / "run.jsonl").open("ab") as file:
        file.write(b'{"step": 4, "t": 0.4, "norms": [1, 2]}\n{"step": 5, "t": 0.')
    lines = told(run)
    assert lines[0].endswith("3 steps in 0.25 s, not closed: still running, or killed")
    assert lines[-2:] == ["faults: 1", "step 3: the run died"]
    assert "left out as unreadable: 2 lines, the first is line 5" in lines


def test_a_run_without_steps_is_told(tmp_path):
    lines = told(write_log(tmp_path / "a", []))
    assert lines[0].startswith("run a: Net, 4 layers, 0 steps")
    assert "conv1, 10 numbers: no finite norm" in lines


# -- where a run stands ---------------------------------------------------------------------------


def now(run, age=2.0):
    log = RunLog(run)
    return list(describe_now(log, log.path.stat().st_mtime + age))


def test_where_a_run_stands_is_told_in_numbers_and_which_way_each_goes(tmp_path):
    rows = [[1.0, 1.0, 1.0, 1.0]] * 20 + [[1.1, 3.0, 0.2, None]]
    run = write_log(tmp_path / "a", rows, closed=False)
    assert now(run) == [
        "run a: step 21 at 2.05 s, written 2 s ago",
        "loss 0.09524, first 2",
        "conv1 norm 1.1",
        "conv2 norm 3 up",
        "fc1 norm 0.2 down",
        "fc2 no gradient",
        "nothing is wrong now",
    ]


def test_what_is_wrong_now_is_told_and_what_is_over_is_not(tmp_path):
    rows = [[1.0] * 4] * 20 + [[math.nan, 1.0, 1.0, 1.0]] + [[1.0] * 4] * 20
    lines = now(write_log(tmp_path / "a", [*rows, *[[1.0, 0.0, 1.0, 1.0]] * 20], closed=False))
    assert "conv2 norm exactly zero" in lines
    assert lines[-2:] == ["dead now: conv2", "last fault, step 53: dead in conv2, 0"]
    lines = now(write_log(tmp_path / "b", rows, closed=False))
    assert lines[-2:] == ["nothing is wrong now", "last fault, step 21: nan in conv1, nan"]


def test_a_run_that_has_stopped_coming_is_stalled_unless_it_was_closed(tmp_path):
    rows = [[1.0] * 4] * 20
    assert now(write_log(tmp_path / "a", rows, closed=False), 60.0)[-1] == (
        "stalled now: no step for 60 s"
    )
    assert now(write_log(tmp_path / "b", rows), 60.0)[-1] == "nothing is wrong now"


def test_before_the_first_step_there_is_nothing_to_tell(tmp_path):
    assert now(write_log(tmp_path / "a", [], closed=False)) == ["run a: no step yet"]


def test_now_is_a_flag_of_the_command(tmp_path):
    run = write_log(tmp_path / "a", [[1.0] * 4] * 3)
    result = CliRunner().invoke(app, ["describe", str(run), "--now"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "run a: step 3 at 0.25 s, closed"
