"""List, find, open and silence MIDI outputs, through python-rtmidi or rtmidi2 (see `backends`).

python-rtmidi is used without mido: mido's output sends on a closed port, which crashes the
interpreter; its `client_name` creates a virtual port without saying so; and it makes two clients
for each listing. This module works around the following problems of python-rtmidi:

- a message after `delete` crashes: `Output` keeps its own state, under a lock;
- its errors have several unrelated types: each becomes a `PortError`;
- ALSA's and JACK's libraries write to file descriptor 2: it is discarded while they open and close;
- after a JACK server has died, some 2,300 messages are lost, and the next one blocks forever and
  holds the interpreter's lock: `_Lifeline` checks the client's socket before each message;
- messages sent just before a port closes can be lost (rtmidi issues 161 and 235):
  `Output.close` waits for them.
"""

import contextlib
import itertools
import os
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from gradmidi.errors import PortError
from gradmidi.midi.backends import CLIENT, Library, library, server_sockets
from gradmidi.midi.numbers import (
    ALL_NOTES_OFF,
    ALL_SOUND_OFF,
    CHANNELS,
    CONTROL,
    DIN_SECONDS,
    HOLD,
    NOTE_OFF,
    RELEASE_VELOCITY,
)

__all__ = ["VIRTUAL", "Output", "match", "names", "open_output", "panic"]

VIRTUAL = "virtual:"
"""Prefix of a name: open a virtual port, which other programs connect to."""

UNNAMED = "(unnamed)"
"""Name of a port without one; python-rtmidi returns None for it (its issue 21)."""

LAST_MESSAGES_SECONDS = 0.1
"""How long a port waits before it closes."""

LOOPMIDI = "on Windows, install loopMIDI, make a port in it and give its name"
"""Hint for Windows, which has no virtual ports."""

NO_SYSTEM = {
    "linux": "load ALSA's sequencer (modprobe snd-seq) or start JACK",
    "darwin": "open Audio MIDI Setup once",
    "win32": "connect a device, or install loopMIDI",
}
"""What to do if no MIDI system answers, by platform."""


class Output:
    """An open MIDI output, safe to use from several threads and after `close`; see `open_output`.

    Attributes
    ----------
    name : str
        The system's name of the output.
    gone : bool
        Whether the device was missing when `look` looked for it.
    """

    def __init__(self, client: "_Client", name: str) -> None:
        self.name = name
        self.gone = False
        self._client: _Client | None = client
        self._lock = threading.Lock()

    def send(self, message: Sequence[int]) -> None:
        """Send one message.

        Parameters
        ----------
        message : sequence of int
            Its bytes, status first.

        Raises
        ------
        PortError
            If it could not be sent. A device that was unplugged is noticed by `look` only.
        """
        with self._lock:
            client = self._client
            if client is None:
                raise PortError(f"MIDI output {self.name!r} is closed")
            if client.lifeline.cut:
                raise PortError(f"MIDI output {self.name!r} is closed: the JACK server has ended")
            try:
                client.native.send(message)
            except Exception as error:
                raise PortError(f"MIDI output {self.name!r} refuses messages: {error}") from error

    def look(self) -> None:
        """Look for the device; open it again if it was gone and has come back. Never raises.

        Systems do not report that a device was unplugged. A virtual output has no device.
        """
        with self._lock:
            client = self._client
            if client is None or not client.has_device or client.lifeline.cut:
                return
            with contextlib.suppress(Exception):
                there = [name or UNNAMED for name in client.native.outputs()]
                # The number that ALSA and Windows append may be another one.
                index = next((i for i, each in enumerate(there) if _alike(each, self.name)), None)
                if self.gone and index is not None:
                    client.native.leave()
                    client.native.open(index)
                self.gone = index is None

    def close(self) -> None:
        """Let the last messages leave, then close. May be called twice."""
        with self._lock:
            client, self._client = self._client, None
            if client is not None:
                if not client.lifeline.cut:
                    time.sleep(LAST_MESSAGES_SECONDS)
                client.close()


class _Lifeline:
    """A duplicate of the socket between a JACK client and its server.

    The socket is hung up when the server ends. Without such a socket (another MIDI system, another
    kind of server), the server counts as running.
    """

    def __init__(self, descriptors: set[int]) -> None:
        self._held: list[socket.socket] = []
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                held = socket.socket(fileno=os.dup(descriptor))
                self._held.append(held)
        self._poll = select.poll() if self._held else None
        for held in self._held:
            # 0 requests no events; a hang-up is always reported.
            self._poll.register(held, 0)  # type: ignore[union-attr]

    @property
    def cut(self) -> bool:
        return self._poll is not None and bool(self._poll.poll(0))

    def close(self) -> None:
        self._poll = None
        for held in self._held:
            held.close()


class _Client:
    """A client of one MIDI system, with at most one open port."""

    def __init__(self, library: Library, system: str) -> None:
        self.system = system
        self.has_device = False
        before = server_sockets()
        self.native = library.client(system)
        self.lifeline = _Lifeline(server_sockets() - before)

    def close(self) -> None:
        self.lifeline.close()
        with _quiet():
            self.native.close()


def names() -> tuple[str, ...]:
    """List the MIDI outputs of every MIDI system that answers.

    Each call makes a client of each system, so do not call it in a loop.

    Returns
    -------
    tuple of str
        An output without a name is ``(unnamed)``.

    Raises
    ------
    PortError
        If no MIDI system answers, or neither python-rtmidi nor rtmidi2 is installed.
    """
    with _clients() as clients:
        return tuple(name or UNNAMED for client in clients for name in client.native.outputs())


