"""The log's own thread: what it drops and when, and disks that are full or hang."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening import until

import gradmidi
from gradmidi.base.messages import Warnings
from gradmidi.log import FILE_NAME, End, Frame, Header, Item, Layer
from gradmidi.log.folder import Place, place
from gradmidi.log.writer import BEHIND_SECONDS, LogWriter

HEADER = Header((Layer("fc1", 1), Layer("fc2", 1)))
ROW = np.array([1.0, 2.0])


class Clock:
    """Tells what it was set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def items(folder: Path) -> list[Item]:
    return list(gradmidi.read(folder).items())


def steps(folder: Path) -> list[int]:
    return [item.step for item in items(folder) if isinstance(item, Frame)]


def test_steps_are_dropped_only_once_the_writer_is_ten_seconds_behind(
    tmp_path: Path, said: list[str]
) -> None:
    clock = Clock()
    warnings = Warnings()
    writer = LogWriter(place(tmp_path / "a", HEADER), HEADER, clock=clock, warnings=warnings)
    arrived, go_on = threading.Event(), threading.Event()

    def slowly(norms: Any) -> Any:
        # A device that does not answer.
        arrived.set()
        assert go_on.wait(60.0)
        return norms

    writer.frame(1, ROW, slowly)
    assert arrived.wait(60.0)
    for step, now in enumerate([0.1, 5.0, BEHIND_SECONDS, BEHIND_SECONDS + 0.1, 100.0], 2):
        clock.now = now
        writer.frame(step, ROW)
    # What is no step is never dropped.
    writer.mark("epoch 2")
    assert writer.dropped == 2
    go_on.set()
    until(lambda: writer._behind_since is None, "the writer to catch up")
    writer.frame(7, ROW)
    assert writer.close(timeout=60.0)
    assert steps(tmp_path / "a") == [1, 2, 3, 4, 7]
    (end,) = (item for item in items(tmp_path / "a") if isinstance(item, End))
    assert (end.steps, end.dropped) == (5, 2)
    assert said == ["run log behind: ten seconds; steps are left out"]
    assert warnings.counts["run log behind"] == 2


class Heard:
    """A feed: what sounds, whatever becomes of the disk."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def send(self, item: Item) -> None:
        if isinstance(item, Frame):
            self.steps.append(item.step)

    def close(self, timeout: float) -> None: ...


def stuffed(write: int) -> int:
    """Fill a pipe to its last byte; return how many it took."""
    os.set_blocking(write, False)
    taken = 0
    try:
        # One byte at a time at the end: nothing may fit any more.
        for size in (4096, 1):
            try:
                while True:
                    taken += os.write(write, b"\n" * size)
            except BlockingIOError:
                pass
    finally:
        os.set_blocking(write, True)
    return taken


@pytest.mark.skipif(os.name == "nt", reason="pipes of Windows cannot be asked whether they block")
def test_a_disk_that_hangs_drops_steps_after_ten_seconds_and_no_sound(said: list[str]) -> None:
    read, write = os.pipe()
    clock, heard = Clock(), Heard()
    writer = LogWriter(
        Place(Path("a"), write),
        HEADER,
        feeds=[heard],
        clock=clock,
        warnings=Warnings(),
    )
    stuffed(write)
    writer.frame(1, ROW)
    # The second sends the first to the disk, and so on.
    writer.frame(2, ROW)
    until(lambda: writer._disk_since is not None, "a line that waits for the disk")
    for step, now in enumerate([5.0, BEHIND_SECONDS, BEHIND_SECONDS + 0.1, 100.0], 3):
        clock.now = now
        writer.frame(step, ROW)
        until(lambda: heard.steps[-1:] == [step], f"step {step} to be heard")  # noqa: B023
        until(writer._queue.empty, "the writer")
    # It sends the last one on, and is itself never dropped.
    writer.mark("epoch 2")
    until(lambda: writer.dropped == 3, "three steps to be dropped")
    assert heard.steps == [1, 2, 3, 4, 5, 6]
    assert not writer.close(timeout=0.0)
    os.set_blocking(read, True)
    written = b""
    while b'{"end"' not in written or not written.endswith(b"\n"):
        written += os.read(read, 65536)
    os.close(read)
    assert writer.close(timeout=60.0)
    lines = [line for line in written.splitlines() if line]
    # Each goes out when the next one comes: the third at ten seconds, the fourth after.
    assert [line[:10] for line in lines if line.startswith(b'{"step"')] == [
        b'{"step": %d' % step for step in (1, 2, 3)
    ]
    assert b'"epoch 2"' in written
    assert b'"dropped": 3' in lines[-1]
    assert said == ["run log behind: ten seconds; steps are left out"]


FULL = """
import resource, sys
import gradmidi

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

ears = gradmidi.record(sys.argv[1], layers=["fc1", "fc2"], files=())
def frames(first, last):
    for step in range(first, last):
        ears.frame([1.0, 2.0], step=step)
    # All but the last, which waits for what is logged with it.
    while ears._writer.steps + ears._writer.dropped < last - 2:
        pass
frames(1, 11)
limit(ears._writer.size + 20)
frames(11, 21)
limit(resource.RLIM_INFINITY)
frames(21, 31)
ears.close()
print("trained", flush=True)
"""


def run(script: str, *words: object) -> "subprocess.CompletedProcess[str]":
    pytest.importorskip("resource", reason="limits of file size are POSIX")
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )


def test_a_disk_that_is_full_for_a_while_loses_those_lines_alone(tmp_path: Path) -> None:
    done = run(FULL, tmp_path / "a")
    assert (done.returncode, done.stdout) == (0, "trained\n"), done.stderr
    assert done.stderr.count("run log: a line was cut short; goes on trying") == 1
    log = gradmidi.read(tmp_path / "a")
    found = [frame.step for frame in log.frames()]
    assert found == [*range(1, 10), *range(20, 31)] or found == [*range(1, 11), *range(21, 31)]
    lost = 30 - len(found)
    assert log.broken == 1
    assert f"gradmidi: {lost} lines of the run log could not be written\n" in done.stderr
    (end,) = (item for item in items(tmp_path / "a") if isinstance(item, End))
    assert (end.steps, end.dropped) == (len(found), lost)


NONE = """
import resource, sys
import gradmidi

resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))
try:
    gradmidi.record(sys.argv[1], layers=["fc1"], files=())
except gradmidi.RunLogError as error:
    print(error)
"""


def test_a_disk_that_takes_not_even_the_header_is_told_before_step_1(tmp_path: Path) -> None:
    done = run(NONE, tmp_path / "a")
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "a" / FILE_NAME
    assert done.stdout.startswith(f"cannot write the run log {path}: ")
    assert done.stdout.endswith("; free some space, or give another out\n")
