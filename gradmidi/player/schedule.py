"""Schedule a run's events in real time, without reading a clock.

Live, a slot of the run's own time sounds when it is over, on a grid of real time that starts with
the first live line. A finished run is played by its own time or by its steps, and is read only as
fast as it is played. Both give the events of `Score` at the same ticks; late frames, which differ
from a file, are counted.
"""

import math
from collections import deque
from dataclasses import replace

from gradmidi.log import End, Frame, Header, Item, Mark, Pause, Record, Scalar, Values
from gradmidi.midi.rig import Rig
from gradmidi.music.events import Event
from gradmidi.music.preset import Preset
from gradmidi.player.metronome import Grid
from gradmidi.player.scores import Scores
from gradmidi.player.timeline import (
    AHEAD_SECONDS,
    HURRY_SECONDS,
    JUMP_SECONDS,
    LEAD_SECONDS,
    MARGIN_SECONDS,
    Counts,
    LogTime,
    Timeline,
    Window,
)

__all__ = ["Schedule", "Timed"]

Timed = tuple[float, Event]
"""The time of an event, in the caller's seconds, and the event."""


class Schedule:
    """Turns the items of a run, as they arrive, into events with their times.

    All times are seconds of one timeline that the caller reads: those of a monotonic clock, or of
    a session's beats.

    Parameters
    ----------
    preset : Preset
        How norms become music.
    header : Header
        The run's first header.
    time, of : str
        As in `Session`; ``time="step"`` only with `paced`.
    per_slot : int, default 1
        As in `Session`.
    paced : bool, default False
        Whether to play a run from its start by its own time; otherwise play it as it happens.
    history : bool, default False
        Whether items make no sound until `go_live` is called.
    delay : float, default 0.0
        Delay of all sound in seconds, for lines that arrive in bursts.
    grid : Grid, optional
        The grid that the first slot must keep.
    rig : Rig, optional
        The controllers that are played besides the notes.
    timeline : Timeline, optional
        What the seconds are.

    Attributes
    ----------
    score : Score
        Turns items into events.
    counts : Counts
        Frames heard, late frames, and shifts.
    base : int or None
        The first tick that is played; None before it is known.
    finished : bool
        Whether the run's end is composed, so that no more events come.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> from gradmidi.log import row
    >>> from gradmidi.log import Layer
    >>> schedule = Schedule(load("pentatonic"), Header((Layer("fc", 10),)))
    >>> schedule.take(Frame(1, 0.01, row([0.5])), arrived=100.01)
    >>> [type(event).__name__ for due, event in schedule.advance(100.2)]
    ['Step', 'Mark', 'Control', 'On', 'Off']
    """

    def __init__(
        self,
        preset: Preset,
        header: Header,
        *,
        time: str = "wall",
        per_slot: int = 1,
        of: str = "gradients",
        paced: bool = False,
        history: bool = False,
        delay: float = 0.0,
        grid: Grid | None = None,
        rig: Rig | None = None,
        timeline: Timeline | None = None,
    ) -> None:
        self._scores = Scores(header, time=time, per_slot=per_slot, of=of, rig=rig)
        self.score = self._scores.first(preset)
        self.counts = Counts()
        self._timeline = timeline or Timeline()
        self._starts_bar = self._timeline.bar is not None
        self.base: int | None = None if paced or history or self._starts_bar else 0
        self.finished = False
        self._paced = paced
        self._history = history
        self._grid = grid
        self._slack = (MARGIN_SECONDS + delay) * self._timeline.rate
        self._jump = JUMP_SECONDS + delay
        self._tick = preset.time.tick_seconds
        self._slot = self.score.slot_seconds
        self._origin = math.nan
        self._log = LogTime(self._timeline)
        self._index = self._first = 0
        # None is the end of a run without an `End`.
        self._items: deque[Item | None] = deque()
        self._past: Frame | None = None  # The last past frame; late values may still come for it.
        self._newest_step: int | None = None
        self._newest = 0.0
        self._offset = 0.0
        self._late: dict[str, Scalar] = {}
        self._resumed = self._tuned_in = self._ended = self._over = False
        self._end = End("", 0.0, 0)
        self._window = Window()

    @property
    def wake(self) -> float:
        """Time of the next call of `advance`; inf before the first live frame."""
        if self.finished or math.isnan(self._origin):
            return math.inf
        if self.score.wall is None:
            return self.due(self._index) - AHEAD_SECONDS / 2 if self._items else math.inf
        return self._sounds(max(self._index, self._first)) - LEAD_SECONDS

    @property
    def placed(self) -> bool:
        """Whether the times of ticks are known: the first live line has come."""
        return not math.isnan(self._origin)

    def due(self, tick: int) -> float:
        """Return the time of a tick."""
        return self._origin + tick * self._tick

    def wants(self, now: float) -> bool:
        """Return whether the next item may be read now."""
        if not self._paced or math.isnan(self._origin):
            return True
        if self.score.wall is None:
            return len(self._items) < 64 * self.score.per_slot
        return self._sounds(self.score.wall.index_of(self._newest)) < now + AHEAD_SECONDS

    def go_live(self) -> None:
        """Let all later items sound; report what is wrong with the first of them."""
        self._recall_past()
        self._tuned_in, self._history = self._history, False

    def change(self, preset: Preset, now: float) -> float:
        """Play with another preset after the slots that are composed; return from when on.

        The time is -inf if no slot has been played. References, faults and the frames that wait
        stay. The slot has another length, so live frames are moved to end with their slots.
        """
        turn = max(self.due(self.score.composer.next_tick), now + 2.0 * LEAD_SECONDS)
        score = self.score = self._scores.after(self.score, preset)
        length = self._slot
        self._tick, self._slot = preset.time.tick_seconds, score.slot_seconds
        if not self.placed:
            return -math.inf
        if score.wall is None:
            self._origin, self._index = turn, 0
            return turn
        if not self._paced:
            self._move(self._slot - length)
        if self._starts_bar:
            score.wall.keep_to(self._log.grid, self._log.log)
        elif self._grid is not None and self.base is not None:
            # The slots of a MIDI clock lie on its beats, which are counted from `base`.
            off = self.base % score.composer.slot_ticks
            self.base, self._origin = self.base - off, self._origin + off * self._tick
        self._index = math.ceil((turn - self._origin) / self._slot - 1e-9) - 1
        self._first = self._index + 1
        return self._sounds(self._first)

    def take(self, item: Record, arrived: float) -> None:
        """Add the run's next record, which arrived at `arrived`."""
        match item:
            case Frame():
                self._frame(item, arrived)
            case Values():
                self._join(item)
            case Header():
                if self._ended and (self._history or self._paced):
                    self._put(self._end)
                self._resumed, self._ended = item.resumed, False
                self._put(item)
            case Mark() | Pause():
                self._put(replace(item, t=item.t + self._offset))
            case End():
                self._ended = True
                self._end = replace(item, t=item.t + self._offset)
                if not (self._history or self._paced):
                    self._items.append(self._end)
                    self._shorten_end(self._end.t, arrived)

    def close(self, now: float) -> None:
        """End the run, since no more items come. Without an `End` before, the run has died."""
        if self._over:
            return
        self._over = True
        if self._ended and not self._paced:
            return
        self._items.append(self._end if self._ended else None)
        self._shorten_end(self._newest, now)

    def advance(self, now: float) -> list[Timed]:
        """Compose the slots due by `now`; return their events in order, each with its time."""
        if self.finished or math.isnan(self._origin):
            return []
        if self.score.wall is None:
            return self._by_steps(now)
        index = math.floor((now + LEAD_SECONDS - self._origin) / self._slot + 1e-6)
        if index < self._index or index < self._first:
            return []
        # Skip slots whose time passed while the process stood still.
        events = self.score.advance(index) if index > self._index else []
        tuned_in, self._tuned_in = self._tuned_in, False
        events += self.score.catch_up(index) if tuned_in else []
        while self._items and not self.finished:
            item = self._items[0]
            if item is not None and not isinstance(item, Header):
                place = self.score.wall.index_of(item.t)
                if place > index:
                    break
                if isinstance(item, Frame):
                    self.counts.frames += 1
                    self.counts.late += place < index > self._first and not self._paced
            self._items.popleft()
            events += self._feed(item)
        if not self.finished:
            events += self.score.advance(index + 1)
        self._index = index + 1
        return [(self.due(event.tick), event) for event in events]

    # -- where a frame belongs ------------------------------------------------------------------

    def _put(self, item: Item) -> None:
        if self._history:
            self._recall_past()
            self.score.recall(item)
        else:
            self._items.append(item)

    def _recall_past(self) -> None:
        if self._past is not None:
            self._scores.keep(self._past)
            self.score.recall(self._past)
            self._past = None

    def _frame(self, frame: Frame, arrived: float) -> None:
        if self._resumed and frame.t + self._offset < self._newest:
            # The times of a segment continue those of the segment before.
            self._offset = self._newest
        if not self._history:
            self._place(frame.t + self._offset, arrived)
        if self._offset:
            frame = replace(frame, t=frame.t + self._offset)
        self._newest = frame.t
        self._newest_step = frame.step
        if self._history:
            self._recall_past()
            self._past = frame
            return
        if self._late:
            frame = replace(frame, extra={**self._late, **frame.extra})
            self._late = {}
        self._items.append(frame)

    def _join(self, late: Values) -> None:
        """Add late values to their frame if it still waits; else keep them for the next frame."""
        if self._past is not None:
            if self._past.step == late.step:
                self._past = self._past.joined(late)
            return
        for index in range(len(self._items) - 1, -1, -1):
            held = self._items[index]
            if isinstance(held, Frame) and held.step == late.step:
                self._items[index] = held.joined(late)
                return
        if late.values and not self._history and late.step == self._newest_step:
            self._late |= late.values
            self.counts.late += 1

    def _place(self, t: float, arrived: float) -> None:
        """Place the grid at the first live frame; later, shift the lines if they drift from it."""
        resumed, self._resumed = self._resumed, False
        if math.isnan(self._origin):
            self._place_grid(t, arrived)
            return
        if self._paced or self.score.wall is None:
            return
        behind = arrived - (self._origin - self._slot - self._slack) - self._log.grid(t)
        closes = self._sounds(self.score.wall.index_of(t)) - LEAD_SECONDS
        if resumed or behind < -self._jump:
            self._shift(behind)
            self._window = Window()
            return
        self._window.add(behind, arrived - closes, arrived)
        if self._window.is_over(arrived):
            self._shift(self._window.off(self._slot))
            self._window = Window()

    def _place_grid(self, t: float, arrived: float) -> None:
        wall = self.score.wall
        first = wall.index_of(t) if wall is not None else 0
        waiting = 0
        if self._paced:
            heard = arrived + MARGIN_SECONDS
        else:
            heard = arrived - t + (first + 1) * self._slot + self._slack
        if self._grid is not None and (self.base == 0 or (self._starts_bar and self._paced)):
            # Slot 0 is at the start of the clock, or at a bar; the clock delays it by whole slots.
            quantum = self._grid.quantum if self._starts_bar else self._slot
            begin = heard - first * self._slot
            heard = first * self._slot + replace(self._grid, quantum=quantum).after(begin)
        elif self._grid is not None:
            bar = self._grid.after(heard)
            if self._starts_bar and wall is not None:
                # Slots before the bar make no sound; their frames join the first one that does.
                waiting = math.floor((bar - heard) / self._slot + 1e-6)
                first += -(first + waiting) % self.score.bar_slots
                self._log.place(t, arrived, t - wall.index_of(t) * self._slot + first * self._slot)
                wall.keep_to(self._log.grid, self._log.log)
            heard = bar - waiting * self._slot
        self._origin = heard - first * self._slot
        self._index = first
        self._first = first + waiting
        if self.base is None:
            self.base = self._first * self.score.composer.slot_ticks

    def _shift(self, seconds: float) -> None:
        """Shift the lines by whole slots, so that no beat and no tick goes back."""
        slots = math.ceil(seconds / self._slot - 1e-9)
        if slots:
            self._move(slots * self._slot)
            self.counts.shifts += 1

    def _move(self, seconds: float) -> None:
        """Move the lines that wait and those that come to a later time."""
        later = seconds / self._timeline.rate
        self._offset += later
        for index, item in enumerate(self._items):
            if isinstance(item, Frame):
                self._items[index] = replace(item, t=item.t + later)

    def _shorten_end(self, t: float, now: float) -> None:
        """Play the rest, up to `t`, soon, even if slots are long."""
        wall = self.score.wall
        if math.isnan(self._origin):
            self._origin = now - (wall.index_of(t) * self._slot if wall is not None else 0.0)
        if wall is None or self._paced or self._grid is not None:
            return
        wait = self._sounds(max(self._index, wall.index_of(t))) - now
        if wait > HURRY_SECONDS + self._slack:
            self._origin -= wait

    def _sounds(self, index: int) -> float:
        return self._origin + index * self._slot

    # -- composing --------------------------------------------------------------------

    def _by_steps(self, now: float) -> list[Timed]:
        events: list[Event] = []
        while self._items and self.due(self._index) < now + AHEAD_SECONDS and not self.finished:
            item = self._items.popleft()
            self.counts.frames += isinstance(item, Frame)
            found = self._feed(item)
            if found:
                self._index = max(self._index, found[-1].tick)
            events += found
        return [(self.due(event.tick), event) for event in events]

    def _feed(self, item: Item | None) -> list[Event]:
        """Pass an item to the score. An `End`, or None for a missing end, finishes it."""
        if isinstance(item, Frame):
            self._scores.keep(item)
        events = self.score.feed(item) if item is not None else []
        # An end between two segments is followed by the header of the second one.
        if item is None or (isinstance(item, End) and not self._items):
            self.finished = True
            events += self.score.finish()
        return events
