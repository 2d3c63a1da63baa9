"""Tunings, and scales that change while something is wrong or at a mark."""

import mido
import numpy as np
import pytest
import soundfile
from logs import write_log

from gradmidi._render import render
from gradmidi.errors import PresetError
from gradmidi.music.events import Bend, On
from gradmidi.music.pitch import members, pitch_to_hz, scale_notes
from gradmidi.music.preset import load
from gradmidi.music.score import compose
from gradmidi.text.decode import decode

JUST = [0.0, 15.6, -2.0, 2.0, 17.6]
"""A minor pentatonic in just intonation: 1, 6/5, 4/3, 3/2, 9/5."""

DARK = "A 0 1 5 7 8"


def notes(run, preset):
    return [e for e in compose(run, preset) if isinstance(e, On) and e.norm]


def norms(rows=40):
    return np.exp(np.random.default_rng(5).normal(0.0, 1.0, (rows, 4)))


def same(found, wanted):
    for row, numbers in zip(found.rows, wanted, strict=True):
        for value, norm in zip(row, numbers, strict=True):
            if not value.bound:
                assert value.norm == pytest.approx(norm, rel=0.01)


# -- tuning ---------------------------------------------------------------------------------------


def test_a_tuning_is_exact_in_cents_for_each_note_from_the_root_up(tmp_path):
    run = write_log(tmp_path / "a", norms().tolist())
    cents = dict(zip((9, 0, 2, 4, 7), JUST, strict=True))
    found = notes(run, load("pentatonic", {"pitch.tuning": JUST}))
    assert len({each.note % 12 for each in found}) == 5
    for each in found:
        assert 100.0 * (each.pitch - each.note) == pytest.approx(cents[each.note % 12])


@pytest.mark.parametrize("residue", ["brightness", "bend", "off"])
def test_a_tuned_file_has_the_bend_of_each_note_before_it_and_is_decoded(residue, tmp_path):
    preset = load("pentatonic", {"pitch.tuning": JUST, "pitch.residue": residue})
    run = write_log(tmp_path / "a", norms().tolist())
    render(run, tmp_path / "a.mid", preset=preset)
    tracks = mido.MidiFile(tmp_path / "a.mid").tracks
    for voice in range(4):
        bend, heard = 0.0, []
        for message in tracks[voice + 1]:
            if message.type == "pitchwheel":
                bend = message.pitch / 8192.0 * 2.0
            elif message.type == "note_on" and message.velocity:
                heard.append(message.note + bend)
        wanted = [e.pitch for e in notes(run, preset) if e.voice == voice]
        assert heard[: len(wanted)] == pytest.approx(wanted, abs=0.001)
        assert bend == 0.0
    if residue != "off":
        same(decode(tmp_path / "a.mid"), norms())


def test_the_tuned_pitch_is_in_the_wav(tmp_path):
    given = {"pitch.tuning": [40.0] * 5, "sound.partials": [1.0], "sound.decay": [0.0]}
    preset = load("hold", given)
    render(write_log(tmp_path / "a", [[1.0]] * 40, names=["fc"]), tmp_path / "a.wav", preset=preset)
    samples, rate = soundfile.read(tmp_path / "a.wav", always_2d=True)
    part = samples[rate : 3 * rate, 0] * np.hanning(2 * rate)
    spectrum = np.abs(np.fft.rfft(part, 16 * rate))
    hertz = spectrum.argmax() / 16.0
    home = preset.home_notes(1)[0]
    # Held notes are detuned by up to 3 cents.
    assert abs(1200.0 * np.log2(hertz / pitch_to_hz(home)) - 40.0) < 3.5


def test_an_untuned_preset_sends_no_bends(tmp_path):
    run = write_log(tmp_path / "a", norms().tolist())
    assert not [e for e in compose(run, "pentatonic") if isinstance(e, Bend)]


