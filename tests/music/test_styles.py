"""Styles: each is read back as it was played, and one from outside the package works throughout."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mido
import numpy as np
import pytest
from logs import write_log

from gradmidi._render import render
from gradmidi.errors import GradmidiError, PresetError
from gradmidi.music.pitch import tone
from gradmidi.music.preset import Preset, load, names
from gradmidi.music.styles import (
    STYLES,
    Chord,
    Heard,
    HeardNote,
    Part,
    Stroke,
    Style,
    Time,
    register,
)
from gradmidi.text.decode import decode


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the styles that a test registers."""
    monkeypatch.setattr(STYLES, "_registered", dict(STYLES._registered))


@pytest.fixture
def bounce(registry: None) -> type[Style]:
    """A style defined here: each voice strikes its note, and half a slot later the octave."""

    @register
    class Bounce(Style):
        name = "bounce"
        about = "a note, then its octave"

        def slot_ticks(self, time: Time, voices: int) -> int:
            return 96 * voices

        def offset(self, time: Time, voice: int, voices: int) -> int:
            return 12 * voice

        def spacing(self, slot_ticks: int) -> int:
            return slot_ticks // 2

        def reach(self, notes, home):
            return notes[2:-2], home - 2

        def keys(self, homes, drums):
            return tuple(homes)

        def play(self, part: Part, tone) -> tuple[Stroke, ...]:
            return (
                Stroke(part.offset, 10, tone.note),
                Stroke(part.offset + self.spacing(part.slot_ticks), 10, tone.note + 12),
            )

        def read(self, heard: Heard, notes, home) -> HeardNote | None:
            return heard.struck[0] if heard.struck else None

    return Bounce


PRESET = """\
title = "Octaves"
[time]
style = "bounce"
[pitch]
range = ["C1", "C8"]
"""


