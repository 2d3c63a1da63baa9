"""The commands that read runs: `render`, `describe`, `decode`, `presets`, `compare`, `import`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradmidi.base.messages import printable
from gradmidi.cli.options import (
    Dpi,
    Length,
    Of,
    Size,
    SourceArgument,
    Theme,
    Timing,
    is_plain,
    length_of,
    output_option,
    selects,
    takes,
)
from gradmidi.sinks.registry import BUILT_IN
from gradmidi.sources.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradmidi.log import RunLog
    from gradmidi.music.preset import Preset

__all__ = ["compare", "decode", "describe", "import_", "presets", "render"]

COMPARED = (".wav", ".flac", ".ogg", ".mp3", ".html", ".png", ".svg", ".pdf")
"""Endings of the files that `gradmidi compare` writes."""


@takes("preset", "rig", "settings", "reference_tone")
@selects
def render(
    run: SourceArgument,
    output: Annotated[list[Path] | None, output_option(BUILT_IN)] = None,
    *,
    given: dict[str, Any],
    selection: Selection,
    time: Timing = "step",
    length: Length = None,
    legend: Annotated[
        bool,
        typer.Option(
            "--legend",
            help="Start with each voice at home, then above; print when each of them sounds.",
        ),
    ] = False,
    of: Of = "gradients",
    stems: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a WAV for each voice and one for the faults."),
    ] = None,
    soundfont: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.sf2",
            help="Play sound files and stems with this SoundFont, by FluidSynth, which must be "
            "installed.",
        ),
    ] = None,
    notation: Annotated[
        bool,
        typer.Option(
            "--score",
            help="Start the notes of a slot together, so that notation programs read the .mid as "
            "it is written.",
        ),
    ] = False,
    size: Size = None,
    dpi: Dpi = 120.0,
    theme: Theme = "light",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the run's summary instead of file names.")
    ] = False,
) -> None:
    """Write a run as MIDI, audio, page, picture, film or text."""
    from gradmidi._render import render as write
    from gradmidi.midi.rig import Rig
    from gradmidi.music.lesson import legend as legend_cues
    from gradmidi.music.score import Score
    from gradmidi.music.valuevoices import check_values
    from gradmidi.options import Options
    from gradmidi.run import Run
    from gradmidi.sinks.registry import begin_of
    from gradmidi.sources.opened import open_log, value_names
    from gradmidi.text.words import timeline

    paths = output or []
    if not paths and stems is None:
        raise typer.BadParameter("nothing to write; give -o FILE or --stems DIR")

    values = value_names(run, selection)
    options, seconds = Options(**given, values=values), length_of(length)
    preset = options.music
    log = open_log(run, selection, Run)
    check_values(log, values)
    if legend:
        begin = begin_of(preset, paths) if stems is None else preset.sound.silence
        for cue in legend_cues(preset, Score(log.header, preset).voices):
            typer.echo(printable(timeline(begin + cue.tick * cue.seconds, cue.text)), err=True)
    written = write(
        log,
        *paths,
        preset=preset,
        time=time,
        length=seconds,
        legend=legend,
        of=of,
        stems=stems,
        rig=None if options.cables == Rig() else options.cables,
        soundfont=soundfont,
        notation=notation,
        size=size,
        dpi=dpi,
        theme=theme,
    )
    typer.echo(log.to_json(preset) if as_json else "\n".join(map(str, written)))


@takes("preset", "settings")
@selects
def describe(
    run: SourceArgument,
    now: Annotated[
        bool, typer.Option("--now", help="Print only the last step and the faults that last.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object, for programs.")
    ] = False,
    picture: Annotated[
        bool,
        typer.Option(
            "--picture",
            help="Draw the heat map of layers and steps first, if the output is a terminal.",
        ),
    ] = False,
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="KINDS",
            help="Exit with code 3 if the run has a fault of these kinds, as nan,exploding; with "
            "--now, if it has one now.",
        ),
    ] = None,
    *,
    given: dict[str, Any],
    selection: Selection,
) -> None:
    """Print a run's faults and norms as lines of text."""
    from gradmidi.detection.kinds import FAULTS
    from gradmidi.music.valuevoices import check_values, fitted
    from gradmidi.options import Options
    from gradmidi.run import Run
    from gradmidi.sources.opened import open_log, value_names
    from gradmidi.text.describe import lines_of, standing
    from gradmidi.text.summary import summarize

    kinds = {each.strip() for each in fail_on.split(",")} if fail_on is not None else set()
    if wrong := sorted(kinds - set(FAULTS)):
        raise typer.BadParameter(f"--fail-on {wrong[0]!r}; allowed is: {', '.join(FAULTS)}")
    if now + as_json + picture > 1:
        raise typer.BadParameter("only one of --now, --json and --picture can be given")
    values = value_names(run, selection)
    log, preset = open_log(run, selection, Run), Options(**given, values=values).music
    check_values(log, values)
    limits, heard = preset.faults, fitted(preset, log.header).values.which
    if picture:
        _draw(log, preset, heard)
    if now:
        stands = standing(log, None, limits, heard)
        told, found = stands.lines(), stands.kinds
    else:
        summary = summarize(log, limits, heard)
        told = iter([summary.to_json()]) if as_json else lines_of(summary)
        found = {each.kind for each in summary.faults}
    for line in told:
        typer.echo(line)
    if kinds & found:
        raise typer.Exit(3)


