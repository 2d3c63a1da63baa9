"""The page in a real browser: by mouse, by keyboard alone, by what a screen reader reads."""

import math
import re

import numpy as np
import pytest
from logs import write_log

from gradmidi._render import render
from gradmidi.comparison.compare import compare
from gradmidi.log import RunLog
from gradmidi.music.composer import BRIGHTNESS
from gradmidi.music.events import Alarm, Control, End, Off, On
from gradmidi.music.pitch import note_name
from gradmidi.music.preset import load, parse
from gradmidi.music.score import compose, score_of
from gradmidi.report.report import Report
from gradmidi.sound.synth import Synth
from gradmidi.text.words import where

pytestmark = pytest.mark.receivers

FAULTS = ((40, "exploding", "fc1"), (64, "nan", "conv1"), (64, "nan", "fc1"))


def rows(steps=200, layers=4):
    rng = np.random.default_rng(3)
    return np.exp(rng.normal(0, 0.7, (steps, layers))).tolist()


@pytest.fixture
def page(tmp_path, write_page, visit):
    run = write_log(tmp_path / "runs" / "high rate", rows(), marks={1: "epoch 1", 101: "epoch 2"})
    return visit(write_page(run, faults=FAULTS))


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
    expected += [f"{what} {name}" for name in ("conv1", "fc2") for what in ("Solo", "Mute")]
    assert [name for name in expected if name not in reached] == []
    assert [name for name in reached if name == ""] == []
    assert sum(name.startswith("5.0 s, play step 41: fc1 exploding") for name in reached) == 1


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


def test_click_and_hover(page):
    lane = page.locator(".lane.voice .view").nth(2)
    box = lane.bounding_box()
    page.mouse.move(box["x"] + 46 + (box["width"] - 46) / 2, box["y"] + 30)
    shown = page.inner_text("#hover")
    assert shown.startswith("fc1\nstep 1")
    assert "layers: fc1" in shown
    assert "norm " in shown
    page.mouse.down()
    page.mouse.up()
    assert time(page) == pytest.approx(page.evaluate("run.duration") / 2, abs=0.1)
    page.mouse.move(5, 5)
    assert page.locator("#hover").is_hidden()


def test_hover_names_the_faults_that_are_near(page):
    lane = page.locator(".lane.voice .view").nth(2)
    box = lane.bounding_box()
    x = page.evaluate("width => picture.x(5, width)", box["width"])
    for away, shown in ((4, True), (-4, True), (12, False)):
        page.mouse.move(box["x"] + x + away, box["y"] + 30)
        assert ("step 41: fc1 exploding" in page.inner_text("#hover")) is shown


def test_a_spike_of_one_step_is_drawn_where_many_steps_share_a_pixel(tmp_path, write_page, visit):
    values = rows(9000, 2)
    values[6000][1] = 1e4
    run = write_log(tmp_path / "run", values, names=("a", "b"))
    page = visit(write_page(run, length=20.0))
    # How high its lane is coloured at the spike, and at the middle one of many other places.
    tops = """bin => {
      const canvas = picture.lanes[1], found = [];
      const { width, height } = canvas;
      const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
      const coloured = (x, y) => {
        const [red, green, blue, alpha] = data.slice(4 * (y * width + x), 4 * (y * width + x) + 4);
        return alpha > 100 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60;
      };
      const top = (x) => {
        for (let y = 10; y < 75; y++) if (coloured(x, y)) return y;
        return 75;
      };
      const spike = Math.round(picture.x(playedRuns[0].at[bin], width));
      for (let x = 60; x < width - 40; x += 7) found.push(top(x));
      found.sort((a, b) => a - b);
      return [Math.min(top(spike - 1), top(spike), top(spike + 1)), found[found.length >> 1]];
    }"""
    assert page.evaluate("playedRuns[0].bins") == 9000
    spike, usual = page.evaluate(tops, 6000)
    assert spike <= 12
    assert usual > 30


def test_numbers_are_those_of_the_log(page, tmp_path):
    page.evaluate("player.seek(49 * 0.125 + 0.001)")
    given = rows()[49]
    for voice, norm in enumerate(given):
        shown = page.locator(".now").nth(voice).inner_text().split()[0]
        assert float(shown) == pytest.approx(norm, rel=6e-3)
    assert page.inner_text("#place").startswith("step 50, loss 0.04")


def test_a_voice_that_names_itself_is_shown_with_the_note_of_its_norm(tmp_path, visit):
    values = np.ones((60, 4))
    values[1:, 1] = 16.0  # Four steps of the scale above its home, C4.
    values[30, 1] = 1e7
    run = write_log(tmp_path / "run", values.tolist())
    preset = load("pentatonic")
    names = [e for e in compose(RunLog(run)) if isinstance(e, On) and e.voice == 1 and not e.norm]
    assert {note_name(event.note) for event in names} == {"C4"}
    page = visit(render(run, tmp_path / "run.html")[0])
    for event in names:
        page.evaluate(f"player.seek({event.tick * preset.time.tick_seconds + 0.01})")
        assert page.locator(".now").nth(1).inner_text().split() == ["16", "A4"]
    page.keyboard.press("n")
    assert "conv2 16, note A4." in said(page)


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
    page.get_by_role("link", name="play step 41: fc1 exploding").click()
    until(page, "player.playing")
    assert 3.0 <= time(page) < 4.5
    said(page)
    assert page.inner_text("[role=status]") == ("step 41: fc1 exploding. Playing from 3.0 s.")


