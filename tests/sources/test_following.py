"""Growing logs of other tools, followed as the lines of a run log."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from listening import Program, Receiver, until
from toollogs import events, scalar, start

from gradmidi import describe
from gradmidi.errors import RunLogError
from gradmidi.log import Decoder, End, Frame, Header, Record, RunLog, Values
from gradmidi.sources.follow import CAUGHT_UP
from gradmidi.sources.following import follow_log
from gradmidi.sources.kinds import find_log
from gradmidi.sources.opened import open_log
from gradmidi.sources.selection import Selection

NAN = float("nan")


class Followed:
    """Follows a log on a thread, and collects its records."""

    def __init__(self, path: Path, **selection: object) -> None:
        self.records: list[Record] = []
        self.past: list[bool] = []
        self.error: RunLogError | None = None
        self._stop = threading.Event()
        self._found = find_log(path)
        self._selection = Selection(**selection)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        decoder = Decoder("the log")
        try:
            for line in follow_log(self._found, self._selection, stop=self._stop):
                if line == CAUGHT_UP:
                    continue
                self.past.append(line.past)
                record = decoder.decode(line.data)
                assert record is not None
                self.records.append(record)
        except RunLogError as error:
            self.error = error

    def wait(self, number: int) -> list[str]:
        """Wait for a number of records; return all in short."""
        until(lambda: len(self.records) >= number or self.error, f"{number}, got {self.shown}")
        assert self.error is None
        return self.shown

    @property
    def shown(self) -> list[str]:
        return list(map(short, self.records))

    def __enter__(self) -> "Followed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10.0)
        assert not self._thread.is_alive()


def short(record: Record) -> str:
    """Write a record in short: step, norms, values."""
    if isinstance(record, Header):
        names = " ".join(layer.name for layer in record.layers)
        return f"resumed {names}" if record.resumed else f"header {names}"
    if isinstance(record, Frame):
        return f"{record.step}: {record.norms.tolist()} {record.extra}"
    if isinstance(record, Values):
        norms = "" if record.norms is None else f" {record.norms.tolist()}"
        return f"late {record.step}:{norms} {record.values}"
    assert isinstance(record, End)
    return f"end {record.reason} {record.steps}"


def append(path: Path) -> Callable[[str], None]:
    def write(text: str) -> None:
        with path.open("a") as file:
            file.write(text)

    return write


def test_what_is_there_is_past_and_what_comes_is_not(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,grad/fc1,loss\n1,0.5,3\n2,0.25,nan\n3,0.5,2\n4,1,1\n5,")
    add = append(path)
    with Followed(path) as log:
        log.wait(5)
        add("2,0.5\n")
        log.wait(6)
        add("6,nan,inf\n")
        assert log.wait(7) == [
            "header fc1",
            "1: [0.5] {'loss': 3}",
            "2: [0.25] {'loss': nan}",
            "3: [0.5] {'loss': 2}",
            "4: [1.0] {'loss': 1}",
            "5: [2.0] {'loss': 0.5}",
            "6: [nan] {'loss': inf}",
        ]
    assert log.past == [True] * 5 + [False] * 2
    assert said == [f"{path} is a CSV file: hearing grad/fc1, loss"]


def test_rows_of_one_step_are_one_frame_and_later_ones_are_late(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss,acc\n1,3,\n1,,0.5\n2,2,\n3,1,\n")
    add = append(path)
    with Followed(path) as log:
        log.wait(4)
        add("3,,0.75\n2,,0.6\n4,1,\n2,20,\n")
        assert log.wait(9) == [
            "header ",
            "1: [] {'loss': 3, 'acc': 0.5}",
            "2: [] {'loss': 2}",
            "3: [] {'loss': 1}",
            "late 3: {'acc': 0.75}",
            "late 2: {'acc': 0.6}",
            "4: [] {'loss': 1}",
            # Only a value that is there already is of a step that is made again.
            "resumed ",
            "2: [] {'loss': 20}",
        ]


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ("1,0.5,3\n2,0.25,2\n3,0.5,1\n", ""),
        ("1,0.5,3\n,0.75,2.5\n2,0.25,2\n", "1 norm left out without a step, the first at line 3"),
        ("0,1,3\n1,2,2\n0,3,1\n1,4,0\n", "steps begin again at line 4: numbered on"),
        ("1,0.5,3\n2,0.25,2\n3,0.5,1\n2,9,8\n3,8,7\n", "steps are repeated at line 5: "),
        ("1,0.5,\n2,0.25,\n3,0.5,\n2,,8\n3,,7\n", ""),
        ("1,,3\n2,,2\n3,,1\n1,0.5,\n2,0.25,\n3,0.5,\n", "steps begin again at line 5: "),
        ("1,0.5,3\n2.5,9,9\n2,0.25,2\n", "line 3 has '2.5' in 'step', which is not a step"),
        ("1,0.5,3\n2,-1,9\n3,0.25,2\n", "line 3: 'grad' is -1.0, which is not a norm: left out"),
    ],
)
def test_a_growing_log_is_told_of_what_is_numbered_on_replaced_or_left_out(
    rows: str, note: str, tmp_path: Path, said: list[str]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"step,grad,loss\n{rows}4,0.5,1\n")
    with Followed(path) as log:
        log.wait(2)
        until(lambda: len(said) > bool(note), f"the note, got {said}")
        time.sleep(0.05)
    about = f"{path} is a CSV file: hearing grad, loss"
    assert len(said) == 1 + bool(note), said
    assert said[0] == about
    assert note in said[-1]


LONG = "step,name,value\n1,grad/a,3\n2,grad/a,2\n1,grad/b,4\n2,grad/b,1\n1,loss,2.5\n2,loss,2\n"


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        "step,grad/a,grad/b,grad_total\n1,3,4,5\n2,6,8,10\n",
        "step,grad,loss\n1,0.5,3\n,0.75,2.5\n2,0.25,2\n",
        "step,grad,loss,acc\n1,0.5,3,\n2,0.25,2,\n3,0.5,1,\n2,,,0.5\n3,,,0.75\n4,1,1,1\n",
        "epoch,step,grad\n0,0,1\n0,1,2\n1,0,3\n1,1,4\n2,0,5\n",
        "step,grad\n1,1\n2,2\n3,3\n4,4\n3,30\n4,40\n5,50\n",
        "loss,note\n3,a\n,b\n2,c\n",
    ],
)
def test_a_growing_log_has_the_steps_norms_and_values_of_the_finished_one(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    found = find_log(path)
    stop = threading.Event()
    with (tmp_path / "run.jsonl").open("wb") as file:
        clock = itertools.count(0.0, 0.3).__next__
        for line in follow_log(found, Selection(), stop=stop, clock=clock):
            file.write(line.data)
            if line == CAUGHT_UP:
                stop.set()

    def contents(log: RunLog) -> dict[int, str]:
        return {frame.step: short(frame) for frame in log.frames()}

    assert contents(RunLog(tmp_path / "run.jsonl")) == contents(open_log(path))


def test_norms_that_come_late_replace_those_of_their_frame(tmp_path: Path) -> None:
    path = events(
        tmp_path / "tb",
        *(scalar(f"grad/{name}", 0.5, n, n) for n in (1, 2, 3) for name in ("a", "b")),
        scalar("grad/a", 0.25, 4, 4),
    )
    with Followed(tmp_path / "tb") as log:
        log.wait(5)
        with path.open("ab") as file:
            file.write(scalar("grad/b", 2.0, 4, 4.1))
        assert log.wait(6)[-2:] == ["4: [0.25, -1.0] {}", "late 4: [0.25, 2.0] {}"]


def test_values_between_two_norms_are_heard_with_the_last_and_join_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,grad,loss\n1,1,5\n2,1,4\n3,1,3\n")
    add = append(path)
    with Followed(path) as log:
        log.wait(4)
        add("4,,nan\n")
        log.wait(5)
        add("5,2,1\n")
        assert log.wait(6)[-2:] == ["late 3: {'loss': nan}", "5: [2.0] {'loss': nan}"]


def test_a_tag_that_appears_late_is_heard_and_said(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"step": {n}, "loss": {n}}}\n' for n in (1, 2, 3)))
    add = append(path)
    with Followed(path) as log:
        log.wait(4)
        add('{"step": 4, "loss": 4, "val/acc": 0.5, "time_ms": 8}\n')
        assert log.wait(5)[-1] == "4: [] {'loss': 4, 'val/acc': 0.5}"
        until(lambda: "hearing val/acc too, from here on" in said, "the message")


def test_steps_that_go_back_begin_a_segment_and_steps_that_begin_again_go_on(
    tmp_path: Path,
) -> None:
    path = events(tmp_path / "tb", *(scalar("loss", n, n, n) for n in range(5)))
    with Followed(tmp_path / "tb") as log:
        log.wait(6)
        with path.open("ab") as file:
            file.write(start(3, 10.0) + scalar("loss", 30, 3, 10.0) + scalar("loss", 40, 4, 11.0))
        assert log.wait(9)[-3:] == ["resumed ", "3: [] {'loss': 30}", "4: [] {'loss': 40}"]
    again = tmp_path / "log.csv"
    again.write_text("step,loss\n0,1\n1,2\n2,3\n")
    add = append(again)
    with Followed(again) as log:
        log.wait(4)
        add("0,4\n1,5\n")
        assert log.wait(6)[-2:] == ["3: [] {'loss': 4}", "4: [] {'loss': 5}"]


def test_a_clock_that_jumps_back_does_not_stop_the_time(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    times = [100.0, 101.0, 102.0, 50.0, 51.0]
    path.write_text("step,time,loss\n" + "".join(f"{n},{t},1\n" for n, t in enumerate(times)))
    with Followed(path) as log:
        log.wait(6)
    assert [r.t for r in log.records if isinstance(r, Frame)] == [0.0, 1.0, 2.0, 2.0, 3.0]


def test_a_log_without_times_is_timed_by_its_arrival(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n1,1\n2,1\n3,1\n")
    add = append(path)
    with Followed(path) as log:
        log.wait(4)
        for step in (4, 5):
            add(f"{step},1\n")
            log.wait(step + 1)
            time.sleep(0.3)
    times = [record.t for record in log.records if isinstance(record, Frame)]
    assert times[:4] == [0.0, 0.125, 0.25, 0.25]
    assert times[4] - times[3] >= 0.25


def test_a_log_that_is_empty_at_first_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("")
    add = append(path)
    with Followed(path) as log:
        time.sleep(0.1)
        add("step,loss\n1,2.5\n")
        assert log.wait(2) == ["header ", "1: [] {'loss': 2.5}"]
    # What came after the start sounds.
    assert log.past == [False, False]


def test_a_log_that_is_replaced_is_read_anew_and_one_that_is_gone_is_waited_for(
    tmp_path: Path, said: list[str]
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"step": {n}, "loss": {n}}}\n' for n in (1, 2, 3)))
    with Followed(path) as log:
        log.wait(4)
        path.unlink()
        until(lambda: f"{path} is gone; still looking" in said, "the message")
        path.write_text('{"step": 2, "loss": 20}\n{"step": 3, "loss": 30}\n')
        assert log.wait(7)[-3:] == ["resumed ", "2: [] {'loss': 20}", "3: [] {'loss': 30}"]
        until(lambda: f"{path} is back; still looking" in said, "the message")


@pytest.mark.slow
def test_a_log_that_never_has_a_number_is_told_once(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,note\n1,calm\n2,calm\n3,calm\n")
    now, stop = [0.0], threading.Event()

    def clock() -> float:
        now[0] += 0.5
        if now[0] > 60.0:
            stop.set()
        return now[0]

    assert list(follow_log(find_log(path), Selection(), stop=stop, clock=clock)) == []
    assert said == [f"{path} has no number yet; still looking"]


def test_a_damaged_record_is_told_while_following(tmp_path: Path, said: list[str]) -> None:
    path = events(tmp_path / "tb", *(scalar("loss", n, n, n) for n in range(4)))
    with Followed(tmp_path / "tb") as log:
        log.wait(5)
        broken = bytearray(scalar("loss", 4, 4, 4))
        broken[30] ^= 1
        with path.open("ab") as file:
            file.write(bytes(broken) + scalar("loss", 5, 5, 5))
        assert log.wait(6)[-1] == "5: [] {'loss': 5}"
        until(lambda: any("1 damaged record skipped" in line for line in said), "the message")


def test_a_metric_that_is_no_number_ends_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n1,1\n2,1\n3,1\n")
    with Followed(path) as log:
        log.wait(4)
        append(path)("4,1,7,8\n")
        until(lambda: log.error is not None, "the error")
    assert "line 5 has 4 cells, the header has 2" in str(log.error)


# -- the commands ----------------------------------------------------------------------------------


def gradmidi(*words: object) -> Program:
    return Program(sys.executable, "-m", "gradmidi", *words, stdin=subprocess.DEVNULL)


def test_a_growing_tensorboard_folder_is_played(tmp_path: Path) -> None:
    path = events(tmp_path / "tb", *(scalar("grad_norm", 1.0, n, n) for n in range(5)))
    with (
        Receiver() as receiver,
        gradmidi("play", tmp_path / "tb", "--osc", receiver.target, "--plain") as player,
    ):
        until(lambda: receiver.of("/gradmidi/start"), "the start")
        step = 5
        deadline = time.monotonic() + 30.0
        while not receiver.of("/gradmidi/note") and time.monotonic() < deadline:
            with path.open("ab") as file:
                file.write(scalar("grad_norm", 2.0, step, step * 0.2))
            step += 1
            time.sleep(0.1)
        os.killpg(player.pid, signal.SIGTERM)
        errors = player.result()[2]
        assert receiver.of("/gradmidi/start") == [["tb", 1, 1]]
        assert receiver.of("/gradmidi/note")
        assert min(number for number, _ in receiver.of("/gradmidi/step")) >= 5
    assert f"{tmp_path / 'tb'} is a TensorBoard folder: hearing grad_norm" in errors


@pytest.mark.slow
def test_a_finished_log_is_played_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,grad_norm\n" + "".join(f"{n},{1 + n % 3}\n" for n in range(8)))
    os.utime(path, (1.7e9, 1.7e9))
    with Receiver() as receiver, gradmidi("play", path, "--osc", receiver.target) as player:
        errors = player.result()[2]
        assert receiver.of("/gradmidi/start") == [["log", 1, 1]]
        assert receiver.step == 7
    assert "playing log from its start, by steps, as its files are" in errors
    assert errors.splitlines()[-1] == "played 8 steps"


def test_a_growing_log_is_imported_as_it_grows(tmp_path: Path) -> None:
    log, run = tmp_path / "log.csv", tmp_path / "run" / "run.jsonl"
    log.write_text("step,loss\n1,3\n2,2\n3,1\n")
    with gradmidi("import", log, "-o", tmp_path / "run", "--follow") as process:
        until(lambda: run.exists() and run.read_bytes().count(b"\n") == 4, "the first steps")
        append(log)("4,nan\n")
        until(lambda: run.read_bytes().count(b"\n") == 5, "another step")
        os.killpg(process.pid, signal.SIGINT)
        _, output, errors = process.result()
    assert output == f"{run}\n"
    assert errors == f"gradmidi: {log} is a CSV file: hearing loss\n"
    lines = list(describe(run))
    assert lines[0] == "run run: 0 layers, 4 steps in 0.25 s, not closed"


@pytest.mark.skipif(shutil.which("sh") is None, reason="the stand-in is a shell script")
def test_a_run_on_another_machine_is_described(tmp_path: Path) -> None:
    run = tmp_path / "there" / "a"
    run.mkdir(parents=True)
    (run / "run.jsonl").write_text(
        '{"gradmidi": 1, "layers": [{"name": "fc1", "size": 1}]}\n'
        '{"step": 1, "t": 0.5, "norms": [0.5]}\n'
    )
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nshift\nexec sh -c "$*"\n')
    ssh.chmod(0o755)
    paths = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}

    def described(source: str) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, "-m", "gradmidi", "describe", source]
        return subprocess.run(words, capture_output=True, text=True, env=paths, check=False)

    done = described(f"box:{run}")
    assert done.stdout.startswith("run a: 1 layer, 1 step in 0.5 s")
    done = described(f"box:{tmp_path}/none")
    assert done.returncode == 1
    assert f"box:{tmp_path}/none cannot be read: " in done.stderr
    assert done.stderr.count("\n") == 1
