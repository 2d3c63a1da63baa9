"""A plain listener that is given the notes of a MIDI file, and nothing else of it."""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import mido
import numpy as np
from hearing import (
    EVERYONE,
    FIRST_NAME,
    NAME,
    NAME_APART,
    SPEAKS_FOR_ITSELF,
    Named,
    by_contour,
    length_of,
    roll_seconds,
    slots_of,
)

from gradmidi.midi.numbers import BEND_RANGE, FAULT_CHANNEL, VOICE_CHANNELS
from gradmidi.music.alarms import END, PATTERNS, TICK
from gradmidi.music.preset import Preset

CLOSE = 0.012
"""Seconds by which a note may be off and still be taken for the one that is waited for."""

LATEST = 2.5
"""Seconds after the pulses that a voice may still say its name."""


def strip(path: Path, bare: Path) -> Path:
    """Copy a MIDI file without any meta event: no text, name, marker, tempo or port."""
    file = mido.MidiFile(path)
    copy = mido.MidiFile(type=1, ticks_per_beat=file.ticks_per_beat)
    for track in file.tracks:
        kept, tick, last = mido.MidiTrack(), 0, 0
        for message in track:
            tick += message.time
            if not message.is_meta:
                kept.append(message.copy(time=tick - last))
                last = tick
        copy.tracks.append(kept)
    copy.save(bare)
    return bare


@dataclass(frozen=True)
class Note:
    """A note as it is heard: voice (-1: the fault channel), pitch, and seconds."""

    voice: int
    key: int
    pitch: float
    start: float
    length: float


def notes_of(path: Path, tempo: float = 120.0) -> list[Note]:
    """Read the notes, by onset, at the tempo that the preset has (120 where a file says none)."""
    file = mido.MidiFile(path)
    tick_seconds = 60.0 / tempo / file.ticks_per_beat
    notes = []
    for track in file.tracks:
        tick = 0
        bend: dict[int, float] = defaultdict(float)
        held: dict[tuple[int, int], list[tuple[int, float]]] = defaultdict(list)
        for message in track:
            assert not message.is_meta or message.type == "end_of_track"
            tick += message.time
            if message.type == "pitchwheel":
                bend[message.channel] = message.pitch / 8192.0 * BEND_RANGE
            elif message.type == "note_on" and message.velocity:
                pitch = message.note + bend[message.channel]
                held[message.channel, message.note].append((tick, pitch))
            elif message.type in ("note_on", "note_off"):
                started, pitch = held[message.channel, message.note].pop(0)
                channel = message.channel + 1
                voice = -1 if channel == FAULT_CHANNEL else VOICE_CHANNELS.index(channel)
                notes.append(
                    Note(
                        voice,
                        message.note,
                        pitch,
                        started * tick_seconds,
                        (tick - started) * tick_seconds,
                    )
                )
    return sorted(notes, key=lambda note: note.start)


def listen(path: Path, preset: Preset, begin: float) -> list[Named]:
    """Name what is wrong with a run, from the notes of a file alone.

    Parameters
    ----------
    path : Path
        A file that `strip` made.
    preset : Preset
        The listener knows which one it hears: its tempo and how it lays voices out.
    begin : float
        Seconds at which the key is over and the run begins.
    """
    notes = notes_of(path, preset.time.tempo)
    alarms = [note for note in notes if note.voice < 0]
    voices = [note for note in notes if note.voice >= 0]
    count = max((note.voice for note in voices), default=0) + 1
    if not alarms:
        last = max((note.start for note in voices), default=begin)
        table = _pitches(voices, preset, count, begin, last)
        return list(by_contour(table, slots_of(preset, count)[0]))
    named = [_who(each, voices, count) for each in _alarms(alarms)]
    return [replace(each, at=each.at - begin) for each in named]


def steps(path: Path, preset: Preset, begin: float) -> np.ndarray:
    """Hear where each voice is in each slot, in steps of the scale above its home.

    Returns
    -------
    ndarray of float64, shape (slots, voices)
        nan where a voice rests. A voice's home is the first note it plays, in the key.
    """
    every = notes_of(path, preset.time.tempo)
    notes = [note for note in every if note.voice >= 0]
    count = max(note.voice for note in notes) + 1
    # Where all voices are silent the ticks, and the sound that ends a run, say that it goes on.
    last = max(note.start for note in every)
    scale = preset.notes
    homes = [next(note.key for note in notes if note.voice == voice) for voice in range(count)]
    table = _pitches(notes, preset, count, begin, last)
    above = [
        [np.nan if np.isnan(p) else scale.index(round(p)) - scale.index(home) for p in column]
        for column, home in zip(table.T, homes, strict=True)
    ]
    return np.array(above, float).T


def _alarms(notes: list[Note]) -> list[Named]:
    """Recognise alarms by the rhythm of their strokes."""
    left = list(notes)
    found = []
    for note in notes:
        if note not in left:
            continue
        for kind, pattern in PATTERNS.items():
            strokes = [
                next(
                    (
                        n
                        for n in left
                        if n.key == pulse.key
                        and abs(n.start - note.start - pulse.start / 1000.0) < CLOSE
                    ),
                    None,
                )
                for pulse in pattern
            ]
            if all(strokes) and note is strokes[0]:
                left = [n for n in left if n not in strokes]
                if kind not in (END, TICK):
                    found.append(Named(kind, (), note.start))
                break
    return found


def _who(alarm: Named, notes: list[Note], voices: int) -> Named:
    """Hear which voices say their names after an alarm, one after another."""
    if alarm.kind not in SPEAKS_FOR_ITSELF:
        return alarm.with_voice(EVERYONE)
    after = alarm.at + length_of(alarm.kind)
    at, end = after + FIRST_NAME, after + LATEST
    near = [note for note in notes if after - CLOSE < note.start < end + 2.0]
    roll = roll_seconds(voices)
    said = alarm
    while at < end:
        if EVERYONE not in said.voices and _rolls(near, at, roll, voices):
            said = said.with_voice(EVERYONE)
            at += voices * roll + FIRST_NAME
            end = max(end, at + CLOSE)
        elif (voice := _says(near, at)) is not None and voice not in said.voices:
            said = said.with_voice(voice)
            at += 2 * NAME_APART
            end = at + CLOSE
        else:
            at += CLOSE / 2
            if said.voices and at > end:
                break
    return said


def _says(notes: list[Note], at: float) -> int | None:
    for note in notes:
        if abs(note.start - at) < CLOSE and abs(note.length - NAME) < CLOSE:
            for again in notes:
                if (again.voice, again.key) == (note.voice, note.key) and abs(
                    again.start - at - NAME_APART
                ) < CLOSE:
                    return note.voice
    return None


def _rolls(notes: list[Note], at: float, roll: float, voices: int) -> bool:
    """Whether most voices speak in turn; one may be named for another fault at the time."""
    heard = sum(
        any(
            n.voice == voice
            and abs(n.start - at - voice * roll) < CLOSE
            and abs(n.length - roll) < CLOSE
            for n in notes
        )
        for voice in range(voices)
    )
    return heard >= max(1, 0.6 * voices)


def _pitches(
    notes: list[Note], preset: Preset, voices: int, begin: float, last: float
) -> np.ndarray:
    slot, apart = slots_of(preset, voices)
    table = np.full((max(1, int((last - begin) / slot) + 1), voices), np.nan)
    for note in notes:
        index = round((note.start - begin - note.voice * apart) / slot)
        if 0 <= index < len(table):
            table[index, note.voice] = note.pitch
    return table