def test_keys_go_from_fault_to_fault(page):
    for key, start, text in (
        ("f", 3.0, "Fault 1 of 3, step 41: fc1 exploding."),
        ("f", 6.0, "Fault 2 of 3, step 65: conv1 nan."),
        ("f", 6.0, "Fault 3 of 3, step 65: fc1 nan."),
        ("Shift+F", 6.0, "Fault 2 of 3, step 65: conv1 nan."),
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
    assert page.locator("[aria-pressed=true]").count() == 0


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
    assert end - begin == pytest.approx(page.evaluate("run.duration") / 4)
    assert begin < 10 < end
    page.get_by_role("button", name="Whole piece").click()
    assert page.evaluate("[picture.from, picture.to]") == [0, page.evaluate("run.duration")]


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
    run = write_log(tmp_path / "run", rows(16), names=(nasty, "b", "c", "d"), marks={2: nasty})
    page = visit(write_page(run, faults=((3, "nan", nasty),)))
    assert page.evaluate("window.broken") is None
    assert page.locator("h3").nth(1).inner_text() == nasty
    page.keyboard.press("f")
    said(page)
    assert nasty in page.inner_text("[role=status]")
    view = page.locator(".view").nth(2).bounding_box()
    page.mouse.move(view["x"] + 200, view["y"] + 20)
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
    path = write_page(write_log(tmp_path / "a", rows(80)), faults=FAULTS[:1])
    page = visit(path, java_script_enabled=False)
    assert page.locator("audio").is_visible()
    assert "step 41: fc1 exploding" in page.inner_text("main")
    assert "fc2 (40 parameters): first" in page.inner_text("main")
    assert page.get_by_role("button").count() == 0


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_fits_and_passes_axe(tmp_path, write_page, visit, axe, width, scheme):
    names = ("conv1", "x" * 300, "<b>fc1</b>", "fc2")
    marks = {step: f"epoch {step}" for step in range(1, 200, 4)}
    run = write_log(tmp_path / "run", rows(), names=names, marks=marks)
    page = visit(
        write_page(run, faults=((40, "exploding", "fc2"), (64, "nan", "x" * 300))),
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("details summary").click()
    page.keyboard.press("n")
    page.keyboard.press("1")
    page.wait_for_timeout(200)
    page.evaluate(axe)
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    assert len(found["passes"]) > 20
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []


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
    line = told.get_by_role("listitem").filter(has_text=BROKE).first
    step = int(BROKE.search(line.inner_text())[2])
    line.get_by_role("link").click()
    until(page, "player.playing && player.time > 0.1")
    assert time(page) < step * 0.125
    page.keyboard.press("Space")
    lane = page.locator(".lane.voice .view").nth(0)
    last = "width => picture.x(playedRuns[0].begins.at(-1), width)"
    x = page.evaluate(last, lane.bounding_box()["width"])
    lane.hover(position={"x": x, "y": 30})
    assert "norm 0" in page.inner_text("#hover")


@pytest.mark.slow
def test_the_table_of_faults_leads_to_where_the_run_broke(broken_demo, visit):
    score = compose(RunLog(broken_demo.parent))
    told = [(str(a.step), a.kind, where(a)) for a in score if isinstance(a, Alarm)]
    assert {"exploding", "dead"} <= {kind for _, kind, _ in told}
    page = visit(broken_demo)
    rows = page.get_by_role("table").locator("tbody tr")
    shown = [row.locator("td").all_inner_texts()[1:4] for row in rows.all()]
    assert sorted((step, kind, layer) for kind, layer, step in shown) == sorted(told)
    for kind in ("exploding", "dead"):
        row = rows.filter(has_text=kind).first
        step = int(row.locator("td").nth(3).inner_text())
        row.get_by_role("link").click()
        said = "element('said').textContent"
        until(page, f"player.playing && {said}.startsWith('step {step}: ')")
        assert kind in page.evaluate(said)
        page.keyboard.press("k")
        start = max(0.0, (step - 1) * 0.125 - 2.0)
        assert start <= time(page) < start + 1.0


@pytest.mark.slow
def test_a_newcomer_finds_where_the_run_broke_by_keyboard(broken_demo, visit):
    page = visit(broken_demo)
    for _ in range(20):
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
    told = text.index('heading "What went wrong"')
    assert told < text.index('button "Play"')
    assert BROKE.search(text, told, text.index('button "Play"'))
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
        write_log(tmp_path / "runs" / "higher", other, names=names),
        write_log(tmp_path / "runs" / "again", rows(150), names=names),
    ]
    compare(runs, tmp_path / "abc.html")
    page = visit(
        tmp_path / "abc.html", viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.broken") is None
    link = page.get_by_role("link", name="Play from").first
    assert "higher departs from" in link.locator("xpath=..").inner_text()
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
