"""Write the page of commands from the code: ``python docs/commands.py > docs/commands.md``."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from gradmidi.cli.app import app

HEAD = """\
# Commands

`gradmidi COMMAND --help` prints the same. Results go to stdout, everything else to stderr.
Exit codes: 0, success; 1, an error, with one line that explains it; 2, wrong usage; 3,
`describe --fail-on` found such a fault.
"""

FOOT = "This page is written by `python docs/commands.py > docs/commands.md`, from the code."


def page() -> str:
    """Return the page."""
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    shown = [line for name, command in commands.items() for line in _command(name, command)]
    return "\n".join((HEAD, *shown, FOOT, ""))


def _command(name: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=f"gradmidi {name}")
    yield f"## {name}"
    yield ""
    yield _cell(command.help or "").replace("\\|", "|")
    yield ""
    yield "```text"
    yield " ".join(command.get_usage(context).split()).removeprefix("Usage: ")
    yield "```"
    yield ""
    records = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) and "--help" not in record[0]
    ]
    if records:
        yield "| argument or option | meaning |"
        yield "|---|---|"
        for names, text in records:
            yield f"| `{_cell(names)}` | {_cell(text).replace('<', '&lt;')} |"
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
