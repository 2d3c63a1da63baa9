"""The player's loop with a clock of ours, and its process by what it answers."""

import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from gradmidi.cli.screenlines import Shown, screen_lines
from gradmidi.live.feed import READY_SECONDS
from gradmidi.live.session import Session
from gradmidi.log import End, Frame, Header, Layer, encode, row
from gradmidi.midi.rig import Rig
from gradmidi.music.events import FAULT_VOICE, Alarm, Off, On, Sounding, Step
from gradmidi.music.preset import load
from gradmidi.player.player import Player
from gradmidi.player.timeline import END_SECONDS, STALE_SECONDS, Lateness

HOLD = load("hold")
HEADER = Header((Layer("fc1", 10), Layer("fc2", 20)))


class Outputs:
    """Keeps what it is sent, and when."""

    def __init__(self, clock):
        self.clock = clock
        self.heard, self.ticks, self.calls, self.rates = [], [], [], []
        self.turns = []

    def commands(self):
        return []

    def answer(self, mixer, names):
        self.calls.append(("answer", mixer.level, list(names)))

    def begin(self, run, voices, layers, slot):
        assert slot > 0.0
        self.calls.append(("begin", run, [voice.name for voice in voices], layers))

    def change(self, session):
        self.calls.append(("change", session.preset.name))
        self.turns.append((self.clock(), len(self.heard)))

    def send(self, events):
        self.heard += [(self.clock(), event) for event in events]

    def tick(self, message):
        self.ticks.append((self.clock(), message))

    def silence(self):
        self.calls.append("silence")

    def keep_alive(self):
        pass

    def keep_time(self, rate):
        if not self.rates or self.rates[-1] != rate:
            self.rates.append(rate)

    def close(self):
        self.calls.append("close")

    def counts(self):
        return {}

    def of(self, kind):
        return [(at, event) for at, event in self.heard if isinstance(event, kind)]

    @property
    def hanging(self):
        sounding = Sounding()
        for _, event in self.heard:
            if isinstance(event, On):
                sounding.start((event.voice, event.note), event)
            elif isinstance(event, Off):
                assert sounding.end((event.voice, event.note)) is not None, "an end of no note"
        return list(sounding)


