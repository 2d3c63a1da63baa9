"""The mixing desk: mute, solo and level, and an end for every note that is heard.

It stands between the score and the sinks. What is struck while it may not be heard is kept in
mind, so that a held note comes back with its voice.
"""

from collections.abc import Sequence
from dataclasses import replace

from gradmidi.music.events import FAULT_VOICE, Event, Off, On

__all__ = ["Desk"]


class Desk:
    """Decides which notes are heard, and how loud.

    Parameters
    ----------
    level : float, default 0.0
        dB on every note, by its velocity: 0.1 · (velocity / 80)² is the synth's amplitude.

    Attributes
    ----------
    muted : bool
        Whether nothing is heard.
    soloed : int or None
        The one voice that is heard beside faults; None: all.
    level : float
        In dB.

    Examples
    --------
    >>> desk = Desk(level=-12.0)
    >>> desk.take([On(0, 0, 60, 80, pitch=60.0)])
    [On(tick=0, voice=0, note=60, velocity=40, pitch=60.0, norm=0.0, sound='')]
    >>> desk.mute()
    [Off(tick=0, voice=0, note=60)]
    """

    def __init__(self, level: float = 0.0) -> None:
        self.level = level
        self.muted = False
        self.soloed: int | None = None
        self._tick = 0
        self._struck: dict[tuple[int, int], list[On]] = {}
        self._heard: set[tuple[int, int]] = set()

    @property
    def sounding(self) -> int:
        """How many keys sound."""
        return len(self._heard)

    def take(self, events: Sequence[Event], *, skip: bool = False) -> list[Event]:
        """Return what is heard of the next events; with `skip`, no new note is."""
        out: list[Event] = []
        for event in events:
            self._tick = max(self._tick, event.tick)
            if isinstance(event, On):
                self._struck.setdefault((event.voice, event.note), []).append(event)
                if not skip and self._may_sound(event.voice):
                    out.append(self._on(event))
            elif isinstance(event, Off):
                out += self._let_go(event)
            else:
                out.append(event)
        return out

    def mute(self) -> list[Event]:
        """Mute everything, or let it be heard again; return what that changes."""
        self.muted = not self.muted
        return self._changed()

    def solo(self, voice: int) -> list[Event]:
        """Let one voice alone be heard, or again all of them; return what that changes."""
        self.soloed = None if self.soloed == voice else voice
        return self._changed()

    def silence(self) -> list[Event]:
        """End every note for good."""
        offs = [Off(self._tick, voice, note) for voice, note in sorted(self._heard)]
        self._struck.clear()
        self._heard.clear()
        return [*offs]

    def _may_sound(self, voice: int) -> bool:
        return not self.muted and (self.soloed in (None, voice) or voice == FAULT_VOICE)

    def _on(self, on: On) -> On:
        self._heard.add((on.voice, on.note))
        if not self.level:
            return on
        velocity = round(on.velocity * 10.0 ** (self.level / 40.0))
        return replace(on, velocity=min(max(velocity, 1), 127))

    def _let_go(self, off: Off) -> list[Event]:
        key = (off.voice, off.note)
        struck = self._struck.get(key)
        if struck:
            struck.pop(0)
            if not struck:
                del self._struck[key]
        if key not in self._heard:
            return []
        if not struck:
            self._heard.remove(key)
        return [off]

    def _changed(self) -> list[Event]:
        out: list[Event] = []
        for key in sorted(self._heard):
            if not self._may_sound(key[0]):
                self._heard.remove(key)
                out += [Off(self._tick, *key)] * len(self._struck.get(key, [None]))
        for key, struck in sorted(self._struck.items()):
            if key not in self._heard and self._may_sound(key[0]):
                out += [self._on(replace(on, tick=self._tick)) for on in struck]
        return out
