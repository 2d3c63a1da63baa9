"""The page as a file: what is in it, what is escaped, how large it is."""

import base64
import hashlib
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from logs import write_log

from gradmidi._render import render
from gradmidi.errors import GradmidiError, RunLogError
from gradmidi.music.alarms import END, seconds_of
from gradmidi.music.preset import load

# A run that was closed in order ends with a sound of its own.
END_SECONDS = seconds_of(END)
NASTY = "<script>document.title='run'</script>"


class Reader(HTMLParser):
    """The elements of a page, its text, and what lies in scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self._in = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in self.inside:
            self._in = tag
            self.inside[tag].append("")

    def handle_endtag(self, tag):
        if tag == self._in:
            self._in = ""

    def handle_data(self, data):
        if self._in:
            self.inside[self._in][-1] += data
        else:
            self.text += data

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self):
        return json.loads(self.inside["script"][0])


def page_of(folder: Path, rows, **options) -> Reader:
    run = write_log(folder / "run", rows, **options)
    path, *_ = render(run, folder / "run.html")
    return Reader(path.read_text(encoding="utf-8"))


def healthy(steps: int, layers: int = 4):
    rng = np.random.default_rng(0)
    return np.exp(rng.normal(0, 0.5, (steps, layers))).tolist()


def test_policy_allows_the_one_script_and_the_one_style_alone(tmp_path):
    page = page_of(tmp_path, healthy(20))
    (policy,) = [m["content"] for m in page.named("meta") if "http-equiv" in m]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    data, script = page.inside["script"]
    (style,) = page.inside["style"]
    assert page.named("script") == [{"type": "application/json", "id": "run"}, {}]
    for what, text in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[what] == f"'sha256-{digest}'"
    handlers = [name for _, a in page.elements for name in a if name.startswith("on")]
    assert handlers == []
    assert not [a for _, a in page.elements if "style" in a]
    assert data


def test_the_page_refers_to_no_other_file(tmp_path):
    page = page_of(tmp_path, healthy(20))
    addresses = [a[key] for _, a in page.elements for key in ("src", "href") if key in a]
    assert [a for a in addresses if not a.startswith(("#", "data:audio/mpeg;base64,"))] == []
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|import)\s*\(", page.inside["script"][1]
    )


def test_what_users_wrote_is_text(tmp_path):
    names = (NASTY, "a&b\"'", "fc1", "</script><b>")
    page = page_of(tmp_path, healthy(8), names=names, marks={3: NASTY})
    assert len(page.named("script")) == 2
    assert page.named("b") == []
    for name in names:
        assert name in page.text
    assert [voice["name"] for voice in page.data["voices"]] == list(names)
    assert [mark["text"] for mark in page.data["marks"]] == [NASTY]


def test_sound_is_the_piece(tmp_path):
    run = write_log(tmp_path / "run", healthy(40))
    render(run, tmp_path / "run.html", tmp_path / "run.wav")
    page = Reader((tmp_path / "run.html").read_text(encoding="utf-8"))
    (audio,) = page.named("audio")
    assert "autoplay" not in audio
    coded = base64.b64decode(audio["src"].split(",", 1)[1])
    heard, rate = soundfile.read(io.BytesIO(coded))
    meant, _ = soundfile.read(tmp_path / "run.wav")
    assert rate == 44100
    # A sound file begins and ends with silence, so that players cut nothing off.
    edge = round(load("pentatonic").sound.silence * rate)
    meant = meant[edge:-edge]
    assert abs(len(heard) - len(meant)) <= 2304  # Two frames of MP3.
    size = min(len(heard), len(meant))
    likeness = np.corrcoef(heard[:size, 0], meant[:size, 0])[0, 1]
    assert likeness > 0.99
    assert page.data["duration"] == pytest.approx(5.0 + END_SECONDS, abs=0.05)


def test_numbers_come_back_out_of_it(tmp_path):
    rows = [[2.0**step, None, 0.0, math.nan] for step in range(-10, 11)]
    page = page_of(tmp_path, rows)
    (run_data,) = page.data["played"]
    codes = np.frombuffer(base64.b64decode(run_data["high"]), "<u2").reshape(4, -1)
    low, high = page.data["voices"][0]["scale"]
    norms = np.exp(low + (codes[0] - 2.0) / 65531 * (high - low))
    assert norms == pytest.approx([row[0] for row in rows], rel=2e-4)
    assert set(codes[1]) == {0}
    assert set(codes[2]) == {1}
    assert set(codes[3]) == {65535}
    assert run_data["step"] == [1, 1]


def test_a_spike_of_one_step_is_visible_in_a_page_of_many_steps(tmp_path):
    rows = healthy(3000, 2)
    rows[1234][1] = 1e4
    run = write_log(tmp_path / "run", rows, names=("a", "b"))
    path, *_ = render(run, tmp_path / "run.html", length=8.0)
    data = Reader(path.read_text(encoding="utf-8")).data
    (run_data,) = data["played"]
    heard = np.frombuffer(base64.b64decode(run_data["heard"]), "<u2").reshape(2, -1)
    high = np.frombuffer(base64.b64decode(run_data["high"]), "<u2").reshape(2, -1)
    assert data["duration"] == pytest.approx(8.0, abs=0.125)
    assert high.shape[1] == 3000
    assert high[1].argmax() == 1234
    assert heard[1].max() == high[1].max() == 65533


def test_notable_lines_have_links(tmp_path):
    rows = [[1.0] * 4] * 30 + [[1e5, 2.0, 3.0, 4.0]] + [[0.0, 1.0, 1.0, 1.0]] * 30
    page = page_of(tmp_path, rows)
    links = [a for a in page.named("a") if (a.get("data-says") or "").startswith("conv1 is ")]
    assert [(a["data-says"], float(a["data-at"])) for a in links] == [
        ("conv1 is largest at step 31: 1e5, 100,000 times its first", pytest.approx(30 * 0.125)),
        ("conv1 is exactly zero from step 32 to the end", pytest.approx(31 * 0.125)),
    ]
    assert links[0]["href"] == "#t=1.75"


def test_the_users_own_voices_are_the_rows(tmp_path):
    voices = {"top": "fc*", "bottom": "conv1"}
    page = page_of(tmp_path, [[1.0, 2.0, 3.0, 4.0]] * 8, voices=voices)
    assert [(voice["name"], voice["layers"]) for voice in page.data["voices"]] == [
        ("top", ["fc1", "fc2"]),
        ("bottom", ["conv1"]),
    ]
    assert "Norm of top, and its notes below. first 5, largest 5, last 5" in [
        canvas.get("aria-label") for canvas in page.named("canvas")
    ]


def test_one_step(tmp_path):
    page = page_of(tmp_path, [[0.5, 1.0, 2.0, 4.0]])
    assert page.data["duration"] == pytest.approx(0.125 + END_SECONDS, abs=0.05)
    assert "1 step in" in page.text


def test_no_step_makes_no_page(tmp_path):
    run = write_log(tmp_path / "run", [])
    with pytest.raises(RunLogError, match="holds no steps"):
        render(run, tmp_path / "run.html")
    assert not (tmp_path / "run.html").exists()


def test_a_loss_that_is_nan_or_infinite_is_in_the_page(tmp_path):
    page = page_of(tmp_path, [[1.0] * 4] * 4, loss=[2.0, 1.0, math.inf, math.nan])
    (run_data,) = page.data["played"]
    codes = np.frombuffer(base64.b64decode(run_data["loss"]), "<u2").tolist()
    assert codes == [65533, 2, 65534, 65535]
    labels = [attributes.get("aria-label") or "" for _, attributes in page.elements]
    assert any(", first 2, last nan" in label for label in labels)
    assert "the loss nan" in page.text


def test_a_run_that_is_all_nan(tmp_path):
    page = page_of(tmp_path, [[math.nan] * 4] * 30, loss=False)
    (run_data,) = page.data["played"]
    assert set(np.frombuffer(base64.b64decode(run_data["heard"]), "<u2")) == {65535}
    assert run_data["loss"] is None
    assert "all layers: nan at 30 steps, first at step 1" in page.text


def test_a_name_of_300_characters(tmp_path):
    name = "é" * 300
    page = page_of(tmp_path, healthy(8), names=(name, "b", "c", "d"))
    assert name in page.text
    assert page.data["voices"][0]["name"] == name


def test_demo_sized_page_is_small(tmp_path):
    run = write_log(tmp_path / "run", healthy(200))
    path, *_ = render(run, tmp_path / "run.html")
    assert path.stat().st_size < 3_000_000


@pytest.mark.slow
def test_a_piece_too_long_for_a_page_leaves_nothing(tmp_path):
    run = write_log(tmp_path / "run", healthy(6500, 1), names=("a",))
    with pytest.raises(GradmidiError, match="at most 12 minutes"):
        render(run, tmp_path / "run.html", length="full")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_long_run_is_under_ten_megabytes(tmp_path):
    names = [f"blocks.{index}.attn.qkv" for index in range(15)]
    run = write_log(tmp_path / "run", healthy(100_000, 15), names=names)
    path, *_ = render(run, tmp_path / "run.html")
    assert path.stat().st_size < 10_000_000


def test_a_run_of_values_alone(tmp_path):
    folder = write_log(tmp_path / "run", [[]] * 30, names=())
    path, _ = render(folder, folder / "run.html", folder / "run.png")
    page = Reader(path.read_text(encoding="utf-8"))
    assert page.data["heat"]["rows"] == 0
    assert [strip["name"] for strip in page.data["heat"]["strips"]] == ["loss"]
    assert "loss, a logged value" in page.text
    assert "map" not in [canvas.get("id") for canvas in page.named("canvas")]
    assert len(page.data["synth"]["places"]) == 2  # The loss and the faults.


def test_the_heat_map_has_every_layer(tmp_path):
    names = [f"blocks.{block}.{part}" for block in range(20) for part in "abc"]
    rows = np.ones((50, 60))
    rows[20:, 7] = math.nan
    page = page_of(tmp_path, rows.tolist(), names=names)
    heat = page.data["heat"]
    codes = np.frombuffer(base64.b64decode(heat["codes"]), np.uint8).reshape(60, 50)
    assert heat["names"] == names
    assert codes[7].tolist() == [2] * 20 + [253] * 30
    assert [2, 3, 1, "c"] in heat["groups"]
    assert [0, 3, 0, "blocks.0"] in heat["groups"]
    (fault,) = page.data["faults"]
    assert (fault["rows"], fault["step"]) == ([[7, 8]], 21)
    assert "Broke at step 21: blocks.2.b became nan" in page.text
