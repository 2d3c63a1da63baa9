"""A loop over Accelerate, heard: norms from before it clips, once an update."""

import json
from pathlib import Path
from typing import Any

import pytest
from byhand import BATCH, LR, STEPS, Net, data, heard, norms_by_hand


@pytest.fixture(scope="module")
def accelerate() -> Any:
    return pytest.importorskip("accelerate")


def train(
    accelerate: Any, folder: Path, net: Net, *, clip: float | None = 1.0, accumulate: int = 1
) -> None:
    import torch

    from gradmidi.integrations.accelerate import listen

    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), batch_size=BATCH)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    net, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    with listen(accelerator, net, optimizer, out=folder, files=()) as ears:
        for x, y in loader:
            with accelerator.accumulate(net):
                loss = net(x, y)["loss"]
                accelerator.backward(loss)
                if accelerator.sync_gradients and clip is not None:
                    accelerator.clip_grad_norm_(net.parameters(), clip)
                optimizer.step()
                optimizer.zero_grad()
                ears.log(loss=loss)


@pytest.mark.parametrize("clip", [None, 1.0], ids=["plain", "clipped"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_norms_are_those_before_clipping(
    accelerate: Any, tmp_path: Path, clip: float, accumulate: int
) -> None:
    train(accelerate, tmp_path / "a", Net(), clip=clip, accumulate=accumulate)
    rows = heard(tmp_path / "a")
    assert len(rows) == STEPS // accumulate
    assert rows == [
        pytest.approx(row, rel=1e-5) for row in norms_by_hand(clip, accumulate=accumulate)
    ]


def test_one_inf_is_reported_only_for_its_layer(accelerate: Any, tmp_path: Path) -> None:
    train(accelerate, tmp_path / "a", Net(spoiled=3))
    rows = heard(tmp_path / "a")
    assert rows[2][1] == float("inf")
    assert rows == [
        pytest.approx(row, rel=1e-5, nan_ok=True) for row in norms_by_hand(1.0, spoiled=3)
    ]


def test_other_processes_take_the_same_calls_and_write_nothing(
    accelerate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradmidi.integrations.accelerate import listen

    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with listen(None, Net(), None, out=tmp_path / "a") as ears:
        ears.log(loss=1.0)
        ears.mark("epoch 1")
        ears.capture()
        with ears.pause("eval"):
            ears.close()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("when", ["before", "after"])
def test_steps_have_the_numbers_of_the_optimizer_that_is_loaded(
    accelerate: Any, tmp_path: Path, when: str
) -> None:
    import torch

    from gradmidi.integrations.accelerate import listen

    def run(*, load: bool) -> None:
        accelerator = accelerate.Accelerator(cpu=True)
        net = Net()
        optimizer = torch.optim.Adam(net.parameters(), lr=LR)
        net, optimizer = accelerator.prepare(net, optimizer)
        if load and when == "before":
            accelerator.load_state(str(tmp_path / "state"))
        with listen(accelerator, net, optimizer, out=tmp_path / "a", files=(), resume=True):
            if load and when == "after":
                accelerator.load_state(str(tmp_path / "state"))
            x, y = data()
            for step in range(1, 6):
                accelerator.backward(net(x[:BATCH], y[:BATCH])["loss"])
                optimizer.step()
                optimizer.zero_grad()
                if not load and step == 3:
                    accelerator.save_state(str(tmp_path / "state"))

    run(load=False)
    before = len((tmp_path / "a" / "run.jsonl").read_text().splitlines())
    run(load=True)
    lines = (tmp_path / "a" / "run.jsonl").read_text().splitlines()[before:]
    assert [json.loads(line)["step"] for line in lines if '"norms"' in line] == [4, 5, 6, 7, 8]
    assert len(heard(tmp_path / "a")) == 8
