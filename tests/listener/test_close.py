"""The end of a run, by real processes: bounded, whole after Ctrl-C, and told."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import gradmidi
from gradmidi.log import End

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")

SCRIPT = """
import sys
import gradmidi

folder, python, ending = sys.argv[1:]
# What renders the files waits until the test lets it go on.
sys.executable = python
ears = gradmidi.record(folder, layers=["fc1", "fc2"], files=("mid",))
for step in range(50):
    ears.frame([1.0 + step, 2.0])
if ending == "raise":
    with ears:
        raise ArithmeticError("enough")
print("closing", flush=True)
ears.close()
print("closed", flush=True)
"""


@contextmanager
def closing(folder: Path, ending: str = "close"):
    """A run that is being closed, whose renderer waits for `folder`/go."""
    folder.mkdir()
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nwhile [ ! -e "{folder}/go" ]; do sleep 0.05; done\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    script = folder / "train.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder / "run"), str(python), ending],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        (folder / "go").touch()
        process.kill()
        process.communicate()


def rest(process) -> tuple[str, str]:
    """What else it prints until its end; `communicate` would miss what was read ahead."""
    found = process.stdout.read(), process.stderr.read()
    process.wait(60.0)
    return found


def appears(path: Path) -> bool:
    end = time.monotonic() + 60.0
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return path.exists()


def reason(folder: Path) -> str:
    (end,) = (item for item in gradmidi.read(folder).items() if isinstance(item, End))
    return end.reason


def log_is_ended(folder: Path) -> bool:
    end = time.monotonic() + 60.0
    while time.monotonic() < end:
        if b'{"end"' in (folder / "run" / "run.jsonl").read_bytes():
            return True
        time.sleep(0.05)
    return False


def test_it_waits_for_the_files_and_names_them(tmp_path):
    with closing(tmp_path / "a") as process:
        assert process.stdout.readline() == "closing\n"
        (tmp_path / "a" / "go").touch()
        out, err = process.communicate(timeout=60.0)
    assert (process.returncode, out) == (0, "closed\n")
    assert err.splitlines()[-1] == f"gradmidi: wrote {tmp_path / 'a' / 'run' / 'run.mid'}"
    assert any("50 steps in" in line and "bytes a step" in line for line in err.splitlines())


def test_it_reports_faults_and_writes_the_description_next_to_the_log(tmp_path, capsys):
    for name, rows, last in (
        ("a", [[1.0, 2.0]] * 4 + [[float("nan"), 2.0]], "1 fault, at step 5: fc1 nan"),
        ("b", [[1.0, 2.0]] * 5, None),
    ):
        with gradmidi.record(tmp_path / name, layers=["fc1", "fc2"]) as ears:
            for row in rows:
                ears.frame(row)
        told = capsys.readouterr().err.splitlines()
        assert told[-1].startswith(f"gradmidi: {last}" if last else "gradmidi: wrote ")
        words = (tmp_path / name / "run.txt").read_text(encoding="utf-8").splitlines()
        assert words[1] == ("1 fault" if last else "no faults")
        assert ("step 5 to the end: fc1 nan" in words) == bool(last)


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_ends_the_wait_and_leaves_all_files_complete(tmp_path, presses):
    with closing(tmp_path / "a") as process:
        assert process.stdout.readline() == "closing\n"
        assert log_is_ended(tmp_path / "a")
        # To all of them, as a terminal does.
        os.killpg(process.pid, signal.SIGINT)
        told = ""
        while "still being written by another process" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        if presses == 2:
            # Not before: of two that come at once the second is none.
            os.killpg(process.pid, signal.SIGINT)
        out, err = rest(process)
        assert process.returncode == -signal.SIGINT
        assert out == ""
        if presses == 1:
            assert err.rstrip().endswith("KeyboardInterrupt")
        assert reason(tmp_path / "a" / "run") == "closed"
        assert not (tmp_path / "a" / "run" / "run.mid").exists()
    # The renderer was not reached by Ctrl-C, and finishes alone.
    assert appears(tmp_path / "a" / "run" / "run.mid")


HANGING = """
import sys
import gradmidi
from gradmidi.listener import listener as listening
from gradmidi.listener.ending import DeferredInterrupt

folder, listening.FLUSH_SECONDS = sys.argv[1], float(sys.argv[2])
count, wait = DeferredInterrupt._count, DeferredInterrupt.wait

def told(self, *given):
    count(self, *given)
    print("pressed", self.interrupts, flush=True)

def waiting(self, *given):
    print("waiting", flush=True)
    return wait(self, *given)

DeferredInterrupt._count, DeferredInterrupt.wait = told, waiting
ears = gradmidi.record(folder, layers=["fc1", "fc2"], files=())
for step in range(2000):
    ears.frame([1.0 + step, 2.0])
