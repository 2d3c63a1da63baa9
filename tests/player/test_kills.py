"""Forty random kills, the same in every run; `tests/kills.py` makes any number of them."""

import sys

import pytest
from kills import outcomes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]


def test_whatever_is_killed_no_note_hangs_and_no_process_is_left():
    failures = [f"{trial}: {failure}" for trial, _, failure in outcomes(range(40), 3) if failure]
    assert not failures, "\n".join(failures)
