"""The page in a real browser: by mouse, by keyboard alone, by what a screen reader reads."""

import math
import re

import numpy as np
import pytest
from logs import write_log

import gradmidi
from gradmidi._render import render
from gradmidi.comparison.compare import compare
from gradmidi.log import RunLog
from gradmidi.music.composer import BRIGHTNESS
from gradmidi.music.events import Control, End, Off, On
from gradmidi.music.pitch import note_name
from gradmidi.music.preset import load, parse
from gradmidi.music.score import compose, score_of
from gradmidi.report.look import NOT_FINITE, ZERO, palette, rgb
from gradmidi.report.report import Report
from gradmidi.sound.synth import Synth
from gradmidi.text.describe import fault_line

pytestmark = pytest.mark.receivers

SPIKE = "step 41: spike in fc1 (norm 1e4)"
FIRST = "steps 65 to 70: conv1 and fc1 nan (2 of 4 layers)"
SECOND = "step 151 to the end: fc2 nan"
"""The faults of `broken`."""


def rows(steps=200, layers=4):
    rng = np.random.default_rng(3)
    return np.exp(rng.normal(0, 0.3, (steps, layers))).tolist()


def broken():
    values = np.array(rows())
    values[40, 2] = 1e4
    values[64:70, [0, 2]] = math.nan
    values[150:, 3] = math.nan
    return values.tolist()


@pytest.fixture
def page(tmp_path, write_page, visit):
    marks = {1: "epoch 1", 101: "epoch 2"}
    return visit(write_page(write_log(tmp_path / "runs" / "high rate", broken(), marks=marks)))


def until(page, holds, seconds=20):
    """Wait; the page's policy forbids Playwright's own way, which evaluates text."""
    for _ in range(seconds * 20):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {holds}")


def said(page):
    until(page, "element('said').textContent !== ''")
    return page.inner_text("[role=status]")


def time(page) -> float:
    return page.evaluate("player.time")


def test_nothing_plays_by_itself(page):
    page.wait_for_timeout(300)
    assert time(page) == 0
    assert page.evaluate("player.playing") is False
    assert page.evaluate("document.querySelector('audio').paused") is True


def test_plays_and_pauses_from_the_button(page):
    page.get_by_role("button", name="Play", exact=True).click()
    until(page, "player.time > 0.3")
    assert page.evaluate("document.querySelector('audio').paused") is False
    page.get_by_role("button", name="Pause").click()
    stopped = time(page)
    page.wait_for_timeout(200)
    assert time(page) == stopped
    assert page.inner_text("#clock").startswith(f"{stopped:.1f} s of 25.")


def test_keyboard_alone_reaches_every_control(page):
    page.keyboard.press("Tab")
    reached = []
    while page.evaluate("document.activeElement !== document.body"):
        reached.append(
            page.evaluate(
                "(document.activeElement.getAttribute('aria-label')"
                " || document.activeElement.labels?.[0]?.textContent"
                " || document.activeElement.textContent).trim()"
            )
        )
        page.keyboard.press("Tab")
        assert len(reached) < 200
    expected = ["Play", "Position", "Say the numbers", "Earlier fault", "Later fault", "Speed"]
    expected += ["Volume", "Loop the visible part", "Copy link to this moment", "Zoom in"]
    expected += ["Download the sound", "Same scale for all", "Largest"]
    expected += [
        f"{what} {name}" for name in ("conv1", "fc2") for what in ("Solo", "Mute", "Detail of")
    ]
    assert [name for name in expected if name not in reached] == []
    assert [name for name in reached if name == ""] == []
    assert reached.count(SPIKE) == 1


def test_arrow_keys_seek(page):
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert time(page) == pytest.approx(2.0)
    page.keyboard.press("Shift+ArrowLeft")
    assert time(page) == pytest.approx(2.0 - 0.125)
    page.focus("#position")
    page.keyboard.press("PageUp")
    assert time(page) == pytest.approx(11.875)
    assert page.get_attribute("#position", "aria-valuetext").startswith("11.9 s of 25.")
    page.keyboard.press("End")
    assert time(page) == pytest.approx(page.evaluate("run.duration"))
    page.keyboard.press("Home")
    assert time(page) == 0


def test_seeking_the_sound_is_exact(page):
    page.evaluate("player.seek(12.5)")
    page.keyboard.press("Space")
    until(page, "player.time > 12.55")
    assert 12.5 < time(page) < 14.0


def under(page, step, row=None):
    """The place on the screen of a step, in a row of the map, or in the first lane."""
    view = page.locator(".view", has=page.locator("#map" if row is not None else "[data-lane='2']"))
    view.scroll_into_view_if_needed()
    box = view.bounding_box()
    x = page.evaluate("step => picture.x(step)", step)
    share = 0.3 if row is None else (row + 0.5) / page.evaluate("heat.rows")
    return box["x"] + x, box["y"] + share * box["height"]


