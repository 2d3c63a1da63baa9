"""`listen` and `record`: open a run of a PyTorch model, or of norms given as numbers.

`record` takes norms as numbers and needs no torch; `listen` adds a capture that measures a
model's gradients. Both return a `Listener`.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradmidi.base.messages import Warnings, say
from gradmidi.base.versions import TORCH, check_version
from gradmidi.errors import CaptureError
from gradmidi.listener.listener import Listener, Outputs
from gradmidi.listener.other_rank import OtherRank, StepCounter
from gradmidi.listener.recording import Recording, Row
from gradmidi.log import FILE_NAME, Header, Layer
from gradmidi.log.folder import open_folder
from gradmidi.log.values import Clipping
from gradmidi.log.writer import LogWriter
from gradmidi.midi.rig import Rig
from gradmidi.music.voices import Voice, VoiceNorms, group
from gradmidi.options import LayerChoice, Options, SummaryWriter
from gradmidi.text.words import count

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

    from gradmidi.capture.capture import Capture
    from gradmidi.capture.steps import Consumer

__all__ = [
    "Listener",
    "dated",
    "listen",
    "listen_with",
    "open_capture",
    "open_run",
    "record",
    "record_with",
]

MANY_LAYERS = 64
FRAME_BYTES, NORM_BYTES = 50, 12
"""Approximate bytes of a frame in the log, without norms, and of each norm."""


def record(
    out: str | os.PathLike[str] | None = None,
    *,
    layers: Sequence[str | Layer],
    preset: str | Path = "pentatonic",
    rig: str | Path | Rig | None = None,
    midi: str | Sequence[str] | None = None,
    osc: str | Sequence[str] | None = None,
    audio: bool | str | None = None,
    take: str | os.PathLike[str] | None = None,
    notify: str | Sequence[str] | None = None,
    voices: Mapping[str, str] | None = None,
    files: str | Sequence[str] = ("mid", "wav", "txt"),
    keep: str = "layers",
    log_to: str | SummaryWriter | None = None,
    config: Mapping[str, Any] | None = None,
) -> Listener:
    """Open a run for norms that you compute yourself; no torch is needed.

    Parameters
    ----------
    out : path, optional
        The run's folder; by default ``runs/<date-time>``. If it holds a run of the same layers,
        that run is continued; if it holds another run, this one goes to ``out-2``.
    layers : sequence of str or Layer
        The layers' names, first to last.
    preset : str or Path, default "pentatonic"
        How the run sounds: a shipped preset's name or a ``.toml`` file.
    rig, midi, osc, audio, take, notify
        Live output, see `listen`.
    voices : mapping of str to str, optional
        Voices of your own: name to a pattern over the layers' names, as ``{"top": "fc*"}``. A
        layer that no pattern matches is logged but makes no sound.
    files : sequence of str, default ("mid", "wav", "txt")
        Files to make at the end, by ending: ``mid wav flac ogg mp3 png svg pdf html mp4
        txt``; () for none.
    keep : {"layers", "voices"}, default "layers"
        Log every layer, or only the grouped voices.
    log_to : {"wandb", "mlflow"} or SummaryWriter, optional
        Experiment tracker, see `listen`.
    config : mapping, optional
        Written into the log's first line, for your own use.

    Returns
    -------
    Listener

    Raises
    ------
    RunLogError
        If `out` is a file or cannot be created.
    PresetError
        If the preset or the rig cannot be used, or a voice's pattern matches no layer.
    CaptureError
        If `layers` is empty or has a name twice.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> with gradmidi.record(tempfile.mkdtemp() + "/a", layers=["fc1"], files=()) as ears:
    ...     ears.frame({"fc1": 0.45}, loss=2.3)
    """
    options = Options(
        out=out,
        preset=preset,
        rig=rig,
        midi=midi,
        osc=osc,
        audio=audio,
        take=take,
        notify=notify,
        layers=voices,
        files=files,
        keep=keep,
        log_to=log_to,
        config=config,
    )
    return record_with(layers, options)


def record_with(layers: Sequence[str | Layer], options: Options) -> Listener:
    """Open a run for norms that the caller computes, see `record`."""
    named = tuple(
        layer if isinstance(layer, Layer) else Layer(str(layer), 0)
        for layer in ((layers,) if isinstance(layers, str) else layers)
    )
    if not named:
        raise CaptureError("layers= is empty; give the name of each layer")
    names = [layer.name for layer in named]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CaptureError(f"layers= names {twice!r} twice; each layer needs a name of its own")
    return open_run(Header(named), options, Outputs.of(options))[0]


def listen(
    model: "Module",
    optimizer: "Optimizer | Iterable[Optimizer] | None" = None,
    *,
    out: str | os.PathLike[str] | None = None,
    preset: str | Path = "pentatonic",
    rig: str | Path | Rig | None = None,
    midi: str | Sequence[str] | None = None,
    osc: str | Sequence[str] | None = None,
    audio: bool | str | None = None,
    take: str | os.PathLike[str] | None = None,
    notify: str | Sequence[str] | None = None,
    layers: LayerChoice | None = None,
    parameters: str = "all",
    every: int = 1,
    budget: float | None = None,
    scaler: Any = None,
    files: str | Sequence[str] = ("mid", "wav", "txt"),
    keep: str = "layers",
    log_to: str | SummaryWriter | None = None,
    config: Mapping[str, Any] | None = None,
) -> Listener:
    """Listen to a PyTorch model while it trains.

    At each `optimizer.step()`, the L2 norm of every layer's gradient is measured before the update,
    and a thread writes it to the run log. At the end of the run, the files are written.

    Parameters
    ----------
    model : torch.nn.Module
        The model; it may be wrapped or compiled.
    optimizer : torch.optim.Optimizer or several, optional
        The optimizers that train it. Each `step` is one step of the run. Of nested calls (a
        subclass that calls ``super().step()``, an optimizer inside another), only the outermost
        counts. Optimizers with different parameters (Muon and AdamW, the two of a GAN) each make a
        frame, in which the layers of the others are absent. Without an optimizer, call
        `Listener.capture` between `backward` and the update.
    out : path, optional
        The run's folder; by default ``runs/<date-time>``. If it holds a run of the same layers,
        that run is continued; if it holds another run, this one goes to ``out-2``.
    preset : str or Path, default "pentatonic"
        How the run sounds: a shipped preset's name or a ``.toml`` file.
    rig : str or Path or Rig, optional
        Ports, channels and limits of the MIDI devices: a ``.toml`` file, or a loaded rig.
    midi : str or sequence of str, optional
        MIDI outputs to play to, by name or part of it; ``virtual:NAME`` makes a port of that
        name. Give several for more than 15 voices.
    osc : str or sequence of str, optional
        ``HOST:PORT`` to send OSC to.
    audio : bool or str, optional
        Play through the default sound card, or through the one of this name.
    take : path, optional
        A ``.mid`` file that records what is played live.
    notify : str or sequence of str, optional
        Addresses of apprise, as ``slack://…``, to which each fault is sent as a text, one message
        a minute at most; needs the extra ``notify``.
    layers : str or sequence of str, or mapping of str to str, optional
        Listen to these layers only: names, or patterns as ``"blocks.*"``. A mapping defines voices
        of your own instead, name to pattern, as ``{"top": "fc*"}``; all layers are still logged.
    parameters : {"all", "weights"}, default "all"
        Measure all of a layer's parameters, or its weights only.
    every : int, default 1
        Measure every nth step of an optimizer, also if its gradients are clipped more often.
    budget : float, optional
        Largest share of the training time that measuring may take, above 0 and below 1 (0.005 is
        half a percent). Steps are left out to keep this limit. The log has the step number of
        each measured step.
    scaler : object, optional
        An object whose ``step(optimizer)`` steps the optimizer or skips the step. Only needed for
        a class of your own; torch's GradScaler is found without it.
    files : sequence of str, default ("mid", "wav", "txt")
        Files to make at the end, by ending: ``mid wav flac ogg mp3 png svg pdf html mp4
        txt``; () for none.
    keep : {"layers", "voices"}, default "layers"
        Log every layer, or only the grouped voices.
    log_to : {"wandb", "mlflow"} or SummaryWriter, optional
        Experiment tracker: when the run is closed without an exception, at most 10 seconds of
        sound, the picture and the faults as text are uploaded to its active run.
    config : mapping, optional
        Written into the log's first line, for your own use.

    Returns
    -------
    Listener
        On ranks other than 0 it accepts the same calls, but opens no port and writes no file. For
        a sharded model (FSDP2, tensor parallel), call `listen` on every rank.

    Raises
    ------
    CaptureError
        If the model has no trainable parameter, an optimizer has none of its parameters, or a
        pattern matches no layer.
    RunLogError
        If `out` is a file or cannot be created.
    PresetError
        If the preset or the rig cannot be used.
    PortError
        If a MIDI port or an OSC address cannot be opened.

    Examples
    --------
    >>> import tempfile, torch, gradmidi
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with gradmidi.listen(model, optimizer, out=tempfile.mkdtemp() + "/a", files=()) as ears:
    ...     for _ in range(3):
    ...         optimizer.zero_grad()
    ...         loss = model(torch.ones(1, 2)).square().mean()
    ...         loss.backward()
    ...         optimizer.step()
    ...         ears.log(loss=loss)
    >>> gradmidi.read(ears.folder).steps
    3
    """
    options = Options(
        out=out,
        preset=preset,
        rig=rig,
        midi=midi,
        osc=osc,
        audio=audio,
        take=take,
        notify=notify,
        layers=layers,
        parameters=parameters,
        every=every,
        budget=budget,
        scaler=scaler,
        files=files,
        keep=keep,
        log_to=log_to,
        config=config,
    )
    return listen_with(model, optimizer, options)


def listen_with(
    model: "Module", optimizer: "Optimizer | Iterable[Optimizer] | None", options: Options
) -> Listener:
    """Listen to a model while it trains, see `listen`."""
    check_version("torch", TORCH)
    try:
        from gradmidi.capture.capture import Capture
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CaptureError(
            "listen() needs PyTorch: pip install 'gradmidi[train]'; record() takes plain numbers "
            "without it"
        ) from error
    capture = Capture(model, optimizer, layers=options.patterns, parameters=options.parameters)
    spread = capture.meet()
    try:
        if capture.heard_here:
            return open_capture(capture, options, Outputs.of(options))[0]
        if note := capture.note_of_silence:
            say(note)
        capture.replace_others()
        counter = StepCounter()
        listener = OtherRank(capture, counter, options.out)
        if spread:
            attach(capture, counter, options)
        return listener
    except BaseException:
        # The other ranks must not wait for this rank.
        capture.detach(quiet=True)
        raise


def open_capture(
    capture: "Capture", options: Options, outputs: Outputs, *, resume: bool = True
) -> tuple[Listener, Recording]:
    """Open the run of a model and attach its capture; see `open_run`."""
    header = Header(capture.layers, capture.model_name, capture.parameters)
    capture.replace_others()
    listener, recording = open_run(header, options, outputs, capture=capture, resume=resume)
    attach(capture, recording, options)
    return listener, recording


def attach(capture: "Capture", consumer: "Consumer", options: Options) -> None:
    """Make capture pass each step's norms to `consumer`."""
    capture.attach(consumer, every=options.every, budget=options.budget, scaler=options.scaler)


