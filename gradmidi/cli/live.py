"""Show a run on the terminal while it plays, and obey keys."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from gradmidi.base.messages import messages_to
from gradmidi.errors import GradmidiError

if TYPE_CHECKING:
    from gradmidi.cli.view import Picture, PlainLines
    from gradmidi.live.feed import Live

__all__ = ["await_enter", "closed_by_signals", "show_on", "watched"]


@contextmanager
def closed_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt the block as Ctrl-C does, then end the process as they do.

    So everything that the block opened is closed: notes end, and the terminal is as it was.
    """
    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        if not received:
            received.append(number)
            raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [signal.Signals[name] for name in names]
    # One that is ignored (nohup) stays ignored.
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
def show_on(*, plain: bool) -> "Iterator[PlainLines | Picture]":
    """Show a run and every message on stderr: as a picture, or plain.

    Parameters
    ----------
    plain : bool
        Whether only lines that each stand alone may be written.
    """
    from gradmidi.cli.view import Picture, PlainLines

    if plain:
        lines = PlainLines(lambda text: typer.echo(text, err=True))
        with messages_to(lambda record: lines.say(record.getMessage())):
            yield lines
        return
    from rich.console import Console

    picture = Picture(Console(stderr=True))
    try:
        with messages_to(lambda record: picture.say(record.getMessage())):
            yield picture
    finally:
        picture.close()


@contextmanager
def watched(
    live: "Live", show: "PlainLines | Picture", *, level: float
) -> Iterator[Callable[[], bool]]:
    """Show a run and obey keys while the block trains.

    Parameters
    ----------
    live : Live
        The player.
    show : PlainLines or Picture
        How to show it.
    level : float
        What the level is at the start, in dB.

    Yields
    ------
    callable
        Tells whether to go on: not once q was pressed.
    """
    from gradmidi.cli.view import Keys, watch

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
    """Wait for Enter at the terminal, even where stdin is a pipe."""
    say("press Enter to start")
    try:
        with open("CON" if sys.platform == "win32" else "/dev/tty") as terminal:
            terminal.readline()
    except OSError as error:
        raise GradmidiError("--wait needs a terminal to press Enter at") from error
