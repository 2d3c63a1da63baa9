"""Layers to voices: which layers sound as one, by the module tree or by the user's patterns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gradmidi.errors import PresetError
from gradmidi.log import Layer
from gradmidi.music.tree import Band, Path, cut, grow, number_of

__all__ = ["Voice", "group", "silent"]

NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Voice:
    """One layer, or a run of neighbouring layers, that sounds as one.

    Parameters
    ----------
    index : int
        From 0, first layer to last.
    name : str
        What a person reads: the layer's name, or a short name for the run of layers.
    layers : tuple of int
        Indices into the run's layers, ascending.
    """

    index: int
    name: str
    layers: tuple[int, ...]


def group(
    layers: Sequence[Layer], most: int, patterns: Mapping[str, str] | None = None
) -> tuple[Voice, ...]:
    """Group a run's layers to voices.

    Up to `most` layers have a voice each. More are grouped along the module tree, which is read
    from their names and sizes: whole levels are split together, blocks are never cut, small
    norms and biases go with a neighbour, and modules that are too many share voices in bands of
    near-equal size. Every layer is in exactly one voice, neighbours only, in order.

    With `patterns` the voices are the user's, in the order given. Each layer goes to the first
    pattern that matches its name; one that no pattern matches is silent.

    Parameters
    ----------
    layers : sequence of Layer
        In the order of registration.
    most : int
        The most voices there may be, 1 or more.
    patterns : mapping of str to str, optional
        A voice's name to a pattern over layer names: ``*`` any text, dots included, ``?`` one
        character, ``[ab]`` one of these; upper and lower case differ. Empty: none.

    Returns
    -------
    tuple of Voice

    Raises
    ------
    PresetError
        If there are more patterns than `most`, or one matches no layer that an earlier one
        has left.

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
    told: Counter[str] = Counter()
    voices = []
    for index, band in enumerate(bands):
        name = names.of(band)
        told[name] += 1
        if told[name] > 1:
            name = f"{name} ({told[name]})"
        voices.append(Voice(index, name, tuple(range(band[0].start, band[-1].stop))))
    return tuple(voices)


def silent(layers: Sequence[Layer], voices: Sequence[Voice]) -> tuple[str, ...]:
    """Name the layers that no voice has.

    Examples
    --------
    >>> layers = [Layer("encoder.0", 10), Layer("head", 10)]
    >>> silent(layers, group(layers, 15, {"encoder": "encoder.*"}))
    ('head',)
    """
    heard = {index for voice in voices for index in voice.layers}
    return tuple(layer.name for index, layer in enumerate(layers) if index not in heard)


def _by_patterns(
    layers: Sequence[Layer], most: int, patterns: Mapping[str, str]
) -> tuple[Voice, ...]:
    if len(patterns) > most:
        raise PresetError(
            f"layers names {len(patterns)} voices; the preset has room for {most} "
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
            f"layers: every layer that {pattern!r} ({name}) matches is in an earlier voice; "
            "put the narrower pattern first"
        )
    shown = ", ".join(layer.name for layer in layers[:NAMES_SHOWN])
    more = f" and {len(layers) - NAMES_SHOWN} more" if len(layers) > NAMES_SHOWN else ""
    return (
        f"layers: {pattern!r} ({name}) matches no layer; there are: {shown}{more}. "
        "* stands for any text, dots included"
    )


class _Names:
    """Short names for bands: as much of a path's end as no other module's path ends with."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        modules = {_alike(path[:end]) for path in paths for end in range(1, len(path) + 1)}
        self._ends = Counter(path[at:] for path in modules for at in range(len(path)))

    def of(self, band: Band) -> str:
        """Name a band: a module, a range of modules, or a module and what was folded into it."""
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
        """Name modules that are numbered alike: ``layers.2-4``."""
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
            # A bare number says nothing without the name it counts under.
            if self._ends[alike[at:]] == 1 and not path[at].isdecimal():
                return ".".join(path[at:])
        return ".".join(path) or "model"


def _alike(path: Path) -> Path:
    """Leave out the last number, so that modules numbered alike are named at the same length."""
    number = number_of(path[-1]) if path else None
    return path if number is None else (*path[:-1], number[0] + "*")


def _shared(first: Path, last: Path) -> int:
    """Count the components that two paths begin with alike."""
    pairs = enumerate(zip(first, last, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(first), len(last)))
