"""The guard: a process that ends a stuck player, and the notes of an ended player.

A native call may hold the interpreter's lock forever, so that no thread of the player can act, and
a killed player cannot end its notes. The guard is a separate process, run from this file. It needs
only the standard library until it has notes to end. The player sends it lines of JSON: how soon
the next line will come, and which notes sound.

A player is stuck if no line comes in time while the guard runs. It is not stuck if both stood still
(the machine was suspended, a container paused) or a signal stopped the player. A timer of the C
runtime could not distinguish these cases.
"""

import contextlib
import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "MOMENT_SECONDS",
    "SILENCE_SECONDS",
    "Guard",
    "is_stopped",
    "notes_of",
    "silence",
    "watch",
]

MOMENT_SECONDS = 0.05
"""How often the guard reads the player's lines."""

CALM_MOMENTS = 4
"""After this many reads without a line, the guard checks whether the player was stopped."""

SILENCE_SECONDS = 10.0
"""How long ending the notes may take, since the MIDI system may block the guard too."""

STOPPED = ("T", "t")
"""States of a process that a signal or a debugger stopped; see ps(1) and proc(5)."""

Note = tuple[int, int, float]
"""A note that sounds: voice, key and pitch."""


def notes_of(ons: Iterable[Any]) -> list[Note]:
    """Return the notes of events that start them."""
    return [(on.voice, on.note, on.pitch) for on in ons]


class Guard:
    """The guard of a player, for use in the player's process.

    On Windows, where signals do not stop processes, a timer of the C runtime ends a stuck player,
    and the parent ends the notes.

    Parameters
    ----------
    outputs : mapping
        The arguments `rig` and `osc` of `silence`.
    answers : int, optional
        File descriptor for the guard's answers: what could not be silenced, and that it is done.

    Examples
    --------
    >>> guard = Guard({})
    >>> guard.allow(3.0)
    >>> guard.close()
    """

    def __init__(self, outputs: Mapping[str, Any], answers: int | None = None) -> None:
        # Here and not in the guard, which must start without installed packages.
        from orjson import dumps

        self._dumps: Callable[[Any], bytes] = dumps
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        if os.name != "posix":
            return
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).absolute()), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL if answers is None else answers,
                stderr=subprocess.DEVNULL,
            )
            self._pipe = self._process.stdin.fileno()  # type: ignore[union-attr]
            os.set_blocking(self._pipe, False)
            self._write({**outputs, "path": sys.path})

    @property
    def pid(self) -> int | None:
        """The guard's process id; None if there is no guard."""
        return self._process.pid if self._process is not None else None

    def allow(self, seconds: float) -> None:
        """Promise the next line within `seconds`; without it, the guard ends the player."""
        if self._process is None:
            faulthandler.dump_traceback_later(seconds, exit=True)
        else:
            self._write({"allowed": seconds})

    def begin(self, voices: int) -> None:
        """Send the number of voices that play from now on."""
        if self._process is not None:
            self._write({"voices": voices})

    def sounding(self, notes: Iterable[Note]) -> None:
        """Send the notes that sound."""
        if self._process is not None:
            self._write({"notes": list(notes)})

    def close(self) -> None:
        """End the guard, when no note sounds. May be called twice."""
        process, self._process = self._process, None
        if process is None:
            faulthandler.cancel_dump_traceback_later()
            return
        process.kill()
        process.communicate()

    def _write(self, values: Mapping[str, Any]) -> None:
        # If the pipe is full or closed, there is no guard, and the player continues.
        with contextlib.suppress(OSError):
            os.write(self._pipe, self._dumps(values) + b"\n")


def is_stopped(process: int) -> bool:
    """Return whether a signal or a debugger has stopped a process.

    Examples
    --------
    >>> is_stopped(os.getpid())
    False
    """
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        asked = ["ps", "-o", "state=", "-p", str(process)]
        try:
            state = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        except OSError:
            return False
    return state.strip().startswith(STOPPED)


def watch(process: int, pipe: int) -> dict[str, Any]:
    """Watch a process until its end, and end it if it is stuck.

    Parameters
    ----------
    process : int
        Process id of the parent of this process.
    pipe : int
        File descriptor of the pipe with its lines, which is closed when the process ends.

    Returns
    -------
    dict
        The last value of every key in its lines.
    """
    # Windows cannot wait for a pipe, but there the pipe holds all lines already.
    with contextlib.suppress(AttributeError, OSError):
        os.set_blocking(pipe, False)
    values: dict[str, Any] = {}
    rest = b""
    quiet = 0
    while True:
        try:
            data = os.read(pipe, 1 << 16)
        except BlockingIOError:
            quiet += 1
        else:
            if not data:
                return values
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                # A line is incomplete if the pipe was full.
                with contextlib.suppress(ValueError):
                    values.update(json.loads(line))
            quiet = 0
        if quiet > CALM_MOMENTS and is_stopped(process):
            quiet = 0
        if values.get("allowed") and quiet * MOMENT_SECONDS >= values["allowed"]:
            if os.getppid() == process:
                os.kill(process, signal.SIGKILL)
            values["allowed"] = 0.0
        time.sleep(MOMENT_SECONDS)


# -- ending the notes of an ended player -------------------------------------------------------


