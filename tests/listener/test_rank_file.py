"""The file of one process: what is written, when, and what happens if it cannot be."""

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gradmidi.listener import rank_lines
from gradmidi.listener.rank_file import Place, RankFile
from gradmidi.listener.rank_lines import LEAST_STEPS, WARM_UP
from gradmidi.log import FILE_NAME
from gradmidi.log.ranks import RankLog, encode_rank, encode_work, file_name, read_ranks
from gradmidi.log.ranks import Work as Times

RUN = "2026-11-30T10:00:00Z"


class Work:
    """The times of steps that a test gives."""

    def __init__(self, steps: int = 0) -> None:
        self.times = [(step, 0.1, 0.2, 0.3) for step in range(1, steps + 1)]
        self.last = steps
        self.removed = False

    def step(self) -> int:
        return self.last

    def take(self) -> list:
        taken, self.times = self.times, []
        return taken

    def remove(self) -> None:
        self.removed = True


class Number:
    """A number that a device computes."""

    def __init__(self, value: float) -> None:
        self._value = value

    def item(self) -> float:
        return self._value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / FILE_NAME).touch()
    return tmp_path


def begin(folder: Path, work: Work | None = None, find: Callable | None = None) -> RankFile:
    return RankFile(1, 2, find or (lambda: Place(str(folder), RUN)), work or Work())


def read(folder: Path) -> RankLog:
    (log,) = read_ranks(folder, {RUN})
    return log


def until(met: Callable[[], object]) -> None:
    end = time.monotonic() + 20.0
    while not met() and time.monotonic() < end:
        time.sleep(0.02)
    assert met()


def test_times_are_written_at_the_end_without_the_first_steps(folder: Path) -> None:
    work = Work(100)
    begin(folder, work).close()
    (line,) = read(folder).work
    assert (line.first, line.last) == (1 + WARM_UP, 100)
    assert (line.forward, line.gradient, line.step) == (0.1, 0.2, 0.3)
    assert work.removed


def test_few_steps_are_no_line(folder: Path) -> None:
    begin(folder, Work(WARM_UP + LEAST_STEPS - 1)).close()
    assert read_ranks(folder, {RUN})[0].work == ()


def test_nan_is_written_while_the_training_goes_on(folder: Path) -> None:
    file = begin(folder)
    file.value(39, "loss", 0.5)
    file.value(39, "epoch", 3)
    file.value(40, "loss", math.nan)
    file.value(41, "loss", Number(math.nan))
    file.value(41, "acc", Number(-math.inf))
    file.value(42, "acc", Number(0.9))
    file.value(43, "note", object())
    until(lambda: read_ranks(folder, {RUN}))
    until(lambda: len(read(folder).not_finite) == 2)
    first, second = read(folder).not_finite
    assert (first.step, first.name, math.isnan(first.value)) == (40, "loss", True)
    assert (second.step, second.name, second.value) == (41, "acc", -math.inf)
    file.close()


def test_the_place_may_be_known_late(folder: Path) -> None:
    places = iter([None, None])
    file = begin(folder, find=lambda: next(places, Place(str(folder), RUN)))
    file.value(7, "loss", math.nan)
    until(lambda: read_ranks(folder, {RUN}))
    assert [each.step for each in read(folder).not_finite] == [7]
    file.close()


def test_nothing_is_written_where_the_folder_is_not_shared(tmp_path: Path) -> None:
    file = begin(tmp_path / "of another computer", Work(100))
    file.value(7, "loss", math.nan)
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_a_lost_store_ends_the_search(folder: Path) -> None:
    calls = []

    def gone() -> None:
        calls.append(1)
        raise RuntimeError("the store is gone")

    file = begin(folder, Work(100), gone)
    until(lambda: calls)
    file.close()
    assert (len(calls), [path.name for path in folder.iterdir()]) == (1, [FILE_NAME])


def test_a_folder_that_cannot_be_written_is_not_reported(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # A folder in its place: also root cannot write to it.
    (folder / file_name(1)).mkdir()
    file = begin(folder, Work(100))
    file.value(7, "loss", math.nan)
    file.close()
    assert capfd.readouterr() == ("", "")


def test_a_symbolic_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    (folder / file_name(1)).symlink_to(victim)
    begin(folder, Work(100)).close()
    assert victim.read_text() == "as it was"


def test_a_continued_run_adds_to_the_file_after_a_line_that_was_cut(folder: Path) -> None:
    begin(folder, Work(50)).close()
    path = folder / file_name(1)
    path.write_bytes(path.read_bytes() + b'{"steps":[50')
    work = Work()
    work.times = [(step, 0.1, 0.2, 0.3) for step in range(50, 100)]
    work.last = 120
    begin(folder, work).close()
    last, first = read(folder).work[::-1]
    assert (first.first, last.first, last.last) == (1 + WARM_UP, 50 + WARM_UP, 120)


def test_a_file_does_not_grow_without_end(folder: Path) -> None:
    path = folder / file_name(1)
    path.write_bytes(b"x" * 800_000)
    begin(folder, Work(100)).close()
    assert path.stat().st_size < 1000
    assert len(read(folder).work) == 1


def test_a_slow_rank_is_said_and_marked_once_while_the_training_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rank_lines, "LINE_SECONDS", 0.0)
    marks: list[str] = []
    work = Work(WARM_UP)
    file = RankFile(0, 2, lambda: Place(str(folder), RUN), work)
    file.mark = marks.append
    until(lambda: not work.times)
    other = encode_rank(1, 2, RUN)
    for first in range(6, 206, 20):
        other += encode_work(Times(first, first + 19, 0.0, 0.45, 0.5))
        (folder / file_name(1)).write_bytes(other)
        work.last = first + 19
        work.times = [(step, 0.1, 0.2, 0.5) for step in range(first, first + 20)]
        until(lambda: not work.times)
    file.close()
    text = "rank 1 is slow (its own work takes 0.45 s a step, that of the others 0.2 s)"
    assert marks == [f"step 6: {text}"]
    assert capfd.readouterr().err == f"gradmidi: step 6: {text}\n"


def test_the_numbers_of_steps_are_those_of_rank_0(folder: Path) -> None:
    offsets = [4000]
    first = RankFile(0, 2, lambda: Place(str(folder), RUN), Work(), lambda: offsets[0])
    begin(folder, Work(100)).close()
    until(lambda: len(read_ranks(folder, {RUN})) == 2)
    (_, other) = read_ranks(folder, {RUN})
    assert (other.work[0].first, other.work[0].last) == (4000 + 1 + WARM_UP, 4100)
    # A checkpoint was loaded, or the user set the step.
    offsets[0] = 200
    until(lambda: read_ranks(folder, {RUN})[1].work[0].last == 300)
    first.close()


def test_a_child_process_does_not_wait_for_the_thread(folder: Path) -> None:
    file = begin(folder)
    child = os.fork()
    if child == 0:
        file.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    file.close()
