"""Open a run: its folder, its log and its first message to the user."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gradmidi.base.environment import Job
from gradmidi.base.messages import Warnings, say
from gradmidi.listener.listener import Listener
from gradmidi.listener.outputs import Outputs
from gradmidi.listener.recording import Recording, Row
from gradmidi.log import FILE_NAME, Header, Layer
from gradmidi.log.folder import A_RUN, OTHER_LAYERS, RunFolder, open_folder
from gradmidi.log.values import Clipping
from gradmidi.log.writer import LogWriter
from gradmidi.music.voices import Voice, VoiceNorms, group
from gradmidi.options import Options
from gradmidi.text.words import count

if TYPE_CHECKING:
    from gradmidi.capture.capture import Capture
    from gradmidi.capture.order import Arrangement, ForwardOrder
    from gradmidi.capture.steps import Consumer

__all__ = ["attach", "dated", "open_capture", "open_run"]

MANY_LAYERS = 64
FRAME_BYTES, NORM_BYTES = 50, 12
"""Approximate bytes of a frame in the log, without norms, and of each norm."""


def open_capture(
    capture: "Capture",
    options: Options,
    outputs: Outputs,
    *,
    numbered: bool = False,
    order: "ForwardOrder | Sequence[int] | None" = None,
) -> tuple[Listener, Recording]:
    """Open the run of a model and attach its capture; see `open_run`.

    `numbered`: whether the optimizers' own count of steps numbers the steps also in a new run.
    `order`: the order of the layers, or what has watched the forward pass for it.
    """
    from gradmidi.capture.optimizers import steps_made, when_loaded
    from gradmidi.capture.order import Arrangement

    header = Header(capture.layers, capture.model_name, capture.parameters)
    capture.replace_others()
    if numbered and options.step is None:
        options = replace(options, step=steps_made(capture.given))
    listener, recording = open_run(header, options, outputs, capture=capture)
    if recording.is_open:
        if numbered or recording.resumed:
            capture.leaving += when_loaded(capture.given, recording.go_to)
        arrangement = Arrangement(recording.arrange, order)
        if not recording.waits_for_order:
            arrangement.leave()
        attach(capture, recording, options, arrangement if recording.waits_for_order else None)
    return listener, recording


def attach(
    capture: "Capture",
    consumer: "Consumer",
    options: Options,
    arrangement: "Arrangement | None" = None,
) -> None:
    """Make capture pass each step's norms to `consumer`, and before them the layers' order."""
    capture.attach(
        consumer,
        every=options.every,
        budget=options.budget,
        scaler=options.scaler,
        updates=options.updates,
        arrangement=arrangement,
    )


def open_run(
    header: Header, options: Options, outputs: Outputs, *, capture: "Capture | None" = None
) -> tuple[Listener, Recording]:
    """Open a run's folder, start its log, and log a line about it.

    `capture` is not attached here. `outputs` is closed if the run cannot be opened.
    """
    warnings = Warnings()
    layers = header.layers
    try:
        voices = group(layers, options.music.voices.most, options.voices)
        header = replace(header, started=_utc(), config=dict(options.config or {}))
        fold: Row | None = None
        # Voices are of neighbours, which are those of the model.
        ordered = capture is not None and options.keep == "layers"
        if options.keep == "voices":
            fold = VoiceNorms(voices).combined
            header = replace(header, layers=_kept(layers, voices))
        else:
            header = replace(header, voices=options.voices or {})
        job = Job.of()
        if job.variables:
            header = replace(header, other={"job": job.variables})
        target = open_folder(
            options.out or dated(),
            header,
            resume=options.resume,
            overwrite=options.overwrite,
            job=job,
            any_order=ordered,
        )
        for feed in outputs.feeds:
            feed.name(target.path.name)
        clipping = None if capture is None else Clipping(whole=capture.whole)
        if target.resumed and ordered:
            header = replace(header, layers=target.layers)
        waits = ordered and not target.resumed
        writer = LogWriter(
            target, header, feeds=outputs.feeds, warnings=warnings, clipping=clipping, held=waits
        )
    except BaseException:
        outputs.close()
        raise
    if not writer.is_open:
        outputs.close()
    step = options.step
    if step is None and target.resumed and capture is not None:
        from gradmidi.capture.optimizers import steps_made

        step = steps_made(capture.given)
    step = target.last_step if step is None else step
    of = f"listening to {count(len(layers), 'layer')} of {header.model}"
    what = of if capture is not None else f"recording {count(len(layers), 'layer')}"
    if writer.is_open:
        say(f"{what}, run log {target.path / FILE_NAME}{_beside(target, options, step, job)}")
    if len(header.layers) > MANY_LAYERS and writer.is_open:
        megabytes = 10_000 * (FRAME_BYTES + NORM_BYTES * len(header.layers)) / 1e6
        say(
            f"the run log grows by about {megabytes:.0f} MB in 10,000 steps; keep='voices' "
            f"logs {count(len(voices), 'voice')} instead"
        )
    recording = Recording(
        writer, layers, warnings, step=step, resumed=target.resumed, fold=fold, clipping=clipping
    )
    recording.waits_for_order = waits
    listener = Listener(
        recording, writer, layers, target.path, options, outputs, warnings, capture=capture
    )
    listener.started = header.started
    if target.resumed and ordered:
        recording.arrange([layers.index(layer) for layer in target.layers])
    return listener, recording


def _beside(target: RunFolder, options: Options, step: int, job: Job) -> str:
    """Return what the first message says of an earlier run in the folder."""
    text = ""
    if target.replaced:
        text = "; the run that was there is replaced"
    elif target.resumed:
        again = f" ({job.note})" if job.note and options.resume is None else ""
        text = f", continuing after step {step}{again}"
        if step < target.last_step:
            text += f"; the earlier steps {step + 1} to {target.last_step} are replaced"
    elif target.taken and options.out is not None:
        text += f"; {options.out} holds {target.taken}"
        if target.taken == A_RUN:
            text += ": resume=True (--resume) continues it, overwrite=True (--force) replaces it"
        elif target.taken == OTHER_LAYERS:
            text += ": overwrite=True (--force) replaces it"
    return text


def _kept(layers: Sequence[Layer], voices: Sequence[Voice]) -> tuple[Layer, ...]:
    return tuple(
        Layer(voice.name, sum(layers[index].size for index in voice.layers)) for voice in voices
    )


def dated() -> Path:
    """Return the default folder of a run: ``runs/<date-time>``."""
    return Path("runs") / datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
