"""Transformers: a callback that listens while a `Trainer` trains.

The norms are measured before the Trainer clips, which it does by default, at 1.0.
"""

from typing import Any

from gradmidi.base.environment import framework
from gradmidi.base.messages import say
from gradmidi.integrations.callback import Callback, on_first_use
from gradmidi.listener.listen import listen_with

__all__ = ["GradMidi"]  # noqa: F822  created by __getattr__ on first access

LOGGED = {"loss": "loss", "learning_rate": "lr", "grad_norm": "grad_norm"}
"""Maps the Trainer's names of logged values to names in a run log."""


class _Callback(Callback):
    """Listen to a Trainer: ``Trainer(…, callbacks=[GradMidi(out="runs/a")])``.

    Epochs become marks; evaluating and saving become pauses. The loss and the learning rate are
    logged with a step's norms when the Trainer logs them, every `logging_steps`. Steps have the
    numbers of ``state.global_step``. With several processes, only rank 0 opens a run.

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
        If an option is unknown, or Transformers 4.46 or newer is not installed.
    GradmidiError
        If an option's value is not allowed.
    """

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Open the run."""
        self._close()
        for name in ("deepspeed", "fsdp"):
            if getattr(args, name, None):
                if state.is_world_process_zero:
                    say(f"{name} shards gradients over processes: this run is not recorded")
                return
        self.ears = listen_with(model, optimizer, self._from(state.global_step))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Log the values that the Trainer logs."""
        found = {own: logs[name] for name, own in LOGGED.items() if name in (logs or {})}
        if self.ears is not None and found:
            self.ears.log(**found)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the epoch."""
        self._end_pause()
        self._mark(f"epoch {int(state.epoch or 0) + 1}")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the pause."""
        self._end_pause()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin a pause if the Trainer evaluates or saves next."""
        if control.should_evaluate or control.should_save:
            self._begin_pause("evaluation" if control.should_evaluate else "saving")

    on_epoch_end = on_step_end

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the run, and write its files."""
        self._close()


__getattr__ = on_first_use(
    _Callback, lambda: framework("transformers", "transformers", "4.46").TrainerCallback
)
