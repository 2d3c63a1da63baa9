"""Which process was nan first, and which is slow: judged from the files of the processes."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import gradmidi
from gradmidi.detection.ranks import first_ranks, slow_ranks
from gradmidi.log.ranks import (
    NotFinite,
    RankLog,
    Work,
    encode_not_finite,
    encode_rank,
    encode_work,
    file_name,
)
from gradmidi.text.describe import standing
from gradmidi.text.faults import verdict


def log(rank: int, times: Sequence[tuple[float, float, float]], ranks: int = 2) -> RankLog:
    """Make the log of a process: to forward, to gradient and step, for each 100 steps."""
    work = tuple(Work(1 + 100 * at, 100 + 100 * at, *each) for at, each in enumerate(times))
    return RankLog(rank, ranks, work)


QUICK, SLOW = (0.001, 0.1, 0.21), (0.001, 0.2, 0.21)


def test_a_straggler_is_found_from_its_first_step_to_its_last() -> None:
    quick = log(0, [QUICK] * 6)
    late = log(1, [QUICK, SLOW, SLOW, SLOW, QUICK, QUICK])
    (found,) = slow_ranks([quick, late])
    assert (found.ranks, found.first, found.last, found.to_the_end) == ((1,), 101, 400, False)
    assert (found.seconds, found.others) == (0.2, 0.1)
    assert slow_ranks([late]) == [], "alone it cannot be compared"


def test_two_slow_lines_are_not_enough() -> None:
    assert slow_ranks([log(0, [QUICK] * 6), log(1, [SLOW, SLOW, QUICK, SLOW, QUICK, SLOW])]) == []


def test_rank_0_is_found_too() -> None:
    (found,) = slow_ranks([log(0, [SLOW] * 3), log(1, [QUICK] * 3)])
    assert (found.ranks, found.to_the_end) == ((0,), True)


@pytest.mark.parametrize(
    "late",
    [
        pytest.param((0.001, 0.14, 0.21), id="less than one and a half times as long"),
        pytest.param((0.001, 0.2, 0.6), id="a sixth of the step"),
        pytest.param((0.001, 0.1, 0.21), id="as the others"),
    ],
)
def test_small_differences_are_no_fault(late: tuple[float, float, float]) -> None:
    assert slow_ranks([log(0, [QUICK] * 5), log(1, [late] * 5)]) == []


def test_below_two_milliseconds_nothing_is_slow() -> None:
    assert slow_ranks([log(0, [(0, 0.001, 0.003)] * 5), log(1, [(0, 0.0029, 0.003)] * 5)]) == []


def test_where_all_wait_in_the_passes_the_time_before_them_counts() -> None:
    """A sharded model: every process takes as long as the slowest, but only one loads slowly."""
    waits, loads = (0.001, math.nan, 0.1), (0.05, math.nan, 0.1)
    (found,) = slow_ranks([log(rank, [loads if rank == 2 else waits] * 3, 4) for rank in range(4)])
    assert (found.ranks, found.seconds, found.others) == ((2,), 0.05, 0.001)


def test_loading_slowly_is_no_fault_while_all_wait_for_another() -> None:
    logs = [log(0, [(0.06, 0.11, 0.21)] * 4), log(1, [(0.001, 0.2, 0.21)] * 4)]
    (found,) = slow_ranks(logs)
    assert found.ranks == (1,)


def test_several_at_once_are_one_fault() -> None:
    logs = [log(rank, [SLOW if rank in (4, 6) else QUICK] * 4, 8) for rank in range(8)]
    (found,) = slow_ranks(logs)
    assert (found.ranks, found.first, found.last) == ((4, 6), 1, 400)


def test_lines_of_other_steps_are_compared_by_their_steps() -> None:
    quick = RankLog(0, 2, tuple(Work(at, at + 29, *QUICK) for at in range(1, 600, 30)))
    (found,) = slow_ranks([quick, log(1, [QUICK, SLOW, SLOW, SLOW, QUICK])])
    assert (found.first, found.last) == (101, 400)
    far = RankLog(0, 2, (Work(5000, 6000, *QUICK),))
    assert slow_ranks([far, log(1, [SLOW] * 4)]) == []


@pytest.mark.slow
def test_a_crowded_machine_makes_nobody_slow() -> None:
    """Of 64 healthy processes, whose times vary by a tenth and triple now and then."""
    rng = np.random.default_rng(1)
    logs = []
    for rank in range(64):
        own = 0.1 * rng.lognormal(0.0, 0.1, 50) * np.where(rng.random(50) < 0.02, 3.0, 1.0)
        logs.append(log(rank, [(0.01, float(each), 0.3) for each in own], 64))
    assert slow_ranks(logs) == []


# -- nan first -----------------------------------------------------------------------------------


def nan(rank: int, step: int, name: str = "loss") -> RankLog:
    return RankLog(rank, 4, (), (NotFinite(step, name, math.nan),))


def test_the_first_rank_is_named() -> None:
    ((value, ranks),) = first_ranks([nan(1, 41), nan(2, 40), nan(3, 41)], {(40, "loss"): 0.5})
    assert (value.step, value.name, ranks) == (40, "loss", (2,))


@pytest.mark.parametrize(
    "recorded",
    [
        pytest.param({(40, "loss"): math.nan}, id="on rank 0 too"),
        pytest.param({}, id="rank 0 logs no loss"),
        pytest.param({(40, "lr"): 0.1}, id="rank 0 logs something else"),
    ],
)
def test_none_is_named_if_rank_0_may_have_been_first(recorded: dict) -> None:
    assert first_ranks([nan(1, 41), nan(2, 40)], recorded) == []


def test_those_that_had_it_together_are_named_together() -> None:
    ((_, ranks),) = first_ranks([nan(1, 40), nan(2, 40), nan(3, 41)], {(40, "loss"): 0.5})
    assert ranks == (1, 2)


# -- in a run ------------------------------------------------------------------------------------


def record(folder: Path, steps: int, nan_at: int = 0, loss_at: int = 0) -> str:
    """Record a run of rank 0; return when it was started."""
    with gradmidi.record(folder, layers=["fc1", "fc2"], files=()) as ears:
        for step in range(1, steps + 1):
            norm = math.nan if nan_at and step >= nan_at else 0.5
            loss = math.nan if loss_at and step >= loss_at else 1.0 / step
            ears.frame([norm, norm], loss=loss)
    return gradmidi.read(folder).header.started


def beside(folder: Path, rank: int, run: str, *lines: bytes, ranks: int = 2) -> None:
    with (folder / file_name(rank)).open("ab") as file:
        file.write(encode_rank(rank, ranks, run) + b"".join(lines))


def lines_of_work(time: float, steps: int = 300) -> list[bytes]:
    return [encode_work(Work(at, at + 99, 0.001, time, 0.43)) for at in range(1, steps, 100)]


def test_a_straggler_is_a_fault_of_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    run = record(folder, 300)
    for rank, time in ((0, 0.2), (1, 0.42)):
        beside(folder, rank, run, *lines_of_work(time))
    (fault,) = gradmidi.read(folder).faults()
    assert (fault.kind, fault.ranks, fault.steps, fault.to_the_end) == (
        "slow",
        (1,),
        (1, 300),
        True,
    )
    assert (fault.value, fault.others, fault.layers) == (0.42, 0.2, ())
    assert 0.0 <= fault.seconds[0] < fault.seconds[1]
    times = "its own work takes 0.42 s a step, that of the others 0.2 s"
    told = f"step 1 to the end: rank 1 is slow ({times})"
    assert list(gradmidi.describe(folder))[1:3] == ["1 fault", told]
    (found,) = json.loads(gradmidi.read(folder).to_json())["faults"]
    assert (found["kind"], found["ranks"], found["others"]) == ("slow", [1], 0.2)
    assert verdict([fault]) == "Did not break; 1 fault, rank 1 is slow at step 1"
    gradmidi.render(folder, tmp_path / "a.html")
    assert told in (tmp_path / "a.html").read_text()


def test_what_is_wrong_now_names_the_slow_rank(tmp_path: Path) -> None:
    run = record(tmp_path, 900)
    for rank, late in ((0, ()), (1, range(5, 9)), (2, range(4))):
        times = [0.42 if at in late else 0.2 for at in range(9)]
        lines = [
            Work(1 + 100 * at, 100 + 100 * at, 0.0, time, 0.43) for at, time in enumerate(times)
        ]
        beside(tmp_path, rank, run, *map(encode_work, lines), ranks=3)
    told = list(standing(gradmidi.read(tmp_path)).lines())
    times = "(its own work takes 0.42 s a step, that of the others 0.2 s)"
    assert told[1] == f"rank 1 is slow {times}, since step 501"
    assert told[-1] == f"last fault, step 501 to the end: rank 1 is slow {times}"
    assert [each.ranks for each in gradmidi.read(tmp_path).faults()] == [(2,), (1,)]
    assert standing(gradmidi.read(tmp_path)).kinds == {"slow"}


def test_the_rank_that_was_nan_first_is_named_in_the_fault(tmp_path: Path) -> None:
    run = record(tmp_path, 60, nan_at=40, loss_at=41)
    beside(tmp_path, 1, run, encode_not_finite(NotFinite(40, "loss", math.nan)))
    norms, loss = gradmidi.read(tmp_path).faults()
    assert (norms.ranks, loss.ranks, norms.steps[0], loss.steps[0]) == ((1,), (1,), 40, 41)
    assert list(gradmidi.describe(tmp_path))[2:4] == [
        "step 40 to the end: all layers nan, on rank 1 first",
        "step 41 to the end: the loss nan, on rank 1 first",
    ]
    assert verdict([norms, loss]) == "Broke at step 40: all layers became nan on rank 1 first"


def test_rank_0_is_named_if_all_others_came_later(tmp_path: Path) -> None:
    run = record(tmp_path, 60, nan_at=40, loss_at=40)
    beside(tmp_path, 1, run, encode_not_finite(NotFinite(41, "loss", math.nan)), ranks=3)
    assert [each.ranks for each in gradmidi.read(tmp_path).faults()] == [(), ()]
    beside(tmp_path, 2, run, encode_not_finite(NotFinite(41, "loss", math.nan)), ranks=3)
    assert [each.ranks for each in gradmidi.read(tmp_path).faults()] == [(0,), (0,)]


def test_what_the_run_does_not_show_is_a_fault_of_its_own(tmp_path: Path) -> None:
    run = record(tmp_path, 60)
    beside(tmp_path, 1, run, encode_not_finite(NotFinite(30, "loss", math.inf)))
    assert list(gradmidi.describe(tmp_path))[1:3] == [
        "1 fault",
        "step 30: the loss inf, on rank 1 first",
    ]


def test_files_of_an_earlier_run_and_of_one_process_say_nothing(tmp_path: Path) -> None:
    run = record(tmp_path, 300)
    before = list(gradmidi.describe(tmp_path))
    for rank, time in ((0, 0.2), (1, 0.42)):
        beside(tmp_path, rank, "2020-01-01T00:00:00Z", *lines_of_work(time))
    assert list(gradmidi.describe(tmp_path)) == before
    beside(tmp_path, 1, run, *lines_of_work(0.42))
    assert list(gradmidi.describe(tmp_path)) == before
    (tmp_path / file_name(0)).write_bytes(b"\x00damaged")
    assert list(gradmidi.describe(tmp_path)) == before
    assert before[1] == "no faults"
