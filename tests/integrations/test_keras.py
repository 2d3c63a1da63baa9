"""Keras on each of its backends, heard: norms from before it clips, equal to NumPy's."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import gradmidi

PROGRAM = Path(__file__).with_name("keras_cases.py")
ADAM_VARIABLES = 2 + 2 * 4
"""Its count and its rate, and two moments of each of four weights."""


@pytest.fixture(scope="module", params=["torch", "jax", "tensorflow"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run every case on one backend, in a process of its own: a backend is chosen at import."""
    for name in ("keras", request.param):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:keras", str(PROGRAM), str(folder)],
        env={**os.environ, "KERAS_BACKEND": request.param, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


def heard(folder: Path) -> list[list[float]]:
    return [frame.norms.tolist() for frame in gradmidi.read(folder).frames()]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["default", "clipped", "accumulated", "scaled"])
def test_norms_are_those_before_clipping(ran: Any, case: str) -> None:
    folder, told = ran
    assert [layer.name for layer in gradmidi.read(folder / case).layers] == ["fc1", "fc2"]
    assert heard(folder / case) == [pytest.approx(row, rel=1e-4) for row in told["by_hand"][case]]


@pytest.mark.slow
def test_one_inf_is_reported_only_for_its_layer(ran: Any) -> None:
    folder, told = ran
    assert [layer.name for layer in gradmidi.read(folder / "infinite").layers] == [
        "fc1",
        "fc2",
        "root",
    ]
    first = heard(folder / "infinite")[0]
    assert first[:2] == pytest.approx(told["by_hand"]["default"][0], rel=1e-4)
    assert first[2] == float("inf")


@pytest.mark.slow
def test_a_layer_without_a_gradient_rests(ran: Any) -> None:
    folder, told = ran
    # JAX differentiates by every weight, so that one which nothing uses has a gradient of 0.
    idle = 0.0 if told["backend"] == "jax" else gradmidi.log.ABSENT
    assert heard(folder / "idle") == [
        pytest.approx([first, idle, second], rel=1e-4) for first, second in told["by_hand"]["idle"]
    ]


@pytest.mark.slow
def test_each_nth_batch_alone_is_read(ran: Any) -> None:
    folder, told = ran
    steps = [frame.step for frame in gradmidi.read(folder / "every").frames()]
    assert steps == [1, 5]
    rows = told["by_hand"]["default"]
    assert heard(folder / "every") == [pytest.approx(rows[step - 1], rel=1e-4) for step in steps]


@pytest.mark.slow
def test_voices_of_ones_own_stand_in_the_log(ran: Any) -> None:
    folder, told = ran
    assert gradmidi.read(folder / "voices").header.voices == {"both": "fc*"}
    assert heard(folder / "voices") == [
        pytest.approx(row, rel=1e-4) for row in told["by_hand"]["default"]
    ]


@pytest.mark.slow
def test_an_error_inside_the_optimizer_is_reported_once_and_training_continues(ran: Any) -> None:
    folder, told = ran
    assert told["trained"]
    assert heard(folder / "failed") == []
    (line,) = [line for line in told["said"] if "KeyError" in line]
    assert "capture: KeyError" in line
    assert "training continues" in line


@pytest.mark.slow
def test_the_optimizer_and_its_checkpoints_are_as_without_us(ran: Any) -> None:
    _, told = ran
    assert told["loaded"] == ADAM_VARIABLES
    assert told["same"]
    assert told["left"] == []


@pytest.mark.slow
def test_epochs_and_validation_stand_in_the_log(ran: Any) -> None:
    folder, _ = ran
    lines = (folder / "clipped" / "run.jsonl").read_text()
    assert '"mark": "epoch 1"' in lines
    assert '"pause": "validation"' in lines
    assert '"loss": ' in lines
    assert '"end": "closed"' in lines


@pytest.mark.slow
def test_a_model_that_was_loaded_continues_the_steps_of_its_optimizer(ran: Any) -> None:
    folder, _ = ran
    steps = [frame.step for frame in gradmidi.read(folder / "saved").frames()]
    assert steps == list(range(1, len(steps) + 1))
    once = [frame.step for frame in gradmidi.read(folder / "default").frames()]
    assert len(steps) == 2 * len(once)
