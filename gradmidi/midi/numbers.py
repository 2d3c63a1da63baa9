"""Constants of MIDI 1.0: status bytes, controllers and values.

The status byte of a channel message is a constant such as `NOTE_ON` plus the channel, from 0.
"""

__all__ = [
    "ACTIVE_SENSING",
    "ALL_NOTES_OFF",
    "ALL_SOUND_OFF",
    "BEND",
    "BEND_RANGE",
    "CHANNELS",
    "CLOCK",
    "CONTROL",
    "DATA_ENTRY",
    "DIN_SECONDS",
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
    "bend_range_controls",
    "zone_controls",
]

CHANNELS = 16
"""Channels of a port."""

NOTE_OFF, NOTE_ON, CONTROL, PROGRAM, BEND = 0x80, 0x90, 0xB0, 0xC0, 0xE0
"""Status bytes of the messages of a channel."""

PRESSURE = 0xD0
"""Status byte of channel pressure, a message of two bytes."""

SONG_POSITION, CLOCK, START, STOP = 0xF2, 0xF8, 0xFA, 0xFC
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
