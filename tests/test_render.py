import json
import os
import shutil
import subprocess
import sys

import mido
import numpy as np
import pytest
import soundfile
from logs import write_log
from rights import bound
from typer.testing import CliRunner

import gradmidi
from gradmidi._render import render
from gradmidi.cli.app import app
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.sinks.registry import BUILT_IN

ROWS = [[0.5 + 0.01 * i, 1.0, 2.0 - 0.005 * i, 0.3] for i in range(40)]


@pytest.fixture
def run(tmp_path):
    return write_log(tmp_path / "a", ROWS, marks={20: "epoch 2"})


@pytest.mark.slow
def test_every_ending_gives_a_file_of_its_kind(run, tmp_path):
    starts = {
        ".mid": b"MThd",
        ".wav": b"RIFF",
        ".flac": b"fLaC",
        ".ogg": b"OggS",
        ".png": b"\x89PNG",
        ".svg": b"<?xml",
        ".pdf": b"%PDF-",
        ".txt": b"run a: Net, 4 layers, 40 steps",
    }
    # What makes films is a program of its own.
    made = [ending for ending in BUILT_IN if ending != ".mp4" or shutil.which("ffmpeg")]
    paths = [tmp_path / f"out{ending}" for ending in made]
    assert render(run, *paths) == tuple(paths)
    for path in paths:
        assert path.stat().st_size > 100
        assert path.read_bytes().startswith(starts.get(path.suffix, b""))
    assert soundfile.info(str(tmp_path / "out.mp3")).format == "MP3"
    assert {p.name for p in tmp_path.iterdir()} == {"a", *(p.name for p in paths)}


def test_the_same_run_gives_the_same_bytes(run, tmp_path):
    for ending in (".mid", ".wav", ".flac", ".svg", ".png"):
        one, two = tmp_path / f"one{ending}", tmp_path / f"two{ending}"
        render(run, one)
        render(run, two)
        assert one.read_bytes() == two.read_bytes(), ending


def test_the_midi_file_and_the_sound_are_the_same_piece(run, tmp_path):
    render(run, tmp_path / "a.mid", tmp_path / "a.wav")
    piece = mido.MidiFile(tmp_path / "a.mid")
    sound = soundfile.info(str(tmp_path / "a.wav"))
    assert sound.duration == pytest.approx(piece.length + 1.0, abs=0.06)
    names = [track.name for track in piece.tracks]
    assert names[1:] == ["conv1", "conv2", "fc1", "fc2", "faults"]
    markers = [m.text for m in piece.tracks[0] if m.type == "marker"]
    assert markers == ["epoch 2"]
    samples, _ = soundfile.read(tmp_path / "a.wav")
    assert np.isfinite(samples).all()
    assert 0.02 < np.abs(samples).max() < 1.0


def test_classic_is_the_post_s_sound_sample_for_sample(run, tmp_path):
    render(run, tmp_path / "a.wav", preset="classic")
    info = soundfile.info(str(tmp_path / "a.wav"))
    assert (info.subtype, info.samplerate, info.channels) == ("FLOAT", 44100, 1)
    samples, rate = soundfile.read(tmp_path / "a.wav", dtype="float64")
    logged = [
        json.loads(line)["norms"]
        for line in (run / "run.jsonl").read_text().splitlines()
        if '"norms"' in line
    ]
    n = np.arange(441)
    expected = np.concatenate(
        [
            part
            for norms in logged
            for part in (
                *(0.1 * np.sin(2 * np.pi * n * (200 + 100 * norm) / rate) for norm in norms),
                np.zeros(882),
            )
        ]
    )
    assert len(samples) == len(expected)
    assert np.abs(samples - expected).max() < 1e-6


def test_the_error_for_an_unknown_ending_lists_the_known_ones(run, tmp_path):
    with pytest.raises(GradmidiError, match=r"nothing writes '\.doc'; .* may end in: \.mid \.wav"):
        render(run, tmp_path / "a.doc")
    assert not (tmp_path / "a.doc").exists()


