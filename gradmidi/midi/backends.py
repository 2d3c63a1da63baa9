"""The libraries that reach MIDI ports, and how to find a port by its name as systems write it.

python-rtmidi has wheels up to Python 3.12, rtmidi2 (MIT) for Python 3.13 and 3.14. Both wrap
RtMidi. What is special about rtmidi2 is met here:

- its wheel for Linux brings a libjack that speaks another protocol than many JACK servers, so the
  system's is loaded before it, and without one JACK is left out;
- without a JACK server it makes a client that has no ports, and raises nothing;
- its errors are RuntimeErrors, and it takes the bytes of a message one by one.
"""

import contextlib
import ctypes
import os
import re
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gradmidi.errors import PortError

__all__ = [
    "CLIENT",
    "LOOPMIDI",
    "UNNAMED",
    "VIRTUAL",
    "Library",
    "Native",
    "alike",
    "library",
    "match",
    "server_sockets",
]

CLIENT = "gradmidi"


class Native(Protocol):
    """A client of a MIDI system, with at most one open port: an output or an input."""

    @property
    def send(self) -> Callable[[Sequence[int]], None]:
        """The function that sends a message, of an output."""

    def read(self) -> Sequence[int] | None:
        """Return the next message that has come to an input; None if there is none."""

    def ports(self) -> list[str | None]:
        """Return the names of the ports; None or an empty text is a port without a name."""

    def open(self, index: int) -> None:
        """Open the port at an index of `ports`."""

    def open_virtual(self, name: str) -> None:
        """Open a port that other programs connect to."""

    def leave(self) -> None:
        """Close the port, so that another can be opened."""

    def close(self) -> None:
        """Close the port and end the client."""


class Library(Protocol):
    """A library, and the MIDI systems that it may reach on this platform.

    Attributes
    ----------
    systems : dict of str to int
        Names of the systems, and what the library calls them.
    errors : tuple of type
        What it raises if a system does not answer.
    """

    systems: dict[str, int]
    errors: tuple[type[Exception], ...]

    def client(self, system: str, *, listens: bool = False) -> Native:
        """Make a client for outputs, or for inputs, of a system; or raise one of `errors`."""


def library() -> Library:
    """Return the library that is installed; raise PortError if there is none."""
    for kind in (_RtMidi, _RtMidi2):
        with contextlib.suppress(ImportError):
            found: Library = kind()
            return found
    raise PortError(
        "live MIDI needs python-rtmidi or rtmidi2: pip install 'gradmidi[midi]' (on some systems "
        "this needs a compiler); files, OSC and sound work without it"
    )


class _RtMidi:
    """python-rtmidi."""

    def __init__(self) -> None:
        import rtmidi

        self._module: Any = rtmidi
        self.errors: tuple[type[Exception], ...] = (rtmidi.RtMidiError,)
        apis = [api for api in rtmidi.get_compiled_api() if api != rtmidi.API_RTMIDI_DUMMY]
        self.systems: dict[str, int] = {rtmidi.get_api_display_name(api): api for api in apis}

    def client(self, system: str, *, listens: bool = False) -> Native:
        kind = self._module.MidiIn if listens else self._module.MidiOut
        return _RtMidiClient(kind(self.systems[system], name=CLIENT), listens=listens)


class _RtMidiClient:
    def __init__(self, native: Any, *, listens: bool) -> None:
        if not listens:
            # Directly, since it is called for every message.
            self.send: Callable[[Sequence[int]], None] = native.send_message
        self._name = "in" if listens else "out"
        self._native = native

    def read(self) -> Sequence[int] | None:
        found = self._native.get_message()
        return None if found is None else found[0]

    def ports(self) -> list[str | None]:
        return list(self._native.get_ports())

    def open(self, index: int) -> None:
        self._native.open_port(index, self._name)

    def open_virtual(self, name: str) -> None:
        self._native.open_virtual_port(name)

    def leave(self) -> None:
        self._native.close_port()

    def close(self) -> None:
        self._native.delete()


class _RtMidi2:
    """rtmidi2."""

    def __init__(self) -> None:
        has_jack = sys.platform == "linux" and _load_jack()
        import rtmidi2

        self._module: Any = rtmidi2
        self.errors: tuple[type[Exception], ...] = (RuntimeError,)
        known = {
            "linux": {"ALSA": rtmidi2.API_LINUX_ALSA, "JACK": rtmidi2.API_UNIX_JACK},
            "darwin": {"CoreMIDI": rtmidi2.API_MACOSX_CORE},
            "win32": {"Windows MultiMedia": rtmidi2.API_WINDOWS_MM},
        }
        self.systems: dict[str, int] = known.get(sys.platform, {})
        if not has_jack:
            self.systems.pop("JACK", None)

    def client(self, system: str, *, listens: bool = False) -> Native:
        before = server_sockets()
        kind = self._module.MidiIn if listens else self._module.MidiOut
        client = _RtMidi2Client(kind(CLIENT, api=self.systems[system]))
        if system == "JACK" and not client.ports() and server_sockets() == before:
            client.close()
            raise RuntimeError("no JACK server")
        return client


