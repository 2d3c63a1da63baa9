"""Read a TensorBoard folder: the event files of one run, of one writer or several."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from gradmidi.errors import RunLogError
from gradmidi.sources.reader import Reader
from gradmidi.sources.rows import Row
from gradmidi.sources.tfevents import Event, EventFile
from gradmidi.text.words import count

__all__ = ["PARTS", "PATTERN", "TensorBoardReader"]

PATTERN = "*tfevents*"
"""Names of event files."""

PARTS = frozenset({"train", "training", "validation", "valid", "val", "eval", "test"})
"""Names of folders that hold a part of a run, not a run of their own; Keras makes such folders."""

SCAN_SECONDS = 1.0
"""How often to look for new files."""

_SECONDS = re.compile(r"tfevents\.(\d+)")


class TensorBoardReader(Reader):
    """Reads the event files in a folder and below it, as one run.

    A folder below the run's is a writer of its own, as ``add_scalars`` and Keras make them; its
    tags get its name in front. Files of one writer are read one after another.

    Parameters
    ----------
    path : Path
        A run's folder, or one event file.
    clock : callable
        Returns monotonic seconds.

    Raises
    ------
    RunLogError
        If a file cannot be opened.
    """

    counters = ("step",)

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(path)
        self._clock = clock
        self._writers: dict[Path, list[EventFile]] = {}
        self._opened: set[Path] = set()
        self._done: dict[Path, int] = {}
        self._tags: dict[tuple[Path, str], str] = {}
        self._next = clock()
        self._scan()

    @property
    def columns(self) -> tuple[str, ...]:
        """All tags so far."""
        return tuple(dict.fromkeys(self._tags.values()))

    @property
    def notes(self) -> list[str]:
        """Messages about damaged records."""
        return [
            f"{file.path}: {count(file.damaged, 'damaged record')} skipped, the first at byte "
            f"{file.first_damaged}"
            for files in self._writers.values()
            for file in files
            if file.damaged
        ]

    def poll(self, *, whole: bool = False) -> list[Row]:
        """Return the next rows, see `Reader`."""
        if self._clock() >= self._next:
            self._scan()
        rows: list[Row] = []
        for folder, files in self._writers.items():
            # Only the newest file grows, so the ones before it are read to their ends first.
            first = self._done[folder]
            for number in range(first, len(files)):
                events = files[number].poll()
                for event in events:
                    self._add(event, folder, number > 0, rows)
                if events:
                    break
                if number < len(files) - 1:
                    self._done[folder] = number + 1
        return rows

    def close(self) -> None:
        """Close all files."""
        for files in self._writers.values():
            for file in files:
                file.close()

    def _scan(self) -> None:
        """Open the files that are new."""
        self._next = self._clock() + SCAN_SECONDS
        paths = [self._path] if self._path.is_file() else self._path.rglob(PATTERN)
        new = [path for path in paths if path not in self._opened and path.is_file()]
        for path in sorted(new, key=_order):
            try:
                file = EventFile(path)
            except RunLogError:
                # A process may have removed the file since; it is tried again if it is there.
                if not self._opened and len(new) == 1:
                    raise
                continue
            self._opened.add(path)
            self._writers.setdefault(path.parent, []).append(file)
            self._done.setdefault(path.parent, 0)

    def _add(self, event: Event, folder: Path, resumed: bool, rows: list[Row]) -> None:
        counts = (float(event.step),)
        if event.start:
            where = f"the start of a process at step {event.step}"
            rows.append(Row(where, counts, event.seconds, {}, purges=True))
        for tag, value in event.values.items():
            name = self._tags.get((folder, tag)) or self._name(folder, tag)
            where = f"step {event.step} of {tag!r}"
            rows.append(Row(where, counts, event.seconds, {name: value}, name, resumed))

    def _name(self, folder: Path, tag: str) -> str:
        """Name a tag; of a writer below the run's folder, with the writer's name."""
        below = (
            ""
            if folder in (self._path, self._path.parent)
            else str(folder.relative_to(self._path).as_posix())
        )
        # ``add_scalars`` names the folder by the tag and the scalar.
        own = tag.replace("/", "_") + "_"
        name = f"{tag}/{below.removeprefix(own)}" if below.startswith(own) else f"{below}/{tag}"
        return self._tags.setdefault((folder, tag), name if below else tag)


def _order(path: Path) -> tuple[int, str]:
    """Sort files by the time in their names."""
    match = _SECONDS.search(path.name)
    return (int(match[1]) if match else 0, path.name)
