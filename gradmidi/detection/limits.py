"""The limits of faults: a preset's ``[faults]``, and the limits that are the same for all."""

from dataclasses import dataclass
from typing import ClassVar

from gradmidi.base.table import key

__all__ = ["Faults"]


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
