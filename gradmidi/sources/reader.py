"""What every reader of another tool's log does: return the rows that were added."""

from typing import Protocol

from gradmidi.sources.rows import Row, Table

__all__ = ["Reader", "table_of"]


class Reader(Protocol):
    """Reads the log of another tool, finished or growing."""

    clipping: str
    """See `gradmidi.log.Header`."""

    repeats: bool
    """Whether a step that is there twice is a correction of the first, not another step."""

    ending: str
    """How the run has ended, if the log says so; else empty."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns so far, in their order."""

    @property
    def counters(self) -> tuple[str, ...]:
        """Columns of step numbers, best first; empty if rows are counted."""

    @property
    def notes(self) -> list[str]:
        """Messages to the user about what was left out or changed, so far."""

    @property
    def missing(self) -> bool:
        """Whether the log is gone."""

    def poll(self, *, whole: bool = False) -> list[Row]:
        """Return the next rows; an empty list if there are none now.

        Parameters
        ----------
        whole : bool, default False
            Whether the log is finished, so that its last line is complete.
        """

    def close(self) -> None:
        """Close all files."""


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
    return Table(
        reader.columns, rows, reader.counters, reader.notes, reader.clipping, reader.repeats
    )


def _is_void(row: Row, purge: Row) -> bool:
    """Return whether a row is of a step that a later process repeats."""
    step, first = row.counts[0], purge.counts[0]
    if not isinstance(step, float) or not isinstance(first, float):
        return False
    return step >= first and (row.t or 0.0) < (purge.t or 0.0)
