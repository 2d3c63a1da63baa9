"""Transformers: a callback that listens while a `Trainer` trains.

The norms are those before the Trainer clips, which it does at 1.0 unless told otherwise.
"""

import contextlib
from typing import Any

from gradmidi.base.messages import say
from gradmidi.base.versions import adapter, framework
from gradmidi.listener.listen import Listener, listen_with
from gradmidi.options import Options

__all__ = ["GradMidi"]  # noqa: F822  made by __getattr__ when it is first asked for

LOGGED = {"loss": "loss", "learning_rate": "lr", "grad_norm": "grad_norm"}
"""What the Trainer logs, and what it is called in a run log."""


class _Callback:
    """Listen to what a Trainer trains: ``Trainer(…, callbacks=[GradMidi(out="runs/a")])``.

    Epochs become marks, evaluating and saving become pauses. The loss and the learning rate
    stand beside a step's norms wherever the Trainer logs them, which is every `logging_steps`.
    Of several processes only the first opens a run.

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
    """

    def __init__(self, **options: Any) -> None:
        self.ears: Listener | None = None
        self._options = Options.given(options)
        self._run = contextlib.ExitStack()
        self._pause = contextlib.ExitStack()

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
        self._leave()
        for name in ("deepspeed", "fsdp"):
            if getattr(args, name, None):
                if state.is_world_process_zero:
                    say(f"{name} keeps each process's gradients to itself: this run is not heard")
                return
        self.ears = self._run.enter_context(listen_with(model, optimizer, self._options))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Log what the Trainer logs of a step."""
        found = {own: logs[name] for name, own in LOGGED.items() if name in (logs or {})}
        if self.ears is not None and found:
            self.ears.log(**found)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the epoch."""
        if self.ears is not None:
            self._pause.close()
            self.ears.mark(f"epoch {int(state.epoch or 0) + 1}")

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell that steps are to be expected again."""
        self._pause.close()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Tell that no step is to be expected while the Trainer evaluates or saves."""
        if self.ears is not None and (control.should_evaluate or control.should_save):
            self._pause.close()
            self._pause.enter_context(
                self.ears.pause("evaluation" if control.should_evaluate else "saving")
            )

    on_epoch_end = on_step_end

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the run, and make its files."""
        self._leave()

    def _leave(self) -> None:
        self._pause.close()
        self.ears = None
        self._run.close()


def __getattr__(name: str) -> Any:
    if name != "GradMidi":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    base = framework("transformers", "transformers", "4.46").TrainerCallback
    made = globals()[name] = adapter(_Callback, base, name)
    return made
