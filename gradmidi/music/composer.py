"""Slots to events: pitch, loudness and style, as a function of what came before and no clock.

Of every voice: its norm against its reference, on a log scale, is a number of steps up or
down the scale from home; the nearest note sounds, and what rounding took away goes to
brightness or to the bend. Zero, none and what is not finite are rests.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gradmidi.detection.detector import Finding
from gradmidi.log import Layer
from gradmidi.log.combine import combine
from gradmidi.midi import metadata as texts
from gradmidi.music.alarms import Alarms
from gradmidi.music.events import (
    BRIGHTNESS,
    FAULT_VOICE,
    PPQ,
    Bend,
    Control,
    End,
    Event,
    Fault,
    Mark,
    Off,
    On,
    Step,
)
from gradmidi.music.pitch import (
    DRUM_GRID,
    DRUM_HOME,
    Tone,
    euclid,
    reach,
    steps_above,
    struck,
    tone,
)
from gradmidi.music.preset import Preset
from gradmidi.music.scale import hz_to_pitch
from gradmidi.music.slots import Slot
from gradmidi.music.voices import Voice

__all__ = ["Composer"]

HIGHEST_HZ = 20_000.0
RESTRIKE_BARS = 8
LEGEND_DOUBLINGS = (0, 1, 3)
SILENCE_SECONDS = 10.0

_RANK: dict[type, int] = {
    Step: 0,
    Off: 1,
    Mark: 2,
    Fault: 3,
    Control: 4,
    Bend: 5,
    On: 6,
    End: 7,
}


class Composer:
    """Turns slots into events, remembering only what sounds and where each voice is at home.

    Parameters
    ----------
    preset : Preset
        How norms become music.
    layers : sequence of Layer
        The run's layers.
    voices : sequence of Voice
        Which layers sound as one.
    frames_per_slot : int, default 1
        Written into the piece, for whoever decodes it.
    references : sequence of float, optional
        The norm each voice is at home at; without it, each voice's own first.
    legend : bool, default False
        Put a key before the run: each voice at home, then one, then three doublings up.
    """

    def __init__(
        self,
        preset: Preset,
        layers: Sequence[Layer],
        voices: Sequence[Voice],
        *,
        frames_per_slot: int = 1,
        references: Sequence[float] | None = None,
        legend: bool = False,
    ) -> None:
        self.preset = preset
        self.voices = tuple(voices)
        self.slot_ticks = preset.time.slot_ticks(len(voices))
        self._layers = tuple(layers)
        self._frames_per_slot = frames_per_slot
        homes = preset.home_notes(len(voices))
        notes, style = preset.notes, preset.time.style
        self._drums = style == "drums"
        self._reach = tuple(reach(style, notes, notes.index(home)) for home in homes)
        self._keys = struck(preset, homes)
        self._members = np.array([i for v in voices for i in v.layers], dtype=np.intp)
        self._starts = np.cumsum([0, *(len(v.layers) for v in voices)][:-1], dtype=np.intp)
        given = preset.pitch.reference
        self._references = (
            [float(r) for r in references]
            if references is not None
            else [given if isinstance(given, float) else math.nan] * len(voices)
        )
        self._told = [False] * len(voices)
        self._last = [0.0] * len(voices)
        self._brightness = [-1] * len(voices)
        self._bend = [0.0] * len(voices)
        self._held: list[tuple[int, int] | None] = [None] * len(voices)
        self._alarms = Alarms(preset, layers, voices, homes)
        # Ticks in which a fault sounds, and in which each voice tells that it is the one.
        self._alarmed: list[tuple[int, int]] = []
        self._telling: list[list[tuple[int, int]]] = [[] for _ in voices]
        self._agenda: list[tuple[int, int, int, Event]] = []
        self._count = 0
        self._step, self._seconds = 0, 0.0
        self._steps: list[list[int]] = []
        self._stagger = min(
            round(preset.time.stagger / 1000.0 / preset.time.tick_seconds),
            self.slot_ticks // 2 // len(voices),
        )
        self._origin = self._next = self._legend() if legend else 0
        self._rested = 0

    @property
    def references(self) -> tuple[float, ...]:
        """Each voice's reference; nan where it has had no finite norm above zero yet."""
        return tuple(self._references)

    def start_of(self, slot: int) -> int:
        """Tell the tick at which a slot begins."""
        return self._origin + slot * self.slot_ticks

    def observe(self, norms: np.ndarray) -> None:
        """Take a frame's norms as references of the voices that have none yet."""
        if not any(map(math.isnan, self._references)):
            return
        for index, norm in enumerate(self._combined(norms)):
            if math.isnan(self._references[index]) and 0.0 < norm < math.inf:
                self._references[index] = norm

    def slot(self, slot: Slot) -> list[Event]:
        """Compose one slot; return every event that now has its place, in order.

        Parameters
        ----------
        slot : Slot
            Later than all before it.
        """
        start = self.start_of(slot.index)
        norms = self._combined(slot.norms)
        self._quiet(start)
        self._step, self._seconds = slot.step, slot.seconds
        texts.follow(self._steps, slot.index, slot.step)
        for text in slot.marks:
            self._add(Mark(start, text))
        self._alarm(start, slot.findings)
        if not any(0.0 < norm < math.inf for norm in norms):
            self._add(*self._alarms.idle(start))
        for voice, norm in enumerate(norms):
            self._describe(start, voice)
            if math.isfinite(norm) and norm >= 0.0:
                self._last[voice] = norm
        self._add(
            Step(start, slot.step, slot.seconds, tuple(self._last), self._levels(), slot.loss)
        )
        style = _STYLES[self.preset.time.style]
        for voice, norm in enumerate(norms):
            style(self, slot.index, start, voice, norm)
        self._next = start + self.slot_ticks
        return self.until(self._next)

    def alarm(self, findings: Sequence[Finding]) -> list[Event]:
        """Tell what was found between two slots; return the events that have their place."""
        self._alarm(self._now, findings)
        return self.until(self._now)

    def until(self, tick: int) -> list[Event]:
        """Return what is on the agenda before `tick`, in order."""
        due: list[Event] = []
        while self._agenda and self._agenda[0][0] < tick:
            due.append(heapq.heappop(self._agenda)[3])
        return due

    def rest(self, tick: int) -> list[Event]:
        """Say that no slot begins before `tick`; return every event before it, in order."""
        self._quiet(tick)
        self._rested = max(self._rested, tick)
        return self.until(tick)

    def finish(self, *, closed: bool = False) -> list[Event]:
        """End what sounds and say that the piece is over; `closed`: the run ended in order."""
        now = self._now
        for voice in range(len(self.voices)):
            self._describe(now, voice, final=True)
            slots = {"slots": (now - self._origin) // self.slot_ticks}
            self._add(Mark(now, texts.write(slots), voice))
            self._release(now, voice)
        self._add(Mark(now, texts.write({"steps": self._steps}), 0))
        if closed:
            self._add(*self._alarms.end(now))
        events = self.until(1 << 62)
        last = max((event.tick for event in events), default=0)
        return [*events, End(max(last, now), self._step, self._seconds)]

    @property
    def _now(self) -> int:
        """The first tick that nothing is said about yet."""
        return max(self._next, self._rested)

    def _alarm(self, tick: int, findings: Sequence[Finding]) -> None:
        events = self._alarms.add(tick, findings)
        notes = [event for event in events if isinstance(event, (On, Off))]
        self._add(*(e for e in events if not isinstance(e, (On, Off)) or e.voice == FAULT_VOICE))
        if not notes:
            return
        self._alarmed = [span for span in self._alarmed if span[1] > tick]
        self._alarmed.append((notes[0].tick, notes[-1].tick))
        for voice in {note.voice for note in notes} - {FAULT_VOICE}:
            self._tell_who(tick, [note for note in notes if note.voice == voice])

    def _tell_who(self, tick: int, notes: Sequence[On | Off]) -> None:
        """Let a voice name itself, unless it is doing so already for another fault."""
        voice = notes[0].voice
        spans = [span for span in self._telling[voice] if span[1] > tick]
        first, last = notes[0].tick, notes[-1].tick
        if not any(start <= last and first <= end for start, end in spans):
            self._add(*map(self._beside, notes))
            spans.append((first, last))
        self._telling[voice] = spans

    def _beside(self, event: Event) -> Event:
        """Move a note that tells who off the place where that voice's norms are struck."""
        if not isinstance(event, On) or event.voice == FAULT_VOICE:
            return event
        at = (event.tick - self._origin) % self.slot_ticks
        if self._drums:
            at %= self.slot_ticks // DRUM_GRID
        return replace(event, tick=event.tick + (at == self._offset(event.voice)))

    def _gives_way(self, voice: int, note: int, start: int, end: int) -> bool:
        """Tell whether a voice's own note would cut short the one that tells who is at fault."""
        spans = self._telling[voice]
        return note == self._keys[voice] and any(a < end and start < b for a, b in spans)

    # -- one voice in one slot ----------------------------------------------------------------

    def _chord(self, _index: int, start: int, voice: int, norm: float) -> None:
        tick = start + self._offset(voice)
        self._strike(tick, tick + round(self.preset.time.gate * self.slot_ticks), voice, norm)

    def _arpeggio(self, _index: int, start: int, voice: int, norm: float) -> None:
        tick = start + self._offset(voice)
        self._strike(tick, tick + self.preset.time.note, voice, norm)

    def _hold(self, index: int, start: int, voice: int, norm: float) -> None:
        found = self._tone(voice, norm)
        tick = start + self._offset(voice)
        end = tick + self.slot_ticks
        if found is None:
            self._release(tick, voice)
            return
        if self._gives_way(voice, found.note, tick, end):
            self._release(tick, voice)
            self._withhold(tick, voice, norm)
            return
        held = self._held[voice]
        bars = RESTRIKE_BARS * 4 * PPQ // self.slot_ticks
        if held is not None and held[0] == found.note and index - held[1] < bars:
            self._shape(tick, voice, found)
            return
        self._release(tick, voice)
        self._on(tick, voice, norm, found)
        self._held[voice] = (found.note, index)

    def _drummed(self, _index: int, start: int, voice: int, norm: float) -> None:
        found = self._tone(voice, norm)
        if found is not None:
            self._roll(start, voice, norm, found)

    def _roll(self, start: int, voice: int, norm: float, found: Tone) -> None:
        grid, key, whole = self.slot_ticks // DRUM_GRID, self._keys[voice], True
        for place in euclid(DRUM_HOME + found.steps, DRUM_GRID, 3 * voice):
            tick = start + place * grid
            end = tick + max(1, round(self.preset.time.gate * grid))
            if self._gives_way(voice, key, tick, end):
                whole = False
                continue
            self._on(tick, voice, norm, found)
            self._add(Off(end, voice, key))
        if not whole:
            self._withhold(start, voice, norm)

    def _strike(self, tick: int, end: int, voice: int, norm: float) -> None:
        found = self._tone(voice, norm)
        if found is None:
            return
        if self._gives_way(voice, found.note, tick, end):
            self._withhold(tick, voice, norm)
            return
        self._on(tick, voice, norm, found)
        self._add(Off(end, voice, found.note))

    def _on(self, tick: int, voice: int, norm: float, found: Tone) -> None:
        self._shape(tick, voice, found)
        loudness = self.preset.loudness
        low, high = loudness.range
        velocity = round(loudness.velocity + loudness.per_step * found.steps)
        velocity = min(max(velocity, low), high)
        if any(start <= tick < end for start, end in self._alarmed):
            velocity = max(1, round(velocity * self.preset.faults.duck))
        key = self._keys[voice] if self._drums else found.note
        self._add(On(tick, voice, key, velocity, found.pitch, norm))

    def _shape(self, tick: int, voice: int, found: Tone) -> None:
        residue = self.preset.pitch.residue
        if residue == "brightness" and found.brightness != self._brightness[voice]:
            self._brightness[voice] = found.brightness
            self._add(Control(tick, voice, BRIGHTNESS, found.brightness))
        bend = found.pitch - found.note
        if residue == "bend" and bend != self._bend[voice]:
            self._bend[voice] = bend
            self._add(Bend(tick, voice, bend))

    def _release(self, tick: int, voice: int) -> None:
        held = self._held[voice]
        if held is not None:
            self._add(Off(tick, voice, held[0]))
            self._held[voice] = None

    def _tone(self, voice: int, norm: float) -> Tone | None:
        if not 0.0 < norm < math.inf:
            return None
        if self.preset.pitch.law == "hz":
            base, factor = self.preset.pitch.hz
            hz = base + factor * norm
            if not 0.0 < hz <= HIGHEST_HZ:
                return None
            pitch = hz_to_pitch(hz)
            return Tone(min(max(round(pitch), 0), 127), pitch, 0.0, 0)
        reference = self._references[voice]
        if math.isnan(reference):
            return None
        steps = steps_above(self.preset, norm, reference)
        return tone(self.preset, *self._reach[voice], steps)

    # -- what stands around the notes ---------------------------------------------------------

    def _combined(self, norms: np.ndarray) -> list[float]:
        combined: list[float] = combine(norms, self._members, self._starts).tolist()
        return combined

    def _offset(self, voice: int) -> int:
        """Where in a slot a voice strikes, which is what tells its notes from those of faults."""
        spacing = {
            "chord": self._stagger,
            "hold": self._stagger,
            "arpeggio": self.preset.time.note,
        }
        return voice * spacing.get(self.preset.time.style, 0)

    def _levels(self) -> tuple[float, ...]:
        levels = []
        for voice, norm in enumerate(self._last):
            reference = self._references[voice]
            if norm <= 0.0 or math.isnan(reference):
                levels.append(0.0)
                continue
            steps = steps_above(self.preset, norm, reference)
            notes, home = self._reach[voice]
            levels.append(min(max((home + steps) / (len(notes) - 1), 0.0), 1.0))
        return tuple(levels)

    def _describe(self, tick: int, voice: int, *, final: bool = False) -> None:
        """Write beside a voice's notes what turns them back into norms, once it is known."""
        reference = self._references[voice]
        pitch = self.preset.pitch
        if self._told[voice] or (math.isnan(reference) and pitch.law == "log" and not final):
            return
        self._told[voice] = True
        notes, home = self._reach[voice]
        mapping = {
            "voice": voice,
            "layers": [self._layers[i].name for i in self.voices[voice].layers],
            "preset": self.preset.name,
            "law": pitch.law,
            "home": notes[home],
            "reference": None if math.isnan(reference) else reference,
            "step": pitch.step,
            "scale": pitch.scale,
            "range": list(pitch.range),
            "residue": pitch.residue,
            "hz": list(pitch.hz),
            "style": self.preset.time.style,
            "origin": self._origin,
            "offset": self._offset(voice),
            "slot_ticks": self.slot_ticks,
            "frames_per_slot": self._frames_per_slot,
        }
        self._add(Mark(tick, texts.write(mapping), voice))

    def _withhold(self, tick: int, voice: int, norm: float) -> None:
        """Write beside a voice's notes a norm whose note gave way: it is not lost to the eye."""
        slot = (tick - self._origin) // self.slot_ticks
        text = texts.write({"slot": slot, "norm": float(f"{norm:.7g}")})
        self._add(Mark(tick, text, voice))

    def _legend(self) -> int:
        """Play the key to the run; return the tick at which it is over.

        A voice takes a bar of quarter notes, or a slot of strokes for each number of doublings.
        """
        beat = self.slot_ticks if self._drums else PPQ
        bar = beat * (len(LEGEND_DOUBLINGS) if self._drums else 4)
        for voice in range(len(self.voices)):
            for index, doublings in enumerate(LEGEND_DOUBLINGS):
                steps = doublings * math.log(2.0) / math.log(self.preset.pitch.step)
                found = tone(self.preset, *self._reach[voice], steps)
                tick = voice * bar + index * beat
                if self._drums:
                    self._roll(tick, voice, 0.0, found)
                    continue
                self._on(tick, voice, 0.0, found)
                self._add(Off(tick + round(0.9 * PPQ), voice, found.note))
        return len(self.voices) * bar

    def _quiet(self, start: int) -> None:
        """End held notes where nothing came for ten seconds."""
        limit = self._next + round(SILENCE_SECONDS / self.preset.time.tick_seconds)
        if start > limit:
            for voice in range(len(self.voices)):
                self._release(limit, voice)

    def _add(self, *events: Event) -> None:
        for event in events:
            self._count += 1
            heapq.heappush(self._agenda, (event.tick, _RANK[type(event)], self._count, event))


_STYLES = {
    "chord": Composer._chord,
    "arpeggio": Composer._arpeggio,
    "hold": Composer._hold,
    "drums": Composer._drummed,
}
