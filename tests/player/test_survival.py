"""What a live run survives. After each: silence, a readable log, and no process left behind."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest
from listening import SOON_SECONDS, Program, Receiver, Trainer, alone, summed, until
from logs import write_log

import gradmidi
from gradmidi.live.feed import CLOSE_SECONDS
from gradmidi.player.timeline import STUCK_SECONDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


def underway(receiver, step=20):
    until(lambda: receiver.step >= step and receiver.sounding, f"step {step}")


def strike(pid, how):
    """Send a signal; return when."""
    now = time.monotonic()
    os.kill(pid, how)
    return now


def ended_well(trainer, receiver, steps=None, since=None, folder=None):
    """Nothing sounds and soon did not, the log can be read, nobody is left."""
    trainer.gone()
    assert receiver.silent(since) < SOON_SECONDS
    assert receiver.of("/gradmidi/stop")
    log = gradmidi.read(folder or trainer.folder)
    assert log.steps == steps if steps else log.steps >= 20
    return log


def plays(trainer):
    """Whether its player is still there."""
    return any("gradmidi.player.process" in line for line in trainer.family().values())


def reason(folder):
    from gradmidi.log import End

    ends = [item for item in gradmidi.read(folder).items() if isinstance(item, End)]
    return ends[-1].reason if ends else None


def test_a_run_that_ends_in_order(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target) as trainer:
        code, out, err = trainer.result()
        ended_well(trainer, receiver, steps=100)
    assert code == 0
    assert out == summed(100)
    assert "live:" not in err
    assert not receiver.of("/gradmidi/fault")
    assert receiver.of("/gradmidi/start") == [["a", 3, 3]]


@pytest.mark.slow
def test_the_trainer_raises(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, **{"raise": 60}) as trainer:
        code, _, err = trainer.result()
        ended_well(trainer, receiver, steps=60)
    assert code == 1
    assert "RuntimeError: the batch is bad" in err
    assert reason(tmp_path / "a") == "exception: RuntimeError: the batch is bad"


@pytest.mark.slow
def test_ctrl_c_as_a_terminal_sends_it_to_everyone(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=10_000) as trainer:
        underway(receiver)
        struck = time.monotonic()
        os.killpg(trainer.pid, signal.SIGINT)
        code, _, err = trainer.result()
        ended_well(trainer, receiver, since=struck)
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    assert reason(tmp_path / "a") == "exception: KeyboardInterrupt"


@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_the_trainer_is_ended(tmp_path, receiver, how):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=10_000) as trainer:
        underway(receiver)
        struck = strike(trainer.pid, how)
        code, _, _ = trainer.result()
        ended_well(trainer, receiver, since=struck)
    assert code == -how
    assert [kind for kind, *_ in receiver.of("/gradmidi/fault")] == ["died"]


@pytest.mark.slow
def test_the_trainer_is_killed_and_a_child_it_forked_lives_on(tmp_path, receiver):
    with Trainer(tmp_path / "a", "forked", osc=receiver.target) as trainer:
        underway(receiver, 60)
        child = until(
            lambda: [p for p, line in trainer.family().items() if "trainer.py" in line][1:],
            "the child",
        )
        struck = strike(trainer.pid, signal.SIGKILL)
        until(lambda: not plays(trainer), "the player's end")
        assert receiver.silent(struck) < SOON_SECONDS
        # The child is still there, so what ended the player was not its own end.
        assert set(child) & set(trainer.family())
    assert [kind for kind, *_ in receiver.of("/gradmidi/fault")] == ["died"]
    assert gradmidi.read(tmp_path / "a").steps >= 60


@pytest.mark.slow
def test_the_trainer_is_killed_and_its_data_loaders_live_on(tmp_path, receiver):
    with Trainer(tmp_path / "a", "model", osc=receiver.target, workers=2, steps=10_000) as trainer:
        underway(receiver)
        workers = [p for p, line in trainer.family().items() if "trainer.py" in line]
        assert len(workers) == 3
        for worker in set(workers) - {trainer.pid}:
            # As stuck ones are: they will not notice that their parent is gone.
            os.kill(worker, signal.SIGSTOP)
        struck = strike(trainer.pid, signal.SIGKILL)
        until(lambda: not plays(trainer), "the player's end")
        assert receiver.silent(struck) < SOON_SECONDS
        assert any("trainer.py" in line for line in trainer.family().values())
    assert gradmidi.read(tmp_path / "a").steps >= 20


def outlives_its_player(trainer, receiver, steps):
    """Kill the player while it plays; return what the trainer wrote, which trains to its end."""
    struck = strike(trainer.player(), signal.SIGKILL)
    until(lambda: not receiver.sounding, "silence while training goes on")
    code, out, err = trainer.result()
    trainer.gone()
    assert receiver.silent(struck) < SOON_SECONDS
    assert code == 0
    assert out == summed(steps)
    return err


@pytest.mark.slow
def test_the_player_is_killed(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=300) as trainer:
        underway(receiver)
        err = outlives_its_player(trainer, receiver, 300)
    told = [line for line in err.splitlines() if "the player has ended" in line]
    assert told == [
        "gradmidi: the player has ended (signal 9): no sound from here on, "
        "everything else continues"
    ]
    assert gradmidi.read(tmp_path / "a").steps == 300


AT_ONCE = """
title = "Every key is let go of and struck again at the same moment"
[time]
gate = 1.0
"""


@pytest.mark.slow
def test_the_player_is_killed_where_keys_are_struck_again_as_they_are_let_go_of(tmp_path, receiver):
    preset = tmp_path / "at-once.toml"
    preset.write_text(AT_ONCE)
    with Trainer(tmp_path / "a", osc=receiver.target, preset=preset, steps=200) as trainer:
        underway(receiver, 60)
        outlives_its_player(trainer, receiver, 200)


def test_the_trainer_and_the_player_are_killed_at_once(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=10_000) as trainer:
        underway(receiver)
        trainer.guard()
        player = trainer.player()
        struck = strike(player, signal.SIGKILL)
        strike(trainer.pid, signal.SIGKILL)
        trainer.result()
        ended_well(trainer, receiver, since=struck)


@pytest.mark.slow
def test_the_player_and_its_guard_are_killed_at_once(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=300) as trainer:
        underway(receiver)
        guard, player = trainer.guard(), trainer.player()
        # Stopped first, so that the guard cannot act between the two.
        strike(guard, signal.SIGSTOP)
        strike(player, signal.SIGKILL)
        strike(guard, signal.SIGKILL)
        # Which notes sounded is lost with the guard: a receiver ends them all at this.
        until(lambda: receiver.of("/gradmidi/stop"), "stop while training goes on")
        assert trainer.process.poll() is None
        code, out, err = trainer.result()
        trainer.gone()
    assert code == 0
    assert out == summed(300)
    assert err.count("the player has ended (signal 9)") == 1


STUCK = """
import ctypes, signal
# PyDLL keeps the interpreter while it calls: what a native call does that never returns.
signal.signal(signal.SIGUSR1, lambda *_: ctypes.PyDLL(None).sleep(1000))
"""


@pytest.mark.slow
def test_the_player_is_stuck_in_a_native_call(tmp_path, receiver):
    (tmp_path / "sitecustomize.py").write_text(STUCK)
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    with Trainer(
        tmp_path / "a", osc=receiver.target, steps=700, env={"PYTHONPATH": path}
    ) as trainer:
        underway(receiver)
        struck = strike(trainer.player(), signal.SIGUSR1)
        until(lambda: not receiver.sounding, "silence while training goes on")
        code, out, err = trainer.result()
        trainer.gone()
    assert receiver.silent(struck) < STUCK_SECONDS + SOON_SECONDS
    assert code == 0
    assert out == summed(700)
    assert err.count("the player has ended") == 1
    assert gradmidi.read(tmp_path / "a").steps == 700


@pytest.mark.slow
@pytest.mark.parametrize("what", ["nothing", "kill", "stop"])
def test_training_comes_to_the_same(tmp_path, receiver, what):
    with Trainer(tmp_path / "a", "model", osc=receiver.target) as trainer:
        underway(receiver)
        if what == "kill":
            os.kill(trainer.player(), signal.SIGKILL)
        if what == "stop":
            # It is never continued: training ends with a player that does not move.
            os.kill(trainer.player(), signal.SIGSTOP)
        code, out, err = trainer.result()
        trainer.gone()
    # A player that stands still is ended after the last step, with patience.
    assert receiver.silent() < SOON_SECONDS + CLOSE_SECONDS * (what == "stop")
    assert code == 0, err
    assert out == alone()


@pytest.mark.slow
def test_training_comes_to_the_same_on_a_full_disk(tmp_path, receiver):
    with Trainer(tmp_path / "a", "model", osc=receiver.target, disk="full") as trainer:
        code, out, err = trainer.result()
        trainer.gone()
    assert receiver.silent() < SOON_SECONDS
    assert code == 0, err
    assert out == alone()
    assert "gradmidi: run log: " in err
    assert receiver.step == 100


@pytest.mark.slow
def test_training_comes_to_the_same_on_a_disk_that_hangs(tmp_path, receiver):
    with (
        hanging(tmp_path / "a"),
        Trainer(tmp_path / "a", "model", osc=receiver.target, steps=200) as trainer,
    ):
        code, out, err = trainer.result()
        trainer.gone()
    assert receiver.silent() < SOON_SECONDS
    assert code == 0, err
    assert out == alone(steps=200)
    assert "the disk is too slow" in err
    assert receiver.step == 200


@pytest.mark.slow
def test_training_comes_to_the_same_where_the_receiver_goes_away(tmp_path):
    with Receiver() as receiver, Trainer(tmp_path / "a", "model", osc=receiver.target) as trainer:
        underway(receiver)
        receiver.close()
        code, out, err = trainer.result()
        trainer.gone()
    assert code == 0, err
    assert out == alone()
    assert err.count("no program listens there") == 1


@pytest.mark.slow
def test_a_player_that_stood_still_for_long_plays_on(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=900) as trainer:
        underway(receiver)
        player = trainer.player()
        os.kill(player, signal.SIGSTOP)
        try:
            stood = receiver.step
            time.sleep(1.5 * STUCK_SECONDS)
        finally:
            os.kill(player, signal.SIGCONT)
        until(lambda: receiver.step > stood and receiver.sounding, "sound after it")
        code, out, err = trainer.result()
        ended_well(trainer, receiver, steps=900)
    assert code == 0
    assert out == summed(900)
    assert receiver.step == 900
    assert "has ended" not in err


@pytest.mark.slow
def test_the_receiver_goes_away(tmp_path):
    with Receiver() as receiver, Trainer(tmp_path / "a", osc=receiver.target) as trainer:
        underway(receiver)
        receiver.close()
        code, out, err = trainer.result()
        trainer.gone()
    assert code == 0
    assert out == summed(100)
    assert err.count("no program listens there") == 1
    assert "messages were refused" in err
    assert gradmidi.read(tmp_path / "a").steps == 100


@pytest.mark.slow
def test_one_receiver_was_never_there_and_the_other_hears_all(tmp_path, receiver):
    with Receiver() as other:
        closed = other.target
    with Trainer(tmp_path / "a", osc=f"{closed},{receiver.target}") as trainer:
        code, out, err = trainer.result()
        ended_well(trainer, receiver, steps=100)
    assert code == 0
    assert out == summed(100)
    assert err.count(f"OSC to {closed}: no program listens there yet") == 1
    assert receiver.step == 100


@pytest.mark.slow
def test_a_model_is_listened_to_where_there_is_no_sound_card(tmp_path, receiver):
    # No server that would stand in for a card.
    env = {
        "JACK_DEFAULT_SERVER": "none",
        "JACK_NO_START_SERVER": "1",
        "PULSE_SERVER": f"unix:{tmp_path}/none",
    }
    opens = "from gradmidi.sinks.soundcard import open_card; open_card('', 2)"
    asked = subprocess.run(
        [sys.executable, "-c", opens], env={**os.environ, **env}, capture_output=True, check=False
    )
    if asked.returncode == 0:
        pytest.skip("this machine has a sound card")
    with Trainer(tmp_path / "a", "model", osc=receiver.target, audio="yes", env=env) as trainer:
        code, out, err = trainer.result()
        ended_well(trainer, receiver, steps=100)
    assert code == 0, err
    assert out == alone()
    (told,) = [line for line in err.splitlines() if "sound card" in line]
    assert told.endswith("; everything else works without it")
    assert receiver.step == 100


@pytest.mark.slow
def test_two_models_are_listened_to_at_once_in_one_process(tmp_path):
    with Receiver() as one, Receiver() as other:
        osc = f"{one.target},{other.target}"
        with Trainer(tmp_path / "a", "two", osc=osc) as trainer:
            code, out, err = trainer.result()
            trainer.gone()
        for receiver, name in ((one, "one"), (other, "two")):
            ended_well(trainer, receiver, steps=100, folder=tmp_path / "a" / name)
            assert receiver.step == 100
            assert receiver.of("/gradmidi/start") == [[name, 2, 2]]
        # Each heard its own model, and not the other's.
        assert one.of("/gradmidi/norms")[-1] != other.of("/gradmidi/norms")[-1]
    assert code == 0, err
    assert out == alone("two")


@pytest.mark.slow
def test_two_processes_are_listened_to_at_once(tmp_path):
    with (
        Receiver() as one,
        Receiver() as other,
        Trainer(tmp_path / "a", "model", osc=one.target) as first,
        Trainer(tmp_path / "b", "model", osc=other.target) as second,
    ):
        for trainer, receiver, name in ((first, one, "a"), (second, other, "b")):
            code, out, err = trainer.result()
            ended_well(trainer, receiver, steps=100)
            assert receiver.step == 100
            assert receiver.of("/gradmidi/start") == [[name, 2, 2]]
            assert code == 0, err
            assert out == alone()


@pytest.mark.slow
def test_the_disk_is_full_under_the_log(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=200, disk="full") as trainer:
        code, out, err = trainer.result()
        trainer.gone()
    assert receiver.silent() < SOON_SECONDS
    assert code == 0
    assert out == summed(200)
    assert receiver.step == 200
    assert err.count("gradmidi: run log: ") >= 1
    assert 20 < gradmidi.read(tmp_path / "a").steps < 100


@contextlib.contextmanager
def hanging(folder):
    """A disk that takes a page of the log, and blocks each later write."""
    folder.mkdir()
    os.mkfifo(folder / "run.jsonl")
    disk = os.open(folder / "run.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(disk, fcntl.F_SETPIPE_SZ, 4096)
        yield disk
    finally:
        os.close(disk)


@pytest.mark.slow
def test_the_disk_hangs_under_the_log(tmp_path, receiver):
    with hanging(tmp_path / "a") as disk:
        with Trainer(tmp_path / "a", osc=receiver.target, steps=300) as trainer:
            # Far beyond what a page of the log holds.
            underway(receiver, 290)
            code, out, err = trainer.result()
            trainer.gone()
        held = os.read(disk, 1 << 20)
    assert receiver.silent() < SOON_SECONDS
    assert code == 0
    assert out == summed(300)
    assert receiver.step == 300
    assert "the disk is too slow" in err
    assert held.count(b'"step"') < 100


# -- `play` ------------------------------------------------------------------------------------


@contextlib.contextmanager
def played(tmp_path, receiver, **options):
    """`play` of a run of ten minutes, all of whose lines the player has already."""
    run = write_log(tmp_path / "a", [[1.0 + n % 5, 2.0, 3.0, 4.0] for n in range(600)], dt=1.0)
    words = ("play", run, "--osc", receiver.target, "-p", "hold", "--plain")
    with Program(sys.executable, "-m", "gradmidi", *words, **options) as program:
        underway(receiver, 1)
        yield program


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        signal.SIGTERM,
        *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGHUP, signal.SIGINT)),
    ],
)
def test_play_is_ended_and_its_player_does_not_play_on(tmp_path, receiver, how):
    with played(tmp_path, receiver, stdin=subprocess.DEVNULL) as program:
        struck = strike(program.pid, how)
        code, _, err = program.result()
        program.gone()
        assert time.monotonic() - struck < SOON_SECONDS
        assert receiver.silent(struck) < SOON_SECONDS
        assert receiver.of("/gradmidi/stop")
        assert not receiver.of("/gradmidi/fault")
    if how != signal.SIGINT:
        assert code == -how
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_the_demo_is_ended_and_its_player_does_not_play_on(tmp_path, receiver, how):
    words = ("demo", "--out", tmp_path / "a", "--osc", receiver.target, "-p", "hold", "--plain")
    with Program(sys.executable, "-m", "gradmidi", *words, stdin=subprocess.DEVNULL) as program:
        underway(receiver, 3)
        struck = strike(program.pid, how)
        code, _, err = program.result()
        assert receiver.silent(struck) < SOON_SECONDS
        program.gone()
    assert code == -how
    assert "Traceback" not in err
    if how != signal.SIGKILL:
        assert reason(tmp_path / "a") == "exception: KeyboardInterrupt"


@pytest.mark.slow
def test_the_player_of_play_is_killed(tmp_path, receiver):
    with played(tmp_path, receiver, stdin=subprocess.DEVNULL) as program:
        struck = strike(program.player(), signal.SIGKILL)
        code, _, err = program.result()
        program.gone()
        assert receiver.silent(struck) < SOON_SECONDS
    assert code == 1
    assert err.splitlines()[-1] == "gradmidi: the player ended before the run did"


def test_the_terminal_of_play_is_closed(tmp_path, receiver):
    import pty
    import termios

    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    own = lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)  # noqa: E731
    with played(tmp_path, receiver, stdin=theirs, prepare=own) as program:
        until(lambda: termios.tcgetattr(theirs) != before, "single keys")
        os.close(theirs)
        struck = time.monotonic()
        os.close(ours)
        code, *_ = program.result()
        program.gone()
        assert receiver.silent(struck) < SOON_SECONDS
    assert code == -signal.SIGHUP


@pytest.mark.slow
def test_the_terminal_of_play_is_as_before_after_sigterm(tmp_path, receiver):
    import pty
    import termios

    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    own = lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)  # noqa: E731
    try:
        with played(tmp_path, receiver, stdin=theirs, prepare=own) as program:
            until(lambda: termios.tcgetattr(theirs) != before, "single keys")
            strike(program.pid, signal.SIGTERM)
            assert program.result()[0] == -signal.SIGTERM
            assert termios.tcgetattr(theirs) == before
    finally:
        os.close(theirs)
        os.close(ours)
