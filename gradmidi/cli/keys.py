"""Run a live view on the terminal: keys, signals, and the loop that draws the run."""

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import typer

from gradmidi.base.messages import messages_to, printable
from gradmidi.cli.view import (
    DRAW_SECONDS,
    LEVEL_STEP_DB,
    PlainLines,
    Settings,
    numbers_line,
)
from gradmidi.errors import GradmidiError

if TYPE_CHECKING:
    from gradmidi.cli.screen import Screen
    from gradmidi.live.feed import Live

WAYS = {"j": 1, "k": -1, "\x1b[B": 1, "\x1b[A": -1, "\x1bOB": 1, "\x1bOA": -1}
"""Keys that choose the next or the previous voice: letters, and the arrows of a terminal."""

ESCAPE_SECONDS = 0.02
"""The rest of an arrow key comes within this time."""

__all__ = ["Keys", "await_enter", "closed_by_signals", "show_on", "watch", "watched"]


class Keys:
    """Reads single keys from the terminal, even if stdin is a pipe.

    Without a terminal there are no keys. The terminal's settings are restored at the end.
    """

    def __init__(self) -> None:
        self._tty: IO[bytes] | None = None
        self._before: list[Any] | None = None

    def __enter__(self) -> "Keys":
        if os.name == "nt":
            return self
        import termios

        with contextlib.suppress(OSError, termios.error):
            self._tty = open("/dev/tty", "rb", buffering=0)
            self._before = termios.tcgetattr(self._tty)
            self.take()
        return self

    def take(self) -> None:
        """Make the terminal give each key at once, without showing it."""
        if self._tty is not None:
            import tty

            tty.setcbreak(self._tty.fileno())

    def release(self) -> None:
        """Restore the terminal's settings."""
        if self._tty is not None and self._before is not None:
            import termios

            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._tty, termios.TCSADRAIN, self._before)

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.release()
        if self._tty is not None:
            self._tty.close()
            self._tty = None

    @property
    def there(self) -> bool:
        """Whether there is a terminal."""
        return self._before is not None if os.name != "nt" else sys.stdin.isatty()

    def read(self, seconds: float) -> str:
        """Wait at most `seconds` for a key; return it, or "" if none came."""
        if sys.platform == "win32":
            return _windows_key(seconds)
        if self._tty is None:
            time.sleep(seconds)
            return ""
        try:
            if select.select([self._tty], [], [], seconds)[0]:
                key = os.read(self._tty.fileno(), 1)
                if key == b"\x1b" and select.select([self._tty], [], [], ESCAPE_SECONDS)[0]:
                    key += os.read(self._tty.fileno(), 2)
                return key.decode("ascii", "replace")
        except OSError:
            time.sleep(seconds)
        return ""


def _windows_key(seconds: float) -> str:
    import msvcrt

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if msvcrt.kbhit():  # type: ignore[attr-defined,unused-ignore]
            return str(msvcrt.getwch())  # type: ignore[attr-defined,unused-ignore]
        time.sleep(0.02)
    return ""


def watch(
    live: "Live",
    show: "PlainLines | Screen",
    keys: Keys,
    *,
    level: float = 0.0,
    going: Callable[[], bool],
) -> bool:
    """Show a run and handle keys while `going` returns True; return whether q was pressed.

    Parameters
    ----------
    live : Live
        The player.
    show : PlainLines or Screen
        The view.
    keys : Keys
        The source of keys.
    level : float
        The player's level at the start, in dB.
    going : callable
        Returns whether to continue.
    """
    settings = Settings(level)
    if keys.there:
        show.begin()
    for _ in _while(going):
        key = keys.read(DRAW_SECONDS)
        if key in ("q", "Q"):
            live.do("stop")
            return True
        if key:
            _press(key, live, show, settings)
        show.pause(keys)
        show.show(live, settings)
    return False


def _while(going: Callable[[], bool]) -> Iterator[None]:
    while going():
        yield


