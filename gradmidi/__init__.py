"""Hear neural networks train: gradient norms as MIDI, OSC and sound.

In training: `listen` for PyTorch, `record` for plain numbers. Afterwards: `read` a run, `describe`
it, find its `faults`, `render` it to files, `compose` it to events, `compare` runs, `decode` a MIDI
file, or `import_log` what another tool has logged.
"""

from typing import TYPE_CHECKING, Any

from gradmidi.errors import CaptureError, GradmidiError, PortError, PresetError, RunLogError

if TYPE_CHECKING:
    from gradmidi._render import render
    from gradmidi.comparison.compare import compare
    from gradmidi.detection.history import Fault
    from gradmidi.listener.listen import listen, record
    from gradmidi.listener.listener import Listener
    from gradmidi.log import Layer
    from gradmidi.music.events import Alarm, Bend, Control, End, Mark, Off, On, Step
    from gradmidi.music.preset import Preset
    from gradmidi.music.score import compose
    from gradmidi.music.voices import Voice
    from gradmidi.run import Run, describe, faults, read
    from gradmidi.sources.opened import import_log
    from gradmidi.text.decode import decode

__all__ = [
    "Alarm",
    "Bend",
    "CaptureError",
    "Control",
    "End",
    "Fault",
    "GradmidiError",
    "Layer",
    "Listener",
    "Mark",
    "Off",
    "On",
    "PortError",
    "Preset",
    "PresetError",
    "Run",
    "RunLogError",
    "Step",
    "Voice",
    "compare",
    "compose",
    "decode",
    "describe",
    "faults",
    "import_log",
    "listen",
    "read",
    "record",
    "render",
]

_MODULES = {
    "compare": "comparison.compare",
    "compose": "music.score",
    "decode": "text.decode",
    "describe": "run",
    "Fault": "detection.history",
    "faults": "run",
    "import_log": "sources.opened",
    "Layer": "log",
    "listen": "listener.listen",
    "Listener": "listener.listener",
    "Preset": "music.preset",
    "read": "run",
    "record": "listener.listen",
    "render": "_render",
    "Run": "run",
    "Voice": "music.voices",
    **dict.fromkeys(
        ("Alarm", "Bend", "Control", "End", "Mark", "Off", "On", "Step"), "music.events"
    ),
}
"""Where each public name is defined."""


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
