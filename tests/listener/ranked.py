"""One of several processes that train together, one training after another: for `test_ranks.py`.

    python ranked.py FOLDER [NAME RANK]...

Each training leaves the run `FOLDER/NAME`. What RANK has: `loads` and `computes` are slow, `nan`
has a batch of nan, `plain` nothing.
"""

import contextlib
import math
import sys
import time
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import gradmidi
from gradmidi.listener import rank_lines

STEPS, NAN_STEP = {"loads": 180, "computes": 120}, 40
FEW = 90
LATE = 0.03


class Slow(nn.Module):
    """Computes for longer."""

    def __init__(self) -> None:
        super().__init__()
        self.on = False

    def forward(self, x):
        end = time.perf_counter() + LATE * self.on
        while time.perf_counter() < end:
            x = x + 0.0 * (x @ x.T @ x)
        return x


def train(folder: Path, name: str, bad: int) -> None:
    has_it = distributed.get_rank() == bad
    torch.manual_seed(0)
    slow = Slow()
    net = nn.Sequential(nn.Linear(16, 32), slow, nn.ReLU(), nn.Linear(32, 5))
    net = DistributedDataParallel(net)
    slow.on = name == "computes" and has_it
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    x, y = torch.randn(8, 16), torch.randint(0, 5, (8,))
    # Rank 0 knows the folder; the others are told.
    out = folder / name if distributed.get_rank() == 0 else None
    steps = STEPS.get(name, FEW)
    with gradmidi.listen(net, optimizer, out=out, files=()) as ears:
        for step in range(1, steps + 1):
            if name == "loads" and has_it:
                time.sleep(LATE)
            batch = x * math.nan if name == "nan" and has_it and step == NAN_STEP else x
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(batch), y)
            loss.backward()
            optimizer.step()
            ears.log(loss=loss)
        assert ears.step == steps


def main() -> None:
    torch.set_num_threads(1)
    rank_lines.LINE_SECONDS = 0.5
    distributed.init_process_group("gloo")
    trainings = iter(sys.argv[2:])
    for name, bad in zip(trainings, trainings, strict=True):
        folder = Path(sys.argv[1])
        said = folder / f"{name}.{distributed.get_rank()}.err"
        with said.open("w") as file, contextlib.redirect_stderr(file):
            train(folder, name, int(bad))
            distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
