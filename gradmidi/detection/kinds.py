"""The kinds of faults and their properties: one table, and the record of a fault that was found.

To add a kind: a row here, a rule in `gradmidi.detection.detector`, a sound in
`gradmidi.music.alarms`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["KINDS", "LASTING", "RUN", "Finding", "Kind"]

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
"""Every kind of fault by its name, the gravest first."""

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
