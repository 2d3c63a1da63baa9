"""What commands share: options, and how a person's words are read."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Length", "Plain", "Preset", "RunPath", "Timing", "is_plain", "length_of"]

Preset = Annotated[
    str, typer.Option("--preset", "-p", help="A preset's name or a .toml file (see: presets).")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its run.jsonl.")]
Timing = Annotated[
    str, typer.Option(metavar="step|wall", help="One slot a step, or the run's own timing.")
]
Length = Annotated[
    str | None,
    typer.Option(
        metavar="SECONDS|full",
        help="Fit the piece to a length, as 30s or 2m; by default to 3m if it is longer.",
    ),
]
Plain = Annotated[bool, typer.Option("--plain", help="Only lines that each stand alone.")]


def length_of(text: str | None) -> float | str | None:
    """Read a length as a person writes it: ``30s``, ``2m``, ``45``, ``full``.

    Examples
    --------
    >>> length_of("30s"), length_of("2m"), length_of("full"), length_of(None)
    (30.0, 120.0, 'full', None)
    """
    if text is None or text == "full":
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|)", text)
    if match is None or float(match[1]) == 0.0:
        raise typer.BadParameter(f"{text!r} is no length; write 30s, 2m or full")
    return float(match[1]) * (60.0 if match[2] == "m" else 1.0)


def is_plain(*, asked: bool) -> bool:
    """Tell whether only lines that each stand alone may be written."""
    return (
        asked
        or os.environ.get("GRADMIDI_PLAIN", "") not in ("", "0")
        or os.environ.get("TERM") == "dumb"
        or not sys.stderr.isatty()
    )
