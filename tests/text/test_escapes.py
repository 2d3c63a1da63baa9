"""Names and marks of a log cannot control the terminal that prints them."""

import io
import subprocess
import sys

from logs import write_log

import gradmidi
from gradmidi.base.messages import say
from gradmidi.cli.ports import layout
from gradmidi.midi.rig import Rig
from gradmidi.text.describe import standing

EVIL = "\x1b]0;title\x07\x1b[2Jfc1\r\n\u202e"
SHOWN = r"\x1b]0;title\x07\x1b[2Jfc1\r\n\u202e"


def test_describe_prints_control_characters_as_escapes(tmp_path):
    folder = write_log(tmp_path / "a", [[1.0], [float("nan")], [1.0]], names=[EVIL])
    for lines in (gradmidi.describe(folder), standing(gradmidi.read(folder)).lines()):
        lines = list(lines)
        assert any(SHOWN in line for line in lines)
        assert all(line.isprintable() for line in lines)


def test_the_command_line_prints_them_as_escapes(tmp_path):
    write_log(tmp_path / "a", [[1.0], [2.0]], names=[EVIL])
    for words in (["describe", tmp_path / "a"], ["describe", tmp_path / EVIL.replace("/", "")]):
        done = subprocess.run(
            [sys.executable, "-m", "gradmidi", *map(str, words)], capture_output=True, check=False
        )
        assert b"\x1b" not in done.stdout + done.stderr
        assert rb"\x1b[2J" in done.stdout + done.stderr


def test_a_comparison_prints_them_as_escapes(tmp_path):
    runs = [
        write_log(tmp_path / name, [[1.0], [last], [last]], names=[EVIL])
        for name, last in (("a", 1.0), ("b", float("nan")))
    ]
    lines = gradmidi.compare(runs).lines
    assert any(SHOWN in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_a_list_of_channels_prints_them_as_escapes():
    line, *_ = layout(Rig(), [EVIL])
    assert line == f"voice 1: channel 1, {SHOWN}"


def test_a_message_is_one_printable_line(capsys):
    say(f"run {EVIL}")
    assert capsys.readouterr().err == f"gradmidi: run {SHOWN}\n"


def test_the_view_prints_them_as_escapes():
    from rich.console import Console

    from gradmidi.cli.screenlines import Shown, screen_lines

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200)
    fault = {"layer": EVIL, "text": f"nan in {EVIL}"}
    status = {
        "step": 1,
        "seconds": 0.1,
        "norms": [1.0],
        "degrees": [0.5],
        "notes": ["C4"],
        "wrong": (0,),
        "faults": [fault],
        "sent": 1,
    }
    console.print(*screen_lines(Shown([EVIL], status, message=EVIL), 200, 24), sep="\n")
    assert "\x1b]0;" not in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()
