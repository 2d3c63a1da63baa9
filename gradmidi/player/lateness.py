"""How late events are sent, as percentiles."""

__all__ = ["Lateness"]


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
