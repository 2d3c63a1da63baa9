"""A preset: how norms become music, as frozen, validated values read from TOML.

Every number that a preset can change is a field here, with its default, its range and its
meaning; `docs/presets.md` is generated from these fields. A preset never names a port, a
channel or a cable: those are the rig's.
"""

import dataclasses
import math
import tomllib
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradmidi.base.table import key, section, shown
from gradmidi.detection.limits import Faults
from gradmidi.errors import PresetError
from gradmidi.music.events import PPQ
from gradmidi.music.scale import note_number, scale_notes

__all__ = [
    "Loudness",
    "Pitch",
    "Preset",
    "Sound",
    "Time",
    "Voices",
    "describe",
    "load",
    "names",
    "parse",
]

DOUBLINGS = 8
"""How far, in doublings, a norm must be able to move either way before the rail."""


@dataclass(frozen=True, slots=True)
class Time:
    """``[time]``: tempo, the length of a slot, and how the notes of a slot lie in it."""

    tempo: float = key(120.0, "quarter notes a minute", least=20, most=300)
    slot: str = key(
        "1/16",
        "length of a slot, a note value (chord, hold)",
        choices=("1/1", "1/2", "1/4", "1/8", "1/16", "1/32"),
    )
    style: str = key(
        "chord",
        "chord: together, a little staggered; arpeggio: one after another, then a rest; "
        "hold: only changes sound; drums: strokes spread over the slot, one more a step",
        choices=("chord", "arpeggio", "hold", "drums"),
    )
    gate: float = key(0.9, "share of the slot that a note of a chord lasts", least=0.05, most=1.0)
    stagger: float = key(
        25.0,
        "ms between the voices of a slot, at the most (chord, hold; never past half a slot in all)",
        least=0.0,
        most=100.0,
    )
    note: int = key(10, "ticks a note of an arpeggio lasts (480 a quarter)", least=1, most=1920)
    rest: int = key(20, "ticks of silence after an arpeggio", least=0, most=1920)
    rate: float = key(
        10.0,
        "times a second that a voice may speak in wall time, at the most; steps that come "
        "faster are gathered",
        least=0.1,
        most=100.0,
    )

    @property
    def tick_seconds(self) -> float:
        """Seconds in one tick."""
        return 60.0 / (self.tempo * PPQ)

    def slot_ticks(self, voices: int) -> int:
        """Ticks in one slot of `voices` voices."""
        if self.style == "arpeggio":
            return voices * self.note + self.rest
        return 4 * PPQ // int(self.slot.removeprefix("1/"))


@dataclass(frozen=True, slots=True)
class Pitch:
    """``[pitch]``: the law from a norm to a pitch."""

    law: str = key(
        "log",
        "log: equal ratios are equal steps; hz: hz[0] + hz[1] * norm hertz",
        choices=("log", "hz"),
    )
    hz: tuple[float, ...] = key(
        (200.0, 100.0), "the two numbers of the law hz", length=2, least=0.0, most=20000.0
    )
    step: float = key(
        2.0, "factor in norm that moves a voice by one step of the scale", least=1.01, most=10.0
    )
    scale: str = key("A minor pentatonic", "root and scale")
    reference: str | float = key(
        "first", "the norm that sounds at home: first (the voice's own first), or a number"
    )
    residue: str = key(
        "brightness",
        "where the part that rounding to the scale takes away goes: brightness (CC 74), "
        "bend (exact pitch) or off",
        choices=("brightness", "bend", "off"),
    )
    range: tuple[str, ...] = key(
        ("E1", "A7"), "lowest and highest note; beyond, a voice stays at the rail", length=2
    )


@dataclass(frozen=True, slots=True)
class Voices:
    """``[voices]``: how many, and where each is at home."""

    most: int = key(15, "layers beyond this many share voices", least=1, most=60)
    home: tuple[str, ...] = key(
        ("C3", "C6"), "home of the first and of the last voice; the rest spread between", length=2
    )
    programs: tuple[int, ...] = key(
        (), "General MIDI programs (1-128), spread over the voices by depth", least=1, most=128
    )
    keys: tuple[int, ...] = key(
        (36, 41, 45, 39),
        "MIDI notes of the style drums, spread over the voices by depth",
        least=0,
        most=127,
    )


@dataclass(frozen=True, slots=True)
class Loudness:
    """``[loudness]``: velocity."""

    velocity: int = key(80, "velocity of a voice at home", least=1, most=127)
    per_step: float = key(
        2.0, "velocity gained a step of the scale above home", least=0.0, most=20.0
    )
    range: tuple[int, ...] = key(
        (48, 112), "lowest and highest velocity", length=2, least=1, most=127
    )


