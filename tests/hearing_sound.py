"""A plain listener that is given the samples of a WAV, and nothing else.

It hears how loud each of some pitches is, left and right, every 10 ms: those of the alarms, and
those that it learns as the voices' homes from the key before the piece. What an alarm sounds
like it has learned by hearing each once, alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from hearing import (
    EVERYONE,
    FIRST_NAME,
    NAME,
    NAME_APART,
    SPEAKS_FOR_ITSELF,
    Named,
    by_contour,
    length_of,
    roll_seconds,
    slots_of,
)
from scipy import signal

from gradmidi.music.alarms import END, PATTERNS, TICK
from gradmidi.music.events import FAULT_VOICE, PPQ, Off, On
from gradmidi.music.pitch import hz_to_pitch, pitch_to_hz
from gradmidi.music.preset import Preset
from gradmidi.sound.synth import Synth

HOP = 0.01
WINDOW = 0.06
"""Seconds: how often, and over how long, loudness is heard."""

ALARM_PITCHES = tuple(sorted({pulse.pitch for pulses in PATTERNS.values() for pulse in pulses}))

SURE = 0.52
"""How well a sound must fit to be taken for an alarm: of 1, less what should be silent."""

SAYS = 0.55
"""How well a voice must fit to have said its name."""

THERE = 0.3
"""As loud as this share of its home in the key: a voice that sounds."""

NEAR = 0.4
"""Share of the way to the next voice's direction within which a sound is a voice's own."""

LATE = 60
"""Hops that a voice may take to begin with its name."""

Table = np.ndarray


def loudness(samples: Table, rate: int, pitches: Sequence[float]) -> Table:
    """Hear how loud pitches are.

    Returns
    -------
    ndarray of float32, shape (channels, hops, pitches)
        Amplitude around the middle of each hop.
    """
    size, hop = round(WINDOW * rate), round(HOP * rate)
    window = np.hanning(size)
    angles = 2.0 * np.pi * np.outer(np.arange(size) / rate, [pitch_to_hz(p) for p in pitches])
    basis = (2.0 / window.sum() * window[:, None] * np.exp(-1j * angles)).astype(np.complex64)
    padded = np.pad(samples, ((size // 2, size), (0, 0))).astype(np.float32)
    heard = []
    for channel in padded.T:
        frames = np.lib.stride_tricks.sliding_window_view(channel, size)[::hop]
        parts = [frames[i : i + 512] @ basis for i in range(0, len(frames), 512)]
        heard.append(np.abs(np.concatenate(parts)))
    return np.stack(heard)[:, : len(samples) // hop + 1]


def centre(heard: Table) -> Table:
    """Hear what is in the middle: as loud left as right."""
    return heard.min(axis=0)


@dataclass(frozen=True)
class Shape:
    """How one sound lies over hops and pitches: what is loud, and what must not be."""

    kind: str
    loud: Table
    on: Table
    off: Table

    def fits(self, heard: Table) -> Iterator[tuple[float, int]]:
        """Tell how well a sound that begins at a hop fits, for each hop that it may begin at."""
        length, level = len(self.loud), self.loud.max()
        row, column = np.argwhere(self.on)[len(self.loud) // 20]
        begins = heard[row : len(heard) - length + row, column] > level / 4
        weakest = max(1, int(self.on.sum()) // 6)
        for at in np.flatnonzero(begins).tolist():
            part = heard[at : at + length]
            there = np.minimum(part[self.on] / self.loud[self.on], 1.0)
            # Every stroke counts, also the faintest of them.
            present = (there.mean() + np.partition(there, weakest)[:weakest].mean()) / 2.0
            noise = np.minimum(part[self.off] / level, 1.0).mean()
            yield float(present - noise), at


@lru_cache(maxsize=4)
def alarm_shapes(preset: Preset) -> tuple[Shape, ...]:
    """Hear every alarm once, alone."""
    shapes = []
    for kind, pattern in PATTERNS.items():
        if kind == TICK:
            continue
        synth = Synth(preset, 4)
        ticks = preset.time.tick_seconds * 1000.0
        events: list[On | Off] = []
        for pulse in pattern:
            on, off = round(pulse.start / ticks), round((pulse.start + pulse.length) / ticks)
            velocity = preset.faults.velocity
            events.append(On(on, FAULT_VOICE, pulse.key, velocity, float(pulse.pitch), sound=kind))
            events.append(Off(off, FAULT_VOICE, pulse.key))
        synth.send(sorted(events, key=lambda event: event.tick))
        wave = synth.render(round((length_of(kind) + 0.06) * 44100))
        loud = centre(loudness(wave, 44100, ALARM_PITCHES))
        own = [p in {pulse.pitch for pulse in pattern} for p in ALARM_PITCHES]
        on = loud > 0.6 * loud.max()
        off = (loud < 0.15 * loud.max()) & np.array(own)
        shapes.append(Shape(kind, loud, on, off))
    return tuple(shapes)


def listen(path: Path, preset: Preset) -> list[Named]:
    """Name what is wrong with a run, from its sound alone.

    Parameters
    ----------
    path : Path
        A sound file that begins with a key.
    preset : Preset
        The listener knows which one it hears.
    """
    samples, rate = _music(path, preset)
    if not preset.faults.sound:
        return _by_ear(samples, rate, preset)
    # A third of the samples hold all that is listened for, and a hop is whole ones of them.
    samples = signal.resample_poly(samples, 1, 3, axis=0)
    rate //= 3
    key = learn(samples, rate, preset)
    run = samples[round(key.seconds * rate) :]
    alarms = centre(loudness(run, rate, ALARM_PITCHES))
    found = list(_alarms(alarms, preset))
    homes = loudness(run, rate, sorted(set(key.homes)))
    return [_who(each, homes, key) for each in found if each.kind != END]


def _music(path: Path, preset: Preset) -> tuple[Table, int]:
    """Return the samples of a sound file without the silence around the music, and their rate."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    edge = round(preset.sound.silence * rate)
    return samples[edge : len(samples) - edge], rate


