"""Voices: group layers by the module tree or by patterns, and combine their norms."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from gradmidi.errors import PresetError
from gradmidi.log import Layer, combine
from gradmidi.music.tree import Band, Path, cut, grow, number_of

__all__ = ["Voice", "VoiceNorms", "group", "silent"]

NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Voice:
    """One layer or several layers with one MIDI channel, track and OSC index.

    Parameters
    ----------
    index : int
        Index of the voice, from 0.
    name : str
        The layer's name, a short name for several layers, or the name that the user gave.
    layers : tuple of int
        Indices into the run's layers, ascending; none if it is the voice of a logged value.

    Examples
    --------
    >>> Voice(0, "blocks.0-3", (0, 1, 2, 3)).layers
    (0, 1, 2, 3)
    """

    index: int
    name: str
    layers: tuple[int, ...]


def group(
    layers: Sequence[Layer], most: int, patterns: Mapping[str, str] | None = None
) -> tuple[Voice, ...]:
    """Group a run's layers into voices.

    Up to `most` layers have a voice each. More layers are grouped by the module tree, which is read
    from their names and sizes: a whole level is split at once, blocks are never split, small
    norms and biases join a neighbour, and if a level has too many modules, neighbours share
    voices of near-equal size. Every layer is in exactly one voice, and the order is kept.

    With `patterns` the voices are the user's, in the order given. Each layer goes to the first
    pattern that matches its name; a layer that no pattern matches is silent.

    Parameters
    ----------
    layers : sequence of Layer
        The layers, in the order of registration.
    most : int
        The largest number of voices, 1 or more.
    patterns : mapping of str to str, optional
        Name of each voice and its pattern over layer names: ``*`` matches any text, dots included,
        ``?`` one character, ``[ab]`` one of these; case matters. An empty mapping is the same as
        None.

    Returns
    -------
    tuple of Voice

    Raises
    ------
    PresetError
        If there are more patterns than `most`, or a pattern matches no layer or only layers of
        earlier patterns.

    Examples
    --------
    >>> blocks = [Layer(f"h.{i}.{part}", 100) for i in range(12) for part in ("attn", "mlp")]
    >>> layers = [Layer("wte", 900), *blocks, Layer("ln_f", 2)]
    >>> [voice.name for voice in group(layers, 8)]
    ['wte', 'h.0-1', 'h.2', 'h.3-4', 'h.5-6', 'h.7-8', 'h.9', 'h.10-11']
    >>> group(layers, 15, {"attention": "*.attn"})[0].layers[:3]
    (1, 3, 5)
    """
    if patterns:
        return _by_patterns(layers, most, patterns)
    if len(layers) <= most:
        return tuple(Voice(i, layer.name or "model", (i,)) for i, layer in enumerate(layers))
    paths = [tuple(layer.name.split(".")) if layer.name else () for layer in layers]
    bands = cut(grow(paths, [layer.size for layer in layers]), most)
    names = _Names(paths)
    used: Counter[str] = Counter()
    voices = []
    for index, band in enumerate(bands):
        name = names.of(band)
        used[name] += 1
        if used[name] > 1:
            name = f"{name} ({used[name]})"
        voices.append(Voice(index, name, tuple(range(band[0].start, band[-1].stop))))
    return tuple(voices)


def silent(layers: Sequence[Layer], voices: Sequence[Voice]) -> tuple[str, ...]:
    """Return the names of the layers that are in no voice.

    Examples
    --------
    >>> layers = [Layer("encoder.0", 10), Layer("head", 10)]
    >>> silent(layers, group(layers, 15, {"encoder": "encoder.*"}))
    ('head',)
    """
    heard = {index for voice in voices for index in voice.layers}
    return tuple(layer.name for index, layer in enumerate(layers) if index not in heard)


RISEN = 0.01
"""A branch that begins at zero rises by decades in its first steps: its voice has its reference
once it is above this share of the largest voice's norm."""

PATIENCE, TIMES = 16, 8
"""Such a voice that does not double in so many frames has its reference; all have it after so many
times as many."""


