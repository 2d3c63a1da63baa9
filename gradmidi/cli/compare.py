"""The command `compare`: runs side by side, and where each departs from the first."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(compare)


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of runs, two or more.")
    ],
    output: Annotated[
        list[Path],
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where to; the ending says what: .wav .flac .ogg .mp3 .html .png .svg. "
            "May be given several times.",
        ),
    ],
    by: Annotated[
        str, typer.Option(metavar="step|examples|time", help="What to lay them side by side by.")
    ] = "step",
    preset: Annotated[
        str, typer.Option("--preset", "-p", help="A preset's name or a .toml file (see: presets).")
    ] = "pentatonic",
    length: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS|full",
            help="Fit the whole to a length, as 30s or 2m; by default to 3m if it is longer.",
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Whose first norms are at home; by default the first's."),
    ] = None,
) -> None:
    """Lay runs side by side: the first in the left ear, the others in turn in the right."""
    from gradmidi.cli.options import length_of
    from gradmidi.comparison.compare import compare as write
    from gradmidi.comparison.runs import CLOCKS

    if len(runs) < 2:
        raise typer.BadParameter("give two runs or more")
    if by not in CLOCKS:
        raise typer.BadParameter(f"{by!r} is no clock; it is {', '.join(CLOCKS)}")
    done = write(runs, *output, by=by, preset=preset, length=length_of(length), reference=reference)
    for path in done.paths:
        typer.echo(str(path))
    for line in done.lines:
        typer.echo(line)
