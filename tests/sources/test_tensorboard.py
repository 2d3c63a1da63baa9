"""Event files of TensorBoard, read by gradmidi's own reader."""

import os
import struct
import sys
from pathlib import Path

import pytest
import toollogs as written
from toollogs import events, field, scalar

import gradmidi
from gradmidi.errors import RunLogError
from gradmidi.sources.encodings import masked, masked_all
from gradmidi.sources.opened import import_log
from gradmidi.sources.tensorboard import TensorBoardReader


def values(run: gradmidi.Run) -> list[tuple[int, dict[str, object]]]:
    return [(frame.step, dict(frame.extra)) for frame in run.frames()]


def test_the_crc_is_that_of_its_definition_for_short_and_long_records() -> None:
    records = [bytes(range(n % 251)) * (1 + n // 40) for n in range(60)]
    records += [os.urandom(n) for n in (0, 1, 3, 4, 4096, 4097, 9000)]
    expected = [struct.unpack("<I", written.masked(data))[0] for data in records]
    assert masked_all(records).tolist() == expected
    assert [masked(data) for data in records] == expected


def test_scalars_are_values_and_need_no_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    events(
        tmp_path / "tb",
        *(scalar(tag, 0.5 * n, n, 1.7e9 + n) for n in (0, 1, 300) for tag in ("acc", "loss")),
    )
    run = gradmidi.read(tmp_path / "tb")
    assert values(run) == [(n, {"loss": 0.5 * n, "acc": 0.5 * n}) for n in (0, 1, 300)]
    assert [frame.t for frame in run.frames()] == [0.0, 1.0, 300.0]
    assert run.header.started == "2023-11-14T22:13:20Z"


def test_a_damaged_record_is_skipped_and_told_and_the_rest_is_read(tmp_path: Path) -> None:
    records = [scalar("loss", n, n, n) for n in range(20)]
    path = events(tmp_path / "tb", *records)
    data = bytearray(path.read_bytes())
    place = len(written.VERSION) + len(records[0]) + len(records[1])
    data[place + 30] ^= 1  # in the message of step 2
    later = place + sum(map(len, records[2:9]))
    data[later + 1] ^= 1  # in the length of step 9
    path.write_bytes(data)
    done = import_log(tmp_path / "tb", tmp_path / "run")
    steps = [frame.step for frame in gradmidi.read(done.path).frames()]
    assert steps == [n for n in range(20) if n not in (2, 9)]
    assert f"{path}: 2 damaged records skipped, the first at byte {place}" in done.lines


def test_a_half_written_record_is_waited_for(tmp_path: Path) -> None:
    whole = scalar("loss", 2.5, 7, 1.0)
    path = events(tmp_path, scalar("loss", 3.0, 6, 0.5), whole[:20])
    reader = TensorBoardReader(tmp_path)
    assert [row.counts for row in reader.poll()] == [(6.0,)]
    assert reader.poll() == []
    with path.open("ab") as file:
        file.write(whole[20:])
    (row,) = reader.poll()
    assert (row.counts, row.values, reader.notes) == ((7.0,), {"loss": 2.5}, [])
    reader.close()


def test_a_tag_and_a_file_that_appear_late_are_read(tmp_path: Path) -> None:
    now = [0.0]
    path = events(tmp_path, scalar("loss", 3.0, 1, 1.0))
    reader = TensorBoardReader(tmp_path, clock=lambda: now[0])
    assert len(reader.poll()) == 1
    with path.open("ab") as file:
        file.write(scalar("val/acc", 0.5, 1, 1.5))
    assert [row.values for row in reader.poll()] == [{"val/acc": 0.5}]
    events(tmp_path, scalar("loss", 2.0, 2, 2.0), number=2)
    assert reader.poll() == []
    now[0] = 5.0
    assert [row.values for row in reader.poll()] == [{"loss": 2.0}]
    assert reader.columns == ("loss", "val/acc")
    reader.close()


def test_steps_that_a_restart_purges_are_left_out(tmp_path: Path) -> None:
    """``SummaryWriter(purge_step=3)``: what was written from step 3 on is void."""
    events(tmp_path / "tb", *(scalar("loss", n, n, 1000.0 + n) for n in range(6)))
    events(
        tmp_path / "tb",
        written.start(3, 2000.0),
        scalar("loss", 30.0, 3, 2000.5),
        scalar("loss", 60.0, 6, 2001.0),
        number=2,
    )
    run = gradmidi.read(tmp_path / "tb")
    found = [(step, each["loss"]) for step, each in values(run)]
    assert found == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0), (6, 60.0)]


def test_a_restart_without_purge_replaces_the_steps_it_repeats(tmp_path: Path) -> None:
    events(tmp_path / "tb", *(scalar("loss", n, n, 1000.0 + n) for n in range(4)))
    events(tmp_path / "tb", *(scalar("loss", 10 * n, n, 2000.0 + n) for n in (2, 3, 4)), number=2)
    found = [(step, each["loss"]) for step, each in values(gradmidi.read(tmp_path / "tb"))]
    assert found == [(0, 0.0), (1, 1.0), (2, 20.0), (3, 30.0), (4, 40.0)]


def test_the_writers_of_add_scalars_are_one_run(tmp_path: Path) -> None:
    events(tmp_path / "tb", scalar("lr", 0.1, 1, 1.0))
    events(tmp_path / "tb" / "curves_loss_train", scalar("curves/loss", 2.0, 1, 1.0))
    events(tmp_path / "tb" / "curves_loss_val", scalar("curves/loss", 3.0, 1, 1.0))
    ((_, found),) = values(gradmidi.read(tmp_path / "tb"))
    assert found == {"lr": 0.1, "curves/loss/train": 2.0, "curves/loss/val": 3.0}


def test_the_folders_that_keras_makes_are_one_run(tmp_path: Path) -> None:
    for part, value in (("train", 2.0), ("validation", 3.0)):
        events(tmp_path / "logs" / part, scalar("epoch_loss", value, 1, 1.0))
    ((_, found),) = values(gradmidi.read(tmp_path / "logs"))
    assert found == {"train/epoch_loss": 2.0, "validation/epoch_loss": 3.0}


def test_a_folder_of_two_runs_is_refused_and_lists_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        events(tmp_path / "runs" / name, scalar("loss", 2.0, 1, 1.0))
    with pytest.raises(RunLogError, match=r"holds 2 logs .*; give one of: .*runs/a, .*runs/b"):
        gradmidi.read(tmp_path / "runs")


def test_scalars_as_tensorflow_writes_them(tmp_path: Path) -> None:
    """A tensor; the first value of a tag says that its plugin is scalars."""
    plugin = field(9, field(1, field(1, b"scalars")))
    other = field(9, field(1, field(1, b"text")))

    def tensor(tag: str, body: bytes, metadata: bytes = b"") -> bytes:
        return field(5, field(1, field(1, tag.encode()) + field(8, body) + metadata))

    single = field(1, 1) + field(5, struct.pack("<f", 0.5))
    packed = field(1, 2) + field(4, struct.pack("<d", 0.25))
    path = tmp_path / "tb"
    events(
        path,
        written.event(1, 1.0, tensor("loss", single, plugin)),
        written.event(2, 2.0, tensor("loss", packed)),
        written.event(2, 2.0, tensor("note", single, other)),
    )
    assert values(gradmidi.read(path)) == [(1, {"loss": 0.5}), (2, {"loss": 0.25})]
