"""The command `compare`: runs side by side, and where each departs from the first."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gradmidi.cli.options import Length, length_of, takes

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(compare)


@takes("preset", "settings")
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
        str, typer.Option(metavar="step|examples|time", help="How to align the runs.")
    ] = "step",
    *,
    given: dict[str, Any],
    length: Length = None,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Run whose first norms are home; by default the first."),
    ] = None,
) -> None:
    """Compare runs by ear, picture and text.

    The first run is in the left ear; the others take turns in the right.
    """
    from gradmidi.comparison.compare import compare as write
    from gradmidi.comparison.runs import CLOCKS
    from gradmidi.options import Options

    if len(runs) < 2:
        raise typer.BadParameter("give two runs or more")
    if by not in CLOCKS:
        raise typer.BadParameter(f"{by!r} is no clock; it is {', '.join(CLOCKS)}")
    done = write(
        runs,
        *output,
        by=by,
        preset=Options(**given).music,
        length=length_of(length),
        reference=reference,
    )
    for path in done.paths:
        typer.echo(str(path))
    for line in done.lines:
        typer.echo(line)
