"""Several processes that train together: what is heard, by whom, and what happens if one fails."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from manyprocesses import train_together

pytest.importorskip("torch")

import torch

import gradmidi
from gradmidi.capture import sharded
from gradmidi.capture.capture import Capture
from gradmidi.listener.listener import Listener
from gradmidi.listener.other_rank import OtherRank
from gradmidi.log import ABSENT

RANKS = Path(__file__).with_name("ranks.py")
STEPS, FAULT_STEP = 12, 5
SECONDS = 200.0


TRAININGS = {
    1: {"alone": ("none", "none"), "clip torch": ("none", "clip torch")},
    2: {
        "ddp": ("ddp", "none"),
        "fsdp": ("fsdp", "none"),
        "tensor parallel": ("tensor parallel", "none"),
        "clip torch": ("fsdp all", "clip torch"),
        "clip ears": ("fsdp all", "clip ears"),
        "raises": ("fsdp", "raises"),
        "closes": ("fsdp", "closes"),
        "alone": ("fsdp", "alone"),
        "budget": ("fsdp", "budget"),
        "fsdp1": ("fsdp1", "none"),
        "fsdp1 clip own": ("fsdp1 all", "clip own"),
        "fsdp1 clip ears": ("fsdp1 all", "clip ears"),
        "fsdp1 flat": ("fsdp1 flat", "none"),
        "fsdp1 inner": ("fsdp1 inner", "none"),
        "fsdp1 inner flat": ("fsdp1 inner flat", "none"),
    },
    4: {
        "ddp": ("ddp", "none"),
        "fsdp": ("fsdp", "none"),
        "hybrid": ("hybrid", "none"),
        "fsdp1 hybrid": ("fsdp1 hybrid", "none"),
        "tensor parallel": ("tensor parallel", "none"),
        "raises": ("hybrid", "raises"),
        "closes": ("hybrid", "closes"),
        "every": ("fsdp", "every"),
    },
}
"""By how many processes: a name, how the model is spread, and what goes wrong."""


@dataclass(frozen=True)
class Trained:
    """What a training by several processes left behind."""

    folder: Path

    def result(self, rank: int = 0) -> dict:
        return torch.load(self.folder / f"{rank}.pt")

    def said(self, rank: int = 0) -> str:
        return (self.folder / f"{rank}.err").read_text()

    @property
    def frames(self) -> list:
        return list(gradmidi.read(self.folder / "run").frames())

    @property
    def norms(self) -> np.ndarray:
        return np.array([frame.norms for frame in self.frames])

    @property
    def updates(self) -> dict[int, np.ndarray]:
        return {each.step: each.updates for each in self.frames if each.updates is not None}


def train(folder: Path, world: int) -> None:
    """Have so many processes make all their trainings, one after another."""
    trainings = [word for name, how in TRAININGS[world].items() for word in (name, *how)]
    train_together(RANKS, [str(folder), *trainings], world, SECONDS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """Give what a training left, by its number of processes and its name."""
    folders: dict[int, Path] = {}

    def found(world: int, name: str) -> Trained:
        if world not in folders:
            folders[world] = tmp_path_factory.mktemp(f"by {world}")
            train(folders[world], world)
        return Trained(folders[world] / name)

    return found


@pytest.fixture
def alone(trained) -> Trained:
    """The reference: one process, the whole batch."""
    return trained(1, "alone")


def alike(weights: dict, others: dict) -> None:
    assert weights.keys() == others.keys()
    for name, own in weights.items():
        torch.testing.assert_close(own, others[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "kind"),
    [
        (2, "ddp"),
        (4, "ddp"),
        (2, "fsdp"),
        (4, "fsdp"),
        (4, "hybrid"),
        (2, "tensor parallel"),
        (4, "tensor parallel"),
    ],
)
def test_the_norms_are_those_of_one_process(trained, alone, world, kind) -> None:
    several = trained(world, kind)
    assert [frame.step for frame in several.frames] == list(range(1, STEPS + 1))
    np.testing.assert_allclose(several.norms, alone.norms, rtol=1e-4)
    assert (several.norms[:, 4] == ABSENT).all(), "the layer that is never used"
    # In the order of the forward pass: `down` is registered first.
    used = [layer.name for layer in gradmidi.read(several.folder / "run").layers]
    assert used == ["embed", "up", "down", "norm", "unused", "head", "scale"]
    assert list(several.updates) == list(alone.updates) == [1, 6, 11]
    for step, sizes in alone.updates.items():
        np.testing.assert_allclose(several.updates[step], sizes, rtol=1e-3)
    for rank in range(world):
        alike(several.result(rank)["state"], alone.result()["state"])
        assert several.result(rank)["hooks"] == 0
        assert rank == 0 or not several.said(rank), "another rank told what the first one tells"
    assert not list(several.folder.glob("run of *")), "another rank wrote files"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["torch", "ears"])
def test_the_norms_are_those_before_clipping(trained, how: str) -> None:
    several, single = trained(2, f"clip {how}"), trained(1, "clip torch")
    np.testing.assert_allclose(several.norms, single.norms, rtol=1e-4)
    assert several.norms[0].max() > 1.0, "clipped at 0.05"


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_a_rank_that_cannot_look_ends_it_for_all_at_one_step(trained, alone, world) -> None:
    several = trained(world, "raises")
    assert [frame.step for frame in several.frames] == list(range(1, FAULT_STEP))
    np.testing.assert_allclose(several.norms, alone.norms[: FAULT_STEP - 1], rtol=1e-4)
    for rank in range(world):
        alike(several.result(rank)["state"], alone.result()["state"])
        assert several.result(rank)["steps"] == STEPS
    assert several.said().count("rank 1 could not look at a step") == 1
    assert "ValueError: no norms today" in several.said(1)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_a_rank_that_closes_early_holds_nobody_up(trained, alone, world) -> None:
    several = trained(world, "closes")
    assert [frame.step for frame in several.frames] == list(range(1, FAULT_STEP + 1))
    for rank in range(world):
        alike(several.result(rank)["state"], alone.result()["state"])
        assert several.result(rank)["hooks"] == 0
    assert several.said().count("rank 1 closed its run") == 1


@pytest.mark.slow
def test_listening_on_some_ranks_only_is_refused_at_the_start(trained) -> None:
    several = trained(2, "alone")
    refused = (several.folder / "refused").read_text()
    assert "not called on rank 1 of 2" in refused
    assert "on every one of them" in refused
    assert not (several.folder / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("world", "fault"), [(4, "every"), (2, "budget")])
def test_the_ranks_look_at_the_same_steps(trained, alone, world, fault) -> None:
    several = trained(world, fault)
    steps = [frame.step for frame in several.frames]
    if fault == "every":
        assert steps == [1, 4, 7, 10]
    else:
        assert steps[0] == 1
        assert len(steps) < STEPS, "a budget that no look fits in left out none"
    np.testing.assert_allclose(several.norms, alone.norms[np.array(steps) - 1], rtol=1e-4)
    assert {several.result(rank)["steps"] for rank in range(world)} == {STEPS}


def of_fsdp1(trained: Trained, reference: Trained) -> tuple[np.ndarray, np.ndarray]:
    """Norms of a run of FSDP1, and those to expect, with the layers in the same order.

    In the graph there are only flat tensors, so that the layers stand as they were registered. A
    layer that is never used has a gradient of zeros.
    """
    expected = np.where(reference.norms == ABSENT, 0.0, reference.norms)
    names = [layer.name for layer in gradmidi.read(reference.folder / "run").layers]
    own = gradmidi.read(trained.folder / "run").layers
    order = [names.index(layer.name) for layer in own]
    assert {layer.name: layer.size for layer in own}["up"] == 12 * 24 + 24, "not that of a piece"
    return trained.norms, expected[:, order]


@pytest.mark.slow
@pytest.mark.parametrize(("world", "kind"), [(2, "fsdp1"), (4, "fsdp1 hybrid")])
def test_fsdp1_has_the_norms_of_one_process(trained, alone, world, kind) -> None:
    several = trained(world, kind)
    assert [frame.step for frame in several.frames] == list(range(1, STEPS + 1))
    np.testing.assert_allclose(*of_fsdp1(several, alone), rtol=1e-4)
    assert list(several.updates) == [1, 6, 11]
    for step, sizes in alone.updates.items():
        np.testing.assert_allclose(
            np.sort(several.updates[step]), np.sort(np.maximum(sizes, 0.0)), rtol=1e-3
        )
    for rank in range(world):
        alike(several.result(rank)["state"], alone.result()["state"])
        assert rank == 0 or not several.said(rank)
    assert not list(several.folder.glob("run of *"))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["own", "ears"])
def test_fsdp1_has_the_norms_before_its_own_clipping(trained, how: str) -> None:
    several, single = trained(2, f"fsdp1 clip {how}"), trained(1, "clip torch")
    norms, expected = of_fsdp1(several, single)
    np.testing.assert_allclose(norms, expected, rtol=1e-4)
    assert norms[0].max() > 1.0, "clipped at 0.05"
    *_, end = gradmidi.read(several.folder / "run").items()
    assert end.clipping == "before"
    alike(several.result()["state"], single.result()["state"])


@pytest.mark.slow
@pytest.mark.parametrize("given", ["fsdp1 flat", "fsdp1 inner", "fsdp1 inner flat"])
def test_fsdp1_that_cannot_be_heard_is_refused_with_what_to_do(trained, given: str) -> None:
    """Also where `listen` gets the model inside the wrapper."""
    several = trained(2, given)
    refused = (several.folder / "refused").read_text()
    assert "use_orig_params=True" in refused
    assert "fully_shard" in refused
    assert not (several.folder / "run").exists()


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_optimizer_of_deepspeeds_without_its_engine_is_refused(wrapped: bool) -> None:
    class Partitioned(torch.optim.SGD):
        pass

    class Wrapper:
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    Partitioned.__module__ = "deepspeed.runtime.zero.stage_1_and_2"
    model = torch.nn.Linear(1, 1)
    given = Partitioned(model.parameters(), lr=0.1)
    with pytest.raises(gradmidi.CaptureError, match=r"Partitioned .*listen\(engine\)"):
        gradmidi.listen(model, Wrapper(given) if wrapped else given)


def test_a_stage_of_a_pipeline_is_refused_with_what_to_do() -> None:
    pipelining = pytest.importorskip("torch.distributed.pipelining")
    stage = object.__new__(pipelining.PipelineStage)
    with pytest.raises(gradmidi.CaptureError, match=r"each process has other layers.*record\(\)"):
        gradmidi.listen(stage)


def test_a_process_that_was_launched_as_another_than_the_first_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with gradmidi.listen(model, optimizer, out=tmp_path / "a") as ears:
        model(torch.full((1, 2), 9.0)).square().sum().backward()
        by_hand = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
        torch.testing.assert_close(ears.clip_grad_norm_(1.0), by_hand)
        assert model.weight.grad.norm() <= 1.0
        optimizer.step()
        ears.log(loss=1.0)
        ears.mark("epoch 1")
        ears.capture()
        with ears.pause("eval"):
            ears.close()
    assert isinstance(ears, OtherRank)
    assert not (tmp_path / "a").exists()
    assert ears.bytes_per_step == 0.0
    assert ears.live is None


@pytest.mark.parametrize(
    ("environment", "silent", "told"),
    [
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, True, False),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, True, False),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, True, True),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, False, False),
        ({"RANK": "0", "WORLD_SIZE": "1", "SLURM_PROCID": "3"}, False, False),
    ],
)
def test_listen_knows_the_ranks_of_all_launchers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
    environment: dict[str, str],
    silent: bool,
    told: bool,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with gradmidi.listen(torch.nn.Linear(1, 1), out=tmp_path / "a", files=()) as ears:
        assert isinstance(ears, OtherRank) is silent
    notes = [line for line in said if line.startswith("rank 3 of SLURM is not recorded")]
    assert len(notes) == told


def test_what_is_silent_does_nothing_that_a_listener_does() -> None:
    theirs = {name for name in vars(Listener) if not name.startswith("_")}
    # It needs the capture alone, which other ranks have too.
    theirs.remove("clip_grad_norm_")
    assert theirs <= vars(OtherRank).keys(), "a call that reaches for a log that is not there"


def test_each_replica_counts_for_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    class Placement:
        def __init__(self, replicate: bool) -> None:
            self.is_replicate = lambda: replicate

    class Mesh:
        def __init__(self, *sizes: int) -> None:
            self.size = lambda dim=None: int(np.prod(sizes)) if dim is None else sizes[dim]

    class Spread:
        def __init__(self, mesh: Mesh, *placements: Placement) -> None:
            self.device_mesh, self.placements = mesh, placements

    monkeypatch.setattr(sharded.distributed, "get_world_size", lambda: 8)
    copy, shard = Placement(True), Placement(False)
    assert sharded.share(torch.ones(1)) == 1 / 8
    assert sharded.share(Spread(Mesh(8), shard)) == 1.0
    assert sharded.share(Spread(Mesh(8), copy)) == 1 / 8
    assert sharded.share(Spread(Mesh(2, 4), copy, shard)) == 1 / 2
    assert sharded.share(Spread(Mesh(4), shard)) == 1 / 2, "two meshes of four, each a replica"


def test_a_capture_of_plain_tensors_meets_nobody() -> None:
    assert Capture(torch.nn.Linear(1, 1)).meet() is False
