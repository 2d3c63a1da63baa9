"""Show a live run on the whole terminal, and leave it as it was."""

import contextlib
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradmidi.base.messages import printable
from gradmidi.cli.screenlines import Shown, screen_lines
from gradmidi.cli.view import Rate, Settings, Status, norms_of

if TYPE_CHECKING:
    from gradmidi.live.feed import Live

__all__ = ["Screen"]

MOST_HISTORY = 200

MESSAGE_SECONDS = 10.0
"""How long a message is shown."""

MOST_SAID = 100
"""How many messages are printed when the view is closed."""


class Screen:
    """The view on the terminal's alternate screen, which is left at the end.

    Messages that came meanwhile, and faults, are then printed as lines.

    Parameters
    ----------
    console : rich.console.Console
        The terminal.
    last : int or None
        The last step of a finished run.
    clock : callable
        Returns seconds.
    """

    def __init__(
        self,
        console: Any,
        last: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._clock = clock
        self._shown = Shown((), {}, last=last)
        self._entered = False
        self._said: deque[str] = deque(maxlen=MOST_SAID)
        self._until = 0.0
        self._faults = 0
        self._stops = self._continued = False

    @property
    def rate(self) -> Rate:
        """Steps per second."""
        return self._shown.rate

    def begin(self) -> None:
        """Do nothing, since the screen shows the keys."""

    def help(self) -> None:
        """Explain the keys, or stop it."""
        self._shown.helps = not self._shown.helps

    def say(self, text: str) -> None:
        """Show a message; before the screen is used, print it."""
        if not self._entered:
            self._print(text)
            return
        self._shown.message = printable(text)
        self._until = self._clock() + MESSAGE_SECONDS
        self._said.append(text)

    def show(self, live: "Live", settings: Settings) -> None:
        """Draw the screen."""
        if "step" not in live.status:
            return
        shown = self._shown
        status = live.status
        moved = shown.status.get("step") != status["step"]
        shown.voices, shown.status, shown.settings = live.voices, status, settings
        if moved:
            # A finished run is played in another time than its own.
            seconds = status["seconds"] if shown.last is None else self._clock()
            shown.rate.add(status["step"], seconds)
            _remember(shown.history, status)
        self._note_faults(status)
        if self._clock() > self._until:
            shown.message = ""
        if not self._entered:
            # Noted first, so that an interrupt in the next lines does not leave it so.
            self._entered = True
            self._console.set_alt_screen(True)
            self._console.show_cursor(False)
        from rich.console import Group
        from rich.control import Control
        from rich.screen import Screen as Whole

        width, height = self._console.size
        whole = Whole(Group(*screen_lines(shown, width, height)))
        self._console.control(Control.home())
        self._console.print(whole, end="")

    def note(self, number: int, _frame: object) -> None:
        """Handle SIGTSTP (Ctrl-Z) and SIGCONT: a frame may be half drawn, so `pause` acts."""
        if number == signal.SIGCONT:
            self._continued = True
        elif self._entered:
            self._stops = True
        else:
            signal.raise_signal(signal.SIGSTOP)

    def pause(self, keys: Any) -> None:
        """Stop the process after Ctrl-Z, with the terminal as it was; enter the screen again.

        `keys` are `gradmidi.cli.keys.Keys`.
        """
        if self._stops:
            self._stops = False
            self._leave()
            keys.release()
            # All threads stop here, until SIGCONT.
            os.kill(os.getpid(), signal.SIGSTOP)
        if self._continued:
            self._continued = False
            keys.take()
            # The next `show` enters it.
            self._entered = False

    def close(self) -> None:
        """Leave the screen; print the messages and faults that it showed."""
        if not self._entered:
            return
        # The terminal may be gone.
        with contextlib.suppress(OSError):
            self._leave()
            for text in self._said:
                self._print(text)

    def _leave(self) -> None:
        self._console.set_alt_screen(False)
        self._console.show_cursor(True)

    def _note_faults(self, status: Status) -> None:
        new = min(status["fault_count"] - self._faults, len(status["faults"]))
        self._faults = status["fault_count"]
        for fault in status["faults"][len(status["faults"]) - new :]:
            self._said.append(f"fault, {fault['text']}")

    def _print(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def _remember(history: "list[deque[float]]", status: Status) -> None:
    degrees = [float(number) for number in status["degrees"]]
    norms = norms_of(status)
    while len(history) < len(degrees):
        history.append(deque(maxlen=MOST_HISTORY))
    for voice, past in enumerate(history[: len(degrees)]):
        odd = voice < len(norms) and not math.isfinite(norms[voice])
        past.append(math.inf if odd else degrees[voice])
