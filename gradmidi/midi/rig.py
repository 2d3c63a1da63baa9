"""Rigs: MIDI ports, channels and other settings of live MIDI, read from TOML and validated.

A rig holds ports, channels, what is sent at the start, bend range, message limit and clock. How
norms become music is in the preset, not here.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from gradmidi.base.table import key, read_toml, section
from gradmidi.errors import PresetError
from gradmidi.midi.controls import Controls
from gradmidi.midi.numbers import BEND_RANGE, FAULT_CHANNEL, MPE_BEND_RANGE

__all__ = ["FAULT", "LEVEL", "Rig", "channel_list", "load"]

LEVEL, FAULT = "level", "fault"
"""The names in `cc` that are not names of logged values."""

ALL_CHANNELS = "1-16"

USED = (6, 10, 38, 64, 74, *range(96, 102))
"""Controllers that have another meaning: data entry, pan, Hold, brightness, and registered
parameters (MIDI 1.0, RP-021)."""


@dataclass(frozen=True)
class Rig:
    """MIDI ports and channels of live voices, and what the connected devices need.

    Raises
    ------
    PresetError
        If a channel or a control is invalid, no channel is left for the voices, a port or a
        controller is given twice, or the values and the faults have the same channel.

    Examples
    --------
    >>> rig = Rig(ports=("Digitone",), channels="1-4")
    >>> [rig.place(voice) for voice in (0, 3, 4)], rig.fault_place
    ([(0, 1), (0, 4), (0, 1)], (0, 10))
    """

    ports: tuple[str, ...] = key(
        (), "MIDI outputs, by name or part of it; virtual:NAME opens a virtual port"
    )
    channels: str = key(
        ALL_CHANNELS,
        "channels of the voices on each port, in order, as 1-4,6, without the channel of faults; a "
        "channel may occur more than once, and further voices start again from the first",
    )
    faults: int | str = key(
        FAULT_CHANNEL,
        "channel of the fault sounds, on the first port; or off",
        least=1,
        most=16,
    )
    programs: bool = key(False, "send the preset's programs at the start")
    pan: bool = key(False, "send the preset's pan at the start")
    bend_range: int = key(
        BEND_RANGE, "semitones of a full bend, sent at the start if voices bend", least=1, most=24
    )
    din_limit: int = key(
        0, "most messages a second on each port; 0: no limit; DIN cable: 900", least=0, most=10000
    )
    clock: bool | str = key(False, "send MIDI clock: true (to the first port) or a port's name")
    link: bool = key(
        False,
        "keep live slots to the beats and the tempo of the Ableton Link session in the network; "
        "start at its bar",
    )
    active_sensing: bool = key(
        True, "send Active Sensing while notes sound, so that a synth ends them if gradmidi is gone"
    )
    notes: bool = key(
        True, "false: send no notes of voices, only controllers, the sounds of faults and the clock"
    )
    mirror: bool = key(
        False, "send every voice to all ports, instead of further voices to further ports"
    )
    mpe: bool = key(
        False,
        "send as MPE: channel 1 is the master of a zone, and each voice has a member channel, from "
        "2 to the one before the channel of faults; bends cover 48 semitones, and pressure is the "
        "level of the norm",
    )
    cc: Mapping[str, int] = key(
        {},
        "numbers as controllers, as {level = 20, loss = 21, fault = 23}: level is the norm of each "
        "voice, on its channel; fault is whether something is wrong; other names are logged values",
        least=1,
        most=119,
    )
    cc_fine: tuple[str, ...] = key(
        (), "names in cc that are sent with 14 bits, as two controllers: n and n + 32"
    )
    cc_channel: int = key(
        16, "channel of fault and of logged values in cc, on the first port", least=1, most=16
    )

    midi_in: Mapping[str, str] = key(
        {},
        'knobs and buttons for play --midi-in, as {"cc 20" = "level fc1", "note 36" = "panic"}: '
        "cc or note with its number, and channel with its number or none, to a command",
    )

    def __post_init__(self) -> None:
        Controls(self.midi_in)
        if isinstance(self.faults, str) and self.faults != "off":
            raise PresetError(f"faults = {self.faults!r}; allowed is a channel, 1 to 16, or 'off'")
        if len(set(self.ports)) < len(self.ports):
            raise PresetError(f"ports = {list(self.ports)}; allowed is each port once")
        self._check_controllers()
        self._check_zone()
        if not self.voice_channels:
            taken = [] if self.fault_place is None else [f"faults have channel {self.faults}"]
            taken += [] if self.value_place is None else [f"values have channel {self.cc_channel}"]
            raise PresetError(
                f"channels = {self.channels!r} leaves no channel for the voices; "
                f"{' and '.join(taken)}: give either another"
            )

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Return the rig that `dataclasses.asdict` or JSON made these fields of."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
        }
        return cls(**values)

    def _check_zone(self) -> None:
        if not self.mpe:
            return
        if self.channels != ALL_CHANNELS or self.bend_range != BEND_RANGE:
            raise PresetError("mpe = true sets channels and bend_range; leave both out")
        if 1 in self._taken:
            raise PresetError("with mpe = true, channel 1 is the zone's master; give another")

    @property
    def _taken(self) -> tuple[int | str, ...]:
        """The channels that no voice may have."""
        return (self.faults,) if self.value_place is None else (self.faults, self.cc_channel)

    @property
    def bend_semitones(self) -> int:
        """The semitones of a full bend."""
        return MPE_BEND_RANGE if self.mpe else self.bend_range

    def _check_controllers(self) -> None:
        for name in self.cc_fine:
            if name not in self.cc:
                raise PresetError(f"cc_fine = {name!r}; allowed are names in cc")
            if self.cc[name] > 31:
                raise PresetError(
                    f"cc.{name} = {self.cc[name]} with 14 bits; allowed is 1 to 31, and the second "
                    "controller is 32 more"
                )
        owners: dict[int, str] = {}
        for name, number in self.cc.items():
            for each in (number, number + 32) if name in self.cc_fine else (number,):
                if each in USED:
                    raise PresetError(
                        f"cc.{name} = {number}: controller {each} has another meaning; allowed is "
                        "1 to 119 except 6, 10, 38, 64, 74 and 96 to 101"
                    )
                if each in owners:
                    raise PresetError(
                        f"cc.{owners[each]} and cc.{name} both have controller {each}; give one of "
                        "them another"
                    )
                owners[each] = name
        if self.value_place is not None and self.cc_channel == self.faults:
            raise PresetError(
                f"cc_channel = {self.cc_channel} is the channel of the faults; give either another"
            )

    @cached_property
    def voice_channels(self) -> tuple[int, ...]:
        """The channels that voices use on each port, in order, 1–16."""
        if self.mpe:
            first = min([17, *(each for each in self._taken if isinstance(each, int))])
            return tuple(range(2, first))
        return tuple(c for c in channel_list(self.channels) if c not in self._taken)

    @property
    def fault_place(self) -> tuple[int, int] | None:
        """The port and the channel of fault sounds; None if they are off."""
        return None if isinstance(self.faults, str) else (0, self.faults)

    @property
    def value_place(self) -> tuple[int, int] | None:
        """The port and the channel of values as controllers; None if there are none."""
        return (0, self.cc_channel) if any(name != LEVEL for name in self.cc) else None

    def mirrored(self, place: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return all ports with their channel that get what is meant for one port and channel."""
        if not self.mirror:
            return (place,)
        return tuple((port, place[1]) for port in range(max(1, len(self.ports))))

    def place(self, voice: int) -> tuple[int, int]:
        """Return the port and the channel of a voice.

        Parameters
        ----------
        voice : int
            Index of the voice, from 0.

        Returns
        -------
        port : int
            Index into `ports`, from 0.
        channel : int
            1–16.
        """
        channels = self.voice_channels
        room = len(channels) * (1 if self.mirror else max(1, len(self.ports)))
        port, index = divmod(voice % room, len(channels))
        return port, channels[index]


