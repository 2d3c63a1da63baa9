"""The command `demo`: run the blog post's experiments, show progress, and suggest next steps."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradmidi.cli.keys import await_enter, closed_by_signals, show_on, watched
from gradmidi.cli.options import (
    RIG_FLAGS,
    Level,
    Plain,
    flags_given,
    is_plain,
    rig_parameter,
    takes,
)
from gradmidi.errors import GradmidiError

if TYPE_CHECKING:
    from gradmidi.live.feed import Live

__all__ = ["register"]

EXPERIMENT = ("optimizer", "lr", "momentum", "batch_size")
"""Options that `--all` sets itself."""

LIVE = ("rig", "level", "wait", *(rig_parameter(flag) for flag in RIG_FLAGS))
"""Options that have no effect without live output."""

Progress = Callable[[int, float], None]
Going = Callable[[], bool]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(demo)


@takes(
    "out",
    "overwrite",
    "preset",
    "midi",
    "osc",
    "audio",
    "rig",
    "settings",
    "link",
    "take",
    "values",
    "reference_tone",
)
def demo(
    context: typer.Context,
    optimizer: Annotated[str, typer.Option(metavar="sgd|adam", help="Optimizer.")] = "sgd",
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.01,
    momentum: Annotated[float, typer.Option(help="Momentum of SGD.")] = 0.5,
    batch_size: Annotated[int, typer.Option(help="Digits per step.")] = 10,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of weights and of the order of digits.")] = 0,
    data: Annotated[
        Path | None, typer.Option(help="A folder with the full MNIST in torchvision's layout.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All five settings of the blog post, one after another.")
    ] = False,
    *,
    given: dict[str, Any],
    level: Level = 0.0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Connect your devices, then press Enter to start.")
    ] = False,
    plain: Plain = False,
) -> None:
    """Train a small network on handwritten digits and listen to it.

    With --midi, --osc or --audio it also plays while it trains, one slot for each step.
    """
    from gradmidi.demo import experiments
    from gradmidi.options import Options

    try:
        one = experiments.Experiment(optimizer, lr, momentum, batch_size, steps, seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    chosen = [one]
    if every:
        chosen = [replace(e, steps=steps, seed=seed) for e in experiments.EXPERIMENTS]
    out, options = given.pop("out", None), Options(**given)
    if every and options.take is not None:
        raise typer.BadParameter("--take saves one run, and --all trains five")
    if every and (words := flags_given(context, EXPERIMENT)):
        raise typer.BadParameter(f"--all uses the settings of the blog post: leave out {words}")
    is_live = options.session().sounds
    if not is_live and (words := flags_given(context, LIVE)):
        raise typer.BadParameter(
            f"there is no live output: leave out {words}, or add --midi PORT, --osc HOST:PORT "
            "or --audio"
        )
    view = _Live(level, wait=wait, plain=is_plain(asked=plain)) if is_live else None
    outcomes = []
    for experiment in chosen:
        folder = experiments.free_folder(experiment) if out is None else out
        if every and out is not None:
            folder = out / experiment.name
        with ExitStack() as stack:
            stack.enter_context(closed_by_signals())
            step = None
            if view is None:
                plainly = is_plain(asked=plain)
                step = stack.enter_context(_progress(experiment.name, steps, plain=plainly))
            try:
                outcome = experiments.run(
                    experiment,
                    folder,
                    data=data,
                    options=options,
                    progress=step,
                    show=view,
                )
            except ValueError as error:
                if isinstance(error, GradmidiError):
                    raise
                raise typer.BadParameter(str(error)) from error
        outcomes.append(outcome)
        if view is not None and view.left:
            break
    for outcome in outcomes:
        typer.echo(str(outcome))
    for line in outcomes[-1].next_steps():
        typer.echo(line)


class _Live:
    """Shows each training run with live output; `left`: q was pressed."""

    def __init__(self, level: float, *, wait: bool, plain: bool) -> None:
        self.left = False
        self._level = level
        self._wait = wait
        self._plain = plain

    @contextmanager
    def __call__(self, live: "Live") -> Iterator[Going]:
        with show_on(plain=self._plain) as show:
            if self._wait:
                await_enter(show.say)
            with watched(live, show, level=self._level) as going:
                yield going
                self.left = not going()


@contextmanager
def _progress(name: str, steps: int, *, plain: bool) -> Iterator[Progress]:
    """Show the progress of training: a bar on a terminal, otherwise a line every quarter."""
    if plain:
        quarter = max(1, steps // 4)

        def tell(step: int, loss: float) -> None:
            if step % quarter == 0 or step == steps:
                typer.echo(f"{name}: step {step} of {steps}, loss {loss:.3g}", err=True)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3g}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=steps, loss=float("nan"))
        yield lambda step, loss: bar.update(task, completed=step, loss=loss)
