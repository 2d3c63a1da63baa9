"""Which process of a training was nan first, and which is slow, from what each wrote of itself."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from gradmidi.detection.history import Fault
from gradmidi.detection.kinds import SLOW
from gradmidi.log import FILE_NAME, Header, numbers_of
from gradmidi.log.blocks import Block
from gradmidi.log.ranks import NotFinite, RankLog, RankReader, Work, read_ranks

__all__ = ["RankFaults", "Slow", "SlowWatch", "first_ranks", "slow_ranks"]

RATIO = 1.5
"""A process is slow if its own work takes at least so many times as long as the others',"""

SHARE = 0.2
"""and if all processes wait for it, by this difference, for at least this share of each step,"""

SECONDS = 0.002
"""and for at least so long,"""

LINES = 3
"""and if this is so in so many lines of its file, one after another."""

RECENT = 8
"""Lines of each process that are looked at while the training goes on."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Processes that were slow in the same steps.

    Parameters
    ----------
    ranks : tuple of int
        Their ranks.
    first, last : int
        The steps.
    seconds, others : float
        Median time of their own work in a step (of the slowest), and that of the other processes.
    to_the_end : bool
        Whether they were slow in their last line.
    """

    ranks: tuple[int, ...]
    first: int
    last: int
    seconds: float
    others: float
    to_the_end: bool = False

    def fault(self, seconds: tuple[float, float]) -> Fault:
        """Return it as a fault of the run, at these seconds."""
        return Fault(
            SLOW.name,
            (),
            (self.first, self.last),
            seconds,
            self.seconds,
            self.last,
            ranks=self.ranks,
            others=self.others,
            to_the_end=self.to_the_end,
        )


def slow_ranks(logs: Sequence[RankLog]) -> list[Slow]:
    """Find the processes that make the others wait.

    Examples
    --------
    >>> quick = [Work(at, at + 99, 0.01, 0.2, 0.43) for at in (1, 101, 201)]
    >>> late = [Work(at, at + 99, 0.01, 0.42, 0.43) for at in (1, 101, 201)]
    >>> slow_ranks([RankLog(0, 2, tuple(quick)), RankLog(1, 2, tuple(late))])
    [Slow(ranks=(1,), first=1, last=300, seconds=0.42, others=0.2, to_the_end=True)]
    >>> slow_ranks([RankLog(0, 2, tuple(quick)), RankLog(1, 2, tuple(quick))])
    []
    """
    found = sorted((each for log in logs for each in _slow(log, logs)), key=lambda each: each.first)
    joined: list[Slow] = []
    for each in found:
        before = joined[-1] if joined else None
        if before is None or each.first > before.last:
            joined.append(each)
            continue
        worse = max(before, each, key=lambda slow: slow.seconds)
        joined[-1] = Slow(
            tuple(sorted({*before.ranks, *each.ranks})),
            before.first,
            max(before.last, each.last),
            worse.seconds,
            worse.others,
            before.to_the_end or each.to_the_end,
        )
    return joined


def _slow(log: RankLog, logs: Sequence[RankLog]) -> Iterator[Slow]:
    """Yield the times in which one process was slow."""
    others = [_Medians(each.work) for each in logs if each.rank != log.rank and each.work]
    spell: list[tuple[Work, float, float]] = []
    for work in log.work:
        times = _times(work, [found for each in others if (found := each.during(work))])
        if times is not None:
            spell.append((work, *times))
        elif spell:
            yield from _spell(log.rank, spell, to_the_end=False)
            spell = []
    yield from _spell(log.rank, spell, to_the_end=True)


def _spell(
    rank: int, spell: Sequence[tuple[Work, float, float]], *, to_the_end: bool
) -> Iterator[Slow]:
    if len(spell) >= LINES:
        own, others = median(each[1] for each in spell), median(each[2] for each in spell)
        yield Slow((rank,), spell[0][0].first, spell[-1][0].last, own, others, to_the_end)


def _times(work: Work, others: Sequence[Work]) -> tuple[float, float] | None:
    """Return the time of a process's own work and that of the others, if it is slow."""
    if not others:
        return None
    usual = _known_median(each.gradient for each in others)
    if _is_longer(work.gradient, usual, work):
        return work.gradient, usual
    if any(_is_longer(each.gradient, work.gradient, work) for each in others):
        # All wait for another one.
        return None
    # Where passes wait for other processes, what comes before them is still its own.
    usual = _known_median(each.forward for each in others)
    return (work.forward, usual) if _is_longer(work.forward, usual, work) else None


def _is_longer(own: float, usual: float, work: Work) -> bool:
    """Return whether one time is that much longer than another; not if one is not known."""
    return own >= RATIO * usual and own - usual >= max(SHARE * work.step, SECONDS)


class _Medians:
    """The times of one process, by their steps."""

    def __init__(self, work: Sequence[Work]) -> None:
        self._work = work
        self._firsts = [each.first for each in work]
        self._lasts = [each.last for each in work]

    def during(self, other: Work) -> Work | None:
        """Return the times in the steps of another process's line; None if there are none."""
        own = self._work[
            bisect_left(self._lasts, other.first) : bisect_right(self._firsts, other.last)
        ]
        if not own:
            return None
        times = zip(*((each.forward, each.gradient, each.step) for each in own), strict=True)
        return Work(other.first, other.last, *map(_known_median, times))


def _known_median(times: Iterable[float]) -> float:
    known = [each for each in times if not math.isnan(each)]
    return median(known) if known else math.nan


