"""The events every sink reads: frozen records at integer ticks, with no behaviour.

A piece is a stream of these in order of ticks; at equal ticks an `Off` stands before an
`On`. Durations do not exist: live output does not know the future. `voice` counts from 0;
`FAULT_VOICE` is the one that faults sound on.
"""

from dataclasses import dataclass

__all__ = [
    "BRIGHTNESS",
    "FAULT_VOICE",
    "PPQ",
    "Bend",
    "Control",
    "End",
    "Event",
    "Fault",
    "Mark",
    "Off",
    "On",
    "Step",
]

PPQ = 480
"""Ticks a quarter note (the MIDI file's division)."""

FAULT_VOICE = -1
"""The voice index of fault sounds (MIDI channel 10 unless the rig says otherwise)."""

BRIGHTNESS = 74
"""MIDI controller 74, "brightness" (MIDI 1.0, RP-021 Sound Controllers)."""


@dataclass(frozen=True, slots=True)
class On:
    """A note starts.

    Parameters
    ----------
    tick : int
        Ticks since the start of the piece, 0 or more.
    voice : int
        Index of the voice, from 0; `FAULT_VOICE` for a fault sound.
    note : int
        MIDI note, 0–127: the key that is struck.
    velocity : int
        MIDI velocity, 1–127.
    pitch : float
        The pitch meant, as a fractional MIDI note: what the synth and OSC play.
    norm : float
        The norm that is heard; 0.0 where the note stands for none.
    sound : str
        What kind of note: ``""`` a voice's own, else the name of a fault sound.
    """

    tick: int
    voice: int
    note: int
    velocity: int
    pitch: float
    norm: float = 0.0
    sound: str = ""


@dataclass(frozen=True, slots=True)
class Off:
    """A note ends: its voice's `note`, at `tick`."""

    tick: int
    voice: int
    note: int


@dataclass(frozen=True, slots=True)
class Control:
    """A controller of a voice moves: MIDI controller number and value, both 0–127."""

    tick: int
    voice: int
    controller: int
    value: int


@dataclass(frozen=True, slots=True)
class Bend:
    """A voice's pitch bend moves, in semitones from the struck key."""

    tick: int
    voice: int
    semitones: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A text: a marker of the whole piece, or (with `voice`) a text of that voice's track."""

    tick: int
    text: str
    voice: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The numbers behind one slot, for whoever shows or sends them.

    Parameters
    ----------
    tick : int
        Where the slot begins.
    step : int
        The last step that fell into the slot.
    seconds : float
        That step's time, seconds since the run's start.
    norms : tuple of float
        One norm a voice, finite: a voice without one repeats its last (0.0 before any).
    levels : tuple of float
        The same on a log scale over the voice's range, 0–1.
    loss : float or None
        The last loss in the slot, where there was a finite one.
    """

    tick: int
    step: int
    seconds: float
    norms: tuple[float, ...]
    levels: tuple[float, ...]
    loss: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong that is heard, as OSC and the terminal tell it.

    Parameters
    ----------
    tick : int
        Where it is announced.
    kind : str
        One of `gradmidi.faults.KINDS`.
    layer : str
        The layer's name; empty where the fault is the whole run's.
    step : int
        The step it was seen at.
    value : float
        The norm at that step; may be nan or inf.
    """

    tick: int
    kind: str
    layer: str
    step: int
    value: float


@dataclass(frozen=True, slots=True)
class End:
    """The piece is over at `tick`, after `steps` steps that took `seconds`."""

    tick: int
    steps: int
    seconds: float


Event = On | Off | Control | Bend | Mark | Step | Fault | End