class VoiceNorms:
    """The norms of voices, and each voice's reference: the norm at which it sounds at home.

    Parameters
    ----------
    voices : sequence of Voice
        The voices.
    references : sequence of float, optional
        A reference for each voice; nan, the default, is replaced by the voice's first finite
        norm above zero. Of a voice that began at zero, small norms are none while it rises.

    Examples
    --------
    >>> norms = VoiceNorms([Voice(0, "a", (0, 1)), Voice(1, "b", (2,))])
    >>> norms.observe(np.array([3.0, 4.0, np.inf]))
    >>> norms.references
    [5.0, nan]
    """

    def __init__(self, voices: Sequence[Voice], references: Sequence[float] | None = None) -> None:
        self._layers = np.array([i for v in voices for i in v.layers], dtype=np.intp)
        self._starts = np.cumsum([0, *(len(v.layers) for v in voices)][:-1], dtype=np.intp)
        self.references = (
            [math.nan] * len(voices) if references is None else [float(r) for r in references]
        )
        # Of each voice that began at zero: frames it has waited, and its norm a while ago.
        self._waiting: dict[int, tuple[int, float]] = {}

    @property
    def complete(self) -> bool:
        """Whether every voice has a reference."""
        return not any(map(math.isnan, self.references))

    def combined(self, norms: np.ndarray) -> np.ndarray:
        """Return the norms of the voices from the norms of the layers."""
        return combine(norms, self._layers, self._starts)

    def observe(self, norms: np.ndarray) -> None:
        """Use a frame's norms as references of the voices that have none yet."""
        if self.complete:
            return
        found = self.combined(norms)
        usable = (found > 0.0) & np.isfinite(found)
        largest = float(found[usable].max(initial=0.0))
        for voice in np.flatnonzero(found == 0.0).tolist():
            self._waiting.setdefault(voice, (0, 0.0))
        for voice in np.flatnonzero(usable).tolist():
            norm = float(found[voice])
            if math.isnan(self.references[voice]) and not self._waits(voice, norm, largest):
                self.references[voice] = norm

    def _waits(self, voice: int, norm: float, largest: float) -> bool:
        """Return whether a voice's norm is no reference: it began at zero, and rises."""
        if voice not in self._waiting or norm >= RISEN * largest:
            return False
        frames, before = self._waiting[voice]
        if frames % PATIENCE == 0:
            if norm < 2.0 * before or frames == PATIENCE * TIMES:
                return False
            before = norm
        self._waiting[voice] = (frames + 1, before)
        return True


def _by_patterns(
    layers: Sequence[Layer], most: int, patterns: Mapping[str, str]
) -> tuple[Voice, ...]:
    if len(patterns) > most:
        raise PresetError(
            f"there are patterns for {len(patterns)} voices; the preset allows {most} "
            "(voices.most): give fewer patterns, or a preset with more voices"
        )
    left = dict(enumerate(layer.name for layer in layers))
    voices = []
    for index, (name, pattern) in enumerate(patterns.items()):
        members = tuple(i for i, layer in left.items() if fnmatchcase(layer, pattern))
        if not members:
            raise PresetError(_no_match(name, pattern, layers))
        for member in members:
            del left[member]
        voices.append(Voice(index, name, members))
    return tuple(voices)


def _no_match(name: str, pattern: str, layers: Sequence[Layer]) -> str:
    if any(fnmatchcase(layer.name, pattern) for layer in layers):
        return (
            f"voices: every layer that {pattern!r} ({name}) matches is in an earlier voice; "
            "put the narrower pattern first"
        )
    shown = ", ".join(layer.name for layer in layers[:NAMES_SHOWN])
    more = f" and {len(layers) - NAMES_SHOWN} more" if len(layers) > NAMES_SHOWN else ""
    return (
        f"voices: {pattern!r} ({name}) matches no layer; there are: {shown}{more}. "
        "* stands for any text, dots included"
    )


class _Names:
    """Short names for groups of modules: the shortest end of a path that is unique."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        modules = {_alike(path[:end]) for path in paths for end in range(1, len(path) + 1)}
        self._ends = Counter(path[at:] for path in modules for at in range(len(path)))

    def of(self, band: Band) -> str:
        """Name a module, a range of modules, or a module with others that joined it."""
        first, last = band[0], band[-1]
        if len(band) > 1:
            return self._range(first.path, last.path) or self._pair(first.path, last.path)
        own = first.path
        folded = [
            path
            for path in self._paths[first.start : first.stop]
            if path[: len(own)] != own and own[: len(path)] != path
        ]
        if not folded:
            return self._short(own)
        more = folded[0][-1] if len(folded) == 1 else f"{len(folded)} more"
        return self._range(own, folded[-1]) or f"{self._short(own)} + {more}"

    def _range(self, first: Path, last: Path) -> str | None:
        """Name modules that differ in a number only: ``layers.2-4``."""
        at = _shared(first, last)
        if at >= min(len(first), len(last)):
            return None
        ends = number_of(first[at]), number_of(last[at])
        if ends[0] is None or ends[1] is None or ends[0][0] != ends[1][0]:
            return None
        if ends[0][0].endswith("-"):
            return None
        return f"{self._short(first[: at + 1])}-{ends[1][1]}"

    def _pair(self, first: Path, last: Path) -> str:
        at = _shared(first, last)
        return f"{self._short(first[: at + 1])} to {self._short(last[: at + 1])}"

    def _short(self, path: Path) -> str:
        alike = _alike(path)
        for at in range(len(path) - 1, 0, -1):
            # A number alone is not a name; put the component before it in front.
            if self._ends[alike[at:]] == 1 and not path[at].isdecimal():
                return ".".join(path[at:])
        return ".".join(path) or "model"


def _alike(path: Path) -> Path:
    """Replace the last number by ``*``, so that numbered modules get names of equal depth."""
    number = number_of(path[-1]) if path else None
    return path if number is None else (*path[:-1], number[0] + "*")


def _shared(first: Path, last: Path) -> int:
    """Return the number of components that two paths have in common at their start."""
    pairs = enumerate(zip(first, last, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(first), len(last)))
