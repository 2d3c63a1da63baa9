"""Where voices stand in MIDI: one place each, none on the drums, evenly across."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from gradmidi.midi.numbers import (
    FAULT_CHANNEL,
    VOICE_CHANNELS,
    ascii_text,
    bend_word,
    pan_value,
    place,
    program_of,
)


def test_every_voice_has_a_place_of_its_own() -> None:
    places = [place(voice) for voice in range(60)]
    assert len(set(places)) == 60
    assert FAULT_CHANNEL not in {channel for _, channel in places}
    assert {channel for _, channel in places} == set(range(1, 17)) - {10} == set(VOICE_CHANNELS)
    assert [port for port, _ in places] == sorted(port for port, _ in places)


@given(voices=st.integers(2, 60), width=st.floats(0.0, 1.0))
def test_voices_stand_from_left_to_right_around_the_middle(voices: int, width: float) -> None:
    values = [pan_value(voice, voices, width) for voice in range(voices)]
    assert values == sorted(values)
    assert values[0] >= 1
    assert all(a + b == 128 for a, b in zip(values, reversed(values), strict=True))


@given(voices=st.integers(1, 60), programs=st.lists(st.integers(1, 128), min_size=1, max_size=70))
def test_programs_keep_their_order_and_even_runs(voices: int, programs: list[int]) -> None:
    numbered = list(range(len(programs)))
    chosen = [program_of(voice, voices, numbered) for voice in range(voices)]
    assert chosen == sorted(chosen)
    runs = [chosen.count(index) for index in set(chosen)]
    assert max(runs) - min(runs) <= 1
    assert len(set(chosen)) == min(voices, len(programs))


@given(bend=st.floats(-2.0, 1.999))
def test_a_bend_is_exact_to_its_fourteen_bits(bend: float) -> None:
    assert abs((bend_word(bend) - 8192) / 4096 - bend) <= 0.5 / 4096


@given(text=st.text())
def test_text_is_printable_ascii_and_ascii_is_kept(text: str) -> None:
    folded = ascii_text(text)
    assert all(" " <= character <= "~" for character in folded)
    if text.isascii() and text.isprintable():
        assert folded == text.strip()
    kept = [c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)]
    assert len(folded) <= len(kept)
    assert ascii_text(text, "voice 1") in (folded, "voice 1")
