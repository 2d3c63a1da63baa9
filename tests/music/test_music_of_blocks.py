"""Music made of blocks of frames is the music made frame by frame."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manyruns import made, written

from gradmidi._render import render
from gradmidi.log import Frame, RunLog
from gradmidi.log.blocks import Block
from gradmidi.midi.rig import Rig
from gradmidi.music.preset import load
from gradmidi.music.score import compose, score_of
from gradmidi.text.summary import Summarizer, summarize


def events(log: RunLog, *, at_once: bool, **options: Any) -> list[str]:
    """Compose a run in blocks, or item by item."""
    score = score_of(log, load(options.pop("preset")), **options)
    made = []
    for item in log.blocks() if at_once else log.items():
        if isinstance(item, Block):
            for some in score.feed_block(item):
                made += some
        else:
            made += score.feed(item)
    return list(map(repr, [*made, *score.finish()]))


RUNS = given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([500, 5000, 1 << 16]),
    most=st.sampled_from([16, 100, 2048]),
    preset=st.sampled_from(["pentatonic", "hold", "drums"]),
    time=st.sampled_from(["step", "step", "wall"]),
    length=st.sampled_from([4.0, 8.0, 30.0]),
    extra=st.sampled_from([{}, {"of": "updates"}, {"rig": Rig(cc={"level": 1, "loss": 2})}]),
)


@settings(max_examples=5, deadline=None)
@RUNS
def test_blocks_sound_as_frames_do(**how: Any) -> None:
    compared(**how)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@RUNS
def test_blocks_sound_as_frames_do_in_many_runs(**how: Any) -> None:
    compared(**how)


def compared(
    seed: int, size: int, most: int, preset: str, time: str, length: float, extra: dict[str, Any]
) -> None:
    """Sum up and compose a run both ways."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "run.jsonl"
        header, items = made(seed, most)
        path.write_bytes(written(header, items))
        patch.setattr("gradmidi.log.pieces.SIZE", size)
        patch.setattr("gradmidi.log.blocks.MOST", most)
        patch.setattr("gradmidi.log.blocks.LEAST", 1)
        log = RunLog(path)
        updates = any(isinstance(item, Frame) and item.updates is not None for item in items)
        options = {} if "of" in extra and not updates else extra
        options = {**options, "preset": preset, "time": time, "length": length}
        heard = ("loss",) if seed % 2 else ()
        one = Summarizer(log, heard=heard)
        for item in log.items():
            one.add(Block.of([item]) if isinstance(item, Frame) else item)
        assert repr(one.finish()) == repr(summarize(log, heard=heard))
        if log.layers:
            assert events(log, at_once=True, **options) == events(log, at_once=False, **options)


def test_files_and_compose_read_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(written(*made(3, 100)))
    before = list(map(repr, compose(RunLog(path), length=8.0)))
    render(path, tmp_path / "a.mid", length=8.0)
    monkeypatch.setattr(RunLog, "blocks", RunLog.items)
    render(path, tmp_path / "b.mid", length=8.0)
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()
    assert before == list(map(repr, compose(RunLog(path), length=8.0)))
