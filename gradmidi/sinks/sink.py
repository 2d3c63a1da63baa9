"""What a sink is, what a live sink counts, and two simple sinks: in memory and as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gradmidi.base.files import WholeFile
from gradmidi.music.events import Event

if TYPE_CHECKING:
    from gradmidi.log import RunLog
    from gradmidi.music.score import Score

__all__ = ["Counters", "FileSink", "LiveSink", "Memory", "Sink", "TextFile"]


class Sink(Protocol):
    """Takes events in order of ticks and ends whatever still sounds at `close`."""

    def send(self, events: Sequence[Event]) -> None:
        """Take the next events; their ticks never go back."""

    def close(self) -> None:
        """End every note, complete the output and release it. May be called twice."""


class FileSink(Sink, Protocol):
    """A sink that writes one file: whole at `close`, or not at all."""

    def abort(self) -> None:
        """Write no file, and leave no temporary one."""


class LiveSink(Sink, Protocol):
    """A sink that plays events when they are sent. Nothing raises from its methods."""

    counters: "Counters"

    def silence(self) -> None:
        """End every note that sounds."""


@dataclass(slots=True)
class Counters:
    """Numbers of a live sink's messages.

    Parameters
    ----------
    sent : int
        Handed to the system.
    dropped : int
        Left out: over the rig's limit, replaced by a newer value, after the end, or because the
        system's buffer was full.
    errors : int
        Refused by the system.
    """

    sent: int = 0
    dropped: int = 0
    errors: int = 0


class Memory:
    """Keeps every event in `events`, and whether it was closed, in `closed`.

    Examples
    --------
    >>> from gradmidi.music.events import Off
    >>> sink = Memory()
    >>> sink.send([Off(0, 0, 60)])
    >>> sink.events
    [Off(tick=0, voice=0, note=60)]
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False

    def send(self, events: Sequence[Event]) -> None:
        """Keep `events`."""
        self.events.extend(events)

    def close(self) -> None:
        """Set `closed`."""
        self.closed = True


class TextFile:
    """Writes the description of a run as text, whole at `close` or not at all."""

    def __init__(self, path: Path, score: "Score", log: "RunLog") -> None:
        self.path = path
        self._limits = score.preset.faults
        self._log = log

    def send(self, events: Sequence[Event]) -> None:
        """Do nothing: the text describes the run, not what is played."""

    def close(self) -> None:
        """Write the text."""
        from gradmidi.text.describe import describe

        lines = describe(self._log, self._limits)
        with WholeFile(self.path) as new:
            new.file.write("".join(f"{line}\n" for line in lines).encode())

    def abort(self) -> None:
        """Write no file."""
