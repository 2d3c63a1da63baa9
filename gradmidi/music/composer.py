"""Turn slots into events, without a clock.

Each voice's norm, relative to its reference on a log scale, is a number of steps of the scale
above or below its home. The nearest note sounds; the remainder after rounding goes to the
brightness or to the pitch bend. Zero, no gradient, nan and inf are rests.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from gradmidi.detection.kinds import Finding
from gradmidi.log import Layer, Scalar
from gradmidi.midi import metadata
from gradmidi.midi.rig import Rig
from gradmidi.music.alarms import Alarms, Precedence
from gradmidi.music.changes import Controllers, Dynamics, Scales
from gradmidi.music.events import (
    BRIGHTNESS,
    PPQ,
    Bend,
    Control,
    End,
    Event,
    Mark,
    Off,
    On,
    Step,
)
from gradmidi.music.pitch import Tone, level, sound_of
from gradmidi.music.preset import Preset, legend_bar, legend_notes
from gradmidi.music.slots import Slot
from gradmidi.music.timing import Agenda
from gradmidi.music.valuevoices import ValueVoices
from gradmidi.music.voices import Voice, VoiceNorms

__all__ = ["Composer"]

RESTRIKE_BARS = 4
"""A held note is struck again after this many bars."""

MOST_ROWS = 4096
"""Rows of steps that are kept before they are written, so that memory does not grow with a run."""

SILENCE_SECONDS = 10.0
"""Held notes end after this long without a slot."""


class Composer:
    """Turns slots into events; its state is the notes that sound and each voice's reference.

    Parameters
    ----------
    preset : Preset
        How norms become music.
    layers : sequence of Layer
        The run's layers.
    voices : sequence of Voice
        Which layers sound as one.
    frames_per_slot : int, default 1
        Written into the piece, for `decode`.
    references : sequence of float, optional
        The norm at which each voice is at home; by default the preset's reference or each voice's
        first norm.
    legend : bool, default False
        Start the piece with a legend: each voice at home, then one, then three doublings up.
    values : sequence of str, default ()
        Logged values that have a voice from the start.
    rig : Rig, optional
        Its controllers are played besides the notes.

    Attributes
    ----------
    values : ValueVoices
        The voices of logged values.
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
        values: Sequence[str] = (),
        rig: Rig | None = None,
    ) -> None:
        self.preset = preset
        self.voices = tuple(voices)
        self._style = preset.style
        self._parts = preset.parts(len(voices))
        self.slot_ticks = preset.time.slot_ticks(max(1, len(voices)))
        self.values = ValueVoices(preset, values, first=len(voices), slot_ticks=self.slot_ticks)
        self._joined: list[Voice] = []
        slot_seconds = self.slot_ticks * preset.time.tick_seconds
        self._controllers = Controllers(rig or Rig(), len(voices), self.slot_ticks, slot_seconds)
        self._layers = tuple(layers)
        self._frames_per_slot = frames_per_slot
        given = preset.pitch.reference
        if references is None and isinstance(given, float):
            references = [given] * len(voices)
        self._norms = VoiceNorms(voices, references)
        self._agenda = Agenda()
        homes = preset.home_notes(len(voices))
        self._alarms = Alarms(preset, layers, voices, homes, self.values.voice_of)
        bar, _ = legend_bar(preset, len(voices))
        self._next = len(voices) * bar if legend else 0
        self._grid = preset.time.grid(max(1, len(voices)), self._next)
        spacing = self._style.spacing(self.slot_ticks)
        self._precedence = Precedence(self._parts, spacing, self._grid, preset.faults.duck)
        self._scales = Scales(preset, self._parts)
        self._accent = 0
        self._dynamics = Dynamics(preset, len(voices))
        self._last = [0.0] * len(voices)
        self._brightness = [-1] * len(voices)
        self._bend = [math.nan] * len(voices)  # so that a piece starts with a bend
        # For each voice: the held note, and the index of the slot in which it started.
        self._held: list[tuple[int, int] | None] = [None] * len(voices)
        self._described = [False] * len(voices)
        self._step, self._seconds = 0, 0.0
        self._steps: list[list[int]] = []
        self._rested = 0
        if legend:
            self._play_legend()

    @property
    def references(self) -> tuple[float, ...]:
        """Each voice's reference; nan before its first finite norm above zero."""
        return tuple(self._norms.references)

    def start_of(self, slot: int) -> int:
        """Return the tick at which a slot begins."""
        return self._grid.start_of(slot)

    def observe(self, norms: np.ndarray, values: Mapping[str, Scalar] | None = None) -> None:
        """Use a frame's norms and values as references of the voices that have none yet."""
        self._norms.observe(norms)
        self._joined += self.values.observe(values or {})
        self._controllers.observe(values or {})

    @property
    def is_settled(self) -> bool:
        """Whether `observe` has nothing more to learn."""
        values = self.values.grows or self._controllers.take_values
        return self._norms.complete and not values

    def slot(self, slot: Slot, wrong: Sequence[int] = ()) -> list[Event]:
        """Compose the next slot; return the events due by its end. `wrong`: voices at fault."""
        start = self.start_of(slot.index)
        norms = self._norms.combined(slot.norms).tolist()
        self._end_after_silence(start)
        self._step, self._seconds = slot.step, slot.seconds
        self._follow(start, slot)
        self._agenda.add(*self.values.join(start, self._joined))
        self._joined = []
        for text in slot.marks:
            self._agenda.add(Mark(start, text))
        self._add_faults(start, slot.findings)
        numbers = tuple(slot.values.items())
        faulty = bool(wrong or slot.findings)
        if self._scales.slot(slot.index, start, slot.marks, faulty=faulty):
            self.values.change(self._scales.law, self._scales.notes)
        bar = self.preset.time.bar_ticks
        downbeat = slot.index * self.slot_ticks % bar < self.slot_ticks
        self._accent = self.preset.loudness.downbeat if downbeat else 0
        finite = any(math.isfinite(number) for _, number in numbers)
        heard = any(0.0 < norm < math.inf for norm in norms)
        if not heard and not (self.values.voices and finite):
            self._agenda.add(*self._alarms.idle(start))
        for voice, norm in enumerate(norms):
            self._describe(start, voice)
            if math.isfinite(norm) and norm >= 0.0:
                self._last[voice] = norm
        step = Step(start, slot.step, slot.seconds, tuple(self._last), self._levels(), slot.loss)
        of_values = self.values.slot(slot.index, start, slot.values)
        degrees = (*self._degrees(norms), *self.values.degrees())
        step = replace(step, values=numbers, now=tuple(norms), wrong=tuple(wrong), degrees=degrees)
        self._agenda.add(step, *self._controllers.slot(slot.index, step, faulty=faulty))
        for voice, norm in enumerate(norms):
            self._play(slot.index, start, voice, norm)
        self._add_values(of_values)
        self._next = self.start_of(slot.index + 1)
        return self._agenda.until(self._next)

    def alarm(self, findings: Sequence[Finding]) -> list[Event]:
        """Add faults that were found between two slots; return the events that are due."""
        self._add_faults(self.next_tick, findings)
        return self._agenda.until(self.next_tick)

    def rest(self, tick: int) -> list[Event]:
        """Declare that no slot begins before `tick`; return every event before it."""
        self._end_after_silence(tick)
        self._rested = max(self._rested, tick)
        return self._agenda.until(tick)

    def finish(self, *, closed: bool = False) -> list[Event]:
        """End the piece; return the remaining events. `closed`: the run's log has an end."""
        now = self.next_tick
        for voice in range(len(self.voices)):
            self._describe(now, voice, final=True)
            slots = {"slots": self._grid.place_of(now)[0]}
            self._agenda.add(Mark(now, metadata.write(slots), voice))
            self._release(now, voice)
            if abs(self._bend[voice]) > 0.0:
                # The synth would keep the bend for what is played on the channel next.
                self._agenda.add(Bend(now, voice, 0.0))
        self._agenda.add(*self.values.finish(now))
        if self.voices or self.values.voices:
            rows = {"steps": self._steps, **self._scales.written()}
            self._agenda.add(Mark(now, metadata.write(rows), 0))
        if closed:
            self._agenda.add(*self._alarms.end(now))
        events = self._agenda.rest()
        last = max([now, *(event.tick for event in events)])
        return [*events, *self._controllers.finish(last), End(last, self._step, self._seconds)]

    @property
    def next_tick(self) -> int:
        """The first tick that is not composed yet."""
        return max(self._next, self._rested)

    def _follow(self, start: int, slot: Slot) -> None:
        """Keep the slot's step for `decode`, and write it in between where slots are many."""
        if len(self._steps) >= MOST_ROWS:
            self._agenda.add(Mark(start, metadata.write({"steps": self._steps}), 0))
            self._steps = []
        metadata.follow(self._steps, slot.index, slot.step)

    def _add_faults(self, tick: int, findings: Sequence[Finding]) -> None:
        self._agenda.add(*self._precedence.admit(tick, self._alarms.add(tick, findings)))
        if findings:
            self._agenda.add(*self._controllers.fault(tick))

    def _add_values(self, events: Sequence[Event]) -> None:
        """Add the notes of values, softer while a fault sounds."""
        for event in events:
            if isinstance(event, On):
                velocity = self._precedence.velocity(event.tick, event.velocity)
                event = replace(event, velocity=velocity)
            self._agenda.add(event)

    # -- one voice in one slot ----------------------------------------------------------------

    def _play(self, index: int, start: int, voice: int, norm: float) -> None:
        part, reference = self._scales.parts[voice], self._norms.references[voice]
        found = sound_of(self._scales.law, part.notes, part.home, norm, reference)
        self._dynamics.move(voice, found)
        if found is None:
            self._release(start + part.offset, voice)
            return
        self._strike(index, start, voice, norm, found)

    def _strike(self, index: int, start: int, voice: int, norm: float, found: Tone) -> None:
        """Play a tone; write its norm as a text if a note of it is left out."""
        part, whole = self._parts[voice], True
        share = (self.start_of(index + 1) - self.start_of(index)) / self.slot_ticks
        for begin, length, note in self._style.play(part, found):
            tick = start + begin
            end = tick + (self.slot_ticks if length is None else round(length * share))
            if self._precedence.gives_way(voice, note, tick, end):
                self._release(tick, voice)
                whole = False
            elif length is None:
                self._hold(index, tick, voice, norm, found, note)
            else:
                self._on(tick, voice, norm, found, note)
                self._agenda.add(Off(end, voice, note))
        if not whole:
            self._write_norm(start + part.offset, voice, norm)

    def _hold(self, index: int, tick: int, voice: int, norm: float, found: Tone, note: int) -> None:
        """Hold a note: strike it if it is new or has been held for long."""
        held = self._held[voice]
        if held is not None and held[0] == note and not self._is_due(index, tick, held[1]):
            self._shape(tick, voice, found)
            return
        self._release(tick, voice)
        self._on(tick, voice, norm, found, note)
        self._held[voice] = (note, index)

    def _is_due(self, index: int, tick: int, struck: int) -> bool:
        """Return whether a note held since slot `struck` is struck again at slot `index`.

        That is so after some bars, and after a fault sound, which made the note softer.
        """
        longest = RESTRIKE_BARS * self.preset.time.bar_ticks // self.slot_ticks
        return index - struck >= longest or self._precedence.ended(self.start_of(struck), tick)

    def _on(self, tick: int, voice: int, norm: float, found: Tone, note: int) -> None:
        self._shape(tick, voice, found)
        velocity = self._dynamics.velocity(voice, found, self._accent)
        velocity = self._precedence.velocity(tick, velocity)
        self._agenda.add(On(tick, voice, note, velocity, found.pitch, norm))

    def _shape(self, tick: int, voice: int, found: Tone) -> None:
        """Set the brightness or the bend to the tone's, if it differs."""
        residue = self.preset.pitch.residue
        if residue == "brightness" and found.brightness != self._brightness[voice]:
            self._brightness[voice] = found.brightness
            self._agenda.add(Control(tick, voice, BRIGHTNESS, found.brightness))
        if self.preset.bends and found.bend != self._bend[voice]:
            self._bend[voice] = found.bend
            self._agenda.add(Bend(tick, voice, found.bend))

    def _release(self, tick: int, voice: int) -> None:
        held = self._held[voice]
        if held is not None:
            self._agenda.add(Off(tick, voice, held[0]))
            self._held[voice] = None

    def _end_after_silence(self, start: int) -> None:
        """End held notes if there was no slot for ten seconds before `start`."""
        limit = self._next + round(SILENCE_SECONDS / self.preset.time.tick_seconds)
        if start > limit:
            for voice in range(len(self.voices)):
                self._release(limit, voice)

    # -- texts and levels ---------------------------------------------------------------------

    def _levels(self) -> tuple[float, ...]:
        law = self.preset.pitch
        return tuple(
            level(law, part.notes, part.home, norm, reference)
            for part, norm, reference in zip(
                self._parts, self._last, self._norms.references, strict=True
            )
        )

    def _degrees(self, norms: Sequence[float]) -> Iterator[float]:
        """Yield how many degrees each voice of layers is above its home."""
        degree = math.log(self.preset.pitch.step)
        for norm, reference in zip(norms, self._norms.references, strict=True):
            known = 0.0 < norm < math.inf and reference > 0.0
            yield math.log(norm / reference) / degree if known else math.nan

    def _describe(self, tick: int, voice: int, *, final: bool = False) -> None:
        """Write the text that `decode` needs for a voice, as soon as its reference is known."""
        reference = self._norms.references[voice]
        pitch = self.preset.pitch
        if self._described[voice] or (math.isnan(reference) and pitch.law == "log" and not final):
            return
        self._described[voice] = True
        part = self._parts[voice]
        mapping = {
            "voice": voice,
            "layers": [self._layers[i].name for i in self.voices[voice].layers],
            "preset": self.preset.name,
            "law": pitch.law,
            "home": part.notes[part.home],
            "reference": None if math.isnan(reference) else reference,
            "step": pitch.step,
            "scale": pitch.scale,
            "range": list(pitch.range),
            "residue": pitch.residue,
            "hz": list(pitch.hz),
            "style": self.preset.time.style,
            "origin": self._grid.origin,
            "offset": part.offset,
            "slot_ticks": self.slot_ticks,
            "frames_per_slot": self._frames_per_slot,
            **pitch.written(),
            **({"swing": self._grid.delay} if self._grid.delay else {}),
        }
        self._agenda.add(Mark(tick, metadata.write(mapping), voice))

    def _write_norm(self, tick: int, voice: int, norm: float) -> None:
        """Write a norm whose note was left out as a text, so that `decode` finds it."""
        slot = self._grid.place_of(tick)[0]
        text = metadata.write({"slot": slot, "norm": float(f"{norm:.7g}")})
        self._agenda.add(Mark(tick, text, voice))

    def _play_legend(self) -> None:
        for tick, voice, _, found in legend_notes(self.preset, len(self.voices)):
            if self._style.strokes_at_home:
                self._strike(0, tick, voice, 0.0, found)
                continue
            self._on(tick, voice, 0.0, found, found.note)
            self._agenda.add(Off(tick + round(0.9 * PPQ), voice, found.note))
