"""How far updates move the weights: exact, sampled, by several optimizers, and on several ranks."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import gradmidi  # noqa: E402
from gradmidi.capture.updates import SAMPLE  # noqa: E402
from gradmidi.errors import CaptureError  # noqa: E402
from gradmidi.log import ABSENT  # noqa: E402


def copies(layer: nn.Module) -> list[Any]:
    return [parameter.detach().double().clone() for parameter in layer.parameters()]


def ratio(old: list[Any], new: list[Any]) -> float:
    moved = sum(float((a - b).square().sum()) for a, b in zip(old, new, strict=True))
    return math.sqrt(moved / (sum(float(each.square().sum()) for each in old) or 1.0))


def train(
    model: nn.Sequential, optimizers: Any, out: Path, steps: int, **options: Any
) -> list[list[float]]:
    """Train; return the exact sizes of all updates, of the layers that have parameters."""
    torch.manual_seed(1)
    own = [layer for layer in model if list(layer.parameters())]
    several = optimizers if isinstance(optimizers, list) else [optimizers]
    exact = []
    with gradmidi.listen(model, optimizers, out=out, files=(), **options):
        for index in range(steps):
            optimizer = several[index % len(several)]
            optimizer.zero_grad()
            x = torch.randn(8, model[0].in_features)

            def closure(x: Any = x) -> Any:
                loss = model(x).square().mean()
                loss.backward()
                return loss

            old = [copies(layer) for layer in own]
            if isinstance(optimizer, torch.optim.LBFGS):
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
            exact.append([ratio(a, copies(b)) for a, b in zip(old, own, strict=True)])
    return exact


def measured(out: Path) -> dict[int, np.ndarray]:
    frames = gradmidi.read(out).frames()
    return {each.step: each.updates for each in frames if each.updates is not None}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))


@pytest.mark.parametrize(
    ("make", "rate"),
    [(torch.optim.SGD, 0.1), (torch.optim.AdamW, 0.01), (torch.optim.LBFGS, 0.1)],
)
def test_each_third_update_is_measured(tmp_path: Path, make: Any, rate: float) -> None:
    model = net()
    exact = train(model, make(model.parameters(), lr=rate), tmp_path / "a", 8, updates=3)
    found = measured(tmp_path / "a")
    assert list(found) == [1, 4, 7]
    for step, row in found.items():
        np.testing.assert_allclose(row, exact[step - 1], rtol=1e-4)
    assert (np.array([*found.values()]) > 0.0).all()


def test_nothing_is_measured_by_default(tmp_path: Path) -> None:
    model = net()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path / "a", 3)
    assert measured(tmp_path / "a") == {}
    assert b"updates" not in (tmp_path / "a" / "run.jsonl").read_bytes()


def test_of_a_large_layer_a_sample_is_compared(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(1000, 1500), nn.Tanh(), nn.Linear(1500, 2))
    assert model[0].weight.numel() > 4 * SAMPLE
    exact = train(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path / "a", 2, updates=1)
    for step, row in measured(tmp_path / "a").items():
        assert row[0] == pytest.approx(exact[step - 1][0], rel=0.1)
        assert row[1] == pytest.approx(exact[step - 1][1], rel=1e-4)


def test_a_layer_of_another_optimizer_and_one_of_zeros_have_none(tmp_path: Path) -> None:
    model = net()
    with torch.no_grad():
        for parameter in model[2].parameters():
            parameter.zero_()
    both = [torch.optim.SGD(model[i].parameters(), lr=0.1) for i in (0, 2)]
    train(model, both, tmp_path / "a", 4, updates=2)
    found = measured(tmp_path / "a")
    assert list(found) == [1, 2], "the first of each; the third of each would come later"
    assert found[1].tolist() == [0.0, ABSENT], "behind zeros there is no gradient"
    assert found[2].tolist() == [ABSENT, ABSENT], "zero before: no share of it"


def test_updates_are_measured_in_steps_whose_gradients_are(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer, tmp_path / "a", 12, every=2, updates=3)
    assert list(measured(tmp_path / "a")) == [1, 5, 9]


def test_grouped_voices_have_the_size_of_all_their_layers(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    old = copies(model)
    train(model, optimizer, tmp_path / "a", 1, updates=1, keep="voices", voices={"all": "*"})
    assert measured(tmp_path / "a")[1] == pytest.approx([ratio(old, copies(model))], rel=1e-4)


def test_what_fails_is_told_once_and_training_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch, "_foreach_copy_", full)
    model = net()
    exact = train(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path / "a", 4, updates=2)
    assert measured(tmp_path / "a") == {}
    assert gradmidi.read(tmp_path / "a").steps == 4
    assert all(size > 0.0 for row in exact for size in row)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "10"])
def test_other_numbers_are_refused(tmp_path: Path, value: Any) -> None:
    model = net()
    with pytest.raises(CaptureError, match=r"updates=.*; allowed is a whole number of 1 or more"):
        gradmidi.listen(
            model, torch.optim.SGD(model.parameters(), lr=0.1), out=tmp_path / "a", updates=value
        )
