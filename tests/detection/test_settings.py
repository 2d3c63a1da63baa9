"""Changes of logged settings, and what only looks like one."""

import numpy as np
import pytest

from gradmidi.detection.detector import Watch
from gradmidi.detection.kinds import Faults
from gradmidi.detection.logged import Change, Settings
from gradmidi.log import Frame, Layer


def test_a_whole_number_that_was_steady_is_a_setting():
    settings = Settings()
    sizes = [32] * 64 + [256] * 64 + [128]
    found = [step for step, size in enumerate(sizes, 1) if settings.add(step, {"batch": size})]
    assert found == [65, 129]
    assert settings.changes == [Change(65, "batch", 32, 256), Change(129, "batch", 256, 128)]


@pytest.mark.parametrize(
    "values",
    [
        [n // 100 for n in range(500)],
        [n // 100 * 50_000 for n in range(500)],
        list(range(500)),
        [32] * 63 + [256],
        [0] * 100 + [1] * 100,
        [0.1] * 100 + [10.0] * 100,
        [True] * 100 + [False] * 100,
        ["train"] * 100 + ["frozen"] * 100,
    ],
    ids=["epochs", "samples", "steps", "young", "flag", "rate", "bool", "text"],
)
def test_what_counts_or_is_no_whole_number_is_no_setting(values):
    settings = Settings()
    assert not any(settings.add(step, {"x": value}) for step, value in enumerate(values, 1))


@pytest.mark.parametrize("logged", [True, False])
def test_norms_and_loss_are_compared_with_those_after_the_change(logged):
    watch = Watch([Layer("a", 10), Layer("b", 10)], Faults())
    found = []
    for step in range(1, 601):
        times = 32.0 if step > 300 else 1.0
        extra = {"loss": 2.0 * times, **({"batch_size": int(8 * times)} if logged else {})}
        found += watch.add(Frame(step, 0.1 * step, np.array([1.0, 2.0]) * times, extra))
    assert bool(found) is not logged
    if not logged:
        return
    # A fault after it is found as ever.
    for step in range(601, 621):
        extra = {"loss": 64.0, "batch_size": 256}
        found += watch.add(Frame(step, 0.1 * step, np.array([32.0, 2000.0]), extra))
    assert ("exploding", 1) in [(each.kind, each.layer) for each in found]
