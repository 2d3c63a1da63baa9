"""Measure time and memory for rendering 16 voices at 100 notes a second.

    python benchmarks/synth.py [--quick]

gradmidi, `pretty_midi.synthesize` and `fluidsynth -F` render the same notes of 60 s and 600 s (with
--quick: 6 s and 60 s), one after another, each in a separate process that measures itself: the
processor time from notes in memory to sound (for fluidsynth, including its start and its reading of
the .mid and the sound font), and the peak resident memory (on Linux). pretty_midi makes plain sines
and fluidsynth plays samples, so the programs do different work; read the ratios, not the times. A
program that is not installed is left out.
"""

import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mido
from memory import megabytes

from gradmidi.music.events import BRIGHTNESS, Control, End, Event, Off, On
from gradmidi.music.preset import load
from gradmidi.sound.mixdown import BLOCK, AudioFile
from gradmidi.sound.synth import Synth

VOICES = 16
SLOT = 0.16
GATE = 0.9
TICKS = 960  # a second, at 120 quarter notes a minute
ROUNDS = 3
FONTS = Path("/usr/share/sounds/sf2")


def slots(seconds: int, *, bent: bool = False) -> Iterator[list[Event]]:
    """Yield the events of each slot: notes of the default scale, each with a brightness."""
    rng = random.Random(0)
    notes = load("pentatonic").notes
    for index in range(round(seconds / SLOT)):
        start, stop = round(index * SLOT * TICKS), round((index + GATE) * SLOT * TICKS)
        keys = [rng.choice(notes) for _ in range(VOICES)]
        events: list[Event] = []
        for voice, key in enumerate(keys):
            pitch = key + (rng.uniform(-0.5, 0.5) if bent else 0.0)
            events.append(Control(start, voice, BRIGHTNESS, rng.randrange(128)))
            events.append(On(start, voice, key, 80, pitch))
        yield events + [Off(stop, voice, key) for voice, key in enumerate(keys)]
    yield [End(round(seconds * TICKS), 0, 0.0)]


def save(path: Path, seconds: int) -> None:
    """Save the same notes; the last voice shares a channel, because channel 10 is for drums."""
    file = mido.MidiFile(type=1, ticks_per_beat=480)
    tracks = [mido.MidiTrack() for _ in range(VOICES)]
    last = [0] * VOICES
    channels = [channel for channel in range(16) if channel != 9] + [0]
    for events in slots(seconds):
        for event in events:
            if isinstance(event, On | Off):
                kind, velocity = ("note_on", 80) if isinstance(event, On) else ("note_off", 0)
                voice = event.voice
                tracks[voice].append(
                    mido.Message(
                        kind,
                        channel=channels[voice],
                        note=event.note,
                        velocity=velocity,
                        time=event.tick - last[voice],
                    )
                )
                last[voice] = event.tick
    file.tracks.extend(tracks)
    file.save(path)


class Watch:
    """Adds up the processor time of its blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._began = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time() - self._began


def gradmidi_samples(seconds: int, _midi: Path, *, bent: bool = False) -> tuple[float, float]:
    synth, watch = Synth(load("pentatonic"), VOICES), Watch()
    for events in slots(seconds, bent=bent):
        with watch:
            synth.send(events)
            while synth.sample_of(events[-1].tick) - synth.position >= BLOCK:
                synth.render(BLOCK)
    return watch.seconds, megabytes()


def gradmidi_bent(seconds: int, midi: Path) -> tuple[float, float]:
    return gradmidi_samples(seconds, midi, bent=True)


def gradmidi_wav(seconds: int, midi: Path) -> tuple[float, float]:
    sink, watch = AudioFile(midi.with_suffix(".wav"), load("pentatonic"), VOICES), Watch()
    for events in slots(seconds):
        with watch:
            sink.send(events)
    with watch:
        sink.close()
    return watch.seconds, megabytes()


def pretty_midi_samples(_seconds: int, midi: Path) -> tuple[float, float]:
    import pretty_midi

    loaded, watch = pretty_midi.PrettyMIDI(str(midi)), Watch()
    with watch:
        loaded.synthesize(fs=44100)
    return watch.seconds, megabytes()


def fluidsynth_wav(_seconds: int, midi: Path) -> tuple[float, float]:
    wav, font = midi.with_suffix(".fluid.wav"), sorted(FONTS.glob("*.sf2"))[0]
    command = ["fluidsynth", "-niq", "-F", str(wav), "-r", "44100", str(font), str(midi)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    highest = 0.0
    while process.poll() is None:
        highest = max(highest, megabytes(process.pid))
        time.sleep(0.05)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime, highest


CONTESTANTS: dict[str, Callable[[int, Path], tuple[float, float]]] = {
    "gradmidi, samples": gradmidi_samples,
    "gradmidi, no pitch ever again": gradmidi_bent,
    "gradmidi, .wav of 16 bits": gradmidi_wav,
    "pretty_midi.synthesize": pretty_midi_samples,
    "fluidsynth -F": fluidsynth_wav,
}


def measured(name: str, seconds: int, midi: Path) -> tuple[float, float]:
    """Return seconds and MB of one renderer in a separate process."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", name, str(seconds), str(midi)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    took, highest = json.loads(found.stdout)
    return took, highest


def main(lengths: tuple[int, int]) -> None:
    names = list(CONTESTANTS)
    if shutil.which("fluidsynth") is None or not list(FONTS.glob("*.sf2")):
        names.remove("fluidsynth -F")
        print("fluidsynth or a sound font is not installed: left out")
    memory: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for seconds in lengths:
            midi = Path(folder) / f"{seconds}.mid"
            save(midi, seconds)
            rounds = ROUNDS if seconds == lengths[0] else 1
            runs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
            for _ in range(rounds):
                for name in names:
                    runs[name].append(measured(name, seconds, midi))
            medians = {n: statistics.median(took for took, _ in runs[n]) for n in names}
            print(f"\n{seconds} s, {VOICES} voices, 100 notes a second, rounds: {rounds}")
            print(f"{'':32}{'x real time':>12}{'x gradmidi time':>17}{'peak MB':>9}")
            for name, took in medians.items():
                memory[name].append(max(highest for _, highest in runs[name]))
                ratio = took / medians["gradmidi, samples"]
                print(f"{name:32}{seconds / took:12.0f}{ratio:17.2f}{memory[name][-1]:9.0f}")
    print(f"\n{'peak memory,':32}{lengths[1]} s over {lengths[0]} s")
    for name, (short, long) in memory.items():
        print(f"{name:32}{long / short if short else 0.0:12.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(CONTESTANTS[sys.argv[2]](int(sys.argv[3]), Path(sys.argv[4]))))
    else:
        main((6, 60) if "--quick" in sys.argv[1:] else (60, 600))
