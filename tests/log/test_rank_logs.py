"""The files that each process of a training writes beside the run log."""

import json
import math
import os
from pathlib import Path

import pytest

from gradmidi.log.ranks import (
    MOST_BYTES,
    NotFinite,
    RankLog,
    RankReader,
    Work,
    encode_not_finite,
    encode_rank,
    encode_work,
    file_name,
    read_ranks,
)

RUN, EARLIER = "2026-11-30T10:00:00Z", "2026-11-29T10:00:00Z"
WORK = Work(7, 48, 0.000126, 0.000466, 0.001717)
NAN = NotFinite(40, "loss", math.nan)


def write(folder: Path, rank: int, *lines: bytes, ranks: int = 4, run: str = RUN) -> Path:
    path = folder / file_name(rank)
    with path.open("ab") as file:
        file.write(encode_rank(rank, ranks, run) + b"".join(lines))
    return path


def read(folder: Path, *runs: str) -> tuple[RankLog, ...]:
    return read_ranks(folder, runs or (RUN,))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    minus = NotFinite(41, "größe", -math.inf)
    write(tmp_path, 3, encode_work(WORK), encode_not_finite(NAN), encode_not_finite(minus))
    write(tmp_path, 0, encode_work(Work(1, 16, 0.1, math.nan, 0.2)))
    first, last = read(tmp_path)
    assert (first.rank, first.ranks, first.not_finite) == (0, 4, ())
    assert math.isnan(first.work[0].gradient)
    assert (last.rank, last.work, last.not_finite[1]) == (3, (WORK,), minus)
    assert (last.not_finite[0].step, last.not_finite[0].name) == (40, "loss")
    assert math.isnan(last.not_finite[0].value)
    lines = (tmp_path / "rank-3.jsonl").read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"gradmidi_rank": 1, "rank": 3, "ranks": 4, "run": RUN},
        {"steps": [7, 48], "forward": 0.000126, "gradient": 0.000466, "step": 0.001717},
        {"step": 40, "name": "loss", "value": "nan"},
        {"step": 41, "name": "größe", "value": "-inf"},
    ]


def test_lines_of_an_earlier_run_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, 1, encode_work(WORK), encode_not_finite(NAN), run=EARLIER)
    assert read(tmp_path) == ()
    write(tmp_path, 1, encode_work(Work(50, 70, 0.1, 0.2, 0.3)))
    (log,) = read(tmp_path)
    assert ([each.first for each in log.work], log.not_finite) == ([50], ())
    # A continued run: the log has both headers.
    (log,) = read(tmp_path, EARLIER, RUN)
    assert ([each.first for each in log.work], len(log.not_finite)) == ([7, 50], 1)


def test_steps_that_are_made_again_replace_the_earlier_ones(tmp_path: Path) -> None:
    late = (Work(49, 90, 0.1, 0.2, 0.3), Work(91, 99, 0.1, 0.2, 0.3))
    write(tmp_path, 1, encode_work(WORK), *map(encode_work, late), run=EARLIER)
    write(tmp_path, 1, encode_work(Work(60, 80, 0.4, 0.5, 0.6)))
    (log,) = read(tmp_path, EARLIER, RUN)
    assert [each.first for each in log.work] == [7, 60]


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"steps": [7, 4',
        b"\xff\xfe\n",
        b"[1, 2]\n",
        b'"steps"\n',
        b'{"steps": [9, 3], "forward": 1, "gradient": 1, "step": 1}\n',
        b'{"steps": [1], "forward": 1, "gradient": 1, "step": 1}\n',
        b'{"steps": [1, true], "forward": 1, "gradient": 1, "step": 1}\n',
        b'{"steps": [-1, 4], "forward": 1, "gradient": 1, "step": 1}\n',
        b'{"steps": [1, 4], "forward": -1, "gradient": 1, "step": 1}\n',
        b'{"steps": [1, 4], "forward": 1e300, "gradient": 1, "step": 1}\n',
        b'{"steps": [1, 4], "forward": "1", "gradient": 1, "step": 1}\n',
        b'{"step": 1e3, "name": "loss", "value": "nan"}\n',
        b'{"step": 3, "name": null, "value": "nan"}\n',
        b'{"step": 3, "name": "loss", "value": 0.5}\n',
        b'{"step": 3, "name": "loss", "value": ["nan"]}\n',
        b'{"step": 99999999999999999999999999, "name": "loss", "value": "nan"}\n',
        b"[" * 5000 + b"\n",
    ],
)
def test_a_damaged_line_is_left_out(tmp_path: Path, damaged: bytes) -> None:
    path = write(tmp_path, 1, damaged, b"\n", encode_work(Work(100, 120, 0.1, 0.2, 0.3)))
    (log,) = read(tmp_path)
    assert ([each.first for each in log.work], log.not_finite) == ([100], ())
    path.write_bytes(damaged)
    assert read(tmp_path) == ()


