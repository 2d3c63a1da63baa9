"""Training that plays into a synth, and what may go wrong there; heard by another program."""

import os
import signal
import sys
import time

import pytest
from listening import SOON_SECONDS, Receiver, Trainer, alone, summed, until
from studio import dumped, midi_dump, needs_live_midi, sounding, wait_until

import gradmidi
from gradmidi.music.preset import load
from gradmidi.player.metronome import TICKS_A_QUARTER

needs_live_midi()

pytestmark = [
    pytest.mark.receivers,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]

TICK, STOP = 0xF8, (0xFC,)
FAULTS = 10 - 1


@pytest.fixture
def heard(own_jack, tmp_path):
    """jack_midi_dump, as a synth would be, at `synth:input`."""
    with midi_dump(own_jack, "synth", tmp_path / "synth.txt") as program:
        yield program


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


def starts(message):
    return message[0] & 0xF0 == 0x90 and message[2] > 0


def underway(program, notes=3):
    wait_until(lambda: len(sounding(dumped(program))) >= notes, "a chord")


def came_to_its_end(trainer, steps, result):
    code, out, err = trainer.result()
    trainer.gone()
    assert code == 0, err
    assert out == result
    assert gradmidi.read(trainer.folder).steps == steps
    return err


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_jack_server_is_killed_in_the_middle(own_jack, heard, receiver, tmp_path, how):
    with Trainer(
        tmp_path / "a", "model", midi="synth", osc=receiver.target, steps=400, env=own_jack.env
    ) as trainer:
        underway(heard, 2)
        own_jack.stop(how)
        err = came_to_its_end(trainer, 400, alone(steps=400))
    assert receiver.silent() < SOON_SECONDS
    assert err.count("the JACK server has ended; everything else continues") == 1
    # What cannot be promised is said, and the other output heard all of it.
    assert "may still sound" in err
    assert receiver.step == 400


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_synth_is_killed_in_the_middle(own_jack, heard, receiver, tmp_path, how):
    with Trainer(
        tmp_path / "a", "model", midi="synth", osc=receiver.target, steps=400, env=own_jack.env
    ) as trainer:
        underway(heard, 2)
        heard.stop(how)
        err = came_to_its_end(trainer, 400, alone(steps=400))
    assert receiver.silent() < SOON_SECONDS
    assert "Traceback" not in err
    assert receiver.step == 400


def test_the_player_is_killed_and_its_notes_at_a_synth_are_ended(own_jack, heard, tmp_path):
    rig = tmp_path / "rig.toml"
    rig.write_text("clock = true\n")
    with Trainer(tmp_path / "a", midi="synth", rig=rig, steps=600, env=own_jack.env) as trainer:
        underway(heard)
        struck = time.monotonic()
        os.kill(trainer.player(), signal.SIGKILL)
        until(lambda: not sounding(dumped(heard)), "silence")
        assert time.monotonic() - struck < SOON_SECONDS
        until(lambda: STOP in dumped(heard), "the clock's Stop")
        err = came_to_its_end(trainer, 600, summed(600))
    assert err.count("the player has ended (signal 9)") == 1


@pytest.mark.parametrize("first", ["trainer", "guard"])
def test_the_player_and_another_of_its_processes_are_killed_and_its_notes_are_ended(
    jack, dump, tmp_path, first
):
    heard = dump("orphan")
    with Trainer(tmp_path / "a", midi="orphan", steps=10_000, env=jack.env) as trainer:
        underway(heard)
        other = trainer.guard() if first == "guard" else trainer.pid
        player = trainer.player()
        # Stopped first, so that it cannot act between the two.
        os.kill(other, signal.SIGSTOP)
        os.kill(player, signal.SIGKILL)
        os.kill(other, signal.SIGKILL)
        until(lambda: not sounding(dumped(heard)), "silence")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_when_training_dies_the_synth_is_silent_within_a_second(jack, dump, tmp_path, how):
    # A server that loses nothing: without, a cycle that comes late on a busy machine takes the
    # last messages with it, and what is judged here is what was sent.
    heard = dump("mourner")
    rig = tmp_path / "rig.toml"
    rig.write_text("clock = true\n")
    with Trainer(
        tmp_path / "a", "changing", midi="mourner", rig=rig, steps=10_000, env=jack.env
    ) as trainer:
        underway(heard)
        os.kill(trainer.pid, how)
        trainer.result()
        trainer.gone()
    messages = dumped(heard)
    stop = messages.index(STOP)
    assert not sounding(messages[:stop])
    # Only what was moved goes back to rest then.
    assert {message[0] & 0xF0 for message in messages[stop + 1 :]} <= {0xB0}
    died = [m for m in messages if starts(m) and m[0] & 0x0F == FAULTS]
    assert died
    # The clock that came with it is the measure: ticks from the last chord, which may have begun
    # a fifth of a second before the end, to where no voice sounds any more.
    voiced = [m for m in messages if m[0] & 0x0F != FAULTS or m[0] == TICK]
    last = max(index for index, message in enumerate(voiced) if starts(message))
    silent = next(n for n in range(last, len(voiced)) if not sounding(voiced[: n + 1]))
    ticks = sum(message[0] == TICK for message in voiced[last:silent])
    a_second = load("hold").time.tempo / 60.0 * TICKS_A_QUARTER
    assert ticks <= 1.2 * a_second
