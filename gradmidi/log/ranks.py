"""What each process of a training writes about itself: ``rank-3.jsonl`` beside the run log.

A file holds a header for each time that the process was started, then lines of two kinds: how long
its own work took in a number of steps, and values of its own that were nan or infinite.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from gradmidi.log.decoding import MOST_STEP

__all__ = [
    "MOST_BYTES",
    "NotFinite",
    "RankLog",
    "RankReader",
    "Work",
    "encode_not_finite",
    "encode_rank",
    "encode_work",
    "file_name",
    "read_ranks",
]

VERSION = 1

MOST_BYTES = 1_000_000
"""Largest size of a file; nothing is read beyond it."""

MOST_RANKS = 4096
"""Files that are read."""

MOST_SECONDS = 1e6

_TIMES = "forward", "gradient", "step"
_NAME = re.compile(r"rank-(0|[1-9]\d{0,5})\.jsonl")


@dataclass(frozen=True, slots=True)
class Work:
    """How long a process took for its own work in each of some steps, without waiting for others.

    Parameters
    ----------
    first, last : int
        The steps.
    forward : float
        Median seconds from an update to the begin of the next forward pass; nan if not known.
    gradient : float
        Median seconds from an update to the end of the next backward pass; nan if not known.
    step : float
        Median seconds from an update to the next one.
    """

    first: int
    last: int
    forward: float
    gradient: float
    step: float


@dataclass(frozen=True, slots=True)
class NotFinite:
    """A value of a process that was nan or infinite, the first of its name.

    Parameters
    ----------
    step : int
        The step that it belongs to.
    name : str
        The name that it was logged by.
    value : float
        nan or infinite.
    """

    step: int
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class RankLog:
    """What a process wrote about itself in a run.

    Parameters
    ----------
    rank, ranks : int
        Its rank, and the number of processes.
    work : tuple of Work
        How long its work took, in the order of the steps.
    not_finite : tuple of NotFinite
        Its values that were nan or infinite.
    """

    rank: int
    ranks: int
    work: tuple[Work, ...] = ()
    not_finite: tuple[NotFinite, ...] = ()


def file_name(rank: int) -> str:
    """Return the name of a process's file."""
    return f"rank-{rank}.jsonl"


def encode_rank(rank: int, ranks: int, run: str, offset: int = 0) -> bytes:
    """Return the header.

    Parameters
    ----------
    rank, ranks : int
        The process's rank, and the number of processes.
    run : str
        When the run was started, as the run log's header has it.
    offset : int, default 0
        Of rank 0: by how much the numbers of its steps exceed the number of its updates. The others
        count updates.
    """
    fields = {"gradmidi_rank": VERSION, "rank": rank, "ranks": ranks, "run": run}
    return _line({**fields, "offset": offset} if offset else fields)


def encode_work(work: Work) -> bytes:
    """Return the line of a number of steps."""
    times = {"forward": work.forward, "gradient": work.gradient, "step": work.step}
    known = {name: None if math.isnan(each) else round(each, 6) for name, each in times.items()}
    return _line({"steps": [work.first, work.last], **known})


def encode_not_finite(found: NotFinite) -> bytes:
    """Return the line of a value that is nan or infinite."""
    return _line({"step": found.step, "name": found.name, "value": str(float(found.value))})


def _line(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields) + b"\n"


class RankReader:
    """Reads the files of all processes of a run, also while they grow. Nothing here raises.

    What is damaged, or of another run, is left out.

    Parameters
    ----------
    folder : Path
        The run's folder.
    runs : collection of str, optional
        When the run was started, and continued, as the headers of its log have it; by default
        lines of every run are read.
    """

    def __init__(self, folder: Path, runs: Collection[str] | None = None) -> None:
        self._folder = folder
        self._runs = runs
        self._files: dict[int, _File] = {}

    def read(self) -> tuple[RankLog, ...]:
        """Read what is new; return what each process wrote so far, in the order of the ranks."""
        try:
            names = [
                name for path in self._folder.iterdir() if (name := _NAME.fullmatch(path.name))
            ]
        except OSError:
            return ()
        for name in sorted(names, key=lambda each: int(each[1]))[:MOST_RANKS]:
            rank = int(name[1])
            file = self._files.setdefault(rank, _File(self._folder / name[0], rank, self._runs))
            with suppress(OSError):
                file.read()
        offsets = self._files[0].offsets if 0 in self._files else {}
        logs = (self._files[rank].log({} if rank == 0 else offsets) for rank in sorted(self._files))
        return tuple(log for log in logs if log is not None)


