"""The `.mid` of every preset, read note for note by programs of other authors."""

import csv
import subprocess
from collections import defaultdict
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
from logs import write_log
from studio import needs

import gradmidi
from gradmidi.music.preset import load, names

pytestmark = [pytest.mark.receivers, pytest.mark.slow]

Note = tuple[str, int, int, int, int]
"""Name of the track, first and last tick, key and velocity."""

LAYERS = (2, 4, 15, 40)


def of_mido(path: Path) -> list[Note]:
    notes = []
    for track in mido.MidiFile(path).tracks:
        rows = []
        tick = 0
        for message in track:
            tick += message.time
            if message.type in ("note_on", "note_off"):
                velocity = message.velocity if message.type == "note_on" else 0
                rows.append((tick, message.channel, message.note, velocity))
        notes += paired(track.name, rows)
    return notes


def of_midicsv(path: Path) -> list[Note]:
    done = subprocess.run(
        ["midicsv", path], capture_output=True, encoding="latin-1", check=True, timeout=60
    )
    titles: dict[int, str] = {}
    rows = defaultdict(list)
    for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True, escapechar="\\"):
        track, tick, kind = int(row[0]), int(row[1]), row[2]
        if kind == "Title_t":
            titles[track] = row[3]
        elif kind in ("Note_on_c", "Note_off_c"):
            channel, key, velocity = map(int, row[3:6])
            rows[track].append((tick, channel, key, velocity if kind == "Note_on_c" else 0))
    return [note for track, found in rows.items() for note in paired(titles[track], found)]


def paired(name: str, rows: list[tuple[int, int, int, int]]) -> list[Note]:
    """Pair starts and ends: tick, channel, key, and velocity or 0."""
    begun: dict[tuple[int, int], tuple[int, int]] = {}
    notes = []
    for tick, channel, key, velocity in rows:
        if velocity:
            assert (channel, key) not in begun, f"{name} strikes {key}, which sounds"
            begun[channel, key] = tick, velocity
        else:
            start, struck = begun.pop((channel, key))
            notes.append((name, start, tick, key, struck))
    assert not begun, f"{name} leaves notes on"
    return notes


def of_pretty_midi(path: Path) -> list[Note]:
    file = pretty_midi.PrettyMIDI(str(path))
    ticks = file.time_to_tick
    return [
        (part.name, ticks(note.start), ticks(note.end), note.pitch, note.velocity)
        for part in file.instruments
        for note in part.notes
    ]


def of_miditoolkit(path: Path) -> list[Note]:
    miditoolkit = pytest.importorskip("miditoolkit")
    return [
        (part.name, note.start, note.end, note.pitch, note.velocity)
        for part in miditoolkit.MidiFile(str(path)).instruments
        for note in part.notes
    ]


def of_symusic(path: Path) -> list[Note]:
    symusic = pytest.importorskip("symusic")
    return [
        (track.name, note.time, note.end, note.pitch, note.velocity)
        for track in symusic.Score(str(path)).tracks
        for note in track.notes
    ]


READERS = (of_midicsv, of_pretty_midi, of_miditoolkit, of_symusic)


@pytest.fixture(scope="module", params=LAYERS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose norms wander, with a spike, a layer that dies and one that becomes nan."""
    count = request.param
    walk = np.random.default_rng(count).normal(0.0, 0.4, (40, count)).cumsum(axis=0)
    rows = np.exp(walk)
    rows[12] *= 200.0
    rows[20:, 0] = 0.0
    rows[34:, 1] = np.nan
    layers = [f"blocks.{index}" for index in range(count)]
    folder: Path = tmp_path_factory.mktemp("readers") / "a"
    return write_log(folder, rows.tolist(), names=layers)


@pytest.mark.parametrize("preset", names())
def test_readers_agree_note_for_note(run: Path, tmp_path: Path, preset: str) -> None:
    needs("midicsv")
    path = tmp_path / "a.mid"
    # With the loss, so that values have tracks too; with all voices that a preset may have.
    settings = {"values.which": ["loss"], "voices.most": 60}
    gradmidi.render(run, path, preset=load(preset, settings))
    expected = sorted(of_mido(path))
    assert len(expected) >= 50
    for read in READERS:
        assert sorted(read(path)) == expected, read.__name__
