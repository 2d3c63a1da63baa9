"""Two runs on one clock: what either ear hears, where they part, what had no match."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from logs import NAMES, header, write_log
from typer.testing import CliRunner

from gradmidi.cli.app import app
from gradmidi.comparison.compare import compare
from gradmidi.comparison.pairs import PairWriter, lay_out, play_pair
from gradmidi.comparison.runs import PlayedSlot, departure, open_runs
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.log import RunLog, encode_frame, encode_header
from gradmidi.music.events import FAULT_VOICE, On
from gradmidi.music.preset import load
from gradmidi.music.score import compose
from gradmidi.music.voices import Voice
from gradmidi.sound.synth import Synth

RATE = 44100
SLOT = RATE // 10
"""Samples in which one note sounds."""
ONE = [Voice(0, "a", (0,))]


def rows(steps, factor=1.0, layers=4, seed=0):
    rng = np.random.default_rng(seed)
    return (factor * np.exp(rng.normal(0, 0.4, (steps, layers)))).tolist()


def run_of(folder: Path, values, **options) -> Path:
    return write_log(folder, values, **options)


def band(samples, hz):
    """How much of one frequency there is."""
    wave = np.exp(-2j * np.pi * hz / RATE * np.arange(len(samples)))
    return abs((samples * wave).mean())


def test_a_preset_with_values_compares_the_layers(tmp_path):
    one = run_of(tmp_path / "one", rows(8))
    other = run_of(tmp_path / "other", rows(8, seed=1))
    compare([one, other], tmp_path / "a.wav", preset=load("pentatonic", {"values.which": ["loss"]}))
    compare([one, other], tmp_path / "b.wav")
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_runs_of_values_alone_are_refused_with_what_to_do(tmp_path):
    for name in ("one", "other"):
        run_of(tmp_path / name, [[]] * 3, names=())
    with pytest.raises(GradmidiError, match="have logged values and no layers; compare plays laye"):
        compare([tmp_path / "one", tmp_path / "other"], tmp_path / "ab.wav")


def test_each_ear_hears_its_own_run(tmp_path):
    low = run_of(tmp_path / "low", [[1.0]] * 32, names=("fc",))
    high = run_of(tmp_path / "high", [[1.0]] + [[32.0]] * 31, names=("fc",))
    done = compare([low, high], tmp_path / "ab.wav")
    sound, rate = soundfile.read(tmp_path / "ab.wav")
    assert rate == RATE
    assert done.lines[0] == (
        "from 2.5 s on, after 2 pips on the right: low left, high right, by step"
    )
    left, right = sound[round(3.5 * RATE) :][:SLOT].T
    home = 440 * 2 ** ((load("pentatonic").home_notes(1)[0] - 69) / 12)
    assert band(left, home) > 20 * band(right, home)
    assert band(right, 2 * home) > 3 * band(left, 2 * home)  # Which has it as a partial.


def test_left_is_the_first_run_alone(tmp_path):
    values = rows(40)
    one = run_of(tmp_path / "one", values)
    other = run_of(tmp_path / "other", rows(40, 0.001, seed=1))
    compare([one, other], tmp_path / "ab.wav", preset=float_preset(tmp_path))
    sound, _ = soundfile.read(tmp_path / "ab.wav", dtype="float32")
    preset = load(float_preset(tmp_path, channels=1))
    synth = Synth(preset, 4)
    # A note's phase depends on its tick, so the run alone begins at the same tick too.
    begin = round(2.0 / preset.time.tick_seconds)
    synth.send([replace(each, tick=each.tick + begin) for each in compose(RunLog(one), preset)])
    alone = synth.render(6 * RATE)[2 * RATE :, 0]
    assert np.abs(alone).max() > 0.05
    assert np.array_equal(sound[round(2.5 * RATE) :, 0][: 4 * RATE], alone)
    assert not sound[: RATE // 2].any()
    assert not sound[-RATE // 2 :].any()


def float_preset(folder: Path, channels: int = 2) -> Path:
    path = folder / f"floats{channels}.toml"
    path.write_text(
        f'title = "as it is"\n[sound]\nformat = "float"\nchannels = {channels}\n', encoding="utf-8"
    )
    return path


def test_reference_is_the_first_runs_or_the_one_given(tmp_path):
    one = run_of(tmp_path / "one", [[1.0]] * 32, names=("fc",))
    other = run_of(tmp_path / "other", [[32.0]] * 32, names=("fc",))
    home = 440 * 2 ** ((load("pentatonic").home_notes(1)[0] - 69) / 12)
    for reference, left, right in ((None, 1.0, 2.0), (other, 0.5, 1.0)):
        compare([one, other], tmp_path / "ab.wav", reference=reference)
        sound, _ = soundfile.read(tmp_path / "ab.wav")
        heard = sound[round(3.5 * RATE) :][:SLOT].T
        for ear, factor in zip(heard, (left, right), strict=True):
            levels = {f: band(ear, f * home) for f in (0.5, 1.0, 2.0)}
            assert max(levels, key=levels.__getitem__) == factor


def test_more_runs_take_turns_and_are_announced(tmp_path):
    runs = [run_of(tmp_path / name, rows(16, seed=i)) for i, name in enumerate("abc")]
    done = compare(runs, tmp_path / "abc.wav")
    sound, _ = soundfile.read(tmp_path / "abc.wav")
    assert [line.split(":")[1].strip() for line in done.lines[:2]] == [
        "a left, b right, by step",
        "a left, c right, by step",
    ]
    starts = [float(line.split()[1]) for line in done.lines[:2]]
    assert starts[1] > starts[0] + 2.0
    for start, pips in zip(starts, (2, 3), strict=True):
        begin = math.ceil((start - 2.0) * RATE) + 100
        lead = np.abs(sound[begin : begin + round(1.9 * RATE)])
        assert [onsets(lead[:, ear]) for ear in (0, 1)] == [1, pips]


def onsets(level):
    """Count stretches of sound that stand a tenth of a second or more apart."""
    frames = level[: len(level) // 441 * 441].reshape(-1, 441).max(axis=1) > 0.01
    return int(frames[0]) + int((np.diff(frames.astype(int)) == 1).sum())


@pytest.mark.parametrize(
    ("by", "last"), [("step", (31, 31)), ("examples", (31, 124)), ("time", (31, 63))]
)
def test_clocks(tmp_path, by, last):
    one = logged(tmp_path / "one", 32, batch=10, dt=0.1)
    other = logged(tmp_path / "other", 32, batch=40, dt=0.2)
    assert slots_of([one, other], by) == last
    done = compare([one, other], tmp_path / "ab.wav", by=by)
    assert done.lines[0].endswith(f"by {by}")
    heard = soundfile.info(tmp_path / "ab.wav").duration
    assert heard == pytest.approx(2.0 + (max(last) + 1) * 0.125, abs=2.5)


def slots_of(runs, by):
    """The last slot that either run fills."""
    layout = lay_out(open_runs(runs, by), (), load("pentatonic"), None)
    sides = play_pair(layout, 2, PairWriter([], layout.preset, len(layout.voices)))
    return tuple(side.slots.played[-1].index for side in sides)


def logged(folder: Path, steps: int, batch: int, dt: float, *, first: int = 1) -> Path:
    folder.mkdir()
    with (folder / "run.jsonl").open("wb") as file:
        file.write(encode_header(header(("fc",), config={"batch_size": batch})))
        for step in range(first, first + steps):
            file.write(encode_frame(step, (step - 0.5) * dt, [1.0]))
    return folder


def test_examples_may_be_logged(tmp_path):
    for name, batch in (("a", 8), ("b", 16)):
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "run.jsonl").open("wb") as file:
            file.write(encode_header(header(("fc",))))
            for step in range(1, 21):
                file.write(encode_frame(step, step * 0.1, [1.0], {"examples": step * batch}))
    assert slots_of([tmp_path / "a", tmp_path / "b"], "examples") == (19, 38)


def test_the_error_for_missing_counts_of_examples_says_how_to_log_them(tmp_path):
    runs = [run_of(tmp_path / name, rows(4)) for name in "ab"]
    with pytest.raises(RunLogError, match=r"ears\.log\(examples=…\)"):
        compare(runs, tmp_path / "ab.wav", by="examples")


def test_layers_are_matched_by_name_and_others_are_reported(tmp_path):
    values = np.array(rows(24, layers=3))
    one = run_of(tmp_path / "one", values, names=("a", "b", "old"))
    other = run_of(tmp_path / "other", values[:, [2, 1, 0]], names=("new", "b", "a"))
    done = compare([one, other], tmp_path / "ab.wav")
    assert "not compared, because not every run has them: old of one" in done.lines
    assert "not compared, because not every run has them: new of other" in done.lines
    assert done.lines[-1] == "other does not depart from one"
    sound, _ = soundfile.read(tmp_path / "ab.wav")
    # Column a of one is column a of other, in another place: both ears hear the same.
    left, right = sound[round(2.5 * RATE) :].T
    assert np.abs(left - right).max() < 1e-4 * 4


def test_the_first_runs_own_voices_are_compared(tmp_path):
    values = rows(24)
    broken = [list(row) for row in values]
    for row in broken[10:]:
        row[2] = row[3] = 0.0
    voices = {"first": "conv1", "gone": "old*", "top": "fc*"}
    one = run_of(
        tmp_path / "one", [[*row, 1.0] for row in values], names=(*NAMES, "old"), voices=voices
    )
    other = run_of(tmp_path / "other", broken)
    done = compare([one, other], tmp_path / "ab.html", tmp_path / "ab.svg")
    assert "top is exactly zero" in done.lines[-1]
    # The run without a layer of a voice leaves that voice out; conv2 is in none.
    page = (tmp_path / "ab.html").read_text(encoding="utf-8")
    assert re.findall(r'<span class="name" title="([^"]+)"', page) == ["first", "top"]
    picture = (tmp_path / "ab.svg").read_text(encoding="utf-8")
    assert [name for name in ("first", "top", "conv1", "fc1") if f">{name}<" in picture] == [
        "first", "top",
    ]  # fmt: skip


def test_runs_without_a_common_layer_are_refused(tmp_path):
    one = run_of(tmp_path / "one", rows(4))
    other = run_of(tmp_path / "other", rows(4, layers=2), names=("x", "y"))
    with pytest.raises(
        GradmidiError, match=r"share no layer's name.*one has conv1.*other has x, y"
    ):
        compare([one, other], tmp_path / "ab.wav")
    assert not list(tmp_path.glob("*ab.wav*"))


def test_the_run_that_diverges_is_reported(tmp_path):
    steady = rows(60)
    broken = [list(row) for row in steady]
    for step in range(20, 60):
        broken[step][2] *= 3.0 ** (step - 19)
    for step in range(40, 60):
        broken[step][0] = math.nan
    one = run_of(tmp_path / "steady", steady)
    other = run_of(tmp_path / "broken", broken)
    done = compare([one, other], tmp_path / "ab.wav")
    assert done.lines[-1] == (
        "broken departs from steady at step 22, 5.1 s into the piece: "
        "fc1 is 9 times as large, conv1 is nan from step 41"
    )


def filled(values):
    return [PlayedSlot(i, i + 1, np.array([value])) for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("other", "step", "told"),
    [
        ([1, 1, 1, 1, 1, 1], None, None),
        ([1, 1, 99, 1, 1, 1], None, None),  # One spike.
        ([1, 1, 3.9, 3.9, 3.9, 3.9], None, None),
        ([1, 1, 4, 4, 4, 4], 3, "a is 4 times as large"),
        ([1, 1, 0.1, 0.1, 1, 0.1], 3, "a is 1/10 as large"),
        ([1, 1, 0, 0, 0, 0], 3, "a is exactly zero"),
        ([1, 1, -1, -1, -1, -1], 3, "a has no gradient"),
        ([1, 1, 1, 1, 1, math.nan], 6, "a is nan"),
        ([1, math.inf, 1, 1, 1, 1], 2, "a is inf"),
    ],
)
def test_departure(other, step, told):
    found = departure(filled([1.0] * 6), filled(other), ONE)
    assert (found and (found.step, *found.words)) == (step and (step, told))


def test_where_both_are_broken_alike_nothing_departs():
    broken = filled([1.0, math.nan, 0.0, 0.0, -1.0, math.inf])
    assert departure(broken, broken, ONE) is None


def test_only_slots_that_both_filled_are_compared():
    sparse = [PlayedSlot(i, i, np.array([9.0])) for i in (10, 20)]
    assert departure(filled([1.0] * 6), sparse, ONE) is None


@pytest.mark.parametrize(
    ("by", "nothing"),
    [("step", "step"), ("examples", "number of examples"), ("time", "time")],
)
def test_runs_without_common_steps_are_reported_as_not_compared(tmp_path, by, nothing):
    one = logged(tmp_path / "one", 20, batch=10, dt=0.1)
    later = logged(tmp_path / "later", 20, batch=10, dt=0.1, first=101)
    done = compare([one, later], tmp_path / "ab.wav", tmp_path / "ab.html", by=by)
    told = f"later and one have no {nothing} in common: they were not compared"
    assert done.lines[-1] == told
    page = (tmp_path / "ab.html").read_text(encoding="utf-8")
    assert f"<li>{told}</li>" in page
    assert "does not depart" not in page


def test_a_page_of_runs_that_are_too_long_is_refused_at_once(tmp_path):
    sizes = (("short", 20), ("long", 6200))
    runs = [run_of(tmp_path / name, rows(steps, layers=1), names=("a",)) for name, steps in sizes]
    with pytest.raises(GradmidiError, match=r"ab\.html would be too large: .* at most 12 minutes"):
        compare(runs, tmp_path / "ab.wav", tmp_path / "ab.html", length="full")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long", "short"]


def test_a_shorter_run_is_reported_but_is_no_departure(tmp_path):
    values = rows(40)
    one = run_of(tmp_path / "one", values)
    other = run_of(tmp_path / "other", values[:25])
    done = compare([one, other], tmp_path / "ab.wav")
    assert done.lines[-1] == "other does not depart from one; other ends at step 25"


def test_one_step_each(tmp_path):
    runs = [run_of(tmp_path / name, [[1.0, 2.0, 3.0, 4.0]]) for name in "ab"]
    done = compare(runs, tmp_path / "ab.wav", tmp_path / "ab.html", tmp_path / "ab.png")
    assert done.lines[-1] == "b does not depart from a"
    assert all(path.stat().st_size > 0 for path in done.paths)


def test_no_steps(tmp_path):
    runs = [run_of(tmp_path / "a", rows(4)), run_of(tmp_path / "b", [])]
    with pytest.raises(RunLogError, match=r"b/run\.jsonl holds no steps"):
        compare(runs, tmp_path / "ab.wav")


def test_all_nan(tmp_path):
    runs = [run_of(tmp_path / "a", rows(12)), run_of(tmp_path / "b", [[math.nan] * 4] * 12)]
    done = compare(runs, tmp_path / "ab.wav", tmp_path / "ab.png")
    assert "b departs from a at step 1" in done.lines[-1]
    assert done.lines[-1].count("is nan") == 3
    assert done.lines[-1].endswith(", and 1 voice more")


@pytest.mark.slow
def test_long_runs_are_fitted(tmp_path):
    runs = [run_of(tmp_path / name, rows(400, seed=i)) for i, name in enumerate("abc")]
    compare(runs, tmp_path / "abc.wav", length=20.0)
    assert soundfile.info(tmp_path / "abc.wav").duration == pytest.approx(20.0, abs=4.0)
    spike = rows(400)
    spike[200][3] = 1e6
    one = run_of(tmp_path / "one", rows(400))
    other = run_of(tmp_path / "spiked", spike)
    done = compare([one, other], tmp_path / "ab.png", length=4.0)
    assert done.paths == (tmp_path / "ab.png",)


def test_runs_of_one_name_get_different_names(tmp_path):
    runs = [run_of(tmp_path / folder / "run", rows(4)) for folder in "ab"]
    done = compare(runs, tmp_path / "ab.wav")
    assert done.lines[-1] == "b/run does not depart from a/run"
    again = compare([runs[0], runs[0]], tmp_path / "ab.wav")
    assert again.lines[-1] == "a/run (2) does not depart from a/run (1)"


def test_pictures(tmp_path):
    runs = [
        run_of(tmp_path / "$a$", rows(30), names=("$x$", *NAMES[1:])),
        run_of(tmp_path / "b", rows(30, 9.0), names=("$x$", *NAMES[1:])),
    ]
    compare(runs, tmp_path / "ab.png", tmp_path / "ab.svg")
    assert (tmp_path / "ab.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    svg = (tmp_path / "ab.svg").read_text(encoding="utf-8")
    assert "$x$" in svg
    assert "$a$" in svg
    before = (tmp_path / "ab.png").read_bytes()
    compare(runs, tmp_path / "ab.png")
    assert (tmp_path / "ab.png").read_bytes() == before


@pytest.mark.parametrize(
    ("losses", "heights"),
    [
        # A loss of 1000 and one of 1 are on a log axis, where 31.6 is in the middle.
        ([1000.0, 31.6227766, 1.0], [1.0, 0.5, 0.0]),
        ([-1.0, -2.0, -3.0], [1.0, 0.5, 0.0]),
    ],
)
def test_the_loss_is_the_last_row_of_the_picture(losses, heights, tmp_path):
    one = write_log(tmp_path / "a", rows(3), loss=losses)
    without = write_log(tmp_path / "b", rows(3), loss=False)
    compare([one, without], tmp_path / "ab.svg")
    svg = (tmp_path / "ab.svg").read_text(encoding="utf-8")
    names = [name for name in re.findall(r">([a-z0-9]+)<", svg) if name in (*NAMES, "loss")]
    assert names == [*NAMES, "loss"]
    lines = re.findall(r'd="M ([\d. L\n-]+)"[^>]*stroke-width: 1.3', svg)
    points = np.array(lines[-1].replace("L", "").split(), float).reshape(-1, 2)
    # The axis of an SVG points down.
    ys = -points[:, 1]
    assert (ys - ys.min()) / np.ptp(ys) == pytest.approx(heights, abs=0.01)
    compare([without, without], tmp_path / "bb.svg")
    assert ">loss<" not in (tmp_path / "bb.svg").read_text(encoding="utf-8")


def test_without_a_file_the_words_are_told_with_the_faults(tmp_path):
    broken = np.array(rows(30))
    broken[20:, 1] = math.nan
    runs = [run_of(tmp_path / "a", rows(30)), run_of(tmp_path / "b", broken.tolist())]
    done = CliRunner().invoke(app, ["compare", *map(str, runs)])
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "a: Healthy",
        "b: Broke at step 21: conv2 became nan",
        "b: step 21 to the end: conv2 nan",
        "b departs from a at step 21: conv2 is nan",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_at_most_three_voices_of_a_departure_are_named(tmp_path):
    names = [f"layer{index}" for index in range(9)]
    runs = [
        run_of(tmp_path / name, np.full((30, 9), norm).tolist(), names=names)
        for name, norm in (("a", 1.0), ("b", 9.0))
    ]
    line = compare(runs).lines[-1]
    assert line.count("layer") == 3
    assert line.endswith(", and 6 voices more")


@pytest.mark.slow
def test_an_explosion_is_cut_off_in_the_page_and_the_picture(tmp_path):
    exploding = np.array(rows(30))
    exploding[20:] *= 1e12
    runs = [run_of(tmp_path / "a", rows(30)), run_of(tmp_path / "b", exploding.tolist())]
    compare(runs, tmp_path / "ab.html", tmp_path / "ab.pdf", size="3.5x5", theme="dark")
    page = (tmp_path / "ab.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="run">(.*?)</script>', page)[1])
    usual = np.array(rows(30)).max(axis=0)
    tops = [math.exp(voice["top"]) for voice in data["voices"]]
    assert tops == pytest.approx((16.0 * usual).tolist())
    assert [math.exp(voice["scale"][1]) > 1e11 for voice in data["voices"]] == [True] * 4
    assert (tmp_path / "ab.pdf").read_bytes().startswith(b"%PDF-")


def test_each_fault_is_in_the_page_once(tmp_path):
    broken = np.array(rows(30))
    broken[20:, 1] = math.nan
    runs = [run_of(tmp_path / name, values) for name, values in
            (("a", broken.tolist()), ("b", rows(30)), ("c", rows(30)))]  # fmt: skip
    compare(runs, tmp_path / "abc.html")
    page = (tmp_path / "abc.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="run">(.*?)</script>', page)[1])
    assert [fault["text"] for fault in data["faults"]] == ["a, step 21 to the end: conv2 nan"]
    assert "1 fault (1 nan)" in page


def test_one_run_or_an_unknown_ending_is_refused(tmp_path):
    run = run_of(tmp_path / "a", rows(4))
    with pytest.raises(GradmidiError, match="needs two or more"):
        compare([run], tmp_path / "a.wav")
    with pytest.raises(GradmidiError, match=r"may end in: \.wav .*\.html"):
        compare([run, run], tmp_path / "a.mid")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_nothing_is_left_where_writing_fails(tmp_path):
    runs = [run_of(tmp_path / name, rows(4)) for name in "ab"]
    with pytest.raises(GradmidiError, match="nowhere"):
        compare(runs, tmp_path / "ab.wav", tmp_path / "nowhere" / "ab.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_command(tmp_path, capsys):
    from typer.testing import CliRunner

    runs = [run_of(tmp_path / name, rows(16, factor)) for name, factor in (("a", 1), ("b", 8))]
    target = tmp_path / "ab.wav"
    result = CliRunner().invoke(app, ["compare", *map(str, runs), "-o", str(target)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == str(target)
    assert lines[-1].startswith("b departs from a at step 1, 2.5 s into the piece: ")
    assert CliRunner().invoke(app, ["compare", str(runs[0]), "-o", "x.wav"]).exit_code == 2
    by = ["compare", *map(str, runs), "-o", "x.wav", "--by", "epoch"]
    assert CliRunner().invoke(app, by).exit_code == 2


def test_faults_sound_on_their_own_side(tmp_path):
    broken = rows(40)
    for step in range(20, 40):
        broken[step] = [math.nan] * 4
    one = run_of(tmp_path / "one", rows(40))
    other = run_of(tmp_path / "other", broken)
    preset = load("pentatonic")
    events = list(compose(RunLog(other), preset))
    (first, *_) = [e for e in events if isinstance(e, On) and e.voice == FAULT_VOICE]
    compare([one, other], tmp_path / "ab.wav")
    sound, _ = soundfile.read(tmp_path / "ab.wav")
    begin = round((2.5 + first.tick * preset.time.tick_seconds) * RATE)
    left, right = sound[begin : begin + 3000].T
    hz = 440 * 2 ** ((first.pitch - 69) / 12)
    assert band(right, hz) > 10 * band(left, hz)
