"""Compare two versions of gradmidi: the same tasks, in turns, by the public functions alone.

    git worktree add ../before v0.1.0
    python benchmarks/versions.py ../before [--rounds 5]

Each task runs in a process of its own, with one checkout and then the other on the path, so that
what else the machine does meets both. Processor seconds of the process, or (capture) of the loop;
the ratio is of the medians.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from timelapse import write

HERE = Path(__file__).parent.parent

RECORD = """
import math, random, sys, gradmidi
steps, layers, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
rng = random.Random(0)
with gradmidi.record(out, layers=[f"blocks.{i}.fc" for i in range(layers)], files=()) as ears:
    for _ in range(steps):
        ears.frame([math.exp(rng.gauss(0.0, 0.3)) for _ in range(layers)], loss=rng.random())
"""

CAPTURE = """
import sys, time, torch, gradmidi
torch.set_num_threads(1)
torch.manual_seed(0)
net = torch.nn.Sequential(
    torch.nn.Conv2d(1, 20, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
    torch.nn.Conv2d(20, 50, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
    torch.nn.Linear(800, 500), torch.nn.ReLU(), torch.nn.Linear(500, 10),
)
optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
for parameter in net.parameters():
    parameter.grad = torch.randn_like(parameter)
with gradmidi.listen(net, optimizer, out=sys.argv[1], files=()):
    for _ in range(200):
        optimizer.step()
    began = time.thread_time()
    for _ in range(3000):
        optimizer.step()
    took = time.thread_time() - began
print(took)
"""

READ = "import gradmidi, sys; gradmidi.read(sys.argv[1]).norms()"
RENDER = ["-m", "gradmidi", "render", "{run}", "-o"]

TASKS = {
    "import gradmidi": ["-c", "import gradmidi; gradmidi.read"],
    "gradmidi --help": ["-m", "gradmidi", "--help"],
    "read 20,000 steps of 8 layers": ["-c", READ, "{run}"],
    "render them to .mid": [*RENDER, "{out}.mid", "--length", "full"],
    "render 60 s of .wav": [*RENDER, "{out}.wav", "--length", "60s"],
    "render a page of 60 s": [*RENDER, "{out}.html", "--length", "60s"],
    "describe them": ["-m", "gradmidi", "describe", "{run}"],
    "describe 200,000 steps of 8 layers": ["-m", "gradmidi", "describe", "{long}"],
    "render them as a time-lapse of 8 s, .mid": [
        *["-m", "gradmidi", "render", "{long}", "-o", "{out}.mid", "--length", "8s"]
    ],
    "3,000 steps of SGD with listen": ["-c", CAPTURE, "{new}"],
}


def seconds(words: list[str], checkout: Path, out: Path, **paths: Path) -> float:
    """Run one task with one checkout; return its processor seconds."""
    filled = [w.format(out=out, **paths) if w.startswith("{") else w for w in words]
    environment = {**os.environ, "PYTHONPATH": str(checkout), "GRADMIDI_QUIET": "1"}
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-P", *filled],
        env=environment,
        cwd=out.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    after = os.times()
    used = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    return float(done.stdout) if words[1] == CAPTURE else used


def main() -> None:
    """Run every task with both checkouts in turns, and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, help="a checkout of the other version")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    versions = {"this": HERE, "other": options.other.resolve()}
    print("| task | this, s | other, s | this / other |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        subprocess.run(
            [sys.executable, "-P", "-c", RECORD, "20000", "8", str(run)],
            env={**os.environ, "PYTHONPATH": str(versions["other"])},
            stderr=subprocess.DEVNULL,
            check=True,
        )
        long = Path(folder) / "long.jsonl"
        write(long, 200_000, 8)
        for name, words in TASKS.items():
            taken: dict[str, list[float]] = {version: [] for version in versions}
            for number in range(options.rounds):
                for version, checkout in versions.items():
                    out = Path(folder) / f"out-{version}"
                    new = Path(folder) / f"new-{version}-{number}"
                    paths = {"run": run, "long": long, "new": new}
                    taken[version].append(seconds(words, checkout, out, **paths))
            this, other = (statistics.median(taken[version]) for version in versions)
            print(f"| {name} | {this:.2f} | {other:.2f} | {this / other:.2f} |", flush=True)


if __name__ == "__main__":
    main()
