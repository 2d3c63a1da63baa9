"""The exception tree: what a caller may catch, and nothing else.

    GradmidiError
    ├── PresetError(ValueError)     a preset or a rig holds something it must not
    ├── RunLogError(ValueError)     a run log cannot be read, or a run cannot be written
    ├── PortError(OSError)          a MIDI port, an OSC address or a sound card is not there
    └── CaptureError(RuntimeError)  a model and its optimizers cannot be listened to

Every message says what was given, what is allowed and what to do next.
"""

__all__ = ["CaptureError", "GradmidiError", "PortError", "PresetError", "RunLogError"]


class GradmidiError(Exception):
    """Base of every error that gradmidi raises on purpose."""


class PresetError(GradmidiError, ValueError):
    """A preset or a rig has an unknown key, a wrong type or a value out of range."""


class RunLogError(GradmidiError, ValueError):
    """A run log is missing, empty, of another version, or cannot be written."""


class PortError(GradmidiError, OSError):
    """A MIDI port, an OSC address or a sound card could not be opened."""


class CaptureError(GradmidiError, RuntimeError):
    """A model and its optimizers cannot be listened to as they were given."""
