"""Ends what a player that was killed has left going, from a process of its own.

``python -m gradmidi.player.rescue`` reads a `Session` and then the notes, as two lines of JSON on
stdin. A process of its own, since the MIDI system that held the player may hold this too.
"""

import os
import socket
import sys
import time
from collections.abc import Sequence

import orjson

from gradmidi.errors import GradmidiError, PortError
from gradmidi.live.session import Session
from gradmidi.midi.ports import VIRTUAL, open_output
from gradmidi.midi.rig import Rig
from gradmidi.music.events import FAULT_VOICE, On
from gradmidi.player.clock import STOP

__all__ = ["clock_port", "end_midi", "end_osc", "keys_by_port", "main"]

NOTE_OFF, CONTROL = 0x80, 0xB0
HOLD, ALL_NOTES_OFF = 64, 123
RELEASE_VELOCITY = 64


def end_osc(target: str, notes: Sequence[On]) -> None:
    """Send the end of each note to an OSC receiver."""
    from gradmidi.sinks.osc import resolve
    from gradmidi.sinks.oscmessage import note_message

    family, address = resolve(target)
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for note in notes:
            sender.sendto(note_message(note, 0), address)


def end_midi(name: str, keys: Sequence[tuple[int, int]], *, stop: bool = False) -> None:
    """Send a port the end of each note, as its channel from 1 and its key, and then Stop."""
    output = open_output(name)
    # A receiver on JACK hears a new port from the server's next cycle on.
    time.sleep(0.05)
    for channel, key in keys:
        output.send((NOTE_OFF | channel - 1, key, RELEASE_VELOCITY))
    for channel in sorted({channel for channel, _ in keys}):
        output.send((CONTROL | channel - 1, HOLD, 0))
        output.send((CONTROL | channel - 1, ALL_NOTES_OFF, 0))
    if stop:
        output.send(STOP)
    output.close()


def keys_by_port(rig: Rig, notes: Sequence[On]) -> dict[str, list[tuple[int, int]]]:
    """Find the port, the channel and the key of each note; our own ports are gone.

    Examples
    --------
    >>> notes = [On(0, 1, 60, 1, pitch=60.0), On(0, -1, 67, 1, pitch=94.0)]
    >>> keys_by_port(Rig(ports=("synth",)), notes)
    {'synth': [(2, 60), (10, 67)]}
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for note in notes:
        place = rig.fault_place if note.voice == FAULT_VOICE else rig.place(note.voice)
        if place is None or not rig.ports:
            continue
        port, channel = place
        if not rig.ports[port].startswith(VIRTUAL):
            found.setdefault(rig.ports[port], []).append((channel, note.note))
    return found


def clock_port(rig: Rig) -> str | None:
    """Find the port that followed the clock; None where there is none, or it was our own.

    Examples
    --------
    >>> clock_port(Rig(ports=("synth",), clock=True))
    'synth'
    >>> clock_port(Rig(ports=("synth",), clock="virtual:beat"))
    """
    name = rig.clock if isinstance(rig.clock, str) else rig.ports[0] if rig.clock else ""
    return name if name and not name.startswith(VIRTUAL) else None


def main() -> int:
    """Be the process: the exit code is 0 if every output was reached."""
    session = Session.from_line(sys.stdin.buffer.readline())
    notes = [
        On(0, voice, note, 1, pitch=pitch)
        for voice, note, pitch in orjson.loads(sys.stdin.buffer.readline())
    ]
    missed = 0
    for target in session.osc:
        try:
            end_osc(target, [note for note in notes if note.voice != FAULT_VOICE])
        except (GradmidiError, OSError):
            missed += 1
    keys, clock = keys_by_port(session.rig, notes), clock_port(session.rig)
    for name in dict.fromkeys([*keys, *([clock] if clock else [])]):
        try:
            end_midi(name, keys.get(name, ()), stop=name == clock)
        except PortError:
            missed += 1
    return int(missed > 0)


if __name__ == "__main__":
    # The interpreter's own end would wait for a MIDI system that the player died of.
    os._exit(main())