def test_click_and_hover(page):
    page.mouse.move(*under(page, 101, row=2))
    assert page.inner_text("#hover").splitlines() == [
        "fc1",
        "step 101, 10.1 s of training",
        page.evaluate("heatWords(heat.codes[2 * heat.columns + 100])"),
        "loss 0.0198",
        "12.6 s of the sound",
    ]
    page.mouse.down()
    page.mouse.up()
    assert time(page) == pytest.approx(100.5 * 0.125, abs=0.07)
    page.get_by_role("button", name="Detail of fc1").click()
    page.mouse.move(*under(page, 101))
    shown = page.inner_text("#hover")
    assert shown.startswith("fc1\nstep 101, norm ")
    assert "layers: fc1" in shown
    page.mouse.move(5, 5)
    assert page.locator("#hover").is_hidden()


def test_the_text_beside_the_pointer_goes_when_it_is_stale(page):
    for change in ("scrollBy(0, 40)", "player.seek(3)", "zoom(0.5)"):
        page.mouse.move(*under(page, 60, row=1))
        page.mouse.move(*under(page, 61, row=1))
        assert page.locator("#hover").is_visible()
        page.keyboard.press("Escape") if change == "player.seek(3)" else page.evaluate(change)
        until(page, "element('hover').hidden")


def test_hover_names_the_faults_that_are_near(page):
    x, y = under(page, 40.5, row=2)
    for away, shown in ((4, True), (-4, True), (12, False)):
        page.mouse.move(x + away, y)
        assert (SPIKE in page.inner_text("#hover")) is shown
    page.mouse.move(*under(page, 40.5, row=1))
    assert SPIKE not in page.inner_text("#hover")


def test_every_cell_of_the_map_has_its_colour(tmp_path, write_page, visit):
    values = [[1.0, 1.0, 1.0, 1.0], [16.0, 0.0, math.nan, None], [1 / 16, 1.0, math.inf, 1.0]]
    page = visit(write_page(write_log(tmp_path / "run", values)))
    found = page.evaluate(
        """() => {
          const { width, height } = picture.map;
          const { data } = picture.map.getContext("2d").getImageData(0, 0, width, height);
          return [[1, 0], [2, 0], [3, 0], [2, 1], [2, 2], [3, 2]].map(([step, row]) => {
            const x = Math.round((picture.x(step) * width) / picture.map.clientWidth);
            const at = 4 * (Math.round(((row + 0.5) / heat.rows) * height) * width + x);
            return [...data.slice(at, at + 3)];
          });
        }"""
    )
    ends = [palette(np.array(place)) * 255 for place in (0.0, 1.0, -1.0)]
    black, grey = rgb(NOT_FINITE) * 255, rgb(ZERO) * 255
    assert np.abs(np.array(found) - [*ends, grey, black, black]).max() <= 1


def test_a_fault_of_one_step_is_visible_in_the_map_of_a_long_run(tmp_path, write_page, visit):
    values = np.ones((9000, 300))
    values[6000, 123] = 1e4
    names = [f"blocks.{block}.{part}" for block in range(100) for part in "qkv"]
    page = visit(write_page(write_log(tmp_path / "run", values.tolist(), names=names), length=8.0))
    dark = page.evaluate(
        """() => {
          const { width, height } = picture.map;
          const { data } = picture.map.getContext("2d").getImageData(0, 0, width, height);
          const found = [];
          for (let at = 0; at < data.length; at += 4) {
            if (data[at] > 90 && data[at] < 120 && data[at + 1] < 30 && data[at + 2] < 30) {
              found.push([(at / 4) % width, Math.floor(at / 4 / width)]);
            }
          }
          return found;
        }"""
    )
    x = page.evaluate("picture.x(6001)")
    assert dark
    assert max(abs(place - x) for place, _ in dark) <= 2
    assert {round(y / page.evaluate("picture.map.height") * 300) for _, y in dark} <= {123, 124}


def test_a_redraw_takes_less_than_two_frames_of_a_film(tmp_path, write_page, visit):
    names = [f"blocks.{block}.{part}" for block in range(100) for part in "qkv"]
    values = np.exp(np.random.default_rng(0).normal(0, 1, (4000, 300)))
    page = visit(write_page(write_log(tmp_path / "run", values.tolist(), names=names), length=8.0))
    draws = (
        "Array.from({ length: 9 }, () => { const t = performance.now(); picture.draw(); "
        "return performance.now() - t; }).sort((a, b) => a - b)[4]"
    )
    print(f"a redraw of 300 layers takes {page.evaluate(draws):.0f} ms")


def test_the_cells_are_computed_again_only_if_the_visible_part_changes(page):
    same, moved = page.evaluate(
        """() => {
          const image = () => picture.painted.image.data.join();
          const begun = picture.painted;
          picture.draw();
          const same = picture.painted === begun;
          const before = image();
          picture.show(100, 50);
          return [same, before !== image()];
        }"""
    )
    assert (same, moved) == (True, True)


