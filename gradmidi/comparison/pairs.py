"""Play runs in pairs, one run on the left and one on the right."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from gradmidi.comparison.runs import ClockSlots, ComparedRun
from gradmidi.music.events import FAULT_VOICE, PPQ, Event, Off, On
from gradmidi.music.preset import Preset
from gradmidi.music.score import LONGEST_SECONDS, Score, fit
from gradmidi.music.voices import Voice, group
from gradmidi.report.played import PlayedRun
from gradmidi.sound.mixdown import Mixdown
from gradmidi.sound.recording import Encoder, Recording
from gradmidi.sound.synth import Synth
from gradmidi.sound.timbre import Samples

__all__ = ["LEFT", "RIGHT", "Layout", "PairWriter", "Side", "lay_out", "play_pair"]

LEFT, RIGHT = -1, 1

RATE = 44100

PIP, PIP_DISTANCE, REST = 0.12, 0.24, 0.6
"""Seconds of a pip, between the starts of two pips, and before the runs begin."""

PIP_PITCH, PIP_KEY, PIP_VELOCITY = 84, 76, 80


def announcement(number: int, side: int, preset: Preset) -> tuple[list[Event], int]:
    """Return notes that announce a run: as many pips as its number, on its side.

    The pip of the first run, on the left, comes first; then those of the other run, on the right.
    Returns the notes of one side, and the tick at which both runs of the pair start.
    """
    second = 1.0 / preset.time.tick_seconds
    first = 0 if side == LEFT else 2
    pips = 1 if side == LEFT else number
    events: list[Event] = []
    for pip in range(first, first + pips):
        tick = round(pip * PIP_DISTANCE * second)
        events.append(
            On(tick, FAULT_VOICE, PIP_KEY, PIP_VELOCITY, float(PIP_PITCH), sound="announce")
        )
        events.append(Off(tick + round(PIP * second), FAULT_VOICE, PIP_KEY))
    over = ((2 + number) * PIP_DISTANCE + REST) * second
    return events, -(-round(over) // PPQ) * PPQ


class PairWriter:
    """Renders pairs of event streams, one pair after another, to open recordings.

    The recordings have two channels and are not closed here. They begin and end with silence.
    """

    def __init__(
        self, recordings: Sequence[Recording | Encoder], preset: Preset, voices: int
    ) -> None:
        self._recordings = recordings
        self._preset = preset
        self._voices = voices
        self._samples = 0
        self._pause()

    @property
    def seconds(self) -> float:
        """Seconds written so far."""
        return self._samples / RATE

    def play(self, left: Iterable[Sequence[Event]], right: Iterable[Sequence[Event]]) -> None:
        """Render a pair from the first tick of both until nothing sounds."""
        if not self._recordings:
            for _ in zip_longest(left, right):
                pass  # Only collect the events.
            return
        mixdown = Mixdown(*(Synth(self._preset, self._voices, rate=RATE) for _ in range(2)))
        newest = [0, 0]
        for pair in zip_longest(left, right):
            for side, events in enumerate(pair):
                if events:
                    newest[side] = events[-1].tick
            # Do not wait for a side that has ended.
            open_sides = [side for side, events in enumerate(pair) if events is not None]
            known = min(newest[side] for side in open_sides)
            self._write(mixdown.send([events or () for events in pair], known))
        self._write(mixdown.finish())

    def finish(self) -> None:
        """Write the silence at the end."""
        self._pause()

    def _pause(self) -> None:
        seconds = self._preset.sound.silence if self._recordings else 0.0
        for recording in self._recordings:
            recording.pause(seconds)
        self._samples += round(seconds * RATE)

    def _write(self, blocks: Iterator[tuple[Samples, ...]]) -> None:
        for pair in blocks:
            block = np.hstack(pair)
            for recording in self._recordings:
                recording.write(block)
            self._samples += len(block)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The settings that all runs of a comparison share.

    The preset is mono, since left and right are for the runs. `references` holds the norm at which
    each voice is at home, or None if the preset gives it. `width` is the width of a slot on the
    clock, and `slot_seconds` its length in the piece.
    """

    runs: tuple[ComparedRun, ...]
    preset: Preset
    voices: tuple[Voice, ...]
    references: tuple[float, ...] | None
    width: float
    slot_seconds: float

    @property
    def seconds(self) -> float:
        """Approximate length of all pairs together, without the release of the last notes."""
        leads = sum(_lead(number, self.preset) for number in range(2, len(self.runs) + 1))
        slots = _slots(self.runs, self.width)
        silence = 2.0 * self.preset.sound.silence
        return silence + leads + (len(self.runs) - 1) * slots * self.slot_seconds


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One run on one side of one pair, and its played events.

    `lead` is the length of its announcement in ticks.
    """

    run: ComparedRun
    played: PlayedRun
    slots: ClockSlots
    lead: int


def lay_out(
    runs: Sequence[ComparedRun],
    reference: Sequence[ComparedRun],
    preset: Preset,
    length: float | str | None,
) -> Layout:
    """Choose settings by which all pairs of runs together are no longer than `length`.

    `reference` is the run whose first norms are at home, if not the first of `runs`. `length` is in
    seconds; None means three minutes, and "full" merges no steps.
    """
    # Layers alone are compared.
    values = replace(preset.values, which=())
    preset = replace(preset, sound=replace(preset.sound, channels=1), values=values)
    voices = group(runs[0].header.layers, preset.voices.most, runs[0].header.voices)
    slot_seconds = preset.time.slot_ticks(len(voices)) * preset.time.tick_seconds
    spacing = min((run.spacing for run in runs if run.spacing > 0.0), default=1.0)
    room = length
    if length != "full":
        pairs = len(runs) - 1
        whole = LONGEST_SECONDS if length is None else float(length)
        room = max(slot_seconds, whole / pairs - _lead(len(runs), preset))
    return Layout(
        tuple(runs),
        preset,
        voices,
        None
        if isinstance(preset.pitch.reference, float)
        else (*reference, runs[0])[0].references(voices),
        spacing * fit(_slots(runs, spacing), slot_seconds, room),
        slot_seconds,
    )


def _slots(runs: Sequence[ComparedRun], width: float) -> int:
    return math.floor(max(run.last for run in runs) / width + 1e-9) + 1


def _lead(number: int, preset: Preset) -> float:
    """Return the length of a run's announcement in seconds."""
    return announcement(number, LEFT, preset)[1] * preset.time.tick_seconds


