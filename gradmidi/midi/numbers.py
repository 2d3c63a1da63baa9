"""Constants of MIDI 1.0: status bytes, controllers and values.

The status byte of a channel message is a constant such as `NOTE_ON` plus the channel, from 0.
"""

__all__ = [
    "ACTIVE_SENSING",
    "ALL_NOTES_OFF",
    "ALL_SOUND_OFF",
    "BEND",
    "BEND_RANGE",
    "BEND_RANGE_CONTROLS",
    "CHANNELS",
    "CLOCK",
    "CONTROL",
    "DATA_ENTRY",
    "DIN_SECONDS",
    "HOLD",
    "MIDDLE",
    "NOTE_OFF",
    "NOTE_ON",
    "PAN",
    "PROGRAM",
    "RELEASE_VELOCITY",
    "SONG_POSITION",
    "START",
    "STOP",
]

CHANNELS = 16
"""Channels of a port."""

NOTE_OFF, NOTE_ON, CONTROL, PROGRAM, BEND = 0x80, 0x90, 0xB0, 0xC0, 0xE0
"""Status bytes of the messages of a channel."""

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

BEND_RANGE_CONTROLS = (
    (101, 0),
    (100, 0),
    (DATA_ENTRY, BEND_RANGE),
    (38, 0),
    (101, 127),
    (100, 127),
)
"""Controllers and values that set the bend range and then deselect the parameter: registered
parameter 0, pitch bend sensitivity."""

DIN_SECONDS = 0.001
"""How long a message of three bytes takes on a DIN cable (31,250 baud)."""
