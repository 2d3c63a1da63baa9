"""Fault sounds: first what is wrong, by pulses on the fault voice, then who, by the voice itself.

Pulses lie between 500 and 3000 Hz and are made urgent by pitch and by short gaps (Haas and
Edworthy; IEC 60601-1-8); every kind has a rhythm or a contour that no other has, so that it is
known without another to compare it with, on a drum kit too. At most two sound at once: of
three, listeners miss a quarter (Causse et al., 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from gradmidi.detection.detector import KINDS, RUN, Finding
from gradmidi.log import Layer
from gradmidi.music.events import FAULT_VOICE, PPQ, Event, Fault, Off, On
from gradmidi.music.pitch import struck
from gradmidi.music.preset import Preset
from gradmidi.music.voices import Voice

__all__ = ["END", "PATTERNS", "TICK", "Alarms", "Pulse", "seconds_of"]

END = "end"
"""The sound of a run that was closed in order."""

TICK = "tick"
"""The sound of a run that goes on while no voice has anything to say."""

BAR = 4 * PPQ

WAITING = 8
"""Findings that may wait for their turn; further ones, the least grave, are told in text alone."""

STALE_MS = 6000
"""A finding that had to wait for longer is not worth a sound any more."""

WHO_MS, WHO_GAP_MS, WHO_TIMES = 160, 80, 2
"""How a voice says that it is the one: a note at home, twice."""

ALL_MS, MOST_MS = 70, 1000
"""How long each voice speaks, one after another, where it is the whole run; and all of them."""

TICK_SHARE = 0.45
"""Velocity of the tick, as a share of a pulse's."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """One pulse of a fault's sound.

    Parameters
    ----------
    start, length : int
        Milliseconds from the start of the sound, and that it lasts.
    pitch : int
        MIDI note: what the synth and OSC play.
    key : int
        General MIDI percussion key, 35–81: what is struck on the fault channel.
    """

    start: int
    length: int
    pitch: int
    key: int


def _pulses(
    lengths: str, gap: int, pitches: Sequence[int], keys: Sequence[int]
) -> tuple[Pulse, ...]:
    """Lay out pulses one after another: s for a short one, l for a long one, gaps in ms."""
    at = 0
    pulses = []
    for letter, pitch, key in zip(lengths, pitches, keys, strict=True):
        length = {"s": 90, "m": 180, "l": 350}[letter]
        pulses.append(Pulse(at, length, pitch, key))
        at += length + gap
    return tuple(pulses)


PATTERNS = {
    # A siren: high, low, six times, without a pause. Agogo bells.
    "nan": _pulses("ssssss", 30, (94, 88, 94, 88, 94, 88), (67, 68, 67, 68, 67, 68)),
    # Four hammered high notes and a long one. Crash cymbals.
    "inf": _pulses("ssssl", 30, (98, 98, 98, 98, 98), (49, 49, 49, 49, 57)),
    # Four steps up, quick. Toms.
    "exploding": _pulses("mmmm", 40, (76, 81, 86, 91), (41, 45, 48, 50)),
    # One short, one long and low. Bass drums.
    "dead": _pulses("sl", 60, (81, 72), (36, 35)),
    # Four steps down, with pauses. Bongos and congas.
    "vanishing": _pulses("mmmm", 120, (89, 84, 79, 74), (60, 61, 63, 64)),
    # Up and down at once. Cowbell.
    "spike": _pulses("sss", 20, (83, 95, 83), (56, 56, 56)),
    # Twice the same, apart. Side stick.
    "skipped": _pulses("ss", 250, (87, 87), (37, 37)),
    # Three long ones with long pauses, all alike. Claves.
    "stalled": _pulses("lll", 350, (76, 76, 76), (75, 75, 75)),
    # Two alike, then an octave down. Vibraslap and splash.
    "died": _pulses("lll", 50, (84, 84, 72), (58, 58, 55)),
    # A fifth up. Ride bell.
    END: _pulses("ml", 20, (79, 86), (53, 53)),
    # Closed hi-hat.
    TICK: _pulses("s", 0, (96,), (42,)),
}
"""The sound of every kind: the one table."""


def seconds_of(kind: str) -> float:
    """Tell how long the pulses of a kind take.

    Examples
    --------
    >>> seconds_of("end")
    0.55
    """
    last = PATTERNS[kind][-1]
    return (last.start + last.length) / 1000.0


_URGENT = KINDS.index("exploding")
"""Kinds up to this one are a little louder."""


class Alarms:
    """Turns findings into events, and keeps their sounds from getting in each other's way.

    A graver finding goes first. It does not wait for a lesser one that sounds; findings of one
    kind share its pulses and are named one after another.

    Parameters
    ----------
    preset : Preset
        Its ``[faults]`` says whether anything sounds, and how loud.
    layers : sequence of Layer
        The run's layers.
    voices : sequence of Voice
        Which layers sound as one.
    homes : sequence of int
        The MIDI note each voice is at home at; a drum strikes its own key, at that pitch.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> layers = [Layer("fc1", 10), Layer("fc2", 10)]
    >>> voices = [Voice(0, "fc1", (0,)), Voice(1, "fc2", (1,))]
    >>> alarms = Alarms(load("pentatonic"), layers, voices, (48, 60))
    >>> events = alarms.add(960, [Finding("spike", 1, 7, 12.5)])
    >>> events[0]
    Fault(tick=960, kind='spike', layer='fc2', step=7, value=12.5)
    >>> [(e.tick, e.voice, e.pitch) for e in events if isinstance(e, On)]
    [(960, -1, 83.0), (1066, -1, 95.0), (1171, -1, 83.0), (1335, 1, 60.0), (1566, 1, 60.0)]
    """

    def __init__(
        self,
        preset: Preset,
        layers: Sequence[Layer],
        voices: Sequence[Voice],
        homes: Sequence[int],
    ) -> None:
        self._sound = preset.faults.sound
        self._velocity = preset.faults.velocity
        self._voice_velocity = preset.loudness.velocity
        self._tick_seconds = preset.time.tick_seconds
        self._names = tuple(layer.name for layer in layers)
        self._homes = tuple(homes)
        self._keys = struck(preset, homes)
        self._voice_of = {layer: voice.index for voice in voices for layer in voice.layers}
        self._waiting: list[tuple[int, int, int]] = []  # gravity (0 is the gravest), tick, layer
        self._sounding: list[tuple[int, int]] = []  # gravity, and the tick it is over at
        self._speaking = [0] * len(self._homes)
        self._bar = -1

    def add(self, tick: int, findings: Sequence[Finding] = ()) -> list[Event]:
        """Take the findings of a slot; return events, in order, that begin there or later.

        Parameters
        ----------
        tick : int
            Where the slot begins; never before an earlier one. Also to be called for a slot
            without findings: then what waited may have its turn.
        findings : sequence of Finding
            What was found in it.

        Returns
        -------
        list of Event
            A `Fault` for every finding; `On` and `Off` where it is heard.
        """
        events: list[Event] = []
        for finding in findings:
            name = "" if finding.layer == RUN else self._names[finding.layer]
            events.append(Fault(tick, finding.kind, name, finding.step, finding.value))
            self._wait(tick, finding)
        self._sounding = [(rank, over) for rank, over in self._sounding if over > tick]
        oldest = tick - self._ticks(STALE_MS)
        self._waiting = [entry for entry in self._waiting if entry[1] >= oldest]
        while self._waiting and self._is_free(self._waiting[0][0]):
            events += self._start(tick)
        return sorted(events, key=attrgetter("tick"))

    def idle(self, tick: int) -> list[Event]:
        """Say that a slot in which no voice sounds begins at `tick`: a faint tick once a bar."""
        bar = tick // BAR
        if not self._sound or bar == self._bar or self.sounds(tick):
            return []
        self._bar = bar
        return self._pulse(TICK, tick, round(self._velocity * TICK_SHARE))

    def end(self, tick: int) -> list[Event]:
        """Say that the run was closed in order at `tick`, or as soon as no fault sounds."""
        if not self._sound:
            return []
        start = max([tick, *(over for _, over in self._sounding)])
        return self._pulse(END, start, self._velocity)

    def sounds(self, tick: int) -> bool:
        """Tell whether a fault is being told at `tick`: what it is, or who."""
        return any(over > tick for _, over in self._sounding)

    def speaks(self, voice: int, tick: int) -> bool:
        """Tell whether a voice is naming itself at `tick` or later, so should not play a norm."""
        return self._speaking[voice] > tick

    def _wait(self, tick: int, finding: Finding) -> None:
        entry = (KINDS.index(finding.kind), tick, finding.layer)
        if self._sound and not any(
            rank == entry[0] and layer == finding.layer for rank, _, layer in self._waiting
        ):
            self._waiting.append(entry)
            # Sorting is stable: of one kind, the older and the one named first stays first.
            self._waiting.sort(key=lambda entry: entry[:2])
            del self._waiting[WAITING:]

    def _is_free(self, rank: int) -> bool:
        return not self._sounding or (len(self._sounding) == 1 and rank < self._sounding[0][0])

    def _start(self, tick: int) -> list[Event]:
        """Sound the first kind that waits, for all of that kind."""
        rank = self._waiting[0][0]
        layers = [entry[2] for entry in self._waiting if entry[0] == rank]
        self._waiting = [entry for entry in self._waiting if entry[0] != rank]
        kind = KINDS[rank]
        louder = 12 if rank <= _URGENT else 0
        events = self._pulse(kind, tick, min(self._velocity + louder, 127))
        last, gap = PATTERNS[kind][-1], self._ticks(WHO_GAP_MS)
        at = tick + self._ticks(last.start + last.length) + gap
        everyone = range(len(self._homes)) if kind in _OF_LAYERS else ()
        named: set[int] = set()
        for layer in layers:
            if layer == RUN:
                for voice in everyone:
                    at = self._say(voice, at, min(ALL_MS, MOST_MS // len(everyone)), events)
                at += gap
            elif (voice := self._voice_of.get(layer, RUN)) not in (RUN, *named):
                named.add(voice)
                for _ in range(WHO_TIMES):
                    at = self._say(voice, at, WHO_MS, events) + gap
        self._sounding.append((rank, at))
        return events

    def _pulse(self, kind: str, tick: int, velocity: int) -> list[Event]:
        events: list[Event] = []
        for pulse in PATTERNS[kind]:
            start = tick + self._ticks(pulse.start)
            over = tick + self._ticks(pulse.start + pulse.length)
            events.append(
                On(start, FAULT_VOICE, pulse.key, velocity, float(pulse.pitch), sound=kind)
            )
            events.append(Off(max(over, start + 1), FAULT_VOICE, pulse.key))
        return events

    def _say(self, voice: int, tick: int, length: int, events: list[Event]) -> int:
        """Let a voice say its name, as soon as it has said it before; return when it is over."""
        start = max(tick, self._speaking[voice])
        over = start + max(1, self._ticks(length))
        key = self._keys[voice]
        events.append(On(start, voice, key, self._voice_velocity, float(self._homes[voice])))
        events.append(Off(over, voice, key))
        self._speaking[voice] = over
        return over

    def _ticks(self, milliseconds: int) -> int:
        return round(milliseconds / 1000.0 / self._tick_seconds)


_OF_LAYERS = frozenset(KINDS[: KINDS.index("skipped")])
"""Kinds that layers have, so that of the whole run all voices name themselves."""
