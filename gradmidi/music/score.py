"""The one pipeline from a run log to events: faults, slots, composition, live and offline.

No clock, port, file or randomness is in here: the same log and preset give the same events,
whether the lines come from a file at once or from a training run one by one.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from gradmidi.detection.detector import Watch
from gradmidi.errors import RunLogError
from gradmidi.log import End, Frame, Header, Item, Mark, RunLog
from gradmidi.music.alarms import END, seconds_of
from gradmidi.music.composer import Composer
from gradmidi.music.events import Event
from gradmidi.music.preset import Preset, load
from gradmidi.music.slots import Slot, Slots, StepSlots, WallSlots
from gradmidi.music.voices import Voice, group

__all__ = ["LONGEST_SECONDS", "Score", "compose", "fit", "score_of"]

LONGEST_SECONDS = 180.0
"""A file longer than this is fitted to it, unless its full length is asked for."""


class Score:
    """Turns the items of a run log into events, as they come.

    Parameters
    ----------
    header : Header
        The run's first header.
    preset : Preset
        How norms become music.
    time : {"step", "wall"}, default "step"
        One slot every `per_slot` steps, or slots on a grid of seconds.
    per_slot : int, default 1
        Steps that share a slot; for ``time="wall"``, how many times a slot's own seconds.
    patterns : mapping of str to str, optional
        Voices in place of those in the header: name to a pattern over layer names.
    references : sequence of float, optional
        The norm each voice is at home at.
    legend : bool, default False
        Put a key before the run.
    slots : Slots, optional
        What gathers frames to slots, in place of what `time` says.

    Attributes
    ----------
    voices : tuple of Voice
        Which layers sound as one.
    per_slot : int
        Steps that share a slot; in wall time, how many times a slot's own seconds.
    slot_seconds : float
        Length of a slot.
    wall : WallSlots or None
        The grid of seconds, for ``time="wall"``.
    """

    def __init__(
        self,
        header: Header,
        preset: Preset,
        *,
        time: str = "step",
        per_slot: int = 1,
        patterns: Mapping[str, str] | None = None,
        references: Sequence[float] | None = None,
        legend: bool = False,
        slots: Slots | None = None,
    ) -> None:
        self.header = header
        self.preset = preset
        self.voices: tuple[Voice, ...] = group(
            header.layers, preset.voices.most, patterns or header.voices
        )
        self.composer = Composer(
            preset,
            header.layers,
            self.voices,
            frames_per_slot=per_slot,
            references=references,
            legend=legend,
        )
        self._closed = False
        self._watch = Watch(header.layers, preset.faults)
        self.slot_seconds = self.composer.slot_ticks * preset.time.tick_seconds
        self.per_slot = per_slot
        seconds = self.slot_seconds * per_slot
        self.wall = (
            WallSlots(seconds, math.ceil(1.0 / (preset.time.rate * seconds) - 1e-9))
            if time == "wall"
            else None
        )
        self._slots: Slots = slots or self.wall or StepSlots(per_slot)

    def feed(self, item: Item) -> list[Event]:
        """Take the log's next item; return the events that now have their place."""
        # What an item completes is composed before its norms can become references, so that a
        # slot that is closed by the clock sounds as one that is closed by an item.
        events: list[Event] = []
        if self.wall is not None and not isinstance(item, Header):
            events = self.advance(self.wall.index_of(item.t))
        findings = self._watch.add(item)
        if isinstance(item, Frame):
            self.composer.observe(item.norms)
            return events + self._composed(self._slots.add(item, findings))
        if isinstance(item, Mark):
            self._slots.mark(item.text)
        self._closed = isinstance(item, End)
        return events + self.composer.alarm(findings)

    def recall(self, item: Item) -> None:
        """Take an item that was before anyone listened: it sets references and is not heard."""
        self._watch.add(item)
        if isinstance(item, Frame):
            self.composer.observe(item.norms)

    def advance(self, index: int) -> list[Event]:
        """Say that wall slot `index` has begun; return the events that now have their place.

        Live, time closes a slot; in a file, the next item does. Both give the same events. A
        run that stalls is told in the slot after the one in which it is known.
        """
        if self.wall is None:
            return []
        events: list[Event] = []
        while (due := self._watch.due) < index * self.wall.seconds:
            events += self._over(min(self.wall.index_of(due) + 1, index))
            events += self.composer.alarm(self._watch.overdue(due))
        return events + self._over(index)

    def _over(self, index: int) -> list[Event]:
        assert self.wall is not None
        events = self._composed(self.wall.until(index))
        return events + self.composer.rest(self.composer.start_of(index))

    def finish(self) -> list[Event]:
        """Return what is left, and the end."""
        events = self._composed(self._slots.finish())
        events += self.composer.alarm(self._watch.finish())
        return [*events, *self.composer.finish(closed=self._closed)]

    def _composed(self, slot: Slot | None) -> list[Event]:
        return [] if slot is None else self.composer.slot(slot)


