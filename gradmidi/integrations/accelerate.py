"""Accelerate: listen to a training loop that uses `Accelerator`.

The norms are measured before `Accelerator.clip_grad_norm_`, once for each update, also if gradients
are accumulated over several batches.
"""

from typing import TYPE_CHECKING, Any

from gradmidi.base.environment import framework
from gradmidi.listener.listen import Listener, listen_with
from gradmidi.options import Options

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

__all__ = ["listen"]


def listen(accelerator: Any, model: "Module", optimizer: "Optimizer", **options: Any) -> Listener:
    """Listen to a prepared model: ``with listen(accelerator, model, optimizer) as ears:``.

    With several processes, only rank 0 opens a run. Accelerate has no count of updates of its own;
    the steps have the numbers that the optimizer counts (Adam does), also after ``load_state``.
    With another optimizer, give ``step=`` or set ``ears.step``.

    Parameters
    ----------
    accelerator : accelerate.Accelerator
        The accelerator that prepared them. It is not used.
    model : Module
        The model that `prepare` returned.
    optimizer : Optimizer
        The optimizer that `prepare` returned.
    **options
        Options of `gradmidi.listen`: ``out``, ``preset``, ``midi``, ``osc`` and so on.

    Returns
    -------
    Listener

    Raises
    ------
    CaptureError
        If an option is unknown, or Accelerate 0.20 or newer is not installed.
    GradmidiError
        As `gradmidi.listen`.
    """
    framework("accelerate", "accelerate", "0.20")
    return listen_with(model, optimizer, Options.given(options), numbered=True)
