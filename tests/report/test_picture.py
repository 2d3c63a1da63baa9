"""The picture of a run: the norm of every slot that has one, and no other."""

import math
from xml.etree import ElementTree

import numpy as np
import pytest
from logs import write_log

from gradmidi._render import render
from gradmidi.comparison.compare import compare
from gradmidi.log import RunLog
from gradmidi.music.events import On
from gradmidi.music.preset import load
from gradmidi.music.score import compose, score_of
from gradmidi.report import picture
from gradmidi.report.picture import Picture

matplotlib = pytest.importorskip("matplotlib")


def lines(run, preset="pentatonic"):
    """What is drawn of each voice, slot by slot."""
    log = RunLog(run)
    score = score_of(log, load(preset))
    drawn = Picture(run / "never.png", score, log)
    for item in log.items():
        drawn.send(score.feed(item))
    drawn.send(score.finish())
    above, *_ = drawn.draw().axes
    return np.array([line.get_ydata() for line in above.lines[: len(score.voices)]]).T


def names_itself(run, voice):
    """The slots in which a voice says that it is the one at fault."""
    preset = load("pentatonic")
    told = [e for e in compose(run) if isinstance(e, On) and e.voice == voice and not e.norm]
    return {event.tick // preset.time.slot_ticks(4) for event in told}


@pytest.mark.parametrize("preset", ["pentatonic", "hold"])
def test_a_norm_is_drawn_where_there_is_one_whatever_sounds(tmp_path, preset):
    rows = np.ones((60, 4))
    rows[20, 1] = 1e4  # Back at home, it gives way to the notes by which it names itself.
    rows[30:, 2] = math.nan  # It names itself in slots in which it has no norm.
    rows[::3, 3] = 0.0
    run = write_log(tmp_path / "run", rows.tolist())
    assert max(names_itself(run, 1)) > 20
    assert max(names_itself(run, 2)) > 30
    rows[rows == 0.0] = math.nan
    assert np.array_equal(lines(run, preset), rows, equal_nan=True)


def test_the_users_own_voices_are_the_lines(tmp_path):
    run = write_log(tmp_path / "run", [[1.0, 2.0, 3.0, 4.0]] * 8, voices={"top": "fc*"})
    assert lines(run).tolist() == [[5.0]] * 8


def test_slots_of_several_steps_show_their_largest(tmp_path):
    rows = np.ones((4000, 4))
    rows[1234, 1] = 50.0
    rows[2000, 2] = math.nan
    drawn = lines(write_log(tmp_path / "run", rows.tolist()))
    assert len(drawn) < 1500
    assert np.flatnonzero(drawn[:, 1] == 50.0).size == 1
    assert np.flatnonzero(np.isnan(drawn[:, 2])).size == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("norm", [math.nan, None, 0.0])
@pytest.mark.parametrize("ending", [".png", ".svg"])
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
    monkeypatch.setattr(picture, "_characters", lambda path: known.get(path, frozenset()))
    labels = picture.Labels(["é\u0416b"])
    assert labels("é\u0416b") == "é\ufffdb"
    with labels.fonts():
        assert matplotlib.rcParams["font.family"][-1] == "DejaVu Serif"
