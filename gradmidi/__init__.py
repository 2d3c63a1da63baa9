"""Hear neural networks train: gradient norms as MIDI, OSC and sound."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gradmidi.errors import CaptureError, GradmidiError, PortError, PresetError, RunLogError

if TYPE_CHECKING:
    from gradmidi.listener import listen, record
    from gradmidi.render import render
    from gradmidi.run import read
    from gradmidi.score import compose

__all__ = [
    "CaptureError",
    "GradmidiError",
    "PortError",
    "PresetError",
    "RunLogError",
    "compose",
    "listen",
    "read",
    "record",
    "render",
]

_ROOMS = {
    "compose": "score",
    "listen": "listener",
    "read": "run",
    "record": "listener",
    "render": "render",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing gradmidi costs nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("gradmidi")
    if name not in _ROOMS:
        raise AttributeError(f"module 'gradmidi' has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f"gradmidi.{_ROOMS[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


class _Package(ModuleType):
    """The package, some of whose functions are called as the module they live in is."""

    def __setattr__(self, name: str, value: Any) -> None:
        # The first import of `gradmidi.render`, from anywhere, would put that module here in
        # the place of the function.
        if not (name in _ROOMS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