def match(wanted: str, systems: Sequence[Sequence[str | None]]) -> tuple[int, int]:
    """Find the output with a name.

    Compared in this order: the exact name, or the name without the number that ALSA and Windows
    append; the same, ignoring case; a part of the name that only one output has. If several
    systems have a match, the first counts.

    Parameters
    ----------
    wanted : str
        The name, or a part of it.
    systems : sequence of sequence of str or None
        The names of each system's outputs; None (no name) is shown as ``(unnamed)``.

    Returns
    -------
    system, output : int
        Indices into `systems`.

    Raises
    ------
    PortError
        If no output or several outputs match; the message lists them.

    Examples
    --------
    >>> match("Port 1", [["Port 10 0", "Port 1 1"], ["synth:midi"]])
    (0, 1)
    >>> match("SYNTH", [["Port 10 0", "Port 1 1"], ["synth:midi"]])
    (1, 0)
    """
    named = [[name or UNNAMED for name in outputs] for outputs in systems]
    for fits in _TIERS:
        for system, outputs in enumerate(named):
            found = [index for index, name in enumerate(outputs) if fits(wanted, name)]
            if len(found) > 1:
                listed = _listed([outputs[index] for index in found])
                raise PortError(
                    f"{wanted!r} matches {len(found)} MIDI outputs: {listed}; "
                    "give more of the name, or rename one of them"
                )
            if found:
                return system, found[0]
    there = [name for outputs in named for name in outputs]
    hint = LOOPMIDI if sys.platform == "win32" else f"{VIRTUAL}{CLIENT} opens a virtual one"
    raise PortError(
        f"no MIDI output matches {wanted!r}; "
        f"{f'there are: {_listed(there)}' if there else 'there is none'}; {hint}"
    )


def open_output(name: str) -> Output:
    """Open a MIDI output by its name, or a virtual one.

    Parameters
    ----------
    name : str
        As for `match`; or ``virtual:NAME``, a port that other programs connect to (ALSA, JACK and
        CoreMIDI only, not Windows).

    Returns
    -------
    Output

    Raises
    ------
    PortError
        If no output matches or it cannot be opened, if no MIDI system answers, or if neither
        python-rtmidi nor rtmidi2 is installed.
    """
    with _clients() as clients:
        if name.startswith(VIRTUAL):
            client, opened = _open_virtual(clients, name.removeprefix(VIRTUAL) or CLIENT)
        else:
            listed = [client.native.outputs() for client in clients]
            system, index = match(name, listed)
            client, opened = clients[system], listed[system][index] or UNNAMED
            try:
                client.native.open(index)
                client.has_device = True
            except Exception as error:
                raise PortError(f"MIDI output {opened!r} cannot be opened: {error}") from error
        # This client stays open; `_clients` closes the others.
        clients.remove(client)
        return Output(client, opened)


def panic(output: Output, sleep: Callable[[float], None] = time.sleep) -> None:
    """End every note on every channel of an output, also of other programs, in two seconds.

    First, Hold off, All Notes Off and All Sound Off (controllers 64, 123, 120) on all channels.
    Receivers may ignore these (MIDI 1.0), so a note off for each key of each channel follows, at
    the speed of a DIN cable.

    Parameters
    ----------
    output : Output
        The output.
    sleep : callable
        Waits for a number of seconds.

    Raises
    ------
    PortError
        If a message could not be sent.
    """
    for channel, controller in itertools.product(
        range(CHANNELS), (HOLD, ALL_NOTES_OFF, ALL_SOUND_OFF)
    ):
        output.send((CONTROL | channel, controller, 0))
    for channel, key in itertools.product(range(CHANNELS), range(128)):
        output.send((NOTE_OFF | channel, key, RELEASE_VELOCITY))
        # Sleep once for several messages: each sleep is a little too long.
        if key % 8 == 7:
            sleep(8 * DIN_SECONDS)


def _open_virtual(clients: Sequence[_Client], name: str) -> tuple[_Client, str]:
    for client in clients:
        with contextlib.suppress(Exception):
            client.native.open_virtual(name)
            return client, f"{CLIENT}:{name}"
    systems = " and ".join(client.system for client in clients)
    raise PortError(f"{systems} has no virtual ports, such as {VIRTUAL}{name}; {LOOPMIDI}")


@contextlib.contextmanager
def _clients() -> Iterator[list[_Client]]:
    """Yield a client of each MIDI system that answers; close at the end those still in the list."""
    with _quiet():
        installed = library()
    clients: list[_Client] = []
    try:
        for system in installed.systems:
            with _quiet(), contextlib.suppress(*installed.errors):
                clients.append(_Client(installed, system))
        if not clients:
            tried = ", ".join(installed.systems)
            remedy = NO_SYSTEM.get(sys.platform, "start one")
            raise PortError(
                f"no MIDI system answers (tried: {tried or 'none is built in'}); {remedy}; "
                "files, OSC and sound work without MIDI"
            )
        yield clients
    finally:
        for client in clients:
            client.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discard what C libraries write to file descriptor 2."""
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _unnumbered(name: str) -> str:
    """Remove the number that Windows appends (``Port 1 0``), or ALSA's client and port."""
    return re.sub(r" \d+(:\d+)?$", "", name)


def _alike(name: str, other: str) -> bool:
    return name == other or _unnumbered(name) == _unnumbered(other)


_TIERS: tuple[Callable[[str, str], bool], ...] = (
    lambda wanted, name: wanted == name,
    lambda wanted, name: wanted == _unnumbered(name),
    lambda wanted, name: wanted.casefold() in (name.casefold(), _unnumbered(name).casefold()),
    lambda wanted, name: bool(wanted) and wanted.casefold() in name.casefold(),
)


def _listed(outputs: Sequence[str]) -> str:
    return ", ".join(map(repr, outputs))
