"""The equal-loudness contour, and notes that are as loud at every pitch."""

import math

import pytest

from gradmidi.music.pitch import hz_to_pitch
from gradmidi.sound.timbre import LOUDEST, Timbre, contour, ramp, spectrum

FLAT = ramp(0, 44100)


@pytest.mark.parametrize(
    # ISO 226:2003, annex B: levels of the contour of 60 phon.
    ("hertz", "level"),
    [(31.5, 98.6), (63.0, 85.9), (125.0, 75.6), (500.0, 62.1), (1000.0, 60.0), (4000.0, 57.6)],
)
def test_the_contour_is_that_of_the_standard(hertz, level):
    assert contour(hertz) + 60.0 == pytest.approx(level, abs=1.0)


def test_beyond_the_table_the_contour_stays():
    assert contour(1.0) == contour(20.0)
    assert contour(20000.0) == contour(12500.0)


def test_an_even_timbre_makes_low_notes_stronger_and_those_the_ear_hears_best_softer():
    even = Timbre((1.0,), (0.0,), 0.0, FLAT, FLAT, even=True)

    def decibels(hertz):
        return 20.0 * math.log10(spectrum(even, hz_to_pitch(hertz), 44100).amplitudes[0])

    for hertz in (150.0, 262.0, 523.0, 1000.0, 2000.0, 3150.0):
        assert decibels(hertz) == pytest.approx(contour(hertz) / 2.0, abs=0.01)
    assert decibels(30.0) == pytest.approx(10.0 * math.log10(LOUDEST), abs=0.01)
