"""A process beside the player: ends a player that is stuck, and the notes that it leaves.

A native call may hold the interpreter for good, so that no thread of the player can act; and a
player that is killed cannot end its notes. The guard is a process of its own, run from this file.
It needs only the standard library until it has notes to end. The player writes to it, in lines of
JSON, how soon the next line will come and which notes sound.

A player is stuck if no line comes in time while the guard itself runs. If both stood still (the
machine was suspended, a container paused), or a signal stopped the player, it is not stuck. A
timer of the C runtime could not tell these apart.
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

__all__ = ["MOMENT_SECONDS", "SILENCE_SECONDS", "Guard", "is_stopped", "silence", "watch"]

MOMENT_SECONDS = 0.05
"""How often the guard looks at what the player wrote."""

CALM_MOMENTS = 4
"""After so many moments without a line the guard looks whether the player was stopped."""

SILENCE_SECONDS = 10.0
"""How long ending the notes may take: the MIDI system that held the player may hold the guard."""

STOPPED = ("T", "t")
"""States of a process that a signal or a debugger stopped, as ps(1) and proc(5) have them."""

Note = tuple[int, int, float]
"""A note that sounds: voice, key and pitch."""


class Guard:
    """The player's end of its guard.

    On Windows, where no process is stopped by a signal, a timer of the C runtime ends a player
    that is stuck, and the parent ends the notes.

    Parameters
    ----------
    outputs : mapping
        What `silence` takes as `rig` and `osc`.
    answers : int, optional
        File descriptor that the guard answers on: what could not be silenced, and that it is done.

    Examples
    --------
    >>> guard = Guard({})
    >>> guard.allow(3.0)
    >>> guard.close()
    """

    def __init__(self, outputs: Mapping[str, Any], answers: int | None = None) -> None:
        # Not in the guard itself: it must start without installed packages.
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
        """The guard's process id; None where there is no guard."""
        return self._process.pid if self._process is not None else None

    def allow(self, seconds: float) -> None:
        """Write that the next line comes within `seconds`; else the player is ended."""
        if self._process is None:
            faulthandler.dump_traceback_later(seconds, exit=True)
        else:
            self._write({"allowed": seconds})

    def begin(self, voices: int) -> None:
        """Write how many voices play from now on."""
        if self._process is not None:
            self._write({"voices": voices})

    def sounding(self, notes: Iterable[Note]) -> None:
        """Write which notes sound."""
        if self._process is not None:
            self._write({"notes": list(notes)})

    def close(self) -> None:
        """End the guard; no note is left. May be called twice."""
        process, self._process = self._process, None
        if process is None:
            faulthandler.cancel_dump_traceback_later()
            return
        process.kill()
        process.communicate()

    def _write(self, values: Mapping[str, Any]) -> None:
        # Where the pipe is full or closed, there is no guard, and the player plays on.
        with contextlib.suppress(OSError):
            os.write(self._pipe, self._dumps(values) + b"\n")


def is_stopped(process: int) -> bool:
    """Tell whether a signal or a debugger has stopped a process.

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
    """Watch a process until it is gone, and end it if it is stuck.

    Parameters
    ----------
    process : int
        The parent of this process.
    pipe : int
        Brings its lines; ends with it.

    Returns
    -------
    dict
        The last value of every key that it wrote.
    """
    # Windows cannot: there the pipe holds all that will come.
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
                # A line is torn where the pipe was full.
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


# -- ending the notes that a player left -------------------------------------------------------


def silence(
    rig: Mapping[str, Any], osc: Sequence[str], voices: int, notes: Sequence[Note] = ()
) -> list[str]:
    """End every note of a player that is gone, at every output.

    Each note that is known to sound is ended. Then every channel that a voice or the fault sounds
    have is silenced as MIDI 1.0 has it (Hold off, All Sound Off, All Notes Off), and OSC receivers
    get ``/gradmidi/stop``.

    Parameters
    ----------
    rig : mapping
        The fields of a `Rig`.
    osc : sequence of str
        The OSC receivers' addresses.
    voices : int
        How many voices play.
    notes : sequence of Note
        The notes that sound, as far as they are known.

    Returns
    -------
    list of str
        What could not be silenced, a line each.
    """
    from gradmidi.errors import GradmidiError, PortError
    from gradmidi.midi.ports import VIRTUAL
    from gradmidi.midi.rig import Rig

    problems = []
    for target in osc:
        with contextlib.suppress(GradmidiError, OSError):
            _silence_osc(target, notes)
    gear = Rig(**{**rig, "ports": tuple(rig["ports"])})
    for port, messages in endings(gear, voices, notes).items():
        if port.startswith(VIRTUAL):
            problems.append(
                f"{port} is gone with the player: if a synth still plays, run: gradmidi panic PORT"
            )
            continue
        try:
            _send(port, messages)
        except PortError as error:
            problems.append(f"notes may still sound at {port!r}: {error}; run: gradmidi panic")
    return problems


def endings(rig: Any, voices: int, notes: Sequence[Note]) -> dict[str, list[tuple[int, ...]]]:
    """List the messages that end everything at each port of a rig, in order.

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
    from gradmidi.music.events import FAULT_VOICE

    found: dict[str, list[tuple[int, ...]]] = {}
    if rig.ports:
        places = {voice: rig.place(voice) for voice in range(voices)}
        if rig.fault_place is not None:
            places[FAULT_VOICE] = rig.fault_place
        for voice, key, _ in notes:
            if voice in places:
                port, channel = places[voice]
                ending = (NOTE_OFF | channel - 1, key, RELEASE_VELOCITY)
                found.setdefault(rig.ports[port], []).append(ending)
        for port, channel in sorted(set(places.values())):
            found.setdefault(rig.ports[port], []).extend(
                (CONTROL | channel - 1, controller, 0)
                for controller in (HOLD, ALL_SOUND_OFF, ALL_NOTES_OFF)
            )
    if rig.clock:
        found.setdefault(rig.clock if isinstance(rig.clock, str) else rig.ports[0], []).append(
            (STOP,)
        )
    return found


def _send(port: str, messages: Iterable[Sequence[int]]) -> None:
    from gradmidi.midi.ports import open_output

    output = open_output(port)
    # A receiver on JACK hears a new port from the server's next cycle on.
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
            # Fault sounds are not for OSC.
            if voice != FAULT_VOICE:
                sender.sendto(note_message(On(0, voice, key, 1, pitch=pitch), 0), address)
        sender.sendto(stop_message(End(0, 0, 0.0)), address)


def main() -> None:
    """Run the guard: watch the process whose id is the one argument, then end its notes."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        # The guard ends with the player, and only then.
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
    # The interpreter's own end would wait for a MIDI system that the player died of.
    os._exit(0)
