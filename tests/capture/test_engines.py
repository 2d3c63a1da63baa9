"""DeepSpeed's engine on several processes: its norms are those of one process."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
if find_spec("deepspeed") is None:
    pytest.skip("deepspeed is not installed", allow_module_level=True)

import engines
import torch
from engines import NAN_STEP, REFUSED, STEPS, TRAININGS
from manyprocesses import train_together

import gradmidi
from gradmidi.log import ABSENT

ENGINES = Path(__file__).with_name("engines.py")
WORLD = 2
SECONDS = 200.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all trainings, made by the same two processes one after another."""
    folder = tmp_path_factory.mktemp("engines")
    engines.alone(folder / "alone")
    words = [str(folder), *TRAININGS, *REFUSED]
    train_together(ENGINES, words, WORLD, SECONDS)
    return folder


def frames(folder: Path) -> list:
    return list(gradmidi.read(folder).frames())


def norms(folder: Path) -> np.ndarray:
    return np.array([frame.norms for frame in frames(folder)])


def alone(trained: Path) -> np.ndarray:
    """The norms of one process; to DeepSpeed a layer that is never used has a gradient of zeros."""
    found = norms(trained / "alone")
    return np.where(found == ABSENT, 0.0, found)


@pytest.mark.parametrize("name", ["zero 0", "zero 1", "zero 2", "zero 3", "scaled 2", "scaled 3"])
def test_the_norms_are_those_of_one_process_before_clipping(trained: Path, name: str) -> None:
    run = gradmidi.read(trained / name / "run")
    assert [frame.step for frame in run.frames()] == list(range(1, STEPS + 1)), "one an update"
    np.testing.assert_allclose(norms(trained / name / "run"), alone(trained), rtol=1e-4)
    assert alone(trained)[0].max() > 10 * engines.CLIP
    assert run.layers == gradmidi.read(trained / "alone").layers, "names and sizes"
    steps = [torch.load(trained / name / f"{rank}.pt")["steps"] for rank in range(WORLD)]
    assert steps == [STEPS] * WORLD
    assert not (trained / name / "run of 1").exists()
    assert "gradmidi" not in (trained / name / "1.err").read_text()


@pytest.mark.parametrize("name", ["bfloat16 1", "bfloat16 3"])
def test_half_precision_is_as_near_as_it_can_be(trained: Path, name: str) -> None:
    np.testing.assert_allclose(norms(trained / name / "run")[0], alone(trained)[0], rtol=1e-2)


def test_only_every_second_update_is_read(trained: Path) -> None:
    assert [frame.step for frame in frames(trained / "every" / "run")] == [1, 3, 5]
    np.testing.assert_allclose(norms(trained / "every" / "run"), alone(trained)[::2], rtol=1e-4)


def test_an_update_that_the_engine_skips_is_a_fault(trained: Path) -> None:
    found = frames(trained / "nan" / "run")
    assert [frame.step for frame in found] == list(range(1, STEPS + 1))
    assert np.isnan(found[NAN_STEP - 1].norms[0])
    kinds = {
        (fault.kind, fault.steps[0]) for fault in gradmidi.read(trained / "nan" / "run").faults()
    }
    assert ("skipped", NAN_STEP) in kinds
    # The weights are as they were: the next batch has the gradients that it would have had.
    assert np.isfinite(found[NAN_STEP].norms).all()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("offload", "offloaded gradients"),
        ("module", "give listen() the engine: listen(engine)"),
        ("updates", "updates= is not measured with DeepSpeed"),
    ],
)
def test_what_cannot_be_heard_is_refused_on_every_process(
    trained: Path, name: str, text: str
) -> None:
    for rank in range(WORLD):
        assert text in (trained / name / f"refused {rank}").read_text()
    assert not (trained / name / "run" / "run.jsonl").exists()
