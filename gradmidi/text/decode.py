"""Norms and logged values back out of a MIDI file, from the file alone.

The text events say how numbers became notes; the notes and controllers hold the numbers, but for
a norm whose note gave way to one that tells who is at fault: that one is a text too. One row a
slot: a number, ``"<=x"``-like texts at the rails (with ≤ and ≥), None for a rest.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import mido

from gradmidi.errors import GradmidiError
from gradmidi.midi import metadata as texts
from gradmidi.midi.numbers import BEND_RANGE, DATA_ENTRY
from gradmidi.music.events import BRIGHTNESS
from gradmidi.music.styles import STYLES, Heard, HeardNote, Style
from gradmidi.music.values import Law
from gradmidi.text.reading import (
    Scales,
    Value,
    degrees_of,
    grid_of,
    named,
    notes_of,
    reach_of,
    reading,
    scale_at,
    scales_of,
)

__all__ = ["Decoded", "Logged", "Value", "decode"]


@dataclass(frozen=True, slots=True)
class Logged:
    """A decoded number of a logged value.

    Parameters
    ----------
    seconds : float
        Time of its note from the start of the file.
    step : int or None
        The last step of its slot; None if the file was cut short.
    number : Value
        The number.
    """

    seconds: float
    step: int | None
    number: Value


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a MIDI file says.

    Parameters
    ----------
    voices : tuple of str
        Their names, in order.
    layers : tuple of tuple of str
        The layers in each.
    frames_per_slot : int
        Steps that share a slot.
    seconds : float
        Length of a slot.
    rows : tuple of tuple of Value or None
        A row a slot, a value a voice; None where the voice rests.
    steps : tuple of int or None
        The last step of each slot; None where no step fell into it, or the file was cut short.
    values : mapping of str to tuple of Logged
        The numbers of each logged value; without those of notes at its start, before its law was
        found, which are all at home.
    """

    voices: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    frames_per_slot: int
    seconds: float
    rows: tuple[tuple[Value | None, ...], ...]
    steps: tuple[int | None, ...]
    values: Mapping[str, tuple[Logged, ...]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Write it as JSON lines: a header, a row for each slot, and one for each logged number."""
        header = {
            "voices": self.voices,
            "layers": self.layers,
            "steps_per_slot": self.frames_per_slot,
            "slot_seconds": self.seconds,
        }
        more = {"values": list(self.values)} if self.values else {}
        yield json.dumps({**header, **more}, ensure_ascii=False)
        for index, (step, row) in enumerate(zip(self.steps, self.rows, strict=True)):
            norms = [None if value is None else value.written() for value in row]
            yield json.dumps({"slot": index, "step": step, "norms": norms}, ensure_ascii=False)
        for name, numbers in self.values.items():
            for each in numbers:
                place = {"value": name, "step": each.step, "seconds": round(each.seconds, 4)}
                yield json.dumps({**place, "number": each.number.written()}, ensure_ascii=False)


@dataclass(slots=True)
class _Track:
    name: str
    mapping: dict[str, Any]
    messages: list[tuple[int, mido.Message]]
    withheld: dict[int, float]


def decode(path: str | Path) -> Decoded:
    """Read the norms and logged values back out of a file that gradmidi wrote.

    Parameters
    ----------
    path : str or Path
        A ``.mid`` file.

    Returns
    -------
    Decoded
        Norms and values within 1 % where the preset keeps the residue; values that move by
        differences within 1 % of the difference for one degree of the scale.

    Raises
    ------
    GradmidiError
        If it cannot be read, is no MIDI file or holds none of gradmidi's text events.

    Examples
    --------
    >>> import gradmidi, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with gradmidi.record(folder + "/a", layers=["fc1"], files=()) as listener:
    ...     for norm in (0.5, 1.0, 0.25):
    ...         listener.frame({"fc1": norm})
    >>> _ = gradmidi.render(folder + "/a", folder + "/a.mid")
    >>> [round(row[0].norm, 2) for row in gradmidi.decode(folder + "/a.mid").rows]
    [0.5, 1.0, 0.25]
    """
    try:
        file = _opened(path)
    except OSError as error:
        reason = error.strerror or str(error) or "it ends too early"
        raise GradmidiError(f"{path} cannot be read as a MIDI file: {reason}") from error
    except (EOFError, ValueError) as error:
        raise GradmidiError(f"{path} cannot be read as a MIDI file: {error}") from error
    written = [track for track in map(_read, file.tracks) if track.mapping]
    tracks = [track for track in written if "voice" in track.mapping]
    of_values = [track for track in written if "value" in track.mapping]
    if not tracks and not of_values:
        raise GradmidiError(
            f"{path} holds no text events of gradmidi; only a file that gradmidi wrote "
            "can be decoded"
        )
    tempo = next((m.tempo for m in file.tracks[0] if m.type == "set_tempo"), 500_000)
    for track in [*tracks, *of_values]:
        checks = () if track in tracks else (texts.OF_VALUE, texts.LAW_OF_VALUE)
        wrong = texts.problem(track.mapping, *checks)
        if wrong:
            raise GradmidiError(f"{path} is damaged: in a text event of gradmidi, {wrong}")
    for track in tracks:
        if track.mapping["style"] not in STYLES:
            raise GradmidiError(
                f"{path} was written with the style {track.mapping['style']!r}, which is not "
                f"installed here; there are: {', '.join(STYLES)}"
            )
    tracks.sort(key=lambda track: int(track.mapping["voice"]))
    seconds = partial(mido.tick2second, ticks_per_beat=file.ticks_per_beat, tempo=tempo)
    first: Mapping[str, Any] = [*tracks, *of_values][0].mapping
    grid = grid_of(first)
    slots = _slots(tracks, grid.ticks) if tracks else 0
    scales = first.get("scales", ())
    columns = [_column(track, slots, scales) for track in tracks]
    steps = texts.unroll(first.get("steps", ()), slots)
    known = steps
    if not tracks:
        # Values alone: their steps are in the first track.
        rows = first.get("steps", ())
        known = texts.unroll(rows, min(sum(rows[-1][::3]) if rows else 0, texts.MOST_SLOTS))

    def step_at(tick: int) -> int | None:
        slot = grid.place_of(tick)[0]
        return known[slot] if 0 <= slot < len(known) else None

    return Decoded(
        tuple(track.name for track in tracks),
        tuple(tuple(track.mapping["layers"]) for track in tracks),
        int(first.get("frames_per_slot", 1)),
        seconds(grid.ticks),
        tuple(zip(*columns, strict=True)),
        steps,
        {
            track.mapping["value"]: tuple(
                Logged(seconds(tick), step_at(tick), number)
                for tick, number in _logged(track, grid.origin, scales)
            )
            for track in of_values
        },
    )


def _opened(path: str | Path) -> mido.MidiFile:
    """Open a file; raise EOFError or ValueError if it is damaged.

    If the head claims to be longer than the file, mido would reserve memory for as many bytes
    as it claims to have.
    """
    with open(path, "rb") as file:
        head = file.read(8)
        if int.from_bytes(head[4:]) > file.seek(0, os.SEEK_END):
            raise EOFError("it ends too early")
    try:
        return mido.MidiFile(path)
    except (OSError, EOFError, ValueError):
        raise
    except Exception as error:  # mido's own, or of any kind: it does not check all messages.
        raise ValueError("a message is damaged") from error


def _logged(track: _Track, origin: int, scales: Scales) -> Iterator[tuple[int, Value]]:
    """Yield the numbers of a logged value, each with the tick of its note.

    Other notes, as its reference tone, are at other places.
    """
    mapping = track.mapping
    if "reference" not in mapping:
        return
    additive = "difference" in mapping
    law = Law(mapping["reference"], mapping["difference" if additive else "factor"], additive)
    readings = {scale: degrees_of(*notes_of(mapping, scale)) for scale in named(scales)}
    grid = grid_of(mapping, origin)
    period, offset = int(mapping["period"]), int(mapping["offset"])
    brightness, bend, known = 64, 0.0, False
    for tick, message in track.messages:
        if message.type == "control_change" and message.control == BRIGHTNESS:
            brightness = message.value
        elif message.type == "pitchwheel":
            bend = message.pitch / 8192.0 * BEND_RANGE
        elif message.is_meta:
            known = known or "reference" in texts.read(texts.text_in(message))
        elif message.type == "note_on" and message.velocity:
            slot, place = grid.place_of(tick)
            found = readings[scale_at(slot, scales)](message.note, brightness, bend)
            own = (slot * grid.ticks + place) % period == offset
            if found is not None and known and own:
                yield tick, Value(law.number(found[0]), found[1])


def _read(track: mido.MidiTrack) -> _Track:
    tick, name = 0, ""
    mapping: dict[str, Any] = {}
    withheld: dict[int, float] = {}
    messages = []
    for message in track:
        tick += message.time
        if message.type == "track_name":
            name = message.name
        elif text := texts.read(texts.text_in(message)):
            if "norm" in text:
                slot, norm = text.get("slot"), text["norm"]
                if type(slot) is int and slot >= 0 and type(norm) in (int, float):
                    withheld[slot] = norm
            else:
                # The steps of many slots come in parts.
                parts = [each["steps"] for each in (mapping, text) if "steps" in each]
                if len(parts) == 2 and all(isinstance(part, list) for part in parts):
                    text["steps"] = [*parts[0], *parts[1]]
                mapping |= text
        messages.append((tick, message))
    return _Track(name, mapping, messages, withheld)


def _column(track: _Track, slots: int, scales: Scales) -> list[Value | None]:
    """Read a voice's values: from its notes, and from a text where a note gave way."""
    mapping = track.mapping
    style = STYLES[mapping["style"]]
    reach = {scale: reach_of(mapping, scale) for scale in named(scales)}
    readings = {scale: reading(mapping, scale) for scale in reach}
    values: list[Value | None] = []
    for heard, count in _heard(track, style, slots):
        for scale, same in scales_of(len(values), len(values) + count, scales):
            notes, home, _ = reach[scale]
            sounding = style.read(heard, notes, home)
            values += [None if sounding is None else readings[scale](*sounding)] * same
    for slot, norm in track.withheld.items():
        if slot < slots:
            values[slot] = Value(norm)
    return values


def _slots(tracks: Sequence[_Track], ticks: int) -> int:
    """Count the slots: as the file says, or up to its last note where it was cut short."""
    if "slots" in tracks[0].mapping:
        return int(tracks[0].mapping["slots"])
    notes = (t for track in tracks for t, message in track.messages if message.type == "note_on")
    return min(max(notes, default=-1) // ticks + 1, texts.MOST_SLOTS)


def _heard(track: _Track, style: Style, slots: int) -> Iterator[tuple[Heard, int]]:
    """Read what sounds in each slot, and in how many slots, one after another, it is the same.

    Notes that identify a voice at fault are left out.

    A voice's own notes start, and those that are held end, at the voice's place in a slot; notes
    that identify it start and end elsewhere.
    """
    mapping = track.mapping
    grid, offset = grid_of(mapping), int(mapping["offset"])
    spacing = style.spacing(grid.ticks)
    note, brightness, bend = None, 64, 0.0
    parameter: dict[int, int] = {}
    bend_range = BEND_RANGE
    struck: list[HeardNote] = []
    now = 0
    for tick, message in track.messages:
        slot, place = grid.place_of(tick)
        own = 0 <= slot < slots and place % spacing == offset
        if message.type not in ("note_on", "note_off", "control_change", "pitchwheel"):
            continue
        if now < (until := min(slot, slots)):
            held = None if note is None else HeardNote(note, brightness, bend)
            if struck:
                yield Heard(tuple(struck), held), 1
                struck.clear()
                now += 1
            if now < until:
                yield Heard((), held), until - now
                now = until
        if message.type == "control_change":
            if message.control == BRIGHTNESS:
                brightness = message.value
            elif message.control in (100, 101):
                parameter[message.control] = message.value
            elif message.control == DATA_ENTRY and parameter == {101: 0, 100: 0}:
                # Registered parameter 0 is the bend range.
                bend_range = message.value
        elif message.type == "pitchwheel":
            bend = message.pitch / 8192.0 * bend_range
        elif own and message.type == "note_on" and message.velocity:
            note = message.note
            struck.append(HeardNote(note, brightness, bend))
        elif own and message.note == note:
            note = None
    held = None if note is None else HeardNote(note, brightness, bend)
    if struck and now < slots:
        yield Heard(tuple(struck), held), 1
        now += 1
    yield Heard((), held), max(0, slots - now)
