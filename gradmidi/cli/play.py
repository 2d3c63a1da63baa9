"""The command `play`: play a run, finished or growing, from a folder, a pipe or another machine."""

import os
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from time import time as now
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradmidi.cli.keys import await_enter, closed_by_signals, show_on
from gradmidi.cli.options import (
    Level,
    Of,
    Plain,
    SourceArgument,
    is_plain,
    one_of,
    selects,
    takes,
)
from gradmidi.errors import GradmidiError
from gradmidi.sources.selection import Selection
from gradmidi.text.words import count, unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gradmidi.cli.screen import Screen
    from gradmidi.cli.view import PlainLines
    from gradmidi.live.feed import Live
    from gradmidi.live.session import Session
    from gradmidi.log import RunLog
    from gradmidi.sources.follow import Line
    from gradmidi.sources.textreader import PassThrough

__all__ = ["play"]

PAST_SECONDS = 2.0
"""Text that was printed before, and is still in the pipe, comes within this time."""

UPDATES = b'"updates": '
"""What a line of a run log holds if it has sizes of updates."""

LAST_SECONDS = 3.0
"""How long text is passed on after Ctrl-C."""


@takes(
    "midi",
    "osc",
    "audio",
    "rig",
    "settings",
    "link",
    "preset",
    "take",
    "notify",
    "reference_tone",
)
@selects
def play(
    run: SourceArgument,
    given: dict[str, Any],
    selection: Selection,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            callback=one_of("start", "now"),
            metavar="start|now",
            help="Where to start: by default at the start of a finished run, and at the newest "
            "step of a run that is still being written.",
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            callback=one_of("step", "wall"),
            metavar="step|wall",
            help="One slot for each step, or the run's own timing. By default a finished run is "
            "played by steps, as its files are, and another by its own timing.",
        ),
    ] = None,
    of: Of = "gradients",
    delay: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="Play this many seconds late, if lines arrive in bursts."
        ),
    ] = 0.0,
    level: Level = 0.0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Start when you press Enter; MIDI clock runs before.")
    ] = False,
    osc_timetags: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Send OSC bundles, time-tagged this many seconds ahead."
        ),
    ] = None,
    osc_in: Annotated[
        str | None,
        typer.Option(
            "--osc-in",
            metavar="[HOST:]PORT",
            help="Receive commands by OSC at this port: mute, solo, level, panic, preset, query.",
        ),
    ] = None,
    midi_in: Annotated[
        str | None,
        typer.Option(
            "--midi-in",
            metavar="PORT",
            help="Receive commands of knobs and buttons, which the rig's midi_in names, at this "
            "MIDI input.",
        ),
    ] = None,
    plain: Plain = False,
) -> None:
    """Play a run through MIDI, OSC or the sound card, or show it.

    Without an output it is shown on the terminal.
    """
    from gradmidi.live.feed import Live
    from gradmidi.music.score import score_of
    from gradmidi.options import Options
    from gradmidi.sources.opened import value_names

    options = Options(**given, values=value_names(run, selection))
    with closed_by_signals():
        source = None if run == "-" else _source(run, begin, selection, of)
        paced = begin == "start" if source is None else source.paced
        if time == "step" and not paced:
            raise typer.BadParameter("--time step needs the whole run: add --from start")
        log = None if source is None else source.log
        steps = log is not None and time != "wall"
        session = options.session(
            timetags=osc_timetags,
            osc_in=osc_in,
            midi_in=midi_in,
            time="step" if steps else time or "wall",
            per_slot=score_of(log, options.music, of=of).per_slot if log and steps else 1,
            of=of,
            paced=paced,
            history=not paced,
            delay=delay,
            level=level,
        )
        shows = not is_plain(asked=plain)
        if not session.sounds and not (shows and source is not None):
            raise typer.BadParameter(
                "there is no output; give --midi PORT, --osc HOST:PORT, --audio or --notify URL"
            )
        stdin = _stdin() if source is None else None
        # A port that cannot be opened must be an error before training prints anything.
        live = Live(session)
        try:
            source = source or _piped(stdin or 0, selection, paced=paced)
            if of == "updates":
                source = replace(source, lines=_with_updates(source))
            text = source.text is not None
            last = (
                max((each.step for each in log.frames()), default=None) if log and shows else None
            )
            with show_on(plain=not shows or text, numbers=not text, last=last) as show:
                _say_how(source, session, show.say)
                _play(source, live, show, level=level, wait=wait)
                if source.log is not None and source.log.unreadable:
                    show.say(unread(source.log.unreadable, source.log.first_unreadable))
        finally:
            live.close()


@dataclass(frozen=True, slots=True)
class _Source:
    """The source of a run; `log` is that of a finished run."""

    name: str
    lines: "Iterable[Line]"
    paced: bool
    stop: threading.Event
    text: "PassThrough | None" = None
    log: "RunLog | None" = None


def _stdin() -> int:
    """Return the descriptor of stdin, which must be a pipe or a file."""
    if sys.stdin is None:
        raise GradmidiError("- reads stdin, which is closed; pipe a run log or text into it")
    if sys.stdin.isatty():
        raise typer.BadParameter("- reads a pipe, and stdin is a terminal")
    return sys.stdin.fileno()


