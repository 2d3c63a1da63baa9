"""Where a voice stands in MIDI: port, channel, program, pan, bend and a name in ASCII.

Pure functions of numbers and text, so that a file, a live port and OSC all say the same.
Ports count from 0; channels are 1–16, as people see them.
"""

import unicodedata
from collections.abc import Sequence

from gradmidi.midi.numbers import BEND_RANGE, MIDDLE

__all__ = [
    "CHANNELS",
    "FAULT_CHANNEL",
    "ascii_text",
    "bend_word",
    "pan_value",
    "place",
    "program_of",
]

FAULT_CHANNEL = 10
"""The channel of fault sounds: General MIDI's drums, so no voice stands there."""

CHANNELS = (*range(1, FAULT_CHANNEL), *range(FAULT_CHANNEL + 1, 17))
"""A port's channels for voices, in order: 1–9 and 11–16."""


def place(voice: int) -> tuple[int, int]:
    """Find the port and the channel that a voice plays on.

    Parameters
    ----------
    voice : int
        Index of the voice, from 0.

    Returns
    -------
    port : int
        From 0; a port holds fifteen voices.
    channel : int
        1–16, never `FAULT_CHANNEL`.

    Examples
    --------
    >>> place(0), place(9), place(14), place(15)
    ((0, 1), (0, 11), (0, 16), (1, 1))
    """
    port, index = divmod(voice, len(CHANNELS))
    return port, CHANNELS[index]


def pan_value(voice: int, voices: int, width: float) -> int:
    """Place a voice between left and right, evenly by depth, as a value of controller 10.

    Parameters
    ----------
    voice, voices : int
        Index of the voice, from 0, and how many there are; a lone voice stands in the middle.
    width : float
        0: all in the middle; 1: the first fully left, the last fully right.

    Returns
    -------
    int
        1–127; 64 is the middle, 1 fully left (MIDI Manufacturers Association, RP-036).

    Examples
    --------
    >>> [pan_value(voice, 3, 1.0) for voice in range(3)], pan_value(0, 1, 1.0)
    ([1, 64, 127], 64)
    """
    if voices == 1:
        return MIDDLE
    return MIDDLE + round(63 * width * (2 * voice + 1 - voices) / (voices - 1))


def program_of(voice: int, voices: int, programs: Sequence[int]) -> int:
    """Choose a voice's program: the programs lie over the voices by depth, in even runs.

    Parameters
    ----------
    voice, voices : int
        Index of the voice, from 0, and how many there are.
    programs : sequence of int
        General MIDI programs, 1–128, at least one.

    Returns
    -------
    int
        1–128.

    Examples
    --------
    >>> [program_of(voice, 4, (33, 49)) for voice in range(4)]
    [33, 33, 49, 49]
    """
    return programs[voice * len(programs) // voices]


def bend_word(semitones: float) -> int:
    """Turn a bend into the 14-bit number of a pitch bend message.

    Parameters
    ----------
    semitones : float
        From the struck key; clamped to `BEND_RANGE` either way.

    Returns
    -------
    int
        0–16383; 8192 is no bend (MIDI 1.0, pitch bend change).

    Examples
    --------
    >>> bend_word(0.0), bend_word(-2.0), bend_word(1.0), bend_word(7.0)
    (8192, 0, 12288, 16383)
    """
    return min(max(8192 + round(8192 * semitones / BEND_RANGE), 0), 16383)


def ascii_text(text: str, otherwise: str | None = None) -> str:
    """Fold text to printable ASCII, which every MIDI program reads alike.

    Accents are dropped (Unicode NFKD), what has no ASCII form becomes ``?``, and a line break
    or another control character a space.

    Parameters
    ----------
    text : str
        Any text.
    otherwise : str, optional
        For a name: returned where nothing readable is left, no letter and no digit.

    Returns
    -------
    str

    Examples
    --------
    >>> ascii_text("entrée"), ascii_text("слой 1"), ascii_text("層", "voice 3")
    ('entree', '???? 1', 'voice 3')
    """
    folded = "".join(
        "?" if character > "~" else character if character >= " " else " "
        for character in unicodedata.normalize("NFKD", text)
        if not unicodedata.combining(character)
    ).strip()
    if otherwise is None or any(map(str.isalnum, folded)):
        return folded
    return otherwise
