"""What a run has that can be heard: logged values, and sizes of updates."""

from collections.abc import Sequence
from pathlib import Path

from gradmidi.errors import RunLogError
from gradmidi.log import RunLog
from gradmidi.log.values import chosen
from gradmidi.music.preset import Preset
from gradmidi.music.values import MOST_VALUES
from gradmidi.music.valuevoices import fitted

__all__ = ["check_values", "count_updates", "no_updates", "value_names"]

MOST_SHOWN = 15
"""Most names in an error message."""


def count_updates(log: RunLog) -> int:
    """Return how many steps of a run have sizes of updates; raise RunLogError if none has."""
    steps = sum(frame.updates is not None for frame in log.frames())
    if not steps:
        raise no_updates(log.path)
    return steps


def no_updates(source: str | Path) -> RunLogError:
    """Return the error for a source without sizes of updates."""
    return RunLogError(f"{source} holds no sizes of updates; listen(…, updates=10) measures them")


def check_values(log: RunLog, which: Sequence[str]) -> None:
    """Raise RunLogError if a name or a pattern matches no logged value of a run."""
    known = log.logged if which else ()
    for pattern in which:
        if not any(chosen(name, (pattern,)) for name in known):
            shown = ", ".join(known[:MOST_SHOWN]) or "none"
            raise RunLogError(
                f"{log.path}: no logged value is called {pattern!r}; there are: {shown}"
            )


def value_names(log: RunLog, preset: Preset) -> list[str]:
    """Return the values of a run that have a voice, in the order in which they appear."""
    which = fitted(preset, log.header).values.which
    if log.layers and not which:
        return []
    return [name for name in log.logged if chosen(name, which)][:MOST_VALUES]
