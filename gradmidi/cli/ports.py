"""The commands for MIDI ports: `ports`, `check` and `panic`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from gradmidi.cli.keys import closed_by_signals
from gradmidi.cli.options import takes

__all__ = ["check", "panic", "ports"]

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
    from gradmidi.cli.check import layout, perform, sweeps
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
    from gradmidi.cli.check import learn
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
