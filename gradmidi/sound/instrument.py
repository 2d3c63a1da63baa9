"""Timbres, gains and ramps of a preset at one sample rate, for the synth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradmidi.music.events import FAULT_VOICE, On
from gradmidi.music.pitch import Tone
from gradmidi.music.preset import Preset
from gradmidi.music.valuevoices import place_of
from gradmidi.sound.timbre import (
    Gains,
    Samples,
    Spectrum,
    Timbre,
    balance,
    hollow,
    ramp,
    spectrum,
)

__all__ = ["CEILING", "KNEE", "PULSE", "VALUE", "VELOCITY", "Instrument", "instrument"]

AMPLITUDE = 0.1
"""Peak of a note's fundamental at velocity 80: the amplitude of the 2019 blog post."""

VELOCITY = 80

POWER = 1.9
"""Mean power of all voices together at velocity 80, in units of `AMPLITUDE` squared.

Whatever a preset's timbre, note length and number of voices are, it is as loud as the default."""

HELD_SECONDS = 4.0
"""Length of a held note for which its mean power is computed."""

VALUE_GAIN = 0.7

SPREAD = (math.sqrt(5.0) - 1.0) / 2.0
"""The golden ratio: multiples of it, without their whole part, lie evenly between 0 and 1."""

PHASES = 256
"""Number of phases at which a note may start."""

DETUNE = 0.06
"""Semitones between the lowest and the highest detuning of voices whose notes are held."""

TURN_MS = 10.0
"""How long a held note takes to reach a new brightness."""

PULSE, VALUE = 2, 3
"""Indices of timbres; those of layers are 0 and 1."""

PULSE_PARTIALS = (1.0, 0.5, 0.33, 0.25)
PULSE_MS = 25.0
"""Timbre and ramps of a fault's pulse."""

KNEE, CEILING = 0.55, 0.77
"""The limiter does not change samples up to the knee; no sample exceeds the ceiling.

The ceiling is 1.3 dB below -1 dBFS, since a limited wave may rise that much between samples."""


@dataclass(frozen=True, slots=True, eq=False)
class Instrument:
    """Timbres, gains and ramps for rendering the notes of a preset.

    Parameters
    ----------
    timbres : tuple of four Timbre
        For voices of layers with an even index, for those with an odd index, for fault pulses, and
        for logged values.
    places : mapping of int to ndarray of float32, shape (channels, 1)
        Gain of each channel at velocity 80, for every voice and for `FAULT_VOICE`.
    turn : ndarray of float32
        Ramp from 0 to 1 by which a held note moves to a new brightness.
    voices : int
        Number of voices of layers; later voices are of values.
    slot_ticks : int
        Ticks in a slot.
    together : bool
        Whether voices sound at the same time.
    holds : bool
        Whether a note may last longer than a slot.
    """

    timbres: tuple[Timbre, Timbre, Timbre, Timbre]
    places: Mapping[int, Samples]
    turn: Samples
    voices: int
    slot_ticks: int
    together: bool
    holds: bool

    def phase_of(self, voice: int, tick: int) -> int:
        """Return the phase at which a voice's note starts, in `PHASES` of a cycle.

        Each voice has another phase in each slot, so that of voices on one note the powers add
        up. With equal phases the amplitudes would add up or cancel, depending on the pitch and on
        the time between the notes.
        """
        if not self.together or voice == FAULT_VOICE:
            return 0
        turns = (voice + 1) * tick / self.slot_ticks * SPREAD
        return int(turns % 1.0 * PHASES)

    def pitch_of(self, voice: int, pitch: float) -> float:
        """Return the pitch that sounds: detuned by up to 3 cents if notes are held."""
        if not self.holds or not 0 <= voice < self.voices:
            return pitch
        return pitch + DETUNE * ((voice + 1) * SPREAD % 1.0 - 0.5)

    def kind_of(self, on: On) -> int:
        """Return the index in `timbres` of a note's timbre."""
        if on.sound or on.voice == FAULT_VOICE:
            return PULSE
        return VALUE if on.voice >= self.voices else on.voice % 2

    @staticmethod
    def gains(timbre: Timbre, spectrum: Spectrum, brightness: int) -> Gains:
        """Return the gains of a note's two parts at a value of controller 74."""
        return balance(spectrum, timbre.brightness * (brightness - 64) / 64.0)


