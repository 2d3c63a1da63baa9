import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradmidi.errors import PresetError
from gradmidi.music.pitch import (
    SCALES,
    hz_to_pitch,
    note_name,
    note_number,
    pitch_to_hz,
    scale_notes,
)


@given(st.integers(0, 127))
def test_a_note_s_name_reads_back_as_the_note(note):
    assert note_number(note_name(note)) == note


@given(st.floats(8.0, 20_000.0))
def test_hertz_and_pitch_undo_each_other(hz):
    assert pitch_to_hz(hz_to_pitch(hz)) == pytest.approx(hz, rel=1e-12)


@given(
    st.sampled_from(sorted(SCALES)),
    st.sampled_from(["C", "F#", "Bb", "a"]),
    st.integers(0, 60),
    st.integers(1, 60),
)
def test_a_scale_ascends_within_its_range_and_repeats_every_octave(kind, root, low, width):
    notes = scale_notes(f"{root} {kind}", low, low + width)
    assert list(notes) == sorted(set(notes))
    assert all(low <= note <= low + width for note in notes)
    assert {note + 12 for note in notes if note + 12 <= low + width} <= set(notes)


@pytest.mark.parametrize("text", ["H3", "C", "3C", "C##4", "", "C10", "Cb-1"])
def test_what_is_no_note_is_refused_by_name(text):
    with pytest.raises(PresetError, match=repr(text)):
        note_number(text)


@pytest.mark.parametrize("text", ["minor pentatonic", "A bluesy", "X major", ""])
def test_what_is_no_scale_is_refused_with_the_scales_there_are(text):
    with pytest.raises(PresetError, match="minor pentatonic, whole tone"):
        scale_notes(text, 0, 127)
