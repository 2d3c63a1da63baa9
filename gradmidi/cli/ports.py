"""The commands for MIDI ports: `ports`, `check` and `panic`."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradmidi.base.messages import printable
from gradmidi.cli.keys import closed_by_signals
from gradmidi.cli.options import takes
from gradmidi.midi.controls import control_of
from gradmidi.midi.rig import LEVEL, Rig
from gradmidi.music.events import PPQ, Number
from gradmidi.text.words import timeline

if TYPE_CHECKING:
    from gradmidi.midi.ports import Input
    from gradmidi.music.lesson import Cue
    from gradmidi.music.voices import Voice
    from gradmidi.sinks.registry import Sink

__all__ = ["check", "layout", "learn", "panic", "perform", "ports", "sweeps"]

Ports = Annotated[
    list[str],
    typer.Argument(metavar="PORT", help="A MIDI output's name or part of it (see: ports)."),
]
OptionalPorts = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PORT]", help="A MIDI output's name or part of it (see: ports)."),
]


def ports(
    inputs: Annotated[bool, typer.Option("--inputs", help="List the MIDI inputs.")] = False,
) -> None:
    """List the MIDI outputs."""
    from gradmidi.midi.ports import names

    found = names(inputs=inputs)
    for name in found:
        typer.echo(name)
    if not found and inputs:
        typer.echo("there are no MIDI inputs: connect a controller", err=True)
    elif not found:
        typer.echo(
            "there are no MIDI outputs: connect a synth or start a DAW; or play with "
            "--midi virtual:gradmidi, which opens a virtual port (not on Windows)",
            err=True,
        )


@takes("preset", "rig", "settings")
def check(
    port: OptionalPorts = None,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Use the voices of this run.")
    ] = None,
    voices: Annotated[int, typer.Option(min=1, max=60, help="Number of voices without --run.")] = 4,
    only_list: Annotated[
        bool, typer.Option("--list", help="Print the list of channels, and play nothing.")
    ] = False,
    learned: Annotated[
        str | None,
        typer.Option(
            "--learn",
            metavar="PORT",
            help="Print the knobs and buttons that are used at this MIDI input as lines for the "
            "rig, until Ctrl-C.",
        ),
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Play each voice, controller and fault sound; list the channels."""
    from gradmidi.log import RunLog
    from gradmidi.music.lesson import check as cues
    from gradmidi.music.score import voices_of
    from gradmidi.music.voices import Voice
    from gradmidi.options import Options
    from gradmidi.player.guard import Guard
    from gradmidi.sinks.midiport import MidiPort

    if learned is not None:
        _learn(learned)
        return
    options = Options(**given, midi=port or None)
    sound, studio = options.music, options.cables
    if run is None:
        players = tuple(Voice(i, f"layer {i + 1}", (i,)) for i in range(voices))
    else:
        players = voices_of(RunLog(run), sound)
    lines = list(layout(studio, [voice.name for voice in players]))
    if only_list:
        typer.echo("\n".join(lines))
        return
    if not studio.ports:
        raise typer.BadParameter("give PORT, a MIDI output; --list prints the channels without one")
    with closed_by_signals():
        # The guard ends the notes if this process is killed.
        guard = Guard({"rig": asdict(studio), "osc": ()})
        try:
            sink = MidiPort(studio, sound, players)
            guard.begin(len(players))
            try:
                typer.echo("\n".join(lines))
                sounds = list(cues(sound, players))
                perform(iter([*sounds, *sweeps(studio, players, sounds[-1])]), sink, typer.echo)
            finally:
                sink.close()
        finally:
            guard.close()


def _learn(port: str) -> None:
    from gradmidi.midi.ports import open_input

    source = open_input(port)
    try:
        typer.echo(
            f"{source.name}: move knobs and press buttons; Ctrl-C ends. Put the lines at the end "
            "of the rig, and change what they do",
            err=True,
        )
        typer.echo("[midi_in]")
        learn(source, typer.echo)
    except KeyboardInterrupt:
        pass
    finally:
        source.close()


def panic(port: Ports) -> None:
    """End every note on every channel of a MIDI output."""
    from gradmidi.midi.ports import open_output
    from gradmidi.midi.ports import panic as silence

    for name in port:
        output = open_output(name)
        try:
            silence(output)
        finally:
            output.close()
        typer.echo(f"{output.name}: silent")


POLL_SECONDS = 0.01
"""How often an input is read."""

