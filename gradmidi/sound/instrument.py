"""Timbres, gains and ramps of a preset at one sample rate, for the synth."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gradmidi.music.events import FAULT_VOICE, On
from gradmidi.music.preset import Preset
from gradmidi.music.valuevoices import place_of
from gradmidi.sound.timbre import Gains, Samples, Spectrum, Timbre, balance, hollow, ramp

__all__ = ["CEILING", "KNEE", "PULSE", "VALUE", "VELOCITY", "Instrument", "instrument"]

AMPLITUDE = 0.1
"""Peak of a note's fundamental at velocity 80: the amplitude of the 2019 blog post."""

VELOCITY = 80

ALIKE = 4
"""With this many voices the gain is 1; more voices are softer, fewer are louder."""

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
    """

    timbres: tuple[Timbre, Timbre, Timbre, Timbre]
    places: Mapping[int, Samples]
    turn: Samples
    voices: int

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
        tuple(1.0 / (seconds * rate) if seconds else 0.0 for seconds in sound.decay),
        sound.brightness,
        ramp(sound.attack, rate),
        np.float32(1.0) - ramp(sound.release, rate),
    )
    hollowed = replace(plain, partials=hollow(sound.partials, sound.contrast))
    rise = ramp(PULSE_MS, rate)
    still = (0.0,) * len(PULSE_PARTIALS)
    pulse = Timbre(PULSE_PARTIALS, still, 0.0, rise, np.float32(1.0) - rise)
    gain = AMPLITUDE * 10.0 ** (sound.gain / 20.0)
    together = math.sqrt(ALIKE / max(1, voices)) if preset.style.together else 1.0
    places = {
        voice: _place(
            sound.pan * (2.0 * voice / (voices - 1) - 1.0) if voices > 1 else 0.0,
            sound.channels,
            gain * together,
        )
        for voice in range(voices)
    }
    for value in range(values):
        places[voices + value] = _place(place_of(preset, value), sound.channels, gain)
    places[FAULT_VOICE] = _place(0.0, sound.channels, gain)
    low = Timbre(
        preset.values.partials,
        tuple(1.0 / (seconds * rate) if seconds else 0.0 for seconds in preset.values.decay),
        sound.brightness,
        plain.attack,
        plain.release,
    )
    return Instrument((plain, hollowed, pulse, low), places, ramp(TURN_MS, rate), voices)


def _place(place: float, channels: int, gain: float) -> Samples:
    """Return the gain of each channel in a column: equal power, from left (-1) to right (1)."""
    if channels == 1:
        return np.array([[gain]], np.float32)
    angle = (place + 1.0) * math.pi / 4.0
    return np.array([[gain * math.cos(angle)], [gain * math.sin(angle)]], np.float32)
