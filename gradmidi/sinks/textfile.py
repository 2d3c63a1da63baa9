"""The file sink for words: a run told in plain lines, beside its sound."""

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

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
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.part")

    def send(self, events: Sequence[Event]) -> None:
        """Take events; the text is of the run itself, not of what is played."""

    def close(self) -> None:
        """Write the lines."""
        with self._temporary.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in self._lines)
        os.replace(self._temporary, self.path)

    def abort(self) -> None:
        """Leave no temporary file."""
        with contextlib.suppress(FileNotFoundError):
            self._temporary.unlink()