def test_the_verdict_is_the_first_thing_said(page):
    text = page.locator("body").aria_snapshot()
    broke = text.index("Broke at step 65: conv1 and fc1 became nan")
    assert broke < text.index('button "Play"')
    link = page.locator(".verdict").get_by_role("link", name="Play from 6.0 s")
    link.click()
    until(page, "player.playing")
    assert said(page) == f"{FIRST}. Playing from 6.0 s."


def test_a_link_to_a_moment_is_copied_and_followed_while_open(page):
    page.evaluate("player.seek(4.5)")
    page.get_by_role("button", name="Copy link to this moment").click()
    assert "4.5 s" in said(page)
    assert page.evaluate("location.hash") == "#t=4.50"
    page.evaluate("location.hash = '#t=7.25'")
    until(page, "player.time === 7.25")
    page.evaluate("location.hash = '#t=nowhere'")
    page.wait_for_timeout(100)
    assert time(page) == 7.25


def test_volume_is_that_of_both_sources(page):
    page.fill("#volume", "40")
    assert page.evaluate("player.mix.element.volume") == pytest.approx(0.4)
    page.keyboard.press("1")
    page.get_by_role("button", name="Play", exact=True).click()
    until(page, "player.source === player.chosen && player.time > 0.2")
    assert page.evaluate("player.chosen.master.gain.value") == pytest.approx(0.4)


def test_loop_plays_what_is_visible_again(page):
    page.evaluate("picture.show(100, 16); player.seek(picture.part(0).timeOf(100))")
    page.get_by_role("button", name="Loop the visible part").click()
    page.select_option("#speed", "4")
    start, end = page.evaluate("loopEnds()")
    assert end - start == pytest.approx(2.0, abs=0.2)
    page.evaluate("window.times = []; setInterval(() => times.push(player.time), 20)")
    page.keyboard.press("k")
    until(page, "times.some((t, i) => i && t < times[i - 1] - 1)")
    assert page.evaluate("Math.max(...times)") < end + 0.7
    assert page.evaluate("player.playing") is True


def test_the_sound_can_be_downloaded(page):
    link = page.get_by_role("link", name="Download the sound")
    assert link.get_attribute("download") == "high rate.mp3"
    assert link.get_attribute("href").startswith("blob:")


def test_rows_light_as_they_sound(page):
    page.evaluate("player.seek(2)")
    page.keyboard.press("k")
    until(page, "rows.some((row) => row.classList.contains('lit'))")
    until(
        page,
        """() => {
      const { width, height } = picture.lit;
      const { data } = picture.lit.getContext("2d").getImageData(0, 0, width, height);
      return data.some((value) => value > 0);
    }""",
    )
    page.keyboard.press("k")
    assert page.locator(".lit").count() == 0


def test_wheel_with_ctrl_zooms_and_alone_scrolls_the_page(page):
    page.mouse.move(*under(page, 101, row=2))
    whole = page.evaluate("picture.to - picture.from")
    page.mouse.wheel(0, 100)
    until(page, "scrollY > 0")
    assert page.evaluate("picture.to - picture.from") == whole
    page.mouse.move(*under(page, 101, row=2))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    until(page, f"picture.to - picture.from < {0.6 * whole}")
    assert page.evaluate("picture.inside(101)") is True
    before = page.evaluate("picture.from")
    page.keyboard.down("Shift")
    page.mouse.wheel(0, 200)
    page.keyboard.up("Shift")
    until(page, f"picture.from > {before}")


def test_two_fingers_zoom(tmp_path, write_page, visit):
    page = visit(write_page(write_log(tmp_path / "run", rows())), has_touch=True)
    page.evaluate(
        """() => {
          const view = picture.map.closest(".view"), box = view.getBoundingClientRect();
          view.setPointerCapture = () => {};
          const send = (kind, pointerId, share) => view.dispatchEvent(new PointerEvent(kind, {
            pointerId, pointerType: "touch", bubbles: true, button: kind === "pointermove" ? -1 : 0,
            clientX: box.left + share * box.width, clientY: box.top + 20 }));
          send("pointerdown", 1, 0.4);
          send("pointerdown", 2, 0.6);
          send("pointermove", 1, 0.3);
          send("pointermove", 2, 0.7);
          send("pointerup", 1, 0.3);
          send("pointerup", 2, 0.7);
        }"""
    )
    assert page.evaluate("picture.to - picture.from") == pytest.approx(100, abs=2)


def test_lanes_are_shown_on_demand_on_their_own_or_one_scale(page):
    # The voice that broke first is open.
    assert page.locator(".lane:visible .lane-name").all_inner_texts() == ["conv1"]
    button = page.get_by_role("button", name="Detail of fc2")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator(".lane:visible .lane-name").all_inner_texts() == ["conv1", "fc2"]
    own = page.evaluate("laneEnds(3, picture.shared)")
    page.get_by_role("button", name="Same scale for all").click()
    shared = page.evaluate("laneEnds(3, picture.shared)")
    assert shared[1] == pytest.approx(math.log(1e4), abs=1e-3)
    assert own[1] < 2.0