def play_pair(layout: Layout, number: int, writer: PairWriter) -> tuple[Side, Side]:
    """Render a pair: the first run on the left, run `number` (from 2) on the right."""
    left, right = (
        _side(layout, which, place, writer.seconds, number)
        for which, place in ((1, LEFT), (number, RIGHT))
    )
    writer.play(_events(layout, left, number), _events(layout, right, number))
    return left, right


def _side(layout: Layout, which: int, place: int, start: float, number: int) -> Side:
    run = layout.runs[which - 1]
    tick_seconds = layout.preset.time.tick_seconds
    lead = announcement(number, place, layout.preset)[1]
    played = PlayedRun(
        run.name, tick_seconds, start=start + lead * tick_seconds, run=which - 1, side=place
    )
    return Side(run, played, ClockSlots(layout.width, run.place, layout.voices), lead)


def _events(layout: Layout, side: Side, number: int) -> Iterator[list[Event]]:
    """Yield the events of a run after its announcement, and collect them."""
    pips, lead = announcement(number, side.played.side, layout.preset)
    side.played.send([_moved(event, -lead) for event in pips])
    yield pips
    score = Score(side.run.header, layout.preset, references=layout.references, slots=side.slots)
    for item in side.run.items():
        events = score.feed(item)
        if events:
            side.played.send(events)
            yield [_moved(event, lead) for event in events]
    events = score.finish(running=side.run.log.running)
    side.played.send(events)
    yield [_moved(event, lead) for event in events]


def _moved(event: Event, ticks: int) -> Event:
    return replace(event, tick=event.tick + ticks)
