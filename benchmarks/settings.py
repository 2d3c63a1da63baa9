"""Measure how far apart the five settings of the blog post sound.

    python benchmarks/settings.py [--runs FOLDER] [PRESET ...]

The demo's five settings are trained (or read from FOLDER, if they are there), and each preset, by
default `pentatonic` and `classic`, renders them without the sounds of faults. Levels are those of
the thirds of an octave from 50 Hz to 12.5 kHz, at most 60 dB below the loudest. The distance of two
runs is the root mean square of the differences of their levels, in dB:

- second by second, with the loudness of each: of the nearest two settings, on average, and of batch
  size 256 and Adam after three seconds, when both have broken;
- of the whole runs, the loudest level of each run at 0 dB.

"widest" is the largest difference of the levels of one third of an octave, instead of the mean of
all: of the whole runs with their loudness, in frames of 4096 samples, of the nearest two settings.

PyTorch is needed.
"""

import argparse
import itertools
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from spectra import apart, decibels, each_second, thirds

from gradmidi._render import render
from gradmidi.demo.experiments import EXPERIMENTS, run
from gradmidi.music.preset import load

LATE = ("sgd-1-batch-256", "adam-0.01")
LATE_SECONDS, SECONDS = 3, 24
FRAME, RATE = 4096, 44100


def main(runs: Path, presets: list[str]) -> None:
    """Train, render and print a row for each preset."""
    for experiment in EXPERIMENTS:
        if not (runs / experiment.name / "run.jsonl").exists():
            run(experiment, runs / experiment.name)
    print(
        f"| preset | nearest | mean | {' and '.join(LATE)}, after 3 s | whole: nearest | mean | "
        "widest: nearest |\n|---|---|---|---|---|---|---|"
    )
    for name in presets:
        preset = load(name)
        preset = replace(preset, faults=replace(preset.faults, sound=False))
        seconds, whole, frames = {}, {}, []
        for experiment in EXPERIMENTS:
            wave = runs / f"{experiment.name}-{name}.wav"
            render(runs / experiment.name, wave, preset=preset)
            samples, rate = soundfile.read(wave, always_2d=True)
            edge = round(preset.sound.silence * rate)
            samples = samples[edge : len(samples) - edge]
            seconds[experiment.name] = each_second(samples, rate, SECONDS)
            frames.append(in_frames(samples))
            power = thirds(samples, rate)
            whole[experiment.name] = decibels(power, power.max())
        top = max(each.max() for each in seconds.values())
        heard = {each: decibels(power, top) for each, power in seconds.items()}
        cells = []
        for levels in (heard, whole):
            pairs = [apart(one, other) for one, other in itertools.combinations(levels.values(), 2)]
            cells.append(f"{min(pairs):.1f} | {np.mean(pairs):.1f}")
        late = apart(*(heard[each][LATE_SECONDS:] for each in LATE))
        wide = min(widest(one, other) for one, other in itertools.combinations(frames, 2))
        print(f"| {name} | {cells[0]} | {late:.1f} | {cells[1]} | {wide:.1f} |", flush=True)


def in_frames(samples: np.ndarray) -> np.ndarray:
    """Return the levels of thirds of an octave, from the mean power of frames."""
    count = len(samples) // FRAME
    parts = samples[: count * FRAME].mean(axis=1).reshape(count, FRAME, 1)
    power = np.mean([thirds(part * np.hanning(FRAME)[:, None], RATE) for part in parts], axis=0)
    return decibels(power, power.max()) + 10.0 * np.log10(power.max())


def widest(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of the levels of a third of an octave, in dB."""
    return float(np.max(np.abs(one - other)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=Path)
    parser.add_argument("presets", nargs="*", default=["pentatonic", "classic"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        main(given.runs or Path(folder), given.presets)
