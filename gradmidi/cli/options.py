"""Options of several commands; most are declared in `gradmidi.options`."""

import dataclasses
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TextIO

import typer

from gradmidi.options import Options

__all__ = [
    "RIG_FLAGS",
    "Dpi",
    "Length",
    "Level",
    "Plain",
    "Size",
    "SourceArgument",
    "Theme",
    "Timing",
    "flags_given",
    "is_plain",
    "length_of",
    "one_of",
    "output_option",
    "rig_parameter",
    "selects",
    "takes",
]


def one_of(*allowed: str) -> Callable[[str | None], str | None]:
    """Return a callback that checks that an option has one of these values."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in allowed:
            raise typer.BadParameter(f"{value!r}; allowed is {' or '.join(allowed)}")
        return value

    return check


SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A run's folder; HOST:RUN, by ssh; - for stdin, a run log or what a training prints; "
        "or the log of another tool: TensorBoard, W&B, MLflow, a Trainer, CSV, JSON lines, text.",
    ),
]
Timing = Annotated[
    str,
    typer.Option(
        callback=one_of("step", "wall"),
        metavar="step|wall",
        help="One slot for each step, or the run's own timing.",
    ),
]
Of = Annotated[
    str,
    typer.Option(
        callback=one_of("gradients", "updates"),
        metavar="gradients|updates",
        help="What the layers' voices play: gradients, or the updates of listen(updates=10), "
        "for which home is 0.001 of the weights.",
    ),
]
Length = Annotated[
    str | None,
    typer.Option(
        metavar="SECONDS|full",
        help="Longest length of the piece, as 30s or 2m, or full; by default 3m.",
    ),
]
Level = Annotated[
    float,
    typer.Option(metavar="DB", min=-60.0, max=12.0, help="Louder or softer, as --level -12."),
]
Size = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="Size of pictures and films in inches, as 3.5x2.5."),
]
Dpi = Annotated[float, typer.Option(metavar="DPI", help="Dots per inch of pictures and films.")]
Theme = Annotated[
    str,
    typer.Option(
        callback=one_of("light", "dark"),
        metavar="light|dark",
        help="Colours of pictures and films.",
    ),
]
Plain = Annotated[bool, typer.Option("--plain", help="Print complete lines only; no redraw.")]

RIG_FLAGS: Mapping[str, str] = {
    "--channels": "channels",
    "--fault-channel": "faults",
    "--programs": "programs",
    "--pan": "pan",
    "--bend-range": "bend_range",
    "--din-limit": "din_limit",
    "--clock": "clock",
    "--clock-port": "clock",
}
"""Flags of version 0.1 for keys of the rig, which still work; ``--set KEY=VALUE`` sets any key."""

SWITCHES = ("--programs", "--pan", "--clock")


def output_option(endings: Iterable[str], then: str = "") -> Any:
    """Return the option ``-o FILE``, for files with these endings; `then` is added to its help."""
    text = f"File to write; the ending gives the format: {' '.join(endings)}. May be repeated."
    return typer.Option("--output", "-o", metavar="FILE", help=text + then)


def takes(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds options of `gradmidi.options.Options` to a command, as `given`.

    The command receives a dict of keyword arguments for `Options`, from the flags that were used.

    Parameters
    ----------
    *names : str
        Names of options, in the order of their flags. ``settings`` adds ``--set``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        has_rig = "rig" in names
        added = [flag for name in names for flag in _flags(name, has_rig=has_rig)]

        def called(**values: Any) -> None:
            used = {flag.name: values.pop(flag.name) for flag in added}
            command(**values, given=_given(used, has_rig=has_rig))

        return _with_flags(called, command, "given", added)

    return decorate


def selects(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what to take from a log of another tool, as `selection`."""

    def called(**given: Any) -> None:
        from gradmidi.sources.selection import Selection

        kind, columns, values, step = (given.pop(flag.name) for flag in _SELECTION)
        command(**given, selection=Selection(kind, tuple(columns or ()), names_of(values), step))

    return _with_flags(called, command, "selection", _SELECTION)


def _with_flags(
    called: Callable[..., None],
    command: Callable[..., None],
    place: str,
    flags: Iterable[inspect.Parameter],
) -> Callable[..., None]:
    """Give `called` the signature of a command, with flags in place of its parameter `place`."""
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        own = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += flags if parameter.name == place else [own]
    called.__name__ = command.__name__
    called.__doc__ = command.__doc__
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def _flags(name: str, *, has_rig: bool) -> list[inspect.Parameter]:
    """Return the flags of an option, from its declaration."""
    if name == "link":
        text = "Keep to the beats and the tempo of the Ableton Link session in the network."
        return [_flag(name, bool, False, "--link", help=text)]
    declared = {field.name: field for field in dataclasses.fields(Options)}[name]
    about = declared.metadata
    if name == "audio":
        return [
            _flag("audio", bool, False, "--audio", help="Play through the sound card."),
            _flag("card", str | None, None, metavar="NAME", help="Use this sound card."),
        ]
    if name == "settings":
        text = f"{about['doc']}." if has_rig else "Set a key of the preset, as time.tempo=90."
        return [
            _flag(name, list[str] | None, None, "--set", metavar="KEY=VALUE", help=text),
            *(_rig_flag(flag) for flag in RIG_FLAGS if has_rig),
        ]
    kind: Any = about["kind"]
    more: dict[str, Any] = {"metavar": about.get("metavar"), "help": f"{about['doc']}."}
    names = ("--preset", "-p") if name == "preset" else tuple(filter(None, [about.get("flag")]))
    if choices := about.get("choices"):
        more |= {"callback": one_of(*choices), "metavar": "|".join(choices)}
    if "least" in about:
        more["min"] = about["least"]
    if about.get("repeat"):
        more["help"] = f"{about['doc']}; may be repeated."
        return [_flag(name, list[kind] | None, None, *names, **more)]
    # `Options` sets the defaults.
    return [_flag(name, kind | None, None, *names, **more)]


