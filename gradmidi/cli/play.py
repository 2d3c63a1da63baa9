"""The command `play`: play a run, finished or growing, from a folder, a pipe or another machine."""

import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from time import time as now
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradmidi.cli.keys import await_enter, closed_by_signals, show_on
from gradmidi.cli.options import (
    Level,
    Plain,
    SourceArgument,
    Timing,
    is_plain,
    one_of,
    selects,
    takes,
)
from gradmidi.errors import GradmidiError
from gradmidi.sources.selection import Selection
from gradmidi.text.words import count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradmidi.cli.view import Picture, PlainLines
    from gradmidi.live.session import Session
    from gradmidi.sources.follow import Line

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(play)


@takes(
    "midi",
    "osc",
    "audio",
    "rig",
    "settings",
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
    time: Timing = "wall",
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
    plain: Plain = False,
) -> None:
    """Play a run through MIDI, OSC or the sound card."""
    from gradmidi.options import Options
    from gradmidi.sources.opened import value_names

    options = Options(**given, values=value_names(run, selection))
    with closed_by_signals(), show_on(plain=is_plain(asked=plain)) as show:
        source = _source(run, begin, selection)
        if time == "step" and not source.paced:
            raise typer.BadParameter("--time step needs the whole run: add --from start")
        session = options.session(
            timetags=osc_timetags,
            time=time,
            paced=source.paced,
            history=not source.paced,
            delay=delay,
            level=level,
        )
        if not session.sounds:
            raise typer.BadParameter(
                "there is no output; give --midi PORT, --osc HOST:PORT, --audio or --notify URL"
            )
        _play(source, session, show, wait=wait)


@dataclass(frozen=True, slots=True)
class _Source:
    """The source of a run."""

    name: str
    lines: "Iterable[Line]"
    paced: bool
    stop: threading.Event


def _source(run: str, begin: str | None, selection: Selection) -> _Source:
    """Find a run: on stdin, on another machine, or in a folder, finished or still growing."""
    from gradmidi.log import RunLog
    from gradmidi.music.score import check_values
    from gradmidi.sources import follow
    from gradmidi.sources.following import follow_log
    from gradmidi.sources.kinds import find_log
    from gradmidi.sources.opened import is_run, open_log
    from gradmidi.sources.relay import finished_lines, is_over, is_quiet

    whole = begin == "start"
    stop = threading.Event()
    if run == "-":
        if sys.stdin is None:
            raise GradmidiError("- reads stdin, which is closed; pipe a run log or text into it")
        if sys.stdin.isatty():
            raise typer.BadParameter("- reads a run log from a pipe, and stdin is a terminal")
        return _Source("stdin", follow.follow_pipe(sys.stdin.fileno(), stop=stop), whole, stop)
    elsewhere = follow.remote(run)
    if elsewhere is not None:
        host, path = elsewhere
        lines = follow.follow_host(host, path, stop=stop)
        return _Source(Path(path).name, lines, whole, stop)
    if is_run(Path(run), selection):
        log: RunLog = open_log(run)
        if is_over(log.path, now()) and begin != "now":
            check_values(log, selection.values)
            return _Source(log.name, finished_lines(log), True, stop)
        return _Source(log.name, follow.follow_file(log.path, stop=stop), whole, stop)
    found = find_log(run, selection.kind)
    if is_quiet(found.changed, now()) and begin != "now":
        return _Source(found.name, finished_lines(open_log(run, selection)), True, stop)
    return _Source(found.name, follow_log(found, selection, stop=stop), whole, stop)


def _play(source: _Source, session: "Session", show: "PlainLines | Picture", *, wait: bool) -> None:
    from gradmidi.cli.keys import Keys, watch
    from gradmidi.live.feed import Live
    from gradmidi.sources.relay import Relay

    live = Live(session)
    show.say(
        f"playing {source.name} from its start"
        if source.paced
        else f"following {source.name}; steps before now make no sound"
    )
    relay = Relay(source.lines, live, paced=source.paced, stop=source.stop)
    live.watch()
    try:
        if wait:
            await_enter(show.say)
        live.name(source.name)
        relay.start()
        with Keys() as keys:
            watch(live, show, keys, level=session.level, going=lambda: live.alive)
    except KeyboardInterrupt:
        live.do("stop")
    finally:
        relay.close()
        live.close()
    if relay.error is not None:
        raise relay.error
    if not live.counts:
        raise GradmidiError("the player ended before the run did")
    show.say(f"played {count(live.counts.get('frames', 0), 'step')}")
