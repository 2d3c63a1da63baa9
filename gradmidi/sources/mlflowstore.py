"""Read a run in MLflow's file store: a file of lines ``time value step`` for each metric."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from gradmidi.errors import RunLogError
from gradmidi.sources.growing import TextFile
from gradmidi.sources.reader import Reader
from gradmidi.sources.rows import Row

__all__ = ["MlflowReader"]

SCAN_SECONDS = 1.0
"""How often to look for new metrics and for the end of the run."""

_ENDED = re.compile(r"^end_time: \d+", re.MULTILINE)
_STATUS = re.compile(r"^status: '?(\w+)", re.MULTILINE)
STATUSES = {"3": "closed", "4": "failed", "5": "killed"}
"""Words for the numbers of a run's status, in MLflow's ``service.proto``."""


class MlflowReader(Reader):
    """Reads the metrics of a run.

    Parameters
    ----------
    path : Path
        The run's folder, which holds ``meta.yaml`` and ``metrics``.
    clock : callable
        Returns monotonic seconds.

    Raises
    ------
    RunLogError
        Also by `poll`: if a file cannot be read, or a line is none of a metric.
    """

    counters = ("step",)

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(path)
        self._clock = clock
        self._metrics: dict[str, TextFile] = {}
        self._scan()

    @property
    def columns(self) -> tuple[str, ...]:
        """All metrics so far."""
        return tuple(self._metrics)

    def poll(self, *, whole: bool = False) -> list[Row]:
        """Return the next rows, see `Reader`."""
        ended = self._clock() >= self._next and self._scan()
        rows = [
            self._row(name, number, line)
            for name, file in self._metrics.items()
            for number, line in enumerate(file.poll(whole=whole), 1)
        ]
        if ended and not rows:
            self.ending = ended
        return rows

    def close(self) -> None:
        """Close all files."""
        for file in self._metrics.values():
            file.close()

    def _scan(self) -> str:
        """Open the metrics that are new; return how the run has ended, if it has."""
        self._next = self._clock() + SCAN_SECONDS
        folder = self._path / "metrics"
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if name not in self._metrics and path.is_file():
                self._metrics[name] = TextFile(path, "metric of MLflow")
        try:
            meta = (self._path / "meta.yaml").read_text(encoding="utf-8")
        except OSError:
            return ""
        status = _STATUS.search(meta)
        ended = _ENDED.search(meta) is not None and status is not None
        return STATUSES.get(status[1], "closed") if ended and status is not None else ""

    def _row(self, name: str, number: int, line: str) -> Row:
        try:
            milliseconds, value, *step = line.split()
            count = float(step[0]) if step else None
            where = f"step {step[0] if step else '?'} of {name!r}"
            return Row(where, (count,), float(milliseconds) / 1000.0, {name: float(value)}, name)
        except ValueError as error:
            raise RunLogError(
                f"{self._path / 'metrics' / name}: {line[:40]!r} is no line of a metric of MLflow"
            ) from error
