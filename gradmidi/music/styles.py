"""Styles: how the tones of a slot become notes, and how its notes are read back as tones.

A style is a class derived from `Style` and decorated with `register`; a preset selects it by
``[time] style``. Every process, including the player, finds a style of another package if that
package lists the class, under the style's name, as an entry point in the group
``gradmidi.styles``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeVar

from gradmidi.music.pitch import Tone
from gradmidi.music.timing import STYLES, Time, ticks_of

__all__ = [
    "STYLES",
    "Heard",
    "HeardNote",
    "Part",
    "Stroke",
    "Style",
    "Time",
    "register",
]

AnyStyle = TypeVar("AnyStyle", bound=type["Style"])


def register(style: AnyStyle) -> AnyStyle:
    """Register a style under its `name`, so that presets can use it; a class decorator.

    This applies to one process; for others an entry point is needed, see the top of this module.

    Parameters
    ----------
    style : type
        A class derived from `Style`; it is instantiated without arguments.

    Returns
    -------
    type
        The class.

    Raises
    ------
    PresetError
        If another class has that name already.

    Examples
    --------
    >>> register(Chord) is Chord, STYLES["chord"].about
    (True, 'together, a little staggered')
    """
    STYLES.add(style)
    return style


class Stroke(NamedTuple):
    """One note of a voice in a slot.

    Parameters
    ----------
    start : int
        Ticks from the start of the slot: the voice's `Part.offset`, or, if the style has several
        places in a slot, that plus a multiple of `Style.spacing`.
    length : int or None
        Ticks; None: the note is held until the voice has another note or a rest.
    note : int
        MIDI note, 0–127.
    """

    start: int
    length: int | None
    note: int


class HeardNote(NamedTuple):
    """A note read from a file: MIDI note, controller 74, and bend in semitones."""

    note: int
    brightness: int
    bend: float


class Heard(NamedTuple):
    """The notes of one voice in one slot, as read from a file.

    Parameters
    ----------
    struck : tuple of HeardNote
        The notes that start in the slot, in order.
    held : HeardNote or None
        The note that sounds at the end of the slot.
    """

    struck: tuple[HeardNote, ...]
    held: HeardNote | None


@dataclass(frozen=True, slots=True)
class Part:
    """The constants of one voice in a piece.

    Parameters
    ----------
    voice : int
        Index of the voice, from 0.
    notes : sequence of int
        The MIDI notes that the voice can play, ascending.
    home : int
        Index of its home in `notes`.
    key : int
        The MIDI note that the voice plays at home.
    offset : int
        Ticks from the start of a slot to the voice's note.
    slot_ticks : int
        Ticks in a slot.
    time : Time
        The preset's ``[time]``.
    """

    voice: int
    notes: Sequence[int]
    home: int
    key: int
    offset: int
    slot_ticks: int
    time: Time


class Style:
    """Base class of styles, which turn the tones of a slot into notes.

    A style has no state. A subclass defines `name`, `about` and `play`. The other methods are for
    voices that sound together, one note for each slot; override those that differ.

    Attributes
    ----------
    name : str
        The value of a preset's ``[time] style``.
    about : str
        A short description for the list of styles.
    together : bool, default True
        Whether the voices of a slot sound at the same time; if so, the synth lowers them.
    holds : bool, default False
        Whether a note may last longer than a slot.
    swings : bool, default True
        Whether every second slot may begin late, by the preset's swing.
    strokes_at_home : int, default 0
        If the number of notes in a slot carries the norm: the number at home. 0 if the pitch
        carries the norm.

    Examples
    --------
    >>> class Short(Style):
    ...     name, about = "short", "together, a tenth of the slot long"
    ...
    ...     def play(self, part: Part, tone: Tone) -> tuple[Stroke, ...]:
    ...         return (Stroke(part.offset, part.slot_ticks // 10, tone.note),)
    """

    name: ClassVar[str]
    about: ClassVar[str]
    together: ClassVar[bool] = True
    holds: ClassVar[bool] = False
    swings: ClassVar[bool] = True
    strokes_at_home: ClassVar[int] = 0

    def play(self, part: Part, tone: Tone) -> Sequence[Stroke]:
        """Return the notes of one voice in one slot."""
        raise NotImplementedError

    def read(self, heard: Heard, notes: Sequence[int], home: int) -> HeardNote | None:
        """Undo `play`: return the note that carries the tone, or None for a rest.

        `notes` and `home` are from the voice's `Part`.
        """
        return heard.struck[-1] if heard.struck else None

    def slot_ticks(self, time: Time, voices: int) -> int:
        """Return the ticks in one slot of `voices` voices."""
        return ticks_of(time.slot)

    def offset(self, time: Time, voice: int, voices: int) -> int:
        """Return the ticks from the start of a slot to a voice's note.

        A note that starts elsewhere identifies a voice at fault; `decode` skips it.
        """
        stagger = round(time.stagger / 1000.0 / time.tick_seconds)
        return voice * min(stagger, self.slot_ticks(time, voices) // 2 // voices)

    def spacing(self, slot_ticks: int) -> int:
        """Return the ticks between two places in a slot at which a note may start."""
        return slot_ticks

    def reach(self, notes: Sequence[int], home: int) -> tuple[Sequence[int], int]:
        """Return the notes of the scale that a voice can play, and the index of its home.

        A style that plays notes above or below the tone returns fewer notes, so that all that it
        plays are between 0 and 127.
        """
        return notes, home

    def keys(self, homes: Sequence[int], drums: Sequence[int]) -> tuple[int, ...]:
        """Return the MIDI note that each voice plays at home.

        `homes` are the voices' homes in the scale, `drums` is the preset's ``[voices] keys``.
        """
        return tuple(homes)


@register
class Chord(Style):
    """All voices together, a little staggered."""

    name = "chord"
    about = "together, a little staggered"

    def play(self, part: Part, tone: Tone) -> tuple[Stroke, ...]:
        """Strike one note for a share of the slot."""
        return (Stroke(part.offset, round(part.time.gate * part.slot_ticks), tone.note),)


@register
class Arpeggio(Style):
    """One voice after another, then a rest."""

    name = "arpeggio"
    about = "one after another, then a rest"
    together = False
    swings = False

    def play(self, part: Part, tone: Tone) -> tuple[Stroke, ...]:
        """Strike one note of the length that the preset gives."""
        return (Stroke(part.offset, part.time.note, tone.note),)

    def slot_ticks(self, time: Time, voices: int) -> int:
        """Return the ticks of all notes and the rest."""
        return voices * time.note + time.rest

    def offset(self, time: Time, voice: int, voices: int) -> int:
        """Place each voice after the one before it."""
        return voice * time.note


@register
class Hold(Style):
    """Each voice holds its note until the note changes."""

    name = "hold"
    about = "a note is held until it changes"
    holds = True

    def play(self, part: Part, tone: Tone) -> tuple[Stroke, ...]:
        """Strike one note without an end."""
        return (Stroke(part.offset, None, tone.note),)

    def read(self, heard: Heard, notes: Sequence[int], home: int) -> HeardNote | None:
        """Return the note that is held at the end of the slot."""
        return heard.held


@register
class Drums(Style):
    """Strokes on one key, spread over the slot: one more for each step of the scale."""

    name = "drums"
    about = "strokes spread over the slot, one more for each step of the scale"
    strokes_at_home = 9
    swings = False

    places = 32  # where a stroke may start in a slot; at most 17 are used

    def play(self, part: Part, tone: Tone) -> list[Stroke]:
        """Strike the voice's key; the number of strokes rises with the tone."""
        grid = self.spacing(part.slot_ticks)
        length = max(1, round(part.time.gate * grid))
        # Rotate each voice's rhythm, so that not all voices play at the start of a slot.
        count, turn = self.strokes_at_home + tone.steps, 3 * part.voice
        # Spread as evenly as possible: G. Toussaint, "The Euclidean algorithm generates traditional
        # musical rhythms" (2005).
        places = sorted((hit * self.places // count + turn) % self.places for hit in range(count))
        return [Stroke(place * grid, length, part.key) for place in places]

    def read(self, heard: Heard, notes: Sequence[int], home: int) -> HeardNote | None:
        """Count the strokes."""
        index = home + len(heard.struck) - self.strokes_at_home
        if not heard.struck or not 0 <= index < len(notes):
            return None
        return heard.struck[-1]._replace(note=notes[index])

    def offset(self, time: Time, voice: int, voices: int) -> int:
        """Place the strokes of every voice on the same grid."""
        return 0

    def spacing(self, slot_ticks: int) -> int:
        """Divide the slot into its places."""
        return slot_ticks // self.places

    def reach(self, notes: Sequence[int], home: int) -> tuple[Sequence[int], int]:
        """Return 17 notes of the scale, one for each number of strokes, 1 to 17.

        Examples
        --------
        >>> STYLES["drums"].reach(range(28, 106), 20)
        (range(40, 57), 8)
        """
        low = max(0, home - (self.strokes_at_home - 1))
        return notes[low : home + self.strokes_at_home], home - low

    def keys(self, homes: Sequence[int], drums: Sequence[int]) -> tuple[int, ...]:
        """Spread the preset's keys over the voices.

        Examples
        --------
        >>> STYLES["drums"].keys((48, 60, 72, 84), (36, 41, 45, 39, 37, 56, 42, 76))
        (36, 45, 37, 42)
        """
        return tuple(drums[voice * len(drums) // len(homes)] for voice in range(len(homes)))
