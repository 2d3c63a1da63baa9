"""The heat map of a run as data: layers x steps, the logged values, the faults, the module tree.

Every picture of a run is drawn from it: page, files, film and terminal.

A cell is one byte, its code: how many doublings a layer's norm is above or below its reference.
Codes are in order of how extreme they are, so the most extreme of several cells is the largest:
no gradient, exactly zero, numbers by their distance from the reference, inf, nan.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradmidi.detection.history import Fault, FaultLog
from gradmidi.detection.kinds import Faults
from gradmidi.log import RunLog
from gradmidi.log.blocks import Block
from gradmidi.music.voices import Voice
from gradmidi.report.curves import is_logarithmic
from gradmidi.report.labels import Group, groups
from gradmidi.report.look import NOT_FINITE, ZERO, palette, rgb

__all__ = [
    "FARTHEST",
    "INF",
    "MOST_CELLS",
    "MOST_COLUMNS",
    "NAN",
    "NONE",
    "ZERO_CODE",
    "Gatherer",
    "HeatMap",
    "Strip",
    "colours",
    "doublings",
    "encode",
    "heat_map",
    "reduced",
]

Codes = NDArray[np.uint8]
Floats = NDArray[np.float64]

NONE, ZERO_CODE, LEAST, MOST, INF, NAN = 0, 1, 2, 251, 252, 253
"""Codes; numbers have `LEAST` to `MOST`, odd ones above the reference."""

PARTS = 10
"""Codes for each doubling."""

FARTHEST = (MOST - LEAST - 1) / 2 / PARTS
"""Doublings at the last code; larger distances have it too."""

LIMITS = (2, 4, 8)
"""Doublings at the ends of the colour scale: the first that holds `SHARE` of the numbers."""

SHARE = 0.97

MOST_CELLS, LEAST_COLUMNS, MOST_COLUMNS = 1_200_000, 800, 8192
"""A longer run has columns of several steps, so that the map has at most so many cells."""

BATCH = 1024
"""Frames that are encoded at once."""

MOST_STRIPS = 6
"""Values with a strip; of more the first, loss and lr before the others."""

UPDATES = "size of updates"
"""The strip of the smallest and the largest update of a layer, if `listen(updates=…)` measured
them."""

COUNTERS = frozenset({"examples", "epoch", "skipped"})
"""Logged values without a strip, because they only count."""


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A logged value, or `UPDATES`: the smallest and the largest in each column, else nan."""

    name: str
    low: Floats
    high: Floats

    @property
    def logarithmic(self) -> bool:
        """Whether it is drawn on a log axis: its largest value is 20 times its smallest or more."""
        return is_logarithmic(*self.ends)

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        return float(np.nanmin(self.low)), float(np.nanmax(self.high))


@dataclass(frozen=True, slots=True, eq=False)
class HeatMap:
    """The heat map of a run.

    Parameters
    ----------
    first, last : int
        The first and the last step.
    width : int
        Steps in a column: column c has the steps from ``first + c * width`` on.
    codes : ndarray of uint8, shape (layers, columns)
        The most extreme cell of the steps in each column. A step that was not logged has the code
        of the step before it.
    seconds : ndarray of float64, shape (columns,)
        The time of the last step in each column, in seconds of training.
    strips : tuple of Strip
        The logged values.
    limit : int
        Doublings at the ends of the colour scale; beyond, the colour stays the same.
    layers : tuple of str
        The layers' names.
    groups : tuple of Group
        The labels of the rows, by the module tree.
    voices : tuple of Voice
        Which layers sound as one.
    faults : tuple of Fault
        The faults, in the order in which they began.
    """

    first: int
    last: int
    width: int
    codes: Codes
    seconds: Floats
    strips: tuple[Strip, ...]
    limit: int
    layers: tuple[str, ...]
    groups: tuple[Group, ...]
    voices: tuple[Voice, ...]
    faults: tuple[Fault, ...]

    @property
    def end(self) -> int:
        """The step after the last column."""
        return self.first + self.width * int(self.codes.shape[1])

    def rows(self, fault: Fault) -> tuple[tuple[int, int], ...]:
        """Return the rows of a fault's layers as ranges; none for a fault of a value or the run."""
        names = set(fault.layers)
        own = np.array([name in names for name in self.layers])
        edges = np.flatnonzero(np.diff(own, prepend=False, append=False))
        return tuple((int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))


