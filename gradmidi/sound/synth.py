"""The synth: turns events into blocks of samples, with NumPy only.

Every sample is a pure function of the events and of its own index: partials and ramps are read
by sample index, and notes are summed in the order in which they started. So blocks of 512 and of
8192 samples give the same samples, bit for bit.
"""

from collections import deque
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gradmidi.errors import GradmidiError
from gradmidi.music.events import BRIGHTNESS, FAULT_VOICE, Control, End, Event, Off, On, Sounding
from gradmidi.music.preset import Preset
from gradmidi.sound.instrument import (
    CEILING,
    KNEE,
    PHASES,
    VELOCITY,
    Instrument,
    instrument,
)
from gradmidi.sound.timbre import SEGMENT, Gains, Samples, Spectrum, Timbre, spectrum, table

__all__ = ["Synth"]

_NEVER = 1 << 62


class _Note:
    """A note that sounds: its start, loudness and brightness, and (later) its end."""

    __slots__ = (
        "damped",
        "end",
        "fall",
        "off",
        "places",
        "rise",
        "skip",
        "spectrum",
        "start",
        "timbre",
        "turns",
    )

    def __init__(
        self,
        start: int,
        timbre: Timbre,
        spectrum: Spectrum,
        places: Samples,
        gains: Gains,
        skip: int,
        damped: bool | None,
    ) -> None:
        # Whether a fault's pulse has made the note softer; None: it never does.
        self.damped = damped
        self.start = start
        # Samples of the wave that are left out at its start, which gives it its phase.
        self.skip = skip
        self.timbre = timbre
        self.spectrum = spectrum
        self.places = places
        # Changes of brightness: sample, gains before, gains after.
        self.turns = [(start, gains, gains)]
        self.rise = len(timbre.attack)
        self.fall = timbre.release
        self.off = self.end = _NEVER

    def let_go(self, sample: int) -> None:
        """Start the release at `sample`, from the level that the attack has reached there."""
        held = sample - self.start
        if held < self.rise:
            self.fall = self.timbre.release * self.timbre.attack[held]
            self.rise = held
        self.off = sample
        self.end = sample + len(self.fall)

    def turn(self, sample: int, gains: Gains, way: Samples) -> None:
        """Move from the gains at `sample` to other gains, along the ramp `way`."""
        turned, before, after = self.turns[-1]
        if sample == self.start:
            before = after = gains
            self.turns.clear()
        elif sample < turned + len(way):
            done = float(way[sample - turned])
            after = (
                before[0] + (after[0] - before[0]) * done,
                before[1] + (after[1] - before[1]) * done,
            )
        self.turns.append((sample, after, gains))

    def turn_at(self, sample: int) -> tuple[int, Gains, Gains, int]:
        """Return the change of gains in effect at `sample`, and the sample of the next change."""
        until = self.end
        for turn in reversed(self.turns):
            if turn[0] <= sample:
                return *turn, until
            until = turn[0]
        raise AssertionError("a note has no sample before it begins")

    def forget(self, position: int) -> None:
        """Remove the changes of gains that no sample from `position` on needs."""
        while len(self.turns) > 1 and self.turns[1][0] <= position:
            del self.turns[0]


