"""A short soak; with ``GRADMIDI_SOAK=1`` an hour of live output and a log of 30 million lines.

``GRADMIDI_SOAK_MINUTES`` and ``GRADMIDI_SOAK_LINES`` change both; `tests/soak.py` prints figures.
"""

import os
import sys

import pytest
import soak
from studio import needs, needs_live_midi

needs_live_midi()

LONG = bool(os.environ.get("GRADMIDI_SOAK"))
MINUTES = float(os.environ.get("GRADMIDI_SOAK_MINUTES", "60")) if LONG else 0.2
LINES = int(os.environ.get("GRADMIDI_SOAK_LINES", str(soak.DAY_LINES))) if LONG else 100_000

pytestmark = [
    pytest.mark.timeout(60.0 * MINUTES + LINES / 1000.0 + 300.0),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]


@pytest.mark.receivers
@pytest.mark.needs_torch
def test_live_output_neither_grows_nor_comes_later():
    needs("jackd", "jack_midi_dump")
    found = soak.live(MINUTES)
    assert not soak.judged(found), found["late"]
    assert found["midi messages"] > 100 * MINUTES


@pytest.mark.slow
def test_a_days_log_is_rendered_and_played_in_as_much_memory_as_a_tenth_of_it():
    measured = soak.day(LINES)
    assert not soak.flat(measured, LINES), measured