class _RtMidi2Client:
    def __init__(self, native: Any) -> None:
        self._native = native

    def send(self, message: Sequence[int]) -> None:
        self._native.send_raw(*message)

    def read(self) -> Sequence[int] | None:
        found: Sequence[int] | None = self._native.get_message()
        return found

    def ports(self) -> list[str | None]:
        return list(self._native.ports)

    def open(self, index: int) -> None:
        self._native.open_port(index)

    def open_virtual(self, name: str) -> None:
        self._native.open_virtual_port(name)

    def leave(self) -> None:
        self._native.close_port()

    def close(self) -> None:
        native, self._native = self._native, None
        if native is not None:
            native.close_port()


def _load_jack() -> bool:
    """Load the system's libjack, whose functions then replace those of a library loaded later."""
    try:
        ctypes.CDLL("libjack.so.0", mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


def server_sockets() -> set[int]:
    """Return this process's sockets that are connected to a JACK server."""
    found = set()
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            for entry in os.listdir(folder):
                with contextlib.suppress(OSError):
                    if _leads_to_jack(int(entry)):
                        found.add(int(entry))
            break
    return found


def _leads_to_jack(descriptor: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return False
    with socket.socket(fileno=os.dup(descriptor)) as held:
        return held.family == socket.AF_UNIX and "/jack_" in str(held.getpeername())


VIRTUAL = "virtual:"
"""Prefix of a name: open a virtual port, which other programs connect to."""

UNNAMED = "(unnamed)"
"""Name of a port without one; python-rtmidi returns None for it (its issue 21)."""

LOOPMIDI = "on Windows, install loopMIDI, make a port in it and give its name"
"""Hint for Windows, which has no virtual ports."""


def match(
    wanted: str, systems: Sequence[Sequence[str | None]], what: str = "output"
) -> tuple[int, int]:
    """Find the output, or the input, with a name.

    Compared in this order: the exact name, or the name without the number that ALSA and Windows
    append; the same, ignoring case; a part of the name that only one port has. If several
    systems have a match, the first counts.

    Parameters
    ----------
    wanted : str
        The name, or a part of it.
    systems : sequence of sequence of str or None
        The names of each system's ports; None (no name) is shown as ``(unnamed)``.
    what : {"output", "input"}
        What the ports are, for messages.

    Returns
    -------
    system, port : int
        Indices into `systems`.

    Raises
    ------
    PortError
        If no port or several ports match; the message lists them.

    Examples
    --------
    >>> match("Port 1", [["Port 10 0", "Port 1 1"], ["synth:midi"]])
    (0, 1)
    >>> match("SYNTH", [["Port 10 0", "Port 1 1"], ["synth:midi"]])
    (1, 0)
    """
    named = [[name or UNNAMED for name in ports] for ports in systems]
    for fits in _TIERS:
        for system, ports in enumerate(named):
            found = [index for index, name in enumerate(ports) if fits(wanted, name)]
            if len(found) > 1:
                listed = _listed([ports[index] for index in found])
                raise PortError(
                    f"{wanted!r} matches {len(found)} MIDI {what}s: {listed}; "
                    "give more of the name, or rename one of them"
                )
            if found:
                return system, found[0]
    there = [name for ports in named for name in ports]
    hint = LOOPMIDI if sys.platform == "win32" else f"{VIRTUAL}{CLIENT} opens a virtual one"
    raise PortError(
        f"no MIDI {what} matches {wanted!r}; "
        f"{f'there are: {_listed(there)}' if there else 'there is none'}; {hint}"
    )


def _unnumbered(name: str) -> str:
    """Remove the number that Windows appends (``Port 1 0``), or ALSA's client and port."""
    return re.sub(r" \d+(:\d+)?$", "", name)


def alike(name: str, other: str) -> bool:
    """Return whether two names are the same but for the number that the system appends."""
    return name == other or _unnumbered(name) == _unnumbered(other)


_TIERS: tuple[Callable[[str, str], bool], ...] = (
    lambda wanted, name: wanted == name,
    lambda wanted, name: wanted == _unnumbered(name),
    lambda wanted, name: wanted.casefold() in (name.casefold(), _unnumbered(name).casefold()),
    lambda wanted, name: bool(wanted) and wanted.casefold() in name.casefold(),
)


def _listed(ports: Sequence[str]) -> str:
    return ", ".join(map(repr, ports))
