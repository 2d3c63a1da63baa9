"""Fault sounds: pulses that say what is wrong, then notes of the voice that it is wrong in.

Pulses lie between 500 and 3000 Hz; pitch and short gaps make them urgent (Haas and Edworthy;
IEC 60601-1-8). Each kind has a rhythm or a contour of its own, so that it is recognised without
another for comparison, also on a drum kit. At most two sound at once: of three, listeners miss a
quarter (Causse et al., 2022).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from gradmidi.detection.kinds import KINDS, RUN, Finding, Kind
from gradmidi.detection.lasting import below
from gradmidi.log import Layer
from gradmidi.music.events import FAULT_VOICE, Alarm, Event, Off, On
from gradmidi.music.preset import Preset
from gradmidi.music.styles import Part
from gradmidi.music.timing import SlotGrid
from gradmidi.music.voices import Voice

__all__ = ["END", "PATTERNS", "TICK", "Alarms", "Precedence", "Pulse", "seconds_of"]

END = "end"
"""The sound of a run that was closed in order."""

TICK = "tick"
"""The sound of a run that goes on while no voice has a norm to play."""

WAITING = 8
"""Most findings that may wait for their sound; of more, the least grave are shown as text only."""

STALE_MS = 6000
"""A finding that had to wait for longer gets no sound."""

IDENTIFY_MS, IDENTIFY_GAP_MS, IDENTIFY_TIMES = 160, 80, 2
"""A voice at fault is identified by its home note, twice: length of a note, and gap after it."""

ALL_MS, MOST_MS = 70, 1000
"""For a fault of the whole run all voices sound in turn: length of a note, and of all of them."""

LOUDER = 12
"""How much louder an urgent kind is, in MIDI velocity."""

TICK_SHARE = 0.45
"""Velocity of the tick, as a share of a pulse's."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """One pulse of a fault's sound.

    Parameters
    ----------
    start : int
        Milliseconds from the start of the sound.
    length : int
        Milliseconds.
    pitch : int
        MIDI note that the synth and OSC play.
    key : int
        General MIDI percussion key, 35–81, that is played on the fault channel.
    """

    start: int
    length: int
    pitch: int
    key: int


def _pulses(
    lengths: str, gap: int, pitches: Sequence[int], keys: Sequence[int]
) -> tuple[Pulse, ...]:
    """Place pulses one after another: s is 90 ms long, m 180, l 350; `gap` is in ms."""
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
    # Three down, each shorter than the one before. Triangle.
    "missing": _pulses("lms", 80, (88, 84, 79), (81, 81, 80)),
    # Four steps down, with pauses. Bongos and congas.
    "vanishing": _pulses("mmmm", 120, (89, 84, 79, 74), (60, 61, 63, 64)),
    # One long and low, two short and high. Guiro.
    "overshooting": _pulses("lss", 40, (77, 91, 91), (74, 73, 73)),
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
"""The sound of every kind of fault, of the end, and of the tick."""


def seconds_of(kind: str) -> float:
    """Return how long the pulses of a kind take, in seconds.

    Examples
    --------
    >>> seconds_of("end")
    0.55
    """
    last = PATTERNS[kind][-1]
    return (last.start + last.length) / 1000.0


class Alarms:
    """Turns findings into events, at most two sounds at a time.

    The gravest finding sounds first, also while one less grave sounds. Findings of one kind
    share its pulses; their voices are identified one after another.

    Parameters
    ----------
    preset : Preset
        Its ``[faults]`` gives whether faults sound, and how loud.
    layers : sequence of Layer
        The run's layers.
    voices : sequence of Voice
        Which layers sound as one.
    homes : sequence of int
        The home of each voice, a MIDI note.
    value_voice : callable, optional
        Returns index and home of the voice of a logged value; None if it has no voice.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> layers = [Layer("fc1", 10), Layer("fc2", 10)]
    >>> voices = [Voice(0, "fc1", (0,)), Voice(1, "fc2", (1,))]
    >>> alarms = Alarms(load("pentatonic"), layers, voices, (48, 60))
    >>> events = alarms.add(960, [Finding("spike", 1, 7, 12.5)])
    >>> events[0]
    Alarm(tick=960, kind='spike', layer='fc2', step=7, value=12.5)
    >>> [(e.tick, e.voice, e.pitch) for e in events if isinstance(e, On)]
    [(960, -1, 83.0), (1066, -1, 95.0), (1171, -1, 83.0), (1335, 1, 60.0), (1566, 1, 60.0)]
    """

    def __init__(
        self,
        preset: Preset,
        layers: Sequence[Layer],
        voices: Sequence[Voice],
        homes: Sequence[int],
        value_voice: Callable[[str], tuple[int, int] | None] = lambda _: None,
    ) -> None:
        self._value_voice = value_voice
        self._sound = preset.faults.sound
        self._velocity = preset.faults.velocity
        self._voice_velocity = preset.loudness.velocity
        self._tick_seconds = preset.time.tick_seconds
        self._bar_ticks = preset.time.bar_ticks
        self._tuned = preset.pitch.tuned
        self._names = tuple(layer.name for layer in layers)
        self._homes = tuple(homes)
        self._keys = preset.style.keys(homes, preset.voices.keys)
        self._voice_of = {layer: voice.index for voice in voices for layer in voice.layers}
        # Kind, tick, and layer or name of a value: the gravest first.
        self._waiting: list[tuple[Kind, int, int | str]] = []
        self._sounding: list[tuple[Kind, int]] = []  # kind, and the tick it is over at
        # The tick at which the last identification note of each voice ends.
        self._identified: Counter[int] = Counter()
        self._bar = -1

    def add(self, tick: int, findings: Sequence[Finding] = ()) -> list[Event]:
        """Take the findings of the slot at `tick`; return events, in order, from there on.

        The result has an `Alarm` for every finding, and the notes of those that sound. Call it
        for slots without findings too: then one that waits may sound.
        """
        events: list[Event] = []
        for finding in findings:
            name = "" if finding.layer == RUN else self._names[finding.layer]
            layers = tuple(self._names[layer] for layer in finding.layers)
            after = below(finding.layers, len(self._names))
            events.append(
                Alarm(
                    tick,
                    finding.kind,
                    name,
                    finding.step,
                    finding.value,
                    layers,
                    finding.present,
                    finding.logged,
                    "" if after is None else self._names[after],
                )
            )
            self._wait(tick, finding)
        self._sounding = [entry for entry in self._sounding if entry[1] > tick]
        oldest = tick - self._ticks(STALE_MS)
        self._waiting = [entry for entry in self._waiting if entry[1] >= oldest]
        while self._waiting and self._is_free(self._waiting[0][0]):
            events += self._start(tick)
        return sorted(events, key=attrgetter("tick"))

    def idle(self, tick: int) -> list[Event]:
        """Return a faint tick, once a bar, for a slot at `tick` in which no voice sounds."""
        bar = tick // self._bar_ticks
        if not self._sound or bar == self._bar or self.sounds(tick):
            return []
        self._bar = bar
        return self._pulse(TICK, tick, round(self._velocity * TICK_SHARE))

    def end(self, tick: int) -> list[Event]:
        """Return the sound of a run that was closed in order, at `tick` or after fault sounds."""
        if not self._sound:
            return []
        start = max([tick, *(over for _, over in self._sounding)])
        return self._pulse(END, start, self._velocity)

    def sounds(self, tick: int) -> bool:
        """Return whether a fault sounds at `tick`, its pulses or its identification."""
        return any(over > tick for _, over in self._sounding)

    def _wait(self, tick: int, finding: Finding) -> None:
        new = KINDS[finding.kind]
        whose = finding.logged if self._value_voice(finding.logged) else finding.layer
        if self._sound and not any(
            kind is new and each == whose for kind, _, each in self._waiting
        ):
            self._waiting.append((new, tick, whose))
            # Sorting is stable: of one kind, the older and the one named first stays first.
            self._waiting.sort(key=lambda entry: (-entry[0].gravity, entry[1]))
            del self._waiting[WAITING:]

    def _is_free(self, kind: Kind) -> bool:
        if not self._sounding:
            return True
        return len(self._sounding) == 1 and kind.gravity > self._sounding[0][0].gravity

    def _start(self, tick: int) -> list[Event]:
        """Start the sound of the gravest kind that waits, for all findings of that kind."""
        kind = self._waiting[0][0]
        layers = [entry[2] for entry in self._waiting if entry[0] is kind]
        self._waiting = [entry for entry in self._waiting if entry[0] is not kind]
        louder = LOUDER if kind.urgent else 0
        events = self._pulse(kind.name, tick, min(self._velocity + louder, 127))
        last, gap = PATTERNS[kind.name][-1], self._ticks(IDENTIFY_GAP_MS)
        at = tick + self._ticks(last.start + last.length) + gap
        everyone = range(len(self._homes)) if kind.of_layers else ()
        identified: set[int] = set()
        for layer in layers:
            if layer == RUN:
                for voice in everyone:
                    length = min(ALL_MS, MOST_MS // len(everyone))
                    note = voice, self._keys[voice], self._homes[voice]
                    at = self._identify(note, at, length, events)
                at += gap
            elif (named := self._named(layer)) is not None and named[0] not in identified:
                identified.add(named[0])
                for _ in range(IDENTIFY_TIMES):
                    at = self._identify(named, at, IDENTIFY_MS, events) + gap
        self._sounding.append((kind, at))
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

    def _identify(
        self, named: tuple[int, int, int], tick: int, length: int, events: list[Event]
    ) -> int:
        """Add a voice's home note at `tick`, or after its previous one; return where it ends."""
        voice, key, home = named
        start = max(tick, self._identified[voice])
        over = start + max(1, self._ticks(length))
        events.append(On(start, voice, key, self._voice_velocity, self._tuned(home)))
        events.append(Off(over, voice, key))
        self._identified[voice] = over
        return over

    def _named(self, whose: int | str) -> tuple[int, int, int] | None:
        """Return voice, MIDI note and home of a layer, or of a value by its name."""
        if isinstance(whose, str):
            found = self._value_voice(whose)
            return None if found is None else (*found, found[1])
        voice = self._voice_of.get(whose)
        return None if voice is None else (voice, self._keys[voice], self._homes[voice])

    def _ticks(self, milliseconds: int) -> int:
        return round(milliseconds / 1000.0 / self._tick_seconds)


