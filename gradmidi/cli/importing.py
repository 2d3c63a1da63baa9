"""The command `import`: a log that another tool wrote, read into a run."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("import")(import_)


def import_(
    log: Annotated[
        Path,
        typer.Argument(
            metavar="LOG",
            help="TensorBoard event files, a CSV file (W&B, MLflow, Lightning or any), a "
            "trainer_state.json, or a folder that holds one of them.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RUN", help="The run's folder.")
    ],
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="The columns of gradient norms, as 'grad/*'; by default those whose names speak "
            "of gradients. May be given several times.",
        ),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The column of a CSV file that counts the steps."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a run that is there already.")
    ] = False,
) -> None:
    """Convert a log of another tool to a run."""
    from gradmidi.sources.importing import import_log

    done = import_log(log, output, columns=columns or (), step=step, force=force)
    for line in done.lines:
        typer.echo(line, err=True)
    typer.echo(str(done.path))
