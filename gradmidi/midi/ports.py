"""List, find, open and silence MIDI ports, through python-rtmidi or rtmidi2 (see `backends`).

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
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from gradmidi.errors import PortError
from gradmidi.midi.backends import (
    CLIENT,
    LOOPMIDI,
    UNNAMED,
    VIRTUAL,
    Library,
    alike,
    library,
    match,
    server_sockets,
)
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

__all__ = ["Input", "Output", "names", "open_input", "open_output", "panic"]

LAST_MESSAGES_SECONDS = 0.1
"""How long a port waits before it closes."""

NO_SYSTEM = {
    "linux": "load ALSA's sequencer (modprobe snd-seq) or start JACK",
    "darwin": "open Audio MIDI Setup once",
    "win32": "connect a device, or install loopMIDI",
}
"""What to do if no MIDI system answers, by platform."""


class _Port:
    """An open MIDI port.

    Attributes
    ----------
    name : str
        The system's name of the port.
    gone : bool
        Whether the device was missing when `look` looked for it.
    """

    def __init__(self, client: "_Client", name: str) -> None:
        self.name = name
        self.gone = False
        self._client: _Client | None = client
        self._lock = threading.Lock()

    def look(self) -> None:
        """Look for the device; open it again if it was gone and has come back. Never raises.

        Systems do not report that a device was unplugged. A virtual port has no device.
        """
        with self._lock:
            client = self._client
            if client is None or not client.has_device or client.lifeline.cut:
                return
            with contextlib.suppress(Exception):
                there = [name or UNNAMED for name in client.native.ports()]
                # The number that ALSA and Windows append may be another one.
                index = next((i for i, each in enumerate(there) if alike(each, self.name)), None)
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


class Output(_Port):
    """An open MIDI output, safe to use from several threads and after `close`; see `open_output`.

    Attributes
    ----------
    name : str
        The system's name of the output.
    gone : bool
        Whether the device was missing when `look` looked for it.
    """

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


class Input(_Port):
    """An open MIDI input; see `open_input`."""

    @property
    def ended(self) -> bool:
        """Whether the JACK server that it belongs to has ended, so that no message comes any more.

        It cannot be opened again: with several dead clients, JACK's library ends the process.
        """
        with self._lock:
            return self._client is not None and self._client.lifeline.cut

    def read(self) -> Sequence[int] | None:
        """Return the next message that has come; None if there is none. Never raises."""
        with self._lock, contextlib.suppress(Exception):
            if self._client is not None and not self._client.lifeline.cut:
                return self._client.native.read()
        return None


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

    def __init__(self, library: Library, system: str, *, listens: bool) -> None:
        self.system = system
        self.has_device = False
        before = server_sockets()
        self.native = library.client(system, listens=listens)
        self.lifeline = _Lifeline(server_sockets() - before)

    def close(self) -> None:
        self.lifeline.close()
        with _quiet():
            self.native.close()


def names(*, inputs: bool = False) -> tuple[str, ...]:
    """List the MIDI outputs, or the inputs, of every MIDI system that answers.

    Each call makes a client of each system, so do not call it in a loop.

    Returns
    -------
    tuple of str
        A port without a name is ``(unnamed)``.

    Raises
    ------
    PortError
        If no MIDI system answers, or neither python-rtmidi nor rtmidi2 is installed.
    """
    with _clients(listens=inputs) as clients:
        return tuple(name or UNNAMED for client in clients for name in client.native.ports())


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
    return Output(*_open(name, listens=False))


def open_input(name: str) -> Input:
    """Open a MIDI input by its name, or a virtual one.

    Parameters
    ----------
    name : str
        As for `open_output`.

    Returns
    -------
    Input

    Raises
    ------
    PortError
        As `open_output`.
    """
    return Input(*_open(name, listens=True))


def _open(name: str, *, listens: bool) -> tuple[_Client, str]:
    what = "input" if listens else "output"
    with _clients(listens=listens) as clients:
        if name.startswith(VIRTUAL):
            client, opened = _open_virtual(clients, name.removeprefix(VIRTUAL) or CLIENT)
        else:
            listed = [client.native.ports() for client in clients]
            system, index = match(name, listed, what)
            client, opened = clients[system], listed[system][index] or UNNAMED
            try:
                client.native.open(index)
                client.has_device = True
            except Exception as error:
                raise PortError(f"MIDI {what} {opened!r} cannot be opened: {error}") from error
        # This client stays open; `_clients` closes the others.
        clients.remove(client)
        return client, opened


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
def _clients(*, listens: bool) -> Iterator[list[_Client]]:
    """Yield a client of each MIDI system that answers; close at the end those still in the list."""
    with _quiet():
        installed = library()
    clients: list[_Client] = []
    try:
        for system in installed.systems:
            with _quiet(), contextlib.suppress(*installed.errors):
                clients.append(_Client(installed, system, listens=listens))
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
