"""Measure the speed of writing and reading a run log, with 4 and with 300 layers.

    python benchmarks/runlog.py [--quick]

Frames of random norms, a loss and a learning rate are encoded, and the file is read, twice as all
commands do: to count its steps, and as frames or as blocks of frames. For
comparison, `json.loads` from the standard library and `orjson.loads` only parse the same lines.
Each file has 30 MB (with --quick: 3 MB). All readers run in one process, in an order that is
shuffled in each round, with the file in the page cache. Figures are medians; read the ratios.
"""

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

from gradmidi.log import End, Header, Layer, RunLog, encode_end, encode_frame, encode_header
from gradmidi.log.blocks import Block

ROUNDS = 5


def encoded(layers: int, size: int) -> tuple[bytes, int, float]:
    """Encode lines up to `size` bytes; return them, their number and the seconds it took."""
    norms = np.exp(np.random.default_rng(0).normal(0.0, 2.0, (256, layers)))
    rows = [row.tolist() for row in norms]
    lines = [encode_header(Header(tuple(Layer(f"blocks.{i}", 1000) for i in range(layers))))]
    total = step = 0
    began = time.perf_counter()
    while total < size:
        step += 1
        extra = {"loss": 2.0 / step, "lr": 0.01}
        lines.append(encode_frame(step, step * 0.0162, rows[step % 256], extra))
        total += len(lines[-1])
    took = time.perf_counter() - began
    lines.append(encode_end(End("closed", step * 0.0162, step)))
    return b"".join(lines), step, took


def with_gradmidi(path: Path) -> int:
    return sum(1 for _ in RunLog(path).frames())


def with_blocks(path: Path) -> int:
    return sum(len(item) for item in RunLog(path).blocks() if isinstance(item, Block))


def with_json(path: Path) -> int:
    with path.open("rb") as file:
        return sum("step" in json.loads(line) for line in file)


def with_orjson(path: Path) -> int:
    with path.open("rb") as file:
        return sum("step" in orjson.loads(line) for line in file)


READERS: dict[str, Callable[[Path], int]] = {
    "gradmidi, frames": with_gradmidi,
    "gradmidi, blocks": with_blocks,
    "json.loads alone": with_json,
    "orjson.loads alone": with_orjson,
}


def main(size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for layers in (4, 300):
            path = Path(folder) / "run.jsonl"
            content, steps, writing = encoded(layers, size)
            path.write_bytes(content)
            megabytes = len(content) / 1e6
            print(f"\n{layers} layers, {steps:,} steps, {len(content) / steps:.0f} bytes a step")
            print(
                f"encoding: {megabytes / writing:.0f} MB/s, {1e6 * writing / steps:.1f} us a step"
            )
            took: dict[str, list[float]] = {name: [] for name in READERS}
            for _ in range(ROUNDS):
                for name in random.sample(list(READERS), len(READERS)):
                    began = time.process_time()
                    found = READERS[name](path)
                    took[name].append(time.process_time() - began)
                    assert found == steps
            least = statistics.median(took["gradmidi, frames"])
            print(f"{'':20}{'MB/s':>8}{'us a step':>11}{'x gradmidi time':>17}")
            for name, seconds in took.items():
                middle = statistics.median(seconds)
                rate, each = megabytes / middle, 1e6 * middle / steps
                print(f"{name:20}{rate:8.0f}{each:11.1f}{middle / least:17.2f}")


if __name__ == "__main__":
    main(3_000_000 if "--quick" in sys.argv[1:] else 30_000_000)