def test_the_table_of_numbers_is_sorted(page):
    def column(index):
        return page.locator("tbody tr").evaluate_all(
            "(rows, i) => rows.map((row) => row.cells[i].innerText)", index
        )

    assert column(0) == ["conv1", "conv2", "fc1", "fc2"]
    page.get_by_role("button", name="Largest").click()
    head = page.get_by_role("columnheader", name="Largest")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(0)[-1] == "fc1"
    values = [float(text) for text in column(5)]
    assert values == sorted(values)
    page.get_by_role("button", name="Largest").click()
    assert [float(text) for text in column(5)] == values[::-1]
    page.get_by_role("button", name="Layer").click()
    assert column(0) == ["conv1", "conv2", "fc1", "fc2"]
    assert head.get_attribute("aria-sort") is None


def test_what_is_scrolled_to_is_not_below_the_player(page):
    page.set_viewport_size({"width": 1200, "height": 640})
    page.locator("h2", has_text="Numbers").evaluate("node => node.scrollIntoView()")
    page.wait_for_timeout(100)
    deck = page.locator("#deck").bounding_box()
    heading = page.locator("h2", has_text="Numbers").bounding_box()
    assert deck["y"] == 0
    assert heading["y"] >= deck["height"] - 1


def test_number_keys_say_what_they_did(page):
    page.keyboard.press("3")
    assert said(page) == "Solo fc1. Heard: fc1."
    page.keyboard.press("3")
    until(page, "element('said').textContent.startsWith('No longer')")
    assert said(page) == "No longer solo: fc1. All voices are heard."


def test_nan_is_said(page):
    page.evaluate("player.seek(66 * 0.125)")
    page.keyboard.press("n")
    assert "conv1 nan." in said(page)


def test_a_spike_of_one_step_is_drawn_in_a_lane_where_many_steps_share_a_pixel(
    tmp_path, write_page, visit
):
    values = rows(9000, 2)
    values[6000][1] = 1e4
    run = write_log(tmp_path / "run", values, names=("a", "b"))
    page = visit(write_page(run, length=20.0))
    if page.locator(".lane:visible .lane-name").all_inner_texts() != ["b"]:
        page.get_by_role("button", name="Detail of b").click()
    # How high its lane is drawn at the spike, and at the middle one of many other places.
    tops = """bin => {
      const canvas = picture.lanes[1], found = [];
      const { width, height } = canvas;
      const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
      const drawn = (x, y) => {
        const [red, green, blue, alpha] = data.slice(4 * (y * width + x), 4 * (y * width + x) + 4);
        return alpha > 100 && Math.max(red, green, blue) < 60;
      };
      const top = (x) => {
        for (let y = 10; y < 85; y++) if (drawn(x, y)) return y;
        return 85;
      };
      const spike = Math.round(picture.x(playedRuns[0].place[bin]));
      for (let x = picture.left + 9; x < width - 40; x += 7) found.push(top(Math.round(x)));
      found.sort((a, b) => a - b);
      return [Math.min(top(spike - 1), top(spike), top(spike + 1)), found[found.length >> 1]];
    }"""
    assert page.evaluate("playedRuns[0].bins") == 9000
    spike, usual = page.evaluate(tops, 6000)
    assert spike <= 12
    assert usual > 30


def test_numbers_are_those_of_the_log(page, tmp_path):
    page.evaluate("player.seek(49 * 0.125 + 0.001)")
    given = broken()[49]
    for voice, norm in enumerate(given):
        shown = page.locator(".now").nth(voice).inner_text().split()[0]
        assert float(shown) == pytest.approx(norm, rel=6e-3)
    assert page.inner_text("#place").startswith("step 50, loss 0.04")


def test_a_voice_that_names_itself_is_shown_with_the_note_of_its_norm(tmp_path, visit):
    values = np.ones((60, 4))
    values[1:, 1] = 16.0  # Four steps of the scale above its home, E4.
    values[30, 1] = 1e7
    run = write_log(tmp_path / "run", values.tolist())
    preset = load("pentatonic")
    names = [e for e in compose(RunLog(run)) if isinstance(e, On) and e.voice == 1 and not e.norm]
    assert {note_name(event.note) for event in names} == {"E4"}
    page = visit(render(run, tmp_path / "run.html")[0])
    for event in names:
        page.evaluate(f"player.seek({event.tick * preset.time.tick_seconds + 0.01})")
        assert page.locator(".now").nth(1).inner_text().split() == ["16", "D5"]
    page.keyboard.press("n")
    assert "conv2 16, note D5." in said(page)