class Stage:
    """A player in a time of ours: lines and commands come when `script` says."""

    def __init__(self, session, script, *, slow=lambda now: 0.0, timeline=lambda clock: None):
        self.now = 0.0
        self.script = sorted(script, key=lambda each: each[0])
        self.slow = slow
        self.said = []
        self.outputs = Outputs(lambda: self.now)
        self.player = Player(
            replace(session, parent=os.getppid()),
            self.outputs,
            self.said.append,
            timeline=timeline(lambda: self.now),
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        self.sleep(0.0)

    def sleep(self, seconds):
        assert self.now < 600.0, "the player does not end"
        self.now += max(seconds, 1e-5) + self.slow(self.now)
        while self.script and self.script[0][0] <= self.now:
            at, item = self.script.pop(0)
            self.player.inbox.put((at, item))

    def run(self):
        self.player.run()
        return self.outputs


def frames(times, norm=1.0):
    return [(t, Frame(n, t, row([norm, 2.0 * norm]))) for n, t in enumerate(times, 1)]


def session(preset="pentatonic", **options):
    return Session(load(preset) if isinstance(preset, str) else preset, **options)


def test_everything_is_sent_when_it_is_due_and_in_the_end_all_is_silent():
    times = np.arange(0.05, 10.0, 0.09).tolist()
    script = [(0.0, {"do": "run", "name": "a"}), (0.001, HEADER), *frames(times)]
    script.append((10.1, End("closed", 10.1, len(times))))
    stage = Stage(session(), script)
    outputs = stage.run()
    assert outputs.calls == [("begin", "a", ["fc1", "fc2"], 2), "silence", "close"]
    assert not outputs.hanging
    assert len(outputs.of(On)) > 150
    counts = stage.player.counts()
    assert (counts["frames"], counts["late"], counts["stale"]) == (len(times), 0, 0)
    assert counts["lateness_ms"]["max"] < 0.1
    assert stage.now < 10.1 + END_SECONDS


def test_the_end_of_the_lines_without_an_end_is_reported_and_bounded():
    script = [(0.0, HEADER), *frames([0.1, 0.2, 0.3]), (1.0, None)]
    stage = Stage(session(HOLD), script)
    outputs = stage.run()
    assert [event.kind for _, event in outputs.of(Alarm)] == ["died"]
    assert not outputs.hanging
    assert stage.now <= 1.0 + END_SECONDS + 0.06


def test_a_run_that_plays_when_its_parent_is_gone_ends():
    stage = Stage(session(HOLD), [(0.0, HEADER), *frames([0.1 * n for n in range(1, 5000)])])
    stage.player.session = replace(stage.player.session, parent=os.getpid())
    outputs = stage.run()
    assert stage.now < END_SECONDS + 0.5
    assert not outputs.hanging


def test_a_slot_of_twelve_seconds_does_not_delay_the_end():
    slow = replace(HOLD, time=replace(HOLD.time, tempo=20.0, slot="1/1"))
    stage = Stage(session(slow), [(0.0, HEADER), *frames([0.1]), (0.5, End("closed", 0.5, 1))])
    outputs = stage.run()
    assert outputs.of(On)
    assert not outputs.hanging
    assert stage.now <= 0.5 + END_SECONDS + 0.06


def test_whatever_fails_everything_is_silenced_and_closed():
    stage = Stage(session(HOLD), [(0.0, HEADER), *frames([0.1, 0.2]), (1.0, {"do": "stop"})])
    stage.player._look = lambda now: 1 / int(now < 0.6)
    with pytest.raises(ZeroDivisionError):
        stage.run()
    assert stage.outputs.calls[-2:] == ["silence", "close"]
    assert not stage.outputs.hanging


def test_keys_reach_the_mixer():
    script = [(0.0, HEADER), *frames([0.1 * n for n in range(1, 60)])]
    script += [
        (1.0, {"do": "mute"}),
        (2.0, {"do": "mute"}),
        (3.0, {"do": "solo", "voice": 1}),
        (4.0, {"do": "solo", "voice": 1}),
        (4.5, {"do": "level", "by": -12.0}),
        (6.0, {"do": "stop"}),
    ]
    outputs = Stage(session(load("pentatonic", {"loudness.change": 0})), script).run()
    ons = [(at, on.voice, on.velocity) for at, on in outputs.of(On)]
    assert not [on for on in ons if 1.06 < on[0] < 2.0]
    assert {voice for at, voice, _ in ons if 3.06 < at < 4.0} == {1}
    assert {voice for at, voice, _ in ons if at < 1.0} == {0, 1}
    assert {velocity for at, _, velocity in ons if at < 1.0} == {80}
    assert {velocity for at, _, velocity in ons if at > 4.56} == {40}
    assert not outputs.hanging


def test_a_panic_ends_every_note_and_the_run_plays_on():
    script = [(0.0, HEADER), *frames([0.1 * n for n in range(1, 40)])]
    script += [(1.0, {"do": "panic"}), (2.0, {"do": "query"}), (3.0, {"do": "stop"})]
    outputs = Stage(session(HOLD), script).run()
    assert outputs.calls.index("silence") < outputs.calls.index(("answer", 0.0, ["fc1", "fc2"]))
    assert outputs.calls[-2:] == ["silence", "close"]
    assert not outputs.hanging


def test_notes_that_are_far_too_late_are_not_struck_but_their_numbers_are_reported():
    script = [(0.0, HEADER), *frames([0.05 * n for n in range(1, 200)])]
    script.append((10.0, End("closed", 10.0, 199)))
    # The machine stands still once, for five seconds.
    stood = iter([5.0])
    slow = lambda now: next(stood, 0.0) if now > 3.0 else 0.0  # noqa: E731
    stage = Stage(session(), script, slow=slow)
    outputs = stage.run()
    counts = stage.player.counts()
    assert counts["late"] > 50
    assert not outputs.hanging
    slots = [event.tick for _, event in outputs.of(Step)]
    assert len(slots) == len(set(slots))
    # The end has a sound of its own, after the last slot.
    voiced = [(at, on) for at, on in outputs.of(On) if on.voice != FAULT_VOICE]
    assert len(voiced) > 50
    for at, on in voiced:
        due = next(a for a, e in outputs.of(Step) if e.tick <= on.tick < e.tick + 120)
        assert at - due < 0.125 + STALE_SECONDS


def test_a_finished_run_is_heard_to_its_end_though_its_lines_came_at_once():
    lines = [(0.0, HEADER), *((0.001, frame) for _, frame in frames(np.arange(0.1, 20, 0.1)))]
    lines += [(0.002, End("closed", 20.0, 199)), (0.003, {"do": "end"})]
    stage = Stage(session(paced=True), lines)
    outputs = stage.run()
    assert 19.0 < stage.now < 22.0
    assert outputs.of(Step)[-1][1].step == 199
    assert stage.player.counts()["late"] == 0
    assert not outputs.of(Alarm)


def test_a_finished_run_falls_silent_when_whoever_reads_it_is_gone():
    lines = [(0.0, HEADER), *((0.001, frame) for _, frame in frames(np.arange(0.1, 20, 0.1)))]
    stage = Stage(session(HOLD, paced=True), [*lines, (1.0, None)])
    outputs = stage.run()
    assert stage.now < 1.2
    assert not outputs.hanging


@pytest.mark.parametrize("after", [{"do": "end"}, None])
def test_a_stop_is_not_taken_back(after):
    lines = [(0.0, HEADER), *((0.001, frame) for _, frame in frames(np.arange(0.1, 20, 0.1)))]
    stage = Stage(session(HOLD, paced=True), [*lines, (1.0, {"do": "stop"}), (1.0, after)])
    outputs = stage.run()
    assert stage.now < 1.2
    assert not outputs.hanging


@pytest.mark.parametrize("options", [{"paced": True}, {"history": True, "delay": 60.0}])
def test_a_player_that_has_all_its_lines_ends_when_its_pipe_does(options):
    lines = [(0.0, HEADER), *((0.001, frame) for _, frame in frames(np.arange(0.1, 20, 0.1)))]
    lines += [(0.002, End("closed", 20.0, 199)), (0.003, {"do": "end"}), (2.0, None)]
    stage = Stage(session(HOLD, **options), lines)
    outputs = stage.run()
    assert stage.now < 2.2
    assert not outputs.hanging


def test_what_was_there_before_is_silent_until_live_is_said():
    past = [(0.0, frame) for _, frame in frames(np.arange(0.1, 20, 0.1), norm=8.0)]
    script = [(0.0, HEADER), *past, (1.0, {"do": "live"})]
    script += [(1.1, Frame(200, 20.1, row([16.0, 32.0]))), (2.0, {"do": "stop"})]
    outputs = Stage(session(history=True), script).run()
    assert all(at > 1.1 for at, _ in outputs.heard)
    assert [event.step for _, event in outputs.of(Step)] == [200]


def test_the_clock_starts_on_slot_0_and_stops_after_the_last_off():
    script = [(0.0, HEADER), *frames(np.arange(0.1, 6.0, 0.1)), (6.1, End("closed", 6.1, 59))]
    stage = Stage(session(rig=Rig(ports=("x",), clock=True)), script)
    outputs = stage.run()
    kinds = [message[0] for _, message in outputs.ticks]
    assert kinds[-1] == 0xFC
    assert kinds.count(0xFA) == 1
    bar = 4 * 60.0 / 120.0
    started = next(at for at, message in outputs.ticks if message[0] == 0xFA)
    first = outputs.of(Step)[0]
    assert first[1].tick == 0
    assert first[0] == pytest.approx(started + 1 / 96, abs=0.002)
    assert first[0] == pytest.approx(bar, abs=0.06)
    assert outputs.ticks[-1][0] >= max(at for at, _ in outputs.of(Off))
    assert stage.player.counts()["clock_ms"]["max"] < 0.1


def test_merged_frames_are_counted():
    script = [(0.0, HEADER), (0.1, {"do": "merged", "frames": 7}), (0.2, {"do": "stop"})]
    stage = Stage(session(), script)
    stage.run()
    assert stage.player.counts()["merged"] == 7


def test_the_status_is_reported_several_times_a_second_if_it_is_asked_for():
    script = [(0.0, HEADER), *frames([0.1 * n for n in range(1, 40)]), (4.0, {"do": "stop"})]
    stage = Stage(session(), script)
    stage.run()
    assert not any("status" in answer for answer in stage.said)
    stage = Stage(session(), [*script, (0.0, {"do": "watch"})])
    stage.run()
    told = [answer["status"] for answer in stage.said if "status" in answer]
    assert 12 <= len(told) <= 25
    assert told[-1]["norms"] == [1.0, 2.0]
    assert told[-1]["step"] > 30
    assert all(told[-1]["notes"])


def test_a_grouped_voice_is_wrong_while_one_of_its_layers_is():
    names = [f"blocks.{n // 4}.part{n % 4}" for n in range(40)]
    header = Header(tuple(Layer(name, 100) for name in names))
    norms = [[1.0 + 0.01 * n for n in range(40)] for _ in range(60)]
    for spoiled in norms[20:30]:
        spoiled[21] = math.nan
    lines = [(0.125 * n, Frame(n, 0.125 * n, row(norm))) for n, norm in enumerate(norms, 1)]
    stage = Stage(session(), [(0.0, header), *lines, (7.6, None)])
    stage.player.inbox.put((0.0, {"do": "watch"}))
    stage.run()
    (begun,) = [answer for answer in stage.said if "voices" in answer]
    states = [answer["status"] for answer in stage.said if "status" in answer]
    told = [state for state in states if "wrong" in state]
    assert len(begun["voices"]) <= 15
    spans = [each["wrong"] for each in told]
    (voice,) = {index for wrong in spans for index in wrong}
    assert spans[0] == spans[-1] == ()
    assert (voice,) in spans
    red = next(each for each in told if each["wrong"])
    assert (red["norms"][voice], red["faults"][-1]["layer"]) == ("nan", names[21])
    rows = [line for line in shown(begun["voices"], red) if "│" in line]
    assert [RED in line for line in rows] == [index == voice for index in range(len(rows))]
    assert not any(RED in line for line in shown(begun["voices"], told[-1]) if "│" in line)


RED = "\x1b[1;31m!"


def shown(voices, status):
    console = Console(width=100, record=True, force_terminal=True, file=io.StringIO())
    console.print(*screen_lines(Shown(voices, status), 100, 40), sep="\n")
    return console.export_text(styles=True).splitlines()


def test_who_tunes_in_late_is_told_at_once_what_is_wrong(said):
    before = [(0.0, Frame(n, 0.1 * n, row([0.0, 2.0]))) for n in range(1, 60)]
    after = [(5.0 + 0.1 * n, Frame(60 + n, 6.0 + 0.1 * n, row([0.0, 2.0]))) for n in range(10)]
    script = [(0.0, HEADER), *before, (3.0, {"do": "live"}), *after, (6.5, {"do": "stop"})]
    stage = Stage(session(history=True), script)
    outputs = stage.run()
    assert said == ["wrong now: fc1 dead, since step 1"]
    ((at, alarm), *more) = outputs.of(Alarm)
    assert (alarm.kind, alarm.layer, alarm.step, more) == ("dead", "fc1", 1, [])
    assert at < 5.5


def test_a_log_that_begins_anew_is_played_anew_with_other_layers():
    other = Header((Layer("conv", 5),))
    lines = [HEADER, *(Frame(n, 0.01 * n, row([1.0, 2.0])) for n in range(1, 30))]
    fresh = [other, *(Frame(n, 0.01 * n, row([3.0])) for n in range(1, 20)), End("closed", 1.0, 19)]
    script = [session(osc=("127.0.0.1:9",), parent=os.getpid()).to_line()]
    script += [encode(item) for item in (*lines, *fresh)]
    done = player(b"".join(script))
    told = answers(done.stdout)
    assert [each["voices"] for each in told if "voices" in each] == [["fc1", "fc2"], ["conv"]]
    assert [each["say"] for each in told if "anew" in each.get("say", "")] == [
        "the log begins anew: what follows is another run"
    ]
    assert told[-1]["done"]["frames"] >= 19
    assert done.returncode == 0


def test_what_comes_before_the_header_may_be_live_already():
    script = [(0.0, {"do": "live"}), (0.5, HEADER), *frames([1.0, 1.1, 1.2]), (2.0, None)]
    outputs = Stage(session(history=True), script).run()
    assert outputs.of(On)


def test_lateness_tells_percentiles_without_keeping_all():
    lateness = Lateness()
    assert lateness.percentiles() == {}
    for n in range(1000):
        lateness.add(n * 1e-5)
    found = lateness.percentiles()
    assert found["p50"] == pytest.approx(5.0, abs=0.05)
    assert found["p99"] == pytest.approx(9.9, abs=0.05)
    assert found["max"] == pytest.approx(9.99)
    assert found["count"] == 1000


# -- the process -------------------------------------------------------------------------------


def player(stdin, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "gradmidi.player.process"],
        input=stdin,
        capture_output=True,
        timeout=30,
        **kwargs,
    )


