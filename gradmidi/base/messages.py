"""Run-time trouble: counted, told of once, told again at the end, and never raised."""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable

__all__ = ["Troubles", "say"]


def say(text: str) -> None:
    """Say one line on stderr, if there is one."""
    with contextlib.suppress(Exception):
        print(f"gradmidi: {text}", file=sys.stderr, flush=True)


class Troubles:
    """Counts what went wrong at run time, and says the first of each kind on stderr.

    Parameters
    ----------
    say : callable, optional
        Takes one line of text; by default it goes to stderr.

    Attributes
    ----------
    counts : Counter
        How often each kind happened.
    """

    def __init__(self, say: Callable[[str], None] = say) -> None:
        self.counts: Counter[str] = Counter()
        self._say = say

    def note(self, kind: str, error: object, then: str) -> None:
        """Count one more of `kind`; the first is told with what happens `then`."""
        self.counts[kind] += 1
        if self.counts[kind] == 1:
            name = f"{type(error).__name__}: " if isinstance(error, Exception) else ""
            self._say(f"{kind}: {name}{error}; {then}")