def read_ranks(folder: Path, runs: Collection[str] | None = None) -> tuple[RankLog, ...]:
    """Read the files of all processes once, see `RankReader`."""
    return RankReader(folder, runs).read()


class _File:
    """The file of one process, and what was read of it."""

    def __init__(self, path: Path, rank: int, runs: Collection[str] | None) -> None:
        self._path, self._rank, self._runs = path, rank, runs
        self._at = 0
        self._run = ""  # That of the last header; empty if it is another one.
        self._ranks = 0
        self._found: list[tuple[str, Work | NotFinite]] = []
        self.offsets: dict[str, int] = {}

    def log(self, offsets: Mapping[str, int]) -> RankLog | None:
        """Return what was read, steps increased by the run's offset; None if nothing is of it."""
        if self._ranks <= self._rank:
            return None
        work: list[Work] = []
        odd: dict[tuple[str, bool], NotFinite] = {}
        for run, found in self._found:
            more = offsets.get(run, 0)
            if isinstance(found, NotFinite):
                key = found.name, math.isnan(found.value)
                odd.setdefault(key, replace(found, step=found.step + more))
                continue
            new = replace(found, first=found.first + more, last=found.last + more)
            # Steps that are made again replace the earlier ones.
            while work and work[-1].last >= new.first:
                work.pop()
            work.append(new)
        return RankLog(self._rank, self._ranks, tuple(work), tuple(odd.values()))

    def read(self) -> None:
        """Read the complete lines that are new."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read(MOST_BYTES - self._at)
        end = data.rfind(b"\n") + 1
        self._at += end
        for fields in _objects(data[:end]):
            self._take(fields)

    def _take(self, fields: dict[str, Any]) -> None:
        if "gradmidi_rank" in fields:
            run = fields.get("run")
            self._run = ""
            if isinstance(run, str) and (self._runs is None or run in self._runs):
                self._run = run
                self._ranks = max(self._ranks, _whole(fields.get("ranks")) or 0)
                offset = fields.get("offset", 0)
                known = type(offset) is int and abs(offset) <= MOST_STEP
                self.offsets[run] = offset if known else 0
        elif self._run and (found := _work(fields) or _not_finite(fields)) is not None:
            self._found.append((self._run, found))


def _objects(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.split(b"\n"):
        with suppress(orjson.JSONDecodeError):
            fields = orjson.loads(line)
            if isinstance(fields, dict):
                yield fields


def _work(fields: dict[str, Any]) -> Work | None:
    steps = fields.get("steps")
    if not isinstance(steps, list) or len(steps) != 2:
        return None
    first, last = map(_whole, steps)
    times = [each for name in _TIMES if (each := _seconds(fields.get(name))) is not None]
    if first is None or last is None or last < first or len(times) < 3 or math.isnan(times[2]):
        return None
    return Work(first, last, *times)


def _not_finite(fields: dict[str, Any]) -> NotFinite | None:
    step, name, value = _whole(fields.get("step")), fields.get("name"), fields.get("value")
    if step is None or not isinstance(name, str) or value not in ("nan", "inf", "-inf"):
        return None
    return NotFinite(step, name, float(value))


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= MOST_STEP else None


def _seconds(value: Any) -> float | None:
    """Return a time, nan for null; None if it is not a time."""
    if value is None:
        return math.nan
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known and 0.0 <= value <= MOST_SECONDS else None
