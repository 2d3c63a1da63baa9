"""The .mid: bytes, what two readers make of it, what readers forgive, and what may go wrong."""

import errno
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mido
import pretty_midi
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from logs import write_log
from rights import as_nobody

import gradmidi
from gradmidi.midi.rig import Rig
from gradmidi.music.events import (
    BRIGHTNESS,
    FAULT_VOICE,
    PPQ,
    Alarm,
    Bend,
    Control,
    End,
    Event,
    Mark,
    Number,
    Off,
    On,
    Step,
)
from gradmidi.music.preset import Preset, load, parse
from gradmidi.music.voices import Voice
from gradmidi.sinks.midifile import MidiFile

PENTATONIC, CLASSIC = load("pentatonic"), load("classic")
LONG = 1 << 28
"""One tick more than a delta holds."""


def named(*names: str) -> tuple[Voice, ...]:
    return tuple(Voice(index, name, (index,)) for index, name in enumerate(names))


def write(
    path: Path,
    events: Sequence[Event],
    voices: Sequence[Voice] = named("conv1", "fc1"),
    preset: Preset = PENTATONIC,
    title: str = "run",
    rig: Rig | None = None,
) -> bytes:
    sink = MidiFile(path, preset, voices, title=title, rig=rig)
    sink.send(events)
    sink.close()
    return path.read_bytes()


def note(start: int, end: int, voice: int, key: int, velocity: int = 80) -> list[Event]:
    return [On(start, voice, key, velocity, pitch=float(key)), Off(end, voice, key)]


