"""The player's time: the seconds that the schedule counts in, how long it waits, how late it is."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gradmidi.base.messages import say
from gradmidi.errors import GradmidiError
from gradmidi.text.words import count

__all__ = [
    "AHEAD_SECONDS",
    "END_SECONDS",
    "HURRY_SECONDS",
    "IDLE_SECONDS",
    "JUMP_SECONDS",
    "LEAD_SECONDS",
    "LINK_SECONDS",
    "LOOK_SECONDS",
    "MARGIN_SECONDS",
    "MOST_ITEMS",
    "OPENING_SECONDS",
    "SENDING_SECONDS",
    "STALE_SECONDS",
    "STUCK_SECONDS",
    "WINDOW_SECONDS",
    "Beats",
    "Counts",
    "Lateness",
    "Link",
    "LinkTimeline",
    "LogTime",
    "Timeline",
    "Window",
]

IDLE_SECONDS = 0.05
"""The longest sleep of the loop."""

LINK_SECONDS = 0.01
"""The same with Ableton Link, where a change of tempo must be noticed soon."""

END_SECONDS = 1.5
"""How long the end of a run may last; then every note is ended."""

STUCK_SECONDS = 3.0
"""If the loop stands still for this long, the guard ends the process."""

SENDING_SECONDS = 0.5
"""The same while sending, since a native call that takes this long never returns. Elsewhere a busy
machine may delay the loop for longer."""

MOST_ITEMS = 1000
"""How many items are processed before the loop reads the clock again."""

LOOK_SECONDS = 0.2
"""How often the loop checks for its parent process and sends its status."""

STALE_SECONDS = 0.25
"""A note that is this late is left out."""

AHEAD_SECONDS = 1.0
"""How far ahead of the sound a finished run is read."""

MARGIN_SECONDS = 0.017
"""How long a slot waits for lines after its end: the time from the hook to the player."""

LEAD_SECONDS = 0.003
"""How long before its first note a slot is composed."""

JUMP_SECONDS = 10.0
"""If a live line is this far ahead, the machine was suspended."""

WINDOW_SECONDS = 10.0
"""If all lines were late, or early, for this long, they are shifted against the grid."""

HURRY_SECONDS = 0.25
"""At the end of a run, all remaining notes start within this time."""

OPENING_SECONDS = 10.0
"""How long opening the outputs may take, or saving a recording; the parent waits for less time."""

AT_ONCE_SECONDS = 1e-4
"""If two clocks are not read within this time, the process was interrupted: read them later."""


@dataclass(slots=True)
class Counts:
    """Number of frames; of late frames, which move to the next slot; of shifts of the grid."""

    frames: int = 0
    late: int = 0
    shifts: int = 0


class Timeline:
    """Seconds in which slots are counted; here they are the clock's own.

    Attributes
    ----------
    rate : float
        Seconds of the timeline in a second of the clock.
    bar : float or None
        Length of a bar to start at, in seconds of the timeline; None: start at any time.
    idle : float
        How long the player may sleep without a look at the timeline, in seconds.
    """

    rate = 1.0
    bar: float | None = None
    idle = IDLE_SECONDS

    def follow(self) -> None:
        """Look for a new tempo."""

    def of(self, clock: float) -> float:
        """Return the time on this timeline for a time of the clock."""
        return clock

    def clock(self, at: float) -> float:
        """Return the time of the clock for a time on this timeline."""
        return at


class LogTime:
    """Where seconds of a log lie on a timeline: they are the same until `place` is called."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._began: tuple[float, float] | None = None

    def place(self, t: float, arrived: float, at: float) -> None:
        """Place the log: second `t`, which arrived at `arrived`, is second `at` of the grid."""
        self._began = self._timeline.clock(arrived) - t, arrived - at

    def grid(self, t: float) -> float:
        """Return the second of the grid for a second of the log."""
        if self._began is None:
            return t
        log, grid = self._began
        return self._timeline.of(log + t) - grid

    def log(self, at: float) -> float:
        """Return the second of the log for a second of the grid."""
        if self._began is None:
            return at
        log, grid = self._began
        return self._timeline.clock(grid + at) - log


class Beats(Protocol):
    """The beats of a session."""

    def now(self) -> tuple[float, float, int]:
        """Return the tempo in quarter notes a minute, the beat now, and the number of peers.

        A bar starts at beat 0.
        """