def _draw(log: "RunLog", preset: "Preset", heard: "Sequence[str]") -> None:
    """Draw a run on the terminal, unless the output is no terminal or complete lines are asked."""
    from rich.console import Console

    from gradmidi.report.heatmap import heat_map
    from gradmidi.report.terminal import picture

    if is_plain(asked=False, output=sys.stdout):
        typer.echo("no picture: the output is no terminal, or complete lines are asked", err=True)
        return
    if not log.steps:
        return
    console = Console()
    heat = heat_map(log, (), preset.faults, preset.pitch.reference, heard)
    coloured = console.color_system in ("256", "truecolor") and not console.no_color
    for line in picture(heat, log.name, console.width, console.height - 1, coloured=coloured):
        console.print(line, no_wrap=True, crop=True)


def decode(
    file: Annotated[Path, typer.Argument(metavar="FILE.mid", help="A file that gradmidi wrote.")],
) -> None:
    """Print norms and logged values of a MIDI file as JSON lines."""
    from gradmidi.text.decode import decode as read

    for line in read(file).lines():
        typer.echo(line)


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


@takes("preset", "settings")
@selects
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE SOURCE...", help="Two or more runs, or logs of other tools."
        ),
    ],
    output: Annotated[
        list[Path] | None,
        output_option(COMPARED, " Without it, only the words are printed."),
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="step|examples|time", help="How to align the runs.")
    ] = "step",
    *,
    given: dict[str, Any],
    selection: Selection,
    length: Length = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="Run whose first norms are home; by default the first."
        ),
    ] = None,
) -> None:
    """Compare runs in words, and by sound, page or picture.

    The first run is on the left; the others are on the right, one after another.
    """
    from gradmidi.comparison.compare import compare as write
    from gradmidi.comparison.runs import CLOCKS
    from gradmidi.options import Options
    from gradmidi.sources.opened import open_log

    if len(runs) < 2:
        raise typer.BadParameter("give two runs or more")
    if by not in CLOCKS:
        raise typer.BadParameter(f"{by!r} is not a clock; it is {', '.join(CLOCKS)}")
    done = write(
        [open_log(run, selection) for run in runs],
        *(output or []),
        by=by,
        preset=Options(**given).music,
        length=length_of(length),
        reference=None if reference is None else open_log(reference, selection),
    )
    for path in done.paths:
        typer.echo(str(path))
    for line in done.lines:
        typer.echo(line)


@selects
def import_(
    log: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A TensorBoard folder, an offline run of W&B, a run of MLflow, a Trainer's output "
            "folder, a CSV file, JSON lines, text that a training printed, or a folder that holds "
            "one of them; - for text on stdin.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RUN", help="The run's folder.")
    ],
    selection: Selection,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on while the log grows, until Ctrl-C.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run that is in the folder.")
    ] = False,
) -> None:
    """Convert a log of another tool to a run."""
    from gradmidi.sources.opened import import_growing, import_log

    if follow:
        for begun in import_growing(log, output, selection, force=force):
            for line in begun.lines:
                typer.echo(line, err=True)
            typer.echo(str(begun.path))
        return
    done = import_log(
        log,
        output,
        columns=selection.columns,
        values=selection.values,
        step=selection.step,
        kind=selection.kind,
        force=force,
    )
    for line in done.lines:
        typer.echo(line, err=True)
    typer.echo(str(done.path))