def in_order(events: Sequence[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (event.tick, not isinstance(event, Off)))


# -- a reader of our own, which forgives nothing ----------------------------------------------


@dataclass(frozen=True)
class Raw:
    tick: int
    status: int
    data: bytes


def number(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for length in range(1, 5):
        byte = data[at + length - 1]
        value = value << 7 | byte & 127
        if byte < 128:
            return value, at + length
    raise AssertionError("a variable-length number of more than four bytes")


def messages(chunk: bytes) -> Iterator[Raw]:
    at, tick, running = 0, 0, 0
    while at < len(chunk):
        delta, at = number(chunk, at)
        tick += delta
        status = chunk[at]
        if status == 0xFF:
            size, start = number(chunk, at + 2)
            assert start + size <= len(chunk)
            yield Raw(tick, status, chunk[at + 1 : at + 2] + chunk[start : start + size])
            at, running = start + size, 0
            continue
        if status >= 128:
            running, at = status, at + 1
        assert 0x80 <= running < 0xF0, "a data byte without a status"
        size = 1 if running >> 4 in (0xC, 0xD) else 2
        data = chunk[at : at + size]
        assert len(data) == size
        assert max(data) < 128
        yield Raw(tick, running, data)
        at += size


def tracks_of(data: bytes) -> list[list[Raw]]:
    """Read a file and check whatever common readers let pass."""
    kind, size, form, count, division = struct.unpack(">4sLHHH", data[:14])
    assert (kind, size, form, division) == (b"MThd", 6, 1, PPQ)
    at, tracks = 14, []
    while at < len(data):
        kind, size = struct.unpack(">4sL", data[at : at + 8])
        assert kind == b"MTrk", "garbage after the last track"
        chunk = data[at + 8 : at + 8 + size]
        assert len(chunk) == size, "a track shorter than it says"
        tracks.append(list(messages(chunk)))
        at += 8 + size
    assert len(tracks) == count
    for track in tracks:
        ends = [index for index, raw in enumerate(track) if raw.data[:1] == b"\x2f" and meta(raw)]
        assert ends == [len(track) - 1], "one end of track, and nothing after it"
        assert_closed(track)
    assert all(raw.status == 0xFF for raw in tracks[0]), "the conductor plays nothing"
    assert len({track[-1].tick for track in tracks}) == 1
    return tracks


def meta(raw: Raw) -> bool:
    return raw.status == 0xFF


def assert_closed(track: Sequence[Raw]) -> None:
    sounding: Counter[int] = Counter()
    for raw in track:
        kind, key = raw.status >> 4, raw.data[0]
        if kind == 9 and raw.data[1]:
            assert not sounding[key], "struck while it sounds"
            sounding[key] += 1
        elif kind in (8, 9):
            assert sounding[key], "ends what does not sound"
            sounding[key] -= 1
    assert not +sounding, "a note that never ends"


def after_head(track: Sequence[Raw]) -> list[tuple[int, int, bytes]]:
    """Everything of a voice's track but its name, its pan and its end."""
    return [(raw.tick, raw.status, raw.data) for raw in track[2:-1]]


# -- bytes ------------------------------------------------------------------------------------


def test_golden_bytes_of_three_steps(tmp_path: Path) -> None:
    events: list[Event] = []
    for step, key in enumerate((60, 62, 64)):
        tick = 120 * step
        events += [
            Step(tick, step, 0.1 * step, (0.5,), (0.5,)),
            Control(tick, 0, BRIGHTNESS, 60 + step),
            *note(tick, tick + 108, 0, key, 80 + step),
        ]
    events += [Mark(240, "epoch 2"), End(360, 3, 0.3)]
    data = write(tmp_path / "a.mid", in_order(events), named("fc1"), title="net")
    conductor = (
        b"\x00\xff\x03\x03net"
        b"\x00\xff\x51\x03\x07\xa1\x20"  # 500,000 µs a quarter: 120 a minute
        b"\x00\xff\x58\x04\x04\x02\x18\x08"
        b"\x81\x70\xff\x06\x07epoch 2"  # 240 ticks
        b"\x78\xff\x2f\x00"  # the rest up to 360
    )
    voice = (
        b"\x00\xff\x03\x03fc1"
        b"\x00\xb0\x0a\x40"  # pan, middle
        b"\x00\x4a\x3c\x00\x90\x3c\x50"  # CC 74 by running status, then the note
        b"\x6c\x80\x3c\x40"
        b"\x0c\xb0\x4a\x3d\x00\x90\x3e\x51"
        b"\x6c\x80\x3e\x40"
        b"\x0c\xb0\x4a\x3e\x00\x90\x40\x52"
        b"\x6c\x80\x40\x40"
        b"\x0c\xff\x2f\x00"
    )
    assert data == (
        b"MThd\x00\x00\x00\x06\x00\x01\x00\x02\x01\xe0"
        + b"MTrk"
        + struct.pack(">L", len(conductor))
        + conductor
        + b"MTrk"
        + struct.pack(">L", len(voice))
        + voice
    )
    tracks_of(data)


def test_the_same_events_give_the_same_bytes_however_they_are_cut(tmp_path: Path) -> None:
    events = in_order([*note(0, 50, 0, 60), *note(50, 90, 0, 60), *note(50, 70, 1, 40)])
    whole = write(tmp_path / "a.mid", events)
    sink = MidiFile(tmp_path / "b.mid", PENTATONIC, named("conv1", "fc1"), title="run")
    for event in events:
        sink.send([event])
    sink.close()
    assert (tmp_path / "b.mid").read_bytes() == whole


def test_at_one_tick_off_then_shape_then_on(tmp_path: Path) -> None:
    at_once: list[Event] = [
        On(96, 0, 62, 70, pitch=62.0),
        Bend(96, 0, 1.0),
        Mark(96, "here", 0),
        Control(96, 0, BRIGHTNESS, 1),
        Off(96, 0, 60),
    ]
    events = [On(0, 0, 60, 80, pitch=60.0), *at_once, Off(120, 0, 62)]
    track = tracks_of(write(tmp_path / "a.mid", events))[1]
    assert [entry for entry in after_head(track) if entry[0] == 96] == [
        (96, 0x80, b"\x3c\x40"),
        (96, 0xE0, b"\x00\x60"),
        (96, 0xFF, b"\x7f\x7dhere"),
        (96, 0xB0, b"\x4a\x01"),
        (96, 0x90, b"\x3e\x46"),
    ]


def test_key_struck_again_is_let_go_of_first(tmp_path: Path) -> None:
    events = [
        On(0, 0, 60, 80, pitch=60.0),
        On(50, 0, 60, 81, pitch=60.0),
        Off(70, 0, 60),  # of the first, which has ended
        Off(90, 0, 60),
        Off(95, 0, 60),  # of nothing
    ]
    track = tracks_of(write(tmp_path / "a.mid", events))[1]
    assert after_head(track) == [
        (0, 0x90, b"\x3c\x50"),
        (50, 0x80, b"\x3c\x40"),
        (50, 0x90, b"\x3c\x51"),
        (90, 0x80, b"\x3c\x40"),
    ]


def test_note_of_no_length_ends_after_it_started(tmp_path: Path) -> None:
    track = tracks_of(write(tmp_path / "a.mid", [*note(7, 7, 0, 60), End(7, 0, 0.0)]))[1]
    assert after_head(track) == [(7, 0x90, b"\x3c\x50"), (7, 0x80, b"\x3c\x40")]


def test_what_still_sounds_ends_at_the_end(tmp_path: Path) -> None:
    events: list[Event] = [On(0, 0, 60, 80, pitch=60.0), On(10, 1, 50, 80, pitch=50.0)]
    tracks = tracks_of(write(tmp_path / "a.mid", events))
    assert after_head(tracks[1])[-1] == (10, 0x80, b"\x3c\x40")
    tracks = tracks_of(write(tmp_path / "b.mid", [*events, End(960, 1, 1.0)]))
    assert after_head(tracks[1])[-1] == (960, 0x80, b"\x3c\x40")
    assert {track[-1].tick for track in tracks} == {960}


def test_rest_longer_than_a_delta_holds(tmp_path: Path) -> None:
    events = [*note(0, 10, 0, 60), *note(3 * LONG, 3 * LONG + 10, 0, 61)]
    track = tracks_of(write(tmp_path / "a.mid", events))[1]
    assert [tick for tick, status, _ in after_head(track) if status != 0xFF] == [
        0,
        10,
        3 * LONG,
        3 * LONG + 10,
    ]


# -- what stands in the tracks ----------------------------------------------------------------


def test_conductor_has_name_tempo_and_a_marker_for_marks_and_faults(tmp_path: Path) -> None:
    events: list[Event] = [
        Mark(0, "epoch 1"),
        Alarm(100, "nan", "fc1", 312, float("nan")),
        Alarm(200, "exploding", "conv1", 400, 123456.789),
        Alarm(300, "died", "", 401, 0.0),
    ]
    write(tmp_path / "a.mid", events, preset=CLASSIC, title="Épôque\n層")
    conductor = mido.MidiFile(tmp_path / "a.mid").tracks[0]
    assert conductor.name == "Epoque ?"
    assert [m.tempo for m in conductor if m.type == "set_tempo"] == [480000]
    signatures = [m for m in conductor if m.type == "time_signature"]
    assert [(m.numerator, m.denominator) for m in signatures] == [(4, 4)]
    assert [m.text for m in conductor if m.type == "marker"] == [
        "epoch 1",
        "nan fc1 step 312 value nan",
        "exploding conv1 step 400 value 123456.8",
        "died step 401 value 0",
    ]


def test_voices_stand_evenly_from_left_to_right(tmp_path: Path) -> None:
    write(tmp_path / "a.mid", [], named("a", "b", "c", "d", "e"))
    tracks = mido.MidiFile(tmp_path / "a.mid").tracks[1:]
    pans = [m.value for track in tracks for m in track if m.is_cc(10)]
    assert pans == [14, 39, 64, 89, 114]  # 64 + 63 × 0.8 × (-1, -½, 0, ½, 1)


def test_programs_lie_over_the_voices_by_depth(tmp_path: Path) -> None:
    preset = replace(PENTATONIC, voices=replace(PENTATONIC.voices, programs=(44, 72, 1)))
    write(tmp_path / "a.mid", [], named("a", "b", "c", "d", "e", "f"), preset)
    tracks = mido.MidiFile(tmp_path / "a.mid").tracks[1:]
    programs = [m.program for track in tracks for m in track if m.type == "program_change"]
    assert programs == [43, 43, 71, 71, 0, 0]
    write(tmp_path / "b.mid", [])
    assert not [m for m in mido.MidiFile(tmp_path / "b.mid") if m.type == "program_change"]


def test_bend_range_is_set_once_where_a_preset_bends(tmp_path: Path) -> None:
    bends: list[Event] = [Bend(tick, 0, s) for tick, s in ((1, 0.5), (2, -2.0), (3, 2.0), (4, -9))]
    write(tmp_path / "a.mid", bends, preset=CLASSIC)
    track = mido.MidiFile(tmp_path / "a.mid").tracks[1]
    controls = [(m.control, m.value) for m in track if m.type == "control_change"]
    assert controls == [(10, 64), (101, 0), (100, 0), (6, 2), (38, 0), (101, 127), (100, 127)]
    assert [m.pitch for m in track if m.type == "pitchwheel"] == [2048, -8192, 8191, -8192]
    write(tmp_path / "b.mid", bends)
    track = mido.MidiFile(tmp_path / "b.mid").tracks[1]
    assert [m.control for m in track if m.type == "control_change"] == [10]


def test_fault_sounds_have_a_last_track_on_channel_ten_only_if_used(tmp_path: Path) -> None:
    events = in_order([*note(0, 100, 0, 60), *note(10, 60, FAULT_VOICE, 76, 120)])
    write(tmp_path / "a.mid", events)
    tracks = mido.MidiFile(tmp_path / "a.mid").tracks
    assert [track.name for track in tracks] == ["run", "conv1", "fc1", "faults"]
    assert [(m.channel, m.note) for m in tracks[3] if m.type == "note_on"] == [(9, 76)]
    write(tmp_path / "b.mid", note(0, 100, 0, 60))
    assert len(mido.MidiFile(tmp_path / "b.mid").tracks) == 3


def test_more_than_fifteen_voices_go_on_further_ports(tmp_path: Path) -> None:
    voices = named(*(f"layer{index}" for index in range(32)))
    events = in_order(
        [
            *(event for voice in voices for event in note(0, 90, voice.index, 40 + voice.index)),
            *note(0, 50, FAULT_VOICE, 80),
        ]
    )
    tracks_of(write(tmp_path / "a.mid", events, voices))
    tracks = mido.MidiFile(tmp_path / "a.mid").tracks[1:]
    places = []
    for track in tracks:
        assert [m.type for m in track[:3]] == ["track_name", "midi_port", "device_name"]
        assert track[2].name == f"port {track[1].port + 1}"
        (channel,) = {m.channel for m in track if not m.is_meta}
        places.append((track[1].port, channel + 1))
    channels = [*range(1, 10), *range(11, 17)]
    assert places[:-1] == [(index // 15, channels[index % 15]) for index in range(32)]
    assert places[-1] == (0, 10)
    write(tmp_path / "b.mid", [], voices[:15])
    few = mido.MidiFile(tmp_path / "b.mid")
    assert not [m for track in few.tracks for m in track if m.type in ("midi_port", "device_name")]


def test_names_are_ascii_and_never_empty(tmp_path: Path) -> None:
    voices = named("entrée.conv", "слой", "", "blocks.3.層", "ﬁlter½\n")
    data = write(tmp_path / "a.mid", [Mark(0, '{"r": "\\u5c64"}', 1)], voices, title="訓練")
    tracks = mido.MidiFile(tmp_path / "a.mid", charset="ascii").tracks
    assert [track.name for track in tracks] == [
        "gradmidi",
        "entree.conv",
        "voice 2",
        "voice 3",
        "blocks.3.?",
        "filter1?2",
    ]
    # No text events, which MuseScore prints as lyrics.
    (own,) = [m.data for m in tracks[2] if m.type == "sequencer_specific"]
    assert (own[0], bytes(own[1:])) == (0x7D, b'{"r": "\\u5c64"}')
    assert not [m for track in tracks for m in track if m.type == "text"]
    tracks_of(data)


# -- two other readers ------------------------------------------------------------------------

notes = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 127),
        st.integers(0, 40),
        st.integers(1, 200),
        st.integers(1, 127),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(wanted=notes)
def test_both_readers_find_every_note(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[int, int, int, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("notes") / "a.mid"
    free: dict[tuple[int, int], int] = {}
    expected, events = [], []
    for voice, key, wait, length, velocity in wanted:
        start = free.get((voice, key), 0) + wait
        free[voice, key] = start + length
        expected.append((voice, key, start, start + length, velocity))
        events += note(start, start + length, voice, key, velocity)
    write(path, in_order(events), named("a", "b", "c"))

    by_mido, begun = [], {}
    for voice, track in enumerate(mido.MidiFile(path).tracks[1:]):
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "note_on":
                begun[voice, message.note] = tick, message.velocity
            elif message.type == "note_off":
                start, velocity = begun.pop((voice, message.note))
                by_mido.append((voice, message.note, start, tick, velocity))
    assert not begun
    assert sorted(by_mido) == sorted(expected)

    reader = pretty_midi.PrettyMIDI(str(path))
    names = {"a": 0, "b": 1, "c": 2}
    by_pretty_midi = [
        (
            names[i.name],
            n.pitch,
            reader.time_to_tick(n.start),
            reader.time_to_tick(n.end),
            n.velocity,
        )
        for i in reader.instruments
        for n in i.notes
    ]
    assert sorted(by_pretty_midi) == sorted(expected)


events_of_any_kind = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from([-1, 0, 1]), st.integers(58, 60), st.integers(0, 4)
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(script=events_of_any_kind)
def test_any_stream_of_events_gives_a_sound_file(
    tmp_path_factory: pytest.TempPathFactory, script: list[tuple[int, int, int, int]]
) -> None:
    tick, events = 0, []
    for wait, voice, key, kind in script:
        tick += wait
        events.append(
            (
                On(tick, voice, key, 80, pitch=float(key)),
                Off(tick, voice, key),
                Control(tick, voice, BRIGHTNESS, key),
                Mark(tick, "text", voice),
                Bend(tick, voice, 0.5),
            )[kind]
        )
    data = write(tmp_path_factory.mktemp("any") / "a.mid", events)
    tracks = tracks_of(data)
    struck = sum(raw.status >> 4 == 9 for track in tracks for raw in track)
    assert struck == sum(isinstance(event, On) for event in events)


# -- what may go wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([On(0, 2, 60, 80, pitch=60.0)], "voice 2"),
        ([On(0, 0, 128, 80, pitch=60.0)], "128, 80"),
        ([On(0, 0, 60, 200, pitch=60.0)], "60, 200"),
        ([Control(0, 0, 74, -1)], "74, -1"),
        ([On(9, 0, 60, 80, pitch=60.0), Off(8, 0, 60)], "tick 8 comes after tick 9"),
    ],
)
def test_events_that_cannot_be_written_fail_at_once(
    tmp_path: Path, events: list[Event], words: str
) -> None:
    sink = MidiFile(tmp_path / "a.mid", PENTATONIC, named("a", "b"), title="run")
    with pytest.raises(ValueError, match=words):
        sink.send(events)


def test_nothing_is_on_disk_before_close_and_close_may_come_twice(tmp_path: Path) -> None:
    sink = MidiFile(tmp_path / "a.mid", PENTATONIC, named("a"), title="run")
    sink.send(note(0, 100, 0, 60))
    assert os.listdir(tmp_path) == []
    sink.close()
    assert os.listdir(tmp_path) == ["a.mid"]
    written = (tmp_path / "a.mid").read_bytes()
    sink.close()
    assert (tmp_path / "a.mid").read_bytes() == written
    with pytest.raises(ValueError, match="closed"):
        sink.send(note(100, 200, 0, 60))


def test_abort_leaves_nothing(tmp_path: Path) -> None:
    sink = MidiFile(tmp_path / "a.mid", PENTATONIC, named("a"), title="run")
    sink.send(note(0, 100, 0, 60))
    sink.abort()
    sink.close()
    assert os.listdir(tmp_path) == []


def test_folder_that_is_not_there_fails_before_the_first_event(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        MidiFile(tmp_path / "nowhere" / "a.mid", PENTATONIC, named("a"), title="run")
    with pytest.raises(IsADirectoryError):
        MidiFile(tmp_path, PENTATONIC, named("a"), title="run")


def test_folder_lost_on_the_way_names_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    sink = MidiFile(folder / "a.mid", PENTATONIC, named("a"), title="run")
    folder.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        sink.close()
    assert caught.value.filename == str(folder / "a.mid")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_folder_that_is_read_only() -> None:
    # Not in pytest's own folder, which nobody else may look into.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with as_nobody():
            sink = MidiFile(folder / "a.mid", PENTATONIC, named("a"), title="run")
            with pytest.raises(PermissionError):
                sink.close()
        assert os.listdir(folder) == []


def test_disk_full_leaves_the_old_file_and_no_stump(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits of file size are POSIX")
    path = tmp_path / "a.mid"
    before = write(path, note(0, 100, 0, 60))
    sink = MidiFile(path, PENTATONIC, named("a"), title="run")
    for tick in range(0, 500_000, 100):
        sink.send(note(tick, tick + 90, 0, 60))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            sink.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.mid"]


WRITER = """
import sys
from gradmidi.music.events import Off, On
from gradmidi.music.preset import load
from gradmidi.sinks.midifile import MidiFile
from gradmidi.music.voices import Voice

path = sys.argv[1]
for round in range(1_000_000):
    sink = MidiFile(path, load("pentatonic"), [Voice(0, "a", (0,))], title="run")
    for tick in range(0, 200_000, 100):
        sink.send([On(tick, 0, 60 + round % 2, 80, 60.0), Off(tick + 90, 0, 60 + round % 2)])
    sink.close()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.slow
def test_a_kill_during_writing_leaves_a_complete_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    whole = set()
    for key in (60, 61):
        events = [e for tick in range(0, 200_000, 100) for e in note(tick, tick + 90, 0, key)]
        whole.add(write(path, events, named("a")))
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", WRITER, path])
        try:
            while not list(tmp_path.glob(".a.mid.*.part")):
                assert child.poll() is None
        finally:
            child.kill()
            child.wait()
        for left in tmp_path.glob(".a.mid.*.part"):
            left.unlink()
        assert path.read_bytes() in whole


def test_a_long_piece_is_held_in_a_few_bytes_a_note(tmp_path: Path) -> None:
    sink = MidiFile(tmp_path / "a.mid", PENTATONIC, named("a"), title="run")
    sink.send(note(0, 90, 0, 60))
    tracemalloc.start()
    try:
        for tick in range(120, 120 * 20_000, 120):
            sink.send(note(tick, tick + 90, 0, 60))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 12 * 20_000
    sink.abort()


# -- real programs ----------------------------------------------------------------------------


@pytest.fixture
def piece(tmp_path: Path) -> Path:
    events: list[Event] = [Mark(0, "epoch 1"), Mark(0, "gradmidi {}", 0)]
    for step in range(32):
        tick = step * 120
        for voice in range(3):
            events += [
                Control(tick, voice, BRIGHTNESS, 40 + step),
                *note(tick, tick + 108, voice, 48 + 12 * voice + step % 5),
            ]
    events += note(600, 700, FAULT_VOICE, 76)
    events += [Alarm(600, "nan", "fc1", 5, float("nan")), End(32 * 120, 32, 1.0)]
    path = tmp_path / "piece.mid"
    write(path, in_order(events), named("conv1", "conv2", "fc1"), CLASSIC)
    return path


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.receivers
def test_midicsv_lists_every_note(piece: Path) -> None:
    listed = run("midicsv", piece)
    assert (listed.returncode, listed.stderr) == (0, "")
    kinds = Counter(line.split(", ")[2] for line in listed.stdout.splitlines())
    assert kinds["Note_on_c"] == kinds["Note_off_c"] == 97
    assert (kinds["Start_track"], kinds["End_track"], kinds["Marker_t"]) == (5, 5, 2)
    assert "Header, 1, 5, 480" in listed.stdout.splitlines()[0]


@pytest.mark.receivers
def test_midi2abc_finds_nothing_to_complain_of(piece: Path, tmp_path: Path) -> None:
    told = run("midi2abc", piece, "-o", tmp_path / "a.abc")
    assert told.returncode == 0
    complaints = (told.stdout + told.stderr).lower()
    assert not [w for w in ("error", "warn", "never", "terminat", "premature") if w in complaints]
    assert "K:" in (tmp_path / "a.abc").read_text()


@pytest.mark.receivers
def test_timidity_plays_it_to_the_end(piece: Path, tmp_path: Path) -> None:
    fonts = sorted(Path("/usr/share/sounds/sf2").glob("*.sf2"))
    if not fonts:
        pytest.skip("no sound font for timidity is installed (timgm6mb-soundfont)")
    config, sound = tmp_path / "timidity.cfg", tmp_path / "a.wav"
    config.write_text(f"soundfont {fonts[0].resolve()}\n")
    told = run("timidity", "-c", config, "-Ow", "-s", "8000", "-o", sound, piece)
    assert told.returncode == 0, told.stderr
    complaints = (told.stdout + told.stderr).lower()
    assert not [w for w in ("error", "warning: ", "too short", "corrupt") if w in complaints]
    samples = memoryview(sound.read_bytes()[44:]).cast("h")
    assert max(samples) > 1000
    seconds = len(samples) / 2 / 8000
    assert seconds >= 32 * 120 * CLASSIC.time.tick_seconds


# -- a file as a rig's cables carry it ----------------------------------------------------------


def test_a_rig_gives_channels_and_bend_range_and_controllers(tmp_path: Path) -> None:
    preset = parse({"title": "t", "pitch": {"residue": "bend"}}, "bent", "bent.toml")
    rig = Rig(channels="5,2", faults=7, bend_range=12, cc={"level": 20, "loss": 21}, cc_channel=3)
    events = [
        Number(0, None, 21, 64),
        Bend(0, 1, 2.0),
        *note(0, 100, 0, 60),
        *note(0, 100, 1, 62),
        *note(0, 100, FAULT_VOICE, 80),
        Number(50, 0, 20, 100),
    ]
    data = write(tmp_path / "a.mid", sorted(events, key=lambda e: e.tick), preset=preset, rig=rig)
    tracks_of(data)
    first, second, faults, values = mido.MidiFile(tmp_path / "a.mid").tracks[1:]
    assert [(t.name, {m.channel + 1 for m in t if not m.is_meta}) for t in (first, second)] == [
        ("conv1", {5}),
        ("fc1", {2}),
    ]
    assert (faults.name, {m.channel + 1 for m in faults if not m.is_meta}) == ("faults", {7})
    assert [m.value for m in second if m.type == "control_change" and m.control == 6] == [12]
    assert [m.pitch for m in second if m.type == "pitchwheel"] == [round(8192 * 2 / 12)]
    assert [(m.control, m.value) for m in first if m.type == "control_change"][-1] == (20, 100)
    assert [(m.channel + 1, m.control, m.value) for m in values if not m.is_meta] == [(3, 21, 64)]


def test_a_rig_without_faults_or_notes_leaves_them_out(tmp_path: Path) -> None:
    events = [*note(0, 100, 0, 60), *note(0, 100, FAULT_VOICE, 80)]
    events.sort(key=lambda event: event.tick)
    for rig, kept in (
        (Rig(faults="off"), [60]),
        (Rig(notes=False), [80]),
        (Rig(faults="off", notes=False), []),
    ):
        write(tmp_path / "a.mid", events, rig=rig)
        played = [m for m in mido.MidiFile(tmp_path / "a.mid") if m.type == "note_on"]
        assert [m.note for m in played] == kept


def test_several_ports_of_a_rig_are_named_in_the_file(tmp_path: Path) -> None:
    rig = Rig(ports=("Digitone", "Volca"), channels="1")
    write(tmp_path / "a.mid", [], named("a", "b", "c"), rig=rig)
    tracks = mido.MidiFile(tmp_path / "a.mid").tracks[1:]
    names = [m.name for track in tracks for m in track if m.type == "device_name"]
    assert names == ["Digitone", "Volca", "Digitone"]
    write(tmp_path / "b.mid", [], named("a", "b", "c"), rig=replace(rig, mirror=True))
    types = {m.type for track in mido.MidiFile(tmp_path / "b.mid").tracks for m in track}
    assert "device_name" not in types


@settings(max_examples=60, deadline=None)
@given(wanted=notes)
@example([(0, 0, 0, 1, 1), (0, 0, 0, 1, 1), (1, 1, 0, 18, 1), (0, 1, 16, 1, 1)])
def test_voices_on_one_channel_never_strike_a_key_that_sounds(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[int, int, int, int, int]]
) -> None:
    """In the merged tracks, each note ends before its key is struck again."""
    path = tmp_path_factory.mktemp("notes") / "a.mid"
    events, tick = [], 0
    for voice, key, wait, length, velocity in wanted:
        tick += 2 + wait
        events += note(tick, tick + length, voice, key % 3 + 60, velocity)
    write(path, in_order(events), named("a", "b", "c"), rig=Rig(channels="4"))
    held: set[int] = set()
    struck = 0
    for message in mido.MidiFile(path):
        if message.type == "note_on":
            assert message.note not in held
            held.add(message.note)
            struck += 1
        elif message.type == "note_off":
            held.remove(message.note)
    assert not held
    assert struck == len(wanted)


# -- drums, and bends on a channel that voices share ---------------------------------------------


def test_drums_are_on_the_drum_channel_and_values_are_not(tmp_path: Path) -> None:
    preset = load("drums", {"values.which": ["loss"]})
    rows = [[1.0, 2.0, 0.5, 1.5]] * 6
    run_folder = write_log(tmp_path / "a", rows)
    gradmidi.render(run_folder, tmp_path / "a.mid", preset=preset)
    tracks = mido.MidiFile(tmp_path / "a.mid").tracks[1:]
    channels = {track.name: {m.channel + 1 for m in track if not m.is_meta} for track in tracks}
    drums = {name: {10} for name in ("conv1", "conv2", "fc1", "fc2", "faults")}
    assert channels == {**drums, "loss": {5}}
    # Pan would move all of the kit.
    assert not [m for t in tracks[:4] for m in t if m.type == "control_change" and m.control == 10]
    assert [row[1].norm for row in gradmidi.decode(tmp_path / "a.mid").rows] == [
        pytest.approx(2.0, rel=0.01)
    ] * 6


def test_drum_voices_with_one_key_have_ports_of_their_own(tmp_path: Path) -> None:
    names = [f"layer{i}" for i in range(12)]
    run_folder = write_log(tmp_path / "a", [[1.0] * 12] * 3, names=names)
    preset = load("drums", {"voices.most": 12, "voices.keys": [36, 38, 42, 46]})
    gradmidi.render(run_folder, tmp_path / "a.mid", preset=preset)
    struck = set()
    for track in mido.MidiFile(tmp_path / "a.mid").tracks[1:13]:
        (port,) = {m.port for m in track if m.type == "midi_port"}
        (key,) = {m.note for m in track if m.type == "note_on"}
        struck.add((port, key))
    assert struck == {(port, key) for port in range(3) for key in (36, 38, 42, 46)}


def test_a_rig_says_where_drums_are(tmp_path: Path) -> None:
    run_folder = write_log(tmp_path / "a", [[1.0] * 4] * 3)
    gradmidi.render(run_folder, tmp_path / "a.mid", preset="drums", rig=Rig(channels="3"))
    channels = {m.channel + 1 for m in mido.MidiFile(tmp_path / "a.mid") if m.type == "note_on"}
    assert channels == {3, 10}


@pytest.mark.parametrize(
    ("preset", "channels", "warned"),
    [("chromatic", "1-3", True), ("chromatic", "1-4", False), ("pentatonic", "1", False)],
)
def test_bends_on_a_channel_that_voices_share_are_warned_of_once(
    preset: str, channels: str, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_folder = write_log(tmp_path / "a", [[1.0] * 4] * 3)
    rig = Rig(channels=channels)
    gradmidi.render(run_folder, tmp_path / "a.mid", preset=preset, rig=rig)
    text = (
        "gradmidi: conv1 and fc2 share channel 1, and each bend moves both: give the rig more "
        "channels or ports, or use a preset without bends\n"
    )
    assert capsys.readouterr().err == (text if warned else "")
