"""A log is read on through any number of pieces that hold nothing to hear."""

from contextlib import closing
from pathlib import Path

import pytest
from toollogs import VERSION, scalar

from gradmidi.sources import growing, tfevents
from gradmidi.sources.jsonfiles import JsonLinesReader
from gradmidi.sources.textreader import TextReader

PIECES = 3000
"""More than the frames that Python allows on its stack."""


class Printed:
    """Text that comes line by line, as a pipe gives it."""

    restarts = 0
    missing = False

    def __init__(self, *lines: bytes) -> None:
        self._lines = list(reversed(lines))

    def read(self, most: int = 0) -> bytes:
        return self._lines.pop() if self._lines else b""

    def close(self) -> None:
        pass


def test_of_printed_text() -> None:
    lines = [b"compiling\n"] * PIECES + [b"step 1 loss 2\n", b"step 2 loss 1\n"]
    reader = TextReader(Printed(*lines))
    assert [row.counts for row in reader.poll()] == [(1.0,), (2.0,)]
    assert reader.poll() == []


def test_of_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "READ_BYTES", 2)
    path = tmp_path / "log.jsonl"
    path.write_text("x\n" * PIECES + '{"step": 1, "loss": 2}\n')
    with closing(JsonLinesReader(path)) as reader:
        (row,) = reader.poll()
    assert row.values == {"loss": 2.0}


def test_of_a_long_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "READ_BYTES", 2)
    path = tmp_path / "log.txt"
    path.write_text("xx" * PIECES + "\n")
    with closing(growing.TextFile(path, "text")) as reader:
        assert reader.poll() == ["xx" * PIECES + "\n"]


def test_of_an_event_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfevents, "READ_BYTES", len(VERSION))
    path = tmp_path / "events.out.tfevents.1.box"
    path.write_bytes(VERSION * PIECES + scalar("loss", 2.0, 1, 1.0))
    with closing(tfevents.EventFile(path)) as reader:
        (found,) = reader.poll()
    assert found.values == {"loss": 2.0}
