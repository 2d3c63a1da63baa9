"""Small models, and their norms by hand: the plainest words there are, beside what is heard."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import gradmidi
from gradmidi.log import ABSENT, End, Frame

torch = pytest.importorskip("torch")
from torch import Tensor, nn  # noqa: E402


def small(seed: int = 0, **kind: Any) -> nn.Sequential:
    """Two linear layers, `0` and `2`."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8, **kind), nn.Tanh(), nn.Linear(8, 1, **kind))


def batches(count: int, **kind: Any) -> list[Tensor]:
    made = torch.Generator().manual_seed(5)
    return [torch.randn(10, 4, generator=made).to(**kind) for _ in range(count)]


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    return (10.0 * model(x) - 3.0).square().mean()


def listen(model: nn.Module, optimizer: Any, out: Path, **options: Any) -> Any:
    """Listen without making files at the end."""
    return gradmidi.listen(model, optimizer, out=out, files=(), **options)


def of(optimizer: Any) -> list[Any]:
    """Return an optimizer's parameters."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def alike(rows: list[list[float]], rel: float = 1e-5) -> list[Any]:
    """Rows that are about equal to these; nan is equal to nan."""
    return [pytest.approx(row, rel=rel, nan_ok=True) for row in rows]


def norm_of(layer: nn.Module | Sequence[Tensor]) -> float:
    """The norm of a layer's gradient now, in float64; `ABSENT` where it has none."""
    parameters = layer.parameters() if isinstance(layer, nn.Module) else layer
    gradients = [p.grad.detach() for p in parameters if p.grad is not None]
    if not gradients:
        return ABSENT
    wide = torch.complex128 if any(g.is_complex() for g in gradients) else torch.float64
    dense = (g.to_dense() if g.is_sparse else g for g in gradients)
    return sum(float(g.to(wide).abs().square().sum()) for g in dense) ** 0.5


def row_of(model: nn.Module) -> list[float]:
    """A norm for each module that owns parameters."""
    owners = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    return [norm_of(list(m.parameters(recurse=False))) for m in owners]


class Noting:
    """Trains step by step, and notes the norms by hand where a loop says so."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.rows: list[list[float]] = []

    def __call__(self) -> None:
        self.rows.append(row_of(self.model))


def frames(folder: str | Path) -> list[Frame]:
    return list(gradmidi.read(folder).frames())


def heard(folder: str | Path) -> list[list[float]]:
    return [frame.norms.tolist() for frame in frames(folder)]


def end_of(folder: str | Path) -> End:
    return [item for item in gradmidi.read(folder).items() if isinstance(item, End)][-1]


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Sequence[Tensor],
    before_step: Callable[[], Any] = lambda: None,
) -> list[list[float]]:
    """The usual loop; returns the norms by hand, from right after `backward`."""
    noting = Noting(model)
    for x in data:
        optimizer.zero_grad()
        loss_of(model, x).backward()
        noting()
        before_step()
        optimizer.step()
    return noting.rows