def test_a_folder_that_is_not_there_is_named_and_nothing_is_left(run, tmp_path):
    with pytest.raises(GradmidiError, match="No such file or directory"):
        render(run, tmp_path / "b.mid", tmp_path / "nowhere" / "a.wav")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_leaves_no_stump(run, tmp_path):
    """A child whose files may grow to 20 kB at most meets what a full disk gives."""
    script = (
        "import resource, signal, sys; from gradmidi.cli.app import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        f"sys.argv = ['gradmidi', 'render', {str(run)!r}, '-o', {str(tmp_path / 'a.wav')!r}];"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "could not be written" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


EACH = """
import sys
from gradmidi.errors import GradmidiError
from gradmidi._render import render

run, out, endings, limit = sys.argv[1:]
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
for ending in endings.split():
    try:
        render(run, f"{out}/a{ending}")
    except GradmidiError as error:
        print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither such rights nor such limits")
@pytest.mark.parametrize(
    ("rights", "limit", "reason"),
    [
        pytest.param(0o555, "", "Permission denied", marks=pytest.mark.slow),
        (0o755, "64", "File too large"),
    ],
    ids=["read-only", "full"],
)
def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(
    run, tmp_path, rights, limit, reason
):
    endings = [ending for ending in BUILT_IN if ending != ".mp4"]
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(rights)
    done = subprocess.run(
        [*bound(), sys.executable, "-c", EACH, run, out, " ".join(endings), limit],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for ending, line in zip(endings, lines, strict=True):
        # A page's sound is a file of its own first, elsewhere.
        assert (str(out) in line and ending in line) or (limit and ending == ".html")
        assert "could not be written" in line
        # libsndfile has words of its own for it.
        assert reason in line or ending in (".wav", ".flac", ".ogg", ".mp3")
    assert list(out.iterdir()) == []


def test_a_run_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunLogError, match=r"no run at .*nowhere"):
        render(tmp_path / "nowhere", tmp_path / "a.mid")


def test_a_run_shows_itself_in_a_notebook(run):
    shown = gradmidi.read(run)
    page = shown._repr_html_()
    assert '<audio controls preload="metadata"' in page
    assert "autoplay" not in page
    assert '<img alt="a: Healthy" src="data:image/png;base64,iVBOR' in page
    assert "conv1 (10 parameters)" in page
    assert str(shown).splitlines()[0].startswith("run a: Net, 4 layers, 40 steps")


@pytest.mark.slow
def test_a_notebook_s_player_is_of_thirty_seconds_at_most_unless_asked(tmp_path):
    import io

    run = gradmidi.read(write_log(tmp_path / "long", ROWS * 20))
    short = soundfile.info(io.BytesIO(run.audio().data))
    assert short.duration < 30.5
    longer = soundfile.info(io.BytesIO(run.audio(length="full").data))
    # With half a second of silence before the music and after it.
    assert longer.duration == pytest.approx(101.0, abs=1.0)


def test_a_run_s_norms_come_as_one_array(tmp_path):
    run = gradmidi.read(write_log(tmp_path / "b", [[1.0, None, 3.0, 4.0]] * 3))
    norms = run.norms()
    assert norms.shape == (3, 4)
    assert np.isnan(norms[:, 1]).all()
    assert norms[0, 3] == 4.0


@pytest.mark.parametrize("name", ["hold", "pentatonic", "pulse"])
def test_a_score_has_its_notes_on_the_beats_and_no_text_that_is_printed(run, tmp_path, name):
    found = {}
    for words in ([], ["--score"]):
        target = tmp_path / "a.mid"
        done = CliRunner().invoke(
            app, ["render", str(run), "-o", str(target), "--preset", name, *words]
        )
        assert done.exit_code == 0, done.output
        slot, off = (240 if name == "pulse" else 120), 0
        for track in mido.MidiFile(target).tracks[1:5]:
            tick = 0
            for message in track:
                tick += message.time
                off += message.type == "note_on" and tick % slot != 0
                assert message.type not in ("text", "lyrics")
        found[len(words)] = off
    assert found[0] > 0
    assert found[1] == 0
    assert len(gradmidi.decode(tmp_path / "a.mid").rows) == len(list(gradmidi.read(run).frames()))
