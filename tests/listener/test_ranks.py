"""Two and four real processes that train together: who is nan first, who is slow."""

from pathlib import Path

import pytest
from manyprocesses import train_together

pytest.importorskip("torch")

import gradmidi

RANKED = Path(__file__).with_name("ranked.py")
NAN_STEP = 40
SECONDS = 120.0

TRAININGS = {
    2: {"plain": -1, "nan": 1, "loads": 1, "computes": 0},
    4: {"plain": -1, "nan": 0, "loads": 2},
}
"""By how many processes: what a training has, and on which rank."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """Give the folder of all trainings of so many processes."""
    folders: dict[int, Path] = {}

    def found(world: int) -> Path:
        if world not in folders:
            folders[world] = tmp_path_factory.mktemp(f"{world}")
            train(folders[world], world)
        return folders[world]

    return found


def train(folder: Path, world: int) -> None:
    words = [word for name, bad in TRAININGS[world].items() for word in (name, str(bad))]
    train_together(RANKED, [str(folder), *words], world, SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_a_healthy_training_has_no_fault_and_a_file_for_each_process(trained, world: int) -> None:
    folder = trained(world) / "plain"
    assert gradmidi.read(folder).faults() == ()
    files = sorted(path.name for path in folder.iterdir())
    assert files == [*(f"rank-{rank}.jsonl" for rank in range(world)), "run.jsonl"]
    others = [(folder.parent / f"plain.{rank}.err").read_text() for rank in range(1, world)]
    assert others == [""] * (world - 1)


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 4])
def test_the_rank_that_was_nan_first_is_named(trained, world: int) -> None:
    rank = TRAININGS[world]["nan"]
    faults = gradmidi.read(trained(world) / "nan").faults()
    norms = next(fault for fault in faults if fault.layers)
    assert (norms.kind, norms.steps[0], norms.ranks) == ("nan", NAN_STEP, (rank,))
    (loss,) = (fault for fault in faults if fault.logged == "loss")
    # The weights of all of them are nan from the next step on.
    assert (loss.steps[0], loss.ranks) == (NAN_STEP + (rank != 0), (rank,))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "name", "rank"), [(2, "loads", 1), (2, "computes", 0), (4, "loads", 2)]
)
def test_the_rank_that_the_others_wait_for_is_named(
    trained, world: int, name: str, rank: int
) -> None:
    (fault,) = gradmidi.read(trained(world) / name).faults()
    assert (fault.kind, fault.ranks) == ("slow", (rank,))
    assert fault.value > 0.03 > fault.others
    if name == "computes":
        return
    said = (trained(world) / f"{name}.0.err").read_text()
    assert f"rank {rank} is slow (its own work takes" in said, "it is told while the run goes on"