def _flag(name: str, kind: Any, default: Any, *flags: str, **more: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, typer.Option(*flags, **more)],
    )


_SELECTION = [
    _flag(
        "kind",
        str | None,
        None,
        "--as",
        metavar="KIND",
        help="What the log of another tool is, if it is not found: tensorboard, wandb, mlflow, "
        "trainer, csv, jsonl, json or text.",
    ),
    _flag(
        "columns",
        list[str] | None,
        None,
        metavar="PATTERN",
        help="Its columns of gradient norms, as 'grad/*'; by default those with a word for "
        "gradients in their names. May be repeated.",
    ),
    _flag(
        "values",
        str | None,
        None,
        metavar="NAMES",
        help="Its values to hear, as loss,val/*; by default all but times and speeds, at most 15.",
    ),
    _flag(
        "step",
        str | None,
        None,
        metavar="COLUMN",
        help="Its column of step numbers, in a CSV file or JSON lines.",
    ),
]
"""Options that say what to take from a log of another tool."""


def rig_parameter(flag: str) -> str:
    """Return the name of the parameter for a flag of the rig."""
    return "rig_flag_" + flag.removeprefix("--").replace("-", "_")


def _rig_flag(flag: str) -> inspect.Parameter:
    name = rig_parameter(flag)
    if flag in SWITCHES:
        return _flag(name, bool, False, flag, hidden=True)
    return _flag(name, str | None, None, flag, hidden=True)


def _given(used: Mapping[str, Any], *, has_rig: bool) -> dict[str, Any]:
    """Convert the flags that were used to keyword arguments of `Options`."""
    values = {name: value for name, value in used.items() if value not in (None, False, [])}
    settings = list(values.pop("settings", ()))
    if values.pop("link", False):
        settings.append("link=true")
    of_rig = next((each for each in settings if "." not in each.partition("=")[0]), None)
    if of_rig is not None and not has_rig:
        raise typer.BadParameter(
            f"--set {of_rig}; allowed here is a key of the preset, as --set time.tempo=90"
        )
    for flag, key in RIG_FLAGS.items():
        value = values.pop(rig_parameter(flag), None)
        if value is not None:
            whole = value is True or key in ("faults", "bend_range", "din_limit")
            settings.append(f"{key}={json.dumps(value) if not whole else str(value).lower()}")
    if settings:
        values["settings"] = tuple(settings)
    if "card" in values:
        values["audio"] = values.pop("card")
    if "files" in values:
        text = values["files"]
        values["files"] = () if text == "none" else tuple(filter(None, re.split("[, ]+", text)))
    named = [each for each in values.get("layers", ()) if "=" in each]
    if named:
        raise typer.BadParameter(f"--layers {named[0]}; a voice of your own is --voices {named[0]}")
    if "voices" in values:
        values["voices"] = _voices(values["voices"])
    if "values" in values:
        values["values"] = names_of(values["values"])
    take = values.get("take")
    if take is not None and take.suffix.lower() != ".mid":
        raise typer.BadParameter(f"--take {take}; the file's name must end in .mid")
    return values


def _voices(given: list[str]) -> dict[str, str]:
    """Parse voices, each NAME=PATTERN."""
    for each in given:
        if "=" not in each:
            raise typer.BadParameter(f"--voices {each}; write NAME=PATTERN, as 'low=blocks.0*'")
    return {name: pattern for name, _, pattern in (each.partition("=") for each in given)}


def flags_given(context: typer.Context, names: Iterable[str]) -> str:
    """Return the flags of `names` that are on the command line, as written there."""
    wanted = set(names)
    return " ".join(
        option.opts[0]
        for option in context.command.params
        if option.name in wanted
        and (source := context.get_parameter_source(option.name)) is not None
        and source.name == "COMMANDLINE"
    )


def names_of(text: str | None) -> tuple[str, ...]:
    """Split names at commas.

    Examples
    --------
    >>> names_of("loss, val/*"), names_of(None)
    (('loss', 'val/*'), ())
    """
    return tuple(filter(None, re.split("[, ]+", text or "")))


def length_of(text: str | None) -> float | str | None:
    """Parse a length: ``30s``, ``2m``, ``45``, ``full``.

    Examples
    --------
    >>> length_of("30s"), length_of("2m"), length_of("full"), length_of(None)
    (30.0, 120.0, 'full', None)
    """
    if text is None or text == "full":
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|)", text)
    if match is None or float(match[1]) == 0.0:
        raise typer.BadParameter(f"{text!r} is not a length; write 30s, 2m or full")
    return float(match[1]) * (60.0 if match[2] == "m" else 1.0)


def is_plain(*, asked: bool, output: TextIO | None = None) -> bool:
    """Return whether only complete lines may be printed to an output, by default stderr."""
    return (
        asked
        or os.environ.get("GRADMIDI_PLAIN", "") not in ("", "0")
        or os.environ.get("TERM") == "dumb"
        or not (output or sys.stderr).isatty()
    )
