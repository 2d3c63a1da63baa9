"""Timbres: which partials a pitch has, how strong, and whether their tables are right."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradmidi.music.pitch import pitch_to_hz
from gradmidi.sound.timbre import SEGMENT, Spectrum, Timbre, balance, ramp, spectrum, table

RATE = 44100
FLAT = ramp(0, RATE)
PITCHES = st.floats(-60.0, 140.0)


def timbre(partials, damping=None, brightness=0.6):
    return Timbre(tuple(partials), tuple(damping or (0.0,) * len(partials)), brightness, FLAT, FLAT)


def direct(found: Spectrum, samples: np.ndarray) -> np.ndarray:
    """The partials by their definition, one by one, in float64."""
    return np.array(
        [
            amplitude
            * np.exp(-damping * samples)
            * np.sin(2 * np.pi * np.remainder(number * found.cycles * samples, 1.0))
            for number, amplitude, damping in zip(
                found.numbers, found.amplitudes, found.damping, strict=True
            )
        ]
    )


@pytest.mark.parametrize("pitch", [28.0, 40.37, 69.0, 93.2, 105.0])
@pytest.mark.parametrize("segment", [0, 1, 37])
def test_a_table_is_the_sum_of_its_partials(pitch, segment):
    found = spectrum(timbre((1.0, 0.4, 0.2), (0.0, 1e-5, 2e-5)), pitch, RATE)
    base, upper = table(found, segment)
    wanted = direct(found, segment * SEGMENT + np.arange(SEGMENT))
    assert base.dtype == upper.dtype == np.float32
    assert np.abs(base - wanted[0]).max() < 5e-7
    assert np.abs(upper - wanted[1:].sum(axis=0)).max() < 1e-6


def test_the_phase_of_a_note_that_lasts_an_hour_is_still_exact():
    found = spectrum(timbre((1.0,)), 93.21, RATE)
    segment = 3600 * RATE // SEGMENT
    samples = segment * SEGMENT + np.arange(SEGMENT)
    # Integers of cycles taken away exactly, in whole numbers.
    scaled = round(found.cycles * 2**60)
    phases = np.array([(scaled * int(n)) % 2**60 / 2**60 for n in samples])
    assert np.abs(table(found, segment)[0] - np.sin(2 * np.pi * phases)).max() < 1e-5


def test_a_decayed_partial_is_exactly_silent_and_never_denormal():
    found = spectrum(timbre((1.0, 0.5), (0.0, 1.0 / 44.0)), 69.0, RATE)
    for segment in range(3):
        upper = table(found, segment)[1]
        assert not np.any((upper != 0.0) & (np.abs(upper) < np.finfo(np.float32).tiny))
    assert not table(found, 2)[1].any()
    assert table(found, 2)[0].any()


@given(PITCHES)
def test_power_is_the_same_at_every_pitch(pitch):
    found = spectrum(timbre((1.0, 0.4, 0.2)), pitch, RATE)
    if pitch_to_hz(pitch) > 20000.0:
        assert found.amplitudes == ()
    else:
        assert math.fsum(a * a for a in found.amplitudes) == pytest.approx(1.2)


@given(PITCHES, st.sampled_from([8000, 22050, 44100, 96000]))
def test_no_upper_partial_comes_near_half_the_rate_or_12_khz(pitch, rate):
    found = spectrum(timbre((1.0, 0.4, 0.2, 0.1, 0.05)), pitch, rate)
    hertz = [number * found.cycles * rate for number in found.numbers]
    assert all(partial < min(12000.0, 0.45 * rate) for partial in hertz[1:])
    assert all(partial < 0.46 * rate for partial in hertz)


@given(st.floats(100.0, 130.0), st.floats(0.0, 0.01))
def test_partials_fade_with_the_pitch_and_never_jump(pitch, step):
    lower = spectrum(timbre((1.0, 0.4, 0.2)), pitch, RATE).amplitudes
    higher = spectrum(timbre((1.0, 0.4, 0.2)), pitch + step, RATE).amplitudes
    for index in range(max(len(lower), len(higher))):
        before = lower[index] if index < len(lower) else 0.0
        after = higher[index] if index < len(higher) else 0.0
        assert abs(after - before) < 0.01


@pytest.mark.parametrize("pitch", [28.0, 33.0, 40.0, 45.0])
def test_a_low_note_is_carried_by_partials_that_small_speakers_play(pitch):
    found = spectrum(timbre((1.0, 0.4, 0.2)), pitch, RATE)
    heard = [
        amplitude**2
        for number, amplitude in zip(found.numbers, found.amplitudes, strict=True)
        if number * found.cycles * RATE > 150.0
    ]
    # C3, the lowest home, has 14 % of its power above the fundamental.
    assert sum(heard) / 1.2 > 0.14


def test_above_c3_the_partials_stand_as_the_timbre_has_them():
    assert spectrum(timbre((1.0, 0.4, 0.2)), 48.0, RATE).amplitudes == pytest.approx((1, 0.4, 0.2))
    assert spectrum(timbre((1.0,)), 20.0, RATE).amplitudes == (1.0,)


def test_a_timbre_of_odd_partials_stays_one_in_the_low():
    found = spectrum(timbre((1.0, 0.0, 0.33, 0.0, 0.2)), 36.0, RATE)
    assert len(found.numbers) > 3
    assert all(number % 2 for number in found.numbers)


@pytest.mark.parametrize("pitch", [math.nan, math.inf, -math.inf, 1e308, -1e308, 136.0])
def test_an_inaudible_pitch_is_silence(pitch):
    base, upper = table(spectrum(timbre((1.0, 0.4)), pitch, RATE), 0)
    assert not base.any()
    assert not upper.any()


@given(st.floats(-1.0, 1.0), st.floats(20.0, 120.0))
def test_brightness_moves_the_upper_partials_and_keeps_the_power(brightness, pitch):
    found = spectrum(timbre((1.0, 0.4, 0.2)), pitch, RATE)
    level, bright = balance(found, brightness)
    squares = [a * a for a in found.amplitudes]
    power = level**2 * squares[0] + bright**2 * sum(squares[1:])
    assert power == pytest.approx(1.2)
    assert 20 * math.log10(bright / level) == pytest.approx(12.0 * brightness)