def open_run(
    header: Header,
    options: Options,
    outputs: Outputs,
    *,
    capture: "Capture | None" = None,
    resume: bool = True,
) -> tuple[Listener, Recording]:
    """Open a run's folder, start its log, and log a line about it.

    `capture` is not attached here. `resume`: whether to continue a run of the same layers in
    ``options.out``. `outputs` is closed if the run cannot be opened.
    """
    warnings = Warnings()
    layers = header.layers
    out = options.out
    try:
        voices = group(layers, options.music.voices.most, options.voices)
        header = replace(header, started=_utc(), config=dict(options.config or {}))
        fold: Row | None = None
        if options.keep == "voices":
            fold = VoiceNorms(voices).combined
            header = replace(header, layers=_kept(layers, voices))
        else:
            header = replace(header, voices=options.voices)
        target = open_folder(out or dated(), header, resume=resume and out is not None)
        for feed in outputs.feeds:
            feed.name(target.path.name)
        clipping = None if capture is None else Clipping(whole=capture.whole)
        writer = LogWriter(
            target, header, feeds=outputs.feeds, warnings=warnings, clipping=clipping
        )
    except BaseException:
        outputs.close()
        raise
    if target.taken is not None and resume:
        say(f"{target.taken} holds another run or a run in progress, so a new folder is used")
    goes_on = f", continuing after step {target.last_step}" if target.resumed else ""
    of = f"listening to {count(len(layers), 'layer')} of {header.model}"
    what = of if capture is not None else f"recording {count(len(layers), 'layer')}"
    say(f"{what}, run log {target.path / FILE_NAME}{goes_on}")
    if len(header.layers) > MANY_LAYERS:
        megabytes = 10_000 * (FRAME_BYTES + NORM_BYTES * len(header.layers)) / 1e6
        say(
            f"the run log grows by about {megabytes:.0f} MB in 10,000 steps; keep='voices' "
            f"logs {count(len(voices), 'voice')} instead"
        )
    recording = Recording(
        writer, layers, warnings, step=target.last_step, fold=fold, clipping=clipping
    )
    listener = Listener(
        recording, writer, layers, target.path, options, outputs, warnings, capture=capture
    )
    return listener, recording


def _kept(layers: Sequence[Layer], voices: Sequence[Voice]) -> tuple[Layer, ...]:
    return tuple(
        Layer(voice.name, sum(layers[index].size for index in voice.layers)) for voice in voices
    )


def dated() -> Path:
    """Return the default folder of a run: ``runs/<date-time>``."""
    return Path("runs") / datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