def test_a_style_from_outside_is_rendered_from_a_preset_file_and_read_back(
    bounce: type[Style], tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(PRESET)
    norms = np.exp(np.random.default_rng(0).uniform(-3.0, 3.0, (40, 4)))
    norms[0] = 1.0
    run = write_log(tmp_path / "run", norms.tolist())
    render(
        run, tmp_path / "a.mid", tmp_path / "a.wav", preset=tmp_path / "mine.toml", length="full"
    )

    found = decode(tmp_path / "a.mid")
    values = np.array([[value.norm for value in row] for row in found.rows])
    assert np.abs(values / norms - 1.0).max() < 0.01

    tick, struck = 0, []
    for message in mido.MidiFile(tmp_path / "a.mid").tracks[2]:
        tick += message.time
        if message.type == "note_on" and message.velocity:
            struck.append((tick, message.note))
    first = struck[0][1]
    assert struck[:2] == [(12, first), (12 + 192, first + 12)]
    assert struck[2][0] == 384 + 12


def test_a_voice_at_fault_is_reported_from_the_notes_of_a_style_from_outside(
    bounce: type[Style], tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(PRESET)
    norms = np.ones((60, 4))
    norms[30, 1] = 100.0
    run = write_log(tmp_path / "run", norms.tolist())
    render(run, tmp_path / "a.mid", preset=tmp_path / "mine.toml", length="full")
    values = np.array([[value.norm for value in row] for row in decode(tmp_path / "a.mid").rows])
    assert np.abs(values / norms - 1.0).max() < 0.01


def test_an_unknown_style_is_refused_with_the_styles_there_are(
    bounce: type[Style], tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(PRESET.replace("bounce", "no-such-style"))
    allowed = (
        r"style = 'no-such-style'; allowed is one of: chord, arpeggio, hold, drums, (\w+, )*bounce"
    )
    with pytest.raises(PresetError, match=r"mine\.toml: \[time\] " + allowed):
        load(tmp_path / "mine.toml")
    with pytest.raises(PresetError, match=r"preset mine: time\." + allowed):
        Preset("mine", "t", time=Time(style="no-such-style"))


def test_a_file_of_a_style_that_is_not_here_is_refused(
    bounce: type[Style], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(PRESET)
    run = write_log(tmp_path / "run", [[1.0] * 4])
    render(run, tmp_path / "a.mid", preset=tmp_path / "mine.toml")
    del STYLES._registered["bounce"]
    with pytest.raises(GradmidiError, match="style 'bounce', which is not installed here; there"):
        decode(tmp_path / "a.mid")


def test_a_name_that_another_style_has_is_refused(registry: None) -> None:
    class Other(Chord):
        """Another class of the same name."""

    with pytest.raises(PresetError, match=r"'chord' is registered already, by .*styles\.Chord"):
        register(Other)
    register(Chord)


PACKAGE = """
from gradmidi.music.styles import Stroke, Style

class Late(Style):
    name = "late"
    about = "together, late in the slot"

    def offset(self, time, voice, voices):
        return self.slot_ticks(time, voices) // 2 + voice

    def play(self, part, tone):
        return (Stroke(part.offset, 40, tone.note),)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a process in which a package with a style is installed."""
    site = tmp_path / "site"
    info = site / "late_style-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "late_style.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late-style\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gradmidi.styles]\nlate = late_style:Late\n")
    path = os.pathsep.join([str(site), str(Path(__file__).parents[2])])
    return {**os.environ, "PYTHONPATH": path}


@pytest.mark.slow
def test_the_style_of_an_installed_package_is_found_by_the_command(
    installed: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text('title = "Late"\n[time]\nstyle = "late"\n')
    write_log(tmp_path / "run", [[1.0, 2.0, 4.0, 8.0]] * 10)

    def gradmidi(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gradmidi", *words],
            cwd=tmp_path,
            env=installed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    gradmidi("render", "run", "-o", "a.mid", "--preset", "mine.toml")
    starts = []
    for track in mido.MidiFile(tmp_path / "a.mid").tracks[1:5]:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity:
                starts.append(tick)
                break
    assert starts == [60, 61, 62, 63]
    lines = gradmidi("decode", "a.mid").splitlines()
    assert '"norms": [1.0' in lines[1]
    assert len(lines) == 11


@pytest.mark.parametrize("name", names())
def test_every_tone_of_every_voice_is_read_back_as_it_was_played(name: str) -> None:
    preset = load(name)
    for part in preset.parts(8):
        for step in range(-part.home, len(part.notes) - part.home):
            played = tone(preset.pitch, part.notes, part.home, float(step))
            strokes = preset.style.play(part, played)
            assert all(0 <= stroke.start < part.slot_ticks for stroke in strokes)
            spacing = preset.style.spacing(part.slot_ticks)
            assert {stroke.start % spacing for stroke in strokes} == {part.offset}
            struck = tuple(HeardNote(stroke.note, 64, 0.0) for stroke in strokes)
            heard = Heard(struck, struck[-1] if strokes[-1].length is None else None)
            found = preset.style.read(heard, part.notes, part.home)
            assert found is not None
            assert found.note == played.note


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
def test_a_slot_without_notes_is_read_as_a_rest(style: Style) -> None:
    assert style.read(Heard((), None), (48, 50, 52), 1) is None


def test_drums_with_little_room_below_home_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'title = "t"\n[time]\nstyle = "drums"\n[pitch]\nstep = 4\nrange = ["C2", "C7"]\n'
        '[voices]\nhome = ["C3", "C6"]\nvoicing = "even"\n'
    )
    preset = load(tmp_path / "mine.toml")
    assert preset.parts(1)[0].home >= 4
    assert load(tmp_path / "mine.toml").parts(4)[0].home == 5
    norms = [[1.0] * 4, [1 / 16] * 4, [1 / 64] * 4, [16.0] * 4]
    run = write_log(tmp_path / "run", norms)
    render(run, tmp_path / "a.mid", preset=preset, length="full")
    values = [[value.norm for value in row] for row in decode(tmp_path / "a.mid").rows]
    assert np.abs(np.array(values) / np.array(norms) - 1.0).max() < 0.01
