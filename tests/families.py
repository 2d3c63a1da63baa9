"""The models and tasks of the seeded runs: small enough to train in seconds on one thread.

Thresholds may be tuned on the families `TUNED`; those in `HELD_OUT` are for testing alone.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from gradmidi.demo.experiments import digits

torch = pytest.importorskip("torch")
Tensor, nn = torch.Tensor, torch.nn

TUNED = ("digits", "sigmoid", "transformer", "regression", "deep sigmoid")
HELD_OUT = ("batchnorm", "lstm", "deep relu")

HEALTHY = ("steady", "decay", "warmup", "drop", "unfreeze", "restart")
"""Runs in which nothing is wrong: the rate as it should be; a small set learnt by heart, so that
the norms fall by decades; a rate that rises at the start; one that falls to a tenth; layers that
are frozen at first; a run that is taken up again with a new optimizer."""

FAULTY = (
    "rate",
    "late rate",
    "nan",
    "nan loss",
    "inf",
    "exploding",
    "vanishing",
    "dead",
    "dead from the start",
    "spike",
    "layer spike",
    "skipped",
    "stalled",
    "died",
)
"""Runs in which one thing is wrong; `DEEP` is for models of their own."""

DEEP = "vanishing from the start"

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Family:
    """A model, its task and the settings it trains well with."""

    build: Callable[[], nn.Module]
    batches: Callable[[np.random.Generator, int, int | None], Iterator[Batch]]
    loss: Callable[[Tensor, Tensor], Tensor]
    settings: tuple[tuple[str, float], ...]  # optimizer and rate
    sizes: tuple[int, ...]  # of a batch
    sites: tuple[str, ...]  # modules whose output gradient a fault may touch, input to output
    noisy_inputs: bool  # whether a batch of large noise shows: a sigmoid takes no notice
    frozen: int  # how many of the first layers a run may begin without
    biased: tuple[str, ...] = ()  # of the sites, those followed by something that can die
    parameters: str = "all"
    faults: tuple[str, ...] = (*HEALTHY, *FAULTY)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            part.reshape(batch, length, 4, width // 4).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).chunk(3, -1)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(nn.functional.relu(self.up(self.norm2(x))))


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Embedding(24, 32)
        self.place = nn.Embedding(16, 32)
        self.blocks = nn.ModuleList([_Block(32) for _ in range(2)])
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 24)

    def forward(self, x: Tensor) -> Tensor:
        y = self.token(x) + self.place(torch.arange(x.shape[1]))
        for block in self.blocks:
            y = block(y)
        return self.head(self.norm(y))


class _Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inlet = nn.Linear(28, 32)
        self.lower = nn.LSTM(32, 32, batch_first=True)
        self.upper = nn.LSTM(32, 32, batch_first=True)
        self.outlet = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lower(torch.tanh(self.inlet(x[:, 0, ::2])))
        y, _ = self.upper(y)
        return self.outlet(y[:, -1])


def _sigmoids(depth: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    for index in range(depth):
        linear = nn.Linear(196 if index == 0 else 32, 32)
        nn.init.xavier_normal_(linear.weight, gain=2.0)
        layers += [linear, nn.Sigmoid()]
    return nn.Sequential(nn.AvgPool2d(2), *layers, nn.Linear(32, 10))


def _tanhs() -> nn.Sequential:
    sizes = (8, 48, 48, 48, 48, 48, 48)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(48, 1))


def _relus(depth: int) -> nn.Sequential:
    """Plain layers with torch's own first weights, which shrink a signal layer by layer."""
    layers: list[nn.Module] = [nn.Flatten()]
    for index in range(depth):
        layers += [nn.Linear(196 if index == 0 else 48, 48), nn.ReLU()]
    return nn.Sequential(nn.AvgPool2d(2), *layers, nn.Linear(48, 10))


def _batchnorm() -> nn.Sequential:
    layers: list[nn.Module] = [nn.AvgPool2d(2)]
    for a, b in ((1, 8), (8, 16), (16, 16), (16, 32)):
        stride = 2 if a != 16 or b != 16 else 1
        layers += [nn.Conv2d(a, b, 3, stride, 1), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 10))


def _cnn() -> nn.Module:
    from gradmidi.demo.experiments import network

    return network()


def _digit_batches(
    random: np.random.Generator, size: int, most: int | None = None
) -> Iterator[Batch]:
    images, labels = digits()
    grey = (images[:, None].astype(np.float32) / 255.0 - 0.1307) / 0.3081
    chosen = random.permutation(len(images))[:most]
    while True:
        order = random.permutation(chosen)
        for start in range(0, len(order) - size + 1, size):
            picked = order[start : start + size]
            yield torch.from_numpy(grey[picked]), torch.from_numpy(labels[picked].astype(np.int64))