def test_the_keys_of_drums_are_not_bent(tmp_path):
    preset = load("drums", {"pitch.tuning": JUST})
    run = write_log(tmp_path / "a", norms(6).tolist())
    assert not [e for e in compose(run, preset) if isinstance(e, Bend)]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"pitch.tuning": [0, 10]}, r"tuning = \[0\.0, 10\.0\]; allowed is 5 numbers, one for"),
        ({"pitch.tuning": [0, 0, 0, 0, 101]}, r"tuning = 101; allowed is -100\.0 to 100\.0"),
        (
            {"pitch.tuning": [0, 0, 0, 0, 60], "pitch.range": ["D1", "G9"]},
            r"tuning = .*; allowed is pitches from C-1 to G9, in each scale",
        ),
        (
            {"pitch.tuning": [100, 100, 0, 0, 0], "pitch.residue": "bend"},
            r"tuning = .*; allowed is bends of 2 semitones at most, also of A1",
        ),
        (
            {"pitch.scale": "A chromatic", "pitch.tuning": [*[0] * 5, 90, -20, *[0] * 5]},
            r"tuning = .*; allowed is cents that leave the notes in their order",
        ),
        ({"pitch.law": "hz", "pitch.tuning": [0] * 5}, r"tuning = .*, with law log"),
    ],
)
def test_a_tuning_that_midi_cannot_play_is_refused_in_one_line(given, error):
    with pytest.raises(PresetError, match=error) as refused:
        load("pentatonic", given)
    assert "\n" not in str(refused.value)


# -- other scales ---------------------------------------------------------------------------------


def test_while_something_is_wrong_the_notes_are_of_another_scale(tmp_path):
    rows = norms(120)
    rows[40:60, 2] = np.nan
    run = write_log(tmp_path / "a", rows.tolist())
    preset = load("pentatonic", {"pitch.on_fault": DARK})
    slot = preset.time.slot_ticks(4)
    usual, dark = set(members(preset.pitch.scale)), set(members(DARK))
    for each in notes(run, preset):
        at = each.tick // slot
        if not 60 <= at < 70:  # The detector waits before it calls a layer well again.
            assert each.note % 12 in (dark if 40 <= at < 60 else usual), each
    assert {each.note % 12 for each in notes(run, preset)} == usual | dark
    # The norms stay the same number of degrees from home.
    plain = notes(run, load("pentatonic"))
    for each, other in zip(notes(run, preset), plain, strict=True):
        assert (each.tick, each.voice) == (other.tick, other.voice)
        assert abs(each.note - other.note) <= 2
    render(run, tmp_path / "a.mid", preset=preset)
    found = decode(tmp_path / "a.mid")
    assert found.rows[50][2] is None
    for index, row in enumerate(found.rows):
        for voice, value in enumerate(row):
            if value is not None and not value.bound:
                assert value.norm == pytest.approx(rows[index, voice], rel=0.01)


def test_a_short_fault_changes_the_scale_for_a_bar(tmp_path):
    rows = np.ones((80, 4))
    rows[40, 1] = 300.0
    run = write_log(tmp_path / "a", rows.tolist())
    preset = load("pentatonic", {"pitch.on_fault": DARK})
    plain = {(e.tick, e.voice): e.note for e in notes(run, load("pentatonic"))}
    slot = preset.time.slot_ticks(4)
    changed = {
        e.tick // slot for e in notes(run, preset) if plain.get((e.tick, e.voice), e.note) != e.note
    }
    assert changed == set(range(40, 56))


def test_a_mark_brings_a_scale_that_stays(tmp_path):
    run = write_log(tmp_path / "a", norms(30).tolist(), marks={11: "epoch 2", 21: "the end"})
    marks = {"epoch *": "D minor pentatonic", "no such*": "E minor pentatonic"}
    preset = load("hold", {"pitch.on_mark": marks})
    slot = preset.time.slot_ticks(4)
    late = {e.note % 12 for e in notes(run, preset) if e.tick >= 10 * slot}
    early = {e.note % 12 for e in notes(run, preset) if e.tick < 10 * slot}
    assert early == set(members("A minor pentatonic"))
    assert late == set(members("D minor pentatonic"))
    render(run, tmp_path / "a.mid", preset=preset)
    same(decode(tmp_path / "a.mid"), norms(30))


