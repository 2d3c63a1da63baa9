"""The base classes of readers of other tools' logs, finished or growing."""

from pathlib import Path
from typing import Protocol

from gradmidi.sources.rows import Row, Table
from gradmidi.sources.settings import without_settings

__all__ = ["FileReader", "Reader", "table_of"]


class Reader:
    """Reads the log of another tool, finished or growing: the base class of all readers.

    A reader gives at least `poll`, and adds the names of its columns to `_names`.

    Parameters
    ----------
    path : Path
        The log, a file or a folder.
    """

    clipping: str = "unknown"
    """See `gradmidi.log.Header`."""

    repeats: bool = False
    """Whether a step that is there twice is a correction of the first, not another step."""

    printed: bool = False
    """Whether it is what a program printed, so that settings may stand before the values."""

    ending: str = ""
    """How the run has ended, if the log says so; else empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[str, None] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of values so far, in their order."""
        return tuple(self._names)

    @property
    def counters(self) -> tuple[str, ...]:
        """Columns of step numbers, best first; empty if rows are counted."""
        return ()

    @property
    def notes(self) -> list[str]:
        """Messages to the user about what was left out or changed, so far."""
        return []

    @property
    def missing(self) -> bool:
        """Whether the log is gone."""
        return not self._path.exists()

    def poll(self, *, whole: bool = False) -> list[Row]:
        """Return the next rows; an empty list if there are none now.

        Parameters
        ----------
        whole : bool, default False
            Whether the log is finished, so that its last line is complete.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close all files."""


class OpenFile(Protocol):
    """A file that a `FileReader` reads."""

    @property
    def missing(self) -> bool:
        """Whether the file is gone."""

    def close(self) -> None:
        """Close the file."""


class FileReader(Reader):
    """Reads a log that is one file, which stays open."""

    _file: OpenFile

    @property
    def missing(self) -> bool:
        """Whether the file is gone."""
        return self._file.missing

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def table_of(reader: Reader) -> Table:
    """Read a finished log."""
    rows: list[Row] = []
    try:
        while found := reader.poll(whole=True):
            for row in found:
                if row.purges:
                    rows = [each for each in rows if not _is_void(each, row)]
                else:
                    rows.append(row)
    finally:
        reader.close()
    columns = reader.columns
    if reader.printed:
        rows, columns = without_settings(rows, columns)
    return Table(
        columns,
        rows,
        reader.counters,
        reader.notes,
        reader.clipping,
        reader.repeats,
        reader.printed,
    )


def _is_void(row: Row, purge: Row) -> bool:
    """Return whether a row is of a step that a later process repeats."""
    step, first = row.counts[0], purge.counts[0]
    if not isinstance(step, float) or not isinstance(first, float):
        return False
    return step >= first and (row.t or 0.0) < (purge.t or 0.0)
