"""The file sink for words: a run told in plain lines, beside its sound."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from gradmidi.base.files import WholeFile
from gradmidi.music.events import Event

__all__ = ["TextFile"]


class TextFile:
    """Writes lines of text, whole at `close` or not at all.

    Parameters
    ----------
    path : Path
        The file.
    lines : iterable of str
        Read at `close`.
    """

    def __init__(self, path: Path, lines: Iterable[str]) -> None:
        self.path = path
        self._lines = lines

    def send(self, events: Sequence[Event]) -> None:
        """Take events; the text is of the run itself, not of what is played."""

    def close(self) -> None:
        """Write the lines."""
        with WholeFile(self.path) as new:
            new.file.write("".join(f"{line}\n" for line in self._lines).encode())

    def abort(self) -> None:
        """Write no file."""
