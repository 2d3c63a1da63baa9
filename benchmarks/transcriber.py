"""Measure whether a transcriber trained on recorded music finds the notes of a rendered run.

    python benchmarks/transcriber.py RUN ...

Each run is rendered, without fault sounds, with the default preset, with all voices in one timbre
(contrast 0) and with the sound of the blog post. Basic Pitch (R. Bittner et al., ICASSP 2022) gets
only the WAV. A note is found if its pitch is correct within half a semitone and its start within
50 ms. The script prints the share of each voice's notes that are found (recall), and the share of
the transcribed notes that are correct (precision).

Basic Pitch installs TensorFlow, so use a separate environment; gradmidi needs no torch in it.
"""

import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from basic_pitch import ICASSP_2022_MODEL_PATH
from basic_pitch.inference import predict

from gradmidi._render import render
from gradmidi.music.events import On
from gradmidi.music.preset import Preset, load
from gradmidi.music.score import compose

SOUNDS = (("pentatonic", None), ("pentatonic", 0.0), ("classic", None))
NEAR_SECONDS, NEAR_SEMITONES = 0.05, 0.5
SHORTEST_MS = 58.0


def main(runs: list[str]) -> None:
    print(f"{'preset':<11} contrast  {'heard, by voice':<24} meant  run")
    for run in runs:
        for name, contrast in SOUNDS:
            preset = load(name)
            sound = preset.sound
            sound = sound if contrast is None else replace(sound, contrast=contrast)
            faults = replace(preset.faults, sound=False)
            preset = replace(preset, sound=sound, faults=faults)
            heard, meant = hear(run, preset)
            shares = " ".join(f"{share:5.1%}" for share in heard)
            print(f"{name:<11} {sound.contrast:>8}  {shares:<24} {meant:5.1%}  {run}")


def hear(run: str, preset: Preset) -> tuple[list[float], float]:
    with tempfile.TemporaryDirectory() as folder:
        wave = Path(folder) / "run.wav"
        render(run, wave, preset=preset)
        found = predict(wave, ICASSP_2022_MODEL_PATH, minimum_note_length=SHORTEST_MS)[2]
    named = {(start, pitch): False for start, _, pitch, *_ in found}
    notes = [event for event in compose(run, preset) if isinstance(event, On) and event.norm]
    hits, total = Counter(), Counter()
    for note in notes:
        total[note.voice] += 1
        at = preset.sound.silence + note.tick * preset.time.tick_seconds
        for (start, pitch), taken in named.items():
            near = abs(start - at) < NEAR_SECONDS and abs(pitch - note.pitch) <= NEAR_SEMITONES
            if near and not taken:
                named[start, pitch] = True
                hits[note.voice] += 1
                break
    shares = [hits[voice] / total[voice] for voice in sorted(total)]
    return shares, sum(named.values()) / len(named) if named else 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
