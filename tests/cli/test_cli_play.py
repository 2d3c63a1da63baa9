"""The commands that play live, as a user has them: where runs come from, lines, keys."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import mido
import pytest
from listening import Receiver, until
from logs import header, write_log
from terminal import ENV, Terminal, command

from gradmidi.log import FILE_NAME, End, RunLog, encode_end, encode_frame, encode_header

NAMES = ("conv1", "conv2", "fc1", "fc2")

PLAYING = (
    "playing a from its start, by steps, as its files are: a slot for each step; --time wall is "
    "its own time"
)

NUMBERS = r"step \d+, loss [\d.]+, conv1 norm \d [A-G]#?\d, conv2 norm 2 [A-G]#?\d, fc1"
"""How the first line of numbers begins."""


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def run(tmp_path):
    """Two seconds of a run."""
    return write_log(tmp_path / "a", [[1.0 + n % 5, 2.0, 3.0, 4.0] for n in range(20)])


def gradmidi(*words, **options):
    return subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # Away from the terminal that the tests are run at: no key comes from there.
        start_new_session=True,
        **{"env": ENV, "stdin": subprocess.DEVNULL, **options},
    )


class Growing:
    """A run that goes on: a step each fiftieth of a second, until it is ended."""

    def __init__(self, write, *, closed=True):
        self._write = write
        self._closed = closed
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._grow)

    def _grow(self):
        self._write(encode_header(header()))
        began = time.monotonic()
        step = 0
        with contextlib.suppress(OSError):
            while not self._over.wait(0.02):
                step += 1
                t = time.monotonic() - began
                self._write(encode_frame(step, t, [1.0, 2.0, 3.0 + step % 3, 4.0], {}))
            if self._closed:
                self._write(encode_end(End("closed", time.monotonic() - began, step)))

    def __enter__(self):
        self._thread.start()
        return self

    def end(self):
        self._over.set()
        self._thread.join(10.0)

    def __exit__(self, *_):
        self.end()


@contextlib.contextmanager
def growing(folder):
    folder.mkdir()
    with (folder / FILE_NAME).open("ab", buffering=0) as file, Growing(file.write) as run:
        yield run


# -- lines that each stand alone ----------------------------------------------------------------


def test_a_run_that_is_over_is_played_from_its_start_to_its_end(run, receiver):
    done = gradmidi("play", run, "--osc", receiver.target)
    assert (done.returncode, done.stdout) == (0, "")
    lines = done.stderr.splitlines()
    assert lines[0] == PLAYING
    assert re.match(NUMBERS, lines[1])
    assert lines[-1] == "played 20 steps"
    assert not set(done.stderr) & set("\x1b\r━│")
    assert receiver.of("/gradmidi/start") == [["a", 4, 4]]
    assert receiver.step == 20
    assert receiver.of("/gradmidi/stop")
    assert not receiver.sounding
    assert not receiver.of("/gradmidi/fault")


@pytest.mark.slow
def test_lines_that_cannot_be_read_are_reported_after_playing(tmp_path, receiver):
    run = write_log(tmp_path / "a", [[1.0, 2.0]] * 3, names=("fc1", "fc2"), closed=False)
    with (run / FILE_NAME).open("a") as file:
        file.write('{"step": 4, "t": 1, "norms": [1]}\n{"end": "closed", "t": 1, "steps": 4}\n')
    done = gradmidi("play", run, "--osc", receiver.target)
    assert done.returncode == 0, done.stderr
    assert "1 line could not be read, the first is line 5" in done.stderr


@pytest.mark.slow
def test_a_fault_and_a_mark_are_reported_in_lines_when_they_are_heard(tmp_path, receiver):
    rows = [[1.0, 2.0, 3.0, 4.0]] * 10 + [[1.0, float("nan"), 3.0, 4.0]] * 10
    run = write_log(tmp_path / "a", rows, marks={5: "epoch 2"})
    done = gradmidi("play", run, "--osc", receiver.target, "--plain")
    lines = done.stderr.splitlines()
    assert "mark: epoch 2" in lines
    assert "fault, step 11: conv2 nan" in lines
    assert lines.index("mark: epoch 2") < lines.index("fault, step 11: conv2 nan")


@pytest.mark.slow
def test_a_run_that_goes_on_is_heard_from_now_on(tmp_path, receiver):
    with growing(tmp_path / "a") as run:
        until(lambda: (tmp_path / "a" / FILE_NAME).stat().st_size > 3000, "some steps")
        with running("play", tmp_path / "a", "--osc", receiver.target) as player:
            until(lambda: len(receiver.of("/gradmidi/step")) > 5, "sound")
            run.end()
            err = player.communicate(timeout=20)[1]
    assert player.returncode == 0
    assert err.startswith("following a; steps before now make no sound\n")
    steps = [step for step, _ in receiver.of("/gradmidi/step")]
    assert steps[0] > 10
    assert not receiver.sounding


@pytest.mark.slow
def test_a_run_comes_by_a_pipe(tmp_path, receiver):
    with running("play", "-", "--osc", receiver.target, stdin=subprocess.PIPE) as player:
        with Growing(lambda line: os.write(player.stdin.fileno(), line)) as run:
            until(lambda: len(receiver.of("/gradmidi/step")) > 5, "sound")
            run.end()
        err = player.communicate(timeout=20)[1]
    assert player.returncode == 0, err
    assert receiver.of("/gradmidi/start") == [["stdin", 4, 4]]
    assert not receiver.sounding
    assert not receiver.of("/gradmidi/fault")


@pytest.mark.slow
def test_a_pipe_that_breaks_off_has_died(tmp_path, receiver):
    read, write = os.pipe()
    with running("play", "-", "--osc", receiver.target, stdin=read) as player:
        os.close(read)
        with Growing(lambda line: os.write(write, line), closed=False):
            until(lambda: len(receiver.of("/gradmidi/step")) > 5, "sound")
        os.close(write)
        assert player.wait(20) == 0
    assert [kind for kind, *_ in receiver.of("/gradmidi/fault")] == ["died"]
    assert not receiver.sounding


@contextlib.contextmanager
def running(*words, **options):
    process = subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **{"env": ENV, "text": options.get("stdin") is None, "stdin": None, **options},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


SSH = """#!/bin/sh
# Stands in for ssh: notes what it was asked for, and runs the command here.
echo "$1" >> "$LOG"
shift
exec sh -c "$*"
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_a_run_on_another_machine_comes_by_ssh(run, tmp_path, receiver):
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "ssh").write_text(SSH)
    (bin_ / "ssh").chmod(0o755)
    env = {**ENV, "PATH": f"{bin_}{os.pathsep}{ENV['PATH']}", "LOG": str(tmp_path / "log")}
    done = gradmidi("play", f"me@box:{run}", "--from", "start", "--osc", receiver.target, env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text() == "me@box\n"
    assert done.stderr.splitlines()[-1] == "played 20 steps"
    assert receiver.step == 20
    assert receiver.of("/gradmidi/start") == [["a", 4, 4]]
    none = gradmidi("play", f"me@box:{tmp_path}/none", "--osc", receiver.target, env=env)
    assert none.returncode == 1
    last = none.stderr.splitlines()[-1]
    assert last.startswith(f"gradmidi: me@box:{tmp_path}/none cannot be followed: ")
    assert f"try: ssh me@box ls {tmp_path}/none" in last


# -- the take -----------------------------------------------------------------------------------


def notes(path):
    midi = mido.MidiFile(path)
    return {
        track.name: [
            (tick, message.type, message.note)
            for tick, message in ticked(track)
            if message.type.startswith("note")
        ]
        for track in midi.tracks
    }


def ticked(track):
    tick = 0
    for message in track:
        tick += message.time
        yield tick, message


@pytest.mark.slow
@pytest.mark.parametrize("time", [[], ["--time", "wall"]])
def test_the_take_of_a_run_played_again_is_its_file(run, tmp_path, receiver, time):
    take, file = tmp_path / "takes" / "live.mid", tmp_path / "a.mid"
    done = gradmidi("play", run, "--osc", receiver.target, "--take", take, *time)
    assert done.returncode == 0, done.stderr
    assert ("by its own time" in done.stderr) == bool(time)
    gradmidi("render", run, "-o", file, *time)
    played, rendered = notes(take), notes(file)
    assert played == rendered
    assert len(played["conv1"]) > 20


# -- what is wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["play"],
        ["play", "a"],
        ["play", "a", "--osc", "9", "--from", "later"],
        ["play", "a", "--osc", "9", "--time", "beat"],
        ["play", "a", "--osc", "9", "--take", "a.wav"],
        ["play", "a", "--osc", "9", "--level", "99"],
        ["play", "a", "--osc", "9", "--time", "step", "--from", "now"],
        ["demo", "--osc", "9", "--take", "a.wav"],
        ["demo", "--osc", "9", "--take", "a.mid", "--all"],
    ],
)
def test_wrong_usage_is_exit_code_2(run, words):
    done = gradmidi(*words, cwd=run.parent)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in run.parent.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["play", "nowhere", "--osc", "9"], "no run at 'nowhere'"),
        (["play", "a", "--osc", "nowhere"], "'nowhere' is not an OSC address"),
        (["play", "a", "--osc", "9", "--preset", "x"], "no preset is called 'x'"),
        (["play", "a", "--osc", "9", "--rig", "x.toml"], "rig x.toml cannot be read"),
        (["play", "a", "--osc", "9", "--channels", "0"], "option channels = '0'"),
        (["play", "a", "--osc", "9", "--fault-channel", "17"], "option faults = 17; allowed"),
        (["play", "a", "--osc", "9", "--fault-channel", "no"], "option faults = 'no'; allowed"),
        (["play", "a", "--osc", "9", "--bend-range", "0"], "option bend_range = 0; allowed"),
        (["play", "a", "--osc", "9", "--din-limit", "-1"], "option din_limit = -1; allowed"),
        (["play", "a", "--osc", "9", "--clock"], "the clock needs a MIDI port"),
        (["play", "a", "--osc", "9", "--delay", "1000"], "delay = 1000; allowed is 0 to 600"),
        pytest.param(
            ["play", "a", "--card", "none like this"],
            "no sound card 'none like this' can be opened",
            marks=pytest.mark.skipif(
                find_spec("sounddevice") is None, reason="sounddevice is not installed"
            ),
        ),
        pytest.param(
            ["play", "a", "--osc", "9", "--from", "now"],
            "the run is over, and all of it was there",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["demo", "--osc", "nowhere"],
            "'nowhere' is not an OSC address",
            marks=pytest.mark.needs_torch,
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_1(run, words, line):
    done = gradmidi(*words, cwd=run.parent)
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"gradmidi: {line}"), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", "stdin holds no line of a run log"),
        (b"\n\n", "stdin has ended without a number"),
        (
            b'{"gradmidi": 1, "layers": "none"}\n',
            "stdin is not a run log: its first line is not a gradmidi header, but "
            '\'{"gradmidi": 1, "layers": "none"}\'',
        ),
    ],
)
@pytest.mark.parametrize("begin", [pytest.param("start", marks=pytest.mark.slow), "now"])
def test_a_pipe_without_a_run_log_is_one_line(text, line, begin):
    done = subprocess.run(
        [sys.executable, "-m", "gradmidi", "play", "-", "--osc", "9", "--from", begin],
        input=text,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == f"gradmidi: {line}"
    assert done.stderr.count(b"gradmidi: ") == 1


def test_help_fits_eighty_columns_and_names_every_cable():
    for word in ("play", "demo", "check", "ports", "panic"):
        done = gradmidi(word, "--help")
        assert done.returncode == 0
        assert max(map(len, done.stdout.splitlines())) <= 80
        if word in ("play", "demo", "check"):
            for option in ("--rig", "--set"):
                assert option in done.stdout, word


# -- a terminal ---------------------------------------------------------------------------------


terminals = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


@pytest.mark.slow
@terminals
def test_keys_steer_what_is_heard_though_the_run_comes_by_stdin(receiver):
    read, write = os.pipe()
    try:
        with (
            Terminal("play", "-", "--osc", receiver.target, stdin=read) as terminal,
            Growing(lambda line: os.write(write, line)),
        ):
            os.close(read)
            terminal.wait_for("steps/s")
            for words in ("conv1", "fc2", "▍", "space mute · + - level · ↑ ↓ Enter solo"):
                terminal.wait_for(words)
            terminal.press(" ")
            terminal.wait_for("muted")
            until(lambda: not receiver.sounding, "silence")
            terminal.press(" ")
            terminal.wait_for("unmuted")
            terminal.press("3")
            terminal.wait_for("fc1 alone")
            heard = len(receiver.messages)
            until(lambda: len(receiver.messages) > heard + 60, "more")
            later = [p for _, address, p in receiver.messages[heard + 30 :] if "note" in address]
            assert {voice for voice, *_, velocity, _ in later if velocity} == {2}
            terminal.press("3")
            terminal.wait_for("all voices")
            terminal.press("--+")
            terminal.wait_for("level -3 dB")
            terminal.wait_for("level -6 dB")
            terminal.press("nf")
            terminal.wait_for("no fault so far")
            terminal.wait_for("fc2 norm 4")
            terminal.press("q")
            assert terminal.end() == 0
            assert not receiver.sounding
            assert receiver.of("/gradmidi/stop")
            # The terminal is as it was: it shows what is typed, a line at a time.
            assert terminal.settings() == terminal.before
    finally:
        os.close(write)


@pytest.mark.slow
@terminals
@pytest.mark.parametrize("how", ["option", "variable"])
def test_on_a_terminal_plain_lines_come_when_they_are_asked_for(run, receiver, how, monkeypatch):
    words = ["play", run, "--osc", receiver.target]
    if how == "option":
        words.append("--plain")
    else:
        monkeypatch.setitem(ENV, "GRADMIDI_PLAIN", "1")
    with Terminal(*words) as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.text
    lines = terminal.text.split("\r\n")
    assert lines[0] == PLAYING
    assert lines[1].startswith("keys: space mutes, ")
    assert re.match(NUMBERS, lines[2])


@terminals
def test_a_run_from_a_pipe_needs_one():
    with Terminal("play", "-", "--osc", "9") as terminal:
        assert terminal.end() == 2
    assert "stdin is a terminal" in terminal.text


@terminals
def test_ctrl_c_ends_playing_and_every_note(tmp_path, receiver):
    with (
        growing(tmp_path / "a"),
        Terminal("play", tmp_path / "a", "--osc", receiver.target, "-p", "hold") as terminal,
    ):
        until(lambda: receiver.sounding, "sound")
        terminal.press("\x03")
        terminal.end()
        assert not receiver.sounding
        assert receiver.of("/gradmidi/stop")
        assert "Traceback" not in terminal.text


@pytest.mark.slow
@terminals
def test_wait_starts_on_enter(run, receiver):
    with Terminal("play", run, "--osc", receiver.target, "--wait") as terminal:
        terminal.wait_for("press Enter to start")
        time.sleep(0.3)
        assert not receiver.messages
        terminal.press("\r")
        assert terminal.end() == 0
    assert receiver.step == 20


# -- the demo -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_demo_is_heard_step_by_step_and_its_take_kept(tmp_path, receiver):
    pytest.importorskip("torch")
    done = gradmidi(
        "demo", "--steps", 16, "--osc", receiver.target, "--take", "a/live.mid", "--out", "a",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("gradmidi: listening to 4 layers of Net")
    assert re.match(r"step \d+, loss \S+, conv1 norm \S+", lines[1])
    assert not set(done.stderr) & set("\x1b\r━│")
    assert receiver.of("/gradmidi/start") == [["a", 4, 4]]
    # No faster than a step a slot, so as good as each is heard.
    assert len(receiver.of("/gradmidi/step")) >= 12
    assert receiver.step == 16
    assert not receiver.sounding
    ons = [note for note in receiver.of("/gradmidi/note") if note[3]]
    kept = notes(tmp_path / "a" / "live.mid")
    struck = [n for name in NAMES for n in kept[name] if n[1] == "note_on"]
    assert len(struck) == len(ons)
    assert {"run.jsonl", "run.mid", "run.wav"} <= {p.name for p in (tmp_path / "a").iterdir()}


@pytest.mark.slow
@terminals
def test_the_demo_shows_what_play_shows_and_q_ends_it_in_order(tmp_path, receiver):
    pytest.importorskip("torch")
    out = tmp_path / "a"
    with Terminal("demo", "--osc", receiver.target, "--out", out) as terminal:
        terminal.wait_for("steps/s")
        terminal.wait_for("space mute")
        terminal.press("q")
        code = terminal.end()
    assert code == 0, terminal.text
    assert not receiver.sounding
    assert 1 < receiver.step < 200
    assert (out / "run.wav").exists()
    assert b'{"end": "closed"' in (out / FILE_NAME).read_bytes().replace(b'":"', b'": "')


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--osc", "nowhere"), "'nowhere' is not an OSC address"),
        (("--preset", "x"), "no preset is called 'x'"),
        (("--data", "nowhere"), "no MNIST in nowhere"),
    ],
)
def test_the_demo_replaces_no_run_before_another_can_begin(run, words, line):
    pytest.importorskip("torchvision")
    before = (run / FILE_NAME).read_bytes()
    done = gradmidi("demo", "--out", run.name, "--force", *words, cwd=run.parent)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"gradmidi: {line}"), done.stderr
    assert [path.name for path in run.iterdir()] == [FILE_NAME]
    assert (run / FILE_NAME).read_bytes() == before


@pytest.mark.slow
def test_the_demo_replaces_a_run_where_it_is_reported_to(run):
    pytest.importorskip("torch")
    done = gradmidi("demo", "--out", run.name, "--force", "--steps", 3, cwd=run.parent)
    assert done.returncode == 0, done.stderr
    assert RunLog(run).steps == 3
    assert [path.name for path in run.glob("run.jsonl*")] == [FILE_NAME]
