"""Faults are found in blocks of frames exactly as they are found frame by frame."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manyruns import inside, made

from gradmidi.detection.history import FaultLog
from gradmidi.detection.kinds import Faults, Finding
from gradmidi.log import Frame, Item, Layer
from gradmidi.log.blocks import Block, gathered


def in_blocks(faults: FaultLog, item: Block | Item) -> tuple[list[Finding], int]:
    """Add an item; return what was found, and how many frames were taken at once."""
    if not isinstance(item, Block):
        return [*faults.add(item)], 0
    found: list[Finding] = []
    calm = 0
    for begin, end, at_once in faults.spans(item):
        if at_once:
            calm += end - begin
        else:
            for frame in item.part(begin, end).frames():
                found += faults.add(frame)
    return found, calm


def compared(header: Any, items: list[Item], cuts: int) -> int:
    """Compare both ways after each block of at most `cuts` frames; return what was at once."""
    heard = ("*loss*", "*norm*") if len(items) % 3 == 0 else ()
    one, other = (FaultLog(header.layers, Faults(), heard) for _ in range(2))
    calm = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradmidi.log.blocks.MOST", cuts)
        patch.setattr("gradmidi.log.blocks.LEAST", 1)
        blocks = list(gathered(items, len(header.layers)))
    for number, block in enumerate(blocks):
        found: list[Finding] = []
        for item in block.frames() if isinstance(block, Block) else (block,):
            found += one.add(item)
        again, at_once = in_blocks(other, block)
        assert repr(found) == repr(again)
        if number % (1 + len(blocks) // 4) == 0:
            assert inside(one) == inside(other)
        assert repr(one.going_on()) == repr(other.going_on())
        calm += at_once
    assert repr(one.finish()) == repr(other.finish())
    assert inside(one) == inside(other)
    return calm


RUNS = given(st.integers(0, 10**6), st.sampled_from([1, 16, 50, 64, 333, 2048]))


@settings(max_examples=8, deadline=None)
@RUNS
def test_blocks_find_what_frames_find(seed: int, cuts: int) -> None:
    compared(*made(seed, cuts), cuts)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@RUNS
def test_blocks_find_what_frames_find_in_many_runs(seed: int, cuts: int) -> None:
    compared(*made(seed, cuts), cuts)


def healthy(frames: int, layers: int, spread: float = 0.3) -> list[Item]:
    norms = np.exp(spread * np.random.default_rng(0).normal(size=(frames, layers)))
    return [
        Frame(index + 1, 0.1 * index, norms[index], {"loss": 2.0 + 1.0 / (1 + index), "lr": 0.01})
        for index in range(frames)
    ]


class Run:
    layers = tuple(Layer(f"fc{index}", 10) for index in range(4))


@pytest.mark.parametrize("spread", [0.0, 0.3, 0.7])
def test_nearly_all_of_a_healthy_run_is_taken_at_once(spread: float) -> None:
    assert compared(Run, healthy(2000, 4, spread), 500) > 1500


@pytest.mark.parametrize("cuts", [16, 160])
@pytest.mark.parametrize("at", [-1, 0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0, 1e3, 1e-6])
def test_a_fault_at_the_edge_of_a_block(cuts: int, at: int, value: float) -> None:
    items = healthy(500, 4)
    first = 320 // cuts * cuts + at
    for index in range(first, first + 40):
        items[index].norms[1] = value  # type: ignore[union-attr]
    compared(Run, items, cuts)


def test_one_frame() -> None:
    assert compared(Run, healthy(1, 4), 16) == 0