class Precedence:
    """Gives fault sounds precedence over the notes of norms.

    While a fault sounds the other notes are softer. A voice's own notes give way to the notes
    that identify it, and those are kept apart from the places where the voice plays its norms,
    by which `decode` tells the two apart.

    Parameters
    ----------
    parts : sequence of Part
        The voices.
    spacing : int
        Ticks between two places at which a voice may strike; see `Style.spacing`.
    grid : SlotGrid
        Where slots begin.
    duck : float
        Share of its velocity that a note keeps while a fault sounds.
    """

    def __init__(self, parts: Sequence[Part], spacing: int, grid: SlotGrid, duck: float) -> None:
        self._parts = tuple(parts)
        self._spacing = spacing
        self._grid = grid
        self._duck = duck
        # Ticks from the first to the last event of each fault, and of each identification.
        self._faults: list[tuple[int, int]] = []
        self._last = -1  # the tick at which the last fault sound ends
        self._identified: list[list[tuple[int, int]]] = [[] for _ in parts]

    def admit(self, tick: int, events: Sequence[Event]) -> list[Event]:
        """Take the events of `Alarms` at `tick`; return those that are to be played.

        A voice is identified once, also where several faults ask for it at the same time.
        """
        notes = [event for event in events if isinstance(event, (On, Off))]
        if not notes:
            return list(events)
        played = [e for e in events if not isinstance(e, (On, Off)) or e.voice == FAULT_VOICE]
        self._faults = [span for span in self._faults if span[1] > tick]
        self._faults.append((notes[0].tick, notes[-1].tick))
        self._last = max(self._last, notes[-1].tick)
        for voice in {note.voice for note in notes} - {FAULT_VOICE}:
            if voice >= len(self._parts):
                # A logged value: its own notes may sound with those that identify it.
                played += [note for note in notes if note.voice == voice]
                continue
            own = [note for note in notes if note.voice == voice]
            first, last = own[0].tick, own[-1].tick
            spans = [span for span in self._identified[voice] if span[1] > tick]
            if not any(start <= last and first <= end for start, end in spans):
                played += map(self._beside, own)
                spans.append((first, last))
            self._identified[voice] = spans
        return played

    def gives_way(self, voice: int, note: int, start: int, end: int) -> bool:
        """Return whether a voice's note would cut short a note that identifies the voice."""
        spans = self._identified[voice]
        if not spans or note != self._parts[voice].key:
            return False
        return any(first < end and start < last for first, last in spans)

    def ended(self, start: int, tick: int) -> bool:
        """Return whether the last fault sound ended after `start` and by `tick`."""
        return start < self._last <= tick

    def velocity(self, tick: int, velocity: int) -> int:
        """Return the velocity of a voice's own note: less while a fault sounds."""
        if any(start <= tick < end for start, end in self._faults):
            return max(1, round(velocity * self._duck))
        return velocity

    def _beside(self, event: On | Off) -> On | Off:
        """Shift the start of an identification note by one tick, off the places of norms."""
        if isinstance(event, Off):
            return event
        at = self._grid.place_of(event.tick)[1] % self._spacing
        offset = self._parts[event.voice].offset
        return replace(event, tick=event.tick + 1) if at == offset else event