def heat_map(
    log: RunLog,
    voices: Sequence[Voice],
    limits: Faults | None = None,
    reference: float | str = "first",
    heard: Sequence[str] = (),
) -> HeatMap:
    """Read a run's log once, and return its heat map with its faults.

    `limits` are a preset's ``[faults]``, by default the shipped presets' own. `reference` is a
    preset's ``pitch.reference``: each layer's first norm, or a number. `heard` are the names or
    patterns of the logged values that are heard beside layers.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> folder = tempfile.mkdtemp() + "/a"
    >>> with gradmidi.record(folder, layers=["fc1", "fc2"], files=()) as ears:
    ...     for norm in (1.0, 2.0, 0.25):
    ...         ears.frame({"fc1": norm, "fc2": 0.0})
    >>> doublings(heat_map(RunLog(folder), ()).codes).tolist()
    [[0.0, 1.0, -2.0], [nan, nan, nan]]
    """
    gatherer = Gatherer([layer.name for layer in log.layers], reference)
    faults = FaultLog(log.layers, limits or Faults(), heard)
    running = log.running
    for item in log.blocks():
        faults.take(item)
        if isinstance(item, Block):
            gatherer.add(item)
    return gatherer.finish(voices, faults.finish(running=running))


class Gatherer:
    """Collects frames to a heat map in one pass, in memory that does not grow with the run."""

    def __init__(self, layers: Sequence[str], reference: float | str = "first") -> None:
        self._layers = tuple(layers)
        count = max(1, len(layers))
        self._columns = min(MOST_COLUMNS, max(LEAST_COLUMNS, MOST_CELLS // count))
        known = reference if isinstance(reference, float) else math.nan
        self._references = np.full(len(layers), known)
        self._first: int | None = None
        self._last = 0
        self._width = 1
        self._codes = np.zeros((self._columns, len(layers)), np.uint8)
        self._seconds = np.full(self._columns, math.nan)
        self._low: dict[str, Floats] = {}
        self._high: dict[str, Floats] = {}

    def add(self, block: Block) -> None:
        """Add the next frames."""
        for begin in range(0, len(block), BATCH):
            self._encode(block.part(begin, begin + BATCH))

    def finish(self, voices: Sequence[Voice], faults: Sequence[Fault]) -> HeatMap:
        """Return the heat map of the frames so far."""
        first = self._first or 0
        used = (self._last - first) // self._width + 1 if self._first is not None else 0
        filled = np.isfinite(self._seconds[:used])
        # A column without a frame is the same as the column before it.
        known = np.maximum.accumulate(np.where(filled, np.arange(used), 0))
        codes = np.ascontiguousarray(self._codes[:used][known].T)
        return HeatMap(
            first=first,
            last=self._last,
            width=self._width,
            codes=codes,
            seconds=self._seconds[:used][known],
            strips=self._strips(used),
            limit=_limit(codes),
            layers=self._layers,
            groups=groups(self._layers),
            voices=tuple(voices),
            faults=tuple(faults),
        )

    def _strips(self, used: int) -> tuple[Strip, ...]:
        finite = [name for name, high in self._high.items() if np.isfinite(high[:used]).any()]
        chosen = [name for name in finite if name not in COUNTERS]
        chosen.sort(key=lambda name: ("loss", UPDATES, "lr", name).index(name))
        return tuple(
            Strip(name, self._low[name][:used].copy(), self._high[name][:used].copy())
            for name in chosen[:MOST_STRIPS]
        )

    def _encode(self, block: Block) -> None:
        norms, steps = block.norms, block.steps
        first = int(steps[0]) if self._first is None else self._first
        steps = np.maximum.accumulate(np.maximum(steps, max(first, self._last)))
        self._first, self._last = first, int(steps[-1])
        while (self._last - first) // self._width >= self._columns:
            self._halve()
        valid = np.isfinite(norms) & (norms > 0.0)
        new = np.isnan(self._references) & valid.any(axis=0)
        self._references[new] = norms[valid.argmax(axis=0)[new], np.flatnonzero(new)]
        columns = (steps - first) // self._width
        starts = np.flatnonzero(np.diff(columns, prepend=-1))
        codes = np.maximum.reduceat(encode(norms, self._references), starts, axis=0)
        places = columns[starts]
        self._codes[places] = np.maximum(self._codes[places], codes)
        self._seconds[columns] = block.t
        for name, step, value in _values(block):
            if name not in self._low:
                self._low[name], self._high[name] = np.full((2, self._columns), math.nan)
            place = max(0, step - first) // self._width
            if math.isfinite(value):
                low, high = self._low[name], self._high[name]
                low[place] = value if not low[place] <= value else low[place]
                high[place] = value if not high[place] >= value else high[place]

    def _halve(self) -> None:
        """Join each two columns to one."""
        self._width *= 2
        half = self._columns // 2

        def joined(values: NDArray[np.generic], join: np.ufunc, rest: float) -> None:
            values[:half] = join(values[0 : 2 * half : 2], values[1 : 2 * half : 2])
            if self._columns % 2:
                values[half] = values[-1]
            values[half + self._columns % 2 :] = rest

        joined(self._codes, np.maximum, 0)
        joined(self._seconds, np.fmax, math.nan)
        for low in self._low.values():
            joined(low, np.fmin, math.nan)
        for high in self._high.values():
            joined(high, np.fmax, math.nan)


def _values(block: Block) -> Iterator[tuple[str, int, float]]:
    """Yield each logged number with its name and step, and the ends of the sizes of updates."""
    for step, extra in zip(block.steps.tolist(), block.extra, strict=True):
        for name, value in extra.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                yield name, step, float(value)
    for step, updates in zip(block.steps.tolist(), block.updates, strict=False):
        if updates is not None:
            sizes = updates[np.isfinite(updates) & (updates > 0.0)]
            for end in (sizes.min(), sizes.max()) if sizes.size else ():
                yield UPDATES, step, float(end)


def encode(norms: Floats, references: Floats) -> Codes:
    """Return the codes of norms; `references` has one for each layer, the last axis of `norms`.

    Examples
    --------
    >>> encode(np.array([-1.0, 0.0, 1.0, 2.0, 0.5, np.inf, np.nan]), np.ones(7)).tolist()
    [0, 1, 2, 23, 22, 252, 253]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.log2(norms) - np.log2(references)
        parts = np.minimum(np.rint(np.abs(distance) * PARTS), FARTHEST * PARTS)
        codes = LEAST + 2 * parts + (distance > 0.0) * (parts > 0)
    codes = np.where(np.isfinite(distance), codes, NONE)
    codes = np.where(norms == 0.0, ZERO_CODE, codes)
    codes = np.where(norms == np.inf, INF, codes)
    return np.where(np.isnan(norms), NAN, codes).astype(np.uint8)


def doublings(codes: Codes) -> Floats:
    """Return how many doublings above (or below, negative) the reference codes are; else nan.

    Examples
    --------
    >>> doublings(np.array([0, 1, 2, 23, 22, 253], np.uint8)).tolist()
    [nan, nan, 0.0, 1.0, -1.0, nan]
    """
    return np.asarray(_DOUBLINGS[codes])


def colours(limit: int) -> NDArray[np.uint8]:
    """Return red, green, blue and opacity of every code; `NONE` is transparent, for a hatch.

    Examples
    --------
    >>> colours(8)[[NONE, ZERO_CODE, LEAST, NAN]].tolist()
    [[0, 0, 0, 0], [140, 140, 140, 255], [241, 240, 239, 255], [0, 0, 0, 255]]
    """
    table = np.zeros((256, 4))
    numbers = np.isfinite(_DOUBLINGS)
    table[numbers, :3] = palette(_DOUBLINGS[numbers] / limit)
    table[ZERO_CODE, :3] = rgb(ZERO)
    table[INF:, :3] = rgb(NOT_FINITE)
    table[ZERO_CODE:, 3] = 1.0
    return np.rint(table * 255).astype(np.uint8)


def reduced(codes: Codes, rows: int, columns: int) -> Codes:
    """Return a map of at most so many rows and columns, of the most extreme cells.

    Examples
    --------
    >>> reduced(np.array([[2, 3, 253, 2], [2, 2, 2, 9]], np.uint8), 1, 2).tolist()
    [[3, 253]]
    """
    for axis, most in ((0, rows), (1, columns)):
        size = codes.shape[axis]
        if size > most:
            starts = np.arange(most) * size // most
            codes = np.maximum.reduceat(codes, starts, axis=axis)
    return codes


def _table() -> Floats:
    codes = np.arange(256)
    parts = (codes - LEAST) // 2 / PARTS
    numbers = (codes >= LEAST) & (codes <= MOST)
    return np.where(numbers, np.where(codes % 2, parts, -parts) + 0.0, math.nan)


_DOUBLINGS = _table()


def _limit(codes: Codes) -> int:
    distances = np.abs(_DOUBLINGS)
    counts = np.bincount(codes.ravel(), minlength=256)[np.isfinite(distances)]
    distances = distances[np.isfinite(distances)]
    total = counts.sum()
    for limit in LIMITS:
        if counts[distances <= limit].sum() >= SHARE * total:
            return limit
    return LIMITS[-1]
