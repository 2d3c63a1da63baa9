"""The sink that plays through a sound card, with the same synth as sound files.

A thread renders a few blocks ahead; the sound card's callback only copies them. If the queue is
empty, the callback plays silence and counts an underrun. Distances between events follow their
ticks, exact to a sample; only if the card's clock and the system's have drifted apart, events are
aligned again.
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
from gradmidi.sinks.registry import Counters
from gradmidi.sound.synth import Synth

__all__ = ["Card", "SoundCard", "open_card"]

RATE = 44100
BLOCK = 512
"""Samples in a block: 12 ms."""

AHEAD = 3
"""Blocks rendered ahead of the card, so that a busy machine causes no gap."""

CUSHION_SECONDS = 0.012
"""Delay from sending an event to its sound, so that its block is not rendered yet."""

DRIFT_SECONDS = 0.05
"""Events that would sound this much later than necessary are aligned again."""

TAIL_SECONDS = 0.4
"""The longest that `close` waits for the last notes."""

Blocks = queue.Queue[np.ndarray]


class Card:
    """An open sound card that plays blocks from a queue, and silence if the queue is empty.

    Attributes
    ----------
    blocks : queue
        Blocks to play: float32, shape (`BLOCK`, channels).
    channels : int
        1 or 2.
    underruns : int
        Blocks that were late, since the first block.
    """

    def __init__(self, channels: int) -> None:
        self.blocks: Blocks = queue.Queue(AHEAD)
        self.channels = channels
        self.underruns = 0
        self._begun = False
        self._stream: Any = None

    def play(self, stream: Any) -> None:
        """Start an open stream."""
        self._stream = stream
        stream.start()

    def fill(self, out: np.ndarray, _frames: int, _time: Any, status: Any) -> None:
        """Fill the card's buffer; called on the card's thread."""
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
        """Stop counting missing blocks as underruns."""
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
        The system's name for it, or a unique part of that name; "" for the system's default.
    channels : int
        1 or 2.

    Raises
    ------
    PortError
        If there is no sound card of that name, or none at all, or sounddevice is not installed.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise PortError(
            "playing through a sound card needs sounddevice: pip install 'gradmidi[audio]'"
        ) from error
    except OSError as error:
        raise PortError(
            "playing through a sound card needs the library PortAudio, which is not installed: "
            "on Debian and Ubuntu, apt install libportaudio2"
        ) from error
    except Exception as error:
        # sounddevice starts PortAudio on import, so its error class cannot be named here.
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
    """Plays the events that it receives through an open sound card, at once.

    `send`, `silence` and `close` never raise.

    Parameters
    ----------
    card : Card
        The open card; `close` closes it.
    preset : Preset
        How the run sounds.
    voices : int
        Number of voices of layers.
    values : int, default 0
        Number of voices of logged values.

    Attributes
    ----------
    counters : Counters
        `sent` counts events, and `errors` counts blocks that could not be rendered.
    """

    def __init__(self, card: Card, preset: Preset, voices: int, values: int = 0) -> None:
        self.counters = Counters()
        self._card = card
        self._fading: list[Synth] = []
        self._closing = False
        self._begin(preset, voices, values)
        self._thread = threading.Thread(target=self._render, name="gradmidi synth", daemon=True)
        self._thread.start()

    def begin(self, preset: Preset, voices: int, values: int = 0) -> None:
        """Play with another preset from now on, while the notes of the one before fade."""
        self.silence()
        self._fading.append(self._synth)
        self._begin(preset, voices, values)

    def _begin(self, preset: Preset, voices: int, values: int) -> None:
        # The card stays as it was opened, in mono or stereo.
        preset = replace(preset, sound=replace(preset.sound, channels=self._card.channels))
        self._synth = Synth(preset, voices, rate=RATE, values=values)
        self._tick_seconds = preset.time.tick_seconds
        self._shift: int | None = None
        self._tick = 0

    @property
    def underruns(self) -> int:
        """Number of blocks that were late."""
        return self._card.underruns

    def send(self, events: Sequence[Event]) -> None:
        """Play events now, keeping their distance in ticks from the previous ones."""
        if not events or self._closing:
            self.counters.dropped += len(events)
            return
        shift = self._offset(events[0].tick)
        self._tick = max(self._tick, events[-1].tick + shift)
        self._synth.send([replace(event, tick=event.tick + shift) for event in events])
        self.counters.sent += len(events)

    def silence(self) -> None:
        """Release every note."""
        self._synth.send([End(self._tick, 0, 0.0)])

    def keep_alive(self) -> None:
        """Do nothing: a sound card is silent when its program is gone."""

    def close(self) -> None:
        """Wait, for a limited time, until nothing sounds; close the card. May be called twice."""
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

    def _offset(self, tick: int) -> int:
        """Return the offset from a tick of the run to a tick of the synth not rendered yet."""
        earliest = self._synth.position / RATE + CUSHION_SECONDS
        shift = self._shift
        if shift is not None:
            ahead = (tick + shift) * self._tick_seconds - earliest
            if -CUSHION_SECONDS <= ahead <= DRIFT_SECONDS:
                return shift
        self._shift = round(earliest / self._tick_seconds) - tick
        return self._shift

    def _next_block(self) -> np.ndarray:
        block = self._synth.render(BLOCK)
        for synth in tuple(self._fading):
            block = block + synth.render(BLOCK)
            if not synth.sounding:
                self._fading.remove(synth)
        return block

    def _render(self) -> None:
        card = self._card
        while not self._closing:
            try:
                block = self._next_block()
            except Exception as error:
                self.counters.errors += 1
                warn(f"sound card: {type(error).__name__}: {error}; everything else continues")
                return
            while not self._closing:
                with contextlib.suppress(queue.Full):
                    card.blocks.put(block, timeout=0.1)
                    break
