"""What the commands with live output share: its options, and how a run is shown as it plays."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradmidi.base.messages import messages_to
from gradmidi.errors import GradmidiError

if TYPE_CHECKING:
    from gradmidi.cli.view import Picture, PlainLines
    from gradmidi.live.feed import Live
    from gradmidi.midi.rig import Rig

__all__ = [
    "Audio",
    "BendRange",
    "Card",
    "Channels",
    "Clock",
    "ClockPort",
    "DinLimit",
    "FaultChannel",
    "Level",
    "Midi",
    "Osc",
    "Pan",
    "Plain",
    "Preset",
    "Programs",
    "RigFile",
    "Take",
    "await_enter",
    "cables",
    "check_take",
    "closed_by_signals",
    "show_on",
    "watched",
]

Midi = Annotated[
    list[str] | None,
    typer.Option(metavar="PORT", help="A MIDI output, or virtual:NAME; may be repeated."),
]
Osc = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST:PORT", help="Where to send OSC; may be repeated."),
]
Audio = Annotated[bool, typer.Option("--audio", help="Play through the sound card.")]
Card = Annotated[str | None, typer.Option(metavar="NAME", help="Through this sound card.")]
Preset = Annotated[
    str, typer.Option("--preset", "-p", help="A preset's name or a .toml file (see: presets).")
]
Level = Annotated[
    float,
    typer.Option(metavar="DB", min=-60.0, max=12.0, help="Louder or softer, as --level -12."),
]
Take = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keep what is played as a .mid file.")
]
Plain = Annotated[bool, typer.Option("--plain", help="Only lines that each stand alone.")]

RigFile = Annotated[
    Path | None, typer.Option("--rig", metavar="FILE", help="A rig: what the gear needs, as .toml.")
]
Channels = Annotated[
    str | None, typer.Option(metavar="1-4,6", help="Channels of the voices, over the rig's.")
]
FaultChannel = Annotated[
    str | None,
    typer.Option(metavar="1-16|off", help="Channel of the fault sounds; by default 10."),
]
Programs = Annotated[
    bool, typer.Option("--programs", help="Send the preset's programs at the start.")
]
Pan = Annotated[bool, typer.Option("--pan", help="Send the preset's pan at the start.")]
BendRange = Annotated[
    int | None, typer.Option(metavar="SEMITONES", help="Of a full bend; by default 2.")
]
DinLimit = Annotated[
    int | None,
    typer.Option(metavar="N", help="Most messages a second on each port; a DIN cable: 900."),
]
Clock = Annotated[bool, typer.Option("--clock", help="Send MIDI clock to the first MIDI output.")]
ClockPort = Annotated[
    str | None, typer.Option(metavar="PORT", help="Send MIDI clock to this output.")
]


def cables(
    rig: Path | None,
    ports: list[str] | None,
    *,
    channels: str | None = None,
    fault_channel: str | None = None,
    programs: bool = False,
    pan: bool = False,
    bend_range: int | None = None,
    din_limit: int | None = None,
    clock: bool = False,
    clock_port: str | None = None,
) -> "Rig":
    """Read the rig: the file's, and what options say over it."""
    from gradmidi.midi.rig import load

    faults: Any = fault_channel
    if fault_channel is not None and fault_channel.isdecimal():
        faults = int(fault_channel)
    options = {
        "ports": ports or None,
        "channels": channels,
        "faults": faults,
        "programs": programs or None,
        "pan": pan or None,
        "bend_range": bend_range,
        "din_limit": din_limit,
        "clock": clock_port or clock or None,
    }
    return load(rig, options)


def check_take(take: Path | None) -> None:
    """See that what is played is kept under a MIDI file's name."""
    if take is not None and take.suffix.lower() != ".mid":
        raise typer.BadParameter(f"--take {take}; the file ends in .mid")


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
