"""Start a script in several processes that find each other, as torchrun does."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["train_together"]


def train_together(script: Path, words: Sequence[str], world: int, seconds: float) -> None:
    """Run a script in so many processes, and check that each exits with 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    job["OMP_NUM_THREADS"] = "1"
    processes: list[subprocess.Popen[str]] = []
    try:
        for rank in range(world):
            processes.append(
                subprocess.Popen(
                    [sys.executable, str(script), *words],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env={**os.environ, **job, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                )
            )
        said = [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * world, said
