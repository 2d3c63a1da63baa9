"""Norms back out of a MIDI file, from the file alone.

The text events say how norms became notes; the notes and controllers hold the values, but for
a norm whose note gave way to one that tells who is at fault: that one is a text too. One row a
slot: a number, ``"<=x"``-like texts at the rails (with ≤ and ≥), None for a rest.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mido

from gradmidi.errors import GradmidiError
from gradmidi.midi import metadata as texts
from gradmidi.midi.numbers import BEND_RANGE, DATA_ENTRY
from gradmidi.music.events import BRIGHTNESS
from gradmidi.music.pitch import note_number, pitch_to_hz, rail, scale_notes
from gradmidi.music.styles import STYLES, Heard, HeardNote, Style

__all__ = ["Decoded", "Value", "decode"]


@dataclass(frozen=True, slots=True)
class Value:
    """A decoded norm: the number, and whether it is a bound (-1: at most, 1: at least)."""

    norm: float
    bound: int = 0

    def written(self) -> float | str:
        """Give the number with six digits, or with ≤ or ≥ before it as a text."""
        if self.bound:
            return f"{'≤' if self.bound < 0 else '≥'}{self.norm:.6g}"
        return float(f"{self.norm:.6g}")


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
    """

    voices: tuple[str, ...]
    layers: tuple[tuple[str, ...], ...]
    frames_per_slot: int
    seconds: float
    rows: tuple[tuple[Value | None, ...], ...]
    steps: tuple[int | None, ...]

    def lines(self) -> Iterator[str]:
        """Write it as JSON lines: a header, then a row a slot."""
        yield json.dumps(
            {
                "voices": self.voices,
                "layers": self.layers,
                "steps_per_slot": self.frames_per_slot,
                "slot_seconds": self.seconds,
            },
            ensure_ascii=False,
        )
        for index, (step, row) in enumerate(zip(self.steps, self.rows, strict=True)):
            norms = [None if value is None else value.written() for value in row]
            yield json.dumps({"slot": index, "step": step, "norms": norms}, ensure_ascii=False)


@dataclass(slots=True)
class _Track:
    name: str
    mapping: dict[str, Any]
    messages: list[tuple[int, mido.Message]]
    withheld: dict[int, float]


def decode(path: str | Path) -> Decoded:
    """Read the norms back out of a file that gradmidi wrote.

    Parameters
    ----------
    path : str or Path
        A ``.mid`` file.

    Returns
    -------
    Decoded
        Norms within 1 % where the preset keeps the residue.

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
        file = mido.MidiFile(path)
    except OSError as error:
        reason = error.strerror or str(error) or "it ends too early"
        raise GradmidiError(f"{path} cannot be read as a MIDI file: {reason}") from error
    except (EOFError, ValueError) as error:
        raise GradmidiError(f"{path} cannot be read as a MIDI file: {error}") from error
    written = [track for track in map(_read, file.tracks) if track.mapping]
    # The tracks of logged values have no norms.
    tracks = [track for track in written if "voice" in track.mapping]
    if written and not tracks:
        raise GradmidiError(
            f"{path} plays logged values alone, and no norms; read the numbers in the run's log"
        )
    if not tracks:
        raise GradmidiError(
            f"{path} holds no text events of gradmidi; only a file that gradmidi wrote "
            "can be decoded"
        )
    tempo = next((m.tempo for m in file.tracks[0] if m.type == "set_tempo"), 500_000)
    for track in tracks:
        wrong = texts.problem(track.mapping)
        if wrong:
            raise GradmidiError(f"{path} is damaged: in a text event of gradmidi, {wrong}")
        if track.mapping["style"] not in STYLES:
            raise GradmidiError(
                f"{path} was written with the style {track.mapping['style']!r}, which is not "
                f"installed here; there are: {', '.join(STYLES)}"
            )
    tracks.sort(key=lambda track: int(track.mapping["voice"]))
    ticks = int(tracks[0].mapping["slot_ticks"])
    slots = _slots(tracks, ticks)
    columns = [_column(track, slots) for track in tracks]
    return Decoded(
        tuple(track.name for track in tracks),
        tuple(tuple(track.mapping["layers"]) for track in tracks),
        int(tracks[0].mapping["frames_per_slot"]),
        mido.tick2second(ticks, file.ticks_per_beat, tempo),
        tuple(zip(*columns, strict=True)),
        texts.unroll(tracks[0].mapping.get("steps", ()), slots),
    )


def _read(track: mido.MidiTrack) -> _Track:
    tick, name = 0, ""
    mapping: dict[str, Any] = {}
    withheld: dict[int, float] = {}
    messages = []
    for message in track:
        tick += message.time
        if message.type == "track_name":
            name = message.name
        elif message.type == "text":
            text = texts.read(message.text)
            if "norm" in text:
                slot, norm = text.get("slot"), text["norm"]
                if type(slot) is int and slot >= 0 and type(norm) in (int, float):
                    withheld[slot] = norm
            else:
                mapping |= text
        messages.append((tick, message))
    return _Track(name, mapping, messages, withheld)


def _column(track: _Track, slots: int) -> list[Value | None]:
    """Read a voice's values: from its notes, and from a text where a note gave way."""
    style, value = STYLES[track.mapping["style"]], _reading(track.mapping)
    notes, home = _reach(track.mapping)
    values: list[Value | None] = []
    for heard in _heard(track, style, slots):
        sounding = style.read(heard, notes, home)
        values.append(None if sounding is None else value(*sounding))
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