@dataclass(frozen=True, slots=True)
class Sound:
    """``[sound]``: the synth's timbre, envelope, place and output."""

    partials: tuple[float, ...] = key(
        (1.0, 0.4, 0.2), "amplitude of each harmonic partial", least=0.0, most=1.0
    )
    decay: tuple[float, ...] = key(
        (0.0, 0.25, 0.12),
        "seconds in which each partial falls to 1/e; 0: it does not decay",
        least=0.0,
        most=60.0,
    )
    contrast: float = key(
        0.35,
        "how hollow every second voice is, so that neighbours differ: what its even partials lose",
        least=0.0,
        most=1.0,
    )
    brightness: float = key(
        0.6, "how far brightness moves the upper partials, 0 to 1", least=0.0, most=1.0
    )
    attack: float = key(5.0, "ms of raised-cosine attack", least=0.0, most=200.0)
    release: float = key(40.0, "ms of raised-cosine release", least=0.0, most=2000.0)
    pan: float = key(
        0.8, "how wide the voices stand, first left to last right, 0 to 1", least=0.0, most=1.0
    )
    gain: float = key(0.0, "dB on everything", least=-60.0, most=24.0)
    channels: int = key(2, "1: mono, 2: stereo", least=1, most=2)
    limiter: bool = key(True, "a soft limiter on the sum")
    format: str = key(
        "pcm16", "samples of a .wav: pcm16 (dithered) or float", choices=("pcm16", "float")
    )


@dataclass(frozen=True, slots=True)
class Preset:
    """How norms become music: one TOML file, validated once.

    Raises
    ------
    PresetError
        If two values cannot stand together: homes that leave no room for eight doublings,
        a range turned around.
    """

    name: str
    title: str
    use: str = ""
    time: Time = field(default_factory=Time)
    pitch: Pitch = field(default_factory=Pitch)
    voices: Voices = field(default_factory=Voices)
    loudness: Loudness = field(default_factory=Loudness)
    sound: Sound = field(default_factory=Sound)
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
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
        if self.time.style == "drums" and not self.voices.keys:
            self._refuse("voices.keys", self.voices.keys, "one key at least, with the style drums")
        if self.pitch.law == "log":
            self._check_room(low, high, first, last)

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
    def notes(self) -> tuple[int, ...]:
        """Every note of the scale within the range, ascending."""
        low, high = (note_number(name) for name in self.pitch.range)
        return scale_notes(self.pitch.scale, low, high)

    def home_notes(self, voices: int) -> tuple[int, ...]:
        """Where each of `voices` voices is at home: notes of the scale, ascending.

        Examples
        --------
        >>> load("pentatonic").home_notes(4)
        (48, 60, 72, 84)
        """
        notes = self.notes
        first, last = (note_number(name) for name in self.voices.home)
        span = (last - first) / max(1, voices - 1)
        wanted = [first + span * index for index in range(voices)]
        if voices == 1:
            wanted = [(first + last) / 2]
        return tuple(min(notes, key=lambda note: (abs(note - want), note)) for want in wanted)


def _folder() -> Path:
    """Where the shipped presets lie: inside the wheel, or beside an editable install."""
    here = Path(__file__).parent.parent
    inside = here / "presets"
    return inside if inside.is_dir() else here.parent / "presets"


def names() -> tuple[str, ...]:
    """Name the presets that ship with gradmidi, sorted.

    Examples
    --------
    >>> "pentatonic" in names()
    True
    """
    return tuple(sorted(path.stem for path in _folder().glob("*.toml")))


def load(preset: "str | Path | Preset") -> Preset:
    """Read a preset by its name or from a TOML file.

    Parameters
    ----------
    preset : str or Path or Preset
        A shipped preset's name, a path to a ``.toml`` file, or a preset, which is returned.

    Returns
    -------
    Preset

    Raises
    ------
    PresetError
        If there is no such preset, or it holds an unknown key, a wrong type or a value out
        of range; the message names file, key, value and what is allowed.

    Examples
    --------
    >>> load("pentatonic").pitch.step
    2.0
    """
    if isinstance(preset, Preset):
        return preset
    path = Path(preset)
    if path.suffix != ".toml":
        if str(preset) not in names():
            raise PresetError(
                f"no preset is called {str(preset)!r}; there are: {', '.join(names())}; "
                "or give the path of a .toml file"
            )
        path = _folder() / f"{preset}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PresetError(f"preset {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PresetError(f"preset {path} is no TOML: {error}") from error
    return parse(table, path.stem, str(path))


def describe(preset: Preset) -> Iterator[str]:
    """Tell a preset in plain lines: what it is for, and every value in it.

    Yields
    ------
    str
        One line each, that makes sense on its own.
    """
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


def parse(table: dict[str, Any], name: str, source: str) -> Preset:
    """Build a preset from a TOML table; `source` is named in errors.

    Raises
    ------
    PresetError
        As `load`.
    """
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
