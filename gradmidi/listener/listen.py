"""`listen` and `record`: open a run of a PyTorch model, or of norms given as numbers.

`record` takes norms as numbers and needs no torch; `listen` adds a capture that measures a
model's gradients. Both return a `Listener`.
"""

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradmidi.base.checks import LayerChoice, SummaryWriter
from gradmidi.base.environment import TORCH, check_version
from gradmidi.base.messages import say, warn
from gradmidi.errors import CaptureError, GradmidiError
from gradmidi.listener.listener import Listener
from gradmidi.listener.opening import attach, open_capture, open_run
from gradmidi.listener.other_rank import OtherRank, StepCounter
from gradmidi.listener.outputs import Outputs
from gradmidi.listener.rank_file import Place, rank_file
from gradmidi.log import Header, Layer
from gradmidi.midi.rig import Rig
from gradmidi.options import Options

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

__all__ = ["Listener", "listen", "listen_with", "record", "record_with"]


def record(
    out: str | os.PathLike[str] | None = None,
    *,
    layers: Sequence[str | Layer],
    resume: bool | None = None,
    overwrite: bool = False,
    step: int | None = None,
    preset: str | Path = "pentatonic",
    rig: str | Path | Rig | None = None,
    midi: str | Sequence[str] | None = None,
    osc: str | Sequence[str] | None = None,
    audio: bool | str | None = None,
    take: str | os.PathLike[str] | None = None,
    notify: str | Sequence[str] | None = None,
    voices: Mapping[str, str] | None = None,
    values: str | Sequence[str] | None = None,
    reference_tone: bool = False,
    files: str | Sequence[str] = ("mid", "wav", "txt"),
    keep: str = "layers",
    log_to: str | SummaryWriter | None = None,
    config: Mapping[str, Any] | None = None,
) -> Listener:
    """Open a run for norms that you compute yourself; no torch is needed.

    Parameters
    ----------
    out : path, optional
        The run's folder; by default ``runs/<date-time>``. If it holds a run, this one goes to
        ``out-2``, and the first message says so.
    resume : bool, optional
        Continue the run in `out`, if it has the same layers; steps that are made again replace the
        earlier ones. By default only in a job that was started again (``SLURM_RESTART_COUNT``,
        ``TORCHELASTIC_RESTART_COUNT``).
    overwrite : bool, default False
        Replace the run in `out`.
    step : int, optional
        How many steps were made before, 0 or more, as the checkpoint has it: the next one is
        ``step + 1``. By default 0, or after the last step of a continued run.
    layers : sequence of str or Layer
        The layers' names, first to last.
    preset : str or Path, default "pentatonic"
        How the run sounds: a shipped preset's name or a ``.toml`` file.
    rig, midi, osc, audio, take, notify
        Live output, see `listen`.
    voices : mapping of str to str, optional
        Voices of your own: name to a pattern over the layers' names, as ``{"top": "fc*"}``. A
        layer that no pattern matches is logged but makes no sound.
    values, reference_tone
        Logged values that have a voice, see `listen`.
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
    # Every other parameter is an option.
    given = {**locals()}
    del given["layers"]
    try:
        return record_with(layers, Options(**given))
    except (OSError, GradmidiError) as error:
        _check_exhausted(error)
        return OtherRank(None, StepCounter(step or 0), out)


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
    resume: bool | None = None,
    overwrite: bool = False,
    step: int | None = None,
    preset: str | Path = "pentatonic",
    rig: str | Path | Rig | None = None,
    midi: str | Sequence[str] | None = None,
    osc: str | Sequence[str] | None = None,
    audio: bool | str | None = None,
    take: str | os.PathLike[str] | None = None,
    notify: str | Sequence[str] | None = None,
    layers: LayerChoice | None = None,
    voices: Mapping[str, str] | None = None,
    values: str | Sequence[str] | None = None,
    reference_tone: bool = False,
    parameters: str = "all",
    every: int = 1,
    budget: float | None = None,
    updates: int | None = None,
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
        The model; it may be wrapped or compiled. Or an engine of DeepSpeed, on every rank and
        without an optimizer.
    optimizer : torch.optim.Optimizer or several, optional
        The optimizers that train it. Each `step` is one step of the run. Of nested calls (a
        subclass that calls ``super().step()``, an optimizer inside another), only the outermost
        counts. Optimizers with different parameters (Muon and AdamW, the two of a GAN) each make a
        frame, in which the layers of the others are absent. Without an optimizer, call
        `Listener.capture` between `backward` and the update.
    out : path, optional
        The run's folder; by default ``runs/<date-time>``. If it holds a run, this one goes to
        ``out-2``, and the first message says so.
    resume : bool, optional
        Continue the run in `out`, if it has the same layers; steps that are made again replace the
        earlier ones. By default only in a job that was started again (``SLURM_RESTART_COUNT``,
        ``TORCHELASTIC_RESTART_COUNT``).
    overwrite : bool, default False
        Replace the run in `out`.
    step : int, optional
        How many steps were made before, 0 or more, as the checkpoint has it: the next one is
        ``step + 1``. By default 0, or in a continued run
        what the optimizer counts (Adam does), else its last step.
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
    layers : str or sequence of str, optional
        Listen to these layers only: names, or patterns as ``"blocks.*"``.
    voices : mapping of str to str, optional
        Voices of your own: name to a pattern over the layers' names, as ``{"top": "fc*"}``. A
        layer that no pattern matches is logged but makes no sound.
    values : str or sequence of str, optional
        Values of `Listener.log` that have a voice beside the layers': names, or patterns as
        ``"val/*"``. By default none.
    reference_tone : bool, default False
        Play the home of each value softly once a bar.
    parameters : {"all", "weights"}, default "all"
        Measure all of a layer's parameters, or its weights only.
    every : int, default 1
        Measure every nth step of an optimizer, also if its gradients are clipped more often.
    budget : float, optional
        Largest share of the training time that measuring may take, above 0 and below 1 (0.005 is
        half a percent). Steps are left out to keep this limit. The log has the step number of
        each measured step.
    updates : int, optional
        Also measure each nth update (10 is a good choice): the L2 norm of what the step added to a
        layer's weights, divided by the norm of the weights. Practitioners keep it near 1e-3. By
        default it is not measured. It needs memory for a copy of the weights, of at most
        524,288 entries of each parameter.
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
        On ranks other than 0 it accepts the same calls, but opens no port and makes no run. For
        a sharded model (FSDP, tensor parallel), call `listen` on every rank. Each rank writes its
        own times, and values that were nan, to a small file beside the run log.

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
    # Every other parameter is an option.
    given = {**locals()}
    del given["model"], given["optimizer"]
    try:
        return listen_with(model, optimizer, Options(**given))
    except (OSError, GradmidiError) as error:
        _check_exhausted(error)
        from gradmidi.capture.engines import capture_of

        return OtherRank(capture_of(model, optimizer), StepCounter(step or 0), out)


def listen_with(
    model: "Module",
    optimizer: "Optimizer | Iterable[Optimizer] | None",
    options: Options,
    *,
    numbered: bool = False,
) -> Listener:
    """Listen to a model while it trains, see `listen`; for `numbered` see `open_capture`."""
    check_version("torch", TORCH)
    try:
        from gradmidi.capture.engines import capture_of
        from gradmidi.capture.local_work import count_updates
        from gradmidi.capture.meeting import note_of_job
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise CaptureError(
            "listen() needs PyTorch: pip install 'gradmidi[train]'; record() takes plain numbers "
            "without it"
        ) from error
    capture = capture_of(
        model,
        optimizer,
        layers=options.layers,
        parameters=options.parameters,
        updates=options.updates,
    )
    spread = capture.meet()
    note = note_of_job()
    try:
        if capture.heard_here:
            outputs = Outputs.of(options)
            opened, recording = open_capture(capture, options, outputs, numbered=numbered)
            place = Place(str(opened.folder.absolute()), opened.started)
            opened.rank_file = rank_file(
                note, model, capture, lambda: recording.step, place, lambda: recording.offset
            )
            if opened.rank_file is not None:
                opened.rank_file.mark = opened.mark
            return opened
        if silent := capture.note_of_silence:
            say(silent)
        capture.replace_others()
        counter = StepCounter(options.step or 0)
        if spread:
            attach(capture, counter, options)
        elif note is not None:
            count_updates(capture, counter, options.scaler)
        file = rank_file(note, model, capture, lambda: counter.updates)
        return OtherRank(capture, counter, options.out, file)
    except BaseException:
        # The other ranks must not wait for this rank.
        capture.detach(quiet=True)
        raise


def _check_exhausted(error: Exception) -> None:
    """Raise an error again, unless the system has no file descriptor or memory left."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in EXHAUSTED:
            warn(f"{os.strerror(cause.errno)}: this run is not recorded, training continues")
            return
        cause = cause.__cause__
    raise error
