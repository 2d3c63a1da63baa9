"""A film of a run: size, length, what is revealed when, and what is said without ffmpeg."""

import json
import math
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from logs import write_log

from gradmidi._render import render
from gradmidi.errors import GradmidiError, RunLogError

pytest.importorskip("matplotlib")

WIDTH, HEIGHT = 1920, 1080


def rows(steps):
    rng = np.random.default_rng(2)
    return np.exp(rng.normal(0, 0.5, (steps, 4))).tolist()


def needs_ffmpeg():
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        pytest.skip("no ffmpeg")


def streams_of(film: Path):
    command = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", film]
    probed = subprocess.run(command, check=True, capture_output=True, text=True)
    return {each["codec_type"]: each for each in json.loads(probed.stdout)["streams"]}


def picture(film: Path, second: float, size=(WIDTH, HEIGHT)):
    """One picture of it, its grey levels."""
    command = ["ffmpeg", "-v", "error", "-ss", str(second), "-i", str(film), "-frames:v", "1"]
    command += ["-f", "rawvideo", "-pix_fmt", "gray", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(size[1], size[0]).astype(float)


@pytest.mark.slow
def test_a_film_of_a_run(tmp_path):
    needs_ffmpeg()
    names = ("$\\frac$", "x" * 300, "<script>", "fc2")
    run = write_log(tmp_path / "run", rows(24), names=names)
    render(run, tmp_path / "run.mp4", tmp_path / "run.wav")
    streams = streams_of(tmp_path / "run.mp4")
    assert (streams["video"]["width"], streams["video"]["height"]) == (WIDTH, HEIGHT)
    assert streams["video"]["codec_name"] == "h264"
    assert streams["video"]["pix_fmt"] == "yuv420p"
    meant = soundfile.info(tmp_path / "run.wav").duration
    for stream in streams.values():
        assert float(stream["duration"]) == pytest.approx(meant, abs=0.1)
    sound = tmp_path / "film.wav"
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "run.mp4", sound], check=True)
    heard, rate = soundfile.read(sound)
    given, _ = soundfile.read(tmp_path / "run.wav")
    assert rate == 44100
    size = min(len(heard), len(given))
    assert np.corrcoef(heard[:size, 0], given[:size, 0])[0, 1] > 0.95
    # The map is dark where it is revealed, and the ground is white where it is not.
    middle = slice(int(0.6 * HEIGHT), int(0.7 * HEIGHT))
    ends = []
    for second in (0.5, 1.5, 2.5):
        darker = picture(tmp_path / "run.mp4", second)[middle, 200 : WIDTH - 60].mean(axis=0) < 245
        ends.append(int(np.flatnonzero(darker)[-1]))
    assert ends[1] - ends[0] == pytest.approx(ends[2] - ends[1], abs=8)
    assert ends[1] - ends[0] > 300
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "film.wav", "run", "run.mp4", "run.wav",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_square_film_counts_the_steps_and_names_the_fault(tmp_path):
    needs_ffmpeg()
    values = np.array(rows(24))
    values[12:, 2] = math.nan
    run = write_log(tmp_path / "run", values.tolist())
    render(run, tmp_path / "run.mp4", size="6x6", dpi=100, theme="dark")
    video = streams_of(tmp_path / "run.mp4")["video"]
    assert (video["width"], video["height"]) == (600, 600)
    corner = []
    # The music begins after half a second, in the film as in its sound.
    before = picture(tmp_path / "run.mp4", 0.4, (600, 600))[:60, 300:]
    assert not (before > 90).any()
    for second in (0.55, 1.8, 3.0):
        shown = picture(tmp_path / "run.mp4", second, (600, 600))[:60, 300:]
        corner.append((shown > 90).sum(axis=1))
    # The first row counts the steps; the second one names the fault once it has begun.
    assert all(rows[8:28].sum() > 100 for rows in corner)
    assert corner[0][32:56].sum() == 0
    assert corner[1][32:56].sum() == 0
    assert corner[2][32:56].sum() > 100


@pytest.mark.parametrize("values", [[[1.0, 2.0, 3.0, 4.0]], [[math.nan] * 4] * 8])
@pytest.mark.slow
def test_a_film_of_little_is_as_long_as_its_sound(tmp_path, values):
    needs_ffmpeg()
    run = write_log(tmp_path / "run", values)
    render(run, tmp_path / "run.mp4", tmp_path / "run.wav")
    meant = soundfile.info(tmp_path / "run.wav").duration
    streams = streams_of(tmp_path / "run.mp4")
    for kind in ("video", "audio"):
        assert float(streams[kind]["duration"]) == pytest.approx(meant, abs=0.1)


def test_a_run_without_a_step_makes_no_film(tmp_path):
    run = write_log(tmp_path / "run", [])
    with pytest.raises(RunLogError, match="holds no steps"):
        render(run, tmp_path / "run.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_ffmpeg_one_line_names_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    run = write_log(tmp_path / "run", rows(4))
    with pytest.raises(GradmidiError, match=r"^run\.mp4 needs .* ffmpeg, .*gradmidi\[film\]"):
        render(run, tmp_path / "run.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_package_imageio_ffmpeg_has_the_program_too(tmp_path, monkeypatch):
    needs_ffmpeg()
    package, program = types.ModuleType("imageio_ffmpeg"), shutil.which("ffmpeg")
    package.get_ffmpeg_exe = lambda: program
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", package)
    monkeypatch.setenv("PATH", str(tmp_path))
    run = write_log(tmp_path / "run", rows(4))
    (path,) = render(run, tmp_path / "run.mp4", size="2x2", dpi=30)
    assert path.read_bytes()[4:8] == b"ftyp"


def test_an_error_of_ffmpeg_is_raised_and_nothing_is_left(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    broken = programs / "ffmpeg"
    broken.write_text("#!/bin/sh\necho 'first' >&2\necho 'Unknown encoder libx264' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    run = write_log(tmp_path / "run", rows(4))
    with pytest.raises(GradmidiError, match=r"written by ffmpeg: Unknown encoder libx264$"):
        render(run, tmp_path / "run.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "run"]
