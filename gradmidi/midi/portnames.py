"""Find a MIDI port by its name, as systems write it."""

import re
import sys
from collections.abc import Callable, Sequence

from gradmidi.errors import PortError
from gradmidi.midi.backends import CLIENT

__all__ = ["LOOPMIDI", "UNNAMED", "VIRTUAL", "alike", "match"]

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