class Synth:
    """Turns events into samples, block by block, in memory that does not grow with the piece.

    A note sounds at `On.pitch` (`Bend` is for MIDI) with the preset's partials, hollow for every
    second voice. An `Off` ends the oldest held note of that voice and number, so a repeated note
    overlaps the one before. `End` releases every note. Brightness (controller 74; 64 is neutral
    and the value at the start) changes a voice's upper partials at equal power. A note on
    `FAULT_VOICE`, or with a `sound`, is a pulse with ramps of 25 ms and its own timbre.

    A note's amplitude is 0.1 · (velocity / 80)². If voices sound together, it is scaled so that
    any number of voices, of any timbre and note length, have the same mean power, and each note
    starts at a phase of its own, so that of voices on one note the powers add up. Neither is done
    for pulses, or if voices sound one after another (style ``arpeggio``).

    Parameters
    ----------
    preset : Preset
        Its ``[time]`` gives the tempo and the style, its ``[sound]`` everything else.
    voices : int
        Number of voices of layers, spread from left to right by index.
    rate : int
        Samples per second, 8000 to 192000.
    values : int, default 0
        Number of voices of logged values, after those of layers; together 1 or more.
    only : int, optional
        The one voice whose notes sound; pulses of faults still make them softer.

    Raises
    ------
    GradmidiError
        If `voices` or `rate` is out of range.

    Notes
    -----
    `send` may be called from another thread than `render`.

    Examples
    --------
    >>> from gradmidi.music.preset import load
    >>> synth = Synth(load("pentatonic"), voices=4)
    >>> synth.send([On(0, 0, 69, 80, 69.0), Off(480, 0, 69)])
    >>> synth.render(22050).shape, synth.sounding
    ((22050, 2), 1)
    """

    def __init__(
        self,
        preset: Preset,
        voices: int,
        *,
        rate: int = 44100,
        values: int = 0,
        only: int | None = None,
    ) -> None:
        if voices + values < 1:
            raise GradmidiError(f"voices = {voices}; allowed is 1 or more")
        if not 8000 <= rate <= 192000:
            raise GradmidiError(f"rate = {rate}; allowed is 8000 to 192000 samples a second")
        sound = preset.sound
        self._rate = rate
        self._tick = preset.time.tick_seconds * rate
        self._only = only
        self._channels = sound.channels
        self._limiter = sound.limiter
        self._parts = parts = instrument(preset, voices, rate, values)
        self._places = parts.places
        self._way = parts.turn

        self._position = 0
        self._newest = 0
        self._duck = preset.faults.duck**2
        self._pending: deque[tuple[int, On | Off | Control | End]] = deque()
        self._notes: list[_Note] = []
        self._held: dict[int, Sounding[int, _Note]] = {voice: Sounding() for voice in self._places}
        self._bright = dict.fromkeys(self._held, 64)
        self._spectra = lru_cache(maxsize=256)(spectrum)
        # 256 pairs of tables are 16 MB: the whole chromatic range, two segments for each note.
        self._tables = lru_cache(maxsize=256)(table)
        self._scratch = np.empty((2, SEGMENT), np.float32)
        self._placed = np.empty((sound.channels, SEGMENT), np.float32)

    def sample_of(self, tick: int) -> int:
        """Return the sample of a tick, both counted from the start of the piece.

        Examples
        --------
        >>> from gradmidi.music.preset import load
        >>> Synth(load("classic"), 4).sample_of(10)
        441
        """
        return round(tick * self._tick)

    @property
    def position(self) -> int:
        """Number of samples rendered so far."""
        return self._position

    @property
    def sounding(self) -> int:
        """Number of notes that still sound after the last rendered sample, releases included."""
        return len(self._notes)

    @property
    def tail(self) -> int:
        """Number of samples until the last released note is silent."""
        ends = (note.end for note in self._notes if note.end < _NEVER)
        return max(ends, default=self._position) - self._position

    def send(self, events: Sequence[Event]) -> None:
        """Add the next events.

        Parameters
        ----------
        events : sequence of Event
            In order of ticks. An event whose sample is rendered already moves to the next sample.

        Raises
        ------
        GradmidiError
            If an event's voice is out of range.
        """
        for event in events:
            if not isinstance(event, (On, Off, Control, End)):
                continue
            if not isinstance(event, End) and event.voice not in self._held:
                raise GradmidiError(
                    f"an event of voice {event.voice}; this synth has voices 0 to "
                    f"{max(self._places)}, and {FAULT_VOICE} for faults"
                )
            self._newest = max(self._newest, self.sample_of(event.tick))
            self._pending.append((self._newest, event))

    def render(self, frames: int) -> Samples:
        """Render the next block.

        Parameters
        ----------
        frames : int
            Length in samples, 0 or more.

        Returns
        -------
        ndarray of float32, shape (frames, channels)
            Within ±0.77 if the preset has its limiter on; exactly zero while nothing sounds.
        """
        begin, end = self._position, self._position + frames
        pending = self._pending
        while pending and pending[0][0] <= end:
            sample, event = pending.popleft()
            self._take(max(sample, begin), event)
        out = np.zeros((self._channels, frames), np.float32)
        for note in self._notes:
            self._add(note, begin, end, out)
        self._position = end
        self._notes = [note for note in self._notes if note.end > end]
        if self._limiter:
            _limit(out)
        return np.ascontiguousarray(out.T)

    def _take(self, sample: int, event: On | Off | Control | End) -> None:
        if isinstance(event, On):
            self._strike(sample, event)
        elif isinstance(event, Off):
            note = self._held[event.voice].end(event.note)
            if note is not None:
                note.let_go(sample)
        elif isinstance(event, End):
            for held in self._held.values():
                for note in held.end_all():
                    note.let_go(sample)
        elif event.controller == BRIGHTNESS:
            self._bright[event.voice] = event.value
            for note in self._held[event.voice]:
                note.forget(self._position)
                gains = self._gains(event.voice, note.timbre, note.spectrum)
                note.turn(sample, self._softer(gains) if note.damped else gains, self._way)

    def _gains(self, voice: int, timbre: Timbre, spectrum: Spectrum) -> Gains:
        return Instrument.gains(timbre, spectrum, self._bright[voice])

    def _softer(self, gains: Gains) -> Gains:
        return gains[0] * self._duck, gains[1] * self._duck

    def _damp(self, sample: int) -> None:
        """Make the notes of norms that sound softer, as a fault's pulse starts."""
        for note in self._notes:
            if note.damped is False and note.start < sample:
                note.damped = True
                note.forget(self._position)
                note.turn(sample, self._softer(note.turns[-1][2]), self._way)

    def _strike(self, sample: int, on: On) -> None:
        if on.voice == FAULT_VOICE:
            self._damp(sample)
        if self._only not in (None, on.voice):
            return
        timbre = self._parts.timbres[self._parts.kind_of(on)]
        pitch = self._parts.pitch_of(on.voice, on.pitch)
        partials = self._spectra(timbre, pitch, self._rate)
        loudness = (on.velocity / VELOCITY) ** 2
        places = self._places[on.voice] * np.float32(loudness)
        gains = self._gains(on.voice, timbre, partials)
        phase = self._parts.phase_of(on.voice, on.tick)
        skip = round(phase / PHASES / partials.cycles) if phase and partials.cycles else 0
        damped = False if on.norm and not on.sound else None
        note = _Note(sample, timbre, partials, places, gains, skip, damped)
        self._notes.append(note)
        self._held[on.voice].start(on.note, note)

    def _add(self, note: _Note, begin: int, end: int, out: Samples) -> None:
        """Add a note to the block, in spans of one table and one gain or change of gains."""
        at, stop = max(begin, note.start), min(end, note.end)
        while at < stop:
            own = at - note.start
            segment, offset = divmod(own + note.skip, SEGMENT)
            turned, before, gains, until = note.turn_at(at)
            turning = before != gains and at < turned + len(self._way)
            if turning:
                until = min(until, turned + len(self._way))
            size = min(stop, until, at + SEGMENT - offset) - at
            base, upper = self._tables(note.spectrum, segment)
            base, upper = base[offset : offset + size], upper[offset : offset + size]
            wave, spare = self._scratch[0, :size], self._scratch[1, :size]
            if turning:
                way = self._way[at - turned : at - turned + size]
                np.multiply(way, gains[0] - before[0], out=wave)
                wave += np.float32(before[0])
                wave *= base
                np.multiply(way, gains[1] - before[1], out=spare)
                spare += np.float32(before[1])
                spare *= upper
                wave += spare
                level = 1.0
            else:
                level = gains[0]
                np.multiply(upper, gains[1] / level, out=wave)
                wave += base
            if own < note.rise:
                rise = note.timbre.attack[own : min(note.rise, own + size)]
                wave[: len(rise)] *= rise
            if at + size > note.off:
                first = max(at, note.off)
                wave[first - at :] *= note.fall[first - note.off : at + size - note.off]
            placed = self._placed[:, :size]
            np.multiply(wave, note.places * np.float32(level), out=placed)
            target = out[:, at - begin : at - begin + size]
            np.add(target, placed, out=target)
            at += size


def _limit(out: Samples) -> None:
    """Compress samples above the knee towards the ceiling by x / √(1 + x²), in place."""
    if not out.size or max(out.max(), -out.min()) <= KNEE:
        return
    loud = np.abs(out) > KNEE
    room = np.float32(CEILING - KNEE)
    excess = (np.abs(out[loud]) - np.float32(KNEE)) / room
    bent = np.float32(KNEE) + room * excess / np.sqrt(np.float32(1.0) + excess * excess)
    out[loud] = np.copysign(bent, out[loud])