def instrument(preset: Preset, voices: int, rate: int, values: int = 0) -> Instrument:
    """Build the instrument of a preset for so many voices of layers and of logged values.

    `rate` is in samples a second.
    """
    sound = preset.sound
    plain = Timbre(
        sound.partials,
        _damping(sound.decay, rate),
        sound.brightness,
        ramp(sound.attack, rate),
        np.float32(1.0) - ramp(sound.release, rate),
        sound.even,
    )
    hollowed = replace(plain, partials=hollow(sound.partials, sound.contrast))
    rise = ramp(PULSE_MS, rate)
    still = (0.0,) * len(PULSE_PARTIALS)
    pulse = Timbre(PULSE_PARTIALS, still, 0.0, rise, np.float32(1.0) - rise, sound.even)
    gain = AMPLITUDE * 10.0 ** (sound.gain / 20.0)
    style = preset.style
    together = 1.0
    if style.together:
        homes = preset.home_notes(max(1, voices))
        at_home = sum(sum(spectrum(plain, float(home), rate).powers) for home in homes)
        even = at_home / max(math.fsum(partial**2 for partial in sound.partials), 1e-6)
        together = math.sqrt(POWER / _power(preset) / max(even, 1e-6))
    places = {
        voice: _place(
            sound.pan * (2.0 * voice / (voices - 1) - 1.0) if voices > 1 else 0.0,
            sound.channels,
            gain * together,
        )
        for voice in range(voices)
    }
    for value in range(values):
        place = place_of(preset, value)
        places[voices + value] = _place(place, sound.channels, gain * VALUE_GAIN)
    places[FAULT_VOICE] = _place(0.0, sound.channels, gain)
    values_own = preset.values
    low = replace(plain, partials=values_own.partials, damping=_damping(values_own.decay, rate))
    return Instrument(
        (plain, hollowed, pulse, low),
        places,
        ramp(TURN_MS, rate),
        voices,
        preset.time.slot_ticks(max(1, voices)),
        style.together,
        style.holds,
    )


def _damping(decay: Sequence[float], rate: int) -> tuple[float, ...]:
    return tuple(1.0 / (seconds * rate) if seconds else 0.0 for seconds in decay)


def _power(preset: Preset) -> float:
    """Return the mean power of one voice that stays at home, in units of `AMPLITUDE` squared."""
    part = preset.parts(1)[0]
    tick, sound = preset.time.tick_seconds, preset.sound
    home = Tone(part.notes[part.home], float(part.notes[part.home]), 0.0, 0)
    total = 0.0
    seconds = part.slot_ticks * tick
    for stroke in preset.style.play(part, home):
        length = HELD_SECONDS if stroke.length is None else stroke.length * tick
        seconds = HELD_SECONDS if stroke.length is None else seconds
        times = np.arange(0.0, length + sound.release / 1000.0, 0.001)
        shape = np.ones(len(times))
        rise, fall = ramp(sound.attack, 1000), 1.0 - ramp(sound.release, 1000)
        shape[: len(rise)] = rise[: len(times)]
        shape[len(times) - len(fall) :] *= fall[: len(times)]
        for partial, decay in zip(sound.partials, sound.decay, strict=True):
            wave = partial * shape * (np.exp(-times / decay) if decay else 1.0)
            total += float(np.sum(wave**2)) * 0.001 / 2.0
    return max(total / seconds, 1e-6)


def _place(place: float, channels: int, gain: float) -> Samples:
    """Return the gain of each channel in a column: equal power, from left (-1) to right (1)."""
    if channels == 1:
        return np.array([[gain]], np.float32)
    angle = (place + 1.0) * math.pi / 4.0
    return np.array([[gain * math.cos(angle)], [gain * math.sin(angle)]], np.float32)
