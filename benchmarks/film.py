"""Measure how long a film of three minutes takes: in seconds of a clock and of processors.

    python benchmarks/film.py [--seconds 180] [--size 9x9]

The run has 12 layers and improves, has a spike, and breaks near its end. The film is 1920 x 1080
pixels unless a size is given. The time of ffmpeg, a process of its own, is included.
"""

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from gradmidi._render import render
from gradmidi.log import End, Header, Layer, encode_end, encode_frame, encode_header

LAYERS = 12
SLOT_SECONDS = 0.125
"""A step's slot with the default preset."""


def write(path: Path, steps: int) -> None:
    """Write the log."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(0.0, 0.05, (steps, LAYERS)), axis=0)
    norms = np.exp(walk + rng.normal(0.0, 0.2, (steps, LAYERS)))
    norms[steps // 3, 4] *= 1e3
    norms[9 * steps // 10 :, 2:] = np.nan
    with path.open("wb") as file:
        names = (Layer(f"blocks.{index // 3}.{index % 3}", 4096) for index in range(LAYERS))
        file.write(encode_header(Header(tuple(names), model="Net")))
        for step, row in enumerate(norms.tolist(), 1):
            file.write(encode_frame(step, 0.1 * step, row, {"loss": 2.3 / step**0.3}))
        file.write(encode_end(End("closed", 0.1 * steps, steps)))


def processors() -> float:
    """Return the seconds of processors that this process and its children used."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main(seconds: float, size: str | None) -> None:
    """Make the film; print its length, its size and the times."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "run.jsonl"
        write(log, round(seconds / SLOT_SECONDS) - 8)
        film = log.with_suffix(".mp4")
        clock, used = time.perf_counter(), processors()
        render(log, film, size=size)
        took, used = time.perf_counter() - clock, processors() - used
        print(
            f"{seconds:g} s of film, {film.stat().st_size / 1e6:.1f} MB: {took:.0f} s of a clock, "
            f"{used:.0f} s of processors; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--size")
    given = parser.parse_args()
    main(given.seconds, given.size)
