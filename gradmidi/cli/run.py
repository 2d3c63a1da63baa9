"""The command `run`: a training script as it is, heard."""

import re
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from gradmidi.base.messages import say
from gradmidi.cli.live import Audio, Card, Midi, Osc, Preset, RigFile, Take, cables, check_take
from gradmidi.errors import CaptureError
from gradmidi.integrations.program import Program

__all__ = ["Ready", "register"]

LAUNCHERS = {
    "torchrun": ("torchrun", "-m"),
    "torch.distributed.run": ("torchrun", "-m"),
    "torch.distributed.launch": ("torchrun", "-m"),
    "accelerate": ("accelerate launch", "-m"),
    "accelerate.commands.launch": ("accelerate launch", "-m"),
}
"""Programs that start a script in several processes, and how they are told to start a module."""


class Ready(BaseException):
    """The command line was right: from here on all that happens is the program's own.

    Parameters
    ----------
    program : Program
        What is to be run, outside of all that catches what a command raises.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        super().__init__(program)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        context_settings={"allow_interspersed_args": False},
        options_metavar="[OPTIONS]",
    )(run)


def run(
    script: Annotated[
        str, typer.Argument(metavar="SCRIPT", help="A training script; with -m, a module.")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGS", help="The script's own, untouched.")
    ] = None,
    module: Annotated[
        bool, typer.Option("-m", help="SCRIPT is a module, as for python -m.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; by default a new one in runs.")
    ] = None,
    preset: Preset = "pentatonic",
    midi: Midi = None,
    osc: Osc = None,
    audio: Audio = False,
    card: Card = None,
    rig: RigFile = None,
    take: Take = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Only these layers, as 'blocks.*'; or voices of your own, as "
            "'low=blocks.0*'. May be repeated.",
        ),
    ] = None,
    parameters: Annotated[
        str, typer.Option(metavar="all|weights", help="Which of a layer's parameters.")
    ] = "all",
    every: Annotated[int, typer.Option(metavar="N", min=1, help="Look at each nth step.")] = 1,
    budget: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Of the time that looking may take, as 0.005."),
    ] = None,
    files: Annotated[
        str,
        typer.Option(metavar="ENDINGS", help="Files to make at the end, as mid,wav,html; or none."),
    ] = "mid,wav,txt",
    keep: Annotated[
        str, typer.Option(metavar="layers|voices", help="What the run log holds.")
    ] = "layers",
    log_to: Annotated[
        str | None,
        typer.Option(metavar="wandb|mlflow", help="Whose run, if active at the end, is given it."),
    ] = None,
) -> None:
    """Run a PyTorch training script as it is, and listen to it.

    Options of gradmidi stand before SCRIPT; all that follows it is the script's.
    """
    from gradmidi.base.versions import TORCH, check_version
    from gradmidi.integrations.script import Script, is_first, rank_of
    from gradmidi.options import Options

    given = tuple(arguments or ())
    _refuse_launcher(Path(script).name, given, _before_script(given))
    if not module and not Path(script).exists():
        raise typer.BadParameter(f"there is no script {script!r} here")
    check_take(take)
    if parameters not in ("all", "weights"):
        raise typer.BadParameter(f"--parameters {parameters}; it is all or weights")
    if keep not in ("layers", "voices"):
        raise typer.BadParameter(f"--keep {keep}; it is layers or voices")
    program = Program(script, given, module)
    if not is_first():
        rank, name = rank_of()
        if name == "SLURM_PROCID":
            # Whoever asks for several tasks may mean trainings that know nothing of each other.
            say(
                f"rank {rank} of SLURM's is silent, as the first alone is heard; for trainings "
                f"of their own unset {name}"
            )
        raise Ready(program)
    if find_spec("torch") is None:
        raise CaptureError("run needs PyTorch: pip install 'gradmidi[train]'")
    check_version("torch", TORCH)
    options = Options(
        out=out,
        preset=preset,
        rig=cables(rig, midi),
        osc=osc,
        audio=card if card is not None else audio,
        take=take,
        layers=_layers(layers),
        parameters=parameters,
        every=every,
        budget=budget,
        files=() if files == "none" else tuple(filter(None, re.split("[, ]+", files))),
        keep=keep,
        log_to=log_to,
        config={"script": script, "arguments": list(given)},
    )
    Script(options).listen()
    raise Ready(program)


def _layers(given: list[str] | None) -> tuple[str, ...] | dict[str, str] | None:
    """Read patterns, or voices each with a pattern."""
    if not given:
        return None
    named = ["=" in each for each in given]
    if any(named) and not all(named):
        raise typer.BadParameter("--layers are all patterns, or all voices: NAME=PATTERN")
    if not all(named):
        return tuple(given)
    return {name: pattern for name, _, pattern in (each.partition("=") for each in given)}


def _refuse_launcher(name: str, given: Sequence[str], ours: Sequence[str]) -> None:
    """Say how a launcher is told to start gradmidi, where it was told the other way round."""
    if re.fullmatch(r"python[\d.]*", name):
        if len(given) > 1 and given[0] == "-m":
            _refuse_launcher(given[1], given[2:], ours)
        line = shlex.join(["gradmidi", "run", *ours, *(given or ["SCRIPT"])])
        raise typer.BadParameter(f"give the script itself: {line}")
    if name.split(".")[0] == "deepspeed":
        raise typer.BadParameter(
            "DeepSpeed is not heard: it never shows gradients to an optimizer; train by torchrun "
            "and torch's fully_shard, or log norms of your own by gradmidi.record()"
        )
    if name not in LAUNCHERS:
        return
    start, flag = LAUNCHERS[name]
    own = [each for each in given if each != "launch"]
    at = next((i for i, each in enumerate(own) if each.endswith(".py") or each == "-m"), len(own))
    line = shlex.join([*start.split(), *own[:at], flag, "gradmidi", "run", *ours])
    raise typer.BadParameter(
        f"{start} is what starts gradmidi, in each process: "
        f"{line} {shlex.join(own[at:]) or 'SCRIPT'}"
    )


def _before_script(given: Sequence[str]) -> list[str]:
    """Return our own options as they were written."""
    words = sys.argv[1 : len(sys.argv) - len(given) - 1]
    return words[words.index("run") + 1 :] if "run" in words else []
