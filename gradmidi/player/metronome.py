"""The beat of a player: its timeline, and the MIDI clock that is sent along it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from gradmidi.music.events import PPQ
from gradmidi.music.timing import Time
from gradmidi.player.lateness import Lateness
from gradmidi.player.midiclock import Grid, MidiClock
from gradmidi.player.timeline import Timeline

__all__ = ["Metronome"]


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
