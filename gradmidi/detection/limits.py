"""The limits of faults: a preset's ``[faults]``."""

from dataclasses import dataclass

from gradmidi.base.table import key

__all__ = ["Faults"]


@dataclass(frozen=True, slots=True)
class Faults:
    """``[faults]``: when a layer's norm is a fault, against that layer's own recent past."""

    sound: bool = key(True, "whether faults sound; they are told in text either way")
    velocity: int = key(100, "velocity of a fault's pulses", least=1, most=127)
    duck: float = key(
        0.5,
        "share of its velocity with which a voice goes on while a fault sounds",
        least=0.0,
        most=1.0,
    )
    window: int = key(
        128, "frames of a layer's past that count, but for the last 16", least=16, most=4096
    )
    spike: float = key(
        8.0,
        "a spike is this many times the largest norm of the window and of the four frames before",
        least=2.0,
        most=1e6,
    )
    swing: float = key(
        1.5,
        "and as far above that norm as this many times the way from the median to it, in log",
        least=0.0,
        most=100.0,
    )
    exploding: float = key(
        6.0,
        "exploding is this many times the largest norm of the window, and stays there",
        least=2.0,
        most=1e6,
    )
    sustain: int = key(
        4, "frames above that limit, less those below it, that make it stay", least=1, most=1000
    )
    growing: int = key(
        64,
        "frames in which a layer is young: its norms may still grow fast",
        least=0,
        most=4096,
    )
    young: float = key(
        3.0,
        "how many times higher the limit of exploding is for a young layer, or as the loss falls",
        least=1.0,
        most=1e6,
    )
    early: float = key(
        300.0,
        "before there is a window: this many times above or below the layer's first norm",
        least=2.0,
        most=1e12,
    )
    leap: float = key(
        1e4,
        "and exploding at once: this many times above its first norm",
        least=2.0,
        most=1e30,
    )
    diverging: float = key(
        2.0,
        "exploding is a loss too this many times its largest of 64 frames, that stays there",
        least=1.1,
        most=1e6,
    )
    ceiling: float = key(
        1e8, "exploding whatever came before: a norm above this", least=1.0, most=1e38
    )
    vanishing: float = key(
        30.0,
        "vanishing is this many times below the median of the window, while another layer is not",
        least=2.0,
        most=1e12,
    )
    fading: int = key(16, "frames in a row that this takes", least=2, most=128)
    faint: float = key(
        1e-4,
        "vanishing from the start: this fraction of the largest layer's norm",
        least=0.0,
        most=0.1,
    )
    floor: float = key(
        1e-12, "vanishing whatever came before: a norm below this", least=1e-45, most=1.0
    )
    dead: int = key(
        12,
        "frames of exactly zero, less twice those that are not, that make a layer dead",
        least=1,
        most=1000,
    )
    clear: int = key(8, "frames in a row without it that end a fault", least=1, most=1000)
    relearn: int = key(
        1000,
        "frames after which a layer that exploded or vanished is taken as it is now",
        least=16,
        most=1_000_000,
    )
    cooldown: int = key(
        50, "frames in which the same fault of a layer is not told twice", least=0, most=100_000
    )
    remind: float = key(
        30.0, "seconds after which a fault that lasts is told again", least=1.0, most=86400.0
    )
    most: int = key(3, "faults told of one frame, gravest first", least=1, most=100)
    stalled: float = key(10.0, "seconds without a step, at the least", least=1.0, most=86400.0)
    stalled_steps: float = key(
        5.0, "stalled is this many times the median step too", least=1.0, most=1000.0
    )