def test_numbers_are_said_on_request(page):
    page.evaluate("player.seek(5)")
    assert page.inner_text("[role=status]") == ""
    page.keyboard.press("n")
    words = said(page)
    assert words.startswith("At 5.0 s of 25.")
    assert ", step 41, loss 0.0488. conv1 " in words
    assert ", note " in words
    page.get_by_role("button", name="Say the numbers").click()
    page.wait_for_timeout(100)
    assert said(page) == words


def test_fault_link_plays_from_two_seconds_before(page):
    page.get_by_role("link", name=SPIKE).click()
    until(page, "player.playing")
    assert 3.0 <= time(page) < 4.5
    said(page)
    assert page.inner_text("[role=status]") == f"{SPIKE}. Playing from 3.0 s."


def test_a_fault_brings_its_moment_into_view(page):
    page.evaluate("picture.show(150, 20)")
    assert page.evaluate("picture.inside(41)") is False
    page.get_by_role("link", name=SPIKE).click()
    until(page, "player.playing")
    assert page.evaluate("picture.inside(41)") is True


def test_keys_go_from_fault_to_fault(page):
    for key, start, text in (
        ("f", 3.0, f"Fault 1 of 3, {SPIKE}."),
        ("f", 6.0, f"Fault 2 of 3, {FIRST}."),
        ("f", 16.75, f"Fault 3 of 3, {SECOND}."),
        ("Shift+F", 6.0, f"Fault 2 of 3, {FIRST}."),
    ):
        page.keyboard.press(key)
        until(page, f"element('said').textContent.startsWith({text!r})")
        assert start <= time(page) < start + 1.5
    page.keyboard.press("Space")
    page.keyboard.press("f")
    page.keyboard.press("f")
    page.wait_for_timeout(100)
    assert page.inner_text("[role=status]") == "No later fault."


def test_letters_can_be_turned_off(page):
    page.uncheck("#letters")
    page.locator("h1").click()
    page.keyboard.press("n")
    page.keyboard.press("k")
    page.wait_for_timeout(150)
    assert page.inner_text("[role=status]") == ""
    assert page.evaluate("player.playing") is False
    page.keyboard.press("ArrowRight")
    assert time(page) == pytest.approx(1.0)


def test_solo_and_mute(page):
    page.get_by_role("button", name="Mute conv2").click()
    assert page.evaluate("[0,1,2,3].map(v => player.choice.hears('voice', v))") == [
        True, False, True, True,
    ]  # fmt: skip
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Solo fc1").click()
    assert page.evaluate("[0,1,2,3].map(v => player.choice.hears('voice', v))") == [
        False, False, True, False,
    ]  # fmt: skip
    page.get_by_role("button", name="Play", exact=True).click()
    until(page, "player.source === player.chosen && player.time > 0.5")
    page.get_by_role("button", name="Hear all voices").click()
    until(page, "player.playing && player.source === player.mix")
    assert time(page) > 0.5
    assert page.locator("[data-key][aria-pressed=true]").count() == 0


def test_what_is_muted_does_not_sound(page):
    level = """voice => {
      const synth = new Synth();
      const [left, right] = synth.render(0, 1, 0, 44100, (take, v) => v === voice);
      const both = [...left, ...right];
      return Math.sqrt(both.reduce((sum, x) => sum + x * x, 0));
    }"""
    assert page.evaluate(level, 2) > 1
    assert page.evaluate(level, 7) == 0


def test_speed(page):
    page.select_option("#speed", "4")
    page.keyboard.press("k")
    until(page, "player.time > 3")
    assert page.evaluate("player.mix.element.playbackRate") == 4
    page.keyboard.press("k")
    page.keyboard.press("1")
    page.evaluate("player.seek(20)")
    page.keyboard.press("k")
    until(page, "player.time >= run.duration")
    until(page, "!player.playing")


def test_zoom(page):
    page.evaluate("player.seek(10)")
    page.keyboard.press("+")
    page.keyboard.press("+")
    begin, end = page.evaluate("[picture.from, picture.to]")
    assert end - begin == pytest.approx(50)
    assert begin < 81 < end
    assert said(page) == f"The picture shows steps {math.ceil(begin)} to {math.floor(end)}."
    page.get_by_role("button", name="Whole run").click()
    assert page.evaluate("[picture.from, picture.to]") == [0.5, 200.5]


