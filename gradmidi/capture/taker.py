"""Whoever wants the norms: what capture tells, and to whom."""

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Taker"]


class Taker(Protocol):
    """Whoever wants the norms. None of these may raise."""

    def take(self, norms: Any, row: Callable[[Any], Any], skipped: Any = None) -> None:
        """Take a step's norms as they are, and what makes a row of them.

        `skipped` is true where a scaler threw the step away; it may be a number on a device.
        """

    def skip(self) -> None:
        """Learn of a step that was not looked at."""

    def fail(self, error: Exception) -> None:
        """Learn that a step could not be looked at."""

    def see_clipping(self) -> None:
        """Learn that gradients are about to be clipped, and are looked at before."""

    def miss_clipping(self) -> None:
        """Learn that some are clipped where nobody is told of it."""

    def replace(self) -> None:
        """Learn that another listener takes over."""