def _alarms(heard: Table, preset: Preset) -> Iterator[Named]:
    """Take the best fit, then the next best that does not claim the same sound."""
    shapes = alarm_shapes(preset)
    heard = np.pad(heard, ((0, max(len(shape.loud) for shape in shapes)), (0, 0)))
    taken = np.zeros(heard.shape, np.bool_)
    places = [
        (fit, index, at)
        for index, shape in enumerate(shapes)
        for fit, at in shape.fits(heard)
        if fit > SURE
    ]
    found = []
    for _, index, at in sorted(places, reverse=True):
        claimed = taken[at : at + len(shapes[index].loud)]
        if (claimed & shapes[index].on).any():
            continue
        claimed |= shapes[index].on
        found.append(Named(shapes[index].kind, (), at * HOP))
    yield from sorted(found, key=lambda named: named.at)


# -- who ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """What the key before a piece teaches: how long it is, and each voice's home and places."""

    seconds: float
    homes: tuple[float, ...]
    loud: tuple[tuple[float, float], ...]


def learn(samples: Table, rate: int, preset: Preset) -> Key:
    """Hear the key: a bar a voice, of which the first beat is home and the last is silent."""
    beat = PPQ * preset.time.tick_seconds
    quarter = round(beat * rate)
    notes = [float(note) for note in preset.notes]
    homes, loud = [], []
    bar = 0
    while (4 * bar + 4) * quarter <= len(samples):
        beats = samples[4 * bar * quarter : (4 * bar + 4) * quarter].reshape(4, quarter, -1)
        level = np.sqrt((beats[:, quarter // 4 : -quarter // 8] ** 2).mean(axis=(1, 2)))
        if not (level[:3].min() > 0.005 and level[3] < 0.02 * level[:3].min()):
            break
        heard = loudness(beats[0], rate, notes).max(axis=1)
        # The lowest of the strong ones is the fundamental.
        total = heard.sum(axis=0)
        best = int(np.flatnonzero(total > 0.5 * total.max())[0])
        homes.append(notes[best])
        loud.append((float(heard[0, best]), float(heard[-1, best])))
        bar += 1
    return Key(bar * 4 * beat, tuple(homes), tuple(loud))


def _who(alarm: Named, homes: Table, key: Key) -> Named:
    """Hear which voices say their names after an alarm, one after another."""
    if alarm.kind not in SPEAKS_FOR_ITSELF:
        return alarm.with_voice(EVERYONE)
    pitches = sorted(set(key.homes))
    voices = np.stack(
        [
            np.minimum(
                homes[0, :, pitches.index(home)] / max(loud[0], 1e-6),
                homes[-1, :, pitches.index(home)] / max(loud[1], 1e-6),
            )
            for home, loud in zip(key.homes, key.loud, strict=True)
        ],
        axis=1,
    )
    voices = np.minimum(np.pad(voices, ((0, 600), (0, 0))), 1.0)
    at = round((alarm.at + length_of(alarm.kind) + FIRST_NAME) / HOP)
    said = alarm
    patience = LATE
    while patience >= 0:
        fit, voice, length = max(_names(voices, at, said.voices))
        later = max(
            (_names_best(voices, at + hop, said.voices) for hop in range(1, 4)), default=0.0
        )
        if fit > SAYS and fit >= later:
            said = said.with_voice(voice)
            at += length
            patience = 3
        else:
            at += 1
            patience -= 1
    return said


def _names_best(voices: Table, at: int, but: Sequence[int]) -> float:
    return max(_names(voices, at, but))[0]


def _names(voices: Table, at: int, but: Sequence[int]) -> Iterator[tuple[float, int, int]]:
    """Tell how well each voice fits to be saying its name from a hop on, and how long it takes."""
    name, apart = round(NAME / HOP), round(NAME_APART / HOP)
    count = voices.shape[1]
    for voice in range(count):
        if voice in but:
            continue
        own = voices[:, voice]
        twice = [own[at + start + 2 : at + start + name - 2] for start in (0, apart)]
        there = min(float(np.quantile(part, 0.25)) for part in twice)
        between = float(own[at + name + 3 : at + apart - 1].min())
        yield there - between, voice, 2 * apart
    if EVERYONE not in but:
        roll = roll_seconds(count)
        middles = [round(at + (voice + 0.5) * roll / HOP) for voice in range(count)]
        table = voices[middles]
        own = np.sort(table.diagonal())[count // 4 :]
        others = table[np.abs(np.subtract.outer(range(count), range(count))) > 1]
        fit = own.mean() - (others.mean() if others.size else table[0, -1])
        yield float(fit), EVERYONE, round((count * roll + FIRST_NAME) / HOP)


def steps(path: Path, preset: Preset) -> Table:
    """Hear where each voice is in each slot, in steps of the scale above its home.

    Voices are told apart by their places: what is heard of one is what comes from the direction
    that its home came from in the key.

    Returns
    -------
    ndarray of float64, shape (slots, voices)
        nan where a voice rests.
    """
    samples, rate = _music(path, preset)
    samples = signal.resample_poly(samples, 1, 3, axis=0)
    rate //= 3
    key = learn(samples, rate, preset)
    run = samples[round(key.seconds * rate) :]
    notes = [float(note) for note in preset.notes]
    heard = loudness(run, rate, notes)
    slot = slots_of(preset, len(key.homes))[0]
    middles = np.round((np.arange(int(len(run) / rate / slot)) + 0.6) * slot / HOP).astype(int)
    heard = heard[:, middles]
    angles = np.arctan2(heard[-1], heard[0])
    own_angles = np.array([np.arctan2(right, left) for left, right in key.loud])
    near = NEAR * float(np.diff(own_angles).min(initial=np.pi))
    voices = []
    for home, loud, angle in zip(key.homes, key.loud, own_angles, strict=True):
        own = np.hypot(*heard) / np.hypot(*loud) * (np.abs(angles - angle) < near)
        # The lowest of the strong ones is the fundamental.
        strong = own > 0.5 * own.max(axis=1, keepdims=True)
        places = strong.argmax(axis=1) - float(notes.index(home))
        voices.append(np.where(own.max(axis=1) > THERE, places, np.nan))
    return np.stack(voices, axis=1)


# -- where there are no alarms --------------------------------------------------------------------


def _by_ear(samples: Table, rate: int, preset: Preset) -> list[Named]:
    """Hear the tones of a piece that plays one voice after another, and judge them alone."""
    key = learn(samples, rate, preset)
    voices = len(key.homes)
    slot, apart = slots_of(preset, voices)
    run = samples[round(key.seconds * rate) :, 0]
    length = round(apart * rate)
    pitches = []
    for index in range(round(len(run) / (slot * rate))):
        starts = [round((index * slot + voice * apart) * rate) for voice in range(voices)]
        pitches.append([_pitch(run[start : start + length], rate) for start in starts])
    return list(by_contour(np.array(pitches), slot))


def _pitch(tone: Table, rate: int) -> float:
    """Find the MIDI note of one tone; nan where it is silent."""
    if len(tone) < 8 or np.abs(tone).max() < 1e-3:
        return np.nan
    size = 1 << 14
    heard = np.abs(np.fft.rfft(tone * np.hanning(len(tone)), size))
    return hz_to_pitch(max(1, int(heard.argmax())) * rate / size)
