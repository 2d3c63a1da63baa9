"""Presets: how norms become music, as frozen, validated values read from TOML.

Every key is a field with its default, range and meaning; `docs/presets.md` is generated from
these fields. The keys of ``[time]``, ``[pitch]`` and ``[faults]`` are in `styles`, `pitch` and
`detection.kinds`. Ports and channels are in the rig, not in a preset.
"""

import dataclasses
import math
import os
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from gradmidi.base.table import read_toml, section, shown
from gradmidi.detection.kinds import Faults
from gradmidi.errors import PresetError
from gradmidi.midi.numbers import BEND_RANGE
from gradmidi.music.pitch import (
    Pitch,
    Tone,
    exchanged,
    members,
    note_name,
    note_number,
    scale_notes,
    tone,
)
from gradmidi.music.styles import STYLES, Part, Style
from gradmidi.music.tables import Loudness, Sound, Voices, even_voicing, open_voicing
from gradmidi.music.timing import PPQ, Time
from gradmidi.music.values import Values

__all__ = [
    "Loudness",
    "Preset",
    "Sound",
    "Time",
    "Voices",
    "legend_bar",
    "legend_notes",
    "lines",
    "load",
    "names",
    "parse",
]

DOUBLINGS = 8
"""This many doublings must fit into the range above and below every home."""


