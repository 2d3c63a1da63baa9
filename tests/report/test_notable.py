"""What stands out in a run's norms, whether faults were found or not."""

import math

import numpy as np
import pytest

from gradmidi.log import ABSENT
from gradmidi.music.voices import Voice
from gradmidi.report.curves import Curves, notable

VOICES = tuple(Voice(index, f"fc{index}", (index,)) for index in range(6))


def curves(columns, *, steps=None):
    high = np.array(columns, dtype=float).T
    count = len(high)
    step = np.arange(1, count + 1) if steps is None else np.array(steps)
    return Curves(
        np.arange(count + 1, dtype=np.int32),
        step.astype(np.int32),
        np.arange(float(count)),
        np.full(count, math.nan),
        high,
        high,
    )


def told(columns, **options):
    return notable(curves(columns, **options), VOICES[: len(columns)])


def test_a_run_that_goes_well_has_none():
    rng = np.random.default_rng(0)
    assert told(np.exp(rng.normal(0, 0.7, (4, 500)))) == []


def test_a_peak_is_reported_at_its_highest_step():
    columns = [[1, 3, 250, 2], [0.1, 1, 99, 1], [1, 90, 99, 1]]
    assert told(columns) == [(2, "fc1 is largest at step 3: 99, 990 times its first; "
                                 "fc0 is largest there too")]  # fmt: skip


def test_a_ratio_is_written_as_it_is_read():
    assert told([[0.01, 123456789.0]]) == [
        (1, "fc0 is largest at step 2: 1.2e8, 1.2e10 times its first")
    ]
    assert told([[1e-20, 1e20]])[0][1].endswith("1e20, 1e40 times its first")


def test_a_first_norm_that_is_no_number_is_passed_over():
    assert told([[ABSENT, 0, math.nan, 2, 400, 3]]) == [
        (4, "fc0 is largest at step 5: 400, 200 times its first")
    ]


@pytest.mark.parametrize(
    ("value", "words"), [(0, "exactly zero"), (math.nan, "nan"), (math.inf, "inf")]
)
def test_a_state_that_lasts_to_the_end_is_reported_from_its_first_step(value, words):
    assert told([[1, 1, value, value], [1, value, 1, value]]) == [
        (2, f"fc0 is {words} from step 3 to the end"),
        (3, f"fc1 is {words} from step 4 to the end"),
    ]
    assert told([[value] * 3]) == [(0, f"fc0 is {words} from the first step to the end")]


def test_a_state_that_ends_or_never_occurs_is_not_reported():
    assert told([[1, 0, 0, 1], [1, math.nan, 1, 1], [1, 1, ABSENT, ABSENT]]) == []


def test_many_voices_share_a_line():
    assert told([[1, 0]] * 6) == [(1, "fc0, fc1, fc2 and 3 more are exactly zero from step 2 "
                                      "to the end")]  # fmt: skip


def test_bins_of_several_steps():
    assert told([[1, 500, 0]], steps=(10, 20, 30)) == [
        (1, "fc0 is largest by step 20: 500, 500 times its first"),
        (2, "fc0 is exactly zero from step 21 to the end"),
    ]


def test_no_steps():
    assert notable(curves(np.empty((1, 0))), VOICES[:1]) == []
