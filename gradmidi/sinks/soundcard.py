"""The sink that plays through a sound card: the same synth as the files, block by block.

A thread renders a few blocks ahead; the sound card's callback only copies. Where the queue is
empty it plays silence, and that is counted. Events keep their distances by their ticks, to the
sample; only where the card's clock and ours have drifted apart are they placed anew.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradmidi.base.messages import warn
from gradmidi.errors import PortError
from gradmidi.music.events import End, Event
from gradmidi.music.preset import Preset
from gradmidi.sinks.sink import Counters
from gradmidi.sound.synth import Synth

__all__ = ["Card", "SoundCard", "open_card"]

RATE = 44100
BLOCK = 512
"""Samples in a block: 12 ms."""

AHEAD = 3
"""Blocks rendered ahead of the card: what a busy machine may take away without a gap."""

CUSHION_SECONDS = 0.012
"""How long after it is sent an event is placed, so that its block is still to be rendered."""

DRIFT_SECONDS = 0.05
"""Events that would be placed this much later than they need are placed anew."""

TAIL_SECONDS = 0.4
"""The longest that a close waits for what still rings."""

Blocks = queue.Queue[np.ndarray]


class Card:
    """An open sound card that plays blocks from a queue, and silence where there is none.

    Attributes
    ----------
    blocks : queue
        What it plays: float32, shape (`BLOCK`, channels).
    channels : int
        1 or 2.
    underruns : int
        Blocks that were not there in time, since the first.
    """

    def __init__(self, channels: int) -> None:
        self.blocks: Blocks = queue.Queue(AHEAD)
        self.channels = channels
        self.underruns = 0
        self._begun = False
        self._stream: Any = None

    def play(self, stream: Any) -> None:
        """Take the open stream and start it."""
        self._stream = stream
        stream.start()

    def fill(self, out: np.ndarray, _frames: int, _time: Any, status: Any) -> None:
        """Fill the card's buffer; called by its own thread."""
        try:
            out[:] = self.blocks.get_nowait()
            self._begun = True
        except queue.Empty:
            out.fill(0.0)
            self.underruns += self._begun
            return
        if status and status.output_underflow:
            self.underruns += 1

    def rest(self) -> None:
        """Say that what is missing from here on is meant."""
        self._begun = False

    def close(self) -> None:
        """Stop at once. May be called twice."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with contextlib.suppress(Exception):
                stream.abort()
            with contextlib.suppress(Exception):
                stream.close()


def open_card(name: str, channels: int) -> Card:
    """Open a sound card.

    Parameters
    ----------
    name : str
        As the system names it, or a part that only one has; "" for the system's own choice.
    channels : int
        1 or 2.

    Raises
    ------
    PortError
        If there is none of that name or none at all, or sounddevice is not installed.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise PortError(
            "playing through a sound card needs sounddevice: pip install 'gradmidi[audio]'"
        ) from error
    except OSError as error:
        raise PortError(
            "playing through a sound card needs the library PortAudio, which is not here: "
            "on Debian and Ubuntu, apt install libportaudio2"
        ) from error
    except Exception as error:
        # It begins as it is imported, and its own error cannot be named before.
        raise PortError(f"no sound card can be opened ({error})") from error
    card = Card(channels)
    try:
        stream = sounddevice.OutputStream(
            samplerate=RATE,
            blocksize=BLOCK,
            device=name or None,
            channels=channels,
            dtype="float32",
            callback=card.fill,
        )
        card.play(stream)
    except (sounddevice.PortAudioError, ValueError) as error:
        card.close()
        outputs = [
            device["name"]
            for device in sounddevice.query_devices()
            if device["max_output_channels"]
        ]
        there = ", ".join(map(repr, outputs)) if outputs else "none"
        wanted = f"sound card {name!r}" if name else "sound card"
        raise PortError(
            f"no {wanted} can be opened ({error.args[0]}); there is: {there}"
        ) from error
    return card


class SoundCard:
    """Plays the events it is sent through an open card, at once.

    Nothing raises from `send`, `silence` and `close`.

    Parameters
    ----------
    card : Card
        Open; it is closed with this.
    preset : Preset
        How it sounds.
    voices : int
        How many there are.

    Attributes
    ----------
    counters : Counters
        `sent` counts events, `errors` blocks that could not be rendered.
    """

    def __init__(self, card: Card, preset: Preset, voices: int) -> None:
        self.counters = Counters()
        self._card = card
        self._synth = Synth(preset, voices, rate=RATE)
        self._tick_seconds = preset.time.tick_seconds
        self._rendered = 0
        self._shift: int | None = None
        self._tick = 0
        self._closing = False
        self._thread = threading.Thread(target=self._render, name="gradmidi synth", daemon=True)
        self._thread.start()

    @property
    def underruns(self) -> int:
        """Blocks that were not there in time."""
        return self._card.underruns

    def send(self, events: Sequence[Event]) -> None:
        """Play events now, or as many ticks after the last ones as they are."""
        if not events or self._closing:
            self.counters.dropped += len(events)
            return
        shift = self._placed(events[0].tick)
        self._tick = max(self._tick, events[-1].tick + shift)
        self._synth.send([replace(event, tick=event.tick + shift) for event in events])
        self.counters.sent += len(events)

    def silence(self) -> None:
        """Let go of every note."""
        self._synth.send([End(self._tick, 0, 0.0)])

    def close(self) -> None:
        """Let what sounds ring out, within bounds, and close the card. May be called twice."""
        if not self._closing:
            self.silence()
            end = time.monotonic() + TAIL_SECONDS
            while self._thread.is_alive() and time.monotonic() < end:
                time.sleep(BLOCK / RATE)
                if not self._synth.sounding and self._card.blocks.full():
                    break
            self._closing = True
            self._card.rest()
            self._thread.join(TAIL_SECONDS)
            self._card.close()

    def _placed(self, tick: int) -> int:
        """Find what takes a tick of the run to one of the synth that is still to be rendered."""
        earliest = self._rendered / RATE + CUSHION_SECONDS
        shift = self._shift
        if shift is not None:
            ahead = (tick + shift) * self._tick_seconds - earliest
            if -CUSHION_SECONDS <= ahead <= DRIFT_SECONDS:
                return shift
        self._shift = round(earliest / self._tick_seconds) - tick
        return self._shift

    def _render(self) -> None:
        card = self._card
        while not self._closing:
            try:
                block = self._synth.render(BLOCK)
            except Exception as error:
                self.counters.errors += 1
                warn(f"sound card: {type(error).__name__}: {error}; all else goes on")
                return
            self._rendered += BLOCK
            while not self._closing:
                with contextlib.suppress(queue.Full):
                    card.blocks.put(block, timeout=0.1)
                    break
