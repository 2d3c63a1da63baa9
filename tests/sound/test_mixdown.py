"""Sound files: their headers, lengths and samples, and that none is ever left half-written."""

import dataclasses
import os
import pickle
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gradmidi.errors import GradmidiError
from gradmidi.music.events import Control, End, Event, Off, On
from gradmidi.music.preset import Preset, load
from gradmidi.sound import mixdown, recording
from gradmidi.sound.mixdown import AudioFile
from gradmidi.sound.synth import Synth

RATE = 44100

_ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mixdown.__file__).parents[2])}


def preset(name: str = "pentatonic", **sound) -> Preset:
    shipped = load(name)
    return dataclasses.replace(shipped, sound=dataclasses.replace(shipped.sound, **sound))


def piece(slots: int = 40) -> list[Event]:
    """Four voices in slots of 120 ticks (the last of them a rest), and the end."""
    events: list[Event] = []
    for slot in range(slots - 1):
        keys = [48 + 12 * voice + slot % 3 for voice in range(4)]
        for voice, key in enumerate(keys):
            events.append(Control(120 * slot, voice, 74, 37 * slot % 128))
            events.append(On(120 * slot, voice, key, 80, float(key)))
        events += [Off(120 * slot + 108, voice, key) for voice, key in enumerate(keys)]
    return [*events, End(120 * slots, slots, 1.0)]


def write(
    path: Path,
    chosen: Preset,
    events: list[Event],
    *,
    at_once: int = 9,
    silence: float = 0.0,
    **options,
) -> Path:
    chosen = dataclasses.replace(chosen, sound=dataclasses.replace(chosen.sound, silence=silence))
    sink = AudioFile(path, chosen, 4, **options)
    for first in range(0, len(events), at_once):
        sink.send(events[first : first + at_once])
    sink.close()
    return path


def rendered(chosen: Preset, events: list[Event], frames: int) -> np.ndarray:
    synth = Synth(chosen, 4)
    synth.send(events)
    return synth.render(frames)


def chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks of a RIFF file, by their own sizes."""
    assert data[:4] == b"RIFF"
    assert struct.unpack("<L", data[4:8])[0] == len(data) - 8
    assert data[8:12] == b"WAVE"
    found, place = {}, 12
    while place < len(data):
        name, size = struct.unpack("<4sL", data[place : place + 8])
        found[name] = data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return found


# -- what is in the file -------------------------------------------------------------------


def test_a_float_wav_has_a_true_header_and_the_synths_own_samples(tmp_path):
    chosen = preset(format="float")
    data = chunks(write(tmp_path / "a.wav", chosen, piece()).read_bytes())
    tag, channels, rate, per_second, align, bits = struct.unpack("<HHLLHH", data[b"fmt "][:16])
    assert (tag, channels, rate, per_second, align, bits) == (3, 2, RATE, 8 * RATE, 8, 32)
    samples = np.frombuffer(data[b"data"], "<f4").reshape(-1, 2)
    assert len(samples) == 5 * RATE
    assert np.array_equal(samples, rendered(chosen, piece(), 5 * RATE))
    # The time of writing would make the same run another file.
    assert data[b"PEAK"][4:8] == bytes(4)


def test_classic_is_mono_float_and_ends_with_the_end(tmp_path):
    events: list[Event] = []
    for step in range(7):
        for layer in range(4):
            tick = 60 * step + 10 * layer
            events += [On(tick, layer, 69, 80, 69.0), Off(tick + 10, layer, 69)]
    path = write(tmp_path / "a.wav", load("classic"), [*events, End(60 * 7, 7, 0.1)])
    found = soundfile.info(path)
    assert (found.subtype, found.channels, found.frames) == ("FLOAT", 1, 7 * 2646)
    tone = 0.1 * np.sin(2 * np.pi * np.arange(441) * 440 / RATE)
    samples = soundfile.read(path)[0].reshape(-1, 2646)
    assert np.abs(samples[:, :1764].reshape(-1, 441) - tone).max() < 1e-6
    assert not samples[:, 1764:].any()


def test_sixteen_bits_are_the_samples_within_dither_and_silence_is_silent(tmp_path):
    events = [*piece(8)[:-1], End(1920, 8, 1.0)]
    data = chunks(write(tmp_path / "a.wav", load("pentatonic"), events).read_bytes())
    assert struct.unpack("<HHLLHH", data[b"fmt "][:16]) == (1, 2, RATE, 4 * RATE, 4, 16)
    samples = np.frombuffer(data[b"data"], "<i2").reshape(-1, 2)
    wanted = rendered(load("pentatonic"), events, len(samples))
    error = samples - 32767.0 * wanted
    sounding = wanted != 0.0
    assert len(samples) == 2 * RATE
    assert 0 < sounding.mean() < 0.6
    assert np.abs(error).max() <= 1.5
    # Triangular dither and rounding: no bias, and a power of 1/6 + 1/12 of a step squared.
    assert abs(error[sounding].mean()) < 0.01
    assert error[sounding].var() == pytest.approx(0.25, rel=0.03)
    assert not samples[~sounding].any()


def test_dither_keeps_a_tone_below_the_last_bit(tmp_path):
    chosen = preset("classic", format="pcm16")
    # 0.1 (9 / 80)² is 41 steps: at 28 dB less a peak of 1.6, at 47 dB less of 0.18.
    events: list[Event] = [On(0, 0, 69, 9, 69.0), End(4000, 1, 1.0)]
    quiet = dataclasses.replace(chosen, sound=dataclasses.replace(chosen.sound, gain=-47.0))
    samples = soundfile.read(write(tmp_path / "a.wav", quiet, events), dtype="int16")[0]
    assert np.abs(rendered(quiet, events, 9999)).max() * 32767 < 0.5
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    tone = round(440 * len(samples) / RATE)
    assert spectrum[tone] > 20 * np.median(spectrum)
    others = np.delete(spectrum, range(tone - 3, tone + 4))
    assert others.max() < 0.5 * spectrum[tone]


@pytest.mark.parametrize("at_once", [1, 1000])
@pytest.mark.parametrize("sample_format", ["float", "pcm16"])
@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_the_same_events_give_the_same_bytes(tmp_path, ending, sample_format, at_once):
    chosen = preset(format=sample_format)
    first = write(tmp_path / f"a{ending}", chosen, piece())
    second = write(tmp_path / f"b{ending}", chosen, piece(), at_once=at_once)
    assert first.read_bytes() == second.read_bytes()


def test_blocks_of_another_size_give_the_same_bytes(tmp_path, monkeypatch):
    first = write(tmp_path / "a.wav", load("pentatonic"), piece())
    monkeypatch.setattr(mixdown, "BLOCK", 1000)
    second = write(tmp_path / "b.wav", load("pentatonic"), piece())
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        (".wav", ("WAV", "PCM_16")),
        (".flac", ("FLAC", "PCM_16")),
        (".ogg", ("OGG", "VORBIS")),
        (".mp3", ("MP3", "MPEG_LAYER_III")),
        (".WAV", ("WAV", "PCM_16")),
    ],
)
def test_every_ending_is_read_back_with_its_length_and_its_sound(tmp_path, ending, kind):
    path = write(tmp_path / f"a{ending}", load("pentatonic"), piece())
    found = soundfile.info(path)
    assert (found.format, found.subtype) == kind
    assert (found.samplerate, found.channels, found.frames) == (RATE, 2, 5 * RATE)
    wanted = rendered(load("pentatonic"), piece(), 5 * RATE)
    samples = soundfile.read(path)[0]
    error = np.sqrt(np.mean((samples - wanted) ** 2) / np.mean(wanted**2))
    assert error < (0.001 if "PCM" in kind[1] else 0.15)


def test_another_rate(tmp_path):
    path = write(tmp_path / "a.wav", load("pentatonic"), piece(), rate=48000)
    assert soundfile.info(path).samplerate == 48000
    assert soundfile.info(path).frames == 5 * 48000


# -- how it begins and ends ------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_half_a_second_of_silence_is_before_and_after_the_music(tmp_path, ending):
    bare = soundfile.read(write(tmp_path / f"a{ending}", preset(format="float"), piece()))[0]
    silence = load("pentatonic").sound.silence
    given = preset(format="float")
    framed = soundfile.read(write(tmp_path / f"b{ending}", given, piece(), silence=silence))[0]
    edge = round(0.5 * RATE)
    assert silence == 0.5
    assert len(framed) == len(bare) + 2 * edge
    assert not framed[:edge].any()
    assert not framed[-edge:].any()
    # Sixteen bits are dithered by the index of the sample.
    assert np.abs(framed[edge:-edge] - bare).max() <= (0.0 if ending == ".wav" else 2.5 / 32768)


def test_classic_has_no_silence_around_it():
    assert load("classic").sound.silence == 0.0


def test_a_note_that_rings_at_the_end_rings_out(tmp_path):
    events: list[Event] = [On(0, 0, 60, 80, 60.0), Off(950, 0, 60), End(960, 8, 1.0)]
    path = write(tmp_path / "a.wav", preset(format="float"), events)
    release = round(load("pentatonic").sound.release / 1000 * RATE)
    samples = soundfile.read(path)[0]
    assert len(samples) == round(950 * RATE / 960) + release
    assert 0 < np.abs(samples[-20:]).max() < 1e-3


def test_without_an_end_everything_is_let_go_of_at_the_newest_event(tmp_path):
    events: list[Event] = [On(0, 0, 60, 80, 60.0), On(0, 1, 72, 80, 72.0), Off(960, 1, 72)]
    path = write(tmp_path / "a.wav", preset(format="float"), events)
    samples = soundfile.read(path)[0]
    release = round(load("pentatonic").sound.release / 1000 * RATE)
    assert len(samples) == RATE + release
    ended = [*events[:2], Off(960, 0, 60), events[2]]
    assert np.array_equal(samples, rendered(preset(format="float"), ended, len(samples)))


def test_nothing_at_all_is_a_file_of_no_samples(tmp_path):
    path = write(tmp_path / "a.wav", load("pentatonic"), [])
    assert soundfile.info(path).frames == 0


def test_closed_twice_is_closed_and_takes_no_more(tmp_path):
    sink = AudioFile(tmp_path / "a.wav", load("pentatonic"), 4)
    sink.send(piece())
    sink.close()
    before = (tmp_path / "a.wav").read_bytes()
    sink.close()
    assert (tmp_path / "a.wav").read_bytes() == before
    with pytest.raises(ValueError, match=r"a\.wav is closed"):
        sink.send(piece())


# -- what goes wrong -----------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg", ".mp3"])
def test_there_is_no_file_before_it_is_whole_and_none_after_an_abort(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    sink = AudioFile(path, load("pentatonic"), 4)
    sink.send(piece(200))
    assert not path.exists()
    assert all(part.name.startswith(".") for part in tmp_path.iterdir())
    sink.abort()
    assert list(tmp_path.iterdir()) == []
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_an_abort_leaves_the_file_that_was_there(tmp_path):
    path = write(tmp_path / "a.wav", load("pentatonic"), piece())
    before = path.read_bytes()
    sink = AudioFile(path, load("pentatonic"), 4)
    sink.send(piece(200))
    assert path.read_bytes() == before
    sink.abort()
    assert path.read_bytes() == before
    assert [part.name for part in tmp_path.iterdir()] == ["a.wav"]


def test_a_failure_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", load("pentatonic"), piece())
    before = path.read_bytes()
    monkeypatch.setattr(recording, "MOST_WAV", 100_000)
    with pytest.raises(OSError, match="a WAV holds at most"):
        write(path, load("pentatonic"), piece())
    assert path.read_bytes() == before
    assert [part.name for part in tmp_path.iterdir()] == ["a.wav"]


def test_a_file_made_anew_has_the_rights_that_new_files_have(tmp_path):
    path = write(tmp_path / "a.wav", load("pentatonic"), piece(1))
    (tmp_path / "b").touch()
    assert path.stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("name", ["a.aiff", "a", "a.wav.txt", "wav"])
def test_the_error_for_an_unknown_ending_lists_the_known_ones(tmp_path, name):
    with pytest.raises(GradmidiError, match=r"allowed: \.wav \.flac \.ogg \.mp3"):
        AudioFile(tmp_path / name, load("pentatonic"), 4)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_and_one_in_the_way_are_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        AudioFile(tmp_path / "no" / "a.wav", load("pentatonic"), 4)
    assert caught.value.filename == str(tmp_path / "no" / "a.wav")
    (tmp_path / "b.wav").mkdir()
    with pytest.raises(IsADirectoryError):
        AudioFile(tmp_path / "b.wav", load("pentatonic"), 4)
    assert [entry.name for entry in tmp_path.iterdir()] == ["b.wav"]


def test_a_rate_that_an_encoding_does_not_support_is_an_error(tmp_path):
    with pytest.raises(
        GradmidiError, match=r"a\.mp3: no \.mp3 can be written at 96000 samples per second"
    ):
        AudioFile(tmp_path / "a.mp3", load("pentatonic"), 4, rate=96000)
    assert list(tmp_path.iterdir()) == []


def test_the_error_for_too_much_sound_for_a_wav_names_another_format(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MOST_WAV", 100_000)
    with pytest.raises(
        OSError, match=r"a WAV holds at most 100000 bytes; write a \.flac"
    ) as caught:
        write(tmp_path / "a.wav", load("pentatonic"), piece())
    assert caught.value.filename == str(tmp_path / "a.wav")
    assert list(tmp_path.iterdir()) == []
    assert (
        soundfile.info(write(tmp_path / "a.flac", load("pentatonic"), piece())).frames == 5 * RATE
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize(
    "short", [1, *(pytest.param(each, marks=pytest.mark.slow) for each in (100, 1000))]
)
@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, ending, short):
    # The last bytes are written at the close, by coders that keep their warnings to themselves.
    whole = write(tmp_path / f"b{ending}", load("pentatonic"), piece(100))
    room = whole.stat().st_size - short
    whole.unlink()
    script = f"""
        import pickle, resource, sys
        from gradmidi.music.preset import load
        from gradmidi.sound.mixdown import AudioFile

        events = pickle.load(sys.stdin.buffer)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
        sink = AudioFile({str(tmp_path / ("a" + ending))!r}, load("pentatonic"), 4)
        try:
            sink.send(events)
            sink.close()
        except OSError as error:
            print(error.filename, error.strerror, flush=True)
        else:
            print("no error")
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        input=pickle.dumps(piece(100)),
        capture_output=True,
        timeout=60,
        check=True,
        env=_ENVIRONMENT,
    )
    told = found.stdout.decode()
    assert told.strip() == f"{tmp_path / ('a' + ending)} File too large"
    assert found.stderr == b""
    assert list(tmp_path.iterdir()) == []


# -- memory --------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_is_flat_in_the_length_of_the_piece(tmp_path):
    script = f"""
        import random, sys, tracemalloc
        from gradmidi.music.events import End, Off, On
        from gradmidi.music.preset import load
        from gradmidi.sound.mixdown import AudioFile

        rng, slots = random.Random(0), int(sys.argv[1]) * 8
        sink = AudioFile({str(tmp_path / "a.wav")!r}, load("pentatonic"), 15)
        tracemalloc.start()
        for slot in range(slots):
            # Pitches that never come again fill the synth's tables to the last.
            keys = [rng.uniform(40, 100) for _ in range(15)]
            tick = 120 * slot
            sink.send([On(tick, voice, 60, 80, key) for voice, key in enumerate(keys)])
            sink.send([Off(tick + 108, voice, 60) for voice in range(15)])
        sink.send([End(120 * slots, slots, 1.0)])
        sink.close()
        print(tracemalloc.get_traced_memory()[1])
    """

    def peak(seconds: int) -> int:
        found = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), str(seconds)],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env=_ENVIRONMENT,
        )
        return int(found.stdout)

    assert peak(60) < 1.1 * peak(6)