@pytest.mark.parametrize(
    "header",
    [
        {"gradmidi_rank": 1, "rank": 1, "ranks": 4, "run": [RUN]},
        {"gradmidi_rank": 1, "rank": 1, "ranks": "4", "run": RUN},
        {"gradmidi_rank": 1, "rank": 1, "ranks": 1, "run": RUN},
        {"gradmidi_rank": 1, "rank": 1, "ranks": 4},
        {},
    ],
)
def test_a_damaged_header_leaves_out_its_lines(tmp_path: Path, header: dict) -> None:
    line = json.dumps(header).encode() + b"\n"
    (tmp_path / file_name(1)).write_bytes(line + encode_work(WORK))
    assert read(tmp_path) == ()


def test_a_continued_run_counts_updates_anew_in_each_process(tmp_path: Path) -> None:
    (tmp_path / file_name(0)).write_bytes(
        encode_rank(0, 2, EARLIER) + encode_work(WORK) + encode_rank(0, 2, RUN, 40)
        + encode_work(Work(47, 88, 0.1, 0.2, 0.3))
    )  # fmt: skip
    write(tmp_path, 1, encode_work(WORK), ranks=2, run=EARLIER)
    write(tmp_path, 1, encode_work(WORK), encode_not_finite(NAN), ranks=2)
    first, other = read(tmp_path, EARLIER, RUN)
    # Steps 41 to 48 were made again.
    assert [(each.first, each.last) for each in first.work] == [(47, 88)]
    assert [(each.first, each.last) for each in other.work] == [(47, 88)]
    assert other.not_finite[0].step == 80
    assert [each.first for each in read(tmp_path, EARLIER)[1].work] == [7]


def test_a_file_that_grows_is_read_line_by_line(tmp_path: Path) -> None:
    reader = RankReader(tmp_path, {RUN})
    assert reader.read() == ()
    late = encode_work(Work(49, 90, 0.1, 0.2, 0.3))
    path = write(tmp_path, 1, encode_work(WORK), late[:20])
    assert [each.work for each in reader.read()] == [(WORK,)]
    with path.open("ab") as file:
        file.write(late[20:])
    write(tmp_path, 2, late)
    assert [[work.first for work in each.work] for each in reader.read()] == [[7, 49], [49]]
    path.unlink()
    assert [each.rank for each in reader.read()] == [1, 2]


def test_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "rank-1.jsonl").mkdir()
    (tmp_path / "rank-x.jsonl").write_bytes(encode_rank(1, 2, RUN) + encode_work(WORK))
    (tmp_path / "rank-02.jsonl").write_bytes(encode_rank(2, 4, RUN) + encode_work(WORK))
    os.mkfifo(tmp_path / "rank-3.jsonl")
    assert read(tmp_path) == ()
    assert read(tmp_path / "nothing") == ()


def test_a_huge_file_takes_bounded_memory(tmp_path: Path) -> None:
    path = write(tmp_path, 1, encode_work(WORK))
    with path.open("ab") as file:
        file.truncate(50 * MOST_BYTES)
    (log,) = read(tmp_path)
    assert log.work == (WORK,)
