"""Hear neural networks train: gradient norms as MIDI, OSC and sound."""

from typing import TYPE_CHECKING, Any

from gradmidi.errors import CaptureError, GradmidiError, PortError, PresetError, RunLogError

if TYPE_CHECKING:
    from gradmidi._render import render
    from gradmidi.listener.listen import listen, record
    from gradmidi.music.score import compose
    from gradmidi.run import read

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

_MODULES = {
    "compose": "music.score",
    "listen": "listener.listen",
    "read": "run",
    "record": "listener.listen",
    "render": "_render",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing gradmidi costs nothing."""
    if name == "__version__":
        from importlib.metadata import version

        return version("gradmidi")
    if name not in _MODULES:
        raise AttributeError(f"module 'gradmidi' has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f"gradmidi.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
