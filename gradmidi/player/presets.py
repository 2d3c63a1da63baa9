"""Change to another preset while a run plays: which preset, and when."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from gradmidi.base.messages import Warnings, say
from gradmidi.errors import PresetError
from gradmidi.midi.rig import Rig
from gradmidi.music.events import Event
from gradmidi.music.preset import Preset, load, names
from gradmidi.player.schedule import Schedule, Timed
from gradmidi.player.timeline import LEAD_SECONDS

__all__ = ["Presets"]

LONGEST_NAME = 40


class Presets:
    """Finds the presets that a running player is asked for.

    Those that ship with gradmidi may be asked for, and the one of the start: commands may come
    from other machines, so no file is read. What counts as a fault, and which logged values have
    voices, stay as at the start; with a MIDI clock or Ableton Link, so do tempo and meter.

    Parameters
    ----------
    start : Preset
        The preset of the start.
    rig : Rig
        Says whether there is a MIDI clock or Link.

    Attributes
    ----------
    unknown : int
        How many presets were asked for that cannot be played.
    """

    def __init__(self, start: Preset, rig: Rig) -> None:
        self.unknown = 0
        self._start = start
        self._keeps_time = bool(rig.clock or rig.link)
        self._playing = start
        self._wanted: str | None = None
        self._turn = math.inf
        self._agenda: deque[Timed] = deque()
        self._warnings = Warnings()

    def ask(self, name: str) -> None:
        """Ask for a preset by its name; of several names, the last one counts."""
        if name == self._start.name or name in names():
            self._wanted = name
        else:
            there = ", ".join(dict.fromkeys((*names(), self._start.name)))
            self._refuse(f"no preset is called {name[:LONGEST_NAME]!r}; there are: {there}")

    def follow(self, schedule: Schedule, now: float) -> None:
        """Let a schedule go on with the preset that was asked for, if it plays another one."""
        name = self._wanted
        if name is None or schedule.finished or self._turn < math.inf:
            return
        self._wanted = None
        if name != self._playing.name:
            try:
                found = self._start if name == self._start.name else self._fitted(load(name))
                self._turn = schedule.change(found, now)
                self._playing = found
            except PresetError as error:
                self._refuse(str(error))

    @property
    def wake(self) -> float:
        """When the change is due, before its first slot; inf if there is none.

        It is earlier than planned if the end of the run is.
        """
        first = self._agenda[0][0] if self._agenda else math.inf
        return min(self._turn, first) - LEAD_SECONDS

    def add(self, timed: Sequence[Timed], agenda: deque[Timed]) -> None:
        """Add events to an agenda, or keep them for the time after a change."""
        (agenda if self._turn == math.inf else self._agenda).extend(timed)

    def change(self, agenda: deque[Timed]) -> tuple[Preset, list[Event]]:
        """Put the events after the change into an agenda; return the preset, and what is left.

        The user is told.
        """
        rest = [event for due, event in agenda if due <= self.wake + LEAD_SECONDS]
        agenda.clear()
        agenda.extend(self._agenda)
        self._agenda.clear()
        self._turn = math.inf
        say(f"the preset is {self._playing.name} from here on")
        return self._playing, rest

    def _fitted(self, preset: Preset) -> Preset:
        start, faults = self._start, preset.faults
        values = replace(
            preset.values,
            which=start.values.which,
            reference_tone=start.values.reference_tone,
        )
        limits = replace(
            start.faults, sound=faults.sound, velocity=faults.velocity, duck=faults.duck
        )
        time = preset.time
        if self._keeps_time:
            time = replace(time, tempo=start.time.tempo, meter=start.time.meter)
        return replace(preset, time=time, values=values, faults=limits)

    def _refuse(self, why: str) -> None:
        self.unknown += 1
        self._warnings.note("another preset", why, "the run plays on as before")