@dataclass(frozen=True, slots=True)
class Preset:
    """How norms become music: one TOML file, validated once.

    Parameters
    ----------
    name : str
        The preset's name: the file's name without its ending.
    title : str
        A description in one line.
    use : str, default ""
        When to use it, in one line.
    time, pitch, voices, values, loudness, sound, faults
        The file's tables. docs/presets.md lists every key with its unit, range and default.

    Raises
    ------
    PresetError
        If values do not fit together: homes that leave no room for eight doublings, or a range
        whose first value is the larger.

    Examples
    --------
    >>> preset = load("pentatonic")
    >>> preset.pitch.step, preset.faults.spike
    (2.0, 8.0)
    """

    name: str
    title: str
    use: str = ""
    time: Time = field(default_factory=Time)
    pitch: Pitch = field(default_factory=Pitch)
    voices: Voices = field(default_factory=Voices)
    values: Values = field(default_factory=Values)
    loudness: Loudness = field(default_factory=Loudness)
    sound: Sound = field(default_factory=Sound)
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        if self.time.style not in STYLES:
            self._refuse("time.style", self.time.style, f"one of: {', '.join(STYLES)}")
        low, high = (note_number(name) for name in self.pitch.range)
        if low >= high:
            self._refuse("pitch.range", self.pitch.range, "a low note, then a higher one")
        first, last = (note_number(name) for name in self.voices.home)
        if first > last:
            self._refuse("voices.home", self.voices.home, "a low note, then a higher one")
        if self.loudness.range[0] > self.loudness.range[1]:
            self._refuse("loudness.range", self.loudness.range, "a low velocity, then a higher one")
        if len(self.sound.decay) != len(self.sound.partials):
            self._refuse(
                "sound.decay",
                self.sound.decay,
                f"one number a partial ({len(self.sound.partials)})",
            )
        if isinstance(self.pitch.reference, str) and self.pitch.reference != "first":
            self._refuse("pitch.reference", self.pitch.reference, "'first' or a number above 0")
        if isinstance(self.pitch.reference, float) and not (0.0 < self.pitch.reference < math.inf):
            self._refuse("pitch.reference", self.pitch.reference, "'first' or a number above 0")
        if self.style.strokes_at_home and not self.voices.keys:
            allowed = f"one key at least, with the style {self.time.style}"
            self._refuse("voices.keys", self.voices.keys, allowed)
        self._check_values(low, high)
        if self.time.swing > 0.5 and not self.style.swings:
            self._refuse("time.swing", self.time.swing, f"0.5 with the style {self.time.style}")
        if self.pitch.law == "log":
            self._check_room(low, high, first, last)
        self._check_scales()

    def _check_values(self, low: int, high: int) -> None:
        values = self.values
        first, last = (note_number(name) for name in values.home)
        if not low <= first <= last <= high or not scale_notes(self.pitch.scale, first, last):
            allowed = "a low note, then a higher one, within pitch.range"
            self._refuse("values.home", values.home, f"{allowed}, with a note of the scale")
        if 0.0 < values.factor < 1.01:
            self._refuse("values.factor", values.factor, "1.01 to 10, or 0")
        if not values.partials or len(values.decay) != len(values.partials):
            allowed = f"one number a partial ({len(values.partials)}), at least one"
            self._refuse("values.decay", values.decay, allowed)

    def _check_scales(self) -> None:
        """Refuse scales of another size, and a tuning that no MIDI note and bend can play."""
        pitch, tuning = self.pitch, ("pitch.tuning", self.pitch.tuning)
        ends: tuple[str, object] = tuning if pitch.tuning else ("pitch.range", pitch.range)
        count = len(members(pitch.scale))
        for name, scale in pitch.others.items():
            if pitch.law == "hz" or len(members(scale)) != count:
                self._refuse(name, scale, f"a scale of {count} notes, with the law log")
        if pitch.tuning and (pitch.law == "hz" or len(pitch.tuning) != count):
            self._refuse(*tuning, f"{count} numbers, one for each note of the scale, with law log")
        for scale in (pitch.scale, *pitch.others.values()):
            law, notes = replace(pitch, scale=scale), exchanged(self.notes, pitch.scale, scale)
            exact = [law.tuned(note) for note in notes]
            if any(low >= high for low, high in pairwise(exact)):
                self._refuse(*tuning, "cents that leave the notes in their order")
            if exact and not (exact[0] >= 0.0 and exact[-1] <= 127.0):
                self._refuse(*ends, "pitches from C-1 to G9, in each scale")
            middles = [(low + high) / 2.0 for low, high in pairwise(exact)]
            bent = [*zip(notes, middles, strict=False), *zip(notes[1:], middles, strict=True)]
            if pitch.tuning and pitch.residue == "bend":
                for note, reached in bent:
                    if abs(reached - note) > BEND_RANGE:
                        allowed = f"bends of {BEND_RANGE} semitones at most, also of "
                        self._refuse(*tuning, allowed + note_name(note))

    def _check_room(self, low: int, high: int, first: int, last: int) -> None:
        notes = self.notes
        steps = math.ceil(DOUBLINGS * math.log(2.0) / math.log(self.pitch.step) - 1e-9)
        below = sum(note < first for note in notes)
        above = sum(note > last for note in notes)
        if below < steps or above < steps:
            raise PresetError(
                f"preset {self.name}: homes {self.voices.home[0]} to {self.voices.home[1]} leave "
                f"{below} steps of {self.pitch.scale} below and {above} above within "
                f"{self.pitch.range[0]} to {self.pitch.range[1]}; eight doublings need {steps} "
                "either way: widen pitch.range or bring voices.home together"
            )

    def _refuse(self, name: str, value: object, allowed: str) -> typing.NoReturn:
        raise PresetError(f"preset {self.name}: {name} = {shown(value)}; allowed is {allowed}")

    @property
    def style(self) -> Style:
        """The style that ``time.style`` names."""
        style: Style = STYLES[self.time.style]
        return style

    @property
    def is_drums(self) -> bool:
        """Whether voices of layers play the keys of a drum kit."""
        return self.style.strokes_at_home > 0

    @property
    def bends(self) -> bool:
        """Whether voices send bends; the keys of drums have no pitch to bend."""
        return not self.is_drums and (self.pitch.residue == "bend" or bool(self.pitch.tuning))

    @property
    def notes(self) -> tuple[int, ...]:
        """Every note of the scale within the range, ascending."""
        return self.pitch.notes

    def home_notes(self, voices: int) -> tuple[int, ...]:
        """Return the home of each of `voices` voices: notes of the scale, ascending.

        Examples
        --------
        >>> load("pentatonic").home_notes(4)
        (57, 64, 72, 79)
        """
        first, last = (note_number(name) for name in self.voices.home)
        spread = open_voicing if self.voices.voicing == "open" else even_voicing
        return spread(self.notes, first, last, voices)

    def parts(self, voices: int) -> tuple[Part, ...]:
        """Return the constants of each of `voices` voices for a piece."""
        style, notes = self.style, self.notes
        homes = self.home_notes(voices)
        keys = style.keys(homes, self.voices.keys)
        slot_ticks = style.slot_ticks(self.time, voices)
        return tuple(
            Part(
                voice,
                *style.reach(notes, notes.index(home)),
                key,
                style.offset(self.time, voice, voices),
                slot_ticks,
                self.time,
            )
            for voice, (home, key) in enumerate(zip(homes, keys, strict=True))
        )


def _folder() -> Path:
    """Return the folder of the shipped presets: in the package, or next to it in a checkout."""
    here = Path(__file__).parent.parent
    inside = here / "presets"
    return inside if inside.is_dir() else here.parent / "presets"


def names() -> tuple[str, ...]:
    """Return the names of the presets that ship with gradmidi, sorted.

    Examples
    --------
    >>> "pentatonic" in names()
    True
    """
    # Not Path.glob, which finds nothing, silently, if no file descriptor is left.
    files = map(Path, os.listdir(_folder()))
    return tuple(sorted(path.stem for path in files if path.suffix == ".toml"))


