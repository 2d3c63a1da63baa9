"""Count how often a slow rank is named, and how often a healthy one is by mistake.

    python benchmarks/ranks.py [--processes 2 4] [--repeat 3] [--seconds 10] [--quick]

Several processes train over gloo: a perceptron and a transformer with DDP, a convolutional network
with batch norm and DDP, whose buffers make processes wait in the forward pass, and a perceptron
with FSDP2. On one rank, which differs from run to run, loading data or the forward pass takes
longer: by so many times the time that the rank's own work takes anyway. A line of times is written
after half a second here. Also printed is what the hooks cost a step, without any waiting.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import distributed, nn

import gradmidi
from gradmidi.capture.local_work import ENOUGH, LocalWork
from gradmidi.listener import rank_lines

LINE_SECONDS = 0.5
MEASURED = 20
"""First steps, of which the usual time of the own work is taken."""

LONGER = {"healthy": 0.0, "loads 1.25": 0.25, "loads 2": 1.0, "computes 2": 1.0}


class Computes(nn.Module):
    """Computes for so many seconds more."""

    seconds = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what comes in."""
        end = time.perf_counter() + self.seconds
        square = torch.ones(64, 64)
        while time.perf_counter() < end:
            square = square @ square / 64.0
        return x


def perceptron() -> tuple[nn.Sequential, torch.Tensor]:
    """Make a network and its input."""
    parts = [nn.Sequential(nn.Linear(192, 192), nn.ReLU()) for _ in range(6)]
    return nn.Sequential(*parts, nn.Linear(192, 10)), torch.randn(96, 192)


def transformer() -> tuple[nn.Sequential, torch.Tensor]:
    """Make a network and its input."""
    layers = [nn.TransformerEncoderLayer(64, 4, 128, batch_first=True) for _ in range(3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 10)), torch.randn(16, 16, 64)


def convolutional() -> tuple[nn.Sequential, torch.Tensor]:
    """Make a network and its input."""
    parts: list[nn.Module] = []
    for inner in (3, 16, 16):
        parts += [nn.Conv2d(inner, 16, 3), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*parts, nn.Flatten(), nn.LazyLinear(10)), torch.randn(16, 3, 16, 16)


NETWORKS: dict[str, Callable[[], tuple[nn.Sequential, torch.Tensor]]] = {
    "perceptron": perceptron,
    "transformer": transformer,
    "batch norm": convolutional,
    "FSDP2": perceptron,
}


def train(out: Path, network: str, longer: str, bad: int, seconds: float) -> None:
    """Train one network in this process."""
    torch.manual_seed(0)
    net, x = NETWORKS[network]()
    computes = Computes()
    net.insert(1, computes)
    net(x)
    if network == "FSDP2":
        from torch.distributed.fsdp import fully_shard

        for part in net[2:-1]:
            fully_shard(part)
        fully_shard(net)
        model: nn.Module = net
    else:
        model = nn.parallel.DistributedDataParallel(net)
    y = torch.randint(0, 10, (len(x),))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    more = LONGER[longer] if distributed.get_rank() == bad else 0.0
    usual: list[float] = []
    stop = torch.zeros(1)
    begin = time.monotonic()
    with gradmidi.listen(model, optimizer, out=out, files=()) as ears:
        while not stop:
            start = time.perf_counter()
            late = more * median(usual) if len(usual) >= MEASURED else 0.0
            computes.seconds = late if longer.startswith("computes") else 0.0
            if longer.startswith("loads"):
                time.sleep(late)
            loss = nn.functional.cross_entropy(model(x), y)
            if len(usual) < MEASURED:
                # A backward pass takes twice as long as a forward pass.
                usual.append(3.0 * (time.perf_counter() - start))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            ears.log(loss=loss)
            if ears.step % 20 == 0:
                stop = torch.tensor([float(time.monotonic() - begin > seconds)])
                distributed.broadcast(stop, 0)


def worker(folder: Path, words: list[str], seconds: float) -> None:
    """Make all trainings of this process."""
    torch.set_num_threads(1)
    rank_lines.LINE_SECONDS = LINE_SECONDS
    distributed.init_process_group("gloo")
    for number, word in enumerate(words):
        network, longer, bad = word.split("/")
        train(folder / str(number), network, longer, int(bad), seconds)
        distributed.barrier()
    distributed.destroy_process_group()


def together(folder: Path, words: list[str], world: int, seconds: float) -> None:
    """Have several processes make these trainings, one after another."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    place |= {"WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1", "GRADMIDI_QUIET": "1"}
    command = [sys.executable, __file__, "--worker", str(folder), "--seconds", str(seconds), *words]
    processes = [
        subprocess.Popen(
            command, env={**os.environ, **place, "RANK": str(rank)}, stderr=subprocess.DEVNULL
        )
        for rank in range(world)
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"the training failed with {world} processes")


def hooks(steps: int = 20, rounds: int = 500) -> tuple[float, float]:
    """Return the microseconds that the hooks take in a step that is timed, and in another one."""
    net, x = nn.Linear(8, 1), torch.ones(4, 8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)

    def length() -> float:
        begin = time.perf_counter()
        for _ in range(steps):
            net(x).sum().backward()
            optimizer.step()
        return 1e6 * (time.perf_counter() - begin) / steps

    length()
    without, timed, rests = [], [], []
    for _ in range(rounds):
        without.append(length())
        work = LocalWork(net, [optimizer], lambda: 1)
        timed.append(length())
        while len(work._rows) < ENOUGH:
            length()
        rests.append(length())
        work.remove()
    # The least of many is disturbed least.
    return min(timed) - min(without), min(rests) - min(without)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--worker", type=Path)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    if given.worker is not None:
        worker(given.worker, given.words, given.seconds)
        return
    if given.quick:
        given.processes, given.repeat, given.seconds = [2], 1, 3.0
    timed, rests = hooks()
    print(f"hooks: {timed:.0f} microseconds in a step that is timed, {rests:.0f} in another one\n")
    print("| processes | network | one rank | runs | named right | named wrongly |")
    print("|---|---|---|---|---|---|")
    for world in given.processes:
        cases = [
            (network, longer, number % world if LONGER[longer] else -1)
            for network in (list(NETWORKS)[:1] if given.quick else NETWORKS)
            for longer in LONGER
            for number in range(given.repeat)
        ]
        counts: Counter[tuple[str, str, str]] = Counter()
        with tempfile.TemporaryDirectory() as made:
            together(Path(made), ["/".join(map(str, case)) for case in cases], world, given.seconds)
            for number, (network, longer, bad) in enumerate(cases):
                faults = gradmidi.read(Path(made, str(number))).faults()
                ranks = {rank for each in faults if each.kind == "slow" for rank in each.ranks}
                counts[network, longer, "runs"] += 1
                counts[network, longer, "right"] += bad in ranks
                counts[network, longer, "wrong"] += bool(ranks - {bad})
        for network, longer in dict.fromkeys((network, longer) for network, longer, _ in cases):
            runs, right, wrong = (
                counts[network, longer, each] for each in ("runs", "right", "wrong")
            )
            named = right if LONGER[longer] else ""
            print(f"| {world} | {network} | {longer} | {runs} | {named} | {wrong} |", flush=True)


if __name__ == "__main__":
    main()
