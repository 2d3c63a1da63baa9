"""The command `play`: a run is heard again, or as it happens, from here or from elsewhere."""

import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradmidi.cli.live import (
    Audio,
    BendRange,
    Card,
    Channels,
    Clock,
    ClockPort,
    DinLimit,
    FaultChannel,
    Level,
    Midi,
    Osc,
    Pan,
    Plain,
    Preset,
    Programs,
    RigFile,
    Take,
    await_enter,
    cables,
    check_take,
    closed_by_signals,
    show_on,
)
from gradmidi.errors import GradmidiError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradmidi.cli.view import Picture, PlainLines
    from gradmidi.live.session import Session
    from gradmidi.sources.follow import Line

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(play)


def play(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run's folder or its run.jsonl; HOST:RUN, by ssh; or - for lines on stdin.",
        ),
    ],
    midi: Midi = None,
    osc: Osc = None,
    audio: Audio = False,
    card: Card = None,
    rig: RigFile = None,
    channels: Channels = None,
    fault_channel: FaultChannel = None,
    programs: Programs = False,
    pan: Pan = False,
    bend_range: BendRange = None,
    din_limit: DinLimit = None,
    preset: Preset = "pentatonic",
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="start|now",
            help="Where to begin: by default a run that is over begins at its start, one that "
            "goes on now.",
        ),
    ] = None,
    timing: Annotated[
        str,
        typer.Option("--time", metavar="wall|step", help="The run's own timing, or a slot a step."),
    ] = "wall",
    delay: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Sound later, where lines come in bursts."),
    ] = 0.0,
    level: Level = 0.0,
    clock: Clock = False,
    clock_port: ClockPort = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Start on Enter; the clock ticks before.")
    ] = False,
    osc_timetags: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Stamp OSC bundles so many seconds ahead."),
    ] = None,
    take: Take = None,
    plain: Plain = False,
) -> None:
    """Play a run into MIDI, OSC or the sound card: again, or as it happens."""
    from gradmidi.cli.options import is_plain
    from gradmidi.options import Options

    _one_of("--from", begin, (None, "start", "now"))
    _one_of("--time", timing, ("wall", "step"))
    check_take(take)
    studio = cables(
        rig,
        midi,
        channels=channels,
        fault_channel=fault_channel,
        programs=programs,
        pan=pan,
        bend_range=bend_range,
        din_limit=din_limit,
        clock=clock,
        clock_port=clock_port,
    )
    with closed_by_signals(), show_on(plain=is_plain(asked=plain)) as show:
        source = _source(run, begin)
        if timing == "step" and not source.paced:
            raise typer.BadParameter("--time step needs the whole run: add --from start")
        sound = card if card is not None else audio
        options = Options(preset=preset, rig=studio, osc=osc, audio=sound, take=take)
        session = options.session(
            timetags=osc_timetags,
            time=timing,
            paced=source.paced,
            history=not source.paced,
            delay=delay,
            level=level,
        )
        if not session.sounds:
            raise typer.BadParameter(
                "nothing to play to; give --midi PORT, --osc HOST:PORT or --audio"
            )
        _play(source, session, show, wait=wait)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a run comes from."""

    name: str
    lines: "Iterable[Line]"
    paced: bool
    stop: threading.Event


def _source(run: str, begin: str | None) -> _Source:
    """Find a run: on stdin, on another machine, or in a folder, over or still growing."""
    from gradmidi.log import RunLog
    from gradmidi.sources import follow
    from gradmidi.sources.relay import finished_lines, is_over

    whole = begin == "start"
    stop = threading.Event()
    if run == "-":
        if sys.stdin.isatty():
            raise typer.BadParameter("- reads a run log from a pipe, and stdin is a terminal")
        return _Source("stdin", follow.follow_pipe(sys.stdin.fileno(), stop=stop), whole, stop)
    elsewhere = follow.remote(run)
    if elsewhere is not None:
        host, path = elsewhere
        lines = follow.follow_host(host, path, stop=stop)
        return _Source(Path(path).name, lines, whole, stop)
    log = RunLog(run)
    over = is_over(log.path, time.time())
    if over and begin != "now":
        return _Source(log.name, finished_lines(log), True, stop)
    return _Source(log.name, follow.follow_file(log.path, stop=stop), whole, stop)


def _play(source: _Source, session: "Session", show: "PlainLines | Picture", *, wait: bool) -> None:
    from gradmidi.cli.view import Keys, watch
    from gradmidi.live.feed import Live
    from gradmidi.sources.relay import Relay

    live = Live(session)
    show.say(
        f"playing {source.name} from its start"
        if source.paced
        else f"following {source.name}; what is there already stays silent"
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
        raise GradmidiError("the player has ended before the run")
    show.say(f"played {live.counts.get('frames', 0)} steps")


def _one_of(option: str, given: Any, allowed: tuple[Any, ...]) -> None:
    if given not in allowed:
        words = " or ".join(word for word in allowed if word)
        raise typer.BadParameter(f"{option} {given}; it is {words}")
