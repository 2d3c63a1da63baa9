"""Tables of a preset: ``[voices]`` and their voicings, ``[loudness]`` and ``[sound]``."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradmidi.base.table import key

__all__ = ["Loudness", "Sound", "Voices", "even_voicing", "open_voicing"]


@dataclass(frozen=True, slots=True)
class Voices:
    """``[voices]``: the number of voices, and their homes."""

    most: int = key(15, "largest number of voices; more layers share voices", least=1, most=60)
    home: tuple[str, ...] = key(
        ("A2", "G5"),
        "home of the first voice, and the highest home; the others lie between them",
        length=2,
    )
    voicing: str = key(
        "open",
        "open: homes a fifth of the scale apart, a twelfth if there is room, spaced evenly over "
        "the scale if there are many; even: spaced evenly, as octaves",
        choices=("open", "even"),
    )
    programs: tuple[int, ...] = key(
        (),
        "General MIDI programs (1-128), spread over the voices, first to last",
        least=1,
        most=128,
    )
    keys: tuple[int, ...] = key(
        (36, 41, 45, 39),
        "MIDI notes of the style drums, spread over the voices, first to last",
        least=0,
        most=127,
    )


@dataclass(frozen=True, slots=True)
class Loudness:
    """``[loudness]``: velocity."""

    velocity: int = key(80, "velocity of a voice at home", least=1, most=127)
    per_step: float = key(
        3.5, "velocity added for each step of the scale above home", least=0.0, most=20.0
    )
    change: float = key(
        48.0,
        "velocity between a voice whose norm moves by two doublings and one that stays: half "
        "is added, half is taken away",
        least=0.0,
        most=100.0,
    )
    downbeat: int = key(0, "velocity added to the notes of a bar's first slot", least=0, most=60)
    range: tuple[int, ...] = key(
        (32, 108), "lowest and highest velocity", length=2, least=1, most=127
    )


@dataclass(frozen=True, slots=True)
class Sound:
    """``[sound]``: the synth's timbre, envelope, panning and output."""

    partials: tuple[float, ...] = key(
        (1.0, 0.2, 0.12, 0.08, 0.1, 0.08, 0.08),
        "amplitude of each harmonic partial",
        least=0.0,
        most=1.0,
    )
    decay: tuple[float, ...] = key(
        (0.25, 0.08, 0.06, 0.04, 0.03, 0.03, 0.03),
        "seconds in which each partial falls to 1/e (37 %); 0: it does not decay",
        least=0.0,
        most=60.0,
    )
    contrast: float = key(
        0.35,
        "share that the even partials of every second voice lose, to tell neighbours apart",
        least=0.0,
        most=1.0,
    )
    brightness: float = key(
        0.6, "how much brightness (CC 74) changes the upper partials", least=0.0, most=1.0
    )
    attack: float = key(5.0, "ms of raised-cosine attack", least=0.0, most=200.0)
    release: float = key(40.0, "ms of raised-cosine release", least=0.0, most=2000.0)
    pan: float = key(
        0.8, "width of the panning, first voice left to last voice right", least=0.0, most=1.0
    )
    gain: float = key(0.0, "dB added to everything", least=-60.0, most=24.0)
    silence: float = key(
        0.5, "seconds of silence before and after the music in a sound file", least=0.0, most=10.0
    )
    channels: int = key(2, "1: mono, 2: stereo", least=1, most=2)
    even: bool = key(
        True, "notes of every pitch are about equally loud (ISO 226); false: of equal power"
    )
    limiter: bool = key(True, "a soft limiter on the sum")
    format: str = key(
        "pcm16", "samples of a .wav: pcm16 (dithered) or float", choices=("pcm16", "float")
    )


FIFTH, OCTAVE = 7, 12
"""Semitones."""


def even_voicing(notes: Sequence[int], first: int, last: int, voices: int) -> tuple[int, ...]:
    """Return the notes nearest to `voices` places spaced evenly from `first` to `last`.

    Examples
    --------
    >>> from gradmidi.music.pitch import scale_notes
    >>> even_voicing(scale_notes("A minor pentatonic", 28, 105), 48, 84, 4)
    (48, 60, 72, 84)
    """
    span = (last - first) / max(1, voices - 1)
    wanted = [first + span * index for index in range(voices)]
    if voices == 1:
        wanted = [(first + last) / 2]
    return tuple(min(notes, key=lambda note: (abs(note - want), note)) for want in wanted)


def open_voicing(notes: Sequence[int], first: int, last: int, voices: int) -> tuple[int, ...]:
    """Return the homes of `voices` voices as an open chord of the scale.

    The homes are a twelfth apart, or a fifth if that is too wide, counted in notes of the scale, so
    that they have different names; the lowest is `first`, in the highest octave that leaves room
    for the others. If fifths are too wide as well, they are spaced evenly over the scale.

    Parameters
    ----------
    notes : sequence of int
        The notes of the scale, ascending.
    first, last : int
        The lowest home, and the highest that is allowed.
    voices : int
        1 or more.

    Examples
    --------
    >>> from gradmidi.music.pitch import note_name, scale_notes
    >>> notes = scale_notes("A minor pentatonic", 26, 98)
    >>> [note_name(note) for note in open_voicing(notes, 45, 79, 4)]
    ['A3', 'E4', 'C5', 'G5']
    """
    inside = [note for note in notes if first <= note <= last]
    if not inside:
        return even_voicing(notes, first, last, voices)
    low = inside[0]
    room = (len(inside) - 1) / max(1, voices - 1)
    octave = sum(low < note <= low + OCTAVE for note in inside)
    stride, start = room, 0
    for semitones in (FIFTH, OCTAVE + FIFTH):
        steps = sum(low < note <= low + semitones for note in inside)
        if steps > 1 and low + semitones in inside and steps <= room:
            stride = steps
            above = len(inside) - 1 - steps * (voices - 1)
            start = above // octave * octave if voices > 1 else octave
    return tuple(inside[round(start + stride * voice)] for voice in range(voices))
