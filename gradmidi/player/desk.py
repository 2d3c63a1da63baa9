"""Commands that come while a run plays: by OSC, and by MIDI from knobs and buttons."""

import contextlib
import math
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gradmidi.base.messages import Warnings, say, warn
from gradmidi.errors import PortError
from gradmidi.midi.controls import COMMANDS, Command, Controls
from gradmidi.midi.controls import command as make
from gradmidi.midi.ports import Input, open_input
from gradmidi.sinks.osc import resolve

__all__ = ["Desk", "MidiDesk", "command", "messages"]

Argument = int | float | str | bool
ADDRESS = "/gradmidi/"

LARGEST = 65536
"""More bytes than a datagram has."""

MOST_DATAGRAMS = 32
"""Most datagrams that are read at a time; the system keeps the others, or drops them."""

DEEPEST = 4
"""Bundles within bundles are read to this depth."""

ANSWER_SECONDS = 0.1
"""Between two answers, so that a flood of queries does not become a flood of answers."""

NUMBERS = {"i": struct.Struct(">i"), "f": struct.Struct(">f")}
FIXED: Mapping[str, Argument] = {"T": True, "F": False}
"""Type tags whose value is the tag itself."""


class Desk:
    """Receives commands by OSC at a port of this machine.

    Parameters
    ----------
    place : str
        ``PORT`` for programs on this machine only, or ``HOST:PORT``, where the host is an address
        of this machine; 0.0.0.0 is all of them.
    clock : callable
        Returns monotonic seconds.

    Raises
    ------
    PortError
        If the port cannot be opened.
    """

    def __init__(self, place: str, clock: Callable[[], float] = time.monotonic) -> None:
        family, address = resolve(place)
        self._clock = clock
        self._answered = -math.inf
        self._asker: Any = None
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.bind(address)
        except OSError as error:
            self._socket.close()
            raise PortError(
                f"commands by OSC: {place!r} cannot be opened: {error.strerror}; give another port"
            ) from error

    @property
    def port(self) -> int:
        """The number of the port."""
        number: int = self._socket.getsockname()[1]
        return number

    def commands(self) -> list[Command]:
        """Return the commands that have come, at most those of `MOST_DATAGRAMS`. Never raises."""
        found: list[Command] = []
        for _ in range(MOST_DATAGRAMS):
            try:
                datagram, sender = self._socket.recvfrom(LARGEST)
            except OSError:
                break
            read = [command(*message) for message in messages(datagram)]
            known = [each for each in read if each is not None]
            if {"do": "query"} in known:
                self._asker = sender
            found += known
        return found

    def answer(self, datagrams: Sequence[bytes]) -> None:
        """Send the answer to a query to its sender, unless another was answered just now."""
        now, asker = self._clock(), self._asker
        if asker is None or now - self._answered < ANSWER_SECONDS:
            return
        self._answered, self._asker = now, None
        for datagram in datagrams:
            with contextlib.suppress(OSError):
                self._socket.sendto(datagram, asker)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def command(address: str, arguments: Sequence[Argument]) -> Command | None:
    """Return the player's command for an OSC message; None if there is none.

    Examples
    --------
    >>> command("/gradmidi/mute", [1, "fc1", 1]), command("/gradmidi/solo", ["fc1"])
    ({'do': 'mute', 'voice': 1, 'on': True}, {'do': 'solo', 'voice': 'fc1', 'on': None})
    >>> command("/gradmidi/level", [-6.0]), command("/gradmidi/level", ["loud"])
    ({'do': 'level', 'voice': None, 'to': -6.0}, None)
    """
    before, slash, word = address.rpartition("/")
    kind = COMMANDS.get(word)
    if kind is None or before + slash != ADDRESS:
        return None
    given, voice = list(arguments), None
    if kind.named:
        name = given[0] if len(given) == 1 else None
        return make(word, name) if isinstance(name, str) else None
    if kind.of_voices and len(given) > kind.level and type(given[0]) in (int, str):
        voice = given.pop(0)
        if type(voice) is int and given and type(given[0]) is str:
            given.pop(0)
    if len(given) not in ((1,) if kind.level else (0, 1) if kind.switch else (0,)):
        return None
    value = given[0] if given else None
    if isinstance(value, str) or (kind.level and isinstance(value, bool)):
        return None
    assert voice is None or isinstance(voice, int | str)
    return make(word, voice, value)


