"""The registry of file sinks: those built in, one registered, and one of an installed package."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from logs import write_log

from gradmidi._render import render
from gradmidi.base.files import WholeFile
from gradmidi.errors import GradmidiError, PresetError
from gradmidi.music.events import On
from gradmidi.music.preset import load
from gradmidi.music.timing import STYLES
from gradmidi.options import Options
from gradmidi.sinks.registry import BUILT_IN, FILES, register


class NoteTable:
    """A file sink as somebody outside the package writes it: a row for each note."""

    def __init__(self, path, score, log):
        self.path = path
        self.rows = [f"tick,voice,note of {log.name}"]

    def send(self, events):
        self.rows += [f"{e.tick},{e.voice},{e.note}" for e in events if isinstance(e, On)]

    def close(self):
        with WholeFile(self.path) as new:
            new.file.write("\n".join(self.rows).encode())

    def abort(self):
        pass


@pytest.fixture
def run(tmp_path):
    return write_log(tmp_path / "a", [[1.0, 2.0, 0.5, 0.3]] * 4)


@pytest.fixture
def registry(monkeypatch):
    """Forget at the end what a test registers."""
    monkeypatch.setattr(FILES, "_makers", dict(BUILT_IN))


def test_every_ending_built_in_names_something_that_makes_a_sink():
    assert " ".join(BUILT_IN) == ".mid .wav .flac .ogg .mp3 .png .svg .pdf .html .mp4 .txt"
    for ending in BUILT_IN:
        assert callable(FILES[ending])


@pytest.mark.usefixtures("registry")
def test_a_sink_from_outside_the_package_is_rendered_to(run, tmp_path):
    with pytest.raises(GradmidiError, match=r"nothing writes '\.csv'; .*may end in: \.mid \.wav"):
        render(run, tmp_path / "a.csv")
    register(".csv", NoteTable)
    register(".csv", NoteTable)
    assert render(run, tmp_path / "a.csv", tmp_path / "a.mid") == (
        tmp_path / "a.csv",
        tmp_path / "a.mid",
    )
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert rows[0] == "tick,voice,note of a"
    assert {row.split(",")[1] for row in rows[1:]} >= {"0", "1", "2", "3"}
    assert Options(files=("csv", "mid")).endings == (".csv", ".mid")
    with pytest.raises(GradmidiError, match=r"may end in: .* \.txt .*\.csv$"):
        render(run, tmp_path / "a.xyz")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("csv", "ending 'csv'; write it with its dot, in lower case: '.csv'"),
        (".CSV", "ending '.CSV'; write it with its dot"),
        (".wav", "files that end in .wav have a sink already"),
    ],
)
def test_an_ending_that_cannot_be_registered_is_refused(ending, message):
    with pytest.raises(GradmidiError, match=message):
        register(ending, NoteTable)
    assert tuple(FILES) == tuple(BUILT_IN)


def test_a_package_that_cannot_be_imported_is_named_in_one_line(run, tmp_path, monkeypatch):
    info = tmp_path / "site" / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gradmidi.files]\nabc = no_such_module:Table\n[gradmidi.styles]\nabc = no_such_module:S\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    for registry, name in ((FILES, "_makers"), (STYLES, "_registered")):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    told = (
        "^'abc' of the installed package broken cannot be imported: ModuleNotFoundError: "
        "No module named 'no_such_module'; update or uninstall broken$"
    )
    with pytest.raises(GradmidiError, match=told):
        render(run, tmp_path / "a.abc")
    assert not (tmp_path / "a.abc").exists()
    with pytest.raises(PresetError, match=told):
        load("pentatonic", {"time.style": "abc"})


def test_a_sink_of_an_installed_package_is_found_by_the_command_line(run, tmp_path):
    site = tmp_path / "site"
    info = site / "tables-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tables\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gradmidi.files]\ncsv = tables:Table\n")
    (site / "tables.py").write_text(
        textwrap.dedent("""
        class Table:
            def __init__(self, path, score, log):
                self.path, self.events = path, 0
            def send(self, events):
                self.events += len(events)
            def close(self):
                self.path.write_text(f"{self.events > 0}")
            def abort(self):
                pass
        """)
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "gradmidi", "render", str(run), "-o", str(tmp_path / "a.csv")],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{site}"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.csv").read_text() == "True"
