"""Lightning: a callback that listens while `Trainer.fit` trains.

The norms are measured before Lightning clips, and after it removes the loss scale of mixed
precision.
"""

import sys
from importlib.util import find_spec
from typing import Any

from gradmidi.base.environment import framework
from gradmidi.integrations.callback import Callback, on_first_use
from gradmidi.listener.listen import listen_with

__all__ = ["GradMidi"]  # noqa: F822  created by __getattr__ on first access


class _Callback(Callback):
    """Listen to Lightning training: ``Trainer(callbacks=[GradMidi(out="runs/a")])``.

    Epochs become marks, validation becomes a pause, and each step's loss and learning rate are
    logged with its norms. Steps have the numbers of ``trainer.global_step``. With several
    processes, only rank 0 opens a run.

    Parameters
    ----------
    **options
        Options of `gradmidi.listen`: ``out``, ``preset``, ``midi``, ``osc`` and so on.

    Attributes
    ----------
    ears : Listener or None
        The open run, for values and marks of your own.

    Raises
    ------
    CaptureError
        If an option is unknown, or Lightning 2.0 or newer is not installed.
    GradmidiError
        If an option's value is not allowed.
    """

    _step = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the run."""
        self._close()
        self._step = trainer.global_step
        self.ears = listen_with(pl_module, trainer.optimizers, self._from(trainer.global_step))

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the loss and the learning rate, if this batch made a step."""
        if self.ears is None or trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        values = {"lr": trainer.optimizers[0].param_groups[0]["lr"]}
        if loss is not None:
            # Lightning has divided the loss by the number of batches of an update.
            values["loss"] = loss * trainer.accumulate_grad_batches
        self.ears.log(**values)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Mark the epoch."""
        self._mark(f"epoch {trainer.current_epoch + 1}")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin a pause, since no steps come during validation."""
        self._begin_pause("validation")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """End the pause."""
        self._end_pause()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the run, and write its files."""
        self._close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the run, and log the exception."""
        self._close(exception)


def _lightning() -> Any:
    """Import Lightning under the name that the script uses: `lightning` or `pytorch_lightning`."""
    old = find_spec("pytorch_lightning") is not None and (
        find_spec("lightning") is None
        or ("pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules)
    )
    if old:
        return framework("pytorch_lightning", "pytorch-lightning", "2.0")
    return framework("lightning.pytorch", "lightning", "2.0")


__getattr__ = on_first_use(_Callback, lambda: _lightning().Callback)
