"""Compare the norms of distributed engines with those of one process.

    python benchmarks/engines.py [--processes 2 4]

Trains the small networks of the tests (`tests/capture/ranks.py`, and with DeepSpeed installed
`tests/capture/engines.py`) by one process and by several over gloo, and prints the largest
relative deviation of a layer's norm from one process, over all steps.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import gradmidi

TESTS = Path(__file__).parent.parent / "tests" / "capture"
TORCH = {
    "DDP": "ddp",
    "FSDP2": "fsdp",
    "FSDP2, hybrid": "hybrid",
    "tensor parallel": "tensor parallel",
    "FSDP1": "fsdp1",
    "FSDP1, hybrid": "fsdp1 hybrid",
}
OF_FOUR = ("FSDP2, hybrid", "FSDP1, hybrid")


def together(script: str, folder: Path, words: list[str], world: int) -> None:
    """Have several processes run a script of the tests."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    place |= {"WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, TESTS / script, folder, *words],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for rank in range(world)
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"{script} failed with {world} processes")


def norms(folder: Path) -> np.ndarray:
    """Return a run's norms, the layers by their names; without a gradient 0."""
    run = gradmidi.read(folder)
    order = np.argsort([layer.name for layer in run.layers])
    rows = np.array([frame.norms for frame in run.frames()])[:, order]
    return np.maximum(rows, 0.0)


def deviation(several: np.ndarray, single: np.ndarray) -> float:
    """Return the largest relative deviation; where one process has 0, all must have 0."""
    assert several.shape == single.shape
    assert not several[single == 0.0].any()
    return float(np.max(np.abs(several / np.where(single, single, 1.0) - 1.0)[single > 0.0]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    worlds = parser.parse_args().processes
    print("| engine | version | processes | deviation |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        together("ranks.py", home / "alone", ["alone", "none", "none"], 1)
        single = norms(home / "alone" / "alone" / "run")
        for world in worlds:
            ways = {name: kind for name, kind in TORCH.items() if world > 2 or name not in OF_FOUR}
            folder = home / f"torch {world}"
            words = [word for kind in ways.values() for word in (kind, kind, "none")]
            together("ranks.py", folder, words, world)
            for name, kind in ways.items():
                worst = deviation(norms(folder / kind / "run"), single)
                print(f"| {name} | PyTorch {version('torch')} | {world} | {worst:.1e} |")
        if find_spec("deepspeed") is None:
            return
        sys.path.insert(0, str(TESTS))
        import engines as deepspeed

        deepspeed.alone(home / "whole")
        stages = [f"zero {stage}" for stage in range(4)]
        for world in worlds:
            folder = home / f"deepspeed {world}"
            together("engines.py", folder, stages, world)
            for name in stages:
                worst = deviation(norms(folder / name / "run"), norms(home / "whole"))
                of = f"DeepSpeed {version('deepspeed')}"
                print(f"| {name.replace('zero', 'ZeRO')} | {of} | {world} | {worst:.1e} |")


if __name__ == "__main__":
    main()
