"""Base class of the framework callbacks: options, open run, marks and pauses."""

import contextlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from gradmidi.listener.listener import Listener
from gradmidi.options import Options

__all__ = ["Callback", "on_first_use"]


class Callback:
    """Base class of every framework's callback.

    Parameters
    ----------
    **options
        The fields of `gradmidi.options.Options` except those in `without`; `inspect.signature` and
        `help` list them.

    Raises
    ------
    CaptureError
        If an option is unknown.
    GradmidiError
        If a value is not allowed.
    """

    without: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.ears: Listener | None = None
        self._options = Options.given(options, without=self.without)
        self._pause = contextlib.ExitStack()

    def _from(self, step: int) -> Options:
        """Return the options with the framework's count of steps, unless the user gave one."""
        return (
            self._options if self._options.step is not None else replace(self._options, step=step)
        )

    def _mark(self, text: str) -> None:
        if self.ears is not None:
            self.ears.mark(text)

    def _begin_pause(self, text: str) -> None:
        self._pause.close()
        if self.ears is not None:
            self._pause.enter_context(self.ears.pause(text))

    def _end_pause(self) -> None:
        self._pause.close()

    def _close(self, error: BaseException | None = None) -> None:
        self._pause.close()
        ears, self.ears = self.ears, None
        if ears is not None:
            ears.__exit__(None if error is None else type(error), error, None)


def on_first_use(own: type[Callback], base: Callable[[], type]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module that creates its `GradMidi` on first access.

    The framework is not imported earlier. The class can be pickled, because it is an attribute of
    its module.

    Parameters
    ----------
    own : type
        Class with the callback's methods and documentation.
    base : callable
        Imports the framework and returns the base class of its callbacks.
    """

    def get(name: str) -> Any:
        if name != "GradMidi":
            raise AttributeError(f"module {own.__module__!r} has no attribute {name!r}")
        parameters = Options.signature(without=own.without)
        body = {
            "__module__": own.__module__,
            "__qualname__": name,
            "__doc__": own.__doc__,
            "__signature__": inspect.Signature(parameters),
        }
        made = type(name, (own, base()), body)
        vars(sys.modules[own.__module__])[name] = made
        return made

    return get
