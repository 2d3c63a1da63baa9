"""The heat map as text on a terminal: the same values, with colours and without."""

import math
import sys

import numpy as np
import pytest
from logs import write_log
from terminal import Terminal
from typer.testing import CliRunner

from gradmidi.cli import app
from gradmidi.log import RunLog
from gradmidi.report.heatmap import colours, heat_map
from gradmidi.report.terminal import LEVELS, picture

SIZES = [(80, 24), (80, 12), (40, 10), (200, 60)]


@pytest.fixture
def run(tmp_path):
    rows = np.exp2(np.random.default_rng(0).normal(0.0, 1.0, (60, 4)))
    rows[29, 1] = 1e4
    rows[30:, 2] = math.nan
    rows[20:, 3] = 0.0
    rows = [[*row] for row in rows.tolist()]
    rows[0][0] = None
    return write_log(tmp_path / "a", rows)


def cells(line):
    """Return the character, foreground and ground of each cell of a line."""
    found = [(character, "", "") for character in line.plain]
    for span in line.spans:
        front, _, ground = str(span.style).partition("on ")
        for at in range(span.start, span.end):
            found[at] = (line.plain[at], front.strip(), ground)
    return found


def colour(heat, code):
    return "#" + bytes(colours(heat.limit)[code, :3].tolist()).hex()


def test_every_cell_has_the_colour_of_the_other_pictures(run):
    heat = heat_map(RunLog(run), ())
    lines = picture(heat, "a", 100, 30, coloured=True)
    rows = {
        name: line for line in lines for name in heat.layers if line.plain.lstrip().startswith(name)
    }
    left = len("conv1 ")
    for row, name in enumerate(heat.layers):
        for step in range(60):
            character, front, ground = cells(rows[name])[left + step]
            code = int(heat.codes[row, step])
            if math.isnan(rows_of(run)[step][row]):
                assert (character, ground) == ("!", "#000000"), (name, step)
            elif rows_of(run)[step][row] < 0.0:
                assert (character, front) == ("╱", "dim")
            else:
                assert front == ground == colour(heat, code), (name, step)


def rows_of(run):
    return [frame.norms.tolist() for frame in RunLog(run).frames()]


def test_two_layers_share_a_character_if_there_are_many(tmp_path):
    names = [f"h.{block}.{part}" for block in range(20) for part in ("attn.q", "attn.k", "mlp")]
    norms = np.ones((10, 60))
    norms[5:, 31] = 16.0
    run = write_log(tmp_path / "a", norms.tolist(), names=names)
    heat = heat_map(RunLog(run), ())
    lines = picture(heat, "a", 80, 40, coloured=True)
    home, above = (colour(heat, heat.codes[31, at]) for at in (0, 9))
    assert home != above
    found = [cell for line in lines for cell in cells(line)[-5:] if above in cell]
    assert found
    assert all(cell == ("▄", above, home) for cell in found)
    # Each module is named once, with those around it.
    assert sum("h.10" in line.plain for line in lines) == 1


def test_without_colours_a_character_is_higher_the_larger_the_norm(run):
    heat = heat_map(RunLog(run), ())
    lines = picture(heat, "a", 100, 30, coloured=False)
    assert all(not str(span.style).startswith("#") for line in lines for span in line.spans)
    shown = {line.plain.split()[0]: line.plain[6:66] for line in lines if line.plain.strip()}
    assert shown["fc1"][30:] == "!" * 30
    assert shown["fc2"][20:] == "0" * 40
    assert shown["conv1"][0] == "╱"
    norms = np.array([row[1] for row in rows_of(run)])
    levels = [LEVELS.index(character) for character in shown["conv2"]]
    order = np.argsort(norms)
    assert (np.diff(np.array(levels)[order]) >= 0).all()
    assert levels[29] == 7


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("coloured", [True, False])
def test_it_fits_and_says_what_broke_when_and_where(run, size, coloured):
    heat = heat_map(RunLog(run), ())
    lines = picture(heat, "some run", *size, coloured=coloured)
    assert len(lines) <= max(size[1], 16)
    assert all(line.cell_len <= size[0] for line in lines)
    texts = [line.plain for line in lines]
    assert texts[0] == "some run"
    assert texts[1].startswith("Broke at step 21: fc2")
    if size[0] < 80:
        return
    (marks,) = [text for text in texts if "▼" in text]
    row = next(text for text in texts if text.startswith("conv1"))
    wide = (len(row) - 6) // 60
    assert marks.rindex("▼") == 6 + 30 * wide
    assert any("step 31: fc1 nan" in text for text in texts)
    assert any(text.strip().startswith("loss") and "to 2" in text for text in texts)
    axis = next(text for text in texts if text.strip().startswith("step 1"))
    assert axis.split()[-1] == "60"


def test_it_is_drawn_only_on_a_terminal(run):
    result = CliRunner().invoke(app.app, ["describe", str(run), "--picture"])
    assert result.exit_code == 0
    assert "▼" not in result.output
    assert "no picture: the output is no terminal" in result.stderr
    assert result.stdout.startswith("run a: Net, 4 layers")


def test_only_one_form_can_be_asked(run):
    result = CliRunner().invoke(app.app, ["describe", str(run), "--picture", "--now"])
    assert result.exit_code == 2
    assert "only one of --now, --json and --picture" in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_describe_draws_it_before_the_lines(run, monkeypatch):
    with Terminal("describe", run, "--picture") as terminal:
        assert terminal.end() == 0
    assert terminal.text.index("▼") < terminal.text.index("run a: Net, 4 layers")
