"""Commands by MIDI: from jack_midiseq, which is not ours, and over a real JACK server."""

import os
import subprocess
import sys
import textwrap

import pytest
from listening import Receiver
from logs import write_log
from studio import dumped, midi_dump, needs, needs_live_midi, running, sounding, wait_until

from gradmidi.midi import ports
from gradmidi.music.preset import load

needs_live_midi()

pytestmark = pytest.mark.receivers


def keys(server, log, name="keys"):
    """A keyboard that presses C4 ten times a second."""
    needs("jack_midiseq")
    return running(["jack_midiseq", name, "4410", "0", "60", "1000"], log, server.env)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["rtmidi", "rtmidi2"])
def test_a_keyboard_is_read_through_either_library_also_after_it_was_unplugged(
    own_jack, tmp_path, library
):
    pytest.importorskip(library)
    script = f"""
        import sys, time
        sys.modules["rtmidi"] = None if {library!r} == "rtmidi2" else __import__("rtmidi")
        from gradmidi.player.desk import MidiDesk
        desk = MidiDesk("keys", {{"note 60 channel 1": "mute 0"}})
        for _ in sys.stdin:
            print(desk.commands()[:1], desk._input.gone, flush=True)
        desk.close()
    """

    def read():
        desk.stdin.write("\n")
        desk.stdin.flush()
        return desk.stdout.readline().strip()

    pressed = "[{'do': 'mute', 'voice': 0, 'on': None}] False"
    with keys(own_jack, tmp_path / "first.txt"):
        own_jack.wait_for("keys:out")
        desk = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script)],
            env={**os.environ, **own_jack.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until(lambda: read() == pressed, "a key")
        except BaseException:
            desk.kill()
            raise
    try:
        wait_until(lambda: read() == "[] True", "the end of the keyboard")
        with keys(own_jack, tmp_path / "second.txt"):
            wait_until(lambda: read() == pressed, "a key after the return")
            desk.stdin.close()
            assert desk.wait(20) == 0
    finally:
        desk.kill()
        desk.stdout.close()
        desk.wait(20)


def test_knobs_and_buttons_steer_a_running_player(new_jack, tmp_path):
    run = write_log(tmp_path / "a", [[1.0, 2.0, 3.0, 4.0]] * 400)
    rig = tmp_path / "rig.toml"
    rig.write_text(
        '[midi_in]\n"cc 20 channel 2" = "level fc1"\n"cc 21" = "mute 0"\n"note 36" = "solo fc1"\n'
        '"note 37" = "panic"\n'
    )
    words = ["play", run, "--rig", rig, "--midi-in", "virtual:desk", "--preset", "hold", "--plain"]
    with Receiver() as receiver:
        argv = [sys.executable, "-m", "gradmidi", *map(str, words), "--osc", receiver.target]
        with running(argv, tmp_path / "play.txt", new_jack.env) as player:
            new_jack.wait_for("gradmidi:desk")
            desk = ports.open_output("gradmidi:desk")

            def voices():
                return {voice for voice, _ in receiver.sounding}

            def sent(message, expected, what):
                # JACK connects a port at its next cycle; what is sent before is lost.
                def tried():
                    desk.send(message)
                    return voices() == expected

                wait_until(tried, what)

            try:
                wait_until(lambda: voices() == {0, 1, 2, 3}, "four notes")
                sent((0xB0, 21, 127), {1, 2, 3}, "the first voice muted")
                sent((0xB9, 21, 0), {0, 1, 2, 3}, "the first voice again")
                desk.send((0x92, 36, 100))
                wait_until(lambda: voices() == {2}, "a solo")
                for message in ((0x82, 36, 0), (0xF8,), (0xF0, 1, 2, 0xF7), (0xB0, 99, 1)):
                    desk.send(message)
                desk.send((0xB1, 20, 0))
                desk.send((0x92, 36, 100))
                wait_until(lambda: voices() == {0, 1, 2, 3}, "all again")
                desk.send((0x92, 37, 100))
                wait_until(lambda: not receiver.sounding, "silence")
            finally:
                desk.close()
        assert "Traceback" not in player.text


def test_a_button_changes_the_preset_and_no_note_is_left(new_jack, tmp_path):
    run = write_log(tmp_path / "a", [[1.0, 2.0, 3.0, 4.0]] * 400)
    rig = tmp_path / "rig.toml"
    rig.write_text('programs = true\n[midi_in]\n"note 36" = "preset orchestra"\n')
    options = ["--rig", rig, "--midi-in", "virtual:desk", "--midi", "changed", "--plain"]
    argv = [sys.executable, "-m", "gradmidi", "play", run, *options, "--preset", "pulse"]
    # Both strike their notes again and again: a note before JACK has connected the port is lost.
    homes = {name: set(load(name).home_notes(4)) for name in ("pulse", "orchestra")}

    def keys(messages):
        return {each[1] for each in messages if each[0] & 0xF0 == 0x90 and each[0] & 0x0F != 9}

    with (
        midi_dump(new_jack, "changed", tmp_path / "changed.txt") as heard,
        running(list(map(str, argv)), tmp_path / "play.txt", new_jack.env) as player,
    ):
        # JACK may stand still where two processes open clients at once: the player's come first.
        wait_until(lambda: keys(dumped(heard)) == homes["pulse"], "the notes of pulse")
        new_jack.wait_for("gradmidi:desk")
        desk = ports.open_output("gradmidi:desk")
        try:

            def changed():
                desk.send((0x90, 36, 100))
                return homes["orchestra"] <= keys(dumped(heard))

            wait_until(changed, "the notes of orchestra")
        finally:
            desk.close()
        player.stop()
        assert "Traceback" not in player.text
        wait_until(lambda: not sounding(dumped(heard)), "silence")
    messages = dumped(heard)
    # The programs of the other preset come before its first note, when no note sounds.
    program = next(n for n, each in enumerate(messages) if each[0] & 0xF0 == 0xC0)
    assert keys(messages[:program]) == homes["pulse"]
    assert keys(messages[program:]) == homes["orchestra"]
    assert not sounding(messages[:program])


@pytest.mark.parametrize("library", ["rtmidi", "rtmidi2"])
def test_a_jack_server_that_ends_is_told_and_the_desk_goes_on(own_jack, tmp_path, library):
    pytest.importorskip(library)
    script = f"""
        import sys
        sys.modules["rtmidi"] = None if {library!r} == "rtmidi2" else __import__("rtmidi")
        from gradmidi.player import desk
        desk.LOOK_SECONDS = 0.0
        knobs = desk.MidiDesk("virtual:desk", {{"note 60": "panic"}})
        for _ in sys.stdin:
            print("commands", knobs.commands(), flush=True)
        knobs.close()
        print("closed", flush=True)
    """
    argv = [sys.executable, "-c", textwrap.dedent(script)]
    with running(argv, tmp_path / "desk.txt", own_jack.env) as desk:
        own_jack.wait_for("gradmidi:desk")
        desk.write("\n")
        desk.wait_for("commands", 1)
        own_jack.stop()
        for number in range(20):
            desk.write("\n")
            desk.wait_for("commands", number + 2)
        desk.process.stdin.close()
        desk.wait_for("^closed")
        told = [line for line in desk.lines if line.startswith("gradmidi: ")]
    assert len(told) == 1
    assert "closed, the JACK server has ended; everything else continues" in told[0]


def test_check_prints_what_was_used_as_lines_for_the_rig(new_jack, tmp_path):
    argv = [sys.executable, "-u", "-m", "gradmidi", "check", "--learn", "virtual:learn"]
    with running(argv, tmp_path / "learn.txt", new_jack.env) as learner:
        new_jack.wait_for("gradmidi:learn")
        desk = ports.open_output("gradmidi:learn")
        try:

            def moved():
                for value in range(3):
                    desk.send((0xB3, 20, value))
                return '"cc 20 channel 4" = "level 0"' in learner.lines

            wait_until(moved, "a line")
            for message in ((0x99, 36, 90), (0x89, 36, 0), (0xB0, 21, 9), (0x99, 38, 90)):
                desk.send(message)
            learner.wait_for('"note 38 channel 10" = "mute 1"')
        finally:
            desk.close()
    assert [line for line in learner.lines if "=" in line or line[:1] == "["] == [
        "[midi_in]",
        '"cc 20 channel 4" = "level 0"',
        '"note 36 channel 10" = "mute 0"',
        '"cc 21 channel 1" = "level 1"',
        '"note 38 channel 10" = "mute 1"',
    ]
    assert "move knobs and press buttons" in learner.text
    assert "Traceback" not in learner.text
