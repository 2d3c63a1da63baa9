"""Sizes of updates in a log: read, described, rendered, and told apart from values."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from listening import Receiver
from typer.testing import CliRunner

import gradmidi
from gradmidi.cli.app import app
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.log import ABSENT, FILE_NAME, End, Frame, Header, Layer, Values, encode
from gradmidi.music.events import On
from gradmidi.music.score import score_of
from gradmidi.report.heatmap import heat_map

LAYERS = (Layer("a", 10), Layer("b", 20))
SCHEMA = Path(gradmidi.__file__).parents[1] / "docs" / "run-log.schema.json"


def frame(step: int, updates: list[float] | None = None) -> Frame:
    row = None if updates is None else np.array(updates)
    return Frame(step, 0.1 * step, np.array([0.5, 0.25]), {"loss": 2.0}, row)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Ten steps; the sizes of two updates on their frames' lines, and of one on a later line."""
    records = [
        Header(LAYERS),
        frame(1, [1e-3, ABSENT]),
        *(frame(step) for step in range(2, 5)),
        frame(5, [2e-3, 1e-3]),
        frame(6),
        Values(6, {}, updates=np.array([4e-3, 1e-3])),
        *(frame(step) for step in range(7, 11)),
        End("closed", 1.1, 10),
    ]
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / FILE_NAME).write_bytes(b"".join(map(encode, records)))
    return folder


def test_they_are_read_as_they_were_written(run: Path) -> None:
    lines = (run / FILE_NAME).read_text().splitlines()
    assert '"updates": [0.001, null], "loss": 2' in lines[1]
    assert lines[7] == '{"step": 6, "updates": [0.004, 0.001]}'
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for line in lines:
        validator.validate(json.loads(line))
    found = {each.step: each.updates for each in gradmidi.read(run).frames()}
    assert [step for step, row in found.items() if row is not None] == [1, 5, 6]
    assert found[1].tolist() == [0.001, ABSENT]
    assert found[6].tolist() == [0.004, 0.001]


def test_a_logged_value_of_the_same_name_stays_a_value(tmp_path: Path) -> None:
    with gradmidi.record(tmp_path / "a", layers=["a"], files=()) as ears:
        ears.frame([0.5])
        ears.log(updates=7)
    (only,) = gradmidi.read(tmp_path / "a").frames()
    assert only.extra == {"updates": 7}
    assert only.updates is None


def test_a_row_of_another_length_is_left_out(run: Path) -> None:
    with (run / FILE_NAME).open("ab") as file:
        file.write(b'{"step": 10, "updates": [0.1]}\n{"step": 10, "updates": ["x", 1]}\n')
    *_, last = gradmidi.read(run).frames()
    assert last.step == 10
    assert last.updates is None


def test_describe_gives_the_median_and_the_largest(run: Path) -> None:
    lines = list(gradmidi.describe(run))
    assert "a: update, as a share of the weights: median 0.002, largest 0.004" in lines
    assert "b: update, as a share of the weights: median 0.001, largest 0.001" in lines
    layer = json.loads(gradmidi.read(run).to_json())["layers"][0]
    assert (layer["update"], layer["largest_update"]) == (0.002, 0.004)


def test_home_is_a_thousandth_and_a_doubling_is_one_note(run: Path) -> None:
    log = gradmidi.read(run)
    score = score_of(log, gradmidi.music.preset.load("pentatonic"), of="updates")
    events = [event for item in log.items() for event in score.feed(item)] + score.finish()
    notes = [event.note for event in events if isinstance(event, On) and event.voice == 0]
    first, second, third = notes[:3]
    homes = [event.note for event in events if isinstance(event, On) and event.voice == 1]
    assert first < second < third, "0.001, 0.002 and 0.004"
    assert len(set(homes)) == 1, "0.001 each time"
    gradients = score_of(log, score.preset)
    of_norms = [event for item in log.items() for event in gradients.feed(item)]
    assert len([e for e in of_norms if isinstance(e, On) and e.voice == 0]) > len(notes)


def test_render_plays_them(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["render", str(run), "-o", str(tmp_path / "a.mid"), "--of", "updates"]
    )
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["decode", str(tmp_path / "a.mid")])
    norms = [json.loads(line)["norms"] for line in done.stdout.splitlines() if '"norms"' in line]
    assert norms[0][0] == pytest.approx(1e-3, rel=0.02)
    assert norms[2][0] == pytest.approx(4e-3, rel=0.02)


@pytest.mark.slow
def test_play_plays_them(run: Path) -> None:
    with Receiver() as receiver:
        words = [str(run), "--osc", receiver.target, "--of", "updates", "--time", "step"]
        done = subprocess.run(
            [sys.executable, "-m", "gradmidi", "play", *words, "--from", "start"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        notes = receiver.of("/gradmidi/note")
    played = [norm for voice, _, _, velocity, norm in notes if voice == 0 and velocity]
    assert played == pytest.approx([1e-3, 2e-3, 4e-3])


def test_picture_and_page_show_them_in_a_strip_of_their_own(run: Path, tmp_path: Path) -> None:
    heat = heat_map(gradmidi.read(run), ())
    strip = next(strip for strip in heat.strips if strip.name == "size of updates")
    measured = np.isfinite(strip.high)
    assert (np.flatnonzero(measured) + heat.first).tolist() == [1, 5, 6]
    assert strip.high[measured].tolist() == [1e-3, 2e-3, 4e-3]
    assert strip.low[measured].tolist() == [1e-3, 1e-3, 1e-3]
    gradmidi.render(run, tmp_path / "a.html")
    assert "size of updates: smallest 0.001, largest 0.004" in (tmp_path / "a.html").read_text()


def test_what_was_not_measured_cannot_be_rendered(tmp_path: Path) -> None:
    with gradmidi.record(tmp_path / "a", layers=["a"], files=()) as ears:
        ears.frame([0.5])
    with pytest.raises(RunLogError, match=r"holds no sizes of updates; listen\(…, updates=10\)"):
        gradmidi.render(tmp_path / "a", tmp_path / "a.mid", of="updates")
    with pytest.raises(GradmidiError, match="of='weights'; allowed is 'gradients' or 'updates'"):
        gradmidi.render(tmp_path / "a", tmp_path / "a.mid", of="weights")
    assert not (tmp_path / "a.mid").exists()


@pytest.mark.parametrize(
    "how",
    [
        "finished",
        pytest.param("piped", marks=pytest.mark.slow),
        pytest.param("another tool's", marks=pytest.mark.slow),
    ],
)
def test_what_was_not_measured_cannot_be_played(tmp_path: Path, how: str) -> None:
    with gradmidi.record(tmp_path / "a", layers=["a"], files=()) as ears:
        ears.frame([0.5])
    (tmp_path / "log.csv").write_text("step,loss\n1,2\n")
    source = {"finished": str(tmp_path / "a"), "piped": "-", "another tool's": "log.csv"}[how]
    with Receiver() as receiver, (tmp_path / "a" / "run.jsonl").open("rb") as log:
        words = [source, "--osc", receiver.target, "--of", "updates"]
        done = subprocess.run(
            [sys.executable, "-m", "gradmidi", "play", *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=log,
            cwd=tmp_path,
        )
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    name = {"finished": f"{source}/run.jsonl", "piped": "stdin"}.get(how, source)
    assert error == (
        f"gradmidi: {name} holds no sizes of updates; listen(…, updates=10) measures them"
    )
