import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from logs import write_log
from rights import bound

from gradmidi.cli.options import is_plain, length_of
from gradmidi.log import RunLog


def gradmidi(*words, cwd=None, by=(), **environment):
    return subprocess.run(
        [*by, sys.executable, "-m", "gradmidi", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", **environment},
        check=False,
    )


@pytest.fixture
def run(tmp_path):
    return write_log(tmp_path / "a", [[1.0, 2.0, 3.0, 4.0]] * 5)


def test_help_has_no_boxes_and_fits_eighty_columns():
    for command in ([], ["render"], ["demo"], ["presets"], ["describe"], ["decode"]):
        done = gradmidi(*command, "--help")
        assert done.returncode == 0
        assert not set(done.stdout) & set("│╭╰─┌└")
        assert max(map(len, done.stdout.splitlines())) <= 80


def test_render_prints_the_files_and_exits_with_0(run, tmp_path):
    done = gradmidi("render", run, "-o", tmp_path / "x.mid", "-o", tmp_path / "x.wav")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(tmp_path / "x.mid"), str(tmp_path / "x.wav")]


def test_describe_and_decode_print_to_stdout(run, tmp_path):
    gradmidi("render", run, "-o", tmp_path / "x.mid")
    assert gradmidi("describe", run).stdout.startswith("run a: Net, 4 layers, 5 steps")
    lines = gradmidi("decode", tmp_path / "x.mid").stdout.splitlines()
    assert json.loads(lines[1])["norms"] == pytest.approx([1.0, 2.0, 3.0, 4.0], rel=0.01)


@pytest.mark.parametrize("words", [["describe"], ["describe", "--now"], ["compare", "b"]])
def test_letters_that_an_encoding_lacks_are_escaped(tmp_path, words):
    for name in "ab":
        write_log(tmp_path / name, [[1.0, 2.0]] * 5, names=["\u0441lo\u0439", "b"])
    command, *rest = words
    done = gradmidi(command, "a", *rest, cwd=tmp_path, PYTHONIOENCODING="cp1252")
    assert (done.returncode, done.stderr) == (0, "")
    assert command == "compare" or r"\u0441lo\u0439" in done.stdout


def test_presets_are_listed_and_reported():
    listed = gradmidi("presets").stdout
    assert "pentatonic: A step of the scale is a doubling" in listed
    told = gradmidi("presets", "pentatonic").stdout
    assert "time.tempo = 120.0: quarter notes a minute" in told
    assert "a norm twice as large: 1 note of the scale higher, at least 200 cents" in told


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["render", "nowhere", "-o", "x.mid"], "gradmidi: no run at 'nowhere'; give a folder"),
        (["describe", "nowhere"], "gradmidi: no run at 'nowhere'"),
        (["decode", "nowhere.mid"], "gradmidi: nowhere.mid cannot be read as a MIDI file"),
        (["presets", "x"], "gradmidi: no preset is called 'x'; there are: chromatic"),
    ],
)
def test_what_could_not_be_done_is_one_line_and_exit_code_1(tmp_path, words, line):
    done = gradmidi(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("locked", ["the log", "the folder above"])
@pytest.mark.parametrize(
    "words",
    [
        ["describe", "b/a"],
        ["render", "b/a", "-o", "x.mid"],
        ["play", "b/a", "--osc", "9"],
        ["compare", "b/a", "a", "-o", "x.wav"],
    ],
)
def test_a_run_that_may_not_be_read_is_one_line(run, tmp_path, words, locked):
    above = tmp_path / "b"
    path = write_log(above / "a", [[1.0, 2.0, 3.0, 4.0]] * 5) / "run.jsonl"
    (path if locked == "the log" else above).chmod(0o000)
    done = gradmidi(*words, cwd=tmp_path, by=bound())
    above.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "cannot be read: Permission denied; change its permissions, or give an" in done.stderr
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("locked", ["the folder", "the folder above"])
@pytest.mark.parametrize("words", [["demo", "--force"], ["import", "log.csv"], ["run", "own.py"]])
def test_a_folder_that_may_not_be_written_to_is_one_line(tmp_path, words, locked):
    command, *rest = words
    if command in ("demo", "run"):
        pytest.importorskip("torch")
    (tmp_path / "log.csv").write_text("step,grad_norm/fc1\n1,0.5\n")
    (tmp_path / "own.py").write_text("print('begun')\n")
    above = tmp_path / "b"
    folder = write_log(above / "a", [[1.0, 2.0, 3.0, 4.0]] * 5)
    before = (folder / "run.jsonl").read_bytes()
    folder.chmod(0o555)
    above.chmod(0o000 if locked == "the folder above" else 0o755)
    # An import goes to no folder where a run is.
    out = ["-o", "b/a/new"] if command == "import" else ["--out", "b/a"]
    done = gradmidi(command, *out, *rest, cwd=tmp_path, by=bound())
    above.chmod(0o755)
    folder.chmod(0o755)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "b/a" in done.stderr
    assert "give another" in done.stderr or "out= must be a folder" in done.stderr
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("run.jsonl", before)]


