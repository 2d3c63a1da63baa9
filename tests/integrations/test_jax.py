"""JAX and Optax by `record`, heard: norms from before Optax clips, equal to NumPy's."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from jax_cases import SPOILED
from keras_cases import BATCH, STEPS, data, norms_by_hand, weights

import gradmidi

PROGRAM = Path(__file__).with_name("jax_cases.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run every case in a process of its own: once there is JAX in one, it must not fork."""
    for name in ("jax", "optax"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("jax")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def heard(folder: Path) -> list[list[float]]:
    return [frame.norms.tolist() for frame in gradmidi.read(folder).frames()]


@pytest.mark.parametrize(("case", "clip"), [("default", None), ("clipped", 1.0)])
def test_norms_are_those_before_clipping(ran: Path, case: str, clip: float | None) -> None:
    assert heard(ran / case) == [pytest.approx(row, rel=1e-4) for row in norms_by_hand(clip)]


def test_one_inf_is_reported_only_for_its_layer(ran: Path) -> None:
    rows, by_hand = heard(ran / "infinite"), norms_by_hand(1.0)
    first, _ = by_hand[SPOILED - 1]
    assert rows[:SPOILED] == [
        *(pytest.approx(row, rel=1e-4) for row in by_hand[: SPOILED - 1]),
        [pytest.approx(first, rel=1e-4), float("inf")],
    ]
    # Clipping by an infinite total spoils every weight.
    assert np.isnan(rows[SPOILED:]).all()


def test_the_loss_is_logged_with_the_norms(ran: Path) -> None:
    w1, b1, w2, b2 = weights()
    x, y = (each[:BATCH] for each in data())
    loss = float(((np.tanh(x @ w1 + b1) @ w2 + b2 - y) ** 2).mean())
    found = [frame.loss for frame in gradmidi.read(ran / "default").frames()]
    assert len(found) == STEPS
    assert found[0] == pytest.approx(loss, rel=1e-5)
