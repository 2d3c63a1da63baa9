"""Accelerate: listen to a training loop over `Accelerator`.

The norms are those before `Accelerator.clip_grad_norm_`, once an update, however many batches
an update takes.
"""

from typing import TYPE_CHECKING, Any

from gradmidi.base.versions import framework
from gradmidi.listener.listen import Listener, listen_with
from gradmidi.options import Options

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

__all__ = ["listen"]


def listen(accelerator: Any, model: "Module", optimizer: "Optimizer", **options: Any) -> Listener:
    """Listen to a prepared model: ``with listen(accelerator, model, optimizer) as ears:``.

    Of several processes only rank 0 opens a run.

    Parameters
    ----------
    accelerator : accelerate.Accelerator
        The one that prepared them; unused, the processes are found without it.
    model : Module
        The model that `prepare` returned.
    optimizer : Optimizer
        The optimizer that `prepare` returned.
    **options
        Those of `gradmidi.listen`: ``out``, ``preset``, ``midi``, ``osc`` and so on.

    Returns
    -------
    Listener

    Raises
    ------
    CaptureError
        If there is no such option, or no Accelerate of version 0.20 or newer.
    GradmidiError
        As `gradmidi.listen`.
    """
    framework("accelerate", "accelerate", "0.20")
    return listen_with(model, optimizer, Options.given(options))
