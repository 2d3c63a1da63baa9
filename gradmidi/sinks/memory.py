"""The sink that keeps what it is sent: for tests and for whoever wants the events."""

from collections.abc import Sequence

from gradmidi.music.events import Event

__all__ = ["Memory"]


class Memory:
    """Keeps every event in `events`, and remembers whether it was closed.

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
        """Remember that it was closed."""
        self.closed = True
