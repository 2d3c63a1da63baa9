"""Messages to the user: the logger ``gradmidi``, and warnings given once and counted."""

import contextlib
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator

__all__ = ["LOGGER", "Warnings", "messages_to", "printable", "say", "text_of", "warn"]

LOGGER = logging.getLogger("gradmidi")


def printable(text: str) -> str:
    r"""Write characters that control a terminal as escapes, so that a line is printed as it is.

    Examples
    --------
    >>> printable("fc1 größer"), printable("a\x1b[2Jb\nc\u202e")
    ('fc1 größer', 'a\\x1b[2Jb\\nc\\u202e')
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\u00a0" else ascii(c)[1:-1] for c in text)


def text_of(value: object) -> str:
    """Return ``str(value)``, or the name of its type if that fails.

    Examples
    --------
    >>> class Odd:
    ...     def __str__(self):
    ...         raise ValueError
    >>> text_of(3), text_of(Odd())
    ('3', 'Odd')
    """
    try:
        return str(value)
    except Exception:
        return type(value).__name__


def say(text: str, level: int = logging.INFO) -> None:
    """Log one line for the user to the logger ``gradmidi``. Never raises.

    If no logging is configured for messages of this level, the line goes to stderr as
    ``gradmidi: TEXT``, unless the environment has ``GRADMIDI_QUIET=1``. A handler or a level set
    on the logger ``gradmidi`` replaces that. If the logger or all logging is disabled, nothing
    is printed.
    """
    with contextlib.suppress(Exception):
        text = printable(text)
        if LOGGER.hasHandlers() and LOGGER.isEnabledFor(level):
            LOGGER.log(level, "%s", text)
        elif not (
            LOGGER.handlers
            or LOGGER.level
            or LOGGER.disabled
            or LOGGER.manager.disable >= level
            or os.environ.get("GRADMIDI_QUIET") == "1"
        ):
            print(f"gradmidi: {text}", file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Log one line for the user as a warning, see `say`."""
    say(text, logging.WARNING)


@contextlib.contextmanager
def messages_to(take: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Send every message to `take`, and nowhere else, while the block runs."""
    handler = _Handler(take)
    before = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before[0])
        LOGGER.propagate = before[1]


class _Handler(logging.Handler):
    def __init__(self, take: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(record)


class Warnings:
    """Counts run-time errors by kind, and warns about the first of each kind.

    Attributes
    ----------
    counts : Counter
        How often each kind occurred.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def note(self, kind: str, error: object, then: str) -> None:
        """Count an error of `kind`; warn about the first, and say what happens `then`."""
        self.counts[kind] += 1
        if self.counts[kind] == 1:
            name = f"{type(error).__name__}: " if isinstance(error, Exception) else ""
            warn(f"{kind}: {name}{text_of(error)}; {then}")