def channel_list(text: str) -> tuple[int, ...]:
    """Parse a list of channels: numbers and ranges, separated by commas.

    Parameters
    ----------
    text : str
        Such as ``1-4,6``; a channel may occur more than once.

    Returns
    -------
    tuple of int
        In the order given, 1–16.

    Raises
    ------
    PresetError
        If it is not such a list, or a channel is not 1 to 16.

    Examples
    --------
    >>> channel_list("1-4, 6"), channel_list("2,2,1")
    ((1, 2, 3, 4, 6), (2, 2, 1))
    """
    channels: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,2})\s*(?:-\s*([0-9]{1,2})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 16:
            raise PresetError(
                f"channels = {text!r}; allowed are channels 1 to 16, as 1-4,6 or 1,1,2"
            )
        channels += range(first, last + 1)
    return tuple(channels)


def load(rig: "str | Path | Rig | None" = None, options: Mapping[str, Any] | None = None) -> Rig:
    """Read a rig from a TOML file; options replace values of the file.

    Parameters
    ----------
    rig : str or Path or Rig, optional
        A ``.toml`` file, or a rig. By default, every key has its default value.
    options : mapping, optional
        Keys of a rig and their values, as read from TOML; a value of None is ignored.

    Returns
    -------
    Rig

    Raises
    ------
    PresetError
        If the file cannot be read, or it or an option holds an unknown key, a wrong type or a
        value out of range; the message names file, key, value and what is allowed.

    Examples
    --------
    >>> load(options={"ports": ["IAC Bus 1"], "din_limit": None}).ports
    ('IAC Bus 1',)
    """
    chosen = Rig() if rig is None else rig if isinstance(rig, Rig) else _read(Path(rig))
    given = {word: value for word, value in (options or {}).items() if value is not None}
    if not given:
        return chosen
    # Validate the options together with the file's other keys, not with the defaults.
    kept = {
        k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(chosen).items()
    }
    return _parse({**kept, **given}, "option")


def _read(path: Path) -> Rig:
    return _parse(read_toml(path, "rig"), f"{path}:")


def _parse(table: dict[str, Any], source: str) -> Rig:
    if type(table.get("channels")) is int:
        # One channel may be written as a number.
        table = {**table, "channels": str(table["channels"])}
    try:
        return section(Rig, table, source)
    except PresetError as error:
        text = str(error)
        raise PresetError(text if text.startswith(source) else f"{source} {text}") from None
