"""What the other processes of one training have in a Listener's place: nothing is heard twice."""

import atexit
import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradmidi.base.messages import say
from gradmidi.listener.listener import Listener, Row

if TYPE_CHECKING:
    from torch import Tensor

    from gradmidi.capture.capture import Capture

__all__ = ["Silent"]


class Silent(Listener):
    """Takes all that a Listener takes; opens no port and writes no file.

    Of a model that is spread over processes it looks at this one's part, for the first process
    to hear.

    Parameters
    ----------
    capture : Capture
        The model.
    out : path, optional
        Where the first process keeps the run, if that was said.

    Attributes
    ----------
    folder : Path
        `out`, or ``runs``: the first process alone knows which folder in it.
    """

    def __init__(self, capture: "Capture", out: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path("runs" if out is None else out)
        self.layers = capture.layers
        self.step = 0
        self._part = capture
        self._told = False
        atexit.register(self.close)

    @property
    def live(self) -> None:
        """None: nothing sounds here."""
        return

    @property
    def bytes_per_step(self) -> float:
        """0.0: nothing is written here."""
        return 0.0

    def frame(self, norms: Any, *, loss: Any = None, lr: Any = None, step: Any = None) -> None:
        """Do nothing."""

    def log(self, **values: Any) -> None:
        """Do nothing."""

    def mark(self, text: str) -> None:
        """Do nothing."""

    @contextlib.contextmanager
    def pause(self, text: str = "pause") -> Iterator[None]:
        """Do nothing."""
        yield

    def capture(self) -> None:
        """Look at this process's part, if there is one."""
        self._part.look()

    def clip_grad_norm_(
        self,
        max_norm: float,
        norm_type: float = 2.0,
        *,
        parameters: "Tensor | Iterable[Tensor] | None" = None,
        error_if_nonfinite: bool = False,
        foreach: bool | None = None,
    ) -> "Tensor":
        """Clip, as the first process does."""
        return self._part.clip_grad_norm_(
            max_norm, norm_type, parameters, error_if_nonfinite, foreach
        )

    # -- what capture calls: `gradmidi.capture.Taker` -----------------------------------------

    def take(self, norms: Any, row: Row, skipped: Any = None) -> None:
        """Count a step."""
        self.step += 1

    def skip(self) -> None:
        """Count a step."""
        self.step += 1

    def fail(self, error: Exception) -> None:
        """Count a step, and tell the first that could not be looked at."""
        self.step += 1
        if not self._told:
            self._told = True
            say(f"capture: {type(error).__name__}: {error}; training goes on")

    def see_clipping(self) -> None:
        """Do nothing."""

    def miss_clipping(self) -> None:
        """Do nothing."""

    def replace(self) -> None:
        """Make room for another listener on the same optimizer."""
        self.close()

    # -- the end -------------------------------------------------------------------------------

    def close(self, reason: str = "closed") -> None:
        """Leave no hook behind."""
        atexit.unregister(self.close)
        self._part.detach()

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
