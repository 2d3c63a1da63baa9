"""A run is opened: options checked, its place found, its log begun, and a line that says so."""

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradmidi.base.messages import Warnings, say
from gradmidi.errors import CaptureError, RunLogError
from gradmidi.listener.listener import FEED_SECONDS, Listener, Row
from gradmidi.listener.wanted import Wanted
from gradmidi.log import FILE_NAME, Header, Layer, combine
from gradmidi.log.clipping import Clipping
from gradmidi.log.folder import place
from gradmidi.log.writer import LogWriter
from gradmidi.music.voices import Voice, group

if TYPE_CHECKING:
    from gradmidi.capture.capture import Capture

__all__ = ["begin", "check", "dated", "open_run"]

MANY_LAYERS = 64
FRAME_BYTES, NORM_BYTES = 50, 12
"""About what a line of the log takes, and each norm in it."""


def check(*, every: int, budget: float | None, keep: str) -> None:
    """See that options of `listen` are allowed which need no model.

    Raises
    ------
    CaptureError
        If `every` or `budget` is not.
    RunLogError
        If `keep` is not.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise CaptureError(f"every={every!r}; allowed is a whole number of 1 or more")
    if budget is not None and not 0.0 < budget < 1.0:
        raise CaptureError(f"budget={budget!r}; allowed is a share above 0 and below 1, as 0.005")
    _check_keep(keep)


def _check_keep(keep: str) -> None:
    if keep not in ("layers", "voices"):
        raise RunLogError(f"keep={keep!r}; allowed is 'layers' or 'voices'")


def begin(
    capture: "Capture",
    outputs: Wanted,
    out: str | os.PathLike[str] | None,
    *,
    keep: str,
    voices: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
    resume: bool = True,
) -> Listener:
    """Open the run of a model, whose capture is not attached yet.

    Parameters
    ----------
    capture : Capture
        What is captured.
    outputs : Wanted
        What is made of it, open already.
    out, keep, config
        As for `listen`.
    voices : mapping of str to str
        The user's own voices.
    resume : bool, default True
        Whether an earlier run of the same layers in `out` goes on.
    """
    header = Header(
        capture.layers,
        capture.model_name,
        capture.parameters,
        config=dict(config or {}),
    )
    capture.replace_others()
    return open_run(header, out, outputs, keep, voices=voices, capture=capture, resume=resume)


def open_run(
    header: Header,
    out: str | os.PathLike[str] | None,
    outputs: Wanted,
    keep: str,
    *,
    voices: Mapping[str, str] | None = None,
    capture: "Capture | None" = None,
    resume: bool = True,
) -> Listener:
    """Open a run: its place, its log, and a line that says so.

    Parameters
    ----------
    header : Header
        The first line of its log.
    out, keep
        As for `listen`.
    outputs : Wanted
        What is made of it, open already; closed again if the run cannot be opened.
    voices : mapping of str to str, optional
        The user's own voices.
    capture : Capture, optional
        What is captured; None where the numbers are the caller's.
    resume : bool, default True
        Whether an earlier run of the same layers in `out` goes on.

    Raises
    ------
    RunLogError
        If `keep` is not allowed, or `out` is a file or cannot be created.
    """
    warnings = Warnings()
    layers = header.layers
    try:
        _check_keep(keep)
        grouped = group(layers, outputs.values.voices.most, voices)
        header = replace(header, started=_utc())
        fold: Row | None = None
        if keep == "voices":
            fold = _fold(grouped)
            header = replace(header, layers=_kept(layers, grouped))
        elif voices:
            header = replace(header, voices=dict(voices))
        target = place(out or dated(), header, resume=resume and out is not None)
        for feed in outputs.feeds:
            feed.name(target.folder.name)
        clipping = None if capture is None else Clipping(whole=capture.whole)
        writer = LogWriter(
            target, header, feeds=outputs.feeds, warnings=warnings, clipping=clipping
        )
    except BaseException:
        for feed in outputs.feeds:
            feed.close(FEED_SECONDS)
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
            f"logs {_count(len(grouped), 'voice')} instead"
        )
    return Listener(
        writer, layers, target, outputs, warnings, fold=fold, clipping=clipping, capture=capture
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
