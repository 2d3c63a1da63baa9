"""Commands that come by MIDI, from the knobs and buttons of the rig."""

import time
from collections.abc import Callable, Mapping

from gradmidi.base.messages import say, warn
from gradmidi.midi.controls import Command, Controls
from gradmidi.midi.ports import Input, open_input

__all__ = ["MidiDesk"]

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
        gone = self._input.gone
        self._input.look()
        if self._input.gone and not gone:
            warn(f"MIDI input {self._input.name!r} is gone; it is read again when it is back")
        elif gone and not self._input.gone:
            say(f"MIDI input {self._input.name!r} is back")
