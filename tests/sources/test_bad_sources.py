"""Bad logs of other tools, and bad text on stdin, given to the commands as a user does."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from listening import Program, Receiver, until
from toollogs import events, scalar, wandb

import gradmidi
from gradmidi.sources.selection import RULE


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "gradmidi", *map(str, words)]


# -- many values -----------------------------------------------------------------------------------

NAMES = [f"metric{n}" for n in range(4998)] + ["val/loss", "train/loss"]


def tensorboard(folder: Path) -> Path:
    points = [scalar(name, 1.0 + n, n, 1000.0 + n) for n in range(3) for name in NAMES]
    return events(folder / "tb", *points).parent


def jsonl(folder: Path) -> Path:
    path = folder / "log.jsonl"
    rows = [{"step": n, **dict.fromkeys(NAMES, 1.0 + n)} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def wandb_file(folder: Path) -> Path:
    path = folder / "offline-run-20261130_120000-abcd1234" / "run-abcd1234.wandb"
    rows = [{"_step": str(n), **dict.fromkeys(NAMES, str(1.0 + n))} for n in range(3)]
    wandb(path, *rows)
    return path


def text(folder: Path) -> Path:
    path = folder / "train.log"
    values = " ".join(f"{name}={{0}}.5" for name in NAMES)
    # A line of more than 64 kB is read up to there only.
    halves = [" ".join(values.split()[at : at + 1000]) for at in range(0, 5000, 1000)]
    lines = [f"step {n} {half.format(n)}" for n in range(3) for half in halves]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("make", [tensorboard, jsonl, wandb_file, text])
def test_of_5000_values_fifteen_are_heard_by_a_rule_that_is_told(
    tmp_path: Path, said: list[str], make: object
) -> None:
    run = gradmidi.read(make(tmp_path))
    (frame, *_) = run.frames()
    assert list(frame.extra) == ["val/loss", "loss", *(f"metric{n}" for n in range(13))]
    assert said[1] == f"there are 5,000 values; heard are {RULE}"


# -- text on stdin ---------------------------------------------------------------------------------

GOOD = b"".join(b"step %d loss %d.5\n" % (n, 9 - n) for n in range(3))

BAD_TEXT = {
    "binary": random.Random(7).randbytes(100_000).replace(b"\n", b"") + b"\n",
    "a line of 10 MB": b"x" * 10_000_000 + b" loss 3\n",
    "half a letter": "größe".encode()[:3] + b"\n",
    "escapes": b"\x1b[2J\x1b]0;title\x07\n",
    "huge numbers": b"step 99999999999999999999999 loss 1e999\nstep 1e9 loss 1_000\n",
    "a tag with 10,000 letters": b"a" * 10_000 + b": 1.5\n" * 2,
}


@pytest.mark.parametrize(
    "what",
    [what if what == "binary" else pytest.param(what, marks=pytest.mark.slow) for what in BAD_TEXT],
)
def test_bad_text_goes_on_unchanged_and_what_is_good_is_heard(what: str) -> None:
    data = GOOD + BAD_TEXT[what] + GOOD.replace(b"step ", b"step 1")
    with Receiver() as receiver:
        done = subprocess.run(
            command("play", "-", "--osc", receiver.target, "--from", "start"),
            input=data,
            capture_output=True,
            check=False,
            start_new_session=True,
        )
        losses = [loss for (loss,) in receiver.of("/gradmidi/loss")]
    assert done.stdout == data
    errors = done.stderr.decode()
    assert done.returncode == 0, errors
    assert "Traceback" not in errors
    assert "stdin is text: hearing loss" in errors
    assert ("binary data: " in errors) == (what == "binary")
    assert losses
    assert set(losses) <= {9.5, 8.5, 7.5, 3.0}
    assert max(map(len, errors.splitlines())) < 200
    assert "unreadable" not in errors
    assert "could not be read" not in errors


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\0\1\2" * 1000, "stdin has ended without a number"),
        ("größe".encode()[:3], "stdin has ended without a number"),
        (b"", "stdin holds no line of a run log"),
        (
            GOOD,
            "the run is over, and all of it was there before; add --from start to hear it from "
            "its start",
        ),
    ],
    ids=["binary", "half a letter", "nothing", "all of it before"],
)
def test_stdin_that_never_gets_a_number_is_one_line(data: bytes, error: str) -> None:
    with Receiver() as receiver:
        done = subprocess.run(
            command("play", "-", "--osc", receiver.target),
            input=data,
            capture_output=True,
            check=False,
            start_new_session=True,
        )
    assert (done.returncode, done.stdout) == (1, data)
    *_, line = done.stderr.decode().splitlines()
    assert line == f"gradmidi: {error}"


# -- logs ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_folder_with_two_runs_is_an_error_that_lists_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        events(tmp_path / name, scalar("loss", 1.0, 1, 1000.0))
    for words in (["play", tmp_path, "--osc", "9"], ["describe", tmp_path, "--as", "tensorboard"]):
        done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith(f"gradmidi: {tmp_path} holds 2 logs that can be read (*tfeve")
        assert done.stderr.endswith(f"); give one of: {tmp_path / 'a'}, {tmp_path / 'b'}\n")


@pytest.mark.slow
def test_a_newer_file_of_wandb_is_named_by_every_command(tmp_path: Path) -> None:
    path = tmp_path / "run-abcd1234.wandb"
    wandb(path, {"loss": "1.0"}, version=9)
    for words in (["play", path, "--osc", "9"], ["import", path, "-o", tmp_path / "run"]):
        done = subprocess.run(command(*words), capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.endswith(
            f"gradmidi: {path} is an offline file of W&B in format version 9; this gradmidi reads "
            "version 0: export the run as CSV, or update gradmidi\n"
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_source_that_vanishes_comes_back_and_goes_back_is_played_on(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    number = 0

    def write(mode: str, *steps: int) -> None:
        nonlocal number
        with path.open(mode) as file:
            if mode == "w":
                file.write("time,step,loss\n")
            for step in steps:
                # A clock that jumps an hour back now and then.
                number += 1
                clock = 1.8e9 + 0.05 * number - 3600 * (number % 9 > 5)
                file.write(f"{clock},{step},{5 - step % 3}\n")

    write("w", *range(5))
    with (
        Receiver() as receiver,
        Program(*command("play", path, "--osc", receiver.target)) as process,
    ):

        def heard_from(first: int) -> None:
            """Append rows until one of them is heard."""
            before = len(receiver.of("/gradmidi/step"))
            for step in range(first, first + 200):
                write("a", step)
                later = receiver.of("/gradmidi/step")[before:]
                if any(first <= at <= step for at, _ in later):
                    return
                time.sleep(0.05)
            pytest.fail(f"no step from {first} on was heard; {later}")

        heard_from(1000)
        path.unlink()
        time.sleep(0.6)
        write("w", 3000)
        heard_from(3001)
        # Steps that go back, as after a restart from a checkpoint.
        heard_from(2000)
        os.killpg(process.pid, signal.SIGINT)
        errors = process.result()[2]
        until(lambda: not receiver.sounding, "silence")
    assert "Traceback" not in errors
    assert f"{path} is gone; still looking" in errors
    assert f"{path} is back; still looking" in errors
