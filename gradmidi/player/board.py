"""The notice board: what a run looks like right now, in plain numbers, for whoever shows it."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from gradmidi.music.events import FAULT_VOICE, Event, Fault, Mark, Off, On, Step
from gradmidi.music.scale import note_name
from gradmidi.music.voices import Voice

__all__ = ["Board"]

LAST_FAULTS = 5


class Board:
    """Remembers what was sent last.

    Parameters
    ----------
    voices : sequence of Voice
        Who plays.

    Examples
    --------
    >>> board = Board([Voice(0, "fc1", (0,))])
    >>> board.take([Step(0, 7, 0.5, (0.25,), (0.5,)), On(0, 0, 57, 80, pitch=57.0, norm=0.25)])
    >>> board.status()["step"], board.status()["notes"]
    (7, ['A3'])
    """

    def __init__(self, voices: Sequence[Voice]) -> None:
        self._step: Step | None = None
        self._loss: float | None = None
        self._notes = [""] * len(voices)
        self._sounding = [0] * len(voices)
        # Voices that were struck since the last slot began: the others rest.
        self._struck: set[int] = set()
        self._faults: deque[dict[str, Any]] = deque(maxlen=LAST_FAULTS)
        self._count = 0
        self._mark = ""

    def take(self, events: Sequence[Event]) -> None:
        """Look at the next events that are sent."""
        for event in events:
            match event:
                case On(voice=voice) if voice != FAULT_VOICE:
                    self._notes[voice] = note_name(event.note)
                    self._sounding[voice] += 1
                    self._struck.add(voice)
                case Off(voice=voice) if voice != FAULT_VOICE:
                    self._sounding[voice] -= 1
                case Step():
                    self._step = event
                    for voice, sounding in enumerate(self._sounding):
                        if not sounding and voice not in self._struck:
                            self._notes[voice] = ""
                    self._struck.clear()
                    if event.loss is not None:
                        self._loss = event.loss
                case Fault():
                    self._count += 1
                    self._faults.append(
                        {
                            "kind": event.kind,
                            "layer": event.layer,
                            "step": event.step,
                            "value": event.value if math.isfinite(event.value) else None,
                        }
                    )
                case Mark(voice=None):
                    self._mark = event.text

    def status(self) -> dict[str, Any]:
        """Tell everything; empty before the first slot."""
        if self._step is None:
            return {}
        return {
            "step": self._step.step,
            "seconds": self._step.seconds,
            "loss": self._loss,
            "norms": self._step.norms,
            "levels": self._step.levels,
            "notes": self._notes,
            "faults": list(self._faults),
            "fault_count": self._count,
            "mark": self._mark,
        }
