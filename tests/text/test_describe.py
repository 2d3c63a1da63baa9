import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from listening import until
from logs import write_log
from typer.testing import CliRunner

import gradmidi
from gradmidi._render import render
from gradmidi.cli.app import app
from gradmidi.detection.detector import Watch
from gradmidi.detection.kinds import Faults
from gradmidi.log import RunLog
from gradmidi.music.preset import load
from gradmidi.text.describe import describe, standing


def told(run):
    return list(describe(RunLog(run)))


def test_a_run_is_told_in_numbers(tmp_path):
    rows = [[0.5, 1.0, 2.0, 4.0], [0.7, 1.0, 9.0, 4.0], [0.6, 1.0, 3.0, 2.0]]
    assert told(write_log(tmp_path / "a", rows)) == [
        "run a: Net, 4 layers, 3 steps in 0.25 s, closed",
        "no faults",
        "norms: gradients were not clipped",
        "loss: first 2, last 0.6667",
        "conv1 (10 parameters): first 0.5, median 0.6, last 0.6, largest 0.7 at step 2",
        "conv2 (20 parameters): first 1, median 1, last 1, largest 1 at step 1",
        "fc1 (30 parameters): first 2, median 3, last 3, largest 9 at step 2",
        "fc2 (40 parameters): first 4, median 4, last 2, largest 4 at step 1",
    ]


def test_what_is_wrong_is_what_the_preset_says(tmp_path):
    rows = [[1.0] * 4] * 60
    rows[40] = [1.0, 50.0, 1.0, 1.0]
    run = write_log(tmp_path / "a", rows)
    calm = tmp_path / "calm.toml"
    calm.write_text('title = "calm"\n[faults]\nspike = 1000.0\n')
    assert told(run)[1:3] == ["1 fault", "step 41: spike in conv2 (norm 50)"]
    assert list(describe(RunLog(run), load(calm).faults))[1] == "no faults"
    asked = CliRunner().invoke(app, ["describe", str(run), "--preset", str(calm)])
    assert asked.stdout.splitlines()[1] == "no faults"
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
    assert lines[1:4] == ["2 faults", "steps 2 to 3: conv1 nan", "step 3: fc2 inf"]
    assert "fc1 (30 parameters): no finite norm" in lines
    assert "conv1: nan at 2 steps, first at step 2" in lines
    assert "conv2: exactly zero from step 2 to the end" in lines
    assert "fc2: inf at 1 step, first at step 3" in lines
    assert "fc2: exactly zero at 1 step" in lines
    assert "fc1: no gradient at 5 steps" in lines


def test_a_run_that_was_killed_and_lines_that_cannot_be_read_are_told(tmp_path):
    run = write_log(tmp_path / "a", [[1.0] * 4] * 3, closed=False)
    with (run / "run.jsonl").open("ab") as file:
        file.write(b'{"step": 4, "t": 0.4, "norms": [1, 2]}\n{"step": 5, "t": 0.')
    lines = told(run)
    assert lines[0].endswith("3 steps in 0.25 s, not closed")
    assert lines[1:3] == ["1 fault", "step 3: the run died"]
    assert "2 lines could not be read, the first is line 5" in lines


def test_a_step_of_thousands_of_digits_cannot_be_read(tmp_path):
    run = write_log(tmp_path / "a", [[1.0]] * 3, names=("fc1",))
    with (run / "run.jsonl").open("a") as file:
        file.write('{"step": ' + "9" * 5000 + ', "t": 4, "norms": [1]}\n')
    assert "1 line could not be read, the first is line 6" in told(run)


def test_the_median_of_norms_near_the_end_of_the_range_is_one_of_them(tmp_path):
    run = write_log(tmp_path / "a", [[1e308, 1.0]] * 4, names=("a", "b"))
    assert "a (10 parameters): first 1e308, median 1e308" in "\n".join(told(run))
    assert "a norm 1e308" in list(standing(RunLog(run)).lines())


def test_a_run_without_steps_is_told(tmp_path):
    lines = told(write_log(tmp_path / "a", []))
    assert lines[0].startswith("run a: Net, 4 layers, 0 steps")
    assert "conv1 (10 parameters): no finite norm" in lines


