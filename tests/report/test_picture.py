"""Pictures of a run: the heat map as PNG, SVG and PDF, of any size."""

import math
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from logs import write_log
from typer.testing import CliRunner

from gradmidi._render import render
from gradmidi.cli import app
from gradmidi.comparison.compare import compare
from gradmidi.errors import GradmidiError
from gradmidi.log import RunLog
from gradmidi.log.blocks import Block
from gradmidi.music.preset import load
from gradmidi.music.score import score_of
from gradmidi.report import canvas
from gradmidi.report.look import NOT_FINITE, ZERO, Look, palette, rgb
from gradmidi.report.picture import Picture

SLOW_PDF = pytest.param(".pdf", marks=pytest.mark.slow)

matplotlib = pytest.importorskip("matplotlib")


def pixels(drawing):
    """Return the colour under each place of the map, by step and row."""
    drawing.figure.canvas.draw()
    image = np.asarray(drawing.figure.canvas.buffer_rgba())[..., :3] / 255.0

    def at(step, row):
        x, y = drawing.map.transData.transform((step, row + 0.5))
        return image[len(image) - 1 - int(y), int(x)]

    return at


def drawn(run, **look):
    log = RunLog(run)
    score = score_of(log, load("pentatonic"))
    picture = Picture(run / "never.png", score, log, Look(**look))
    for item in log.blocks():
        picture.read(item)
        for each in item.frames() if isinstance(item, Block) else (item,):
            score.feed(each)
    score.finish()
    return picture.draw((12.0, 7.0))


def texts(drawing):
    return [text.get_text() for text in drawing.figure.texts]


def test_every_cell_has_its_colour(tmp_path):
    rows = [[1.0, 1.0, 1.0, 1.0], [16.0, 0.0, math.nan, None], [1 / 16, 1.0, math.inf, 1.0]]
    at = pixels(drawn(write_log(tmp_path / "run", rows)))
    middle = palette(np.array(0.0))
    for step, row, colour in (
        (1, 0, middle),
        (2, 0, palette(np.array(1.0))),
        (3, 0, palette(np.array(-1.0))),
        (2, 1, rgb(ZERO)),
        (2, 2, rgb(NOT_FINITE)),
        (3, 2, rgb(NOT_FINITE)),
        (3, 3, middle),
    ):
        assert at(step, row) == pytest.approx(colour, abs=0.005), (step, row)
    hatched = {at(step, 3).round(1).max() for step in np.linspace(1.6, 2.4, 80)}
    assert max(hatched) == 1.0
    assert min(hatched) < 0.7


@pytest.mark.slow
def test_a_spike_of_one_step_is_drawn_in_a_long_run(tmp_path):
    rows = np.ones((20_000, 4))
    rows[12_345, 2] = 1e5
    at = pixels(drawn(write_log(tmp_path / "run", rows.tolist())))
    near = [at(12_346 + away, 2) for away in range(-60, 61)]
    assert any(np.allclose(colour, palette(np.array(1.0)), atol=0.01) for colour in near)
    assert not any(
        np.allclose(at(12_346, row), palette(np.array(1.0)), atol=0.01) for row in (0, 3)
    )


def test_the_picture_says_what_broke_when_and_where(tmp_path):
    rows = np.ones((60, 4))
    rows[30:, 2] = math.nan
    said = texts(drawn(write_log(tmp_path / "some run", rows.tolist())))
    assert said[0] == "some run"
    assert said[1] == "Broke at step 31: fc1 became nan"
    assert said[2] == "Net, 4 layers, 60 steps in 5.95 s, preset pentatonic"
    for text in ("fc1 nan", "conv1", "step", "time", "loss", "nan or inf", "4 s"):
        assert text in said
    assert "exactly zero" not in said
    healthy = texts(drawn(write_log(tmp_path / "fine", [[1.0] * 4] * 60)))
    assert "Healthy" in healthy


def test_a_fault_is_marked_at_its_first_step_in_its_rows(tmp_path):
    rows = np.ones((60, 4))
    rows[30:, 2] = math.nan
    at = pixels(drawn(write_log(tmp_path / "run", rows.tolist())))
    middle = palette(np.array(0.0))
    shades = {row: [at(step, row).mean() for step in np.linspace(30.2, 30.5, 30)] for row in (1, 2)}
    assert min(shades[2]) < 0.2
    assert max(shades[2]) > 0.99
    assert np.ptp(shades[1]) < 0.01
    assert np.allclose(at(30.4, 1), middle, atol=0.01)


def test_layers_are_labelled_by_modules(tmp_path):
    names = [f"blocks.{block}.{part}" for block in range(40) for part in ("attn.qkv", "attn.out")]
    rows = np.ones((5, len(names)))
    said = texts(drawn(write_log(tmp_path / "run", rows.tolist(), names=names)))
    labels = [text for text in said if text.endswith(".attn")]
    assert len(labels) == len(set(labels))
    assert 15 <= len(labels) <= 40
    assert "blocks.0-2" in said  # A voice.
    assert not any("…" in label for label in labels)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "size", ["3.5x2.5", "12x7", *(pytest.param(s, marks=pytest.mark.slow) for s in ("1x1", "9x9"))]
)
def test_texts_stay_inside_of_the_picture(tmp_path, theme, size):
    names = [f"encoder.layers.{layer}.self_attention.output" for layer in range(20)] + ["head"]
    rows = np.exp(np.random.default_rng(1).normal(0, 0.4, (300, 21)))
    rows[200:, 4] = math.nan
    drawing = drawn(write_log(tmp_path / "run", rows.tolist(), names=names), size=size, theme=theme)
    drawing.figure.canvas.draw()
    wide, tall = drawing.figure.bbox.size
    if size == "1x1":
        return  # Nothing can be read in it, but it can be drawn.
    for text in drawing.figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= -1, text.get_text()
        assert box.x1 <= wide + 1, text.get_text()
        assert box.y0 >= -1, text.get_text()
        assert box.y1 <= tall + 1, text.get_text()
    assert min(text.get_fontsize() for text in drawing.figure.texts) >= 5.5


