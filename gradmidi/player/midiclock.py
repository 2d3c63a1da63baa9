"""MIDI clock, for gear and DAWs that follow: which byte is due when. It holds no clock itself.

Ticks run from the opening, so that a follower settles; Start comes with song position 0, on
the first slot that is heard; Stop after the last note. Source: MIDI 1.0 Detailed
Specification, System Real Time Messages and Song Position Pointer. Following a clock is not
offered.
"""

import math

__all__ = ["BEATS_A_BAR", "STOP", "TICKS_A_QUARTER", "MidiClock"]

TICKS_A_QUARTER = 24
BEATS_A_BAR = 4

TICK, START, STOP = (0xF8,), (0xFA,), (0xFC,)
POSITION_ZERO = (0xF2, 0, 0)

MOST_MISSED = 24
"""Ticks that may go out at once where the process slept; more are left out."""


class MidiClock:
    """The clock of one live run.

    Parameters
    ----------
    tempo : float
        Quarter notes a minute.
    opened : float
        When the first tick is due, in the caller's seconds.

    Attributes
    ----------
    next : float
        When something is due next.
    skipped : int
        Ticks left out, since the process slept.

    Examples
    --------
    >>> clock = MidiClock(120.0, opened=10.0)
    >>> clock.start(clock.a_bar_after(10.0))
    12.0
    >>> [hex(message[0]) for due, message in clock.due(12.0)][-3:]
    ['0xf2', '0xfa', '0xf8']
    """

    def __init__(self, tempo: float, opened: float) -> None:
        self.interval = 60.0 / (tempo * TICKS_A_QUARTER)
        self.skipped = 0
        self._opened = opened
        self._count = 0
        self._start = math.inf
        self._started = False

    @property
    def next(self) -> float:
        """When something is due next."""
        return min(self._tick, math.inf if self._started else self._start_due)

    def a_bar_after(self, now: float) -> float:
        """Tell when the first tick is due that is a bar or more after `now`."""
        ticks = math.ceil((now - self._opened) / self.interval - 1e-6)
        return self._opened + (ticks + BEATS_A_BAR * TICKS_A_QUARTER) * self.interval

    def start(self, at: float) -> float:
        """Set when Start is meant: on the first tick at or after `at`, which is returned."""
        ticks = math.ceil((at - self._opened) / self.interval - 1e-6)
        self._start = self._opened + max(ticks, self._count) * self.interval
        return self._start

    def due(self, now: float) -> list[tuple[float, tuple[int, ...]]]:
        """Return each message that is due by `now`, in order, with when it was."""
        messages: list[tuple[float, tuple[int, ...]]] = []
        missed = math.floor((now - self._tick) / self.interval)
        if missed > MOST_MISSED:
            self.skipped += missed
            self._count += missed
        while self.next <= now:
            if not self._started and self._start_due <= self._tick:
                self._started = True
                messages += [(self._start_due, POSITION_ZERO), (self._start_due, START)]
                continue
            messages.append((self._tick, TICK))
            self._count += 1
        return messages

    def stop(self) -> tuple[tuple[int, ...], ...]:
        """Return what ends the transport: Stop, where it was started."""
        return (STOP,) if self._started else ()

    @property
    def _tick(self) -> float:
        return self._opened + self._count * self.interval

    @property
    def _start_due(self) -> float:
        # Half a tick before the first beat: a follower needs a moment to get ready.
        return self._start - self.interval / 2