class Link:
    """The beats of the Ableton Link session in the local network, through LinkPython-extern.

    Without a network, or another program in it, the session has one member.

    Parameters
    ----------
    tempo : float
        Tempo until there is a peer.
    bar : float
        Quarter notes in a bar.

    Raises
    ------
    GradmidiError
        If LinkPython-extern is not installed.
    """

    def __init__(self, tempo: float, bar: float) -> None:
        try:
            from link import Link
        except ImportError:
            raise GradmidiError(
                "link needs LinkPython-extern: pip install 'gradmidi[link]'"
            ) from None
        self._bar = bar
        self._native: Any = Link(tempo)
        self._micros: Callable[[], int] = self._native.clock().micros
        self._native.enabled = True

    def now(self) -> tuple[float, float, int]:
        """Return tempo, beat and number of peers."""
        state = self._native.captureAppSessionState()
        beat = state.beatAtTime(self._micros(), self._bar)
        return state.tempo(), beat, self._native.numPeers()


class LinkTimeline(Timeline):
    """Seconds of a preset's tempo, as many as the session has played beats.

    A second is longer or shorter than one of the clock as the session is slower or faster than
    the preset. Bars begin at multiples of `bar`. If the session's beats jump, because another
    session was joined, time jumps the shorter way to the place in the bar.

    Parameters
    ----------
    tempo : float
        The preset's tempo in quarter notes a minute.
    bar : float
        Quarter notes in a bar.
    beats : Beats
        The session.
    clock : callable
        Returns monotonic seconds.

    Examples
    --------
    >>> class Faster:
    ...     def now(self):
    ...         return 180.0, 1.5, 0
    >>> timeline = LinkTimeline(120.0, 4.0, Faster(), clock=lambda: 10.0)
    >>> timeline.of(10.0), timeline.of(11.0), timeline.clock(2.25)
    (0.75, 2.25, 11.0)
    """

    idle = LINK_SECONDS

    def __init__(
        self,
        tempo: float,
        bar: float,
        beats: Beats,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._tempo = tempo
        self._beats = beats
        self._clock = clock
        self._peers = 0
        self._anchor = clock()
        self._at = beats.now()[1] * 60.0 / tempo
        self.bar: float = bar * 60.0 / tempo
        self.follow()

    def follow(self) -> None:
        """Read tempo and beat of the session."""
        before = self._clock()
        tempo, beat, peers = self._beats.now()
        after = self._clock()
        if after - before < AT_ONCE_SECONDS:
            now = (before + after) / 2
            here = self.of(now)
            apart = math.remainder(beat * 60.0 / self._tempo - here, self.bar)
            self._anchor, self._at, self.rate = now, here + apart, tempo / self._tempo
        if peers != self._peers:
            self._peers = peers
            say(f"Ableton Link: {count(peers, 'other program')}, tempo {tempo:.4g}")

    def of(self, clock: float) -> float:
        """Return the time on this timeline for a time of the clock."""
        return self._at + (clock - self._anchor) * self.rate

    def clock(self, at: float) -> float:
        """Return the time of the clock for a time on this timeline."""
        return self._anchor + (at - self._at) / self.rate


class Lateness:
    """Percentiles of lateness, from bins of 20 µs, in constant memory."""

    BIN_SECONDS = 2e-5
    BINS = 10_000

    def __init__(self) -> None:
        self._bins = [0] * self.BINS
        self._most = 0.0

    def add(self, seconds: float) -> None:
        """Add a measurement."""
        self._most = max(self._most, seconds)
        self._bins[min(max(int(seconds / self.BIN_SECONDS), 0), self.BINS - 1)] += 1

    def percentiles(self) -> dict[str, float]:
        """Return the median, 99th percentile and maximum in ms; empty if nothing was added."""
        total = sum(self._bins)
        if not total:
            return {}
        found = {}
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            count = 0
            for index, number in enumerate(self._bins):
                count += number
                if count >= share * total:
                    found[name] = round((index + 1) * self.BIN_SECONDS * 1000.0, 3)
                    break
        return {**found, "max": round(self._most * 1000.0, 3), "count": total}


@dataclass(slots=True)
class Window:
    """Lateness of the lines of the last seconds, in seconds.

    `quickest` and `slowest` are delays relative to the line that placed the grid. `missed` is the
    smallest delay of a line relative to the end of its slot; below zero, a line was in time.
    """

    began: float = 0.0
    frames: int = 0
    quickest: float = math.inf
    slowest: float = -math.inf
    missed: float = math.inf

    def add(self, behind: float, missed: float, now: float) -> None:
        """Add a line that arrived at `now`."""
        if not self.frames:
            self.began = now
        self.frames += 1
        self.quickest = min(self.quickest, behind)
        self.slowest = max(self.slowest, behind)
        self.missed = min(self.missed, missed)

    def is_over(self, now: float) -> bool:
        """Return whether its lines tell enough."""
        return self.frames > 2 and now - self.began > WINDOW_SECONDS

    def off(self, slot: float) -> float:
        """Return how late all lines were; below zero: early, by more than a slot; or 0."""
        if self.missed > 0.0:
            return self.quickest
        return self.slowest if self.slowest < -slot else 0.0