def fit(steps: int, slot_seconds: float, length: float | str | None) -> int:
    """Find how many steps share a slot so that the piece is no longer than `length`.

    Parameters
    ----------
    steps : int
        Steps of the run, or slots of its own time.
    slot_seconds : float
        Length of one slot.
    length : float or "full" or None
        Seconds; None is `LONGEST_SECONDS`; "full" gives each step its slot.

    Returns
    -------
    int
        1 or more.

    Examples
    --------
    >>> fit(200, 0.125, None), fit(2400, 0.125, 30.0), fit(10_000, 0.125, "full")
    (1, 10, 1)
    """
    if length == "full":
        return 1
    seconds = LONGEST_SECONDS if length is None else float(length)
    room = max(1, math.floor(seconds / slot_seconds + 1e-9))
    return max(1, math.ceil(steps / room))


def score_of(
    log: RunLog,
    preset: Preset,
    *,
    time: str = "step",
    length: float | str | None = None,
    patterns: Mapping[str, str] | None = None,
    legend: bool = False,
) -> Score:
    """Make the score of a run on disk, fitted to `length` seconds.

    Raises
    ------
    RunLogError
        If the run has no steps.
    """
    if not log.steps:
        raise RunLogError(f"{log.path} holds no steps: nothing to hear yet")
    score = Score(log.header, preset, time=time, patterns=patterns, legend=legend)
    slots = log.steps if time == "step" else math.ceil(log.seconds / score.slot_seconds)
    if length != "full":
        # The sound that ends a run is a part of the piece.
        tail = seconds_of(END) if preset.faults.sound else 0.0
        length = (LONGEST_SECONDS if length is None else float(length)) - tail
    per_slot = fit(slots, score.slot_seconds, length)
    if per_slot == 1:
        return score
    return Score(log.header, preset, time=time, per_slot=per_slot, patterns=patterns, legend=legend)


def compose(
    run: "RunLog | str",
    preset: "str | Preset" = "pentatonic",
    *,
    time: str = "step",
    length: float | str | None = None,
) -> Iterator[Event]:
    """Turn a run into events.

    Parameters
    ----------
    run : RunLog or str
        A run, or where it is.
    preset : str or Preset, default "pentatonic"
        How norms become music.
    time : {"step", "wall"}, default "step"
        One slot a step, or the run's own timing.
    length : float or "full", optional
        Seconds to fit the piece to; by default it is fitted to three minutes if longer.

    Yields
    ------
    Event
        In order of ticks.

    Raises
    ------
    RunLogError, PresetError
        If the run or the preset cannot be read.
    """
    log = run if isinstance(run, RunLog) else RunLog(run)
    score = score_of(log, load(preset), time=time, length=length)
    for item in log.items():
        yield from score.feed(item)
    yield from score.finish()
