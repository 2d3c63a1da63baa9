"""What a live run survives. After each: silence, a readable log, and no process left behind."""

import fcntl
import os
import signal
import sys
import time

import pytest
from listening import Receiver, Trainer, until

import gradmidi
from gradmidi.live.player import WATCHDOG_SECONDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


def underway(receiver, step=20):
    until(lambda: receiver.step >= step and receiver.sounding, f"step {step}")


def ended_well(trainer, receiver, steps=None):
    """Nothing sounds, the log can be read, nobody is left."""
    receiver.silent()
    trainer.gone()
    assert receiver.of("/gradmidi/stop")
    assert not receiver.sounding
    log = gradmidi.read(trainer.folder)
    assert log.steps == steps if steps else log.steps >= 20
    return log


def reason(folder):
    from gradmidi.runlog import End

    ends = [item for item in gradmidi.read(folder).items() if isinstance(item, End)]
    return ends[-1].reason if ends else None


def test_a_run_that_ends_in_order(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target) as trainer:
        code, out, err = trainer.result()
        ended_well(trainer, receiver, steps=100)
    assert code == 0
    assert out.startswith("result ")
    assert "live:" not in err
    assert not receiver.of("/gradmidi/fault")
    assert receiver.of("/gradmidi/start") == [["a", 3, 3]]


def test_the_trainer_raises(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, **{"raise": 60}) as trainer:
        code, _, err = trainer.result()
        ended_well(trainer, receiver, steps=60)
    assert code == 1
    assert "RuntimeError: the batch is bad" in err
    assert reason(tmp_path / "a") == "exception: RuntimeError: the batch is bad"


def test_ctrl_c_as_a_terminal_sends_it_to_everyone(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=10_000) as trainer:
        underway(receiver)
        os.killpg(trainer.pid, signal.SIGINT)
        code, _, err = trainer.result()
        ended_well(trainer, receiver)
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    assert reason(tmp_path / "a") == "exception: KeyboardInterrupt"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_trainer_is_ended(tmp_path, receiver, how):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=10_000) as trainer:
        underway(receiver)
        os.kill(trainer.pid, how)
        code, _, _ = trainer.result()
        ended_well(trainer, receiver)
    assert code == -how
    assert [kind for kind, *_ in receiver.of("/gradmidi/fault")] == ["died"]


def test_the_trainer_is_killed_and_a_child_it_forked_lives_on(tmp_path, receiver):
    with Trainer(tmp_path / "a", "forked", osc=receiver.target) as trainer:
        underway(receiver, 60)
        child = until(
            lambda: [p for p, line in trainer.family().items() if "trainer.py" in line][1:],
            "the child",
        )
        os.kill(trainer.pid, signal.SIGKILL)
        receiver.silent()
        until(
            lambda: not any("player" in line for line in trainer.family().values()),
            "the player's end",
        )
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
        os.kill(trainer.pid, signal.SIGKILL)
        receiver.silent()
        until(
            lambda: not any("player" in line for line in trainer.family().values()),
            "the player's end",
        )
        assert any("trainer.py" in line for line in trainer.family().values())
    assert gradmidi.read(tmp_path / "a").steps >= 20


def test_the_player_is_killed(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=300) as trainer:
        underway(receiver)
        os.kill(trainer.player(), signal.SIGKILL)
        until(lambda: not receiver.sounding, "silence")
        code, out, err = trainer.result()
        trainer.gone()
    assert code == 0
    assert out == f"result {sum(3.0 + 3.0 + n % 7 + n % 3 for n in range(1, 301))}\n"
    told = [line for line in err.splitlines() if "the player has ended" in line]
    assert told == [
        "gradmidi: the player has ended (signal 9): no sound from here on, all else goes on"
    ]
    assert gradmidi.read(tmp_path / "a").steps == 300


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
        os.kill(trainer.player(), signal.SIGUSR1)
        until(lambda: not receiver.sounding, "silence")
        code, _, err = trainer.result()
        trainer.gone()
    assert code == 0
    assert err.count("the player has ended") == 1
    assert gradmidi.read(tmp_path / "a").steps == 700


