"""Sound files with a SoundFont: lengths, voices, and what may go wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from logs import write_log

import gradmidi
from gradmidi.errors import GradmidiError

FONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")

needs_font = pytest.mark.skipif(
    not FONT.exists() or shutil.which("fluidsynth") is None,
    reason="FluidSynth or its font is not installed",
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_log(tmp_path / "a", [[1.0 + (i % 3), 2.0, 0.5, 1.5] for i in range(8)])


def sound(path: Path) -> np.ndarray:
    samples: np.ndarray = soundfile.read(path, always_2d=True)[0]
    return samples


@needs_font
def test_a_file_is_as_long_as_the_built_in_synths_and_sounds_otherwise(run: Path) -> None:
    font, own = run / "font.wav", run / "own.wav"
    gradmidi.render(run, font, soundfont=FONT)
    gradmidi.render(run, own)
    played, synth = sound(font), sound(own)
    assert played.shape == synth.shape
    assert 0.02 < np.abs(played).max() <= 0.78
    # It starts with the first note, as the other does, and ends without a click.
    assert 22050 <= np.argmax(np.abs(played).max(axis=1) > 0.01) < 22050 + 4410
    assert not played[:22050].any()
    assert not played[-22050:].any()
    assert np.abs(played[-5:]).max() < 1e-3
    assert abs(np.corrcoef(played[:, 0], synth[:, 0])[0, 1]) < 0.9


@needs_font
@pytest.mark.slow
def test_stems_hold_one_voice_each_and_more_than_fifteen_voices_all_sound(tmp_path: Path) -> None:
    names = [f"layer{i}" for i in range(18)]
    settings = {"voices.most": 18}
    preset = gradmidi.music.preset.load("pentatonic", settings)
    alone = [[1.0 if i == 16 else 0.0 for i in range(18)]] * 6
    run = write_log(tmp_path / "a", alone, names=names)
    files = gradmidi.render(
        run, run / "mix.wav", soundfont=FONT, stems=run / "stems", preset=preset
    )
    assert [path.name for path in files[1:]] == [
        *(f"{i + 1:02}-layer{i}.wav" for i in range(18)),
        "faults.wav",
    ]
    loud = {path.stem: float(np.abs(sound(path)).max()) for path in files}
    assert {len(sound(path)) for path in files} == {len(sound(files[0]))}
    # Layer 16 has a channel of a second port; of the others nothing is heard.
    assert loud["17-layer16"] > 0.01
    assert loud["mix"] > 0.01
    others = [name for name in loud if name not in ("mix", "faults", "17-layer16")]
    assert max(loud[name] for name in others) == 0.0


@needs_font
@pytest.mark.slow
def test_a_font_that_is_none_is_one_line_and_leaves_no_file(run: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sf2"
    damaged.write_bytes(FONT.read_bytes()[:5000])
    text, gone = tmp_path / "a.sf2", tmp_path / "gone.sf2"
    text.write_text("not a font")
    for font, message in (
        (text, "a.sf2 is no SoundFont; give a file that ends in .sf2 or .sf3"),
        (gone, "gone.sf2 cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
        (damaged, "FluidSynth does not play .*damaged.sf2: .*; give another font"),
    ):
        with pytest.raises(GradmidiError, match=message) as caught:
            gradmidi.render(run, run / "x.wav", soundfont=font)
        assert "\n" not in str(caught.value)
    assert not list(run.glob("*.wav"))
    assert not list(run.glob(".*"))


def test_without_fluidsynth_the_error_names_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    font = tmp_path / "a.sf2"
    font.write_bytes(b"RIFF\0\0\0\0sfbk")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GradmidiError, match="needs FluidSynth, which is not installed: apt"):
        gradmidi.render(run, run / "x.wav", soundfont=font)


def test_a_font_for_no_sound_file_is_refused(run: Path) -> None:
    with pytest.raises(GradmidiError, match=r"soundfont is for files that end in \.wav"):
        gradmidi.render(run, run / "x.mid", soundfont="a.sf2")
