"""How late events are sent, as percentiles, and how late lines come."""

import math
from dataclasses import dataclass

__all__ = ["Lateness", "Window"]


class Lateness:
    """Percentiles of lateness, from bins of 20 µs, in constant memory."""

    BIN_SECONDS = 2e-5
    BINS = 10_000

    def __init__(self) -> None:
        self._bins = [0] * self.BINS
        self._most = 0.0

    def add(self, seconds: float) -> None:
        """Add a measurement."""
        self._most = max(self._most, seconds)
        self._bins[min(max(int(seconds / self.BIN_SECONDS), 0), self.BINS - 1)] += 1

    def percentiles(self) -> dict[str, float]:
        """Return the median, 99th percentile and maximum in ms; empty if nothing was added."""
        total = sum(self._bins)
        if not total:
            return {}
        found = {}
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            count = 0
            for index, number in enumerate(self._bins):
                count += number
                if count >= share * total:
                    found[name] = round((index + 1) * self.BIN_SECONDS * 1000.0, 3)
                    break
        return {**found, "max": round(self._most * 1000.0, 3), "count": total}


@dataclass(slots=True)
class Window:
    """Lateness of the lines of the last seconds, in seconds.

    `quickest` and `slowest` are delays relative to the line that placed the grid. `missed` is the
    smallest delay of a line relative to the end of its slot; below zero, a line was in time.
    """

    began: float = 0.0
    frames: int = 0
    quickest: float = math.inf
    slowest: float = -math.inf
    missed: float = math.inf

    def add(self, behind: float, missed: float, now: float) -> None:
        """Add a line that arrived at `now`."""
        if not self.frames:
            self.began = now
        self.frames += 1
        self.quickest = min(self.quickest, behind)
        self.slowest = max(self.slowest, behind)
        self.missed = min(self.missed, missed)
