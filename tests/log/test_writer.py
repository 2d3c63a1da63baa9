"""The log's own thread: what it drops and when, and disks that are full or hang."""

import json
import math
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
from gradmidi.log import FILE_NAME, End, Frame, Header, Item, Layer, Record, Values
from gradmidi.log.folder import RunFolder, open_folder
from gradmidi.log.output import BEHIND_SECONDS
from gradmidi.log.values import Assignment, Clipping
from gradmidi.log.writer import LogWriter

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
    writer = LogWriter(open_folder(tmp_path / "a", HEADER), HEADER, clock=clock, warnings=warnings)
    arrived, go_on = threading.Event(), threading.Event()

    def slowly(norms: Any) -> Any:
        # A device that does not answer.
        arrived.set()
        assert go_on.wait(60.0)
        return norms

    writer.frame(1, ROW, slowly)
    assert arrived.wait(60.0)
    # A time without any step counts as one second: the process may have been stopped in it.
    for step, now in enumerate([0.1, *range(1, int(BEHIND_SECONDS) + 1), 100.0, 101.0], 2):
        clock.now = now
        writer.frame(step, ROW)
    # What is not a step is never dropped.
    writer.mark("epoch 2")
    assert writer.dropped == 2
    go_on.set()
    until(lambda: writer._behind_since is None, "the writer to catch up")
    writer.frame(15, ROW)
    assert writer.close(timeout=60.0)
    assert steps(tmp_path / "a") == [*range(1, 13), 15]
    (end,) = (item for item in items(tmp_path / "a") if isinstance(item, End))
    assert (end.steps, end.dropped) == (13, 2)
    assert said == ["run log behind: ten seconds; steps are left out"]
    assert warnings.counts["run log behind"] == 2


class Heard:
    """A feed: what sounds, whatever becomes of the disk."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def send(self, record: Record, line: bytes) -> None:
        if isinstance(record, Frame):
            self.steps.append(record.step)

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
        RunFolder(Path("a"), write),
        HEADER,
        feeds=[heard],
        clock=clock,
        warnings=Warnings(),
    )
    stuffed(write)
    writer.frame(1, ROW)
    writer.frame(2, ROW)
    until(lambda: writer._disk._since is not None, "a line that waits for the disk")
    times = [*range(1, int(BEHIND_SECONDS) + 1), 100.0, 101.0]
    for step, now in enumerate(times, 3):
        clock.now = now
        writer.frame(step, ROW)
        until(lambda: heard.steps[-1:] == [step], f"step {step} to be heard")  # noqa: B023
        until(writer._queue.empty, "the writer")
    # What is logged for a frame that was dropped is dropped with it; a mark never is.
    writer.values({"loss": 2.0})
    writer.mark("epoch 2")
    until(lambda: writer.dropped == 2, "two steps to be dropped")
    assert heard.steps == list(range(1, 15))
    assert not writer.close(timeout=0.0)
    os.set_blocking(read, True)
    written = b""
    while b'{"end"' not in written or not written.endswith(b"\n"):
        written += os.read(read, 65536)
    os.close(read)
    assert writer.close(timeout=60.0)
    lines = [line for line in written.splitlines() if line]
    assert [json.loads(line)["step"] for line in lines if line.startswith(b'{"step"')] == [
        *range(1, 13)
    ]
    assert b'"epoch 2"' in written
    assert b"loss" not in written
    assert b'"dropped": 2' in lines[-1]
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
    while ears._writer.steps + ears._writer.dropped < last - 1:
        pass
frames(1, 11)
limit(ears._writer._file.size + 20)
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
    told = "run log: File too large; lines are lost until it can be written"
    assert done.stderr.count(told) == 1
    log = gradmidi.read(tmp_path / "a")
    found = [frame.step for frame in log.frames()]
    assert found == [*range(1, 10), *range(20, 31)] or found == [*range(1, 11), *range(21, 31)]
    lost = 30 - len(found)
    assert log.unreadable == 1
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


def test_an_error_of_writing_the_header_is_raised_before_step_1(tmp_path: Path) -> None:
    done = run(NONE, tmp_path / "a")
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "a" / FILE_NAME
    assert done.stdout.startswith(f"cannot write the run log {path}: ")
    assert done.stdout.endswith("; free some space, or give another out\n")


# -- which frame a value belongs to, and what the lines are ---------------------------------------


def told(lines: list[Record]) -> list[tuple[int, dict[str, Any]]]:
    return [
        (line.step, dict(line.extra if isinstance(line, Frame) else line.values))
        for line in lines
        if isinstance(line, (Frame, Values))
    ]


def given(assignment: Assignment, step: int) -> dict[str, Any]:
    return dict(assignment.begin(Frame(step, step / 10, ROW)).extra)


def test_a_value_after_the_step_belongs_to_that_step() -> None:
    assignment = Assignment()
    for step in (1, 2, 3):
        assert given(assignment, step) == {}
        assert assignment.assign({"loss": step + 0.5}, looked_at=True) == {"loss": step + 0.5}


def test_a_value_before_the_first_step_leads_from_then_on() -> None:
    assignment = Assignment()
    for step in (1, 2, 3):
        assert assignment.assign({"loss": step + 0.5}, looked_at=True) == {}
        assert given(assignment, step) == {"loss": step + 0.5}


def test_a_value_that_is_nan_or_infinite_is_not_hidden_by_an_earlier_one() -> None:
    assignment = Assignment()
    assignment.assign({"lr": math.inf}, looked_at=True)
    assignment.assign({"lr": 0.1}, looked_at=True)
    assert given(assignment, 1) == {"lr": math.inf}
    assert assignment.assign({"loss": 2.5}, looked_at=True) == {"loss": 2.5}
    found = assignment.assign({"loss": math.nan, "acc": 0.5}, looked_at=True)
    assert math.isnan(found.pop("loss"))
    assert found == {"acc": 0.5}
    assert assignment.assign({"loss": math.inf}, looked_at=True) == {}
    assert assignment.assign({"loss": 1.5}, looked_at=True) == {}


def test_of_several_values_of_one_name_for_a_step_the_first_counts() -> None:
    assignment = Assignment()
    assignment.begin(Frame(1, 0.1, ROW))
    assert assignment.assign({"loss": 1.0}, looked_at=True) == {"loss": 1.0}
    # One more micro-batch, or a step that a GradScaler threw away: there is no frame for it.
    assert assignment.assign({"loss": 7.0, "lr": 0.1}, looked_at=True) == {"lr": 0.1}
    assert given(assignment, 2) == {}
    assert assignment.assign({"loss": 2.0}, looked_at=True) == {"loss": 2.0}


def test_values_of_steps_that_were_not_looked_at_are_left_out() -> None:
    assignment = Assignment()
    assignment.begin(Frame(1, 0.1, ROW))
    assert assignment.assign({"loss": 2.0}, looked_at=False) == {}
    assert given(assignment, 3) == {}


class Kept:
    """A feed that keeps every record and its line."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.lines: list[bytes] = []

    def send(self, record: Record, line: bytes) -> None:
        self.records.append(record)
        self.lines.append(line)

    def close(self, timeout: float) -> None: ...


