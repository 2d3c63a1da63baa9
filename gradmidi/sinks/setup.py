"""Program and pan of a voice, of layers or of a logged value; events without notes."""

from collections.abc import Sequence

from gradmidi.midi.numbers import (
    BEND,
    CONTROL,
    MIDDLE,
    PRESSURE,
    bend_range_controls,
    pan_value,
    program_of,
)
from gradmidi.midi.rig import Rig
from gradmidi.music.events import BRIGHTNESS, FAULT_VOICE, Bend, Control, Event, Off, On
from gradmidi.music.preset import Preset
from gradmidi.music.valuevoices import place_of
from gradmidi.music.voices import Voice

__all__ = ["layered", "setup", "shape_messages", "shared_bend", "without_notes"]


def layered(voices: Sequence[Voice]) -> int:
    """Return how many of the voices are of layers; the others are of logged values."""
    return sum(bool(voice.layers) for voice in voices)


def setup(preset: Preset, voice: int, layers: int) -> tuple[int, int]:
    """Return the program of a voice, 1 to 128 or 0 for none, and its value of controller 10.

    Parameters
    ----------
    preset : Preset
        Programs and pan.
    voice : int
        Index of the voice, from 0.
    layers : int
        Number of voices of layers; later voices are of values.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> setup(load("orchestra"), 0, 4), setup(load("pentatonic"), 4, 4)
    ((44, 14), (0, 64))
    """
    if voice >= layers:
        return preset.values.program, MIDDLE + round(63 * place_of(preset, voice - layers))
    programs = preset.voices.programs
    program = program_of(voice, layers, programs) if programs else 0
    return program, pan_value(voice, layers, preset.sound.pan)


def shape_messages(rig: Rig, preset: Preset, channel: int) -> list[tuple[int, ...]]:
    """Return what a voice's channel, from 0, needs before its first note: its bend range.

    In MPE a member channel also gets its neutral bend, brightness and pressure (MPE 1.0, 2.3).
    """
    if not rig.mpe and not preset.bends:
        return []
    found: list[tuple[int, ...]] = [
        (CONTROL | channel, *control) for control in bend_range_controls(rig.bend_semitones)
    ]
    if rig.mpe:
        found += [(BEND | channel, 0, MIDDLE), (CONTROL | channel, BRIGHTNESS, MIDDLE)]
        found.append((PRESSURE | channel, 0))
    return found


def shared_bend(rig: Rig, preset: Preset, voices: Sequence[Voice]) -> str:
    """Return a warning if voices that bend share a channel, else an empty text.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> voices = [Voice(0, "fc1", (0,)), Voice(1, "fc2", (1,))]
    >>> shared_bend(Rig(channels="1-2"), load("chromatic"), voices)
    ''
    >>> shared_bend(Rig(channels="3"), load("chromatic"), voices)[:43]
    'fc1 and fc2 share channel 3, and each bend '
    """
    owners: dict[tuple[int, int], Voice] = {}
    for voice in voices if preset.bends and rig.notes else ():
        place = rig.place(voice.index)
        other = owners.setdefault(place, voice)
        if other is not voice:
            return (
                f"{other.name} and {voice.name} share channel {place[1]}, and each bend moves "
                "both: give the rig more channels or ports, or use a preset without bends"
            )
    return ""


def without_notes(events: Sequence[Event]) -> list[Event]:
    """Leave out the notes of voices and what shapes them; the sounds of faults stay."""
    return [
        event
        for event in events
        if not (isinstance(event, (On, Off, Bend)) and event.voice != FAULT_VOICE)
        and not (isinstance(event, Control) and event.controller == BRIGHTNESS)
    ]