def _press(key: str, live: "Live", show: "PlainLines | Screen", settings: Settings) -> None:
    status = live.status
    if key == " ":
        settings.muted = not settings.muted
        live.do("mute")
        show.say("muted" if settings.muted else "unmuted")
    elif key in "+=-":
        by = -LEVEL_STEP_DB if key == "-" else LEVEL_STEP_DB
        settings.level = min(max(settings.level + by, -60.0), 12.0)
        live.do("level", by=by)
        show.say(f"level {settings.level:+g} dB")
    elif key in "123456789" and int(key) <= len(live.voices):
        settings.chosen = int(key) - 1
        _solo(live, show, settings)
    elif key in WAYS and live.voices:
        settings.chosen = (settings.chosen + WAYS[key]) % len(live.voices)
        show.say(f"voice {settings.chosen + 1}: {live.voices[settings.chosen]}")
    elif key in "\r\n" and live.voices:
        _solo(live, show, settings)
    elif key == "?":
        show.help()
    elif key in "nN" and "step" in status:
        show.say(numbers_line(live.voices, status, rate=show.rate.steps))
    elif key in "fF":
        faults = status.get("faults")
        show.say(faults[-1]["text"] if faults else "no fault so far")


def _solo(live: "Live", show: "PlainLines | Screen", settings: Settings) -> None:
    """Hear only the chosen voice, or all voices again."""
    # Another preset may have fewer voices.
    voice = settings.chosen = min(settings.chosen, len(live.voices) - 1)
    settings.solo = None if settings.solo == voice else voice
    live.do("solo", voice=voice)
    show.say("all voices" if settings.solo is None else f"{live.voices[voice]} alone")


@contextmanager
def closed_by_signals() -> Iterator[None]:
    """Handle SIGTERM and SIGHUP in the block like Ctrl-C, then end the process by the signal.

    So the block's cleanup runs: notes are ended, and the terminal is restored.
    """
    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        if not received:
            received.append(number)
            raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [signal.Signals[name] for name in names]
    # An ignored signal (nohup) stays ignored.
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in received:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


@contextmanager
def show_on(
    *, plain: bool, numbers: bool = True, last: int | None = None
) -> "Iterator[PlainLines | Screen]":
    """Show a run and all messages on stderr, on the whole screen or as plain lines.

    Parameters
    ----------
    plain : bool
        Whether to write only complete lines.
    numbers : bool, default True
        Whether these lines include numbers, besides faults and marks.
    last : int, optional
        The last step of a finished run.
    """
    if plain:
        lines = PlainLines(lambda text: typer.echo(printable(text), err=True), numbers=numbers)
        with messages_to(lambda record: lines.say(record.getMessage())):
            yield lines
        return
    from rich.console import Console

    from gradmidi.cli.screen import Screen

    screen = Screen(Console(stderr=True), last)
    try:
        with (
            _stopped_by_keys(screen.note),
            messages_to(lambda record: screen.say(record.getMessage())),
        ):
            yield screen
    finally:
        screen.close()


@contextmanager
def _stopped_by_keys(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Let a function handle Ctrl-Z and what continues a stopped process, where there is that."""
    names = [name for name in ("SIGTSTP", "SIGCONT") if hasattr(signal, name)]
    default = [
        signal.Signals[name]
        for name in names
        if signal.getsignal(signal.Signals[name]) is signal.SIG_DFL
    ]
    for each in default:
        signal.signal(each, handler)
    try:
        yield
    finally:
        for each in default:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def watched(
    live: "Live", show: "PlainLines | Screen", *, level: float
) -> Iterator[Callable[[], bool]]:
    """Show a run and handle keys while the block trains.

    Parameters
    ----------
    live : Live
        The player.
    show : PlainLines or Screen
        The view.
    level : float
        The level at the start, in dB.

    Yields
    ------
    callable
        Returns whether to continue; False after q was pressed.
    """
    over, left = threading.Event(), threading.Event()

    def look() -> None:
        with Keys() as keys:
            going = lambda: live.alive and not over.is_set()  # noqa: E731
            if watch(live, show, keys, level=level, going=going):
                left.set()

    live.watch()
    if level:
        live.do("level", by=level)
    thread = threading.Thread(target=look, name="gradmidi view", daemon=True)
    thread.start()
    try:
        yield lambda: not left.is_set()
    finally:
        over.set()
        thread.join(1.0)


def await_enter(say: Callable[[str], None]) -> None:
    """Wait for Enter on the terminal, even if stdin is a pipe."""
    say("press Enter to start")
    try:
        with open("CON" if sys.platform == "win32" else "/dev/tty") as terminal:
            terminal.readline()
    except OSError as error:
        raise GradmidiError("--wait needs a terminal to press Enter at") from error
