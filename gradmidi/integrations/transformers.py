"""Transformers: a callback that listens while a `Trainer` trains.

The norms are those before the Trainer clips, which it does at 1.0 unless told otherwise.
"""

from typing import Any

from gradmidi.base.messages import say
from gradmidi.base.versions import framework
from gradmidi.integrations.callback import Callback, on_first_use
from gradmidi.listener.listen import listen_with

__all__ = ["GradMidi"]  # noqa: F822  made by __getattr__ when it is first asked for

LOGGED = {"loss": "loss", "learning_rate": "lr", "grad_norm": "grad_norm"}
"""The Trainer's names of logged values, and their names in a run log."""


class _Callback(Callback):
    """Listen to what a Trainer trains: ``Trainer(…, callbacks=[GradMidi(out="runs/a")])``.

    Epochs become marks, evaluating and saving become pauses. The loss and the learning rate
    stand beside a step's norms wherever the Trainer logs them, which is every `logging_steps`.
    Of several processes only rank 0 opens a run.

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
        If there is no such option, or no Transformers of version 4.46 or newer.
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
                    say(f"{name} keeps each process's gradients to itself: this run is not heard")
                return
        self.ears = listen_with(model, optimizer, self._options)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Log what the Trainer logs of a step."""
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
        """Begin a pause where the Trainer evaluates or saves next."""
        if control.should_evaluate or control.should_save:
            self._begin_pause("evaluation" if control.should_evaluate else "saving")

    on_epoch_end = on_step_end

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the run, and make its files."""
        self._close()


__getattr__ = on_first_use(
    _Callback, lambda: framework("transformers", "transformers", "4.46").TrainerCallback
)
