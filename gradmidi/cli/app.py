"""The command line.

Results go to stdout, everything else to stderr. Exit codes: 0, success; 1, an error, with one line
that explains it; 2, wrong usage; 3, `describe --fail-on` found such a fault. With `--plain`,
GRADMIDI_PLAIN=1, TERM=dumb or an output that is not a terminal, only complete lines are printed.
"""

import io
import os
import sys
from typing import Annotated

import typer

from gradmidi.base.messages import printable
from gradmidi.cli.demo import demo, tour
from gradmidi.cli.play import play
from gradmidi.cli.ports import check, panic, ports
from gradmidi.cli.run import Ready, run
from gradmidi.cli.runs import compare, decode, describe, import_, presets, render
from gradmidi.errors import GradmidiError

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


for command in (demo, play):
    app.command()(command)
# What follows the script's name are the script's own options.
app.command(context_settings={"allow_interspersed_args": False}, options_metavar="[OPTIONS]")(run)
for command in (render, describe, decode, presets, compare):
    app.command()(command)
app.command("import")(import_)
for command in (ports, check, panic, tour):
    app.command()(command)


def main() -> None:
    """Run the command line; see the top of the module for exit codes."""
    errors = _escape_what_stdout_lacks()
    try:
        try:
            app()
        finally:
            # Here, and not as the interpreter ends, so that a full disk is an error of ours.
            if sys.stdout is not None:
                sys.stdout.flush()
    except Ready as ready:
        program = ready.program
    except GradmidiError as error:
        typer.echo(f"gradmidi: {printable(str(error))}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("gradmidi: interrupted", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of stdout has closed the pipe, as `head` does, so print no more.
        _discard_stdout()
        return
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else "standard output: "
        typer.echo(f"gradmidi: {printable(f'{where}{error.strerror or error}')}", err=True)
        _discard_stdout()
        sys.exit(1)
    else:
        return
    if errors is not None:
        sys.stdout.reconfigure(errors=errors)  # type: ignore[union-attr]
    # Outside of the handlers above, so that the script's exceptions are not caught.
    sys.excepthook = sys.__excepthook__
    program.run()


def _escape_what_stdout_lacks() -> str | None:
    r"""Print ``\u0441`` for a letter that the encoding of stdout lacks, as stderr does.

    Return how stdout treated it before; None if it is left as it is.
    """
    stdout = sys.stdout
    if not isinstance(stdout, io.TextIOWrapper) or stdout.errors != "strict":
        return None
    stdout.reconfigure(errors="backslashreplace")
    return "strict"


def _discard_stdout() -> None:
    """Let the interpreter flush what is left of stdout to nowhere, so that it does not complain."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