SWEEP = 16
"""Values of a controller on its way up in a sweep."""

APART = 30
"""Ticks between two of them."""


def layout(rig: Rig, names: Sequence[str]) -> Iterator[str]:
    """List the voices for setting up a DAW: number, port, channel and name.

    Parameters
    ----------
    rig : Rig
        Ports and channels of the voices.
    names : sequence of str
        Names of the voices, first to last.

    Yields
    ------
    str
        A line that makes sense on its own; then one for each controller of the rig.

    Examples
    --------
    >>> for line in layout(Rig(cc={"level": 20, "loss": 21}), ["conv1", "fc1"]):
    ...     print(line)
    voice 1: channel 1, conv1
    voice 2: channel 2, fc1
    faults: channel 10
    level of each voice: controller 20 on its channel
    loss: channel 16, controller 21
    """
    for index, name in enumerate(names):
        yield f"voice {index + 1}: {_where(rig, rig.place(index))}, {printable(name)}"
    place = rig.fault_place
    yield "faults: off" if place is None else f"faults: {_where(rig, place)}"
    for name, number in rig.cc.items():
        pair = f"controllers {number} and {number + 32}"
        which = pair if name in rig.cc_fine else f"controller {number}"
        if name == LEVEL or rig.value_place is None:
            yield f"level of each voice: {which} on its channel"
        else:
            yield f"{printable(name)}: {_where(rig, rig.value_place)}, {which}"


def sweeps(rig: Rig, voices: "Sequence[Voice]", last: "Cue") -> "Iterator[Cue]":
    """Move each controller of the rig from 0 to its top and back, one after another.

    Programs that assign a controller by moving it (MIDI learn) need one that moves alone.

    Parameters
    ----------
    rig : Rig
        The controllers.
    voices : sequence of Voice
        The voices, each of which has a controller of its level.
    last : Cue
        What is played before.
    """
    from gradmidi.music.lesson import Cue

    tick = max(last.tick, *(event.tick for event in last.events)) + PPQ
    knobs: list[tuple[str, int | None, str]] = []
    for name in rig.cc:
        if name == LEVEL:
            knobs += [(name, v.index, f"{v.name}: level") for v in voices if v.layers]
        else:
            knobs.append((name, None, name))
    for name, voice, text in knobs:
        fine = name in rig.cc_fine
        values = [(16383 if fine else 127) * step // SWEEP for step in range(SWEEP + 1)]
        events = [
            Number(tick + place * APART, voice, rig.cc[name], value, fine)
            for place, value in enumerate([*values, *values[-2::-1]])
        ]
        yield Cue(f"controller {rig.cc[name]}, {text}", tuple(events), last.seconds, tick)
        tick = events[-1].tick + PPQ


def perform(
    sounds: "Iterator[Cue]",
    sink: "Sink",
    tell: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Play cues in real time, and print the text of each with its time.

    Parameters
    ----------
    sounds : iterator of Cue
        The sounds to play.
    sink : Sink
        The output, which is not closed.
    tell : callable
        Called with a line for each cue.
    clock, sleep : callable
        Return monotonic seconds, and wait for a number of seconds.
    """
    start = clock()
    for cue in sounds:
        sleep(max(0.0, start + cue.tick * cue.seconds - clock()))
        tell(printable(timeline(cue.tick * cue.seconds, cue.text)))
        for event in cue.events:
            sleep(max(0.0, start + event.tick * cue.seconds - clock()))
            sink.send((event,))


def learn(
    source: "Input",
    tell: Callable[[str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Print each control that is moved as a line of the rig's ``midi_in``, until interrupted.

    Controllers get the levels of the voices in turn, and notes their mutes.

    Parameters
    ----------
    source : Input
        The MIDI input.
    tell : callable
        Called with each line.
    sleep : callable
        Waits for a number of seconds.
    """
    seen: dict[str, str] = {}
    while True:
        message = source.read()
        if message is None:
            sleep(POLL_SECONDS)
            continue
        control = control_of(message)
        if control is not None and control not in seen:
            word = "level" if control.startswith("cc") else "mute"
            seen[control] = f"{word} {sum(text.startswith(word) for text in seen.values())}"
            tell(f'"{control}" = "{seen[control]}"')


def _where(rig: Rig, place: tuple[int, int]) -> str:
    port, channel = place
    return f"port {rig.ports[port]!r}, channel {channel}" if port else f"channel {channel}"