def test_values_change_with_the_scale_and_come_back(tmp_path):
    losses = [2.0 * 0.95**n for n in range(40)]
    run = write_log(tmp_path / "a", [[1.0] * 4] * 40, loss=losses, marks={20: "dark"})
    given = {"pitch.on_mark": {"dark": DARK}, "values.which": ["loss"], "values.slot": "1/16"}
    render(run, tmp_path / "a.mid", preset=load("pentatonic", given))
    found = {each.step: each.number.norm for each in decode(tmp_path / "a.mid").values["loss"]}
    assert len(found) >= 35
    for step, number in found.items():
        assert number == pytest.approx(losses[step - 1], rel=0.01)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"pitch.on_fault": "A minor"}, r"on_fault = 'A minor'; allowed is a scale of 5 notes"),
        ({"pitch.on_fault": "A bluesy"}, r"'A bluesy' is not a scale"),
        ({"pitch.on_mark": {"x": "C major"}}, r"on_mark\.x = 'C major'; allowed is a scale of 5"),
        ({"pitch.on_mark": "C major"}, r"on_mark = 'C major'; allowed is a table of names and"),
        ({"pitch.on_mark": {"x": 1}}, r"on_mark\.x = 1; allowed is text"),
        (
            {"pitch.scale": "C 0 4", "pitch.on_fault": "B 0 11", "pitch.range": ["C-1", "G9"]},
            "allowed is pitches from C-1 to G9, in each scale",
        ),
    ],
)
def test_a_scale_that_does_not_fit_is_refused(given, error):
    with pytest.raises(PresetError, match=error):
        load("pentatonic", given)


# -- scales at the edges --------------------------------------------------------------------------


def test_a_scale_of_one_note_is_refused_with_the_room_that_it_leaves():
    with pytest.raises(PresetError, match=r"steps of C 0 below and .* eight doublings need 8"):
        load("pentatonic", {"pitch.scale": "C 0", "values.home": ["C3", "C4"]})


def test_a_scale_of_one_note_plays_where_a_step_is_wide_enough(tmp_path):
    given = {
        "pitch.scale": "C 0",
        "pitch.step": 10,
        "pitch.range": ["C-1", "G9"],
        "voices.home": ["C4", "C5"],
        "values.home": ["C3", "C4"],
    }
    preset = load("pentatonic", given)
    run = write_log(tmp_path / "a", norms().tolist())
    render(run, tmp_path / "a.mid", tmp_path / "a.wav", preset=preset)
    assert {each.note % 12 for each in notes(run, preset)} == {0}
    same(decode(tmp_path / "a.mid"), norms())


def test_a_scale_of_all_128_notes_plays_and_comes_back(tmp_path):
    given = {"pitch.scale": "C chromatic", "pitch.range": ["C-1", "G9"], "pitch.step": 1.1}
    given |= {"voices.home": ["C5", "C5"]}
    assert len(scale_notes("C chromatic", 0, 127)) == 128
    with pytest.raises(PresetError, match="eight doublings need 59 either way"):
        load("pentatonic", {**given, "voices.home": ["G5", "G5"], "pitch.range": ["C-1", "G8"]})
    preset = load("pentatonic", {**given, "pitch.step": 1.12})
    run = write_log(tmp_path / "a", norms().tolist())
    render(run, tmp_path / "a.mid", tmp_path / "a.wav", preset=preset)
    same(decode(tmp_path / "a.mid"), norms())


@pytest.mark.parametrize("text", ["C " + " ".join(map(str, range(128))), "C"])
def test_more_semitones_than_an_octave_has_or_none_are_refused(text):
    with pytest.raises(PresetError, match="is not a scale; write a root and one of") as refused:
        load("pentatonic", {"pitch.scale": text})
    assert "\n" not in str(refused.value)
