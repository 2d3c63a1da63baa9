"""What `Joiner` makes of rows in any order: a run log whose every line counts."""

import math
import random
from pathlib import Path

import pytest

from gradmidi.log import Frame, Header, Record, RunLog, Values, encode
from gradmidi.sources import joining
from gradmidi.sources.columns import choose
from gradmidi.sources.joining import Joiner
from gradmidi.sources.rows import Row

NORMS, VALUES = ("grad/a", "grad/b"), ("loss", "acc")


def grown(columns: tuple[str, ...], *, repeats: bool = False) -> Joiner:
    chosen = choose(columns, (), "log", {}, ())
    return Joiner(
        Path("log"),
        chosen,
        known=columns,
        counters=("step",),
        counter=0,
        timed=True,
        repeats=repeats,
    )


def joined(*bursts: list[tuple[int, dict[str, float]]]) -> list[Record]:
    """Join rows, given by their steps, that come in bursts."""
    joiner, records = grown((*NORMS, *VALUES)), []
    for now, burst in enumerate(bursts):
        rows = [Row("", (float(step),), now, values) for step, values in burst]
        records += joiner.add(rows, now, past=False)
        records += joiner.settle(now + 0.5)
    return records


def test_a_step_without_norms_gets_its_frame_after_those_before_it() -> None:
    norms, values = {"grad/a": 1.0}, {"loss": 3.0}
    records = joined([(3, norms), (7, values)], [(6, {"grad/b": 2.0}), (7, norms)])
    assert [r.step for r in records if isinstance(r, Frame)] == [3, 6, 7]


def test_a_step_before_a_segment_gets_no_frame_in_it() -> None:
    norms, values = {"grad/a": 1.0}, {"loss": 3.0}
    records = joined([(1, norms), (2, values), (3, norms), (4, norms), (3, norms), (2, norms)])
    segment = [isinstance(r, Header) for r in records].index(True)
    assert [r.step for r in records[segment:] if isinstance(r, Frame)] == [3]


@pytest.mark.parametrize("seed", range(4))
def test_rows_in_any_order_make_a_log_that_is_read_whole(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rnd = random.Random(seed)
    for _ in range(60):
        monkeypatch.setattr(joining, "REMEMBERED", rnd.choice([1, 2, 5, 1000]))
        columns = (*rnd.choice([(), NORMS]), *VALUES)
        joiner = grown(columns, repeats=rnd.random() < 0.3)
        records: list[Record] = [joiner.header("unknown", None)]
        step, now = {"": 0, "q": 0, "r": 0}, 0.0
        for number in range(rnd.randrange(3, 60)):
            series = rnd.choice(["", "", "", "", "q", "r"])
            step[series] = max(0, step[series] + rnd.choice([0, 1, 1, 1, 1, 2, -1, -3, -99, 50]))
            count = rnd.choice([*[float(step[series])] * 8, None, 0.5])
            names = rnd.sample([*columns, "new"], rnd.randrange(3))
            values = {name: rnd.choice([1.0, 2.0, math.nan, -1.0]) for name in names}
            epoch = rnd.choice([None, None, step[series] // 10])
            resumed = rnd.random() < 0.05
            row = Row(str(number), (count,), now, values, series, resumed=resumed, epoch=epoch)
            records += joiner.add([row], now, past=number < 5)
            now += rnd.random() * 0.1
            records += joiner.settle(now) if rnd.random() < 0.3 else []
        records += joiner.end("closed", now)
        last, t, framed = -1, 0.0, set()
        for record in records:
            if isinstance(record, Header):
                last, t = -1, 0.0
            elif isinstance(record, Frame):
                assert record.step > last
                assert record.t >= t
                assert len(columns) == len(VALUES) or (record.norms != -1.0).any()
                last, t = record.step, record.t
                framed.add(record.step)
            elif isinstance(record, Values):
                assert record.step in framed
        path = tmp_path / "run.jsonl"
        path.write_bytes(b"".join(map(encode, records)))
        log = RunLog(path)
        assert sum(1 for _ in log.frames()) <= len(framed)
        assert log.unreadable == 0