# -- where a run stands ---------------------------------------------------------------------------


def now(run, age=2.0):
    log = RunLog(run)
    return list(standing(log, log.path.stat().st_mtime + age).lines())


def test_where_a_run_stands_is_told_in_numbers_and_which_way_each_goes(tmp_path):
    rows = [[1.0, 1.0, 1.0, 1.0]] * 20 + [[1.1, 3.0, 0.2, None]]
    run = write_log(tmp_path / "a", rows, closed=False)
    assert now(run) == [
        "run a: step 21 at 2.05 s, not closed, last step 2 s ago",
        "nothing is wrong now",
        "loss 0.09524, first 2",
        "conv1 norm 1.1",
        "conv2 norm 3 up",
        "fc1 norm 0.2 down",
        "fc2 no gradient",
    ]


def test_what_is_wrong_now_is_told_and_what_is_over_is_not(tmp_path):
    rows = [[1.0] * 4] * 20 + [[math.nan, 1.0, 1.0, 1.0]] + [[1.0] * 4] * 20
    lines = now(write_log(tmp_path / "a", [*rows, *[[1.0, 0.0, 1.0, 1.0]] * 20], closed=False))
    assert "conv2 norm exactly zero" in lines
    assert lines[1] == "conv2 dead, since step 42"
    assert lines[-1] == "last fault, step 42 to the end: conv2 dead"
    lines = now(write_log(tmp_path / "b", rows, closed=False))
    assert lines[1] == "nothing is wrong now"
    assert lines[-1] == "last fault, step 21: conv1 nan"


def test_a_run_that_has_stopped_coming_is_stalled_unless_it_was_closed(tmp_path):
    rows = [[1.0] * 4] * 20
    assert now(write_log(tmp_path / "a", rows, closed=False), 60.0)[1] == (
        "the run stalled: no step for 60 s"
    )
    assert now(write_log(tmp_path / "b", rows), 60.0)[1] == "nothing is wrong now"


def test_before_the_first_step_there_is_nothing_to_tell(tmp_path):
    assert now(write_log(tmp_path / "a", [], closed=False)) == ["run a: no step yet"]


