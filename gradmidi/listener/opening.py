"""Opening a run: its folder, its log, and a line that says so."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gradmidi.base.messages import Warnings, say
from gradmidi.listener.listener import Listener, Outputs, Row
from gradmidi.log import FILE_NAME, Header, Layer, combine
from gradmidi.log.clipping import Clipping
from gradmidi.log.folder import place
from gradmidi.log.writer import LogWriter
from gradmidi.music.voices import Voice, group
from gradmidi.options import Options

if TYPE_CHECKING:
    from gradmidi.capture.capture import Capture

__all__ = ["dated", "open_capture", "open_run"]

MANY_LAYERS = 64
FRAME_BYTES, NORM_BYTES = 50, 12
"""About what a line of the log takes, and each norm in it."""


def open_capture(
    capture: "Capture", options: Options, outputs: Outputs, *, resume: bool = True
) -> Listener:
    """Open the run of a model, whose capture is not attached yet; see `open_run`."""
    header = Header(capture.layers, capture.model_name, capture.parameters)
    capture.replace_others()
    return open_run(header, options, outputs, capture=capture, resume=resume)


def open_run(
    header: Header,
    options: Options,
    outputs: Outputs,
    *,
    capture: "Capture | None" = None,
    resume: bool = True,
) -> Listener:
    """Find a run's folder, begin its log, and say so in a line.

    Parameters
    ----------
    header : Header
        Layers, model and parameters; the rest of the log's first line is filled in here.
    options : Options
        What the user asked for.
    outputs : Outputs
        What is open already; closed again if the run cannot be opened.
    capture : Capture, optional
        What is captured; None where the numbers are the caller's.
    resume : bool, default True
        Whether an earlier run of the same layers in ``options.out`` goes on.

    Raises
    ------
    RunLogError
        If ``options.out`` is a file or cannot be created.
    PresetError
        If a voice's pattern matches no layer.
    """
    warnings = Warnings()
    layers = header.layers
    out = options.out
    try:
        voices = group(layers, options.music.voices.most, options.voices)
        header = replace(header, started=_utc(), config=dict(options.config or {}))
        fold: Row | None = None
        if options.keep == "voices":
            fold = _fold(voices)
            header = replace(header, layers=_kept(layers, voices))
        else:
            header = replace(header, voices=options.voices)
        target = place(out or dated(), header, resume=resume and out is not None)
        for feed in outputs.feeds:
            feed.name(target.folder.name)
        clipping = None if capture is None else Clipping(whole=capture.whole)
        writer = LogWriter(
            target, header, feeds=outputs.feeds, warnings=warnings, clipping=clipping
        )
    except BaseException:
        outputs.close()
        raise
    if target.taken is not None and resume:
        say(f"{target.taken} holds another run, or one that is being written: this one is new")
    goes_on = f", going on after step {target.last_step}" if target.resumed else ""
    of = f"listening to {_count(len(layers), 'layer')} of {header.model}"
    what = of if capture is not None else f"recording {_count(len(layers), 'layer')}"
    say(f"{what}, run log {target.folder / FILE_NAME}{goes_on}")
    if len(header.layers) > MANY_LAYERS:
        megabytes = 10_000 * (FRAME_BYTES + NORM_BYTES * len(header.layers)) / 1e6
        say(
            f"the run log grows by about {megabytes:.0f} MB in 10,000 steps; keep='voices' "
            f"logs {_count(len(voices), 'voice')} instead"
        )
    return Listener(
        writer,
        layers,
        target,
        options,
        outputs,
        warnings,
        fold=fold,
        clipping=clipping,
        capture=capture,
    )


def _kept(layers: Sequence[Layer], voices: Sequence[Voice]) -> tuple[Layer, ...]:
    return tuple(
        Layer(voice.name, sum(layers[index].size for index in voice.layers)) for voice in voices
    )


def _fold(voices: Sequence[Voice]) -> Row:
    members = np.array([index for voice in voices for index in voice.layers], dtype=np.intp)
    starts = np.cumsum([0, *(len(voice.layers) for voice in voices)][:-1], dtype=np.intp)
    return functools.partial(combine, members=members, starts=starts)


def dated() -> Path:
    """Name the folder of a run that was given none."""
    return Path("runs") / datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
