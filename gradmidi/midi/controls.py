"""The commands that a running player obeys, and the knobs and buttons that give them by MIDI."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradmidi.errors import PresetError
from gradmidi.midi.numbers import CONTROL, NOTE_ON

__all__ = ["COMMANDS", "LEVEL_DB", "Command", "Controls", "Kind", "command", "control_of"]

Command = dict[str, Any]

LEVEL_DB = (-60.0, 12.0)
"""Lowest and highest level, in dB."""

HALF = 64
"""From this value on, a controller is on."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a command takes: a voice, and a switch (on, off, or the other state) or a level.

    Or it takes the name of a preset.
    """

    of_voices: bool = False
    switch: bool = False
    level: bool = False
    named: bool = False


COMMANDS: Mapping[str, Kind] = {
    "mute": Kind(of_voices=True, switch=True),
    "solo": Kind(of_voices=True, switch=True),
    "level": Kind(of_voices=True, level=True),
    "panic": Kind(),
    "preset": Kind(named=True),
    "query": Kind(),
}
"""All commands that come by OSC; those by MIDI are the same but `query`."""


def command(word: str, voice: int | str | None = None, value: float | None = None) -> Command:
    """Return a command to the player; `voice` is a voice, or the name of a preset.

    Examples
    --------
    >>> command("mute", "fc1", 1), command("level", value=-6), command("panic")
    ({'do': 'mute', 'voice': 'fc1', 'on': True}, {'do': 'level', 'voice': None, 'to': -6.0}, \
{'do': 'panic'})
    """
    kind = COMMANDS[word]
    found: Command = {"do": word}
    if kind.of_voices or kind.named:
        found["name" if kind.named else "voice"] = voice
    if kind.switch:
        found["on"] = None if value is None else bool(value)
    if kind.level and value is not None:
        found["to"] = float(value)
    return found


@dataclass(frozen=True, slots=True)
class _Given:
    """A command's word and voice, as the rig has them."""

    word: str
    voice: int | str | None


class Controls:
    """The commands of knobs and buttons.

    A controller mutes or soloes from 64 on and ends that below; a note does the one and the other
    in turn. A controller sets a level from -60 to 12 dB.

    Parameters
    ----------
    table : mapping of str to str
        ``cc N`` or ``note N``, with ``channel C`` or for all channels, to a command: ``mute``,
        ``solo``, ``level`` with or without a voice, ``panic``, or ``preset`` with a name.

    Raises
    ------
    PresetError
        If a control or a command is none, or a control is given twice.

    Examples
    --------
    >>> controls = Controls({"cc 20 channel 1": "level fc1", "note 36": "mute 0"})
    >>> controls.command((0xB0, 20, 127)), controls.command((0x99, 36, 100))
    ({'do': 'level', 'voice': 'fc1', 'to': 12.0}, {'do': 'mute', 'voice': 0, 'on': None})
    """

    def __init__(self, table: Mapping[str, str]) -> None:
        self._given: dict[str, _Given] = {}
        for control, text in table.items():
            name = _control(control)
            if name in self._given:
                raise PresetError(f"midi_in has {name!r} twice; give it one command")
            self._given[name] = _read(control, text)

    def command(self, message: Sequence[int]) -> Command | None:
        """Return the command of a MIDI message; None if it has none."""
        whole = control_of(message)
        if whole is None:
            return None
        given = self._given.get(whole) or self._given.get(whole.partition(" channel")[0])
        if given is None:
            return None
        kind, value = COMMANDS[given.word], message[2]
        if whole.startswith("note"):
            return command(given.word, given.voice)
        if kind.level:
            least, most = LEVEL_DB
            return command(given.word, given.voice, least + (most - least) * value / 127)
        if kind.switch or value >= HALF:
            return command(given.word, given.voice, value >= HALF)
        return None


def control_of(message: Sequence[int]) -> str | None:
    """Return the control that sent a MIDI message, as in `Controls`; None for other messages.

    Examples
    --------
    >>> control_of((0xB0, 20, 5)), control_of((0x99, 36, 100)), control_of((0x99, 36, 0))
    ('cc 20 channel 1', 'note 36 channel 10', None)
    """
    if len(message) != 3:
        return None
    status, number, value = message
    kind = {CONTROL: "cc", NOTE_ON: "note" if value else None}.get(status & 0xF0)
    return None if kind is None else f"{kind} {number} channel {(status & 0x0F) + 1}"


def _control(text: str) -> str:
    """Return a control as `control_of` writes it, with or without a channel."""
    match = re.fullmatch(r"(cc|note) +([0-9]{1,3})(?: +channel +([0-9]{1,2}))?", text.strip())
    if match is None or int(match[2]) > 127 or not 1 <= int(match[3] or 1) <= 16:
        raise PresetError(
            f"midi_in has {text!r}; allowed are cc 0 to cc 127 and note 0 to note 127, each with a "
            "channel from 1 to 16, as 'cc 20 channel 1', or for all channels, as 'cc 20'"
        )
    channel = f" channel {int(match[3])}" if match[3] else ""
    return f"{match[1]} {int(match[2])}{channel}"


def _read(control: str, text: str) -> _Given:
    word, _, voice = text.strip().partition(" ")
    kind = COMMANDS.get(word)
    voice = voice.strip()
    if (
        kind is None
        or word == "query"
        or (voice and not (kind.of_voices or kind.named))
        or (kind.named and not voice)
    ):
        raise PresetError(
            f"midi_in: {control!r} is {text!r}; allowed are mute, solo and level, with a voice or "
            "without, as 'mute fc1' or 'mute 0', panic, and preset with a name, as 'preset hold'"
        )
    if kind.level and control.startswith("note"):
        raise PresetError(f"midi_in: {control!r} is {text!r}; a level needs a controller, as cc 20")
    number = voice.isdecimal() and kind.of_voices
    return _Given(word, int(voice) if number else voice or None)
