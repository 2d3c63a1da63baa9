import json
import os
import subprocess
import sys

import pytest
import typer
from logs import write_log

from gradmidi.cli.options import is_plain, length_of


def gradmidi(*words, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "gradmidi", *map(str, words)],
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


def test_presets_are_listed_and_told():
    listed = gradmidi("presets").stdout
    assert "pentatonic: A step of the scale is a doubling" in listed
    told = gradmidi("presets", "pentatonic").stdout
    assert "time.tempo = 120.0: quarter notes a minute" in told
    assert "x2 in norm: 1 steps of the scale, at least 200 cents" in told


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