def messages(datagram: bytes, depth: int = 0) -> Iterator[tuple[str, list[Argument]]]:
    r"""Yield the messages of a datagram, each with its address and arguments.

    Bundles are unpacked; their time tags are ignored. Whatever is not OSC, or has arguments of
    other types than numbers, texts and truth values, is left out.

    Examples
    --------
    >>> list(messages(b"/gradmidi/mute\0\0,i\0\0\0\0\0\2")), list(messages(b"hello"))
    ([('/gradmidi/mute', [2])], [])
    """
    if datagram[:8] != b"#bundle\0":
        message = _message(datagram)
        if message is not None:
            yield message
        return
    place = 16
    while place + 4 <= len(datagram) and depth < DEEPEST:
        (size,) = NUMBERS["i"].unpack_from(datagram, place)
        place += 4
        if not 0 <= size <= len(datagram) - place:
            return
        yield from messages(datagram[place : place + size], depth + 1)
        place += size


def _message(data: bytes) -> tuple[str, list[Argument]] | None:
    try:
        address, place = _text(data, 0)
        tags, place = _text(data, place)
        if tags[:1] != ",":
            return None
        arguments: list[Argument] = []
        for tag in tags[1:]:
            if tag in FIXED:
                arguments.append(FIXED[tag])
            elif tag == "s":
                text, place = _text(data, place)
                arguments.append(text)
            else:
                (number,) = NUMBERS[tag].unpack_from(data, place)
                if not math.isfinite(number):
                    return None
                arguments.append(number)
                place += 4
    except (ValueError, KeyError, struct.error):
        return None
    return address, arguments


def _text(data: bytes, place: int) -> tuple[str, int]:
    """Read a text that zero bytes end, to a multiple of four bytes; raise ValueError if none."""
    end = data.index(b"\0", place)
    return data[place:end].decode("ascii"), (end + 4) & ~3


MOST_MESSAGES = 256
"""Most messages that are read at a time."""

LOOK_SECONDS = 2.0
"""How often the desk looks for its device."""


class MidiDesk:
    """Receives commands at a MIDI input.

    Parameters
    ----------
    port : str
        The input, by name or part of it, or ``virtual:NAME``.
    table : mapping of str to str
        The rig's ``midi_in``.
    open_port, clock : callable
        Opens the input, and returns monotonic seconds.

    Raises
    ------
    PortError
        If the input cannot be opened.
    """

    def __init__(
        self,
        port: str,
        table: Mapping[str, str],
        open_port: Callable[[str], Input] = open_input,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controls = Controls(table)
        self._clock = clock
        self._input = open_port(port)
        self._warnings = Warnings()
        self._looked = clock()

    def commands(self) -> list[Command]:
        """Return the commands that have come. Never raises."""
        found: list[Command] = []
        for _ in range(MOST_MESSAGES):
            message = self._input.read()
            if message is None:
                break
            command = self._controls.command(message)
            if command is not None:
                found.append(command)
        self._look()
        return found

    def close(self) -> None:
        """Close the input."""
        self._input.close()

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        if self._input.ended:
            self._warnings.note(
                f"MIDI input {self._input.name!r}",
                "closed, the JACK server has ended",
                "everything else continues; to use knobs again, restart gradmidi",
            )
            return
        gone = self._input.gone
        self._input.look()
        if self._input.gone and not gone:
            warn(f"MIDI input {self._input.name!r} is gone; it is read again when it is back")
        elif gone and not self._input.gone:
            say(f"MIDI input {self._input.name!r} is back")