def test_a_place_can_be_linked_to(tmp_path, write_page, visit):
    path = write_page(write_log(tmp_path / "a", rows(80)))
    page = visit(path)
    page.goto(path.as_uri() + "#t=4.5")
    page.reload()
    assert time(page) == 4.5
    assert page.evaluate("player.playing") is False


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"time": {"style": "hold"}, "sound": {"attack": 40.0, "release": 250.0}},
        {"pitch": {"residue": "bend"}},
        {"sound": {"channels": 1}},
    ],
)
def test_page_synthesises_what_gradmidi_does(tmp_path, write_page, visit, change):
    preset = parse({"title": "a variant", **change}, "variant", "variant")
    steps = 60
    slow = [[math.exp(math.sin(0.1 * step + v)) for v in range(4)] for step in range(steps)]
    slow[20][2] = math.nan  # Pulses, then the voice that names itself.
    run = write_log(tmp_path / "run", slow)
    page = visit(write_page(run, preset=preset))
    events = list(compose(RunLog(run), preset))
    assert any(isinstance(e, Control) and e.controller == BRIGHTNESS for e in events) == (
        preset.pitch.residue == "brightness"
    )
    synth = Synth(preset, 4)
    synth.send(events)
    meant = synth.render(44100 * 7)
    made = page.evaluate(
        """() => {
          const synth = new Synth();
          const parts = [[], []];
          for (let block = 0; block < 14; block++) {
            const [left, right] = synth.render(0, 1, block * 22050, 22050, () => true);
            parts[0].push(...left);
            parts[1].push(...right);
          }
          return parts;
        }"""
    )
    made = np.array(made, np.float32).T[:, : meant.shape[1]]
    assert np.abs(meant).max() > 0.05
    assert np.abs(made - meant).max() < 1e-4


