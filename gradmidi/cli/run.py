"""The command `run`: listen to an unchanged training script."""

import re
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from gradmidi.base.environment import is_first, note_of_slurm
from gradmidi.base.messages import say
from gradmidi.cli.options import takes
from gradmidi.errors import CaptureError
from gradmidi.integrations.deepspeed import take_part
from gradmidi.integrations.program import Program

__all__ = ["Ready", "run"]

LAUNCHERS = {
    "torchrun": ("torchrun", "-m"),
    "torch.distributed.run": ("torchrun", "-m"),
    "torch.distributed.launch": ("torchrun", "-m"),
    "deepspeed": ("deepspeed --no_local_rank", "--module"),
    "deepspeed.launcher.runner": ("deepspeed --no_local_rank", "--module"),
    "accelerate": ("accelerate launch", "-m"),
    "accelerate.commands.launch": ("accelerate launch", "-m"),
}
"""Launchers that start a script in several processes, and their options to start a module."""


class Ready(BaseException):
    """Raised when the command line is valid, to run the program outside of the command.

    Parameters
    ----------
    program : Program
        The program to run, outside of handlers for exceptions of commands.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        super().__init__(program)


@takes(
    "out",
    "resume",
    "overwrite",
    "preset",
    "midi",
    "osc",
    "audio",
    "rig",
    "settings",
    "link",
    "take",
    "notify",
    "layers",
    "voices",
    "values",
    "reference_tone",
    "parameters",
    "every",
    "updates",
    "budget",
    "files",
    "keep",
    "log_to",
)
def run(
    script: Annotated[
        str, typer.Argument(metavar="SCRIPT", help="A training script; with -m, a module.")
    ],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGS", help="Arguments of the script.")
    ] = None,
    module: Annotated[
        bool, typer.Option("-m", help="SCRIPT is a module, as for python -m.")
    ] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Run a PyTorch training script and listen to it.

    Options of gradmidi come before SCRIPT; everything after SCRIPT is passed to it.
    """
    from gradmidi.base.environment import TORCH, check_version
    from gradmidi.integrations.script import Script
    from gradmidi.options import Options

    words = tuple(arguments or ())
    _refuse_launcher(Path(script).name, words, _before_script(words))
    if not module and not Path(script).exists():
        raise typer.BadParameter(f"there is no script {script!r} here")
    program = Program(script, words, module)
    if not is_first():
        if note := note_of_slurm():
            say(note)
        take_part(given)
        raise Ready(program)
    if find_spec("torch") is None:
        raise CaptureError("run needs PyTorch: pip install 'gradmidi[train]'")
    check_version("torch", TORCH)
    options = Options(**given, config={"script": script, "arguments": list(words)})
    Script(options).listen()
    raise Ready(program)


def _refuse_launcher(name: str, given: Sequence[str], ours: Sequence[str]) -> None:
    """Raise if gradmidi is told to start a launcher, and show the right order."""
    if re.fullmatch(r"python[\d.]*", name):
        if len(given) > 1 and given[0] == "-m":
            _refuse_launcher(given[1], given[2:], ours)
        line = shlex.join(["gradmidi", "run", *ours, *(given or ["SCRIPT"])])
        raise typer.BadParameter(f"give the script itself: {line}")
    if name not in LAUNCHERS:
        return
    start, flag = LAUNCHERS[name]
    own = [each for each in given if each != "launch"]
    at = next((i for i, each in enumerate(own) if each.endswith(".py") or each == "-m"), len(own))
    line = shlex.join([*start.split(), *own[:at], flag, "gradmidi", "run", *ours])
    raise typer.BadParameter(
        f"{start} must start gradmidi, in each process: {line} {shlex.join(own[at:]) or 'SCRIPT'}"
    )


def _before_script(given: Sequence[str]) -> list[str]:
    """Return the options before the script, as written."""
    words = sys.argv[1 : len(sys.argv) - len(given) - 1]
    return words[words.index("run") + 1 :] if "run" in words else []