class Arriving:
    """A number that a device still computes, until it is let go."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.arrived = threading.Event()

    @property
    def has_arrived(self) -> bool:
        return self.arrived.is_set()

    def item(self) -> float:
        assert self.arrived.wait(60.0)
        return self.value


def test_a_value_that_is_ready_is_on_its_frames_line(tmp_path: Path) -> None:
    writer = LogWriter(open_folder(tmp_path / "a", HEADER), HEADER)
    writer.frame(1, ROW)
    writer.values({"loss": 1.5})
    writer.values({"lr": 0.1})
    assert writer.close(timeout=60.0)
    lines = (tmp_path / "a" / FILE_NAME).read_bytes().splitlines()
    assert [line for line in lines if b"step" in line[:8]] == [lines[1]]
    assert lines[1].endswith(b'"norms": [1, 2], "loss": 1.5, "lr": 0.1}')


def test_a_frame_is_written_once_and_goes_out_before_a_value_that_is_on_a_device(
    tmp_path: Path,
) -> None:
    kept = Kept()
    writer = LogWriter(open_folder(tmp_path / "a", HEADER), HEADER, feeds=[kept])
    losses = [Arriving(2.5), Arriving(2.25)]
    for step, loss in enumerate(losses, 1):
        writer.frame(step, ROW)
        writer.values({"loss": loss})
        until(lambda: len(told(kept.records)) == 2 * step - 1, "the frame")  # noqa: B023
        loss.arrived.set()
        until(lambda: len(told(kept.records)) == 2 * step, "its loss")  # noqa: B023
    assert writer.close(timeout=60.0)
    assert told(kept.records) == [(1, {}), (1, {"loss": 2.5}), (2, {}), (2, {"loss": 2.25})]
    lines = (tmp_path / "a" / FILE_NAME).read_bytes().splitlines(keepends=True)
    # Live output gets the bytes of the log; its end comes at once, the log's when all is written.
    assert kept.lines[:-1] == lines[:-1]
    assert lines[2] == b'{"step": 1, "loss": 2.5}\n'
    assert [frame.loss for frame in gradmidi.read(tmp_path / "a").frames()] == [2.5, 2.25]
    assert writer.bytes_per_step == sum(map(len, lines[1:-1])) / 2


def test_a_total_that_comes_late_restores_the_norms_of_its_frame(tmp_path: Path) -> None:
    total = Arriving(10.0)
    kept = Kept()
    writer = LogWriter(
        open_folder(tmp_path / "a", HEADER), HEADER, feeds=[kept], clipping=Clipping(whole=True)
    )
    writer.frame(1, np.array([0.6, 0.8]))
    writer.values({"total_norm": total})
    until(lambda: told(kept.records), "the frame")
    total.arrived.set()
    assert writer.close(timeout=60.0)
    (frame,) = gradmidi.read(tmp_path / "a").frames()
    assert frame.norms.tolist() == [6.0, 8.0]
    assert b'{"step": 1, "norms": [6, 8], "total_norm": 10}\n' in kept.lines
    (end,) = (item for item in items(tmp_path / "a") if isinstance(item, End))
    assert end.clipping == "before"
