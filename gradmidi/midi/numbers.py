"""MIDI's numbers: status bytes, controllers and values, and those of a voice.

Files, live ports and OSC share them. The status byte of a channel message is a constant such as
`NOTE_ON` plus the channel, from 0. The numbers of a voice are as people see them: channels are
1–16; ports count from 0.
"""

import unicodedata
from collections.abc import Sequence

__all__ = [
    "ACTIVE_SENSING",
    "ALL_NOTES_OFF",
    "ALL_SOUND_OFF",
    "BEND",
    "BEND_RANGE",
    "CHANNELS",
    "CLOCK",
    "CONTINUE",
    "CONTROL",
    "DATA_ENTRY",
    "DIN_SECONDS",
    "FAULT_CHANNEL",
    "HOLD",
    "MIDDLE",
    "MPE_BEND_RANGE",
    "NOTE_OFF",
    "NOTE_ON",
    "PAN",
    "PRESSURE",
    "PROGRAM",
    "RELEASE_VELOCITY",
    "SONG_POSITION",
    "START",
    "STOP",
    "VOICE_CHANNELS",
    "ascii_text",
    "bend_range_controls",
    "bend_word",
    "pan_value",
    "place",
    "program_of",
    "zone_controls",
]

CHANNELS = 16
"""Channels of a port."""

NOTE_OFF, NOTE_ON, CONTROL, PROGRAM, BEND = 0x80, 0x90, 0xB0, 0xC0, 0xE0
"""Status bytes of the messages of a channel."""

PRESSURE = 0xD0
"""Status byte of channel pressure, a message of two bytes."""

SONG_POSITION, CLOCK, START, CONTINUE, STOP = 0xF2, 0xF8, 0xFA, 0xFB, 0xFC
"""Status bytes of MIDI clock."""

ACTIVE_SENSING = 0xFE
"""Status byte of the message that tells a receiver that the cable and the sender still work. A
receiver that knows it ends all notes if nothing more comes for 300 ms."""

DATA_ENTRY, PAN, HOLD, ALL_SOUND_OFF, ALL_NOTES_OFF = 6, 10, 64, 120, 123
"""Controllers. Hold (the pedal) keeps notes sounding after All Notes Off: switch it off first."""

RELEASE_VELOCITY = 64
"""The velocity of a note off without a measured release velocity."""

MIDDLE = 64
"""The neutral value of pan, of brightness (RP-021) and of a bend's upper seven bits."""

BEND_RANGE = 2
"""Semitones of a full bend up or down: General MIDI's default."""

MPE_BEND_RANGE = 48
"""Semitones of a full bend on a member channel (MPE 1.0, 2.2.6)."""


def bend_range_controls(semitones: int) -> tuple[tuple[int, int], ...]:
    """Return controllers and values that set the bend range, and then deselect the parameter.

    This is registered parameter 0, pitch bend sensitivity.

    Examples
    --------
    >>> bend_range_controls(2)
    ((101, 0), (100, 0), (6, 2), (38, 0), (101, 127), (100, 127))
    """
    return (*((101, 0), (100, 0)), (DATA_ENTRY, semitones), *((38, 0), (101, 127), (100, 127)))


def zone_controls(members: int) -> tuple[tuple[int, int], ...]:
    """Return controllers and values for the master channel that make an MPE zone.

    This is registered parameter 6, the MPE configuration message (MPE 1.0, 2.1.1).

    Examples
    --------
    >>> zone_controls(8)
    ((101, 0), (100, 6), (6, 8), (101, 127), (100, 127))
    """
    return (*((101, 0), (100, 6)), (DATA_ENTRY, members), *((101, 127), (100, 127)))


DIN_SECONDS = 0.001
"""How long a message of three bytes takes on a DIN cable (31,250 baud)."""


FAULT_CHANNEL = 10
"""The channel of fault sounds: the drum channel of General MIDI. No voice uses it."""

VOICE_CHANNELS = (*range(1, FAULT_CHANNEL), *range(FAULT_CHANNEL + 1, 17))
"""The channels of a port that voices use, in order: 1–9 and 11–16."""


def place(voice: int) -> tuple[int, int]:
    """Return the port and the channel of a voice.

    Parameters
    ----------
    voice : int
        Index of the voice, from 0.

    Returns
    -------
    port : int
        From 0; a port has fifteen voices.
    channel : int
        1–16, never `FAULT_CHANNEL`.

    Examples
    --------
    >>> place(0), place(9), place(14), place(15)
    ((0, 1), (0, 11), (0, 16), (1, 1))
    """
    port, index = divmod(voice, len(VOICE_CHANNELS))
    return port, VOICE_CHANNELS[index]


def pan_value(voice: int, voices: int, width: float) -> int:
    """Return a voice's value of controller 10, which places voices evenly from left to right.

    Parameters
    ----------
    voice, voices : int
        Index of the voice, from 0, and number of voices; a single voice is in the middle.
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
    """Return a voice's program; the programs are spread evenly over the voices, in order.

    Parameters
    ----------
    voice, voices : int
        Index of the voice, from 0, and number of voices.
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
    """Return the 14-bit number of a pitch bend message.

    Parameters
    ----------
    semitones : float
        Bend from the note; clamped to ±`BEND_RANGE`.

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
    """Convert text to printable ASCII, the only text that all MIDI programs read the same way.

    Accents are removed (Unicode NFKD), characters without an ASCII form become ``?``, and control
    characters, such as line breaks, become spaces.

    Parameters
    ----------
    text : str
        Any text.
    otherwise : str, optional
        For a name: returned if no letter and no digit is left.

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
