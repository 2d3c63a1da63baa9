"""The events that every sink reads, and the notes that sound.

A piece is a stream of events in order of ticks; at equal ticks an `Off` comes before an `On`.
Events have no duration, since live output does not know the future. `voice` counts from 0; faults
sound on `FAULT_VOICE`.
"""

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gradmidi.midi.numbers import CONTROL, PRESSURE

__all__ = [
    "AFTERTOUCH",
    "BRIGHTNESS",
    "FAULT_VOICE",
    "PPQ",
    "Alarm",
    "Bend",
    "Control",
    "End",
    "Event",
    "Joined",
    "Mark",
    "Number",
    "Off",
    "On",
    "Sounding",
    "Step",
]

Key = TypeVar("Key", bound=Hashable)
Note = TypeVar("Note")

PPQ = 480
"""Ticks per quarter note (the MIDI file's division)."""

FAULT_VOICE = -1
"""The voice index of fault sounds, on MIDI channel 10 unless the rig gives another."""

AFTERTOUCH = 128
"""In place of a controller: channel pressure."""

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
        MIDI note, 0–127.
    velocity : int
        MIDI velocity, 1–127.
    pitch : float
        The exact pitch, a fractional MIDI note, for the synth and OSC.
    norm : float, default 0.0
        The norm that the note plays; 0.0 for a note without one.
    sound : str, default ""
        The name of the fault sound that the note belongs to; ``""`` for a voice's own note.

    Examples
    --------
    >>> On(tick=0, voice=0, note=60, velocity=80, pitch=60.0, norm=0.45).note
    60
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
    """A note ends.

    Parameters
    ----------
    tick : int
        Ticks since the start of the piece.
    voice : int
        Index of the voice, from 0, or `FAULT_VOICE`.
    note : int
        MIDI note, 0–127, that was started by an `On`.
    """

    tick: int
    voice: int
    note: int


@dataclass(frozen=True, slots=True)
class Control:
    """A controller of a voice changes.

    Parameters
    ----------
    tick : int
        Ticks since the start of the piece.
    voice : int
        Index of the voice, from 0.
    controller : int
        MIDI controller number, 0–127.
    value : int
        Its value, 0–127.
    """

    tick: int
    voice: int
    controller: int
    value: int


