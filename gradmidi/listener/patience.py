"""Waiting that is bounded, and that Ctrl-C shortens but never tears."""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

__all__ = ["Patience"]

SLICE_SECONDS = 0.05


class Patience:
    """While it is entered, Ctrl-C is counted; it is raised once, when everything is left whole.

    A handler that is not Python's own stays as it is.

    Attributes
    ----------
    interrupts : int
        How often Ctrl-C was pressed.

    Examples
    --------
    >>> with Patience() as patience:
    ...     patience.wait(lambda seconds: True, 2.0)
    True
    """

    def __init__(self) -> None:
        self.interrupts = 0
        self._mine = False

    def __enter__(self) -> "Patience":
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._mine = True
            signal.signal(signal.SIGINT, self._count)
        return self

    def __exit__(self, *_: object) -> None:
        if self._mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self.interrupts:
                raise KeyboardInterrupt

    def _count(self, _signal: int, _frame: FrameType | None) -> None:
        self.interrupts += 1

    def wait(self, done: Callable[[float], bool], seconds: float, interrupts: int = 1) -> bool:
        """Wait until `done` is, for `seconds` or until there were so many interrupts.

        Parameters
        ----------
        done : callable
            Waits for at most the seconds it is given, and tells whether it is done.
        seconds : float
            The bound.
        interrupts : int, default 1
            How many end the waiting.

        Returns
        -------
        bool
            Whether it was done in time.
        """
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if done(min(SLICE_SECONDS, max(left, 0.0))):
                return True
            if left <= 0.0 or self.interrupts >= interrupts:
                return False
