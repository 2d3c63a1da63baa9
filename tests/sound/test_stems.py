"""Stems: the piece in parts, of one length, that sum to the mix before the limiter."""

import math
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from logs import write_log
from typer.testing import CliRunner

from gradmidi._render import render
from gradmidi.cli.app import app
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.music.preset import load, names
from gradmidi.music.voices import Voice
from gradmidi.sound import mixdown as room
from gradmidi.sound.mixdown import Stems


def rows(steps=48):
    rng = np.random.default_rng(5)
    values = np.exp(rng.normal(0, 0.6, (steps, 4)))
    values[30:, 2] = math.nan  # A fault, with its sounds.
    return values.tolist()


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "drums" else name for name in names()],
)
def test_they_sum_to_the_mix_before_the_limiter(tmp_path, name):
    preset = load(name)
    loud = replace(preset, sound=replace(preset.sound, gain=12.0))
    run = write_log(tmp_path / "run", rows())
    dry = replace(loud, sound=replace(loud.sound, limiter=False, format="float"))
    render(run, tmp_path / "mix.wav", preset=dry)
    paths = render(run, stems=tmp_path / "stems", preset=loud)
    mix, rate = soundfile.read(tmp_path / "mix.wav", dtype="float32", always_2d=True)
    parts = [soundfile.read(path, dtype="float32", always_2d=True) for path in paths]
    assert [path.name for path in paths] == [
        "01-conv1.wav",
        "02-conv2.wav",
        "03-fc1.wav",
        "04-fc2.wav",
        "faults.wav",
    ]
    assert {r for _, r in parts} == {rate}
    assert {part.shape for part, _ in parts} == {mix.shape}
    assert np.abs(mix).max() > 0.3
    assert np.abs(sum(part for part, _ in parts) - mix).max() < 1e-5
    assert all(np.abs(part).max() > 0.0 for part, _ in parts[:4])
    assert (np.abs(parts[4][0]).max() > 0.0) == preset.faults.sound


@pytest.mark.parametrize(
    ("values", "sounding"),
    [
        ([[1.0, 2.0, 3.0, 4.0]], [True] * 5),
        ([[math.nan] * 4] * 16, [True] * 5),  # Each says that it is at fault.
        ([[None, 1.0, 1.0, 1.0]] * 16, [False] + [True] * 4),
    ],
)
def test_of_little_there_are_as_many(tmp_path, values, sounding):
    run = write_log(tmp_path / "run", values)
    mix, *paths = render(run, tmp_path / "mix.wav", stems=tmp_path / "stems")
    length = len(soundfile.read(mix)[0])
    parts = [soundfile.read(path)[0] for path in paths]
    assert [len(part) for part in parts] == [length] * 5
    assert [bool(np.abs(part).max() > 0.0) for part in parts] == sounding


def test_a_run_without_a_step_has_no_stems(tmp_path):
    run = write_log(tmp_path / "run", [])
    with pytest.raises(RunLogError, match="holds no steps"):
        render(run, stems=tmp_path / "stems")
    assert not (tmp_path / "stems").exists()


def test_blocks_do_not_show(tmp_path, monkeypatch):
    run = write_log(tmp_path / "run", rows(16))
    one = render(run, stems=tmp_path / "one")
    monkeypatch.setattr(room, "BLOCK", 1000)
    other = render(run, stems=tmp_path / "other")
    for a, b in zip(one, other, strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_names_of_files_are_plain(tmp_path):
    voices = [Voice(0, "a/b\\..", (0,)), Voice(1, "é" * 300, (1,)), Voice(2, "层", (2,))]
    sink = Stems(tmp_path / "deep" / "er", load("pentatonic"), voices)
    sink.close()
    assert [path.name for path in sink.paths] == [
        "01-a-b.wav",
        f"02-{'e' * 60}.wav",
        "03-voice.wav",
        "faults.wav",
    ]
    assert all(path.is_file() for path in sink.paths)


def test_nothing_is_left_where_one_fails(tmp_path):
    (tmp_path / "stems" / "03-fc1.wav").mkdir(parents=True)
    run = write_log(tmp_path / "run", rows(8))
    with pytest.raises(GradmidiError, match=r"03-fc1\.wav could not be written"):
        render(run, stems=tmp_path / "stems")
    assert [path.name for path in (tmp_path / "stems").iterdir()] == ["03-fc1.wav"]
    with pytest.raises(GradmidiError):
        render(run, tmp_path / "no" / "run.wav", stems=tmp_path / "new" / "stems")
    assert not (tmp_path / "new").exists()


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "stems").write_text("")
    run = write_log(tmp_path / "run", rows(8))
    with pytest.raises(GradmidiError, match="is a file; stems need a folder"):
        render(run, stems=tmp_path / "stems")


def test_command(tmp_path):
    run = write_log(tmp_path / "run", rows(8))
    result = CliRunner().invoke(app, ["render", str(run), "--stems", str(tmp_path / "s")])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == str(tmp_path / "s" / "faults.wav")
    result = CliRunner().invoke(app, ["render", str(run)])
    assert result.exit_code == 2
    assert "-o FILE or --stems DIR" in result.output


def _steps_heard(tones, rate, preset):
    """The step of the scale whose fundamental and two partials hold the most of each tone."""
    at = np.arange(tones.shape[1]) / rate
    held = []
    for note in preset.notes:
        partials = 2.0 * math.pi * 440.0 * 2.0 ** ((note - 69) / 12) * np.arange(1, 4)
        waves = np.exp(1j * np.outer(at, partials))
        basis, _ = np.linalg.qr(np.concatenate([waves.real, waves.imag], axis=1))
        held.append(np.square(tones @ basis).sum(axis=1))
    return np.argmax(held, axis=0)


@pytest.mark.slow
def test_the_pitch_of_a_stem_gives_each_norm_to_the_step_of_the_scale(tmp_path):
    preset = load("pentatonic")
    # A voice that says its name is heard too: here each note is to be a norm's.
    preset = replace(preset, faults=replace(preset.faults, sound=False))
    values = np.exp(np.random.default_rng(6).normal(0.0, 1.2, (40, 4)))
    paths = render(write_log(tmp_path / "run", values.tolist()), stems=tmp_path, preset=preset)
    slot = preset.time.slot_ticks(4) * preset.time.tick_seconds
    stagger = min(preset.time.stagger / 1000.0, slot / 8.0)
    homes = [preset.notes.index(home) for home in preset.home_notes(4)]
    meant = np.round(np.log(values / values[0]) / math.log(preset.pitch.step))
    for voice, path in enumerate(paths[:4]):
        samples, rate = soundfile.read(path, always_2d=True)
        begins = preset.sound.silence + np.arange(40) * slot + voice * stagger + 0.01
        tones = np.stack(
            [samples[round(t * rate) :, :].sum(axis=1)[: round(0.6 * slot * rate)] for t in begins]
        )
        heard = _steps_heard(tones, rate, preset) - homes[voice]
        assert heard.tolist() == meant[:, voice].tolist(), path.name