ears.close()
print("closed", flush=True)
"""


@contextmanager
def hanging(folder: Path, seconds: float):
    """A run that is being closed, whose log is a pipe that is full; and that pipe."""
    folder.mkdir()
    os.mkfifo(folder / "run.jsonl")
    disk = os.open(folder / "run.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    process = subprocess.Popen(
        [sys.executable, "-c", HANGING, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "waiting\n"
        yield process, disk
    finally:
        process.kill()
        process.communicate()
        os.close(disk)


def press(process) -> None:
    os.killpg(process.pid, signal.SIGINT)


def assert_all_are_counted(err) -> None:
    """Steps that are queued behind a slow disk are counted, beside those that are written."""
    (written,) = re.findall(r"([\d,]+) steps? in ", err)
    (missing,) = re.findall(
        r"the disk is too slow: ([\d,]+) steps and the end are not in the run log yet; they are",
        err,
    )
    assert sum(int(each.replace(",", "")) for each in (written, missing)) == 2000


def test_a_log_that_cannot_be_flushed_is_waited_for_no_longer_than_said(tmp_path):
    with hanging(tmp_path / "a", 0.3) as (process, _):
        out, err = rest(process)
        assert (process.returncode, out) == (0, "closed\n")
        assert_all_are_counted(err)


def test_a_second_ctrl_c_gives_up_a_log_that_cannot_be_flushed(tmp_path):
    with hanging(tmp_path / "a", 1000.0) as (process, _):
        press(process)
        assert process.stdout.readline() == "pressed 1\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        press(process)
        out, err = rest(process)
        assert process.returncode == -signal.SIGINT
        assert out == "pressed 2\n"
        assert_all_are_counted(err)
        assert err.rstrip().endswith("KeyboardInterrupt")


def test_after_one_ctrl_c_a_slow_disk_still_gets_the_whole_log(tmp_path):
    with hanging(tmp_path / "a", 1000.0) as (process, disk):
        press(process)
        assert process.stdout.readline() == "pressed 1\n"
        os.set_blocking(disk, True)
        held = b""
        while chunk := os.read(disk, 65536):
            held += chunk
        out, err = rest(process)
        assert (process.returncode, out) == (-signal.SIGINT, "")
        assert "disk is too slow" not in err
        assert "2,000 steps in" in err
        assert err.rstrip().endswith("KeyboardInterrupt")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.jsonl").write_bytes(held)
    log = gradmidi.read(tmp_path / "b")
    assert (log.steps, reason(tmp_path / "b")) == (2000, "closed")


def test_after_an_exception_it_does_not_wait(tmp_path):
    with closing(tmp_path / "a", "raise") as process:
        _, err = process.communicate(timeout=60.0)
        assert process.returncode == 1
        assert "ArithmeticError: enough" in err
        assert "still being written" in err
        assert reason(tmp_path / "a" / "run") == "exception: ArithmeticError: enough"
    assert appears(tmp_path / "a" / "run" / "run.mid")


FULL = """
import resource, sys
import gradmidi

ears = gradmidi.record(sys.argv[1], layers=["fc1"], files=("wav",))
for step in range(50):
    ears.frame([1.0 + step])
while ears._writer.steps < 50:
    pass
# From here on no file may be larger than the log and a little: the end fits, a WAV does not.
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
ears.close()
print("trained", flush=True)
"""


def test_a_disk_that_is_full_at_close_is_reported_and_training_ends_normally(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        timeout=120.0,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
    last = done.stderr.splitlines()[-1]
    assert "run.wav could not be written" in last
    assert "try `gradmidi render" in last
    assert reason(tmp_path / "a") == "closed"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["run.jsonl"]


KILLED = """
import itertools, sys
import gradmidi

ears = gradmidi.record(sys.argv[1], layers=["fc1", "fc2"], files=("mid", "wav"))
for step in itertools.count():
    ears.frame([1.0 + step % 5, 2.0], loss=1.0)
    if step % 100 == 0:
        print(step, flush=True)
        while ears._writer.steps < step:
            pass
"""


@pytest.mark.parametrize("hundreds", [3, 8, 21])
def test_a_run_killed_at_any_moment_is_rendered(tmp_path, hundreds):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "a")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        for _ in range(hundreds):
            process.stdout.readline()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    log = gradmidi.read(tmp_path / "a")
    assert log.steps >= 100 * (hundreds - 2)
    assert [frame.step for frame in log.frames()] == list(range(1, log.steps + 1))
    paths = gradmidi.render(log, tmp_path / "a.mid", tmp_path / "a.wav", length=10.0)
    assert all(path.stat().st_size > 1000 for path in paths)
