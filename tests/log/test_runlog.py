"""The run log: what is written is what is read, whatever happened to it between."""

import json
import math
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradmidi._render import render
from gradmidi.errors import RunLogError
from gradmidi.log import (
    ABSENT,
    Decoder,
    End,
    Frame,
    Header,
    Layer,
    Mark,
    Pause,
    RunLog,
    Values,
    encode_end,
    encode_frame,
    encode_header,
    encode_mark,
    encode_pause,
    encode_values,
    locate,
    row,
)
from gradmidi.text.describe import describe

LAYERS = (Layer("conv1", 520), Layer("fc.größe", 10))
HEADER = Header(LAYERS, "Net", started="2026-01-01T00:00:00Z", config={"lr": 0.1})

norms = st.one_of(
    st.floats(0.0, 1e300, allow_subnormal=False),
    st.sampled_from([0.0, ABSENT, math.nan, math.inf, 1.0, 999999.95, 1e6, 1e-12]),
)


def strict(line: bytes) -> Any:
    """Read a line as RFC 8259 has it: NaN and Infinity are no JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not valid JSON")

    return json.loads(line, parse_constant=refuse)


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def frames(path: Path) -> list[tuple[int, dict[str, Any]]]:
    return [(frame.step, dict(frame.extra)) for frame in RunLog(path).frames()]


def steps(path: Path) -> list[int]:
    return [step for step, _ in frames(path)]


def some(numbers: Iterable[int]) -> list[bytes]:
    return [encode_frame(step, step / 10, [0.5, 0.25]) for step in numbers]


def same(left: np.ndarray, right: np.ndarray) -> bool:
    return bool(np.allclose(left, right, rtol=5.0e-7, atol=0.0, equal_nan=True))


# -- lines -------------------------------------------------------------------------------------


@given(st.integers(0, 10**9), st.floats(0, 1e7), st.lists(norms, min_size=1, max_size=80))
def test_a_frame_is_read_as_it_was_written(step: int, t: float, values: list[float]) -> None:
    line = encode_frame(step, t, values, {"loss": 2.5})
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert len(strict(line)["norms"]) == len(values)
    decoder = Decoder("test")
    decoder.decode(encode_header(Header(tuple(Layer(str(i), 1) for i in range(len(values))))))
    frame = decoder.decode(line)
    assert isinstance(frame, Frame)
    assert frame.step == step
    assert frame.t == pytest.approx(t, rel=1e-12, abs=0.51e-6)
    assert same(frame.norms, np.array(values))
    assert frame.loss == 2.5


@given(st.lists(norms, min_size=33, max_size=200))
def test_many_norms_have_as_few_digits_as_few_and_round_as_well(values: list[float]) -> None:
    together = strict(encode_frame(1, 0.0, np.array(values)))["norms"]
    for value, written in zip(values, together, strict=True):
        if value < 0.0 or not math.isfinite(value):
            assert written == strict(encode_frame(1, 0.0, [value]))["norms"][0]
            continue
        assert written == float(f"{written:.7g}"), "no more than seven digits"
        seventh = 10.0 ** (math.floor(math.log10(value)) - 6) if value else 0.0
        assert abs(written - value) <= 0.5000001 * seventh


def test_a_line_has_seven_digits_and_words_for_what_is_no_number() -> None:
    line = encode_frame(3, 1.2345678, [0.123456789, 0.0, ABSENT, math.nan, math.inf])
    assert line == (b'{"step": 3, "t": 1.234568, "norms": [0.1234568, 0, null, "nan", "inf"]}\n')


@pytest.mark.parametrize(
    ("value", "written"),
    [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (True, True), ("a\n", "a\n")],
)
def test_values_beside_the_norms_are_json_whatever_they_are(value: Any, written: Any) -> None:
    assert strict(encode_frame(1, 0.0, [1.0], {"é": value}))["é"] == written


def test_a_loss_is_a_number_that_may_be_infinite() -> None:
    assert Frame(1, 0.0, row([1.0]), {"loss": "none yet"}).loss is None
    assert Frame(1, 0.0, row([1.0]), {"loss": -math.inf}).loss == -math.inf
    assert Frame(1, 0.0, row([1.0]), {"loss": 2}).loss == 2.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_read_as_it_was_logged(value: float) -> None:
    decoder = Decoder("test")
    decoder.decode(encode_header(HEADER))
    frame = decoder.decode(encode_frame(1, 0.1, [0.5, 0.5], {"loss": value}))
    assert isinstance(frame, Frame)
    assert str(frame.loss) == str(frame.extra["loss"]) == str(value)


def test_a_header_keeps_names_that_are_not_ascii_and_keys_it_does_not_know() -> None:
    line = encode_header(Header(LAYERS, "Сеть", other={"later": [1, 2]}))
    assert "fc.größe".encode() in line
    header = Decoder("test").decode(line)
    assert isinstance(header, Header)
    assert header.layers == LAYERS
    assert header.model == "Сеть"
    assert header.other == {"later": [1, 2]}


def test_a_header_holds_the_users_voices() -> None:
    voices = {"top": "fc*", "größe": "conv?"}
    line = encode_header(Header(LAYERS, voices=voices))
    assert strict(line)["voices"] == voices
    header = Decoder("test").decode(line)
    assert isinstance(header, Header)
    assert header.voices == voices
    assert header.other == {}
    assert b"voices" not in encode_header(HEADER)


def test_voices_of_another_type_are_kept_as_an_unknown_key() -> None:
    for value in (["fc*"], {"top": 3}, None):
        header = Decoder("test").decode(encode_header(Header(LAYERS, other={"voices": value})))
        assert isinstance(header, Header)
        assert header.voices == {}
        assert header.other == {"voices": value}


def test_a_config_may_hold_what_json_does_not() -> None:
    line = encode_header(
        Header(LAYERS, config={"nan": math.nan, "path": Path("a"), 3: np.arange(2), "set": {1}})
    )
    config = strict(line)["config"]
    assert config == {"nan": None, "path": "a", "3": [0, 1], "set": "{1}"}


def test_marks_pauses_and_the_end_are_read_as_they_were_written(tmp_path: Path) -> None:
    items = [Mark("epoch 2 – ü\n", 1.5), Pause("eval", 2.0, True), Pause("eval", 3.0, False)]
    end = End("closed", 12.0, 1, 7)
    path = write(
        tmp_path / "run.jsonl",
        encode_header(HEADER),
        *some([1]),
        encode_mark(items[0]),  # type: ignore[arg-type]
        encode_pause(items[1]),  # type: ignore[arg-type]
        encode_pause(items[2]),  # type: ignore[arg-type]
        encode_end(end),
    )
    assert [i for i in RunLog(path).items() if not isinstance(i, (Header, Frame))] == [*items, end]


@pytest.mark.parametrize("t", [0.0162, 1e6 + 1 / 3, 1e7 + 0.000001])
def test_times_have_microseconds_however_late(t: float) -> None:
    decoder = Decoder("test")
    decoder.decode(encode_header(HEADER))
    for line in (
        encode_frame(1, t, [0.5, 0.25]),
        encode_mark(Mark("epoch 2", t)),
        encode_pause(Pause("eval", t, True)),
        encode_end(End("closed", t, 1)),
    ):
        item = decoder.decode(line)
        assert item is not None
        assert not isinstance(item, Header)
        assert abs(item.t - t) <= 0.5e-6 + 1e-9
    assert encode_frame(2, 1e6 + 1 / 3, [0.5, 0.25]) == (
        b'{"step": 2, "t": 1000000.333333, "norms": [0.5, 0.25]}\n'
    )


HALF = "a\udcff"
"""Half a surrogate pair, as a file name that is not UTF-8 has it in Python."""


def test_half_a_surrogate_pair_in_a_text_does_not_lose_the_line() -> None:
    assert strict(encode_mark(Mark(HALF, 0.0)))["mark"] == "a?"
    line = encode_frame(1, 0.1, [0.5, 0.25], {HALF: 2.0, "note": HALF})
    assert strict(line) == {"step": 1, "t": 0.1, "norms": [0.5, 0.25], "a?": 2.0, "note": "a?"}
    decoder = Decoder("test")
    layers = (Layer("fc1", 1), Layer("fc2", 1))
    config = {HALF: [HALF, (1, {HALF: Path(HALF)})]}
    header = decoder.decode(encode_header(Header(layers, HALF, config=config)))
    assert isinstance(header, Header)
    assert (header.model, header.config) == ("a?", {"a?": ["a?", [1, {"a?": "a?"}]]})
    frame = decoder.decode(line)
    assert isinstance(frame, Frame)
    assert frame.extra == {"a?": 2.0, "note": "a?"}


# -- runs --------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_folder_or_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", encode_header(HEADER), *some([1]))
    assert locate(tmp_path) == locate(str(path)) == path


@pytest.mark.parametrize("missing", ["", "no", "no/run.jsonl"])
def test_the_error_for_a_missing_run_says_what_to_give(tmp_path: Path, missing: str) -> None:
    with pytest.raises(RunLogError, match=r"no run at .*; give a folder that holds run\.jsonl"):
        RunLog(tmp_path / missing)


def test_an_empty_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunLogError, match="is empty: nothing was logged"):
        RunLog(write(tmp_path / "run.jsonl"))


@pytest.mark.parametrize("first", [b"hello\n", b"{}\n", b'{"step": 1}\n', b"\x00\xff\n", b"[1]\n"])
def test_a_file_that_is_not_a_run_log_is_an_error(tmp_path: Path, first: bytes) -> None:
    with pytest.raises(RunLogError, match="is not a run log"):
        RunLog(write(tmp_path / "run.jsonl", first, *some([1])))


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    line = encode_header(HEADER).replace(b'"gradmidi": 1', b'"gradmidi": 2')
    with pytest.raises(RunLogError, match="version 2; this gradmidi reads version 1"):
        RunLog(write(tmp_path / "run.jsonl", line))


def test_a_log_of_one_step_and_one_of_none(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", encode_header(HEADER), *some([1]))
    assert (RunLog(path).steps, steps(path)) == (1, [1])
    path = write(tmp_path / "run.jsonl", encode_header(HEADER))
    assert (RunLog(path).steps, steps(path)) == (0, [])


def test_a_log_cut_anywhere_keeps_every_whole_line(tmp_path: Path) -> None:
    head = encode_header(HEADER)
    body = b"".join(some(range(1, 6)))
    for cut in range(len(body) + 1):
        path = write(tmp_path / "run.jsonl", head, body[:cut])
        whole = body[:cut].count(b"\n")
        # All that may be missing of a line that is read is its newline.
        assert steps(path) in (list(range(1, whole + 1)), list(range(1, whole + 2)))
        assert RunLog(path).steps in (whole, whole + 1)


def test_unreadable_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    first, second, third = some([1, 2, 3])
    path = write(
        tmp_path / "run.jsonl", encode_header(HEADER), first, second[:20] + b"\n", b"\n", third
    )
    log = RunLog(path)
    assert [frame.step for frame in log.frames()] == [1, 3]
    assert (log.unreadable, log.first_unreadable) == (1, 3)


def test_a_frame_with_a_layer_missing_is_unreadable(tmp_path: Path) -> None:
    path = write(
        tmp_path / "run.jsonl", encode_header(HEADER), encode_frame(1, 0.1, [0.5]), *some([2])
    )
    log = RunLog(path)
    assert [frame.step for frame in log.frames()] == [2]
    assert log.unreadable == 1


@pytest.mark.parametrize(
    "line",
    [
        '{"step": 2, "t": 0.2, "norms": [[1, 2]]}',
        '{"step": 2, "t": 0.2, "norms": [[1], [2]]}',
        '{"step": 2, "t": 0.2, "norms": [1, 2, 3]}',
        '{"step": 2, "t": 0.2, "norms": [1, "x"]}',
        '{"step": 2, "t": 0.2, "norms": {"0": 1, "1": 2}}',
        '{"step": 2, "t": 0.2, "norms": 2}',
        '{"step": 2, "t": "nan", "norms": [1, 2]}',
        '{"step": 2, "t": "inf", "norms": [1, 2]}',
        '{"step": 2, "t": null, "norms": [1, 2]}',
        '{"step": 2, "norms": [1, 2, 3]}',
        '{"step": 2, "norms": [1, "x"]}',
        '{"step": "two", "loss": 2.5}',
        '{"step": null, "loss": 2.5}',
        '{"loss": 2.5}',
        '{"step": "two", "t": 0.2, "norms": [1, 2]}',
        '{"t": 0.2, "norms": [1, 2]}',
        '{"mark": "epoch 2", "t": "nan"}',
        '{"pause": "eval", "t": "-inf"}',
        '{"resume": "eval", "t": "nan"}',
        '{"end": "closed", "t": "inf", "steps": 3}',
        '{"gradmidi": 1, "layers": 2}',
        '{"gradmidi": 1, "model": "Ne',
    ],
)
def test_a_line_that_holds_what_it_must_not_is_unreadable_and_the_rest_is_heard(
    tmp_path: Path, line: str
) -> None:
    path = write(
        tmp_path / "run.jsonl",
        encode_header(HEADER),
        *some([1]),
        f"{line}\n".encode(),
        *some([3, 4]),
    )
    log = RunLog(path)
    assert steps(path) == [1, 3, 4]
    assert log.steps == 3
    assert log.seconds == pytest.approx(0.4)
    assert "1 line could not be read, the first is line 3" in list(describe(log))
    for time in ("step", "wall"):
        render(log, tmp_path / "a.mid", time=time)


def test_of_one_layer_no_row_of_rows_is_read(tmp_path: Path) -> None:
    """What numpy takes for one row of two columns."""
    one = Header((Layer("fc", 1),))
    line = b'{"step": 1, "t": 0.1, "norms": [[1, 2]]}\n'
    path = write(tmp_path / "run.jsonl", encode_header(one), line, encode_frame(2, 0.2, [1.0]))
    assert steps(path) == [2]
    assert any("1 step in" in told for told in describe(RunLog(path)))


def test_a_log_whose_frames_all_miss_a_layer_has_no_steps(tmp_path: Path) -> None:
    short = [encode_frame(step, step / 10, [0.5]) for step in range(1, 5)]
    log = RunLog(write(tmp_path / "run.jsonl", encode_header(HEADER), *short))
    assert (log.steps, log.seconds, list(log.frames())) == (0, 0.0, [])
    with pytest.raises(RunLogError, match="holds no steps"):
        render(log, tmp_path / "a.mid")


RESUMED = encode_header(Header(LAYERS, resumed=True))
step_numbers = st.integers(1, 6)
lines = st.one_of(
    st.builds(
        lambda step, rows: encode_frame(step, step / 10, rows, {"loss": 1.5}),
        step_numbers,
        st.lists(norms, min_size=1, max_size=3),
    ),
    st.builds(
        lambda step, word: b'{"step": %d, "t": 0.5, "norms": [%b]}\n' % (step, word),
        step_numbers,
        st.sampled_from([b"", b"[1, 2]", b"1, true", b'1, ""', b"null, null", b'"1, 2"', b"{}, 1"]),
    ),
    st.sampled_from(
        [
            RESUMED,
            RESUMED[:30] + b"\n",
            encode_values(3, {"loss": 2.5}),
            encode_values(4, {"loss": 2.5}, row([0.5, None])),
            b'{"step": 3, "norms": [1]}\n',
            encode_mark(Mark("epoch 2", 0.3)),
            b'{"step": 3, "t": "nan", "norms": [1, 2]}\n',
            b'{"step": 3, "t": 1, "norms": [1, 2]}\n',
            b'{"t": 0.1, "norms": [1, 2], "step": 4}\n',
            b'{"step": 3, "t": 0.3, "norms": [1, 2]\n',
            b'{"step": 3, "t": 0.3, "nor\n',
            b"[1]\n",
            b"\n",
        ]
    ),
)


@settings(deadline=None)
@given(st.lists(lines, max_size=12))
def test_steps_and_seconds_are_those_of_the_frames_that_are_read(body: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "run.jsonl", encode_header(HEADER), *body)
        log = RunLog(path)
        read = list(log.frames())
    assert log.steps == len(read)
    assert log.seconds == pytest.approx(read[-1].t if read else 0.0)


def test_a_header_that_was_cut_short_begins_no_segment(tmp_path: Path) -> None:
    path = write(
        tmp_path / "run.jsonl",
        encode_header(HEADER),
        *some(range(1, 6)),
        RESUMED[:30],
        b"\n" + RESUMED,
        *some([4, 5, 6]),
    )
    assert steps(path) == [1, 2, 3, 4, 5, 6]
    assert RunLog(path).steps == 6


def test_what_is_known_of_clipping_at_the_end_of_a_later_segment_is_kept(tmp_path: Path) -> None:
    ends = [End("killed", 0.5, 1, clipping="none"), End("closed", 0.7, 2, 3, "before")]
    path = write(
        tmp_path / "run.jsonl",
        encode_header(HEADER),
        *some([5]),
        encode_end(ends[0]),
        RESUMED,
        *some([6]),
        encode_end(ends[1]),
    )
    found = [item for item in RunLog(path).items() if isinstance(item, End)]
    assert found == [ends[0], replace(ends[1], t=pytest.approx(1.2))]
    assert any("from before clipping" in line for line in describe(RunLog(path)))


def test_in_a_later_segment_the_later_line_wins(tmp_path: Path) -> None:
    path = write(
        tmp_path / "run.jsonl",
        encode_header(HEADER),
        *some(range(1, 6)),
        encode_header(Header(LAYERS, resumed=True)),
        encode_frame(4, 0.1, [9.0, 9.0]),
        encode_frame(5, 0.2, [9.0, 9.0]),
    )
    log = RunLog(path)
    read = list(log.frames())
    assert [frame.step for frame in read] == [1, 2, 3, 4, 5]
    assert log.steps == 5
    assert read[3].norms.tolist() == [9.0, 9.0]
    assert [frame.t for frame in read] == sorted(frame.t for frame in read)


def test_in_one_segment_the_later_line_of_a_step_wins_in_the_place_of_the_first(
    tmp_path: Path,
) -> None:
    """What was logged too late for its step's line stands on that line's repetition."""
    path = write(
        tmp_path / "run.jsonl",
        encode_header(HEADER),
        encode_frame(1, 0.1, [0.5, 0.5]),
        encode_mark(Mark("between", 0.15)),
        encode_frame(1, 0.1, [0.5, 0.5], {"loss": 1.5}),
        encode_frame(2, 0.2, [0.5, 0.5]),
    )
    log = RunLog(path)
    items = [item for item in log.items() if not isinstance(item, Header)]
    assert frames(path) == [(1, {"loss": 1.5}), (2, {})]
    assert [type(item) for item in items] == [Frame, Mark, Frame]
    assert log.steps == 2


def test_a_segment_of_other_layers_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "run.jsonl",
        encode_header(HEADER),
        *some([1]),
        encode_header(Header((Layer("x", 1),))),
    )
    with pytest.raises(RunLogError, match="line 3 resumes with other layers"):
        list(RunLog(path).items())


def test_a_run_without_layers_has_its_values(tmp_path: Path) -> None:
    path = write(
        tmp_path / "run.jsonl",
        encode_header(Header(())),
        encode_frame(1, 0.1, [], {"loss": 2.5}),
        encode_frame(2, 0.2, [], {"loss": math.nan}),
        encode_values(1, {"acc": 0.5}),
    )
    log = RunLog(path)
    assert (log.layers, log.steps, log.seconds) == ((), 2, 0.2)
    frames = list(log.frames())
    assert [(f.step, f.norms.shape) for f in frames] == [(1, (0,)), (2, (0,))]
    assert [str(frame.extra) for frame in frames] == [
        "{'loss': 2.5, 'acc': 0.5}",
        "{'loss': nan}",
    ]
    assert log.unreadable == 0


@pytest.mark.slow
def test_a_million_steps(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with path.open("wb") as file:
        file.write(encode_header(HEADER))
        for step in range(1, 1_000_001):
            file.write(encode_frame(step, step / 100, [0.5, 0.25], {"loss": 1 / step}))
    log = RunLog(path)
    assert log.steps == 1_000_000
    last = count = 0
    for frame in log.frames():
        assert frame.step == last + 1
        last = frame.step
        count += 1
    assert count == 1_000_000


# -- values that were logged late ------------------------------------------------------------------


def read(tmp_path: Path, *lines: bytes) -> RunLog:
    return RunLog(write(tmp_path / "run.jsonl", encode_header(HEADER), *lines))


def test_late_values_are_read_as_they_were_written() -> None:
    line = encode_values(7, {"loss": math.nan, "note": "ü"}, row([0.5, None]))
    assert strict(line) == {"step": 7, "norms": [0.5, None], "loss": "nan", "note": "ü"}
    decoder = Decoder("test")
    decoder.decode(encode_header(HEADER))
    late = decoder.decode(line)
    assert isinstance(late, Values)
    assert (late.step, set(late.values), late.values["note"]) == (7, {"loss", "note"}, "ü")
    assert str(late.loss) == "nan"
    assert late.norms is not None
    assert late.norms.tolist() == [0.5, ABSENT]
    plain = decoder.decode(b'{"step": 7, "t": 0.8, "loss": 2.5}\n')
    assert isinstance(plain, Values)
    assert (plain.values, plain.norms, plain.loss) == ({"loss": 2.5}, None, 2.5)


def test_late_values_join_their_frame_and_items_between_keep_their_place(
    tmp_path: Path,
) -> None:
    log = read(
        tmp_path,
        encode_frame(1, 0.1, [0.5, 0.5], {"lr": 0.1}),
        encode_mark(Mark("between", 0.15)),
        encode_values(1, {"loss": 1.5}),
        encode_values(1, {"accuracy": 0.5, "loss": 1.25}),
        encode_frame(2, 0.2, [0.5, 0.5]),
        encode_end(End("closed", 0.3, 2)),
        encode_values(2, {"loss": 1.0}),
    )
    items = [item for item in log.items() if not isinstance(item, Header)]
    assert [type(item) for item in items] == [Frame, Mark, Frame, End]
    assert frames(log.path) == [
        (1, {"lr": 0.1, "loss": 1.25, "accuracy": 0.5}),
        (2, {"loss": 1.0}),
    ]
    assert (log.steps, log.unreadable, log.unmatched) == (2, 0, 0)


def test_values_may_come_steps_later_and_in_a_later_segment(tmp_path: Path) -> None:
    log = read(
        tmp_path,
        *some([1, 2, 3, 4]),
        encode_values(2, {"accuracy": 0.5}),
        encode_values(4, {"accuracy": 0.9}),
        RESUMED,
        *some([4, 5]),
        encode_values(3, {"accuracy": 0.6}),
        encode_values(4, {"accuracy": 0.7}),
    )
    # The first step 4 was done again, and what was logged for it went with it.
    assert frames(log.path) == [
        (1, {}),
        (2, {"accuracy": 0.5}),
        (3, {"accuracy": 0.6}),
        (4, {"accuracy": 0.7}),
        (5, {}),
    ]
    assert list(log.items())
    assert log.unmatched == 0


def test_norms_that_come_late_take_the_place_of_those_before(tmp_path: Path) -> None:
    log = read(tmp_path, *some([1]), encode_values(1, {"total_norm": 5.0}, row([4.0, 3.0])))
    (frame,) = log.frames()
    assert frame.norms.tolist() == [4.0, 3.0]
    assert frame.extra == {"total_norm": 5.0}


def test_values_for_steps_that_the_log_does_not_hold_are_counted_and_reported(
    tmp_path: Path,
) -> None:
    log = read(
        tmp_path,
        encode_values(1, {"loss": 9.0}),
        *some([1, 3]),
        encode_values(2, {"loss": 9.0}),
        encode_values(2, {"lr": 9.0}),
        encode_values(7, {"loss": 9.0}),
        *some([4]),
    )
    assert frames(log.path) == [(1, {}), (3, {}), (4, {})]
    told = list(describe(log))
    assert (log.unmatched, log.unreadable) == (4, 0)
    assert "left out: 4 lines of values logged late, for steps that the log does not hold" in told


def test_a_last_line_of_values_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    log = read(tmp_path, *some([1]), encode_values(1, {"loss": 2.5})[:15])
    assert frames(log.path) == [(1, {})]
    assert list(log.items())
    assert (log.unreadable, log.first_unreadable) == (1, 3)


def test_a_frame_that_version_0_1_wrote_again_is_read_as_its_late_values() -> None:
    """A consumer of a growing log need not know that version."""
    decoder = Decoder("test")
    decoder.decode(encode_header(HEADER))
    assert isinstance(decoder.decode(encode_frame(1, 0.1, [0.5, 0.25])), Frame)
    late = decoder.decode(encode_frame(1, 0.1, [4.0, 3.0], {"loss": 1.5}))
    assert isinstance(late, Values)
    assert late.values == {"loss": 1.5}
    assert late.norms is not None
    assert late.norms.tolist() == [4.0, 3.0]
    # Nor is a step that was done again such a frame.
    decoder.decode(RESUMED)
    assert isinstance(decoder.decode(encode_frame(1, 0.1, [0.5, 0.25])), Frame)


class Model:
    """What reading gives, in the plainest words: the newest frame of a step gets its values."""

    def __init__(self, lines: list[bytes]) -> None:
        self.frames: list[Frame] = []
        self.unmatched = 0
        decoder = Decoder("test")
        kept: list[Frame] = []
        for line in lines:
            record = decoder.decode(line)
            if isinstance(record, Frame):
                kept = [frame for frame in kept if frame.step < record.step]
                kept.append(record)
            elif isinstance(record, Values):
                for index, frame in enumerate(kept):
                    if frame.step == record.step:
                        kept[index] = frame.joined(record)
                        break
                else:
                    self.unmatched += 1
        self.frames = kept


@st.composite
def ascending(draw: st.DrawFn) -> list[bytes]:
    """Segments whose steps go up, each with values of any step so far, and of some never there."""
    lines = [encode_header(HEADER)]
    for segment in range(draw(st.integers(1, 3))):
        if segment:
            lines.append(RESUMED)
        step = draw(st.integers(0, 4))
        for _ in range(draw(st.integers(0, 6))):
            step += draw(st.integers(1, 2))
            lines.append(encode_frame(step, step / 10, [0.5, 0.25], {"n": len(lines)}))
            for late in draw(st.lists(st.integers(0, step), max_size=2)):
                lines.append(encode_values(late, {"v": len(lines)}))
    return lines


@settings(deadline=None)
@given(ascending())
def test_reading_gives_each_frame_what_was_logged_for_it(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = RunLog(write(Path(folder) / "run.jsonl", *lines))
        found = [(frame.step, dict(frame.extra)) for frame in log.frames()]
    model = Model(lines)
    assert found == [(frame.step, dict(frame.extra)) for frame in model.frames]
    assert log.steps == len(found)
    if lines.count(RESUMED) == 0:
        assert log.unmatched == model.unmatched
