"""A small network trained by hand: the norms that every adapter must find."""

from pathlib import Path

import pytest

import gradmidi
from gradmidi.log import Frame

torch = pytest.importorskip("torch")
nn = torch.nn

STEPS = 6
BATCH = 10
LR = 0.1


class Net(nn.Module):
    """Two layers; returns its loss, as Transformers wants it, where it is given labels."""

    def __init__(self, spoiled: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.fc1 = nn.Linear(4, 8)
        self.fc2 = nn.Linear(8, 1)
        self.backwards = 0
        self.spoiled = spoiled
        self.fc2.weight.register_hook(self._spoil)

    def _spoil(self, gradient: torch.Tensor) -> torch.Tensor:
        """Make one number of one layer's gradient infinite, at one step."""
        self.backwards += 1
        if self.backwards == self.spoiled:
            gradient = gradient.clone()
            gradient[0, 0] = torch.inf
        return gradient

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None):
        found = self.fc2(torch.tanh(self.fc1(x)))
        if labels is None:
            return found
        return {"loss": nn.functional.mse_loss(found, labels), "logits": found}


def data(batches: int = STEPS) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets so large that any usual clipping bites at each step."""
    made = torch.Generator().manual_seed(3)
    x = torch.randn(batches * BATCH, 4, generator=made)
    return x, 10.0 * torch.randn(batches * BATCH, 1, generator=made)


def layer_norm(layer: nn.Module) -> float:
    """The norm of a layer's gradient, in the plainest words there are."""
    squares = sum(float(p.grad.double().square().sum()) for p in layer.parameters())
    return squares**0.5


def norms_by_hand(
    clip: float | None, *, spoiled: int | None = None, accumulate: int = 1
) -> list[list[float]]:
    """Train, and note each layer's norm before it is clipped."""
    net = Net(spoiled)
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    x, y = data()
    rows = []
    for first in range(0, STEPS, accumulate):
        optimizer.zero_grad()
        for batch in range(first, first + accumulate):
            part = slice(batch * BATCH, (batch + 1) * BATCH)
            (net(x[part], y[part])["loss"] / accumulate).backward()
        rows.append([layer_norm(net.fc1), layer_norm(net.fc2)])
        if clip is not None:
            before = [p.grad.clone() for p in net.parameters()]
            nn.utils.clip_grad_norm_(net.parameters(), clip)
            changed = any(
                not torch.equal(a, p.grad) for a, p in zip(before, net.parameters(), strict=True)
            )
            assert changed, "the example does not clip: it would show nothing"
        optimizer.step()
    return rows


def frames(folder: Path) -> list[Frame]:
    return list(gradmidi.read(folder).frames())


def heard(folder: Path) -> list[list[float]]:
    """The norms of a run log."""
    return [frame.norms.tolist() for frame in frames(folder)]
