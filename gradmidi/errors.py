"""The exceptions that gradmidi raises.

    GradmidiError
    ├── PresetError(ValueError)     a preset or a rig has an invalid key or value
    ├── RunLogError(ValueError)     a run log cannot be read, or a run cannot be written
    ├── PortError(OSError)          a MIDI port, OSC address or sound card cannot be opened
    └── CaptureError(RuntimeError)  the model and optimizers cannot be listened to

A message says what was given, what is allowed and what to do next.
"""

__all__ = ["CaptureError", "GradmidiError", "PortError", "PresetError", "RunLogError"]


class GradmidiError(Exception):
    """Base class of all exceptions of gradmidi."""


class PresetError(GradmidiError, ValueError):
    """A preset or a rig has an unknown key, a wrong type or a value out of range."""


class RunLogError(GradmidiError, ValueError):
    """A run log is missing, empty, of another version, or cannot be written."""


class PortError(GradmidiError, OSError):
    """A MIDI port, an OSC address or a sound card could not be opened."""


class CaptureError(GradmidiError, RuntimeError):
    """The given model and optimizers cannot be listened to."""
