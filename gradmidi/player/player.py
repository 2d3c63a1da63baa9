"""The player: takes a run's lines, keeps real time and sends what is due.

Whatever becomes of its parent, it silences what it plays and ends: on an end line, at the end
of stdin, when its parent is gone, at SIGTERM; and where a native call never returns, a watchdog
ends the process.
"""

import contextlib
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from gradmidi.live.session import Session
from gradmidi.log import Decoder, Header, Item
from gradmidi.log import End as LogEnd
from gradmidi.music.events import Event
from gradmidi.player.clock import BEATS_A_BAR, MidiClock
from gradmidi.player.conductor import Conductor, Grid, Timed
from gradmidi.player.lateness import Lateness
from gradmidi.player.mixer import Mixer, Status
from gradmidi.player.outputs import Outputs
from gradmidi.player.watchdog import Watchdog

__all__ = ["Player"]

IDLE_SECONDS = 0.05
"""The longest the loop sleeps: how soon a key or the parent's end is noticed."""

END_SECONDS = 1.5
"""What an end may take; after that everything is silenced."""

WATCHDOG_SECONDS = 3.0
"""Where the loop stands still for so long, a native call holds the interpreter for good."""

STUCK_SECONDS = 0.5
"""Where sending takes so long, a native call will never return. It is only measured while one
is under way: a busy machine that stops the loop elsewhere ends nothing."""

MOST_ITEMS = 1000
"""How many items are taken before the loop looks at the time again."""

LOOK_SECONDS = 0.2
STALE_SECONDS = 0.25
"""A note that is this late is not struck any more."""

Said = Callable[[dict[str, Any]], None]