@dataclass(frozen=True, slots=True)
class Bend:
    """The pitch bend of a voice changes.

    Parameters
    ----------
    tick : int
        Ticks since the start of the piece.
    voice : int
        Index of the voice, from 0.
    semitones : float
        Semitones from the MIDI note that sounds, -2 to 2.
    """

    tick: int
    voice: int
    semitones: float


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the run, as a controller that the rig asks for; it makes no sound.

    Parameters
    ----------
    tick : int
        Ticks since the start of the piece.
    voice : int or None
        Index of the voice, from 0; None: a number of the whole run, on the channel of values.
    controller : int
        MIDI controller number, 0–119, with `fine` 0–31; or `AFTERTOUCH`.
    value : int
        Its value, 0–127; with `fine` 0–16383.
    fine : bool, default False
        Whether the value has 14 bits, sent as two controllers (MIDI 1.0, controllers 0–63).
    """

    tick: int
    voice: int | None
    controller: int
    value: int
    fine: bool = False

    def messages(self, channel: int) -> tuple[tuple[int, ...], ...]:
        """Return the MIDI messages on a channel from 0.

        Examples
        --------
        >>> Number(0, 0, 20, 100).messages(1), Number(0, 0, AFTERTOUCH, 9).messages(1)
        (((177, 20, 100),), ((209, 9),))
        """
        if self.controller == AFTERTOUCH:
            return ((PRESSURE | channel, self.value),)
        return tuple((CONTROL | channel, *control) for control in self.controls())

    def controls(self) -> tuple[tuple[int, int], ...]:
        """Return controllers and values, 0–127, the upper seven bits first.

        Examples
        --------
        >>> Number(0, 0, 20, 100).controls(), Number(0, 0, 20, 8193, fine=True).controls()
        (((20, 100),), ((20, 64), (52, 1)))
        """
        if not self.fine:
            return ((self.controller, self.value),)
        return (self.controller, self.value >> 7), (self.controller + 32, self.value & 127)


@dataclass(frozen=True, slots=True)
class Mark:
    """A text.

    Parameters
    ----------
    tick : int
        Ticks since the start of the piece.
    text : str
        The text.
    voice : int, optional
        Voice whose MIDI track gets the text; None: a marker of the piece.
    """

    tick: int
    text: str
    voice: int | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """A logged value gets a voice while the piece is played, because it is new.

    Parameters
    ----------
    tick : int
        Ticks since the start of the piece.
    voice : int
        Index of the voice, from 0.
    name : str
        The value's name.
    value : int
        Index among the values, from 0.
    """

    tick: int
    voice: int
    name: str
    value: int


@dataclass(frozen=True, slots=True)
class Step:
    """The numbers of one slot.

    Parameters
    ----------
    tick : int
        The tick at which the slot begins.
    step : int
        The last step in the slot.
    seconds : float
        The time of that step, in seconds since the start of the run.
    norms : tuple of float
        The last finite norm of each voice; 0.0 before the first.
    levels : tuple of float
        The same norms on a log scale over the range of each voice, 0–1.
    loss : float, optional
        The last loss in the slot; may be nan or infinite.
    values : tuple of (str, float)
        Name and last number of each value that was logged in the slot; may be nan or infinite.
    now : tuple of float
        The norm of each voice in the slot: may be nan, infinite or `gradmidi.log.ABSENT`.
    wrong : tuple of int
        The voices of which a layer is at fault.
    degrees : tuple of float
        How many degrees of the scale each voice, of layers and of values, is above its home; nan
        if it has no finite norm above zero, or no home yet.
    """

    tick: int
    step: int
    seconds: float
    norms: tuple[float, ...]
    levels: tuple[float, ...]
    loss: float | None = None
    values: tuple[tuple[str, float], ...] = field(default=(), compare=False)
    now: tuple[float, ...] = field(default=(), repr=False, compare=False)
    wrong: tuple[int, ...] = field(default=(), repr=False, compare=False)
    degrees: tuple[float, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A report of a fault, for the fault sound, OSC, MIDI markers and the terminal.

    Parameters
    ----------
    tick : int
        The tick at which its sound is due; the sound may start later.
    kind : str
        The kind of fault, as ``"nan"`` or ``"exploding"``.
    layer : str
        The layer's name; empty if the fault is of most layers, of a logged value or the run.
    step : int
        The step at which it was found.
    value : float
        The norm at that step; may be nan or inf.
    layers : tuple of str
        The names of all layers at fault; none if the fault is of a logged value or the run.
    present : int
        Number of layers that had a gradient at that step.
    logged : str
        The name of the logged value at fault; empty for a fault of layers or of the run.
    below : str
        If the layers are a row of neighbours, the layer that comes next, towards the output.
    """

    tick: int
    kind: str
    layer: str
    step: int
    value: float
    layers: tuple[str, ...] = field(default=(), repr=False, compare=False)
    present: int = field(default=0, repr=False, compare=False)
    logged: str = field(default="", repr=False, compare=False)
    below: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class End:
    """The end of the piece.

    Parameters
    ----------
    tick : int
        Ticks since the start of the piece.
    steps : int
        The last step of the run.
    seconds : float
        The time of that step, in seconds since the start of the run.
    """

    tick: int
    steps: int
    seconds: float


Event = On | Off | Control | Number | Bend | Mark | Joined | Step | Alarm | End


class Sounding(Generic[Key, Note]):
    """The notes that sound now, by key.

    A key identifies a note: usually ``(voice, note)``, for a MIDI port ``(channel, note)``. A key
    may sound several times at once; its oldest note ends first. The caller chooses the value that
    is stored for a note: its `On`, its first tick or its index in a table.

    Examples
    --------
    >>> sounding = Sounding()
    >>> sounding.start((0, 60), "first"), sounding.start((0, 60), "second")
    (1, 2)
    >>> sounding.end((0, 60)), (0, 60) in sounding, len(sounding), list(sounding)
    ('first', True, 1, ['second'])
    >>> sounding.end_all(), sounding.end((0, 60)), len(sounding)
    (['second'], None, 0)
    """

    def __init__(self) -> None:
        self._notes: dict[Key, deque[Note]] = {}

    def start(self, key: Key, note: Note) -> int:
        """Add a note; return how many notes of its key sound now, this one included."""
        notes = self._notes.get(key)
        if notes is None:
            notes = self._notes[key] = deque()
        notes.append(note)
        return len(notes)

    def end(self, key: Key) -> Note | None:
        """Remove and return the oldest note of a key; return None if the key does not sound."""
        notes = self._notes.get(key)
        if notes is None:
            return None
        note = notes.popleft()
        if not notes:
            del self._notes[key]
        return note

    def end_all(self) -> list[Note]:
        """Remove and return all notes, grouped by key."""
        notes = list(self)
        self._notes.clear()
        return notes

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys that sound, each once, in the order in which they started."""
        return tuple(self._notes)

    def of(self, key: Key) -> tuple[Note, ...]:
        """Return the notes of one key, the oldest first."""
        return tuple(self._notes.get(key, ()))

    def __contains__(self, key: object) -> bool:
        return key in self._notes

    def __iter__(self) -> Iterator[Note]:
        return (note for notes in self._notes.values() for note in notes)

    def __len__(self) -> int:
        return sum(map(len, self._notes.values()))
