"""Where events go, behind one protocol of two methods: send, then close.

Each sink is a module of its own that is imported only when it is asked for; `memory` keeps
the events, for tests and for whoever wants them as they are.
"""

from collections.abc import Sequence
from typing import Protocol

from gradmidi.music.events import Event

__all__ = ["FileSink", "Sink"]


class Sink(Protocol):
    """Takes events in order of ticks and ends whatever still sounds at `close`."""

    def send(self, events: Sequence[Event]) -> None:
        """Take the next events; their ticks never go back."""

    def close(self) -> None:
        """End every note, finish what was begun and let go of it. May be called twice."""


class FileSink(Sink, Protocol):
    """A sink that writes one file: whole at `close`, or not at all."""

    def abort(self) -> None:
        """Give up: leave neither the file nor a temporary one."""
