import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradmidi
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
    with pytest.raises(PresetError, match="minor pentatonic, dorian"):
        scale_notes(text, 0, 127)


def test_a_scale_of_ones_own_is_a_root_and_semitones():
    assert scale_notes("D 0 2 7", 60, 72) == (62, 64, 69)
    assert scale_notes("C 0, 4, 7", 60, 72) == scale_notes("C 0 4 7", 60, 72) == (60, 64, 67, 72)
    assert scale_notes("F# octatonic", 66, 78) == (66, 68, 69, 71, 72, 74, 75, 77, 78)


@pytest.mark.parametrize("text", ["C 12", "C 0 -1", "C 0 2.5", "0 2 7", "C 0 2 x"])
def test_semitones_are_0_to_11(text):
    with pytest.raises(PresetError, match="semitones above it, 0 to 11"):
        scale_notes(text, 60, 72)


def test_a_run_in_an_own_scale_is_decoded(tmp_path):
    preset = tmp_path / "own.toml"
    pitch = 'scale = "C 0 2 5 7"\nrange = ["C1", "C8"]'
    text = f'title = "own"\n[voices]\nhome = ["C4", "C5"]\n[pitch]\n{pitch}\n'
    preset.write_text(text)
    with gradmidi.record(tmp_path / "a", layers=["x", "y"], files=()) as ears:
        for norm in (1.0, 2.0, 4.0, 0.5):
            ears.frame({"x": norm, "y": 3.0 * norm})
    gradmidi.render(tmp_path / "a", tmp_path / "a.mid", preset=str(preset))
    rows = gradmidi.decode(tmp_path / "a.mid").rows
    assert [round(row[0].norm, 1) for row in rows] == [1.0, 2.0, 4.0, 0.5]