@pytest.mark.parametrize(
    "words",
    [
        ["render"],
        ["render", "a"],
        ["nothing"],
        ["render", "a", "-o", "x.mid", "--time", "beat"],
        ["render", "a", "-o", "x.mid", "--length", "long"],
        ["render", "a", "-o", "x.mid", "--length", "0s"],
        ["demo", "--lr", "-1"],
        ["demo", "--optimizer", "lion"],
        ["demo", "--steps", "0"],
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path, words):
    done = gradmidi(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--clock"], "leave out --clock, or add --midi PORT, --osc HOST:PORT or --audio"),
        (["--clock-port", "X"], "leave out --clock-port, or add"),
        (["--wait"], "leave out --wait, or add"),
        (["--channels", "1-4", "--pan", "--level", "-6"], "leave out --channels --pan --level, or"),
        (["--all", "--lr", "9"], "--all uses the settings of the blog post: leave out --lr"),
        # The default, asked for by name, is not what all of them have either.
        (["--all", "--optimizer", "sgd", "--momentum", "0.9"], "leave out --optimizer --momentum"),
        (["--all", "--batch-size", "3", "--osc", "9"], "leave out --batch-size"),
    ],
)
def test_what_the_demo_would_not_heed_is_refused(tmp_path, words, line):
    done = gradmidi("demo", *words, cwd=tmp_path, COLUMNS="400")
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("out", [[], ["--out", "mine"]])
def test_the_demo_of_all_settings_ends_with_a_line_on_each(tmp_path, out):
    pytest.importorskip("torch")
    settings = ["sgd-0.01", "sgd-0.1", "sgd-1", "sgd-1-batch-256", "adam-0.01"]
    done = gradmidi("demo", "--all", "--steps", 2, "--seed", 3, *out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for name, line in zip(settings, lines, strict=False):
        assert re.match(rf"{re.escape(name)}: loss \d\S* to \d", line)
    folders = [
        Path("mine" if out else "runs", name if out else f"demo-{name}") for name in settings
    ]
    for folder in folders:
        log = RunLog(tmp_path / folder)
        assert (log.steps, log.header.config["seed"]) == (2, 3)
        made = {path.name for path in (tmp_path / folder).iterdir()}
        assert made >= {"run.jsonl", "run.mid", "run.wav", "run.png"}
    assert lines[len(settings)] == f"Listen: {folders[-1] / 'run.wav'}"


def test_a_reader_that_has_had_enough_is_no_error(run, tmp_path):
    gradmidi("render", write_log(tmp_path / "b", [[1.0] * 4] * 3000), "-o", tmp_path / "b.mid")
    reader = subprocess.Popen(["head", "-n", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gradmidi", "decode", str(tmp_path / "b.mid")],
            stdout=reader.stdin,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        reader.communicate()
    assert done.stderr == ""


def test_lengths_are_read_as_people_write_them():
    assert length_of("1.5m") == 90.0
    with pytest.raises(typer.BadParameter):
        length_of("3h")


def test_plain_is_asked_for_in_three_ways(monkeypatch):
    assert is_plain(asked=True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("GRADMIDI_PLAIN", raising=False)
    assert not is_plain(asked=False)
    monkeypatch.setenv("GRADMIDI_PLAIN", "1")
    assert is_plain(asked=False)
    monkeypatch.setenv("GRADMIDI_PLAIN", "0")
    assert not is_plain(asked=False)
    monkeypatch.setenv("TERM", "dumb")
    assert is_plain(asked=False)