class Player:
    """Follows one run and plays it.

    Parameters
    ----------
    session : Session
        What is played and where to.
    outputs : Outputs
        The open ports.
    say : callable
        Takes what goes to the parent.
    watchdog : Watchdog, optional
        Ends the process where sending never returns.
    clock, sleep : callable
        Seconds that never go back, and waiting for some of them.
    """

    def __init__(
        self,
        session: Session,
        outputs: Outputs,
        say: Said,
        *,
        watchdog: Watchdog | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.session = session
        self.inbox: queue.SimpleQueue[tuple[float, Item | dict[str, Any] | None]] = (
            queue.SimpleQueue()
        )
        self.decoder = Decoder("the run")
        self.stopping = False
        self.lateness = Lateness()
        self.ticking = Lateness()
        self._outputs = outputs
        self.say = say
        self._watchdog = watchdog
        self._clock = clock
        self._sleep = sleep
        self._mixer = Mixer(session.level)
        self._conductor: Conductor | None = None
        self._status: Status | None = None
        self._agenda: deque[Timed] = deque()
        self._waiting: deque[Item] = deque()
        self._run = "run"
        self._end_by = float("inf")
        self._over = False
        self._merged = 0
        self._stale = 0
        self._lines = 0
        self._looked = 0.0
        self._watched = False
        self._midi_clock = (
            MidiClock(session.preset.time.tempo, clock()) if session.rig.clock else None
        )

    def run(self) -> None:
        """Play until the end."""
        try:
            while not self._finished():
                now = self._clock()
                self._read()
                self._conduct(now)
                self._play()
                self._look(now)
                self._rest()
        finally:
            self._allow(WATCHDOG_SECONDS)
            self._outputs.send(self._mixer.silence())
            self._outputs.silence()
            if self._midi_clock is not None:
                for message in self._midi_clock.stop():
                    self._outputs.tick(message)
            self._outputs.close()
            # Not before: closing a port is a native call too.
            if self._watchdog is not None:
                self._watchdog.close()

    def counts(self) -> dict[str, Any]:
        """Tell what was counted."""
        conducted = asdict(self._conductor.counts) if self._conductor is not None else {}
        counts = {
            **conducted,
            "merged": self._merged,
            "stale": self._stale,
            "broken": self.decoder.broken,
            **self._outputs.counts(),
            "lateness_ms": self.lateness.percentiles(),
        }
        if self._midi_clock is not None:
            counts["clock_ms"] = self.ticking.percentiles()
            counts["clock_skipped"] = self._midi_clock.skipped
        return counts

    # -- the loop -----------------------------------------------------------------------------

    def _finished(self) -> bool:
        if self.stopping or self._clock() >= self._end_by:
            return True
        done = self._conductor is None or self._conductor.finished
        return self._over and done and not self._agenda

    def _read(self) -> None:
        for _ in range(MOST_ITEMS):
            try:
                arrived, item = self.inbox.get_nowait()
            except queue.Empty:
                return
            if item is None:
                self._close(arrived, lost=True)
            elif isinstance(item, dict):
                self._do(item, arrived)
            else:
                self._lines += 1
                self._take(item, arrived)

    def _take(self, item: Item, arrived: float) -> None:
        if self._conductor is None:
            if isinstance(item, Header):
                self._begin(item)
            return
        if self.session.paced:
            self._waiting.append(item)
            return
        self._conductor.take(item, arrived)
        if isinstance(item, LogEnd):
            self._close(arrived)

    def _conduct(self, now: float) -> None:
        conductor = self._conductor
        if conductor is None:
            return
        while self._waiting and conductor.wants(now):
            conductor.take(self._waiting.popleft(), now)
            if self._over and not self._waiting:
                conductor.close(now)
        timed = conductor.advance(now)
        if timed and self._midi_clock is not None and conductor.base is not None:
            self._midi_clock.start(conductor.due(conductor.base))
        self._agenda.extend(timed)

    def _play(self) -> None:
        now = self._clock()
        if (self._agenda and self._agenda[0][0] <= now) or (
            self._midi_clock is not None and self._midi_clock.next <= now
        ):
            with self._sending():
                self._play_due()

    def _play_due(self) -> None:
        agenda = self._agenda
        while True:
            now = self._clock()
            if self._midi_clock is not None:
                for due, message in self._midi_clock.due(now):
                    self._outputs.tick(message)
                    self.ticking.add(self._clock() - due)
            if not agenda or agenda[0][0] > now:
                return
            due = agenda[0][0]
            events = []
            while agenda and agenda[0][0] <= due:
                events.append(agenda.popleft()[1])
            stale = now - due > STALE_SECONDS
            self._stale += stale
            self._send(self._mixer.take(events, skip=stale))
            self.lateness.add(self._clock() - due)

    def _send(self, events: Sequence[Event]) -> None:
        if events:
            if self._status is not None:
                self._status.take(events)
            self._outputs.send(events)

    @contextlib.contextmanager
    def _sending(self) -> Iterator[None]:
        self._allow(STUCK_SECONDS)
        try:
            yield
        finally:
            self._allow(WATCHDOG_SECONDS)

    def _allow(self, seconds: float) -> None:
        if self._watchdog is not None:
            self._watchdog.allow(seconds)

    def _look(self, now: float) -> None:
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        self._allow(WATCHDOG_SECONDS)
        if hasattr(os, "getppid") and os.name == "posix" and os.getppid() != self.session.parent:
            self._close(now, lost=True)
        if self._watched and self._status is not None:
            self.say(
                {
                    "status": {**self._status.table(), **self.counts()},
                    "lines": self._lines - len(self._waiting),
                }
            )

    def _rest(self) -> None:
        wake = self._clock() + IDLE_SECONDS
        if self._agenda:
            wake = min(wake, self._agenda[0][0])
        if self._conductor is not None:
            wake = min(wake, self._conductor.wake)
        if self._midi_clock is not None:
            wake = min(wake, self._midi_clock.next)
        left = wake - self._clock()
        if left > 0.0 and self.inbox.empty():
            self._sleep(left)

    # -- begin, commands, end -----------------------------------------------------------------

    def _begin(self, header: Header) -> None:
        session = self.session
        clock = self._midi_clock
        bar = clock.a_bar_after(self._clock()) if clock is not None else 0.0
        self._conductor = Conductor(
            session.preset,
            header,
            patterns=session.patterns,
            time=session.time,
            paced=session.paced,
            history=session.history,
            delay=session.delay,
            grid=None if clock is None else Grid(bar, clock.interval),
        )
        voices = self._conductor.score.voices
        if clock is not None and self._conductor.base == 0:
            clock.start(bar)
        self._outputs.begin(self._run, voices, len(header.layers))
        self._status = Status(voices)
        names = [voice.name for voice in voices]
        self.say({"run": self._run, "voices": names, "layers": len(header.layers)})

    def _do(self, command: dict[str, Any], arrived: float) -> None:
        match command:
            case {"do": "run", "name": str(name)}:
                self._run = name
            case {"do": "live"} if self._conductor is not None:
                self._conductor.go_live()
            case {"do": "watch"}:
                self._watched = True
            case {"do": "merged", "frames": int(frames)}:
                self._merged += frames
            case {"do": "mute"}:
                with self._sending():
                    self._send(self._mixer.mute())
            case {"do": "solo", "voice": int(voice)}:
                with self._sending():
                    self._send(self._mixer.solo(voice))
            case {"do": "level", "by": float(by)}:
                self._mixer.change_level(by)
            case {"do": "end"}:
                self._close(arrived)
            case {"do": "stop"}:
                self.stopping = True

    def _close(self, now: float, *, lost: bool = False) -> None:
        """No line comes any more: all is read, or whoever wrote them is gone."""
        if self._over:
            return
        self._over = True
        if self.session.paced:
            self.stopping = lost
            if self._conductor is not None and not self._waiting:
                self._conductor.close(now)
            return
        if self._conductor is not None:
            self._conductor.close(now)
        self._end_by = now + self.session.delay + END_SECONDS
        if self._midi_clock is not None:
            # Its first bar was waited for.
            self._end_by += BEATS_A_BAR * 60.0 / self.session.preset.time.tempo