def _piped(descriptor: int, selection: Selection, *, paced: bool) -> _Source:
    """Wait for the first bytes of stdin: they are a run log, or text, which is passed on."""
    from gradmidi.sources.follow import follow_pipe
    from gradmidi.sources.following import follow_log
    from gradmidi.sources.kinds import text_of
    from gradmidi.sources.opened import HEADER
    from gradmidi.sources.textreader import PassThrough, TextReader

    stop = threading.Event()
    first = b""
    while HEADER.startswith(first) and (data := os.read(descriptor, len(HEADER))):
        first += data
    if first.startswith(HEADER) or not first:
        lines = follow_pipe(descriptor, first=first, stop=stop)
        return _Source("stdin", lines, paced, stop)
    # The thread that passes text on must not wait for the one that reads it.
    sys.setswitchinterval(0.0005)
    text = PassThrough(descriptor, sys.stdout.fileno(), first)
    text.start()
    lines = follow_log(
        text_of("stdin"),
        selection,
        reader=TextReader(text),
        longest_past=PAST_SECONDS,
        stop=stop,
    )
    return _Source("stdin", lines, paced, stop, text)


def _with_updates(source: _Source) -> "Iterator[Line]":
    """Yield the lines of a source; raise RunLogError at its end if no step has sizes of updates."""
    from gradmidi.music.valuevoices import no_updates

    found = False
    for line in source.lines:
        found = found or UPDATES in line.data
        yield line
    if not found:
        raise no_updates(source.name)


def _source(run: str, begin: str | None, selection: Selection, of: str) -> _Source:
    """Find a run on another machine or in a folder, or the log of another tool."""
    from gradmidi.base.files import is_written
    from gradmidi.log import RunLog, locate
    from gradmidi.music.valuevoices import check_values, count_updates, no_updates
    from gradmidi.sources import follow
    from gradmidi.sources.following import follow_log
    from gradmidi.sources.kinds import find_log
    from gradmidi.sources.opened import is_run, open_log
    from gradmidi.sources.relay import finished_lines, is_over, is_quiet

    whole = begin == "start"
    stop = threading.Event()
    elsewhere = follow.remote(run)
    if elsewhere is not None:
        host, path = elsewhere
        lines = follow.follow_host(host, path, stop=stop)
        return _Source(Path(path).name, lines, whole, stop)
    if is_run(Path(run), selection):
        file = locate(run)
        if not file.stat().st_size and is_written(file):
            name = file.absolute().parent.name
            return _Source(name, follow.follow_file(file, stop=stop), whole, stop)
        log: RunLog = open_log(run)
        if is_over(log.path, now()) and begin != "now":
            check_values(log, selection.values)
            if of == "updates":
                count_updates(log)
            return _Source(log.name, finished_lines(log), True, stop, log=log)
        return _Source(log.name, follow.follow_file(log.path, stop=stop), whole, stop)
    found = find_log(run, selection.kind)
    if of == "updates":
        raise no_updates(found.path)
    if is_quiet(found.changed, now()) and begin != "now":
        log = open_log(run, selection)
        return _Source(found.name, finished_lines(log), True, stop, log=log)
    return _Source(found.name, follow_log(found, selection, stop=stop), whole, stop)


def _say_how(source: _Source, session: "Session", say: "Callable[[str], None]") -> None:
    """Say what is played, and in which time."""
    if source.text is None and not source.paced:
        say(f"following {source.name}; steps before now make no sound")
    elif source.text is None:
        how = f"playing {source.name} from its start"
        if source.log is None:
            say(how)
        elif session.time == "wall":
            say(f"{how}, by its own time")
        else:
            each = "a slot for each step"
            if session.per_slot > 1:
                each = f"a slot for {session.per_slot:,} steps"
            say(f"{how}, by steps, as its files are: {each}; --time wall is its own time")
    if not session.sounds:
        say("no output, so no sound: add --audio, --midi PORT or --osc HOST:PORT to hear it")


def _play(
    source: _Source, live: "Live", show: "PlainLines | Screen", *, level: float, wait: bool
) -> None:
    from gradmidi.cli.keys import Keys, watch
    from gradmidi.sources.relay import Relay

    relay = Relay(source.lines, live, paced=source.paced, stop=source.stop, name=source.name)
    live.watch()
    left = False
    try:
        if wait:
            await_enter(show.say)
        live.name(source.name)
        relay.start()
        with Keys() as keys:
            left = watch(live, show, keys, level=level, going=lambda: live.alive)
    except KeyboardInterrupt:
        left = True
        live.do("stop")
        if source.text is not None:
            # Ctrl-C goes to training too, whose last words are passed on.
            source.text.join(LAST_SECONDS)
    else:
        if source.text is not None:
            source.text.join()
    finally:
        relay.close()
        live.close()
    if relay.error is not None:
        raise relay.error
    if not (live.counts or left):
        raise GradmidiError("the player ended before the run did")
    show.say(f"played {count(live.counts.get('frames', 0), 'step')}")
