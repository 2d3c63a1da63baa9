import builtins
import re
import subprocess
import sys
import threading
import types
from dataclasses import replace

import numpy as np
import pytest

from gradmidi.errors import PortError
from gradmidi.music.events import End, Off, On
from gradmidi.music.preset import load
from gradmidi.sinks.soundcard import AHEAD, BLOCK, RATE, Card, SoundCard, open_card
from gradmidi.sound.synth import Synth

PRESET = load("pentatonic")


class Heard:
    """What a card's callback gets: it is called by hand, block by block."""

    def __init__(self, channels=2):
        self.card = Card(channels)
        self.blocks = []

    def pull(self, blocks, wait=True):
        for _ in range(blocks):
            if wait:
                done = threading.Event()
                while self.card.blocks.empty():
                    done.wait(0.001)
            out = np.full((BLOCK, self.card.channels), 9.0, np.float32)
            self.card.fill(out, BLOCK, None, None)
            self.blocks.append(out)

    def settle(self, sink):
        """Wait until all is rendered that may be: what is sent now is placed after it."""
        while sink._synth.position < (len(self.blocks) + AHEAD + 1) * BLOCK:
            threading.Event().wait(0.001)

    @property
    def samples(self):
        return np.concatenate(self.blocks)


def test_it_plays_what_a_file_would_hold():
    heard = Heard()
    sink = SoundCard(heard.card, PRESET, 2)
    heard.pull(10)
    notes = [On(960, 0, 57, 80, pitch=57.0), On(970, 1, 69, 80, pitch=69.0), Off(1080, 0, 57)]
    sink.send(notes[:1])
    sink.send(notes[1:])
    heard.pull(60)
    sink.close()
    file = Synth(PRESET, 2)
    # At the tick it was placed at: elsewhere, distances may round to one sample more or less.
    file.send([replace(note, tick=note.tick + sink._shift) for note in notes])
    expected = file.render(RATE * 2)
    start = np.flatnonzero(np.abs(heard.samples).max(axis=1))[0]
    first = np.flatnonzero(np.abs(expected).max(axis=1))[0]
    length = 40 * BLOCK
    got, wanted = heard.samples[start : start + length], expected[first : first + length]
    assert np.abs(wanted).max() > 0.05
    assert np.array_equal(got, wanted)
    assert sink.counters.sent == 3
    assert sink.underruns == 0


def test_it_sounds_within_the_blocks_ahead_and_the_cushion():
    heard = Heard()
    sink = SoundCard(heard.card, PRESET, 1)
    heard.pull(20)
    before = len(heard.blocks) * BLOCK
    sink.send([On(123456, 0, 69, 80, pitch=69.0)])
    heard.pull(20)
    sink.close()
    start = np.flatnonzero(np.abs(heard.samples).max(axis=1))[0]
    assert 0 <= (start - before) / RATE < 0.075


def test_events_that_came_late_sound_at_once_and_those_after_keep_their_distance():
    heard = Heard()
    sink = SoundCard(heard.card, load("pulse"), 1)
    heard.settle(sink)
    sink.send([On(0, 0, 69, 80, pitch=69.0), Off(1, 0, 69)])
    heard.pull(30)
    # A second and a half of ticks lie between, and no time at all; then each comes in its time.
    for n in range(3):
        heard.settle(sink)
        sink.send([On(1500 + 200 * n, 0, 69, 80, pitch=69.0), Off(1501 + 200 * n, 0, 69)])
        heard.pull(18)
    heard.pull(30)
    sink.close()
    loud = np.abs(heard.samples[30 * BLOCK :]).max(axis=1) > 0.0
    starts = np.flatnonzero(loud[1:] & ~loud[:-1])
    assert len(starts) == 3
    assert starts[0] < 6 * BLOCK
    # 200 ticks, to the sample but for rounding.
    assert np.abs(np.diff(starts) - 200 * 60 / 120 / 480 * RATE).max() <= 1.0


def test_a_block_that_is_not_there_is_silence_and_counted():
    heard = Heard()
    heard.pull(2, wait=False)
    assert heard.card.underruns == 0
    heard.card.blocks.put(np.full((BLOCK, 2), 0.5, np.float32))
    heard.pull(3, wait=False)
    assert heard.card.underruns == 2
    assert not heard.blocks[-1].any()


def test_silence_lets_go_of_every_note():
    heard = Heard()
    sink = SoundCard(heard.card, load("hold"), 1)
    heard.pull(5)
    sink.send([On(0, 0, 69, 80, pitch=69.0)])
    heard.pull(20)
    sink.silence()
    heard.pull(60)
    sink.close()
    assert np.abs(heard.blocks[20]).max() > 0.01
    assert not heard.blocks[-1].any()


def test_after_its_end_it_takes_nothing_and_does_not_raise():
    sink = SoundCard(Card(2), PRESET, 1)
    sink.close()
    sink.close()
    sink.send([End(0, 0, 0.0)])
    sink.silence()
    assert sink.counters.dropped == 1


def test_a_synth_that_fails_is_reported_and_does_not_raise(said):
    heard = Heard()
    sink = SoundCard(heard.card, PRESET, 1)
    heard.pull(2)
    sink._synth.render = lambda frames: 1 / 0
    heard.pull(4, wait=False)
    sink._thread.join(5.0)
    sink.send([On(0, 0, 69, 80, pitch=69.0)])
    sink.close()
    assert said == ["sound card: ZeroDivisionError: division by zero; everything else continues"]
    assert sink.counters.errors == 1


def test_without_sounddevice_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "sounddevice":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(PortError, match=r"gradmidi\[audio\]"):
        open_card("", 2)


class Silent(types.ModuleType):
    """sounddevice, where a device can be opened but not started."""

    PortAudioError = type("PortAudioError", (Exception,), {})
    closed = False

    def OutputStream(self, **_options):  # noqa: N802
        return self

    def start(self):
        raise self.PortAudioError("Unanticipated host error", -9999)

    def abort(self):
        raise self.PortAudioError("Stream is stopped", -9983)

    def close(self):
        self.closed = True

    def query_devices(self):
        return [{"name": "card", "max_output_channels": 2}]


def test_a_card_that_cannot_be_started_is_an_error_as_well(monkeypatch):
    module = Silent("sounddevice")
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    with pytest.raises(PortError, match=r"opened \(Unanticipated host error\); there is: 'card'"):
        open_card("", 2)
    assert module.closed


def test_a_sound_system_that_does_not_begin_is_an_error_as_well(monkeypatch):
    real = builtins.__import__

    def failing(name, *args, **kwargs):
        if name == "sounddevice":
            raise Silent.PortAudioError("Error initializing PortAudio")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", failing)
    with pytest.raises(PortError, match="no sound card can be opened"):
        open_card("", 2)


def test_a_card_that_is_not_there_is_an_error_that_lists_what_is():
    # In a process of its own: PortAudio aborts the one it is in once a JACK server has gone.
    code = """
from gradmidi.sinks.soundcard import PortError, open_card
try:
    open_card("no such card", 2)
except PortError as error:
    print(error, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "needs" in done.stdout:
        pytest.skip(done.stdout.strip())
    assert re.match(r"no sound card 'no such card' can be opened .*there is:", done.stdout)
