"""Slots on the beats of a session, with sessions and a clock of ours."""

import math
import subprocess
import sys

import numpy as np
import pytest
from logs import write_log
from test_player import HEADER, Stage, frames, session

from gradmidi.log import End
from gradmidi.midi.rig import Rig
from gradmidi.music.events import Alarm, On, Step
from gradmidi.music.preset import load
from gradmidi.player.timeline import LinkTimeline

SIXTEENTH = 0.25
BAR = 4.0


class Session:
    """A session whose tempo changes, and whose beats jump, at times of the clock."""

    def __init__(self, clock, changes, first=120.3, beat=1.3):
        self.clock = clock
        self.changes = [(0.0, first, beat), *changes]
        self.peers = 1

    def beat(self, at):
        beat, tempo, since = 0.0, 0.0, 0.0
        for begins, next_tempo, jump in self.changes:
            if begins > at:
                break
            beat += (begins - since) * tempo / 60.0 + jump
            tempo, since = next_tempo, begins
        return beat + (at - since) * tempo / 60.0, tempo

    def now(self):
        beat, tempo = self.beat(self.clock())
        return tempo, beat, self.peers


def performed(
    changes, *, seconds=14.0, rig=None, gap=0.05, bar=BAR, preset="pentatonic", **options
):
    """Play frames along a session; return the session, the outputs and the player."""
    made = []

    def timeline(clock):
        made.append(Session(clock, changes))
        return LinkTimeline(120.0, bar, made[0], clock)

    times = np.arange(0.01, seconds, gap).tolist()
    script = [(0.0, HEADER), *frames(times), (seconds, End("closed", seconds, len(times)))]
    if options.get("paced"):
        script = [(0.0, item) for _, item in script]
    script += [(seconds, {"do": "end"})]
    stage = Stage(session(preset, rig=rig or Rig(), **options), script, timeline=timeline)
    outputs = stage.run()
    return made[0], outputs, stage.player


def off_the_grid(played, at, grid):
    """How far a time is from the session's grid, in milliseconds."""
    beat, tempo = played.beat(at)
    return abs(math.remainder(beat, grid)) * 60_000.0 / tempo


CHANGES = [(4.0, 150.0, 0.0), (8.0, 61.0, 0.0), (11.0, 61.0, 1.7)]


def test_slots_lie_on_the_beats_over_changes_of_tempo_and_a_jump(capsys):
    played, outputs, player = performed(CHANGES)
    steps = outputs.of(Step)
    assert len(steps) > 60
    wrong = [at for at, _ in steps if off_the_grid(played, at, SIXTEENTH) > 0.5]
    # Within 10 ms of a change, the player may not have seen it.
    assert all(any(0.0 <= at - change[0] <= 0.012 for change in CHANGES) for at in wrong)
    counts = player.counts()
    assert (counts["frames"], counts["late"]) == (280, 0)
    assert [rate * 120.0 for rate in outputs.rates] == pytest.approx([120.3, 150.0, 61.0])
    assert not outputs.hanging
    assert not outputs.of(Alarm)
    assert "Ableton Link: 1 other program, tempo 120.3" in capsys.readouterr().err


def test_the_first_slot_starts_a_bar_and_holds_the_largest_norms_so_far():
    played, outputs, _ = performed([])
    (at, first), (_, second) = outputs.of(Step)[:2]
    assert off_the_grid(played, at, BAR) < 0.1
    assert at == pytest.approx((BAR - 1.3) * 60.0 / 120.3, abs=0.001)
    assert first.step > 20
    assert 1 <= second.step - first.step <= 3
    # No slot is longer than any other: the wait for the bar is not kept.
    assert outputs.of(On)[0][0] == pytest.approx(at)


@pytest.mark.parametrize(("meter", "bar"), [("3/4", 3.0), ("5/4", 5.0), ("7/8", 3.5)])
def test_bars_of_the_piece_are_bars_of_the_session(meter, bar):
    preset = load("pentatonic", {"time.meter": meter})
    played, outputs, _ = performed(
        [(5.0, 150.0, 0.0)], bar=bar, preset=preset, rig=Rig(ports=("x",), clock=True, link=True)
    )
    steps = outputs.of(Step)
    assert off_the_grid(played, steps[0][0], bar) < 0.1
    starts = [at for at, event in steps if event.tick % preset.time.bar_ticks == 0]
    assert len(starts) > 3
    assert max(off_the_grid(played, at, bar) for at in starts) < 0.5
    started = next(at for at, message in outputs.ticks if message[0] == 0xFA)
    assert steps[0][0] - started == pytest.approx(60.0 / 120.3 / 48, abs=0.001)