def first_ranks(
    logs: Sequence[RankLog], recorded: Mapping[tuple[int, str], float]
) -> list[tuple[NotFinite, tuple[int, ...]]]:
    """Find the processes that were first to log a value that was nan or infinite.

    Parameters
    ----------
    logs : sequence of RankLog
        What each process wrote of itself.
    recorded : dict of (int, str) to float
        What rank 0 logged, by step and name, at the steps in `logs`.

    Returns
    -------
    list of (NotFinite, tuple of int)
        For each name, the value, and the ranks that logged one at that step. Left out if rank 0
        logged one at that step too, or nothing by that name, as then nothing is known of it.

    Examples
    --------
    >>> nan = RankLog(2, 3, (), (NotFinite(40, "loss", math.nan),))
    >>> later = RankLog(1, 3, (), (NotFinite(41, "loss", math.nan),))
    >>> first_ranks([later, nan], {(40, "loss"): 0.5})
    [(NotFinite(step=40, name='loss', value=nan), (2,))]
    """
    found: dict[tuple[str, bool], list[tuple[NotFinite, int]]] = {}
    for log in logs:
        for each in log.not_finite:
            found.setdefault((each.name, math.isnan(each.value)), []).append((each, log.rank))
    firsts = []
    for values in found.values():
        step = min(value.step for value, _ in values)
        first = [(value, rank) for value, rank in values if value.step == step]
        value = first[0][0]
        if math.isfinite(recorded.get((step, value.name), math.nan)):
            firsts.append((value, tuple(sorted(rank for _, rank in first))))
    return sorted(firsts, key=lambda each: each[0].step)


class SlowWatch:
    """Finds which processes became slow, each once, while the training goes on.

    Parameters
    ----------
    folder : Path
        The run's folder.
    run : str
        When the run was started, as the header of its log has it.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._reader = RankReader(folder, {run})
        self._slow: set[int] = set()

    def new(self) -> list[Fault]:
        """Return what is new since the last call."""
        logs = [replace(log, work=log.work[-RECENT:]) for log in self._reader.read()]
        found = []
        for slow in slow_ranks(logs):
            if slow.to_the_end and not self._slow.issuperset(slow.ranks):
                self._slow.update(slow.ranks)
                found.append(slow.fault((0.0, 0.0)))
        return found


class RankFaults:
    """Adds what the processes of a training wrote of themselves to the faults of the run.

    Parameters
    ----------
    path : Path
        The run log. Without files of processes beside it, nothing is added.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path.parent if path.name == FILE_NAME else None
        logs = () if self._folder is None else read_ranks(self._folder)
        self._odd = {each.step for log in logs for each in log.not_finite}
        lines = {step for log in logs for each in log.work for step in (each.first, each.last)}
        # What the log says of these steps is needed later.
        self._steps = sorted(self._odd | lines)
        self._next = 0
        self._seconds: dict[int, float] = {}
        self._recorded: dict[tuple[int, str], float] = {}
        self._runs: set[str] = set()

    def begin(self, header: Header) -> None:
        """Take a header of the log."""
        self._runs.add(header.started)
        self._next = 0

    def waits_for(self, step: int) -> bool:
        """Return whether the frame of a step is needed."""
        return self._next < len(self._steps) and self._steps[self._next] <= step

    def add(self, block: Block) -> None:
        """Take frames of the log."""
        last = int(block.steps[-1])
        while self._next < len(self._steps) and (step := self._steps[self._next]) <= last:
            self._next += 1
            place = int(np.searchsorted(block.steps, step))
            self._seconds[step] = float(block.t[place])
            if step in self._odd and int(block.steps[place]) == step:
                for name, value in numbers_of(block.extra[place]).items():
                    self._recorded[step, name] = value

    def joined(self, faults: Sequence[Fault]) -> tuple[Fault, ...]:
        """Return the faults of the log with those of its processes, in the order of their begin."""
        if self._folder is None or not self._steps:
            return tuple(faults)
        logs = read_ranks(self._folder, self._runs)
        found = list(faults)
        for value, ranks in first_ranks(logs, self._recorded):
            kind = "nan" if math.isnan(value.value) else "inf"
            steps = (value.step, value.step + 1)
            own = [
                place
                for place, each in enumerate(found)
                if each.kind == kind
                and each.steps[0] in steps
                and (each.layers or each.logged == value.name)
            ]
            for place in own:
                found[place] = replace(found[place], ranks=ranks)
            if not own:
                step, name = value.step, value.name
                span = self._span(step, step)
                found.append(
                    Fault(kind, (), (step, step), span, value.value, step, logged=name, ranks=ranks)
                )
        of_0 = {(each.kind, each.steps[0]) for each in found if _is_of_rank_0(each, logs)}
        for place, each in enumerate(found):
            if not each.ranks and (each.kind, each.steps[0]) in of_0:
                found[place] = replace(each, ranks=(0,))
        for slow in slow_ranks(logs):
            found.append(slow.fault(self._span(slow.first, slow.last)))
        return tuple(sorted(found, key=lambda each: each.seconds[0]))

    def _span(self, first: int, last: int) -> tuple[float, float]:
        """Return when these steps were."""
        return self._at(first), max(self._at(first), self._at(last))

    def _at(self, step: int) -> float:
        """Return when a step was; of one that the log does not have, the last one known."""
        return self._seconds.get(step, max(self._seconds.values(), default=0.0))


def _is_of_rank_0(fault: Fault, logs: Sequence[RankLog]) -> bool:
    """Return whether a logged value was nan on rank 0 before it was on each of the others."""
    if fault.kind not in ("nan", "inf") or not fault.logged:
        return False
    later = {
        log.rank
        for log in logs
        for each in log.not_finite
        if each.name == fault.logged
        and math.isnan(each.value) == (fault.kind == "nan")
        and each.step > fault.steps[0]
    }
    return bool(later) and later >= set(range(1, max(log.ranks for log in logs)))