def _text_batches(
    random: np.random.Generator, size: int, most: int | None = None
) -> Iterator[Batch]:
    """Sequences of a Markov chain in which a few symbols are rare."""
    chain = random.dirichlet(np.full(24, 0.08), 24)
    steps = np.cumsum(chain, 1)

    def sequences(count: int) -> np.ndarray:
        text = np.zeros((count, 17), np.int64)
        text[:, 0] = random.integers(0, 24, count)
        for place in range(1, 17):
            drawn = random.random(count)[:, None]
            text[:, place] = np.minimum((steps[text[:, place - 1]] < drawn).sum(1), 23)
        return text

    fixed = None if most is None else sequences(most)
    while True:
        text = sequences(size) if fixed is None else fixed[random.integers(0, len(fixed), size)]
        yield torch.from_numpy(text[:, :-1]), torch.from_numpy(text[:, 1:])


def _curve_batches(
    random: np.random.Generator, size: int, most: int | None = None
) -> Iterator[Batch]:
    """A smooth function of eight numbers, on a scale of its own, with noise in it."""
    weights = 0.5 * random.normal(size=(8, 3))
    scale = 10.0 ** random.uniform(-1.5, 0.7)
    fixed = None if most is None else random.normal(size=(most, 8))
    while True:
        x = random.normal(size=(size, 8))
        if fixed is not None:
            x = fixed[random.integers(0, len(fixed), size)]
        y = scale * np.sin(x @ weights).sum(1, keepdims=True)
        if fixed is None:
            y += 0.1 * scale * random.normal(size=y.shape)
        yield torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32))


def _tokens(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


FAMILIES = {
    "digits": Family(
        _cnn,
        _digit_batches,
        nn.functional.cross_entropy,
        (("sgd", 0.01), ("sgd", 0.03), ("adam", 0.001)),
        (10, 10, 32),
        ("conv1", "conv2", "fc1"),
        True,
        2,
        ("conv1", "conv2", "fc1"),
        "weights",
    ),
    "sigmoid": Family(
        lambda: _sigmoids(4),
        _digit_batches,
        nn.functional.cross_entropy,
        (("sgd", 0.5), ("adam", 0.003), ("adam", 0.001)),
        (8, 16, 64),
        ("2", "4", "6", "8"),
        False,
        2,
        ("2", "4", "6", "8"),
    ),
    "transformer": Family(
        _Transformer,
        _text_batches,
        _tokens,
        (("adam", 0.003), ("adam", 0.001), ("sgd", 0.3)),
        (4, 8, 16),
        ("blocks.0.qkv", "blocks.0.up", "blocks.1.proj", "blocks.1.up", "blocks.1.down"),
        False,
        8,
        ("blocks.0.up", "blocks.1.up"),
    ),
    "regression": Family(
        _tanhs,
        _curve_batches,
        nn.functional.mse_loss,
        (("adam", 0.003), ("adam", 0.001), ("sgd", 0.01)),
        (8, 32, 128),
        ("2", "4", "6", "8", "10"),
        False,
        3,
        ("2", "4", "6", "8", "10"),
    ),
    "batchnorm": Family(
        _batchnorm,
        _digit_batches,
        nn.functional.cross_entropy,
        (("sgd", 0.1), ("adam", 0.003), ("sgd", 0.03)),
        (10, 16, 64),
        ("1", "2", "4", "7", "10"),
        False,
        4,
    ),
    "lstm": Family(
        _Lstm,
        _digit_batches,
        nn.functional.cross_entropy,
        (("adam", 0.003), ("adam", 0.001), ("sgd", 0.5)),
        (8, 16, 32),
        ("inlet", "lower", "upper"),
        False,
        1,
    ),
    "deep sigmoid": Family(
        lambda: _sigmoids(12),
        _digit_batches,
        nn.functional.cross_entropy,
        (("sgd", 0.5), ("adam", 0.001)),
        (8, 16, 64),
        ("2",),
        False,
        0,
        faults=(DEEP,),
    ),
    "deep relu": Family(
        lambda: _relus(16),
        _digit_batches,
        nn.functional.cross_entropy,
        (("sgd", 0.1), ("sgd", 0.01)),
        (8, 16, 64),
        ("2",),
        False,
        0,
        faults=(DEEP,),
    ),
}
