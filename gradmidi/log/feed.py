"""What a run log's lines are also sent to."""

from typing import Protocol

from gradmidi.log.items import Record

__all__ = ["Feed"]


class Feed(Protocol):
    """Live output that gets each line of the log when it is written."""

    def send(self, record: Record, line: bytes) -> None:
        """Send a record and its line, on the writer's thread; must return at once."""

    def close(self, timeout: float) -> None:
        """End all notes and release all resources, within `timeout` seconds."""
