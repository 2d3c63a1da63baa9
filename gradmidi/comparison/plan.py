"""How runs are laid out: their voices, references, width of a slot, and who plays when."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gradmidi.comparison.duet import LEFT, RIGHT, Duet, announcement
from gradmidi.comparison.match import ClockSlots, Entry
from gradmidi.music.events import Event
from gradmidi.music.preset import Preset
from gradmidi.music.score import LONGEST_SECONDS, Score, fit
from gradmidi.music.voices import Voice, group
from gradmidi.report.played import PlayedRun

__all__ = ["Plan", "Side", "lay_out", "perform"]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is the same for all runs of a comparison.

    Parameters
    ----------
    entries : tuple of Entry
        The runs.
    preset : Preset
        How norms become music, in one channel: place is taken by the runs.
    voices : tuple of Voice
        Which layers sound as one.
    references : tuple of float or None
        The norm each voice is at home at; None where the preset says it.
    width : float
        Of a slot, on the clock.
    slot_seconds : float
        Of a slot, in the piece.
    """

    entries: tuple[Entry, ...]
    preset: Preset
    voices: tuple[Voice, ...]
    references: tuple[float, ...] | None
    width: float
    slot_seconds: float

    @property
    def seconds(self) -> float:
        """About how long all pairs take, one after another: what rings on is not counted."""
        leads = sum(_lead(number, self.preset) for number in range(2, len(self.entries) + 1))
        slots = _slots(self.entries, self.width)
        return leads + (len(self.entries) - 1) * slots * self.slot_seconds


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One run in one ear of one pair, as it was played.

    Parameters
    ----------
    entry : Entry
        The run.
    played : PlayedRun
        What a page shows of it.
    slots : ClockSlots
        What it sounded, slot by slot.
    lead : int
        Ticks that it is announced for before it begins.
    """

    entry: Entry
    played: PlayedRun
    slots: ClockSlots
    lead: int


def lay_out(
    entries: Sequence[Entry],
    reference: Sequence[Entry],
    preset: Preset,
    length: float | str | None,
) -> Plan:
    """Lay runs out so that all pairs together are no longer than `length`.

    Parameters
    ----------
    entries : sequence of Entry
        Two or more.
    reference : sequence of Entry
        The run whose first norms are at home, if it is not the first of `entries`.
    preset : Preset
        How norms become music.
    length : float or "full" or None
        Seconds; None is `gradmidi.score.LONGEST_SECONDS`; "full" merges no steps.

    Returns
    -------
    Plan
    """
    preset = replace(preset, sound=replace(preset.sound, channels=1))
    voices = group(entries[0].header.layers, preset.voices.most)
    slot_seconds = preset.time.slot_ticks(len(voices)) * preset.time.tick_seconds
    apart = min((entry.apart for entry in entries if entry.apart > 0.0), default=1.0)
    room = length
    if length != "full":
        pairs = len(entries) - 1
        whole = LONGEST_SECONDS if length is None else float(length)
        room = max(slot_seconds, whole / pairs - _lead(len(entries), preset))
    return Plan(
        tuple(entries),
        preset,
        voices,
        None
        if isinstance(preset.pitch.reference, float)
        else (*reference, entries[0])[0].references(voices),
        apart * fit(_slots(entries, apart), slot_seconds, room),
        slot_seconds,
    )


def _slots(entries: Sequence[Entry], width: float) -> int:
    return math.floor(max(entry.last for entry in entries) / width + 1e-9) + 1


def _lead(number: int, preset: Preset) -> float:
    """Tell how many seconds a run is announced for."""
    return announcement(number, LEFT, preset)[1] * preset.time.tick_seconds


def perform(plan: Plan, number: int, duet: Duet) -> tuple[Side, Side]:
    """Play a pair: the first run on the left, run `number` (from 2) on the right."""
    left, right = (
        _side(plan, which, place, duet.seconds, number)
        for which, place in ((1, LEFT), (number, RIGHT))
    )
    duet.play(_events(plan, left, number), _events(plan, right, number))
    return left, right


def _side(plan: Plan, which: int, place: int, start: float, number: int) -> Side:
    entry = plan.entries[which - 1]
    tick_seconds = plan.preset.time.tick_seconds
    lead = announcement(number, place, plan.preset)[1]
    played = PlayedRun(
        entry.name, tick_seconds, start=start + lead * tick_seconds, run=which - 1, side=place
    )
    return Side(entry, played, ClockSlots(plan.width, entry.place, plan.voices), lead)


def _events(plan: Plan, side: Side, number: int) -> Iterator[list[Event]]:
    """Announce a run, then play it; its events also reach its take."""
    pips, lead = announcement(number, side.played.side, plan.preset)
    side.played.send([_moved(event, -lead) for event in pips])
    yield pips
    score = Score(side.entry.header, plan.preset, references=plan.references, slots=side.slots)
    for item in side.entry.items():
        events = score.feed(item)
        if events:
            side.played.send(events)
            yield [_moved(event, lead) for event in events]
    events = score.finish()
    side.played.send(events)
    yield [_moved(event, lead) for event in events]


def _moved(event: Event, ticks: int) -> Event:
    return replace(event, tick=event.tick + ticks)
