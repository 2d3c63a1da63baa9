"""Protocols of sinks, the counters of live sinks, and two simple sinks: memory and text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from gradmidi.base.files import WholeFile
from gradmidi.music.events import Event

if TYPE_CHECKING:
    from gradmidi.log import Item, RunLog
    from gradmidi.log.blocks import Block
    from gradmidi.music.score import Score

__all__ = ["Counters", "FileSink", "LiveSink", "Memory", "Reader", "Sink", "TextFile"]


class Sink(Protocol):
    """An output that receives events in order of ticks."""

    def send(self, events: Sequence[Event]) -> None:
        """Process the next events; ticks never decrease."""

    def close(self) -> None:
        """End every note, complete the output and close it. May be called twice."""


class FileSink(Sink, Protocol):
    """A sink that writes one file, complete at `close` or not at all."""

    def abort(self) -> None:
        """Write no file, and leave no temporary file."""


@runtime_checkable
class Reader(Protocol):
    """A file sink that also takes the items of the log, each before the events that follow it."""

    def read(self, item: "Item | Block") -> None:
        """Take the next item of the log, or a block of frames."""


class LiveSink(Sink, Protocol):
    """A sink that plays events when it receives them. Its methods never raise."""

    counters: "Counters"

    def silence(self) -> None:
        """End every note that sounds."""

    def keep_alive(self) -> None:
        """Tell the receiver that the player still runs, if that is due; called often."""


@dataclass(slots=True)
class Counters:
    """Counts of a live sink's messages.

    Parameters
    ----------
    sent : int
        Messages passed to the system.
    dropped : int
        Messages left out: over the rig's limit, replaced by a newer value, after the end, or
        because the system's buffer was full.
    errors : int
        Messages that the system refused.
    """

    sent: int = 0
    dropped: int = 0
    errors: int = 0


class Memory:
    """Stores all events in `events`, and sets `closed` when it is closed.

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
        """Store events."""
        self.events.extend(events)

    def close(self) -> None:
        """Set `closed` to True."""
        self.closed = True


class TextFile:
    """Writes the description of a run as text, complete at `close` or not at all."""

    def __init__(self, path: Path, score: "Score", log: "RunLog") -> None:
        self.path = path
        self._preset = score.preset
        self._log = log

    def send(self, events: Sequence[Event]) -> None:
        """Do nothing, since the text describes the run and not the notes."""

    def close(self) -> None:
        """Write the text."""
        from gradmidi.text.describe import describe

        lines = describe(self._log, self._preset.faults, self._preset.values.which)
        with WholeFile(self.path) as new:
            new.file.write("".join(f"{line}\n" for line in lines).encode())

    def abort(self) -> None:
        """Write no file."""