def test_with_swing_every_second_sixteenth_of_a_beat_is_late():
    preset = load("pentatonic", {"time.swing": 0.6})
    played, outputs, _ = performed([], preset=preset, gap=0.03)
    places = {round(played.beat(at)[0] % 0.5, 2) for at, _ in outputs.of(Step)}
    assert places - {0.5} == {0.0, 0.3}


@pytest.mark.parametrize("tempo", [20.0, 999.0])
def test_the_slowest_and_the_fastest_session_are_followed(tempo):
    played, outputs, player = performed([(0.5, tempo, 0.0)])
    steps = [at for at, _ in outputs.of(Step)]
    assert max(off_the_grid(played, at, SIXTEENTH) for at in steps[1:]) < 0.5
    assert player.counts()["frames"] == 280


def test_the_seconds_of_the_run_stay_its_own():
    _, outputs, _ = performed([(2.0, 240.0, 0.0)], seconds=8.0)
    assert outputs.of(Step)[-1][1].seconds == pytest.approx(7.96, abs=0.06)


def test_a_stall_is_found_by_the_clock_and_not_by_the_beats():
    times = [0.1 * n for n in range(1, 40)]
    script = [(0.0, HEADER), *frames(times), (60.0, {"do": "stop"})]

    def stalled(tempo):
        timeline = lambda clock: LinkTimeline(120.0, 4.0, Session(clock, [], tempo), clock)  # noqa: E731
        outputs = Stage(session(), script, timeline=timeline).run()
        return next(at for at, event in outputs.of(Alarm) if event.kind == "stalled")

    assert stalled(480.0) == pytest.approx(stalled(120.0), abs=0.6)


def test_the_midi_clock_ticks_with_the_session_and_starts_at_its_bar():
    rig = Rig(ports=("x",), clock=True, link=True)
    played, outputs, _ = performed([(6.0, 150.0, 0.0)], rig=rig)
    ticks = [at for at, message in outputs.ticks if message[0] == 0xF8]
    off = [off_the_grid(played, at, 1 / 24) for at in ticks if not 6.0 <= at <= 6.012]
    assert max(off) < 0.5
    started = next(at for at, message in outputs.ticks if message[0] == 0xFA)
    first = outputs.of(Step)[0][0]
    assert off_the_grid(played, first, BAR) < 0.1
    assert first - started == pytest.approx(60.0 / 120.3 / 48, abs=0.001)
    # Ticks begin at a bar; a bar of them comes before Start.
    assert sum(at < started for at in ticks) >= 96


def test_a_finished_run_is_played_at_the_tempo_of_the_session():
    played, outputs, _ = performed([(3.0, 180.0, 0.0)], paced=True, time="step", gap=0.5)
    steps = [at for at, _ in outputs.of(Step)]
    assert len(steps) == 28
    assert off_the_grid(played, steps[0], BAR) < 0.1
    assert max(off_the_grid(played, at, SIXTEENTH) for at in steps) < 0.5


def test_time_goes_the_shorter_way_to_the_place_in_the_bar():
    now = [0.0]
    beats = Session(lambda: now[0], [], first=120.0, beat=0.0)
    timeline = LinkTimeline(120.0, 4.0, beats, lambda: now[0])
    for jump, then in ((0.5, 0.25), (3.9, 0.2), (-0.2, 0.1), (40.0, 0.1)):
        beats.changes.append((now[0], 120.0, jump))
        timeline.follow()
        assert timeline.of(now[0]) == pytest.approx(then)
        assert timeline.clock(timeline.of(5.0)) == pytest.approx(5.0)


def test_a_reading_that_was_interrupted_does_not_count():
    now = [0.0]
    beats = Session(lambda: now[0], [], first=120.0, beat=0.0)

    def read():
        found = Session.now(beats)
        now[0] += 0.01
        return found

    timeline = LinkTimeline(120.0, 4.0, beats, lambda: now[0])
    beats.now = read
    for _ in range(5):
        timeline.follow()
        assert timeline.of(now[0]) == pytest.approx(now[0])


def test_only_the_player_imports_the_library():
    script = (
        "import sys; from gradmidi.options import Options; "
        "session = Options(settings=('link=true',), osc='9000').session(); "
        "assert session.rig.link and 'link' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_the_library_the_error_names_the_extra(tmp_path):
    (tmp_path / "link.py").write_text("raise ImportError")
    run = write_log(tmp_path / "a", [[1.0, 2.0, 3.0, 4.0]] * 4)
    done = subprocess.run(
        [sys.executable, "-m", "gradmidi", "play", run, "--link", "--osc", "9000", "--plain"],
        env={"PYTHONPATH": f"{sys.path[0]}:{tmp_path}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "link needs LinkPython-extern: pip install 'gradmidi[link]'"
    )
    assert "Traceback" not in done.stderr