def silence(
    rig: Mapping[str, Any], osc: Sequence[str], voices: int, notes: Sequence[Note] = ()
) -> list[str]:
    """End every note of an ended player, on every output.

    Each known note is ended. Then every channel of a voice or of the fault sounds gets Hold off,
    All Sound Off and All Notes Off (MIDI 1.0), and OSC receivers get ``/gradmidi/stop``.

    Parameters
    ----------
    rig : mapping
        The fields of a `Rig`.
    osc : sequence of str
        Addresses of the OSC receivers.
    voices : int
        Number of voices.
    notes : sequence of Note
        The notes that are known to sound.

    Returns
    -------
    list of str
        A line for each output that could not be silenced.
    """
    from gradmidi.errors import GradmidiError, PortError
    from gradmidi.midi.backends import VIRTUAL
    from gradmidi.midi.rig import Rig

    problems = []
    for target in osc:
        with contextlib.suppress(GradmidiError, OSError):
            _silence_osc(target, notes)
    gear = Rig.of_fields(rig)
    for port, messages in endings(gear, voices, notes).items():
        if port.startswith(VIRTUAL):
            problems.append(
                f"{port} ended with the player: if a synth still plays, run: gradmidi panic PORT"
            )
            continue
        try:
            _send(port, messages)
        except PortError as error:
            problems.append(f"notes may still sound at {port!r}: {error}; run: gradmidi panic")
    return problems


def endings(rig: Any, voices: int, notes: Sequence[Note]) -> dict[str, list[tuple[int, ...]]]:
    """Return, for each port of a rig, the messages that end all notes.

    Examples
    --------
    >>> from gradmidi.midi.rig import Rig
    >>> endings(Rig(ports=("synth",), faults="off", clock=True), 1, [(0, 60, 60.0)])
    {'synth': [(128, 60, 64), (176, 64, 0), (176, 120, 0), (176, 123, 0), (252,)]}
    """
    from gradmidi.midi.numbers import (
        ALL_NOTES_OFF,
        ALL_SOUND_OFF,
        CONTROL,
        HOLD,
        NOTE_OFF,
        RELEASE_VELOCITY,
        STOP,
    )
    from gradmidi.midi.rig import LEVEL
    from gradmidi.music.events import FAULT_VOICE

    found: dict[str, list[tuple[int, ...]]] = {}
    if rig.ports:
        places = {voice: rig.mirrored(rig.place(voice)) for voice in range(voices)}
        if rig.fault_place is not None:
            places[FAULT_VOICE] = rig.mirrored(rig.fault_place)
        for voice, key, _ in notes:
            for port, channel in places.get(voice, ()):
                ending = (NOTE_OFF | channel - 1, key, RELEASE_VELOCITY)
                found.setdefault(rig.ports[port], []).append(ending)
        numbers = [number for name, number in rig.cc.items() if name == LEVEL]
        controllers = (HOLD, ALL_SOUND_OFF, ALL_NOTES_OFF, *numbers)
        for port, channel in sorted({each for several in places.values() for each in several}):
            found.setdefault(rig.ports[port], []).extend(
                (CONTROL | channel - 1, controller, 0) for controller in controllers
            )
        values = [number for name, number in rig.cc.items() if name != LEVEL]
        for port, channel in rig.mirrored(rig.value_place) if rig.value_place else ():
            found.setdefault(rig.ports[port], []).extend(
                (CONTROL | channel - 1, controller, 0) for controller in values
            )
    if rig.clock:
        found.setdefault(rig.clock if isinstance(rig.clock, str) else rig.ports[0], []).append(
            (STOP,)
        )
    return found


def _send(port: str, messages: Iterable[Sequence[int]]) -> None:
    from gradmidi.midi.ports import open_output

    output = open_output(port)
    # JACK connects a new port at the server's next cycle.
    time.sleep(0.05)
    for message in messages:
        output.send(message)
    output.close()


def _silence_osc(target: str, notes: Sequence[Note]) -> None:
    from gradmidi.music.events import FAULT_VOICE, End, On
    from gradmidi.sinks.osc import resolve
    from gradmidi.sinks.oscmessage import note_message, stop_message

    family, address = resolve(target)
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for voice, key, pitch in notes:
            # Notes of fault sounds are not sent by OSC.
            if voice != FAULT_VOICE:
                sender.sendto(note_message(On(0, voice, key, 1, pitch=pitch), 0), address)
        sender.sendto(stop_message(End(0, 0, 0.0)), address)


def main() -> None:
    """Run the guard: watch the process whose id is the argument, then end its notes."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        # Ignore these signals: the guard ends only with the player.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    values = watch(int(sys.argv[1]), 0)
    problems: list[str] = []
    if "voices" in values or values.get("rig", {}).get("clock"):
        faulthandler.dump_traceback_later(SILENCE_SECONDS, exit=True)
        sys.path[:] = values["path"]
        problems = silence(
            values["rig"], values["osc"], values.get("voices", 0), values.get("notes", ())
        )
    with contextlib.suppress(OSError):
        for answer in (*({"say": problem} for problem in problems), {"silenced": True}):
            os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
    # A normal exit of the interpreter may wait for the MIDI system that blocked the player.
    os._exit(0)
