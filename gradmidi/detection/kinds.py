"""The kinds of faults: their properties, their limits, and the record of one that was found.

To add a kind: a row here, a rule in `gradmidi.detection.detector`, a sound in
`gradmidi.music.alarms`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from gradmidi.base.table import key

__all__ = ["FAULTS", "KINDS", "LASTING", "RUN", "SLOW", "Faults", "Finding", "Kind"]

RUN = -1
"""In place of a layer's index: the whole run."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The properties of one kind of fault.

    Parameters
    ----------
    name : str
        One word, the same in sound, text, MIDI markers and OSC.
    gravity : int
        The larger, the graver: of several faults the graver is named and heard first.
    meaning : str
        What is wrong, in one phrase.
    lasting : bool, default False
        Whether it goes on over steps, or is one moment.
    reminded : bool, default True
        Whether a lasting one is reported again while it goes on.
    of_layers : bool, default True
        Whether layers have it, or the run itself.
    urgent : bool, default False
        Whether training is lost unless somebody acts: it sounds a little louder.
    spreads : bool, default False
        Whether all layers have it soon after one: the first ones are named besides.
    """

    name: str
    gravity: int
    meaning: str
    lasting: bool = False
    reminded: bool = True
    of_layers: bool = True
    urgent: bool = False
    spreads: bool = False


_TABLE = (
    Kind("nan", 90, "norms, or logged values, that are nan", True, urgent=True, spreads=True),
    Kind("inf", 80, "norms, or logged values, that are infinite", True, urgent=True, spreads=True),
    Kind(
        "exploding", 70, "norms, or the loss, far above what they were", lasting=True, urgent=True
    ),
    Kind("dead", 60, "gradients that are exactly zero", lasting=True),
    # Often intended, as when layers are frozen: once is enough.
    Kind("missing", 55, "gradients that no longer come", lasting=True, reminded=False),
    Kind("vanishing", 50, "norms far below what they were, or below other layers'", lasting=True),
    Kind("overshooting", 45, "updates too large for the network to learn from", of_layers=False),
    Kind("spike", 40, "a norm far above all of the steps before"),
    Kind("skipped", 30, "an update that the gradient scaler skipped", of_layers=False),
    Kind("stalled", 20, "no step for a long time", of_layers=False),
    Kind("died", 10, "a log without an end", of_layers=False),
)

KINDS: Mapping[str, Kind] = {
    kind.name: kind for kind in sorted(_TABLE, key=lambda kind: -kind.gravity)
}
"""Every kind of fault that a run log shows, by its name, the gravest first. Each has a sound."""

SLOW = Kind("slow", 5, "a process whose own work takes longer than that of the others", False)

FAULTS: Mapping[str, Kind] = {**KINDS, SLOW.name: SLOW}
"""Every kind, also what the files beside a run log show."""

LASTING = tuple(kind for kind in KINDS.values() if kind.lasting)
"""The kinds that go on over steps, the gravest first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault as it was found at one step.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    layer : int
        Index of the layer that is named; `RUN` where it is the whole run.
    step : int
        The step it was found at.
    value : float
        The norm at that step, may be nan or inf; of the whole run the norm over all layers; the
        logged value;
        of updates the median share of the weights that they changed;
        of a run that stalled the seconds without a step, of one that died its last second.
    layers : tuple of int
        The layers that `layer` stands for: a row of neighbours, or all that have the fault.
    present : int
        How many layers had a gradient at that step, or no longer had one.
    logged : str
        The name of the logged value that has the fault, such as ``"loss"``; empty for a fault of
        layers, or of the run.
    """

    kind: str
    layer: int
    step: int
    value: float
    layers: tuple[int, ...] = field(default=(), repr=False, compare=False)
    present: int = field(default=0, repr=False, compare=False)
    logged: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Faults:
    """``[faults]``: when a layer's norm is a fault, compared with that layer's recent norms.

    The class attributes are limits that a preset cannot change. They were keys in version 0.1.
    """

    sound: bool = key(True, "whether faults sound; they are shown as text either way")
    velocity: int = key(100, "velocity of a fault's pulses", least=1, most=127)
    duck: float = key(
        0.5,
        "share of its velocity that a voice's note keeps while a fault sounds",
        least=0.0,
        most=1.0,
    )
    spike: float = key(
        8.0,
        "spike: a norm this many times the largest of the layer's last 128 frames",
        least=2.0,
        most=1e6,
    )
    exploding: float = key(
        6.0,
        "exploding: norms that stay this many times above the largest of the last 128 frames",
        least=2.0,
        most=1e6,
    )
    diverging: float = key(
        2.0,
        "exploding too: a loss that stays this many times above the largest of its last 64 frames, "
        "or of which most stay as far above their median",
        least=1.1,
        most=1e6,
    )
    ceiling: float = key(
        1e8, "exploding too: any norm above this, whatever came before", least=1.0, most=1e38
    )
    vanishing: float = key(
        30.0,
        "vanishing: norms this many times below the median of the last 128 frames, while those "
        "of another layer are not",
        least=2.0,
        most=1e12,
    )
    floor: float = key(
        1e-12,
        "vanishing too: any norm below this, whatever came before",
        least=1e-45,
        most=1.0,
    )
    dead: int = key(
        12,
        "dead: this many frames of exactly zero; a frame of another norm takes two away",
        least=1,
        most=1000,
    )
    cooldown: int = key(
        50, "frames before the same fault of a layer is reported again", least=0, most=100_000
    )
    remind: float = key(
        30.0, "seconds before a fault that lasts is reported again", least=1.0, most=86400.0
    )
    most: int = key(3, "most faults reported of one frame, gravest first", least=1, most=100)
    stalled: float = key(
        10.0,
        "stalled: seconds without a step; never less than five times the median step; "
        "twice as long as the last ones where long steps come regularly",
        least=1.0,
        most=86400.0,
    )

    window: ClassVar[int] = 128
    """Frames of a layer's past that count, without the last 16."""
    swing: ClassVar[float] = 1.5
    """A spike stands above the largest norm of the window by this many times the distance, in
    log, from the median to it."""
    sustain: ClassVar[int] = 4
    """Frames above the limit of exploding, less those below it, before it is a fault."""
    steady: ClassVar[int] = 8
    """Frames that far above the level of most frames, less those below it, before it is a fault
    too: of sixteen frames twelve."""
    growing: ClassVar[int] = 64
    """Frames in which a layer is young: its norms may still grow fast."""
    young: ClassVar[float] = 3.0
    """Factor on the limit of exploding for a young layer, and while the loss falls."""
    early: ClassVar[float] = 300.0
    """Before there is a window: a fault is a norm this many times above or below the first."""
    leap: ClassVar[float] = 1e4
    """Before there is a window: exploding at once is a norm this many times above the first."""
    fading: ClassVar[int] = 16
    """Frames in a row below the limit of vanishing before it is a fault."""
    faint: ClassVar[float] = 1e-4
    """Vanishing from the start: a norm below this fraction of the largest layer's."""
    clear: ClassVar[int] = 8
    """Frames in a row without a fault that end it."""
    relearn: ClassVar[int] = 1000
    """Frames after which the norms of a layer that exploded or vanished count as normal."""
    stalled_steps: ClassVar[float] = 5.0
    """A stalled run has had no step for this many times the median step."""