@pytest.mark.slow
@pytest.mark.parametrize("what", ["nothing", "kill", "stop"])
def test_training_comes_to_the_same(tmp_path, receiver, what):
    with Trainer(tmp_path / "a", "model", live="no") as plain:
        _, expected, _ = plain.result()
    with Trainer(tmp_path / "b", "model", osc=receiver.target) as trainer:
        underway(receiver)
        if what == "kill":
            os.kill(trainer.player(), signal.SIGKILL)
        if what == "stop":
            # It is never continued: training ends with a player that does not move.
            os.kill(trainer.player(), signal.SIGSTOP)
        code, out, _ = trainer.result()
        receiver.silent()
        trainer.gone()
    assert code == 0
    assert out == expected
    assert out.startswith("result ")
    assert not receiver.sounding


@pytest.mark.slow
def test_a_player_that_stood_still_for_long_plays_on(tmp_path, receiver):
    with Trainer(tmp_path / "a", osc=receiver.target, steps=900) as trainer:
        underway(receiver)
        player = trainer.player()
        os.kill(player, signal.SIGSTOP)
        try:
            stood = receiver.step
            time.sleep(1.5 * WATCHDOG_SECONDS)
        finally:
            os.kill(player, signal.SIGCONT)
        until(lambda: receiver.step > stood and receiver.sounding, "sound after it")
        code, out, err = trainer.result()
        ended_well(trainer, receiver, steps=900)
    assert code == 0
    assert out.startswith("result ")
    assert receiver.step == 900
    assert "has ended" not in err


def test_the_receiver_goes_away(tmp_path):
    with Receiver() as receiver, Trainer(tmp_path / "a", osc=receiver.target) as trainer:
        underway(receiver)
        receiver.close()
        code, _, err = trainer.result()
        trainer.gone()
    assert code == 0
    assert err.count("nobody listens there") == 1
    assert "messages were refused" in err
    assert gradmidi.read(tmp_path / "a").steps == 100


def test_one_receiver_was_never_there_and_the_other_hears_all(tmp_path, receiver):
    with Receiver() as other:
        closed = other.target
    with Trainer(tmp_path / "a", osc=f"{closed},{receiver.target}") as trainer:
        code, _, err = trainer.result()
        ended_well(trainer, receiver, steps=100)
    assert code == 0
    assert err.count(f"OSC to {closed}: nobody listens there yet") == 1
    assert receiver.step == 100


@pytest.mark.slow
def test_two_runs_at_once(tmp_path):
    with Receiver() as one, Receiver() as other:
        osc = f"{one.target},{other.target}"
        with Trainer(tmp_path / "a", "two", osc=osc) as trainer:
            code, _, _ = trainer.result()
            trainer.gone()
        for receiver, first in ((one, 1.0), (other, 4.0)):
            assert not receiver.sounding
            assert receiver.step == 100
            assert {norms[0] for norms in receiver.of("/gradmidi/norms")} == {first}
    assert code == 0
    assert gradmidi.read(tmp_path / "a" / "one").steps == 100
    assert gradmidi.read(tmp_path / "a" / "two").steps == 100


def test_the_disk_is_full_under_the_log(tmp_path, receiver):
    with Trainer(tmp_path / "a", "full", osc=receiver.target, steps=200) as trainer:
        code, out, err = trainer.result()
        receiver.silent()
        trainer.gone()
    assert code == 0
    assert out.startswith("result ")
    assert receiver.step == 200
    assert err.count("gradmidi: run log: ") >= 1
    assert 20 < gradmidi.read(tmp_path / "a").steps < 100


@pytest.mark.slow
def test_the_disk_hangs_under_the_log(tmp_path, receiver):
    folder = tmp_path / "a"
    folder.mkdir()
    os.mkfifo(folder / "run.jsonl")
    # A pipe of one page that nobody reads: what is written to it waits.
    disk = os.open(folder / "run.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(disk, fcntl.F_SETPIPE_SZ, 4096)
        with Trainer(folder, osc=receiver.target, steps=300) as trainer:
            # Far beyond what a page of the log holds.
            underway(receiver, 290)
            code, out, err = trainer.result()
            receiver.silent()
            trainer.gone()
        held = os.read(disk, 1 << 20)
    finally:
        os.close(disk)
    assert code == 0
    assert out.startswith("result ")
    assert receiver.step == 300
    assert "the disk does not keep up" in err
    assert held.count(b'"step"') < 100