def answers(stdout):
    return [json.loads(line) for line in stdout.splitlines()]


def child(code):
    """What a Python process of its own prints."""
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def test_it_imports_nothing_heavy():
    heavy = "{'torch', 'typer', 'rich', 'rtmidi', 'sounddevice', 'soundfile', 'matplotlib', 'mido'}"
    code = f"import sys, gradmidi.player.process; print({heavy} & set(sys.modules))"
    assert child(code) == "set()"


def test_it_answers_soon_enough_to_be_waited_for():
    for _ in range(3):  # A second is what it is meant to take; a busy machine adds to that.
        began = time.monotonic()
        with running(session(osc=("127.0.0.1:9",), parent=os.getpid()).to_line()):
            if time.monotonic() - began < READY_SECONDS:
                return
    pytest.fail(f"it took more than {READY_SECONDS} s")


def test_it_answers_ready_and_ends_with_its_input():
    done = player(session(osc=("127.0.0.1:9",)).to_line())
    assert done.returncode == 0
    first, last = answers(done.stdout)[0], answers(done.stdout)[-1]
    assert first == {"ready": True}
    assert last["done"]["merged"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"osc": ("nowhere",)}, "'nowhere' is not an OSC address"),
        ({"take": os.devnull + "/a.mid"}, "cannot be written; give a file ending in .mid"),
    ],
)
def test_what_is_wrong_is_its_one_answer(options, words):
    done = player(session(**options).to_line())
    assert done.returncode == 1
    (only,) = answers(done.stdout)
    assert words in only["error"]


