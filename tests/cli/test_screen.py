"""The live view on terminals of three sizes: what it draws, its keys, and how it ends."""

import math
import os
import re
import signal
import sys

import pytest
from listening import Receiver, until
from logs import write_log
from terminal import Terminal

from gradmidi.cli.keys import watch
from gradmidi.cli.screenlines import KEYS, Shown, screen_lines
from gradmidi.cli.view import PlainLines, Settings

terminals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")

SIZES = [(80, 24), (80, 12), (40, 10)]

FAULT = "step 193: blocks.0.attn.qkv and blocks.0.attn.proj vanishing (2 of 12 layers, norm 0.498)"


def status(voices, **more):
    return {
        "step": 1200,
        "seconds": 60.0,
        "norms": [2.0**n for n in range(voices)],
        "degrees": [float(n) for n in range(voices)],
        "notes": ["A3"] * voices,
        "values": {},
        "wrong": [],
        "faults": [],
        "fault_count": 0,
        "mark": "",
        "loss": "2.5",
        **more,
    }


def names(voices):
    return [f"blocks.{n // 3}.{['qkv', 'proj', 'mlp'][n % 3]}" for n in range(voices)]


def drawn(shown, size):
    lines = screen_lines(shown, *size)
    assert len(lines) == size[1]
    assert all(line.cell_len <= size[0] for line in lines)
    return [line.plain.rstrip() for line in lines]


@pytest.mark.parametrize("size", SIZES)
def test_the_newest_fault_and_the_keys_are_whole_at_any_size(size):
    faults = [{"text": "step 9: conv1 nan"}, {"text": FAULT}]
    more = {"faults": faults, "fault_count": 2, "late": 3, "dropped": 7}
    settings = Settings(-3.0, muted=True)
    shown = Shown(names(30), status(30, **more), settings, last=2000, message="muted " * 20)
    lines = drawn(shown, size)
    assert FAULT in " ".join(lines)
    assert lines[-1] == next(line for line in KEYS if len(line) <= size[0])
    assert lines[-1].endswith("? help · q quit")
    head = "step 1,200 of 2,000, 60 % · muted"
    assert lines[0].startswith(head if size[0] == 40 else f"{head} · level -3 dB")
    assert any("blocks.0.qkv" in line or "s.0.qkv" in line for line in lines)


def test_voices_that_do_not_fit_are_reached_with_the_chosen_one():
    shown = Shown(names(30), status(30, wrong=[28]), Settings(chosen=0))
    lines = drawn(shown, (80, 12))
    assert lines[1].startswith("> 1 blocks.0.qkv")
    assert lines[10] == "  … 21 more with ↑ ↓, 1 of them at fault"
    lines = drawn(Shown(names(30), status(30, wrong=[28]), Settings(chosen=29)), (80, 12))
    assert any(line.startswith(">30 blocks.9.mlp") for line in lines)
    assert any(line.startswith(" 29!blocks.9.proj") for line in lines)


def test_bars_begin_at_home_and_go_left_and_right():
    degrees = [0.0, 4.0, -4.0, 8.0, -99.0, "nan"]
    lines = drawn(Shown(names(6), status(6, degrees=degrees)), (80, 24))
    bars = [line[line.index("A3") + 4 :][:21] for line in (f"{line:<80}" for line in lines[1:7])]
    assert bars == [
        "          │          ",
        "          │█████     ",
        "     █████│          ",
        "          │██████████",
        "██████████│          ",
        "          │          ",
    ]


def test_a_sparkline_shows_the_past_and_what_was_not_finite():
    past = [[-8.0, 0.0, 8.0, math.inf, math.nan, 0.0]]
    lines = drawn(Shown(["fc1"], status(1), history=past), (80, 24))
    assert lines[1].endswith("│           ▁▅█! ▅")


def test_the_keys_are_explained_and_every_word_is_there_on_a_small_terminal():
    lines = drawn(Shown(names(15), status(15), helps=True), (40, 10))
    assert lines[1] == "space  mute, or unmute"
    assert lines[8] == "above it to the right"


@pytest.mark.parametrize(
    ("seconds", "rate"),
    [(0.125, "8 steps/s"), (8.0, "1 step in 8 s"), (7200.0, "1 step in 120 min")],
)
def test_a_rate_is_readable_of_fast_and_slow_runs(seconds, rate):
    shown = Shown(["fc1"], status(1))
    shown.rate.add(1199, 0.0)
    shown.rate.add(1200, seconds)
    assert drawn(shown, (80, 24))[0] == f"step 1,200 · {rate} · loss 2.5"


class Live:
    """A player that remembers its commands."""

    def __init__(self):
        self.voices, self.status, self.done = names(12), {}, []

    def do(self, what, **more):
        self.done.append((what, more))


class Typed:
    """Keys that are typed, one after the other."""

    there = True

    def __init__(self, *keys):
        self._keys = list(keys)

    def read(self, _seconds):
        return self._keys.pop(0) if self._keys else "q"


