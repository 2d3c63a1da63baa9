"""Measure rendering and describing a long run: seconds, megabytes per second, peak memory.

    python benchmarks/timelapse.py [--quick]

The script writes logs of a million steps (with --quick: twenty thousand) with 8 and with 300
layers, each with one spike and one nan, and logs a tenth as long. Each is rendered to a .mid and a
.wav of eight seconds, and described, by separate processes that measure their processor seconds and
their peak resident memory (on Linux). The .mid must have the markers of both faults. A ratio of
memory near 1 means that memory does not grow with the run.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mido
import numpy as np
from memory import megabytes

from gradmidi._render import render
from gradmidi.log import Header, Layer, RunLog, encode_header
from gradmidi.text.summary import summarize

SECONDS = 8.0
ROWS = 1000
"""Number of different rows of norms, which repeat."""

SPIKE = 1e4


def write(path: Path, steps: int, layers: int) -> None:
    """Write the log of a run with a spike after a third and a nan after two thirds of it."""
    names = tuple(Layer(f"blocks.{index}.mlp.fc", 4096) for index in range(layers))
    rng = np.random.default_rng(0)
    table = np.exp(rng.normal(0.0, 0.3, (ROWS, layers)))
    rows = [", ".join(f"{norm:.7g}" for norm in row).encode() for row in table]
    spiked = table[0].copy()
    spiked[layers // 2] = SPIKE
    odd = {
        steps // 3: ", ".join(f"{norm:.7g}" for norm in spiked).encode(),
        2 * steps // 3: b'"nan"' + rows[0][rows[0].index(b",") :],
    }
    with path.open("wb", buffering=1 << 20) as file:
        file.write(encode_header(Header(names, model="long")))
        for step in range(1, steps + 1):
            row = odd.get(step) or rows[step % ROWS]
            file.write(b'{"step": %d, "t": %.2f, "norms": [%b]}\n' % (step, 0.05 * step, row))
        file.write(b'{"end": "closed", "t": %.2f, "steps": %d}\n' % (0.05 * steps, steps))


def one(what: str, log: str) -> None:
    """Render or describe a log; runs in a separate process."""
    path = Path(log)
    before = megabytes()
    began = time.process_time()
    if what == "describe":
        summarize(RunLog(path))
    else:
        render(path, path.with_suffix(".mid"), path.with_suffix(".wav"), length=SECONDS)
    print(json.dumps([time.process_time() - began, before, megabytes()]))


def measured(what: str, log: Path) -> list[float]:
    command = [sys.executable, __file__, "--one", what, str(log)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: list[float] = json.loads(done.stdout)
    return found


def faults(midi: Path) -> list[str]:
    """Return the faults marked in a .mid."""
    markers = [m.text for m in mido.MidiFile(midi).tracks[0] if m.type == "marker"]
    return sorted(text.split(" ")[0] for text in markers)


def main(steps: int) -> None:
    print(
        f"{'layers':>6}{'steps':>11}{'log MB':>9}{'render':>9}{'MB/s':>8}{'peak MB':>9}"
        f"{'describe':>10}{'peak MB':>9}  faults"
    )
    for layers in (8, 300):
        peaks = []
        for count in (steps // 10, steps):
            with tempfile.TemporaryDirectory() as folder:
                log = Path(folder) / "run.jsonl"
                write(log, count, layers)
                seconds, before, peak = measured("render", log)
                described, _, peak_described = measured("describe", log)
                size = log.stat().st_size / 1e6
                kept = ", ".join(faults(log.with_suffix(".mid")))
            peaks.append(peak)
            print(
                f"{layers:6}{count:11,}{size:9.1f}{seconds:9.2f}{size / seconds:8.1f}"
                f"{peak:9.1f}{described:10.2f}{peak_described:9.1f}  {kept}"
                f"  ({before:.0f} MB before it began)"
            )
        print(f"{layers:6} layers: ten times the steps, {peaks[1] / peaks[0]:.2f} times the memory")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:4])
    else:
        main(20_000 if "--quick" in sys.argv[1:] else 1_000_000)
