"""The commands to get to know gradmidi: `demo` and `tour`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
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
    output_option,
    rig_parameter,
    takes,
)
from gradmidi.errors import GradmidiError

if TYPE_CHECKING:
    from gradmidi.live.feed import Live
if TYPE_CHECKING:
    from gradmidi.music.lesson import Cue
    from gradmidi.music.preset import Preset
    from gradmidi.options import Options

__all__ = ["demo", "tour"]

EXPERIMENT = ("optimizer", "lr", "momentum", "batch_size")
"""Options that `--all` sets itself."""

LIVE = ("rig", "level", "wait", *(rig_parameter(flag) for flag in RIG_FLAGS))
"""Options that have no effect without live output."""

Progress = Callable[[int, float], None]
Going = Callable[[], bool]


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


SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
ENDINGS = (*SOUNDS, ".mid", ".txt")


@takes("midi", "osc", "audio", "rig", "settings", "preset")
def tour(
    output: Annotated[list[Path] | None, output_option(ENDINGS)] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Hear every sound of a preset after its name.

    Where espeak-ng is installed, sound files speak the names.
    """
    from gradmidi.music.lesson import tour as compose
    from gradmidi.options import Options
    from gradmidi.sinks.registry import begin_of
    from gradmidi.text.words import timeline

    options, paths = Options(**given), output or []
    for path in paths:
        if path.suffix.lower() not in ENDINGS:
            raise typer.BadParameter(f"{path} may end in: {' '.join(ENDINGS)}")
    is_live = options.session().sounds
    if not paths and not is_live:
        raise typer.BadParameter(
            "nothing to play to; give -o FILE, --audio, --midi PORT or --osc HOST:PORT"
        )
    preset = options.music
    cues = list(compose(preset))
    begin = begin_of(preset, paths)
    lines = [timeline(begin + cue.tick * cue.seconds, cue.text) for cue in cues]
    for path in paths:
        _write(path, preset, cues, lines)
        typer.echo(str(path))
    if is_live:
        _play(options, cues)
    elif not any(path.suffix.lower() == ".txt" for path in paths):
        typer.echo("\n".join(lines), err=True)


def _write(path: Path, preset: "Preset", cues: "Sequence[Cue]", lines: Sequence[str]) -> None:
    try:
        if path.suffix.lower() == ".txt":
            _write_text(path, lines)
        else:
            _write_music(path, preset, cues)
    except OSError as error:
        raise GradmidiError(f"{path} could not be written: {error.strerror or error}") from error


def _write_text(path: Path, lines: Sequence[str]) -> None:
    from gradmidi.base.files import WholeFile

    with WholeFile(path) as new:
        new.file.write("".join(f"{line}\n" for line in lines).encode())


def _write_music(path: Path, preset: "Preset", cues: "Sequence[Cue]") -> None:
    from gradmidi.music.events import End, Mark
    from gradmidi.music.lesson import TOUR_VOICES, at_pace, speech_seconds
    from gradmidi.sinks.midifile import MidiFile
    from gradmidi.sound.speech import SpokenFile, speech

    paced = at_pace(preset)
    sink: MidiFile | SpokenFile
    if path.suffix.lower() == ".mid":
        sink = MidiFile(path, paced, TOUR_VOICES, title=f"tour of {preset.name}")
    else:
        spoken = ((cue, speech(cue.text, speech_seconds(cue.text))) for cue in cues)
        sink = SpokenFile(
            path,
            paced,
            len(TOUR_VOICES) - 1,
            values=1,
            spoken=[(c.tick * c.seconds, words) for c, words in spoken if words is not None],
        )
    try:
        for cue in cues:
            sink.send([Mark(cue.tick, cue.text), *cue.events])
        last = cues[-1].events[-1].tick if cues[-1].events else cues[-1].tick
        sink.send([End(last, 0, 0.0)])
        sink.close()
    except BaseException:
        sink.abort()
        raise


def _play(options: "Options", cues: "Sequence[Cue]") -> None:
    from gradmidi.cli.ports import perform
    from gradmidi.music.lesson import TOUR_VOICES
    from gradmidi.player.guard import Guard
    from gradmidi.player.outputs import Outputs

    session = options.session()
    with closed_by_signals():
        # The guard ends the notes if this process is killed.
        guard = Guard({"rig": asdict(session.rig), "osc": session.osc})
        try:
            outputs = Outputs(session)
            try:
                guard.begin(len(TOUR_VOICES))
                layers = len(TOUR_VOICES) - 1
                time = session.preset.time
                slot = time.slot_ticks(layers) * time.tick_seconds
                outputs.begin(f"tour of {session.preset.name}", TOUR_VOICES, layers, slot)
                perform(iter(cues), outputs, typer.echo)
            finally:
                outputs.silence()
                outputs.close()
        finally:
            guard.close()
