"""What is no fault: small sets learnt by heart, warm-up, restarts, and another batch size."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import gradmidi  # noqa: E402

INPUTS, CLASSES = 16, 4
MOMENTUM = 0.9
Net = nn.Module


def net() -> Net:
    return nn.Sequential(
        nn.Linear(INPUTS, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, CLASSES)
    )


def data(count: int, *, noise: float = 0.5) -> tuple[Any, Any]:
    x = torch.randn(count, INPUTS)
    way = torch.randn(INPUTS, CLASSES)
    return x, (x @ way + noise * torch.randn(count, CLASSES)).argmax(1)


def train(
    out: Path,
    seed: int,
    make: Callable[[Net], Any],
    batches: Callable[[], Iterator[tuple[Any, Any]]],
    before: Callable[[Any, int], dict[str, Any]] = lambda _o, _s: {},
    reduction: str = "mean",
) -> list[str]:
    """Train; return what gradmidi says of it."""
    torch.manual_seed(seed)
    model = net()
    optimizer = make(model)
    with gradmidi.listen(model, optimizer, out=out, files=()) as ears:
        for step, (x, y) in enumerate(batches()):
            more = before(optimizer, step)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y, reduction=reduction)
            loss.backward()
            optimizer.step()
            ears.log(loss=loss, **more, batch_size=len(x))
    return list(gradmidi.describe(out))


def drawn(sizes: Sequence[int], steps: int, count: int = 2048) -> Iterator[tuple[Any, Any]]:
    x, y = data(count)
    for size in sizes:
        for _ in range(steps):
            places = torch.randint(0, count, (size,))
            yield x[places], y[places]


def momentum(model: Net, lr: float = 0.05) -> Any:
    return torch.optim.SGD(model.parameters(), lr, MOMENTUM)


def adam(model: Net) -> Any:
    return torch.optim.Adam(model.parameters(), 3e-3)


SEEDS = (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS[:1])
@pytest.mark.parametrize("make", [lambda m: momentum(m, 0.1), adam], ids=["sgd", "adam"])
def test_a_small_set_that_is_learnt_by_heart(tmp_path: Path, seed: int, make: Any) -> None:
    def batches() -> Iterator[tuple[Any, Any]]:
        x, _ = data(64)
        y = torch.randint(0, CLASSES, (64,))
        for _ in range(1000):
            yield x, y

    said = train(tmp_path / "a", seed, make, batches)
    assert said[1] == "no faults"
    norms = [frame.norms for frame in gradmidi.read(tmp_path / "a").frames()]
    assert norms[-1].max() < 0.05 * norms[0].min(), "norms have not fallen by decades"


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS[:1])
@pytest.mark.parametrize("logged", [True, False])
def test_warm_up(tmp_path: Path, seed: int, logged: bool) -> None:
    def rate(optimizer: Any, step: int) -> dict[str, Any]:
        optimizer.param_groups[0]["lr"] = lr = 1e-2 * min(1.0, (step + 1) / 400) ** 2
        return {"lr": lr} if logged else {}

    said = train(tmp_path / "a", seed, adam, lambda: drawn((32,), 1000), rate)
    assert said[1] == "no faults"


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS[:1])
@pytest.mark.parametrize("kind", ["cosine", "state"])
def test_a_restart(tmp_path: Path, seed: int, kind: str) -> None:
    def restart(optimizer: Any, step: int) -> dict[str, Any]:
        lr = 0.05 * (1.0 + math.cos(math.pi * (step % 400) / 400))
        if kind == "state" and step and step % 400 == 0:
            optimizer.state.clear()
        if kind == "cosine":
            optimizer.param_groups[0]["lr"] = lr
        return {"lr": lr} if kind == "cosine" else {}

    said = train(tmp_path / "a", seed, momentum, lambda: drawn((32,), 1600), restart)
    assert said[1] == "no faults"


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("sizes", "lr", "reduction"),
    [((64, 256), 0.05, "mean"), ((256, 16), 0.05, "mean"), ((8, 256), 2e-4, "sum")],
    ids=["larger", "smaller", "summed"],
)
def test_another_batch_size_is_said_as_what_it_is(
    tmp_path: Path, seed: int, sizes: tuple[int, int], lr: float, reduction: str
) -> None:
    before, after = sizes
    said = train(
        tmp_path / "a",
        seed,
        lambda m: momentum(m, lr),
        lambda: drawn(sizes, 300),
        reduction=reduction,
    )
    assert said[1:3] == [
        "no faults",
        f"step 301: batch_size changed from {before} to {after}; norms and loss are compared with "
        "those from here on",
    ]
