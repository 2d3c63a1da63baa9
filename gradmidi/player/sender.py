"""What is played, sent: mute and level applied, status kept, the guard told of each note."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gradmidi.music.events import Event, Joined, Off, On
from gradmidi.music.voices import Voice
from gradmidi.player.guard import Guard, Note, notes_of
from gradmidi.player.mixer import Mixer, Status
from gradmidi.player.outputs import Outputs
from gradmidi.player.timeline import OPENING_SECONDS, SENDING_SECONDS, STUCK_SECONDS

__all__ = ["Sender"]


class Sender:
    """Sends the events of a run to its outputs.

    Parameters
    ----------
    outputs : Outputs
        The open outputs.
    answer : callable
        Sends an answer to the parent: the names of the voices, when they change.
    guard : Guard or None
        Ends a stuck process, and the notes of a killed one.
    level : float
        dB added to every note.
    """

    def __init__(
        self,
        outputs: Outputs,
        answer: Callable[[dict[str, Any]], None],
        guard: Guard | None,
        level: float,
    ) -> None:
        self._outputs = outputs
        self._answer = answer
        self._guard = guard
        self._mixer = Mixer(level)
        self._status: Status | None = None
        self._sounding: list[Note] = []

    @property
    def status(self) -> dict[str, Any] | None:
        """The numbers of the run, see `Status.table`; None before it begins."""
        return None if self._status is None else self._status.table()

    def begin(self, voices: Sequence[Voice]) -> None:
        """Go on with these voices."""
        self._status = self._status or Status(voices)
        self._status.begin(voices)
        self._tell_voices()

    def end(self, rest: Sequence[Event]) -> list[str]:
        """Send the rest and end every note, before other voices; return the names so far."""
        self.allow(OPENING_SECONDS)
        self._send([*self._mixer.take(rest), *self._mixer.silence()])
        return self._names

    def rename(self, before: Sequence[str]) -> None:
        """Keep what is set for voices, by name, after others have begun."""
        self._mixer.rename(before, self._names)

    def play(self, events: Sequence[Event], *, skip: bool) -> None:
        """Send events; with `skip`, no new note of them."""
        self._send(self._mixer.take(events, skip=skip))

    def obey(self, command: Mapping[str, Any]) -> None:
        """Mute, solo, change the level, or end every note (``panic``)."""
        with self.at_once():
            self._send(self._mixer.obey(command, self._names))
            if command["do"] == "panic":
                self._outputs.silence()

    def answer_query(self) -> None:
        """Answer what a desk has asked for."""
        self._outputs.answer(self._mixer, self._names)

    def silence(self) -> None:
        """End every note."""
        self.allow(STUCK_SECONDS)
        self._outputs.send(self._mixer.silence())
        self._outputs.silence()

    def allow(self, seconds: float) -> None:
        """Let the guard wait for so long."""
        if self._guard is not None:
            self._guard.allow(seconds)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Let the guard wait only as long as sending may take."""
        self.allow(SENDING_SECONDS)
        try:
            yield
        finally:
            self.allow(STUCK_SECONDS)

    @property
    def _names(self) -> list[str]:
        return self._status.names if self._status is not None else []

    def _send(self, events: Sequence[Event]) -> None:
        """Send events; the guard knows a note from before its start until after its end."""
        if not events:
            return
        if self._status is not None:
            self._status.take(events)
            if any(isinstance(event, Joined) for event in events):
                self._tell_voices()
        started = notes_of(event for event in events if isinstance(event, On))
        if started and self._guard is not None:
            self._guard.sounding([*self._sounding, *started])
        self._outputs.send(events)
        self._sounding = notes_of(self._mixer.heard)
        if self._guard is not None and any(isinstance(event, Off) for event in events):
            self._guard.sounding(self._sounding)

    def _tell_voices(self) -> None:
        if self._guard is not None:
            self._guard.begin(len(self._names))
        self._answer({"voices": self._names})
