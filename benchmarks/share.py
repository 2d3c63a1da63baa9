"""Compare the share of the training time that gradmidi reports with what listening adds.

    OMP_NUM_THREADS=1 python benchmarks/share.py [--steps N] [--rounds N]

Trains the same loop with and without `gradmidi.listen`, in turn, in one process, and prints a
table: the share that gradmidi reports, the share that listening adds, and their ratio. Time is
processor time of all threads, so that other programs matter less; each figure is a median over the
rounds.
"""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import gradmidi
from gradmidi.base.messages import messages_to

Model = Callable[[], nn.Module]


def perceptron(layers: int, width: int) -> nn.Module:
    """Return a perceptron with hidden layers of one width."""
    hidden = (part for _ in range(layers) for part in (nn.Linear(width, width), nn.Tanh()))
    return nn.Sequential(*hidden, nn.Linear(width, 10))


def cnn() -> nn.Module:
    """Return the network of the blog post."""
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


CASES: dict[str, tuple[Model, tuple[int, ...]]] = {
    "CNN, batch 10": (cnn, (10, 1, 28, 28)),
    "CNN, batch 256": (cnn, (256, 1, 28, 28)),
    "4 layers, batch 32": (lambda: perceptron(3, 128), (32, 128)),
    "100 layers, batch 32": (lambda: perceptron(99, 64), (32, 64)),
}


def train(model: nn.Module, shape: tuple[int, ...], steps: int, out: Path | None) -> float:
    """Train for some steps; return the processor time, without opening and closing the run."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    x, y = torch.randn(shape), torch.randint(0, 10, shape[:1])
    ears = None if out is None else gradmidi.listen(model, optimizer, out=out, files=())
    begun = time.process_time()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        if ears is not None:
            ears.log(loss=loss)
    spent = time.process_time() - begun
    if ears is not None:
        ears.close()
    return spent


def reported(said: list[str]) -> float:
    """Return the share in the last message about it."""
    found = [each for line in said for each in re.findall(r"used (?:less than )?([\d.]+) %", line)]
    return float(found[-1]) / 100.0


def measure(model: Model, shape: tuple[int, ...], steps: int, rounds: int) -> tuple[float, float]:
    """Return the share that is reported and the share that listening adds."""
    said: list[str] = []
    shares: list[tuple[float, float]] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        messages_to(lambda record: said.append(record.getMessage())),
    ):
        train(model(), shape, 5, Path(folder) / "warm")
        for number in range(rounds):
            before = train(model(), shape, steps, None)
            heard = train(model(), shape, steps, Path(folder) / str(number))
            after = train(model(), shape, steps, None)
            bare = (before + after) / 2.0
            shares.append((reported(said), (heard - bare) / heard))
    claimed, added = zip(*shares, strict=True)
    return statistics.median(claimed), statistics.median(added)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| model | reported | added | reported / added |\n|---|---|---|---|")
    for title, (model, shape) in CASES.items():
        claimed, added = measure(model, shape, given.steps, given.rounds)
        print(f"| {title} | {claimed:.2%} | {added:.2%} | {claimed / added:.2f} |", flush=True)


if __name__ == "__main__":
    main()
