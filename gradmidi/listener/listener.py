"""`Listener`: an open run, with the methods that a training loop calls."""

import atexit
import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gradmidi.base.messages import Warnings, text_of
from gradmidi.errors import CaptureError
from gradmidi.listener.ending import DeferredInterrupt, Files, report
from gradmidi.listener.outputs import FEED_SECONDS, Outputs, Upload
from gradmidi.listener.rank_file import RankFile
from gradmidi.listener.recording import Norms, Recording
from gradmidi.live.feed import Live
from gradmidi.log import Layer
from gradmidi.log.writer import FLUSH_SECONDS, LogWriter
from gradmidi.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from gradmidi.capture.capture import Capture
    from gradmidi.capture.readout import Readout

__all__ = ["Listener"]

FILES_SECONDS = 30.0
REASON_LENGTH = 200


class Listener:
    """An open run. `listen` and `record` return one.

    It is a context manager; without ``with`` it closes when the program ends. No method waits for a
    disk, a device or another process, except `close`, which waits for a limited time. In a forked
    process, every method does nothing.

    Attributes
    ----------
    folder : Path
        The run's folder.
    layers : tuple of Layer
        The layers, in the order of a row of norms: of `listen` the order of the forward pass, known
        after the first `backward`.
    step : int
        The last step.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> with gradmidi.record(tempfile.mkdtemp() + "/a", layers=["fc1"], files=()) as listener:
    ...     listener.frame({"fc1": 0.45}, loss=2.3)
    ...     listener.mark("epoch 2")
    >>> listener.step
    1
    """

    def __init__(
        self,
        recording: Recording,
        writer: LogWriter,
        layers: tuple[Layer, ...],
        folder: Path,
        options: Options,
        outputs: Outputs,
        warnings: Warnings,
        *,
        capture: "Capture | None" = None,
    ) -> None:
        self.folder = folder
        self.layers = layers
        self._recording = recording
        self._writer = writer
        self._outputs = outputs
        self._warnings = warnings
        self._capture = capture
        self._files = Files(folder, options, warnings)
        self._upload = (
            None if outputs.tracker is None else Upload(folder, options, outputs.tracker, warnings)
        )
        self.started = ""  # When, as the header of the log has it.
        self.rank_file: RankFile | None = None
        self._readout: Readout | None = None
        self._closed = False
        self._logging = 0.0  # Seconds that `log` took.
        recording.place = f"{folder}"
        recording.on_replace = lambda: self._close("replaced by another listener", wait=False)
        recording.on_arrange = self._arrange
        atexit.register(self._exit)

    @property
    def step(self) -> int:
        """The last step. Set it after loading a checkpoint: ``ears.step = 400``."""
        return self._recording.step

    @step.setter
    def step(self, step: int) -> None:
        self._recording.go_to(step)

    @property
    def live(self) -> Live | None:
        """The live output; None if there is none."""
        return self._outputs.feeds[0] if self._outputs.feeds else None

    @property
    def bytes_per_step(self) -> float:
        """Average size of a step in the run log, in bytes; 0.0 before the first."""
        return self._writer.bytes_per_step

    # -- what a training loop calls ----------------------------------------------------------

    def frame(
        self,
        norms: Norms,
        *,
        loss: Any = None,
        lr: Any = None,
        step: int | None = None,
    ) -> None:
        """Record a step's norms.

        Parameters
        ----------
        norms : mapping of str to float, or sequence of float
            L2 norm of each layer's gradient: by name, or in the layers' order. None or a missing
            name means that the layer had no gradient. nan and inf are allowed.
        loss, lr : float, optional
            Logged with the norms.
        step : int, optional
            Step number; by default the last one plus 1.

        Raises
        ------
        CaptureError
            In the first call only: if a name is not a layer's, a sequence has another length, or
            a norm is not a number or is below zero. Later invalid calls do not raise: their steps
            are left out and counted, and there is one warning.

        Examples
        --------
        >>> import gradmidi, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with gradmidi.record(folder + "/a", layers=["fc1", "fc2"], files=()) as ears:
        ...     ears.frame({"fc1": 0.45, "fc2": 0.9}, loss=2.3)
        ...     ears.frame([0.4, None])
        >>> [frame.loss for frame in gradmidi.read(folder + "/a").frames()]
        [2.3, None]
        """
        if not self._writer.is_open or not self._recording.frame(norms, step):
            return
        beside = {name: value for name, value in (("loss", loss), ("lr", lr)) if value is not None}
        if beside:
            self.log(**beside)

    def log(self, **values: Any) -> None:
        """Log values of a step: ``ears.log(loss=loss, lr=0.1)``. Never waits, never raises.

        Call it after the step, as in ``optimizer.step(); ears.log(loss=loss)``: the values belong
        to that step. A name that is first logged before the first step always belongs to the next
        step. Values of a step that is not measured (``every=``) are left out.

        If you clip gradients by a function of your own, log the total norm before clipping as
        ``total_norm``. Norms that were measured after clipping are then restored.

        Parameters
        ----------
        **values : float or int or str or bool, or tensor of one number
            A tensor may require grad and may be on a device; it is read when it is computed.
        """
        if not self._writer.is_open:
            return
        begun = time.perf_counter()
        plain = {}
        for name, value in values.items():
            try:
                plain[name] = self._now_or_later(value)
            except Exception as error:
                self._warnings.note(f"log({name}=…)", error, "it is left out")
        self._writer.values(plain, looked_at=self._recording.measured)
        self._logging += time.perf_counter() - begun

    def _now_or_later(self, value: Any) -> Any:
        """Read a number on the CPU; leave a tensor on a device to the writer's thread."""
        if hasattr(value, "detach"):
            value = value.detach()
        # Use torch only if it is imported already, or the tensor is on a GPU.
        if hasattr(value, "is_cuda") and (self._capture is not None or value.is_cuda):
            if self._readout is None:
                from gradmidi.capture.readout import Readout

                self._readout = Readout()
            later = self._readout.later(value)
            if later is not value:
                return later
        if hasattr(value, "item") and str(getattr(value, "device", "cpu")) == "cpu":
            return value.item()
        return value

    def mark(self, text: str) -> None:
        """Write a text with the current time to the log: ``ears.mark("epoch 2")``."""
        self._writer.mark(text_of(text))

    @contextlib.contextmanager
    def pause(self, text: str = "pause") -> Iterator[None]:
        """Log a pause, in which no steps come, for the block: ``with ears.pause("eval"):``."""
        self._writer.pause(text_of(text), begins=True)
        try:
            yield
        finally:
            self._writer.pause(text_of(text), begins=False)

    def capture(self) -> None:
        """Measure the current gradients as one step; for loops without an optimizer.

        Call it after `backward` and before the update. Errors while measuring are counted, not
        raised.

        Raises
        ------
        CaptureError
            If the run was opened by `record`, which has no model.
        """
        if self._capture is None:
            raise CaptureError("record() has no model to measure; call frame() with the norms")
        self._capture.look()

    def clip_grad_norm_(
        self,
        max_norm: float,
        norm_type: float = 2.0,
        *,
        parameters: "Tensor | Iterable[Tensor] | None" = None,
        error_if_nonfinite: bool = False,
        foreach: bool | None = None,
    ) -> "Tensor":
        """Clip the gradients exactly as torch does, and measure the norms in the same pass.

        The norms in the log are from before clipping. Measuring and clipping together take as long
        as clipping alone.

        Parameters
        ----------
        max_norm : float
            Largest allowed norm of all gradients together.
        norm_type : float, default 2.0
            Order of this norm; ``inf`` for the largest absolute value.
        parameters : Tensor or iterable of Tensor, optional
            The parameters to clip; by default all of the model's.
        error_if_nonfinite : bool, default False
            Raise an error if the norm of all gradients is nan or infinite.
        foreach : bool, optional
            As for `torch.nn.utils.clip_grad_norm_`.

        Returns
        -------
        Tensor
            The norm of all gradients together, before clipping.

        Raises
        ------
        CaptureError
            If the run was opened by `record`, which has no model.
        RuntimeError
            If `error_if_nonfinite`, as torch does.

        Examples
        --------
        >>> import tempfile, torch, gradmidi
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with gradmidi.listen(model, optimizer, out=tempfile.mkdtemp() + "/a", files=()) as ears:
        ...     model(torch.full((1, 2), 100.0)).square().mean().backward()
        ...     total = ears.clip_grad_norm_(1.0)
        ...     optimizer.step()
        >>> frame = next(gradmidi.read(ears.folder).frames())
        >>> round(float(frame.norms[0] / total), 5)
        1.0
        """
        if self._capture is None:
            raise CaptureError("record() has no model whose gradients could be clipped")
        return self._capture.clip_grad_norm_(
            max_norm, norm_type, parameters, error_if_nonfinite, foreach
        )

    def _arrange(self, layers: tuple[Layer, ...]) -> None:
        self.layers = layers

    # -- the end -------------------------------------------------------------------------------

    def close(self, reason: str = "closed") -> None:
        """Write the end of the run, then its files. May be called twice.

        This waits at most 2 seconds for the log and at most 30 seconds for the files, which are
        written by another process. That process may continue after this method has returned.
        Ctrl-C ends the wait; KeyboardInterrupt is raised when the log is complete.

        Parameters
        ----------
        reason : str, default "closed"
            Written into the log.
        """
        self._close(reason, wait=True)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self.close()
        else:
            self._close(_reason(error), wait=False)

    def _exit(self) -> None:
        # Python stores the exception that ended the program here.
        error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
        if error is None:
            self.close("exit")
        else:
            self._close(_reason(error), wait=False)

    def _close(self, reason: str, *, wait: bool) -> None:
        if self._closed or not self._writer.is_open:
            return
        with DeferredInterrupt() as interrupt:
            # Only now: after an interrupt before this line, the end of the program closes the run.
            self._closed = True
            atexit.unregister(self._exit)
            seconds = self._writer.seconds
            cost = 0.0
            if self._capture is not None:
                cost = self._capture.cost + self._logging
                self._capture.detach(quiet=not wait)
            if self.rank_file is not None:
                self.rank_file.close()
            self._writer.close(reason, 0.0)
            interrupt.wait(lambda s: self._writer.close(reason, s), FLUSH_SECONDS, 2)
            there = self._writer.steps and self._writer.is_there
            rendering = self._files.start() if there else None
            upload = self._upload if there and wait else None
            if upload is not None:
                upload.start()
            for feed in self._outputs.feeds:
                try:
                    feed.close(FEED_SECONDS)
                except Exception as error:
                    self._warnings.note("live output", error, "the files are still written")
            cost += self._writer.cost if cost else 0.0
            report(self._writer, self.folder, self._warnings, seconds=seconds, cost=cost)
            until = time.monotonic() + (FILES_SECONDS if wait else 0.0)
            if rendering is not None:
                self._files.finish(rendering, interrupt, until - time.monotonic())
            if upload is not None:
                upload.finish(interrupt, until - time.monotonic())
            elif self._upload is not None:
                self._upload.cancel(
                    f"the run ended with {reason!r}" if not wait else "no step was recorded"
                )


def _reason(error: BaseException) -> str:
    first = (text_of(error).splitlines() or [""])[0]
    words = f"exception: {type(error).__name__}" + (f": {first}" if first else "")
    return words[:REASON_LENGTH]