def test_now_is_a_flag_of_the_command(tmp_path):
    run = write_log(tmp_path / "a", [[1.0] * 4] * 3)
    result = CliRunner().invoke(app, ["describe", str(run), "--now"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "run a: step 3 at 0.25 s, closed"


# -- the faults of a run ------------------------------------------------------------------------


def test_a_lasting_fault_is_one_line_from_its_first_step_to_its_last(tmp_path):
    rows = [[1.0, 2.0, 3.0, 4.0]] * 400
    for step in range(100, 250):
        rows[step] = [0.0, 0.0, 0.0, 4.0]
    for step in range(350, 400):
        rows[step] = [math.nan] * 4
    run = gradmidi.read(write_log(tmp_path / "a", rows))
    assert str(run).splitlines()[1:4] == [
        "2 faults",
        "steps 101 to 250: conv1, conv2 and fc1 dead (3 of 4 layers)",
        "step 351 to the end: all layers nan",
    ]
    dead, nan = run.faults()
    assert (dead.kind, dead.layers) == ("dead", ("conv1", "conv2", "fc1"))
    assert (dead.steps, dead.found, dead.to_the_end, dead.value) == ((101, 250), 112, False, 0.0)
    times = [frame.t for frame in run.frames()]
    assert dead.seconds == (times[100], times[249])
    assert (nan.steps, nan.to_the_end) == ((351, 400), True)
    assert math.isnan(nan.value)


def test_a_fault_of_many_layers_names_three_their_count_and_what_their_names_share(tmp_path):
    names = [
        f"blocks.{i // 6}.{name}" for i, name in enumerate(["q", "k", "v", "o", "up", "down"] * 4)
    ]
    rows = [[1.0] * 24 for _ in range(100)]
    for row in rows[40:]:
        row[6:12] = [0.0] * 6
    lines = told(write_log(tmp_path / "a", rows, names=names))
    assert lines[1:3] == [
        "1 fault",
        "step 41 to the end: blocks.1.q, blocks.1.k, blocks.1.v and 3 more dead "
        "(6 of 24 layers, blocks.1.*)",
    ]


def test_a_loss_that_explodes_is_not_told_of_the_layers(tmp_path):
    run = write_log(tmp_path / "a", [[1.0, 2.0, 3.0, 4.0]] * 200)
    text = run.joinpath("run.jsonl").read_text().splitlines()
    for at, line in enumerate(text):
        fields = json.loads(line)
        if "step" in fields:
            fields["loss"] = 2.0 if fields["step"] <= 100 else 9.0
            text[at] = json.dumps(fields)
    run.joinpath("run.jsonl").write_text("\n".join(text) + "\n")
    lines = told(run)
    assert lines[1] == "1 fault"
    assert re.fullmatch(r"steps? 10\d to the end: the loss exploding \(9\)", lines[2])
    assert gradmidi.faults(run)[0].layers == ()


def test_a_loss_that_becomes_nan_is_a_fault_and_is_said(tmp_path):
    rows = [[1.0, 2.0, 3.0, 4.0]] * 40
    run = write_log(tmp_path / "a", rows, loss=[2.0] * 20 + [math.nan] * 20)
    assert told(run)[1:5] == [
        "1 fault",
        "step 21 to the end: the loss nan",
        "norms: gradients were not clipped",
        "loss: first 2, last nan",
    ]
    lines = now(run)
    assert lines[1:3] == ["the loss nan, since step 21", "loss nan, first 2"]
    fault = json.loads(gradmidi.read(run).to_json())["faults"][0]
    assert (fault["kind"], fault["logged"], fault["layers"]) == ("nan", "loss", [])
    assert (fault["value"], fault["steps"]) == ("nan", [21, 40])
    ended = write_log(tmp_path / "b", rows, loss=[2.0] * 20 + [math.inf] * 5 + [1.0] * 15)
    assert told(ended)[2] == "steps 21 to 25: the loss inf"


def test_equal_lines_of_layers_are_one(tmp_path):
    lines = told(write_log(tmp_path / "a", [[1.0] * 4] * 3 + [[math.nan] * 4] * 2))
    assert [line for line in lines if "nan at" in line] == [
        "all layers: nan at 2 steps, first at step 4"
    ]


@pytest.mark.parametrize("seed", range(20))
def test_every_report_of_a_fault_is_within_one_of_its_entries(tmp_path, seed):
    rng = np.random.default_rng(seed)
    norms = np.exp(rng.normal(0.0, 0.3, (500, 4)))
    for _ in range(6):
        begin, layer = int(rng.integers(0, 480)), int(rng.integers(0, 4))
        length = int(rng.choice([1, 5, 30, 200]))
        norms[begin : begin + length, layer:] = rng.choice([0.0, math.nan, math.inf, 1e5])
    run = gradmidi.read(write_log(tmp_path / "a", norms.tolist()))
    watch = Watch(run.layers, Faults())
    entries = run.faults()
    for item in run.items():
        for finding in watch.add(item):
            known = [
                entry
                for entry in entries
                if entry.kind == finding.kind and entry.steps[0] <= finding.step
            ]
            assert known, finding
            names = {run.layers[layer].name for layer in finding.layers}
            assert names <= {name for entry in known for name in entry.layers}, finding
    assert all(entry.steps[0] <= entry.found for entry in entries)


def test_json_holds_what_the_text_says(tmp_path):
    rows = [[1.0] * 4] * 20 + [[math.nan, 1.0, 1.0, None]] * 3
    run = write_log(tmp_path / "a", rows)
    asked = CliRunner().invoke(app, ["describe", str(run), "--json"])
    summary = json.loads(asked.stdout)
    assert asked.stdout.count("\n") == 1
    assert asked.stdout == gradmidi.read(run).to_json() + "\n"
    assert (summary["steps"], summary["ending"], summary["unreadable"]) == (23, "closed", 0)
    (fault,) = summary["faults"]
    assert (fault["kind"], fault["layers"], fault["steps"]) == ("nan", ["conv1"], [21, 23])
    assert (fault["value"], fault["to_the_end"]) == ("nan", True)
    assert summary["layers"][3]["absent"] == 3
    assert summary["layers"][0]["largest"] == 1.0
    refused = CliRunner().invoke(app, ["describe", str(run), "--json", "--now"])
    assert refused.exit_code == 2


def code(*words):
    done = CliRunner().invoke(app, ["describe", *map(str, words)])
    return done.exit_code, done.stdout.splitlines(), done.output


def test_a_program_gets_exit_code_3_for_a_fault_that_it_names(tmp_path):
    rows = [[1.0] * 4] * 60
    rows[40] = [1.0, 50.0, 1.0, math.nan]
    run = write_log(tmp_path / "a", rows)
    assert code(run, "--fail-on", "exploding, spike")[0] == 3
    assert code(run, "--fail-on", "nan", "--json")[0] == 3
    found, lines, _ = code(run, "--fail-on", "dead,exploding")
    assert (found, lines[0]) == (0, "run a: Net, 4 layers, 60 steps in 5.95 s, closed")
    # The nan is over, so with --now it does not count.
    assert code(run, "--now", "--fail-on", "nan,spike")[0] == 0
    ill = write_log(tmp_path / "b", [*rows, [math.nan] * 4])
    assert code(ill, "--now", "--fail-on", "nan")[0] == 3
    calm = tmp_path / "calm.toml"
    calm.write_text('title = "calm"\n[faults]\nspike = 1000.0\n')
    assert code(run, "--fail-on", "spike", "--preset", calm)[0] == 0


@pytest.mark.parametrize("kinds", ["nan,diverged", "", ",", "NaN"])
def test_a_kind_that_does_not_exist_is_wrong_usage(tmp_path, kinds):
    run = write_log(tmp_path / "a", [[1.0] * 4])
    found, _, output = code(run, "--fail-on", kinds)
    assert found == 2
    assert "allowed is: nan, inf, exploding" in output


def test_a_run_without_an_end_is_stalled_now_and_died_in_the_whole(tmp_path):
    run = write_log(tmp_path / "a", [[1.0] * 4] * 60)
    log = run / "run.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    assert standing(RunLog(run), log.stat().st_mtime + 1.0).kinds == set()
    assert standing(RunLog(run), log.stat().st_mtime + 100.0).kinds == {"stalled"}
    assert code(run, "--fail-on", "died")[0] == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_a_run_that_is_still_being_written_has_not_died(tmp_path):
    with gradmidi.record(tmp_path / "a", layers=["fc1", "fc2"], files=()) as ears:
        for _ in range(3):
            ears.frame([1.0, 2.0])
        until(lambda: RunLog(tmp_path / "a").steps == 3)
        log = tmp_path / "a" / "run.jsonl"
        os.utime(log, (time.time() - 12.4, time.time() - 12.4))
        lines = told(tmp_path / "a")
        assert lines[0].startswith("run a: 2 layers, 3 steps in ")
        # The seconds go on while a busy machine gets here.
        assert re.search(r"s, still running, last step [1-9]\d s ago$", lines[0])
        assert lines[1] == "no faults"
        assert now(tmp_path / "a", 15.0)[0].endswith("s, still running, last step 15 s ago")
        gradmidi.render(tmp_path / "a", tmp_path / "a.mid", tmp_path / "a.txt", tmp_path / "a.html")
        assert b"died" not in (tmp_path / "a.mid").read_bytes()
        text = (tmp_path / "a.txt").read_text()
        assert re.search(r"still running, last step [1-9]\d s ago$", text.splitlines()[0])
        assert "the run died" not in (tmp_path / "a.html").read_text()
        assert code(tmp_path / "a", "--fail-on", "died")[0] == 0
    assert told(tmp_path / "a")[0].endswith("s, closed")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_run_of_a_process_that_was_killed_has_died(tmp_path):
    script = (
        "import os, signal, sys, time, gradmidi\n"
        "ears = gradmidi.record(sys.argv[1], layers=['fc1'], files=())\n"
        "ears.frame([1.0])\n"
        "while b'step' not in open(sys.argv[1] + '/run.jsonl', 'rb').read(): time.sleep(0.01)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
    assert done.returncode == -signal.SIGKILL
    lines = told(tmp_path / "a")
    assert lines[0].endswith("s, not closed")
    assert lines[1:3] == ["1 fault", "step 1: the run died"]
