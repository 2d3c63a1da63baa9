"""Curves keep every spike, in bins that no slot cuts."""

import math

import numpy as np
import pytest

from gradmidi.log import ABSENT, Frame, row
from gradmidi.music.events import Step
from gradmidi.music.voices import Voice
from gradmidi.report import curves, data

VOICES = (Voice(0, "a", (0,)), Voice(1, "bc", (1, 2)))


def frames(count):
    rng = np.random.default_rng(1)
    for step in range(1, count + 1):
        norms = np.exp(rng.normal(0, 1, 3))
        yield Frame(step, step * 0.5, norms, {"loss": float(step % 7)})


def slots(count, every):
    ends = list(range(every, count + every, every))
    return [Step(i * 60, min(end, count), 0.0, (1.0, 1.0), (0, 0)) for i, end in enumerate(ends)]


@pytest.mark.parametrize("most", [10**6, 400])
def test_bins_hold_what_fell_into_them(monkeypatch, most):
    monkeypatch.setattr(curves, "MOST_VALUES", most)
    monkeypatch.setattr(curves, "BATCH", 50)
    found = curves.trace(frames(1000), slots(1000, 30), VOICES, 1000)
    given = np.stack([f.norms for f in frames(1000)])
    voices = np.column_stack([given[:, 0], np.hypot(given[:, 1], given[:, 2])])
    assert found.step[-1] == 1000
    assert len(found.first) == 35
    begin = 0
    for index, end in enumerate(found.step):
        inside = voices[begin:end]
        assert found.high[index] == pytest.approx(inside.max(axis=0))
        assert found.low[index] == pytest.approx(inside.min(axis=0))
        assert found.loss[index] == max(step % 7 for step in range(begin + 1, end + 1))
        begin = end
    slot_ends = [found.step[bin_ - 1] for bin_ in found.first[1:]]
    assert slot_ends == [s.step for s in slots(1000, 30)]
    if most == 400:
        assert len(found.step) < 400


def test_what_is_no_number_stays_apart():
    rows = [row([None, 0.0, 0.0]), row([math.nan, math.inf, 1.0]), row([2.0, None, 3.0])]
    given = [Frame(i, i * 0.1, r) for i, r in enumerate(rows, 1)]
    found = curves.trace(given, slots(3, 1), VOICES, 3)
    assert found.high[0].tolist() == [ABSENT, 0.0]
    assert np.isnan(found.high[1, 0])
    assert found.high[1, 1] == math.inf
    assert found.high[2].tolist() == [2.0, 3.0]
    assert found.low[:2].tolist() == [[ABSENT, ABSENT]] * 2
    assert (found.loss == curves.NO_LOSS).all()


def test_frames_that_were_not_played_are_left_out():
    found = curves.trace(frames(100), slots(50, 10), VOICES, 100)
    assert found.step[-1] == 50


@pytest.mark.parametrize("norm", [1e-45, 1e-7, 0.3, 1.0, 1e5, 3e38, 1e300])
def test_codes_keep_four_digits(norm):
    scale = data.reach(np.array([1e-45, 1e300]))
    (code,) = data.codes(np.array([norm]), scale)
    low, high = scale
    assert math.exp(low + (code - 2) / 65531 * (high - low)) == pytest.approx(norm, rel=7e-3)
    near = data.reach(np.array([norm / 100, norm * 100]))
    (code,) = data.codes(np.array([norm]), near)
    assert math.exp(near[0] + (code - 2) / 65531 * (near[1] - near[0])) == pytest.approx(
        norm, rel=1e-4
    )