@pytest.mark.parametrize("sound", [{}, {"partials": [1.0, 0.0, 0.5], "decay": [0.4, 0.3, 0.2]}])
def test_the_browser_plays_each_note_with_the_spectrum_that_gradmidi_gives_it(
    tmp_path, visit, sound
):
    log = RunLog(write_log(tmp_path / "run", [[1.0] * 4] * 2))
    preset = parse({"title": "a variant", "sound": sound}, "variant", "variant")
    # Below 20 Hz, below C3, with all partials, with some above 12 kHz, a pulse; then a darker one.
    tones = [(0, 11, ""), (1, 28, ""), (0, 60, ""), (1, 60, ""), (2, 107, ""), (3, 50, "nan")]
    length = round(1.0 / preset.time.tick_seconds)
    events = []
    for index, (voice, note, fault) in enumerate(tones):
        on = On(index * length, voice, note, 80, note + 0.25, 1.0, sound=fault)
        events += [on, Off(on.tick + length // 2, voice, note)]
    last = len(tones) * length
    events += [Control(last, 0, BRIGHTNESS, 20), On(last, 0, 60, 80, 60.0, 1.0)]
    events += [End(last + length // 2, 0, 0.0)]
    report = Report(tmp_path / "run.html", score_of(log, preset), log)
    for item in log.blocks():
        report.read(item)
    report.send(events)
    report.close()
    synth = Synth(preset, 4)
    synth.send(events)
    meant = synth.render(44100 * (len(tones) + 1))
    made = visit(report.path).evaluate(
        """async seconds => {
          const context = new OfflineAudioContext(2, seconds * run.synth.rate, run.synth.rate);
          const buffer = context.createBuffer(2, context.length, run.synth.rate);
          new Synth().render(0, 1, 0, context.length, () => true).forEach(
            (channel, index) => buffer.copyToChannel(channel, index));
          const source = new AudioBufferSourceNode(context, { buffer });
          source.connect(context.destination);
          source.start();
          const rendered = await context.startRendering();
          return [0, 1].map((index) => Array.from(rendered.getChannelData(index)));
        }""",
        len(tones) + 1,
    )
    for second in range(len(tones) + 1):
        part = slice(44100 * second, 44100 * (second + 1))
        spectra = [
            np.abs(np.fft.rfft(samples[part].sum(axis=1)))
            for samples in (meant, np.array(made, np.float32).T)
        ]
        # Within -80 dB of the note's loudest frequency, at every frequency.
        assert np.abs(spectra[1] - spectra[0]).max() < 1e-4 * spectra[0].max()


def test_text_is_shown_and_not_run(tmp_path, write_page, visit):
    nasty = "<script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"
    values = np.array(rows(16))
    values[3:, 0] = math.nan
    run = write_log(
        tmp_path / "run", values.tolist(), names=(nasty, "b", "c", "d"), marks={2: nasty}
    )
    page = visit(write_page(run))
    assert page.evaluate("window.broken") is None
    assert page.locator(".one .name").first.inner_text() == nasty
    page.keyboard.press("f")
    said(page)
    assert nasty in page.inner_text("[role=status]")
    page.mouse.move(*under(page, 5, row=0))
    assert nasty in page.inner_text("#hover")
    assert page.evaluate("window.broken") is None


def test_policy_stops_a_script_that_came_in(page):
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.broken = 1";
          document.body.append(script);
        }"""
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.broken") is None
    assert any("Content Security Policy" in trouble for trouble in page.warnings)
    page.warnings.clear()


def test_works_without_script(tmp_path, write_page, visit):
    path = write_page(write_log(tmp_path / "a", broken()))
    page = visit(path, java_script_enabled=False)
    assert page.locator("audio").is_visible()
    assert SPIKE in page.inner_text("main")
    assert "Broke at step 65" in page.inner_text("header")
    page.locator("summary", has_text="lines").click()
    assert "fc2 (40 parameters): first" in page.inner_text("main")
    # The buttons that sort the table do nothing, and nothing else is a button.
    assert page.get_by_role("button").count() == len(page.get_by_role("columnheader").all())


@pytest.mark.slow
def test_calm_where_motion_is_not_wanted(tmp_path, write_page, visit):
    path = write_page(write_log(tmp_path / "a", rows(80)))
    moves = """async () => {
      await player.play();
      const seen = new Set();
      const until = performance.now() + 1500;
      while (performance.now() < until) {
        seen.add(element("picture").style.getPropertyValue("--x"));
        await new Promise((next) => requestAnimationFrame(next));
      }
      return seen.size;
    }"""
    assert visit(path, reduced_motion="reduce").evaluate(moves) <= 5
    assert visit(path).evaluate(moves) > 8


def small_targets(page):
    """Names of controls that are less than 24 pixels wide or high, apart from links in text."""
    return page.evaluate(
        """() => [...document.querySelectorAll("button, select, summary, input, .button")]
          .filter((node) => node.checkVisibility())
          .filter((node) => {
            const { width, height } = node.getBoundingClientRect();
            return width < 24 || height < 24;
          })
          .map((node) => node.id || node.textContent)"""
    )


LOOKS = {
    "light, narrow": {"width": 360, "color_scheme": "light"},
    "dark, narrow": {"width": 360, "color_scheme": "dark"},
    "light, wide": {"width": 1600, "color_scheme": "light"},
    "dark, wide": {"width": 1600, "color_scheme": "dark"},
    "forced colours": {"width": 1200, "forced_colors": "active"},
    "400 % zoom": {"width": 320, "height": 256, "device_scale_factor": 4},
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_fits_and_passes_axe(tmp_path, write_page, visit, axe, look):
    names = ("conv1", "x" * 300, "<b>fc1</b>", "fc2")
    marks = {step: f"epoch {step}" for step in range(1, 200, 4)}
    run = write_log(tmp_path / "run", broken(), names=names, marks=marks)
    look = dict(look)
    width = look.pop("width")
    viewport = {"width": width, "height": look.pop("height", 800)}
    page = visit(write_page(run), viewport=viewport, **look)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for summary in page.locator("summary:visible").all():
        if summary.evaluate("node => !node.parentElement.open"):
            summary.click()
    page.keyboard.press("n")
    page.keyboard.press("1")
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert small_targets(page) == []
    page.evaluate(axe)
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    assert len(found["passes"]) > 20
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []


def test_pressed_is_visible_in_forced_colours(tmp_path, write_page, visit):
    page = visit(write_page(write_log(tmp_path / "a", rows(20))), forced_colors="active")
    button = page.get_by_role("button", name="Mute conv1")
    look = "node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).borderWidth]"
    before = button.evaluate(look)
    button.click()
    after = button.evaluate(look)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_the_player_stays_in_view_but_not_where_it_would_cover_the_page(
    tmp_path, write_page, visit
):
    path = write_page(write_log(tmp_path / "a", broken()))
    for height, stays in ((800, True), (256, False)):
        page = visit(path, viewport={"width": 1200, "height": height})
        page.evaluate("scrollTo(0, 900)")
        page.wait_for_timeout(100)
        assert (page.locator("#deck").bounding_box()["y"] == 0) is stays


def test_in_print_the_controls_are_left_out(page):
    page.emulate_media(media="print")
    assert page.locator("#play").is_hidden()
    assert page.locator("#map").is_visible()
    assert page.locator("td", has_text="conv1").is_visible()


@pytest.fixture(scope="session")
def broken_demo(tmp_path_factory):
    """The demo with a rate of 1, trained here, as its page."""
    pytest.importorskip("torch")
    from gradmidi.demo.experiments import Experiment, run

    folder = tmp_path_factory.mktemp("demo") / "rate one"
    run(Experiment(lr=1.0, steps=60), folder)
    render(folder, folder / "run.html")
    return folder / "run.html"


BROKE = re.compile(r"(are|is) exactly zero from step (\d+) to the end")


@pytest.mark.slow
def test_a_newcomer_finds_where_the_run_broke_by_mouse(broken_demo, visit):
    page = visit(broken_demo)
    told = page.locator("section", has=page.get_by_role("heading", name="What went wrong"))
    line = told.get_by_role("listitem").filter(has_text=BROKE).last
    step = int(BROKE.search(line.inner_text())[2])
    line.get_by_role("link").click()
    until(page, "player.playing && player.time > 0.1")
    assert time(page) < step * 0.125
    page.keyboard.press("Space")
    page.mouse.move(*under(page, 60, row=0))
    assert "exactly zero" in page.inner_text("#hover")


@pytest.mark.slow
def test_the_list_of_faults_leads_to_where_the_run_broke(broken_demo, visit):
    faults = gradmidi.faults(broken_demo.parent)
    assert {"exploding", "dead"} <= {fault.kind for fault in faults}
    page = visit(broken_demo)
    lines = [fault_line(fault) for fault in faults]
    shown = [link.inner_text() for link in page.locator("a[data-fault]").all()]
    assert sorted(shown[1:]) == sorted(lines)
    for fault, line in zip(faults, lines, strict=True):
        page.get_by_role("link", name=line, exact=True).click()
        until(page, f"player.playing && element('said').textContent.startsWith({line!r})")
        page.keyboard.press("k")
        start = max(0.0, (fault.steps[0] - 1) * 0.125 - 2.0)
        assert start <= time(page) < start + 1.0


@pytest.mark.slow
def test_a_newcomer_finds_where_the_run_broke_by_keyboard(broken_demo, visit):
    page = visit(broken_demo)
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.textContent")
        if BROKE.search(name):
            break
    step = int(BROKE.search(name)[2])
    page.keyboard.press("Enter")
    until(page, "player.playing")
    words = said(page)
    assert BROKE.search(words)
    assert "Playing from" in words
    page.keyboard.press("k")
    page.evaluate("document.activeElement.blur()")
    while time(page) < (step + 2) * 0.125:
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("n")
    until(page, "element('said').textContent.startsWith('At ')")
    assert "conv1 0." in said(page)


@pytest.mark.slow
def test_a_newcomer_finds_where_the_run_broke_by_text(broken_demo, visit):
    page = visit(broken_demo)
    text = page.locator("body").aria_snapshot()
    assert text.index("Broke at step") < text.index('button "Play"')
    told = text.index('heading "What went wrong"')
    assert BROKE.search(text, told)
    page.locator("summary", has_text="lines").click()
    text = page.locator("body").aria_snapshot()
    for name in ("conv1", "conv2", "fc1"):
        assert re.search(rf"\b{name}\b.*: exactly zero from step \d+ to the end", text)
    assert re.search(r'img "Norm of conv1, .* largest .*, last 0"', text)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_a_comparison_fits_and_passes_axe(tmp_path, visit, axe, width, scheme):
    nasty = "<script>window.broken = 1</script>"
    names = (nasty, "x" * 300, "fc1", "fc2")
    other = [[4.0 * norm for norm in row] for row in rows()]
    other[150] = [math.nan] * 4
    runs = [
        write_log(tmp_path / "runs" / nasty.replace("/", "-"), rows(), names=names),
        write_log(tmp_path / "runs" / "higher", other, names=names, loss=[3.0] * 200),
        write_log(tmp_path / "runs" / "again", rows(150), names=names),
    ]
    compare(runs, tmp_path / "abc.html")
    page = visit(
        tmp_path / "abc.html", viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.broken") is None
    # The losses of both runs are curves above the voices', each in the run's colour.
    told = page.locator("#losses").get_attribute("aria-label")
    assert "; higher first 3, last 3; again first 2, last 0.0133" in told
    drawn = page.evaluate(
        """() => {
          const { width, height } = picture.losses;
          const { data } = picture.losses.getContext("2d").getImageData(0, 0, width, height);
          const wanted = [0, 1].map((index) => runColour(picture, index).match(/[0-9a-f]{2}/g)
            .map((part) => parseInt(part, 16)));
          return wanted.map((colour) => {
            let count = 0;
            for (let at = 0; at < data.length; at += 4) {
              if (colour.every((part, channel) => Math.abs(data[at + channel] - part) < 40) &&
                  data[at + 3] > 100) count++;
            }
            return count;
          });
        }"""
    )
    assert min(drawn) > 20
    link = page.get_by_role("link", name="higher departs from")
    link.click()
    until(page, "player.playing")
    page.keyboard.press("k")
    page.get_by_role("button", name="Mute run higher").click()
    assert page.evaluate("playedRuns.map(({ run }) => player.choice.hears('run', run))") == [
        True, False, True, True,
    ]  # fmt: skip
    page.evaluate("player.seek(10)")
    page.keyboard.press("n")
    until(page, "element('said').textContent.startsWith('At ')")
    assert "; higher" in said(page)
    page.evaluate(axe)
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []


@pytest.mark.parametrize("values", [[[math.nan] * 4] * 30, [[1.0, 2.0, 3.0, 4.0]], [[0.0] * 4] * 9])
def test_runs_with_little_in_them_open(tmp_path, write_page, visit, values):
    page = visit(write_page(write_log(tmp_path / "run", values)))
    page.keyboard.press("n")
    first = values[0][0]
    expected = "conv1 nan" if math.isnan(first) else f"conv1 {first:g}"
    assert expected in said(page)
    page.keyboard.press("+")
    page.keyboard.press("k")
    page.wait_for_timeout(300)