def test_garbage_is_answered_too():
    done = player(b"garbage\n")
    assert done.returncode == 1
    assert "error" in answers(done.stdout)[0]


def test_a_line_that_is_none_is_skipped_and_counted():
    lines = [
        session(osc=("127.0.0.1:9",), parent=os.getpid()).to_line(),
        encode(HEADER),
        b"{half a line\n",
        encode(Frame(1, 0.1, row([1.0, 2.0]))),
        encode(End("closed", 0.2, 1)),
    ]
    done = player(b"".join(lines))
    last = answers(done.stdout)[-1]["done"]
    assert (last["frames"], last["unreadable"]) == (1, 1)


@contextlib.contextmanager
def running(first):
    process = subprocess.Popen(
        [sys.executable, "-m", "gradmidi.player.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.stdin.write(first)
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == {"ready": True}
        yield process
    finally:
        process.kill()
        process.communicate()


ANSWERS = """
import sys
from gradmidi.player.process import _Answers
answers = _Answers()
for size in (200_000, 1, 2, 3):
    answers.send({"text": "x" * size})
    sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="pipes of another size")
def test_an_answer_that_is_longer_than_the_pipe_tears_no_other():
    process = subprocess.Popen(
        [sys.executable, "-c", ANSWERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        text = b""
        for _ in range(4):
            # What the pipe holds is read, and then the next answer asked for.
            text += os.read(process.stdout.fileno(), 1 << 20)
            process.stdin.write(b"\n")
            process.stdin.flush()
        text += process.stdout.read()
        sizes = [len(answer["text"]) for answer in answers(text)]
    finally:
        process.kill()
        process.communicate()
    assert sizes == [200_000, 1, 2, 3]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_it_ignores_sigint_and_ends_at_sigterm():
    with running(session(osc=("127.0.0.1:9",), parent=os.getpid()).to_line()) as process:
        process.stdin.write(encode(HEADER))
        process.stdin.flush()
        # Nobody listens at that address, which may be said before.
        said = map(json.loads, iter(process.stdout.readline, b""))
        assert next(line["voices"] for line in said if "voices" in line) == ["fc1", "fc2"]
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert "done" in json.loads(process.stdout.read().splitlines()[-1])
        assert process.wait(10.0) == 0


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no scheduling policies here")
def test_it_runs_before_what_only_computes_where_the_system_lets_it():
    # Asked as anybody may, not by what is tested.
    allowed = child(
        "import os\n"
        "try: os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))\n"
        "except PermissionError: pass\n"
        "print(os.sched_getscheduler(0))"
    )
    with running(session(osc=("127.0.0.1:9",), parent=os.getpid()).to_line()) as process:
        assert os.sched_getscheduler(process.pid) == int(allowed)


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no scheduling policies here")
def test_where_the_system_refuses_all_is_as_before():
    told = child(
        "import os, resource\n"
        "from gradmidi.player.process import real_time\n"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "print(real_time(0), os.sched_getscheduler(0) == os.SCHED_OTHER)"
    )
    assert told == "False True"


LONG_ANSWERS = """
from gradmidi.player.process import _Answers
answers = _Answers()
answers.send({"voices": ["v" * 2000] * 60})
for _ in range(100):
    answers.send({"status": {"step": 1}})
answers.send({"say": "a message", "level": 20})
answers.finish({"done": {"frames": 7}})
"""


@pytest.mark.skipif(os.name == "nt", reason="pipes of Windows cannot be asked whether they block")
def test_answers_longer_than_the_pipe_arrive_whole():
    process = subprocess.Popen([sys.executable, "-c", LONG_ANSWERS], stdout=subprocess.PIPE)
    try:
        time.sleep(0.5)
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    answers = [json.loads(line) for line in out.splitlines()]
    assert answers[0] == {"voices": ["v" * 2000] * 60}
    assert answers[-2:] == [{"say": "a message", "level": 20}, {"done": {"frames": 7}}]