def test_every_voice_has_keys():
    live, lines = Live(), []
    watch(
        live, PlainLines(lines.append), Typed("k", "\r", "\x1b[B", "\n", "\n", "?"), going=lambda: 1
    )
    assert live.done == [
        ("solo", {"voice": 11}),
        ("solo", {"voice": 0}),
        ("solo", {"voice": 0}),
        ("stop", {}),
    ]
    assert lines[1:6] == [
        "voice 12: blocks.3.mlp",
        "blocks.3.mlp alone",
        "voice 1: blocks.0.qkv",
        "blocks.0.qkv alone",
        "all voices",
    ]
    assert lines[6] == lines[0]


# -- in a terminal ---------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    rows = [
        [1.0 + n % 5, 2.0, 3.0, 4.0] if n < 30 else [1.0, math.nan, 3.0, 4.0] for n in range(400)
    ]
    return write_log(tmp_path / "a", rows)


def screen(terminal, size):
    """Return the lines of a terminal emulator that was given all output."""
    import pyte

    emulator = pyte.Screen(*size)
    pyte.Stream(emulator).feed(terminal.text)
    return [line.rstrip() for line in emulator.display]


@pytest.mark.slow
@terminals
@pytest.mark.parametrize("size", SIZES)
def test_play_alone_shows_a_run_and_the_fault_whole(run, size):
    with Terminal("play", run, size=size) as terminal:
        fault = "step 31: conv2 nan"
        until(lambda: fault in " ".join(screen(terminal, size)), "the fault")
        lines = screen(terminal, size)
        assert re.match(r"step \d+ of 400, \d+ %", lines[0])
        assert lines[-1] == next(line for line in KEYS if len(line) <= size[0])
        assert any(re.match(r" +2!conv2 +nan", line) for line in lines)
        # Three rows down, and up with an arrow.
        terminal.press("jj\x1b[A\r")
        until(lambda: any(line.startswith("> 2!") for line in screen(terminal, size)), "the row")
        terminal.wait_for("conv2 alone")
        terminal.press("?")
        terminal.wait_for("mute, or unmute")
        terminal.press("q")
        assert terminal.end() == 0
    # What was said is not lost when the screen is left.
    after = terminal.text.rpartition("\x1b[?1049l")[2]
    assert fault in after
    assert "played" in after


@pytest.mark.slow
@terminals
@pytest.mark.parametrize("how", ["q", "ctrl-c", "end", "SIGTERM", "SIGHUP"])
def test_the_terminal_is_as_before_however_it_ends(run, tmp_path, how):
    with Receiver() as receiver:
        if how == "end":
            run = write_log(tmp_path / "short", [[1.0, 2.0, 3.0, 4.0]] * 12)
        with Terminal("play", run, "--osc", receiver.target, "-p", "hold") as terminal:
            terminal.wait_for("\x1b[?1049h")
            if how != "end":
                until(lambda: receiver.sounding, "sound")
            if how in ("q", "ctrl-c"):
                terminal.press({"q": "q", "ctrl-c": "\x03"}[how])
            elif how != "end":
                terminal.process.send_signal(signal.Signals[how])
            code = terminal.end()
            settings = terminal.settings()
            until(lambda: not receiver.sounding, "silence")
    expected = -signal.Signals[how] if how.startswith("SIG") else 0
    assert code == expected, terminal.text[-600:]
    assert settings == terminal.before
    assert terminal.text.count("\x1b[?1049l") == 1
    assert terminal.text.index("\x1b[?1049l") > terminal.text.rindex("\x1b[?1049h")
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")
    assert "Traceback" not in terminal.text


@pytest.mark.slow
@terminals
def test_ctrl_z_puts_the_terminal_back_and_going_on_takes_it_again(run):
    with Terminal("play", run) as terminal:
        terminal.wait_for(KEYS[0])
        assert terminal.settings() != terminal.before
        terminal.press("\x1a")
        assert os.WIFSTOPPED(os.waitpid(terminal.process.pid, os.WUNTRACED)[1])
        until(lambda: terminal.text.endswith("\x1b[?25h"), "the cursor")
        assert terminal.text.count("\x1b[?1049l") == 1
        assert terminal.settings() == terminal.before
        terminal.process.send_signal(signal.SIGCONT)
        until(lambda: terminal.text.count("\x1b[?1049h") == 2, "the screen again")
        until(lambda: terminal.settings() != terminal.before, "single keys again")
        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.settings() == terminal.before


@pytest.mark.slow
@terminals
def test_a_terminal_that_is_made_smaller_is_drawn_anew(run):
    with Terminal("play", run) as terminal:
        terminal.wait_for(KEYS[0])
        terminal.resize(40, 10)
        terminal.text = ""
        terminal.wait_for(KEYS[2])
        until(lambda: screen(terminal, (40, 10))[-1] == KEYS[2], "a narrow screen")
        terminal.press("q")
        assert terminal.end() == 0


@terminals
def test_plain_lines_need_an_output(run):
    with Terminal("play", run, "--plain") as terminal:
        assert terminal.end() == 2
    assert "there is no output; give --midi PORT" in " ".join(terminal.text.split())
