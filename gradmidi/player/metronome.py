"""The beat of a player: the MIDI clock for devices and DAWs, sent along its timeline.

Ticks begin when the player starts, so that a receiver can synchronise. Start is sent with song
position 0, on the first slot that is played; Stop is sent after the last note. Source: MIDI 1.0
Detailed Specification, System Real Time Messages and Song Position Pointer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gradmidi.midi import numbers
from gradmidi.music.events import PPQ
from gradmidi.music.timing import Time
from gradmidi.player.timeline import Lateness, Timeline

__all__ = ["TICKS_A_QUARTER", "Grid", "Metronome", "MidiClock"]

TICKS_A_QUARTER = 24

TICK, START, STOP = (numbers.CLOCK,), (numbers.START,), (numbers.STOP,)
CONTINUE = (numbers.CONTINUE,)
POSITION_ZERO = (numbers.SONG_POSITION, 0, 0)

TICKS_A_POSITION = 6
"""A song position counts sixteenth notes; it has 14 bits."""

POSITIONS = 1 << 14

MOST_MISSED = 24
"""Most late ticks that are sent at once after the process stood still; others are left out."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of a MIDI clock, which the first slot must keep.

    Parameters
    ----------
    earliest : float
        No slot sounds before this, in the caller's seconds.
    quantum : float
        The first slot sounds a multiple of this after `earliest`, in seconds.
    """

    earliest: float
    quantum: float

    def after(self, seconds: float) -> float:
        """Return the first point of the grid at or after `seconds`.

        Examples
        --------
        >>> Grid(10.0, 0.5).after(10.6), Grid(10.0, 0.5).after(3.0)
        (11.0, 10.0)
        """
        steps = math.ceil((seconds - self.earliest) / self.quantum - 1e-6)
        return self.earliest + max(0, steps) * self.quantum


class MidiClock:
    """The clock of one live run.

    If ticks are left out, Stop is sent, then at the next sixteenth note the song position and
    Continue, so that a device is at the right place of the bar again.

    Parameters
    ----------
    tempo : float
        Quarter notes per minute.
    opened : float
        Time of the first tick, in the caller's seconds.
    bar : float, default 4.0
        Quarter notes in a bar.

    Attributes
    ----------
    next : float
        Time of the next message.
    skipped : int
        Number of ticks left out because the process stood still, or the beats of a session jumped.

    Examples
    --------
    >>> clock = MidiClock(120.0, opened=10.0)
    >>> clock.start(clock.a_bar_after(10.0))
    12.0
    >>> [hex(message[0]) for due, message in clock.due(12.0)][-3:]
    ['0xf2', '0xfa', '0xf8']
    """

    def __init__(self, tempo: float, opened: float, bar: float = 4.0) -> None:
        self.interval = 60.0 / (tempo * TICKS_A_QUARTER)
        self.skipped = 0
        self._opened = opened
        self._bar = round(bar * TICKS_A_QUARTER)
        self._count = 0
        self._start = math.inf
        self._first = 0
        self._started = False
        self._continue: int | None = None

    @property
    def next(self) -> float:
        """Time of the next message."""
        if self._count == self._continue:
            return self._tick - self.interval / 2
        return min(self._tick, math.inf if self._started else self._start_due)

    def a_bar_after(self, now: float) -> float:
        """Return the time of the first tick that is a bar or more after `now`."""
        ticks = math.ceil((now - self._opened) / self.interval - 1e-6)
        return self._opened + (ticks + self._bar) * self.interval

    def start(self, at: float) -> float:
        """Place Start on the first tick at or after `at`; return the time of that tick.

        Once Start was sent, it stays.
        """
        if not self._started:
            ticks = math.ceil((at - self._opened) / self.interval - 1e-6)
            self._first = max(ticks, self._count)
            self._start = self._opened + self._first * self.interval
        return self._start

    def due(self, now: float) -> list[tuple[float, tuple[int, ...]]]:
        """Return the messages that are due by `now`, in order, each with its time."""
        messages: list[tuple[float, tuple[int, ...]]] = []
        missed = math.floor((now - self._tick) / self.interval)
        if missed > MOST_MISSED:
            self.skipped += missed
            self._count += missed
            if self._started and self._continue is None:
                messages.append((now, STOP))
            over = (self._count - self._first) % TICKS_A_POSITION
            self._continue = self._count + TICKS_A_POSITION - over
        while self.next <= now:
            if not self._started and self._start_due <= self._tick:
                self._started = True
                messages += [(self._start_due, POSITION_ZERO), (self._start_due, START)]
                continue
            if self._count == self._continue:
                before, self._continue = self.next, None
                messages += [(before, self._position), (before, CONTINUE)] if self._started else []
                continue
            messages.append((self._tick, TICK))
            self._count += 1
        return messages

    def stop(self) -> tuple[tuple[int, ...], ...]:
        """Return the final messages: Stop, if Start was sent."""
        return (STOP,) if self._started else ()

    @property
    def _position(self) -> tuple[int, ...]:
        """The song position of this tick; after the last one that there is, in the same bar."""
        bar = self._bar // TICKS_A_POSITION
        position = (self._count - self._first) // TICKS_A_POSITION % (POSITIONS // bar * bar)
        return (numbers.SONG_POSITION, position & 127, position >> 7)

    @property
    def _tick(self) -> float:
        return self._opened + self._count * self.interval

    @property
    def _start_due(self) -> float:
        # Half a tick before the first beat, since a receiver needs time to prepare.
        return self._start - self.interval / 2


class Metronome:
    """Reads the time on a timeline, and sends the MIDI clock if it is wanted.

    Parameters
    ----------
    time : Time
        The preset's tempo and meter.
    timeline : Timeline
        The seconds that slots are counted in.
    clock : callable
        Returns monotonic seconds.
    tick : callable, optional
        Sends a message of the MIDI clock; None: there is no MIDI clock.
    """

    def __init__(
        self,
        time: Time,
        timeline: Timeline,
        clock: Callable[[], float],
        tick: Callable[[Sequence[int]], None] | None,
    ) -> None:
        self.timeline = timeline
        self._clock = clock
        self._tick = tick
        self._late = Lateness()
        self._bar = time.bar_ticks * time.tick_seconds
        self._midi = None
        if tick is not None:
            bar = time.bar_ticks / PPQ
            self._midi = MidiClock(time.tempo, self._bar_after(self.now), bar)

    @property
    def now(self) -> float:
        """The time on the timeline."""
        return self.timeline.of(self._clock())

    @property
    def next(self) -> float:
        """Time of the next message of the MIDI clock; inf if there is none."""
        return math.inf if self._midi is None else self._midi.next

    @property
    def longest_wait(self) -> float:
        """How long the first slot may have to wait for a bar, in seconds of the clock."""
        waits = self._midi is not None or self.timeline.bar is not None
        return self._bar / self.timeline.rate if waits else 0.0

    def until(self, at: float) -> float:
        """Return the seconds of the clock until a time of the timeline; negative: it is over."""
        return (at - self.now) / self.timeline.rate

    def grid(self) -> Grid | None:
        """Return the grid that the first slot must keep; None: it may sound at any time."""
        now = self.now
        if self._midi is None:
            return None if self.timeline.bar is None else Grid(self._bar_after(now), self._bar)
        bar = self._midi.a_bar_after(now)
        if self.timeline.bar is None:
            return Grid(bar, self._midi.interval)
        return Grid(self._bar_after(bar), self._bar)

    def start(self, at: float) -> None:
        """Send Start of the MIDI clock at a time."""
        if self._midi is not None:
            self._midi.start(at)

    def play_due(self) -> None:
        """Send the messages of the MIDI clock that are due."""
        if self._midi is not None and self._tick is not None:
            for due, message in self._midi.due(self.now):
                self._tick(message)
                self._late.add(-self.until(due))

    def stop(self) -> None:
        """Send Stop, if Start was sent."""
        if self._midi is not None and self._tick is not None:
            for message in self._midi.stop():
                self._tick(message)

    def counts(self) -> dict[str, Any]:
        """Return the counts of the MIDI clock by name."""
        if self._midi is None:
            return {}
        return {"clock_ms": self._late.percentiles(), "clock_skipped": self._midi.skipped}

    def _bar_after(self, at: float) -> float:
        """Return the next bar of the timeline, if it has bars; else the same time."""
        bar = self.timeline.bar
        return at if bar is None else math.ceil(at / bar - 1e-6) * bar
