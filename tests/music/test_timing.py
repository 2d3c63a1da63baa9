"""Triplets, swing and meters: where notes start, what a file says, and that norms come back."""

import math

import mido
import numpy as np
import pytest
from logs import write_log

from gradmidi._render import render
from gradmidi.errors import PresetError
from gradmidi.music.events import FAULT_VOICE, On
from gradmidi.music.preset import load
from gradmidi.music.score import compose
from gradmidi.text.decode import decode

SWINGS = {"time.swing": 2.0 / 3.0, "time.stagger": 0.0}


def starts(run, preset):
    events = compose(run, preset)
    return sorted({e.tick for e in events if isinstance(e, On) and e.norm and e.voice == 0})


def norms(rows=40, voices=4):
    found = np.exp(np.random.default_rng(3).normal(0.0, 0.7, (rows, voices)))
    found[20, 1] = 300.0
    found[25:, 2] *= 500.0
    return found


@pytest.mark.parametrize(
    ("slot", "ticks"), [("1/3", 640), ("1/6", 320), ("1/12", 160), ("1/24", 80)]
)
def test_three_triplets_fill_two_slots_of_the_even_note_value(slot, ticks, tmp_path):
    run = write_log(tmp_path / "a", [[1.0] * 4] * 6)
    assert starts(run, load("pentatonic", {"time.slot": slot})) == [i * ticks for i in range(6)]


def test_swing_makes_every_second_slot_late_and_its_notes_shorter(tmp_path):
    run = write_log(tmp_path / "a", [[1.0] * 4] * 4)
    preset = load("pentatonic", SWINGS)
    assert starts(run, preset) == [0, 160, 240, 400]
    render(run, tmp_path / "a.mid", preset=preset)
    track = mido.MidiFile(tmp_path / "a.mid").tracks[1]
    tick, struck, lengths = 0, 0, []
    for message in track:
        tick += message.time
        if message.type == "note_on":
            struck = tick
        elif message.type == "note_off":
            lengths.append(tick - struck)
    assert lengths == [120, 60, 120, 60]


@pytest.mark.parametrize("name", ["pentatonic", "hold", "chromatic", "pulse"])
@pytest.mark.parametrize("swing", [0.54, 0.7])
def test_norms_come_back_from_a_file_that_swings_also_where_voices_are_at_fault(
    name, swing, tmp_path
):
    run = write_log(tmp_path / "a", norms().tolist())
    render(run, tmp_path / "a.mid", preset=load(name, {"time.swing": swing, "time.slot": "1/12"}))
    found = decode(tmp_path / "a.mid")
    for row, wanted in zip(found.rows, norms(), strict=True):
        for value, norm in zip(row, wanted, strict=True):
            if not value.bound:
                assert value.norm == pytest.approx(norm, rel=0.01)
    assert list(found.steps) == list(range(1, 41))


@pytest.mark.parametrize("tone", [False, True])
def test_values_come_back_from_a_file_that_swings(tone, tmp_path):
    losses = [2.0, 1.9, 1.8, *(2.0 * 0.97**n for n in range(37))]
    run = write_log(tmp_path / "a", [[1.0] * 4] * 40, loss=losses)
    settings = {"values.which": ["loss"], "values.slot": "1/16", "time.swing": 0.6}
    preset = load("pentatonic", {**settings, "values.reference_tone": tone})
    render(run, tmp_path / "a.mid", preset=preset)
    found = {each.step: each.number.norm for each in decode(tmp_path / "a.mid").values["loss"]}
    assert len(found) >= 35
    for step, number in found.items():
        assert number == pytest.approx(losses[step - 1], rel=0.01)


@pytest.mark.parametrize("style", ["arpeggio", "drums"])
def test_a_style_that_has_no_even_slots_does_not_swing(style):
    given = {"time.swing": 0.6, "time.style": style}
    with pytest.raises(PresetError, match=rf"swing = 0\.6; allowed is 0\.5 with the style {style}"):
        load("pentatonic", given)


@pytest.mark.parametrize(("meter", "bar"), [("3/4", 1440), ("5/4", 2400), ("6/8", 1440)])
def test_a_meter_is_in_the_file_and_its_bars_are_heard(meter, bar, tmp_path):
    preset = load(
        "pentatonic", {"time.meter": meter, "loudness.downbeat": 20, "loudness.change": 0}
    )
    run = write_log(tmp_path / "a", [[1.0] * 4] * 90)
    render(run, tmp_path / "a.mid", preset=preset)
    signature = next(m for m in mido.MidiFile(tmp_path / "a.mid").tracks[0] if "time_s" in m.type)
    assert f"{signature.numerator}/{signature.denominator}" == meter
    late = [e for e in compose(run, preset) if isinstance(e, On) and e.voice == 0 and e.tick > 1000]
    soft = min(e.velocity for e in late if e.norm)
    loud = [e.tick for e in late if e.norm and e.velocity == soft + 20]
    assert loud == [tick for tick in range(bar, 90 * 120, bar) if tick > 1000]


def test_the_tick_of_a_run_without_a_norm_comes_once_a_bar(tmp_path):
    run = write_log(tmp_path / "a", [[math.nan] * 4] * 120)
    events = compose(run, load("pentatonic", {"time.meter": "3/4"}))
    ticks = [e.tick for e in events if isinstance(e, On) and e.sound == "tick"]
    assert len(ticks) > 3
    assert {tick // 1440 for tick in ticks} == set(range(ticks[0] // 1440, ticks[-1] // 1440 + 1))
    assert len({tick // 1440 for tick in ticks}) == len(ticks)


def test_a_meter_that_there_is_not_is_refused():
    with pytest.raises(PresetError, match="meter = '4/3'; allowed is one of: 2/4, 3/4, 4/4, 5/4"):
        load("pentatonic", {"time.meter": "4/3"})


def test_faults_sound_in_a_piece_that_swings(tmp_path):
    run = write_log(tmp_path / "a", norms().tolist())
    sounds = {e.sound for e in compose(run, load("pentatonic", SWINGS)) if isinstance(e, On)}
    assert {"spike", "exploding", "end"} <= sounds
    names = [e.voice for e in compose(run, load("pentatonic", SWINGS)) if isinstance(e, On)]
    assert FAULT_VOICE in names