def _heard(track: _Track, style: Style, slots: int) -> Iterator[Heard]:
    """Read what sounds in each slot, without the notes that identify a voice at fault.

    A voice's own notes start, and those that are held end, at the voice's place in a slot; notes
    that identify it start and end elsewhere.
    """
    mapping = track.mapping
    ticks, origin, offset = (int(mapping[key]) for key in ("slot_ticks", "origin", "offset"))
    spacing = style.spacing(ticks)
    note, brightness, bend = None, 64, 0.0
    parameter: dict[int, int] = {}
    bend_range = BEND_RANGE
    struck: list[HeardNote] = []
    now = 0
    for tick, message in track.messages:
        slot, place = divmod(tick - origin, ticks)
        own = 0 <= slot < slots and place % spacing == offset
        if message.type not in ("note_on", "note_off", "control_change", "pitchwheel"):
            continue
        while now < min(slot, slots):
            held = None if note is None else HeardNote(note, brightness, bend)
            yield Heard(tuple(struck), held)
            struck.clear()
            now += 1
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
    for _ in range(now, slots):
        held = None if note is None else HeardNote(note, brightness, bend)
        yield Heard(tuple(struck), held)
        struck.clear()


def _reach(mapping: Mapping[str, Any]) -> tuple[Sequence[int], int]:
    """Tell the notes that a voice moves over, and the index of its home in them."""
    low, high = (note_number(name) for name in mapping["range"])
    notes = scale_notes(mapping["scale"], low, high)
    if mapping["home"] not in notes:
        raise GradmidiError(f"home note {mapping['home']} is not in {mapping['scale']!r}")
    return STYLES[mapping["style"]].reach(notes, notes.index(mapping["home"]))


def _reading(mapping: Mapping[str, Any]) -> Callable[[int, int, float], Value | None]:
    """Plan how a voice's note, brightness and bend become a norm."""
    if mapping["law"] == "hz":
        base, factor = mapping["hz"]
        return lambda note, _brightness, bend: Value((pitch_to_hz(note + bend) - base) / factor)
    notes, home = _reach(mapping)
    places = {note: index for index, note in enumerate(notes)}
    reference, step, residue_in = (mapping[key] for key in ("reference", "step", "residue"))
    edge = rail(residue_in)

    def value(note: int, brightness: int, bend: float) -> Value | None:
        if note not in places or reference is None:
            return None
        index = places[note]
        residue = 0.0
        if residue_in == "brightness":
            residue = brightness / 127.0 - 0.5
        elif residue_in == "bend" and bend:
            beside = min(max(index + (1 if bend > 0 else -1), 0), len(notes) - 1)
            gap = abs(notes[beside] - note) or 1
            residue = bend / gap
        bound = 0
        if index == 0 and residue <= -edge:
            bound = -1
        elif index == len(notes) - 1 and residue >= edge:
            bound = 1
        return Value(reference * step ** (index - home + residue), bound)

    return value