def load(preset: "str | Path | Preset", settings: Mapping[str, Any] | None = None) -> Preset:
    """Read a preset by its name or from a TOML file.

    Parameters
    ----------
    preset : str or Path or Preset
        A shipped preset's name, a path to a ``.toml`` file, or a preset, which is returned.
    settings : mapping, optional
        Values that replace those of the preset, by section and key, such as ``time.tempo``.

    Returns
    -------
    Preset

    Raises
    ------
    PresetError
        If there is no such preset, or it holds an unknown key, a wrong type or a value that is
        not allowed; the message names the file, the key, the value and what is allowed.

    Examples
    --------
    >>> load("pentatonic").pitch.step
    2.0
    """
    if isinstance(preset, Preset):
        if not settings:
            return preset
        return parse(_changed(_table(preset), settings), preset.name, "--set")
    path = Path(preset)
    if path.suffix != ".toml":
        if str(preset) not in names():
            raise PresetError(
                f"no preset is called {str(preset)!r}; there are: {', '.join(names())}; "
                "or give the path of a .toml file"
            )
        path = _folder() / f"{preset}.toml"
    loaded = parse(read_toml(path, "preset"), path.stem, str(path))
    return loaded if not settings else load(loaded, settings)


def _table(preset: Preset) -> dict[str, Any]:
    """Return a preset as the table of its TOML file."""
    table = dataclasses.asdict(preset)
    del table["name"]
    for values in table.values():
        if isinstance(values, dict):
            values.update({k: list(v) for k, v in values.items() if isinstance(v, tuple)})
    return table


def _changed(table: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a table with the values of `settings`, whose keys are ``SECTION.KEY``."""
    changed = dict(table)
    for where, value in settings.items():
        name, _, key = where.partition(".")
        values = changed.get(name)
        if not isinstance(values, dict):
            sections = ", ".join(n for n, v in table.items() if isinstance(v, dict))
            raise PresetError(
                f"--set {where}: a preset has no table {name!r}; there are: {sections}"
            )
        changed[name] = {**values, key: value}
    return changed


def lines(preset: Preset) -> Iterator[str]:
    """Yield a preset as lines of text: its purpose, then each of its values."""
    yield f"{preset.name}: {preset.title}"
    if preset.use:
        yield preset.use
    for part in dataclasses.fields(preset):
        values = getattr(preset, part.name)
        if not dataclasses.is_dataclass(values):
            continue
        for declared in dataclasses.fields(values):
            value = getattr(values, declared.name)
            yield f"{part.name}.{declared.name} = {shown(value)}: {declared.metadata['doc']}"
    yield f"the style {preset.time.style}: {preset.style.about}"


def parse(table: dict[str, Any], name: str, source: str) -> Preset:
    """Build a preset from a TOML table; `source` is named in errors."""
    sections: dict[str, Any] = {"name": name}
    kinds = {f.name: f.type for f in dataclasses.fields(Preset)}
    for word, value in table.items():
        kind = kinds.get(word)
        if kind is None or word == "name":
            allowed = ", ".join(k for k in kinds if k != "name")
            raise PresetError(f"{source}: unknown key {word!r}; there are: {allowed}")
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            if not isinstance(value, dict):
                raise PresetError(f"{source}: {word} = {shown(value)}; allowed is a table [{word}]")
            sections[word] = section(kind, value, f"{source}: [{word}]")
        elif isinstance(value, str):
            sections[word] = value
        else:
            raise PresetError(f"{source}: {word} = {shown(value)}; allowed is text")
    if "title" not in sections:
        raise PresetError(
            f"{source}: title is missing; give the preset one line that says what it is"
        )
    return Preset(**sections)


LEGEND_DOUBLINGS = (0, 1, 3)
"""Notes of each voice in the legend, in doublings above home."""


def legend_notes(preset: Preset, voices: int) -> Iterator[tuple[int, int, int, Tone]]:
    """Yield the tones of a legend: tick, voice, doublings and tone.

    Each voice has a bar, and each number of doublings a beat of it. A beat is a quarter note, or a
    slot if the number of strokes carries the norm.
    """
    bar, beat = legend_bar(preset, voices)
    for voice, part in enumerate(preset.parts(voices)):
        for index, doublings in enumerate(LEGEND_DOUBLINGS):
            steps = doublings * math.log(2.0) / math.log(preset.pitch.step)
            found = tone(preset.pitch, part.notes, part.home, steps)
            yield voice * bar + index * beat, voice, doublings, found


def legend_bar(preset: Preset, voices: int) -> tuple[int, int]:
    """Return the ticks of a bar and of a beat of the legend."""
    if preset.style.strokes_at_home:
        beat = preset.time.slot_ticks(max(1, voices))
        return beat * len(LEGEND_DOUBLINGS), beat
    return 4 * PPQ, PPQ
