"""Measure the time to write a .mid of many notes: gradmidi, mido alone and pretty_midi.

    python benchmarks/midifile.py [NOTES]

Every writer gets the same notes in memory (4 voices of 1/16 notes) and saves them as a file, in an
order that is shuffled in each round. Figures are medians; read the ratios.
"""

import random
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import mido
import pretty_midi

from gradmidi.music.events import End, Event, Off, On
from gradmidi.music.preset import load
from gradmidi.music.voices import Voice
from gradmidi.sinks.midifile import MidiFile

VOICES = 4
SLOT, LENGTH = 120, 108
ROUNDS = 5

Notes = list[tuple[int, int, int]]


def score(notes: int) -> Notes:
    """Return tick, voice and key of every note."""
    return [(index // VOICES * SLOT, index % VOICES, 48 + index * 7 % 36) for index in range(notes)]


def events_of(notes: Notes) -> list[Event]:
    events: list[Event] = [On(t, v, key, 80, pitch=float(key)) for t, v, key in notes]
    events += [Off(t + LENGTH, v, key) for t, v, key in notes]
    events.sort(key=lambda event: event.tick)
    return [*events, End(notes[-1][0] + SLOT, 0, 0.0)]


def with_gradmidi(path: Path, events: list[Event]) -> None:
    voices = [Voice(index, f"layer {index}", (index,)) for index in range(VOICES)]
    sink = MidiFile(path, load("pentatonic"), voices, title="benchmark")
    sink.send(events)
    sink.close()


def with_mido(path: Path, notes: Notes, *, skip_checks: bool) -> None:
    file = mido.MidiFile(type=1, ticks_per_beat=480)
    file.tracks = [mido.MidiTrack() for _ in range(VOICES)]
    last = [0] * VOICES
    for tick, voice, key in notes:
        for kind, at in (("note_on", tick), ("note_off", tick + LENGTH)):
            message = mido.Message(
                kind, channel=voice, note=key, time=at - last[voice], skip_checks=skip_checks
            )
            file.tracks[voice].append(message)
            last[voice] = at
    file.save(path)


def with_pretty_midi(path: Path, notes: Notes) -> None:
    file = pretty_midi.PrettyMIDI(resolution=480, initial_tempo=120.0)
    file.instruments = [pretty_midi.Instrument(0) for _ in range(VOICES)]
    for tick, voice, key in notes:
        note = pretty_midi.Note(80, key, tick / 960, (tick + LENGTH) / 960)
        file.instruments[voice].notes.append(note)
    file.write(str(path))


def main(count: int) -> None:
    notes = score(count)
    events = events_of(notes)
    writers: dict[str, Callable[[Path], None]] = {
        "gradmidi": lambda path: with_gradmidi(path, events),
        "mido, checks skipped": lambda path: with_mido(path, notes, skip_checks=True),
        "mido": lambda path: with_mido(path, notes, skip_checks=False),
        "pretty_midi": lambda path: with_pretty_midi(path, notes),
    }
    seconds: dict[str, list[float]] = {name: [] for name in writers}
    peaks, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.mid"
        for _ in range(ROUNDS):
            for name in random.sample(list(writers), len(writers)):
                started = time.perf_counter()
                writers[name](path)
                seconds[name].append(time.perf_counter() - started)
        for name, write in writers.items():
            tracemalloc.start()
            write(path)
            peaks[name] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            sizes[name] = path.stat().st_size
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"{count} notes, {ROUNDS} rounds")
    print(f"{'writer':22}{'seconds':>9}{'x gradmidi':>12}{'peak MB':>9}{'file kB':>9}")
    for name, median in medians.items():
        print(
            f"{name:22}{median:9.3f}{median / medians['gradmidi']:12.1f}"
            f"{peaks[name] / 1e6:9.1f}{sizes[name] / 1e3:9.0f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
