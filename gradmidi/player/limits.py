"""Times and numbers that bound the loop of the player."""

__all__ = [
    "END_SECONDS",
    "IDLE_SECONDS",
    "LINK_SECONDS",
    "LOOK_SECONDS",
    "MOST_ITEMS",
    "SENDING_SECONDS",
    "STALE_SECONDS",
    "STUCK_SECONDS",
]

IDLE_SECONDS = 0.05
"""The longest sleep of the loop."""

LINK_SECONDS = 0.01
"""The same with Ableton Link, where a change of tempo must be noticed soon."""

END_SECONDS = 1.5
"""How long the end of a run may last; then every note is ended."""

STUCK_SECONDS = 3.0
"""If the loop stands still for this long, the guard ends the process."""

SENDING_SECONDS = 0.5
"""The same while sending, since a native call that takes this long never returns. Elsewhere a busy
machine may delay the loop for longer."""

MOST_ITEMS = 1000
"""How many items are processed before the loop reads the clock again."""

LOOK_SECONDS = 0.2
"""How often the loop checks for its parent process and sends its status."""

STALE_SECONDS = 0.25
"""A note that is this late is left out."""