@pytest.mark.parametrize("ending", [".png", ".svg", SLOW_PDF])
def test_the_same_run_gives_the_same_bytes(tmp_path, ending):
    run = write_log(tmp_path / "run", [[1.0, 0.0, math.nan, None], [2.0, 3.0, 4.0, 5.0]] * 9)
    one, two = (render(run, tmp_path / f"{name}{ending}")[0].read_bytes() for name in "ab")
    assert one == two
    assert one[:5] == {".png": b"\x89PNG\r", ".svg": b"<?xml", ".pdf": b"%PDF-"}[ending]


def test_size_resolution_and_theme(tmp_path):
    run = write_log(tmp_path / "run", [[1.0] * 4] * 9)
    path = tmp_path / "small.png"
    given = ["--size", "3.5x2.5", "--dpi", "200", "--theme", "dark"]
    given = ["render", str(run), "-o", str(path), *given]
    done = CliRunner().invoke(app.app, given)
    data = path.read_bytes()
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (700, 500)
    assert done.output == f"{path}\n"
    image = matplotlib.image.imread(path)
    assert image[2, 2, :3].max() < 0.15
    render(run, tmp_path / "small.pdf", size=(3.5, 2.5))
    assert b"/MediaBox [ 0 0 252 180 ]" in (tmp_path / "small.pdf").read_bytes()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"size": "wide"}, "size='wide'; allowed is WIDTHxHEIGHT in inches, each 1 to 60"),
        ({"size": "0x3"}, "allowed is WIDTHxHEIGHT"),
        ({"size": (3.0, math.nan)}, "allowed is WIDTHxHEIGHT"),
        ({"size": (3.0,)}, "allowed is WIDTHxHEIGHT"),
        ({"dpi": 1}, "dpi=1; allowed is 30 to 1200 dots an inch"),
        ({"dpi": "many"}, "dpi='many'; allowed is 30 to 1200"),
        ({"size": "60x60", "dpi": 1200}, "more than 150 million pixels"),
        ({"theme": "blue"}, "theme='blue'; allowed is light or dark"),
    ],
)
def test_other_looks_are_refused(tmp_path, options, told):
    run = write_log(tmp_path / "run", [[1.0] * 4] * 2)
    with pytest.raises(GradmidiError, match=told):
        render(run, tmp_path / "run.png", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_look_for_no_picture_is_refused(tmp_path):
    run = write_log(tmp_path / "run", [[1.0] * 4] * 2)
    with pytest.raises(GradmidiError, match=r"end in \.png \.svg \.pdf \.mp4; none is written"):
        render(run, tmp_path / "run.mid", theme="dark")


def test_a_pdf_has_its_texts_as_text(tmp_path):
    run = write_log(tmp_path / "run", [[1.0] * 4] * 2)
    (path,) = render(run, tmp_path / "run.pdf")
    data = path.read_bytes()
    assert b"/Subtype /CIDFontType2" in data or b"/FontFile2" in data
    assert b"/CreationDate" not in data
    assert zlib.crc32(data)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("norm", [math.nan, None, 0.0])
@pytest.mark.parametrize("ending", [".png", ".svg", SLOW_PDF])
def test_a_run_without_a_norm_is_drawn_without_complaint(tmp_path, ending, norm):
    run = write_log(tmp_path / "run", [[norm] * 4] * 30)
    (path,) = render(run, tmp_path / f"run{ending}")
    assert path.stat().st_size > 1000


STRANGE = ("层.1.注意力", "\U0001f600 head", "a\x00b\x1b[31m", "\ud800", "$\\frac$")
"""Names with letters that Matplotlib's font lacks, control characters, half a character, maths."""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ending", [".png", ".svg"])
def test_names_of_any_characters_are_drawn_without_complaint(tmp_path, ending):
    rows = [[1.0, 2.0, 3.0, 4.0, 5.0]] * 12 + [[0.0, math.nan, 3.0, 4.0, 1e9]] * 12
    runs = [write_log(tmp_path / name / "层\U0001f600", rows, names=STRANGE) for name in ("a", "b")]
    (path,) = render(runs[0], tmp_path / f"run{ending}")
    compare(runs, tmp_path / f"ab{ending}")
    for written in (path, tmp_path / f"ab{ending}"):
        if ending == ".svg":
            texts = list(ElementTree.parse(written).getroot().itertext())
            assert "$\\frac$" in texts
            assert "a\ufffdb\ufffd[31m" in texts
            assert "层.1.注意力" in texts or "\ufffd.1.\ufffd\ufffd\ufffd" in texts
        else:
            assert written.stat().st_size > 1000


def test_a_character_that_another_font_has_is_kept(monkeypatch):
    from matplotlib import font_manager

    default = font_manager.findfont("DejaVu Sans")
    known = {default: frozenset("ab…"), font_manager.findfont("DejaVu Serif"): frozenset("é")}
    monkeypatch.setattr(canvas, "_characters", lambda path: known.get(path, frozenset()))
    labels = canvas.Labels(["é\u0416b"])
    assert labels("é\u0416b") == "é\ufffdb"
    with labels.fonts():
        assert matplotlib.rcParams["font.family"][-1] == "DejaVu Serif"
