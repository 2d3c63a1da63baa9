"""The seconds that the schedule counts in: those of the clock, or those of a session's beats."""

import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from gradmidi.base.messages import say
from gradmidi.errors import GradmidiError
from gradmidi.player.limits import IDLE_SECONDS, LINK_SECONDS
from gradmidi.text.words import count

__all__ = ["Beats", "Link", "LinkTimeline", "LogTime", "Timeline"]

AT_ONCE_SECONDS = 1e-4
"""If two clocks are not read within this time, the process was interrupted: read them later."""


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
