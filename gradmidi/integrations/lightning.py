"""Lightning: a callback that listens while `Trainer.fit` trains.

The norms are those before Lightning clips, and after mixed precision's scale is undone.
"""

import contextlib
import sys
from importlib.util import find_spec
from typing import Any

from gradmidi.base.versions import adapter, framework
from gradmidi.listener.listen import Listener, listen_with
from gradmidi.options import Options

__all__ = ["GradMidi"]  # noqa: F822  made by __getattr__ when it is first asked for


class _Callback:
    """Listen to what Lightning trains: ``Trainer(callbacks=[GradMidi(out="runs/a")])``.

    Epochs become marks, validation becomes a pause, and each step's loss and learning rate
    stand beside its norms. Of several processes only the first opens a run.

    Parameters
    ----------
    **options
        Those of `gradmidi.listen`: ``out``, ``preset``, ``midi``, ``osc`` and so on.

    Attributes
    ----------
    ears : Listener or None
        The run while it is open, for values and marks of your own.

    Raises
    ------
    CaptureError
        If there is no such option, or no Lightning of version 2.0 or newer.
    """

    def __init__(self, **options: Any) -> None:
        self.ears: Listener | None = None
        self._options = Options.given(options)
        self._run = contextlib.ExitStack()
        self._pause = contextlib.ExitStack()
        self._step = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the run."""
        self._step = trainer.global_step
        self.ears = self._run.enter_context(
            listen_with(pl_module, trainer.optimizers, self._options)
        )

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the loss and the learning rate, if this batch made a step."""
        if self.ears is None or trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        values = {"loss": loss, "lr": trainer.optimizers[0].param_groups[0]["lr"]}
        self.ears.log(**{name: value for name, value in values.items() if value is not None})

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Mark the epoch."""
        if self.ears is not None:
            self.ears.mark(f"epoch {trainer.current_epoch + 1}")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Tell that no step is to be expected."""
        if self.ears is not None:
            self._pause.enter_context(self.ears.pause("validation"))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Tell that steps are to be expected again."""
        self._pause.close()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Close the run, and make its files."""
        self.ears = None
        self._run.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Close the run, and say in it what ended it."""
        self.ears = None
        self._run.__exit__(type(exception), exception, exception.__traceback__)


def __getattr__(name: str) -> Any:
    if name != "GradMidi":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[name] = adapter(_Callback, _lightning().Callback, name)
    return made


def _lightning() -> Any:
    """Find Lightning under the one of its two names that the script uses, or that is there."""
    old = find_spec("pytorch_lightning") is not None and (
        find_spec("lightning") is None
        or ("pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules)
    )
    if old:
        return framework("pytorch_lightning", "pytorch-lightning", "2.0")
    return framework("lightning.pytorch", "lightning", "2.0")
