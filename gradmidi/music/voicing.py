"""Voicings: the homes of voices, as a chord of the scale."""

from collections.abc import Sequence

__all__ = ["even_voicing", "open_voicing"]

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
