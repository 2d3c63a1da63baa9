"""The player's loop: receive a run's items, and send events to the outputs when they are due.

The loop ends, after ending every note, at the end of the run, at a stop command, at SIGTERM, when
the pipe ends and when its parent process has ended.
"""

import math
import os
import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from gradmidi.base.messages import say
from gradmidi.live.session import Session
from gradmidi.log import Decoder, Header, Record
from gradmidi.log import End as LogEnd
from gradmidi.player.guard import Guard
from gradmidi.player.metronome import Metronome
from gradmidi.player.outputs import Outputs
from gradmidi.player.presets import Presets
from gradmidi.player.schedule import Schedule, Timed
from gradmidi.player.sender import Sender
from gradmidi.player.timeline import (
    END_SECONDS,
    LOOK_SECONDS,
    MOST_ITEMS,
    STALE_SECONDS,
    STUCK_SECONDS,
    Lateness,
    Timeline,
)
from gradmidi.text.words import going_on

__all__ = ["Player"]


class Player:
    """Plays one run.

    Parameters
    ----------
    session : Session
        What to play, and the outputs.
    outputs : Outputs
        The open outputs.
    answer : callable
        Sends an answer to the parent.
    guard : Guard, optional
        Ends a stuck process, and the notes of a killed one.
    timeline : Timeline, optional
        The seconds that slots are counted in; by default the clock's.
    clock, sleep : callable
        Return monotonic seconds, and wait for a number of seconds.

    Attributes
    ----------
    inbox : queue.SimpleQueue
        Items and commands, each with its arrival time; None is the end of the pipe.
    anew : Header or None
        The header of another run that begins in the log, which ends this one; see `again`.
    """

    def __init__(
        self,
        session: Session,
        outputs: Outputs,
        answer: Callable[[dict[str, Any]], None],
        *,
        guard: Guard | None = None,
        timeline: Timeline | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.session = session
        self.inbox: queue.SimpleQueue[tuple[float, Record | dict[str, Any] | None]] = (
            queue.SimpleQueue()
        )
        self.decoder = Decoder("the run", anew=True)
        self.anew: Header | None = None
        self._frames_before = 0
        self.lateness = Lateness()
        self._outputs = outputs
        self._answer = answer
        self._guard = guard
        self._clock = clock
        self._sleep = sleep
        self._sender = Sender(outputs, answer, guard, session.level)
        self._schedule: Schedule | None = None
        self._agenda: deque[Timed] = deque()
        self._presets = Presets(session.preset, session.rig)
        self._waiting: deque[Record] = deque()
        self._run = "run"
        self._end_by = float("inf")
        self._over = self._stopped = False
        self._history = session.history
        self._merged = 0
        self._stale = 0
        self._lines, self._looked = 0, 0.0
        self._watched = False
        self._timeline = timeline or Timeline()
        tick = outputs.tick if session.rig.clock else None
        self._metronome = Metronome(session.preset.time, self._timeline, clock, tick)

    def run(self) -> None:
        """Play until the end."""
        try:
            while not self._finished():
                now = self._clock()
                self._timeline.follow()
                self._read()
                self._compose(self._timeline.of(now))
                self._play()
                self._outputs.keep_alive()
                self._look(now)
                self._rest()
        finally:
            self._sender.silence()
            self._metronome.stop()
            self._outputs.close()

    def stop(self) -> None:
        """End every note and the loop, at once."""
        self._stopped = True

    def again(self, outputs: Outputs) -> "Player":
        """Return a player that plays the run which has begun in the log, from its header on."""
        assert self.anew is not None
        kept: dict[str, Any] = {"guard": self._guard, "timeline": self._timeline}
        kept |= {"clock": self._clock, "sleep": self._sleep}
        session = replace(self.session, history=self._history)
        after = Player(session, outputs, self._answer, **kept)
        after.inbox, after.decoder, after._watched = self.inbox, self.decoder, self._watched
        after._run, after._lines, after._waiting = self._run, self._lines + 1, self._waiting
        after._frames_before = self.counts().get("frames", 0)
        after._begin(self.anew)
        return after

    def counts(self) -> dict[str, Any]:
        """Return all counts by name."""
        scheduled = asdict(self._schedule.counts) if self._schedule is not None else {}
        scheduled["frames"] = scheduled.get("frames", 0) + self._frames_before
        return {
            **scheduled,
            "merged": self._merged,
            "stale": self._stale,
            "unreadable": self.decoder.unreadable,
            "unknown": self._presets.unknown,
            **self._outputs.counts(),
            "lateness_ms": self.lateness.percentiles(),
            **self._metronome.counts(),
        }

    # -- the loop -----------------------------------------------------------------------------

    def _finished(self) -> bool:
        if self._stopped or self._clock() >= self._end_by:
            return True
        done = self._schedule is None or self._schedule.finished
        return self._over and done and not self._agenda and self._presets.wake == math.inf

    def _read(self) -> None:
        for command in self._outputs.commands():
            self._do(command, self._clock())
        for _ in range(MOST_ITEMS):
            try:
                arrived, item = self.inbox.get_nowait()
            except queue.Empty:
                return
            if item is None:
                self._end_early(arrived)
            elif isinstance(item, dict):
                self._do(item, arrived)
            else:
                self._lines += 1
                self._take(item, arrived)
                if self._stopped:
                    return

    def _take(self, item: Record, arrived: float) -> None:
        if self._schedule is None:
            if isinstance(item, Header):
                self._begin(item)
        elif self.session.paced:
            self._waiting.append(item)
        elif not self._begins_anew(item):
            self._schedule.take(item, self._timeline.of(arrived))
            if isinstance(item, LogEnd):
                self._close(arrived)

    def _begins_anew(self, item: Record) -> bool:
        """Stop at the header of another run; return whether the item is one."""
        if isinstance(item, Header) and not item.resumed:
            self.anew = item
            self.stop()
        return self.anew is not None

    def _compose(self, now: float) -> None:
        schedule = self._schedule
        if schedule is None:
            return
        while self._waiting and schedule.wants(now):
            item = self._waiting.popleft()
            if self._begins_anew(item):
                return
            schedule.take(item, now)
            if self._over and not self._waiting:
                schedule.close(now)
        self._presets.follow(schedule, now)
        timed = schedule.advance(now)
        if schedule.placed and schedule.base is not None:
            self._metronome.start(schedule.due(schedule.base))
        self._presets.add(timed, self._agenda)
        if now >= self._presets.wake:
            self._change()

    def _change(self) -> None:
        """End the notes of one preset, and begin with another."""
        preset, rest = self._presets.change(self._agenda)
        self.session = replace(self.session, preset=preset)
        before = self._sender.end(rest)
        self._outputs.change(self.session)
        self._begin_voices()
        self._sender.rename(before)

    def _play(self) -> None:
        now = self._metronome.now
        if (self._agenda and self._agenda[0][0] <= now) or self._metronome.next <= now:
            with self._sender.at_once():
                self._play_due()

    def _play_due(self) -> None:
        agenda = self._agenda
        while True:
            self._metronome.play_due()
            if not agenda or agenda[0][0] > self._metronome.now:
                return
            due = agenda[0][0]
            events = []
            while agenda and agenda[0][0] <= due:
                events.append(agenda.popleft()[1])
            stale = self._metronome.until(due) < -STALE_SECONDS
            self._stale += stale
            self._sender.play(events, skip=stale)
            self.lateness.add(-self._metronome.until(due))

    def _look(self, now: float) -> None:
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        self._sender.allow(STUCK_SECONDS)
        if hasattr(os, "getppid") and os.name == "posix" and os.getppid() != self.session.parent:
            self._end_early(now)
        if self._watched and (status := self._sender.status) is not None:
            lines = self._lines - len(self._waiting)
            self._answer({"status": {**status, **self.counts()}, "lines": lines})
        self._outputs.keep_time(self._timeline.rate)

    def _rest(self) -> None:
        wake = min(self._metronome.next, self._presets.wake)
        if self._agenda:
            wake = min(wake, self._agenda[0][0])
        if self._schedule is not None:
            wake = min(wake, self._schedule.wake)
        left = min(self._metronome.until(wake), self._timeline.idle)
        if left > 0.0 and self.inbox.empty():
            self._sleep(left)

    # -- begin, commands, end -----------------------------------------------------------------

    def _begin(self, header: Header) -> None:
        session = self.session
        grid = self._metronome.grid()
        self._schedule = Schedule(
            session.preset,
            header,
            time=session.time,
            per_slot=session.per_slot,
            of=session.of,
            paced=session.paced,
            history=self._history,
            delay=session.delay,
            grid=grid,
            rig=session.rig,
            timeline=self._timeline,
        )
        if grid is not None and self._schedule.base == 0:
            self._metronome.start(grid.earliest)
        self._begin_voices()

    def _begin_voices(self) -> None:
        assert self._schedule is not None
        score = self._schedule.score
        layers, slot = len(score.header.layers), score.slot_seconds
        self._outputs.begin(self._run, score.all_voices, layers, slot)
        self._sender.begin(score.all_voices)

    def _do(self, command: dict[str, Any], arrived: float) -> None:
        match command:
            case {"do": "run", "name": str(name)}:
                self._run = name
            case {"do": "live"}:
                self._go_live()
            case {"do": "watch"}:
                self._watched = True
            case {"do": "merged", "frames": int(frames)}:
                self._merged += frames
            case {"do": "mute" | "solo" | "level" | "panic"}:
                self._sender.obey(command)
            case {"do": "preset", "name": str(name)}:
                self._presets.ask(name)
            case {"do": "query"}:
                self._sender.answer_query()
            case {"do": "end"}:
                self._close(arrived)
            case {"do": "stop"}:
                self.stop()

    def _go_live(self) -> None:
        """Let all later items sound, and say what is wrong as of the last one."""
        self._history = False
        if self._schedule is not None:
            self._schedule.go_live()
            header = self._schedule.score.header
            for found in self._schedule.score.going_on():
                say(f"wrong now: {going_on(found, header.layers)}")

    def _end_early(self, now: float) -> None:
        """End the run because the pipe or the parent has ended, whatever came before.

        A run without an end has died, which has its own sound.
        """
        if self.session.paced or self.session.history:
            self.stop()
        self._close(now)
        self._end_by = min(self._end_by, now + END_SECONDS + self._metronome.longest_wait)

    def _close(self, now: float) -> None:
        """Accept no more lines, and play the rest."""
        if self._over:
            return
        self._over = True
        if self._schedule is not None and not self._waiting:
            self._schedule.close(self._timeline.of(now))
        if not self.session.paced:
            self._end_by = now + self.session.delay + END_SECONDS + self._metronome.longest_wait
