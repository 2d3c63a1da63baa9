"""The command line: thin over the API, plain to read and to hear.

Results go to stdout, all else to stderr. Exit code 0: done; 1: it could not be done, with one
line that says why; 2: wrong usage. `--plain`, GRADMIDI_PLAIN=1, TERM=dumb or an output that
is no terminal: lines that each stand alone, and nothing that redraws.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gradmidi.cli import compare, demo, importing, play, ports, run
from gradmidi.cli.options import Length, RunPath, Timing, length_of, takes
from gradmidi.errors import GradmidiError
from gradmidi.sinks.registry import BUILT_IN

__all__ = ["app", "main"]

app = typer.Typer(
    name="gradmidi",
    help="Hear a neural network train: gradient norms as MIDI, OSC and sound.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"gradmidi {version('gradmidi')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hear a neural network train: gradient norms as MIDI, OSC and sound."""


demo.register(app)
play.register(app)
run.register(app)


@app.command()
@takes("preset", "settings")
def render(
    run: RunPath,
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=f"File to write; the ending gives the format: {' '.join(BUILT_IN)}. "
            "May be given several times.",
        ),
    ] = None,
    *,
    given: dict[str, Any],
    time: Timing = "step",
    length: Length = None,
    legend: Annotated[
        bool,
        typer.Option("--legend", help="Begin with each voice at home, then above."),
    ] = False,
    stems: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a WAV for each voice and one for the faults."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the run's summary, not the files' names.")
    ] = False,
) -> None:
    """Write a run as MIDI, audio, page, picture, film or text."""
    from gradmidi._render import render as write
    from gradmidi.options import Options
    from gradmidi.run import read

    paths = output or []
    if not paths and stems is None:
        raise typer.BadParameter("nothing to write; give -o FILE or --stems DIR")

    preset, seconds = Options(**given).music, length_of(length)
    log = read(run)
    written = write(
        log, *paths, preset=preset, time=time, length=seconds, legend=legend, stems=stems
    )
    typer.echo(log.to_json(preset) if as_json else "\n".join(map(str, written)))


@app.command()
@takes("preset", "settings")
def describe(
    run: RunPath,
    now: Annotated[
        bool, typer.Option("--now", help="Print only the last step and the faults that last.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object, for programs.")
    ] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Print a run's faults and norms as lines of text."""
    from gradmidi.options import Options
    from gradmidi.run import read
    from gradmidi.text.describe import describe as lines
    from gradmidi.text.describe import describe_now

    if now and as_json:
        raise typer.BadParameter("--now and --json cannot be given together")
    log, preset = read(run), Options(**given).music
    if as_json:
        typer.echo(log.to_json(preset))
        return
    for line in describe_now(log, limits=preset.faults) if now else lines(log, preset.faults):
        typer.echo(line)


@app.command()
def decode(
    file: Annotated[Path, typer.Argument(metavar="FILE.mid", help="A file that gradmidi wrote.")],
) -> None:
    """Print the norms that a MIDI file holds, as JSON lines."""
    from gradmidi.text.decode import decode as read

    for line in read(file).lines():
        typer.echo(line)


@app.command()
def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A preset's name or a .toml file.")
    ] = None,
) -> None:
    """List the presets, or describe one of them."""
    from gradmidi.music.preset import lines, load, names
    from gradmidi.text.audibility import describe as heard

    if name is not None:
        preset = load(name)
        for line in (*lines(preset), *heard(preset)):
            typer.echo(line)
        return
    for each in names():
        preset = load(each)
        typer.echo(f"{each}: {preset.title}. {preset.use}")


compare.register(app)
importing.register(app)
ports.register(app)


def main() -> None:
    """Run the command line; see the module's words on exit codes."""
    try:
        app()
    except run.Ready as ready:
        program = ready.program
    except GradmidiError as error:
        typer.echo(f"gradmidi: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("gradmidi: interrupted", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has had enough, as `head` does; nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    else:
        return
    # Out of reach of the handlers above: what a script raises is its own.
    sys.excepthook = sys.__excepthook__
    program.run()


if __name__ == "__main__":
    main()
