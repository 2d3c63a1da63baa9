"""Two runs at once, one in either ear; several pairs, one after another, each announced."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from gradmidi.music.events import FAULT_VOICE, PPQ, End, Event, Off, On
from gradmidi.music.preset import Preset
from gradmidi.sound.recording import Recording
from gradmidi.sound.synth import Synth

__all__ = ["LEFT", "RIGHT", "Duet", "announcement"]

LEFT, RIGHT = -1, 1

BLOCK = 16384
"""Samples rendered at a time."""

RATE = 44100

PIP, APART, REST = 0.12, 0.24, 0.6
"""Seconds that a pip lasts, that its neighbours begin apart, and before the runs begin."""

PIP_PITCH, PIP_KEY, PIP_VELOCITY = 84, 76, 80

Samples = NDArray[np.float32]


def announcement(number: int, side: int, preset: Preset) -> tuple[list[Event], int]:
    """Say which run is about to be heard: as many pips as its number, on its side.

    The first run, on the left, says its one pip first; then the other its own on the right.

    Parameters
    ----------
    number : int
        Of the run, from 1.
    side : int
        `LEFT` or `RIGHT`.
    preset : Preset
        Gives the length of a tick.

    Returns
    -------
    events : list of Event
        Notes of one side.
    tick : int
        Where the runs may begin, the same for both sides of a pair.
    """
    second = 1.0 / preset.time.tick_seconds
    first = 0 if side == LEFT else 2
    pips = 1 if side == LEFT else number
    events: list[Event] = []
    for pip in range(first, first + pips):
        tick = round(pip * APART * second)
        events.append(
            On(tick, FAULT_VOICE, PIP_KEY, PIP_VELOCITY, float(PIP_PITCH), sound="announce")
        )
        events.append(Off(tick + round(PIP * second), FAULT_VOICE, PIP_KEY))
    over = ((2 + number) * APART + REST) * second
    return events, -(-round(over) // PPQ) * PPQ


class Duet:
    """Writes pairs of event streams as sound, one after another.

    Parameters
    ----------
    recordings : sequence of Recording
        Where to, each of two channels; none is closed here.
    preset : Preset
        How both sound; either side is one channel of it.
    voices : int
        How many voices a run has.

    Attributes
    ----------
    seconds : float
        How much has been written.
    """

    def __init__(self, recordings: Sequence[Recording], preset: Preset, voices: int) -> None:
        self._recordings = recordings
        self._preset = preset
        self._voices = voices
        self._samples = 0

    @property
    def seconds(self) -> float:
        """How much has been written."""
        return self._samples / RATE

    def play(self, left: Iterable[Sequence[Event]], right: Iterable[Sequence[Event]]) -> None:
        """Write a pair, both from their first tick on, until neither rings any more.

        Parameters
        ----------
        left, right : iterable of sequences of Event
            Each in order of ticks; read as it is rendered.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        silence = np.zeros((0, 1), np.float32)
        for pair in zip_longest(self._render(left), self._render(right), fillvalue=silence):
            block = np.zeros((max(map(len, pair)), 2), np.float32)
            for channel, samples in enumerate(pair):
                block[: len(samples), channel] = samples[:, 0]
            for recording in self._recordings:
                recording.write(block)
            self._samples += len(block)

    def _render(self, batches: Iterable[Sequence[Event]]) -> Iterator[Samples]:
        """Render one side in blocks of one size, each as soon as its events are known."""
        synth = Synth(self._preset, self._voices, rate=RATE)
        newest = 0
        for events in batches:
            synth.send(events)
            newest = max(newest, *(event.tick for event in events)) if events else newest
            while synth.sample_of(newest) - synth.position >= BLOCK:
                yield synth.render(BLOCK)
        synth.send([End(newest, 0, 0.0)])
        while synth.position <= synth.sample_of(newest) or synth.sounding:
            yield synth.render(BLOCK)
