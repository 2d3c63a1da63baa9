"""What a live sink counts."""

from dataclasses import dataclass

__all__ = ["Counters"]


@dataclass(slots=True)
class Counters:
    """What became of a live sink's messages.

    Parameters
    ----------
    sent : int
        Handed to the system.
    dropped : int
        Left out: over the rig's limit, overtaken by a newer value, after the end, or because
        the system's buffer was full.
    errors : int
        Refused by the system.
    """

    sent: int = 0
    dropped: int = 0
    errors: int = 0
