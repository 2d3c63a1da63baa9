"""Logged values as voices: their notes in a run without layers, and beside layers."""

import json
import math

import mido
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logs import NAMES
from typer.testing import CliRunner

import gradmidi
from gradmidi._render import render
from gradmidi.cli.app import app
from gradmidi.errors import GradmidiError, PresetError, RunLogError
from gradmidi.log import End, Frame, Header, Layer, encode, row
from gradmidi.midi.metadata import data_of, text_in
from gradmidi.midi.metadata import read as read_text
from gradmidi.music.events import BRIGHTNESS, Alarm, Control, Joined, Off, On, Step
from gradmidi.music.preset import load
from gradmidi.music.score import Score, compose, voices_of
from gradmidi.music.values import MOST_VALUES, Law, Values, law_of
from gradmidi.music.valuevoices import check_values

PRESET = load("pentatonic")
ALONE = Header(())
LAYERS = Header(tuple(Layer(name, 10) for name in NAMES))
STEP = 2.0**0.5


def frames(rows, layers=0, dt=0.1):
    """Frames with these values; each layer's norm goes up and down."""
    norms = [row([1.0 + n % 3] * layers) for n in range(len(rows))]
    return [
        Frame(n, (n - 0.5) * dt, norm, values)
        for n, (norm, values) in enumerate(zip(norms, rows, strict=True), 1)
    ]


def written(folder, header, items):
    folder.mkdir(parents=True, exist_ok=True)
    items = [*items, End("closed", items[-1].t, len(items))]
    (folder / "run.jsonl").write_bytes(b"".join(map(encode, [header, *items])))
    return folder


def played(header, items, preset=PRESET, **options):
    score = Score(header, preset, **options)
    events = [event for item in items for event in score.feed(item)]
    return score, events + score.finish()


def notes(events, voice):
    return [(e.tick, e.note) for e in events if isinstance(e, On) and e.voice == voice]


# -- laws ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "law"),
    [
        ("loss", [10.98, 10.95, 10.9], Law(10.98, STEP, False)),
        ("train/loss", [2.3, 1.9, 2.5], Law(2.3, 2.0, False)),
        ("lr", [0.0, 1e-5, 2e-5], Law(1e-5, 2.0, False)),
        ("val_acc", [0.1, 0.3, 0.4], Law(0.1, 0.05, True)),
        ("Accuracy/top1", [11.0, 30.0, 42.0], Law(11.0, 5.0, True)),
        ("ep_reward", [20.0, 22.0, 19.0], Law(20.0, 5.0, True)),
        ("elbo", [-1200.0, -1100.0, -1050.0], Law(-1200.0, 200.0, True)),
        ("x", [0.0, 0.0, 0.0], Law(0.0, 0.1, True)),
        ("policy_loss", [0.02, -0.01, 0.01], Law(0.02, 0.05, True)),
        ("loss", [5.0], Law(5.0, STEP, False)),
    ],
)
def test_factor_or_difference_is_found_from_the_first_numbers(name, first, law):
    found = law_of(name, first, Values())
    assert found == Law(law.home, pytest.approx(law.unit), law.additive)


def test_a_preset_may_fix_factor_and_difference():
    fixed = Values(factor=1.1, difference=3.0)
    assert law_of("loss", [2.0, 1.9, 1.8], fixed) == Law(2.0, 1.1, False)
    assert law_of("reward", [2.0, 1.9, 1.8], fixed) == Law(2.0, 3.0, True)


# -- alone -----------------------------------------------------------------------------------


def test_a_run_without_layers_plays_all_its_values_low_and_a_beat_apart():
    losses = [2.0, 2.0, 2.0, 2.0 / STEP, 1.0, 4.0]
    rows = [{"loss": loss, "val_acc": 0.1 + 0.05 * n} for n, loss in enumerate(losses)]
    score, events = played(ALONE, frames(rows))
    assert [voice.name for voice in score.all_voices] == ["loss", "val_acc"]
    assert score.slot_seconds == 0.5
    # C3 is home; a factor of √2 is one note of A minor pentatonic, A2 C3 D3 E3.
    assert notes(events, 0) == list(zip(range(0, 2880, 480), [48, 48, 48, 45, 43, 52], strict=True))
    # G3 is home; three numbers, then one note for each 0.05.
    assert [note for _, note in notes(events, 1)] == [55, 55, 60, 62, 64, 67]
    assert {tick % 480 for tick, _ in notes(events, 1)} == {120}
    ends = {(e.tick, e.voice, e.note) for e in events if isinstance(e, Off)}
    assert (432, 0, 48) in ends


def test_what_rounding_takes_away_is_in_the_brightness():
    _, events = played(ALONE, frames([{"loss": each} for each in (1.0, 1.0, 1.0, 2.0**0.2)]))
    bright = [e.value for e in events if isinstance(e, Control) and e.controller == BRIGHTNESS]
    assert bright == [64, 114]
    assert [note for _, note in notes(events, 0)] == [48] * 4


def test_zero_is_lowest_and_what_is_no_number_is_a_rest():
    losses = [1.0, 1.0, 1.0, 0.0, math.nan, 1e30, math.inf, 1.0]
    _, events = played(ALONE, frames([{"loss": each} for each in losses]))
    # What starts elsewhere identifies the voice at fault.
    assert [each for each in notes(events, 0) if each[0] % 480 == 0] == [
        (0, 48), (480, 48), (960, 48), (1440, 26), (2400, 98), (3360, 48)
    ]  # fmt: skip


def test_of_several_steps_in_a_slot_the_last_number_sounds():
    losses = [1.0, 1.0, 1.0, 1.5, 2.0, 1.9, 0.5]
    _, events = played(ALONE, frames([{"loss": each} for each in losses]), per_slot=3)
    assert [on.norm for on in events if isinstance(on, On) and on.voice == 0] == [1.0, 1.9, 0.5]


def test_a_value_that_appears_late_gets_a_voice_then():
    rows = [{"loss": 1.0}] * 4 + [{"loss": 1.0, "val_loss": 2.0, "epoch": True, "note": "a"}]
    score, events = played(ALONE, frames(rows))
    joined = [event for event in events if isinstance(event, Joined)]
    assert joined == [Joined(0, 0, "loss", 0), Joined(1920, 1, "val_loss", 1)]
    assert notes(events, 1) == [(2040, 55)]
    assert score.value_seats == MOST_VALUES


def test_at_most_fifteen_values_have_a_voice():
    score, _ = played(ALONE, frames([{f"v{n}": 1.0 for n in range(40)}]))
    assert len(score.all_voices) == MOST_VALUES


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["loss", "acc", "lr", "note"]),
            st.one_of(st.floats(), st.booleans(), st.text(max_size=2), st.none(), st.integers()),
        ),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(["pentatonic", "chromatic", "drums", "hold", "classic", "orchestra"]),
    st.integers(0, 2),
    st.booleans(),
)
def test_whatever_is_logged_every_note_ends_and_is_midi(rows, preset, layers, tone):
    header = Header(LAYERS.layers[:layers])
    options = {"values.which": ["*"], "values.reference_tone": tone}
    _, events = played(header, frames(rows, layers), load(preset, options))
    ticks = [event.tick for event in events]
    assert ticks == sorted(ticks)
    sounding = []
    for event in events:
        if isinstance(event, On):
            assert 0 <= event.note <= 127
            assert 1 <= event.velocity <= 127
            sounding.append((event.voice, event.note))
        elif isinstance(event, Off):
            sounding.remove((event.voice, event.note))
    assert not sounding or preset == "hold"


# -- beside layers ---------------------------------------------------------------------------


def test_layers_are_as_they_are_and_values_come_after_them_only_if_asked_for():
    items = frames([{"loss": 2.0 / n, "lr": 0.1} for n in range(1, 30)], layers=4)
    _, alone = played(LAYERS, items)
    score, both = played(LAYERS, items, load(PRESET, {"values.which": ["loss"]}))
    assert [voice.name for voice in score.all_voices] == [*NAMES, "loss"]
    assert not [event for event in alone if getattr(event, "voice", 0) == 4]
    assert [e for e in both if getattr(e, "voice", None) != 4] == alone
    # A beat apart, four slots, at the first slot's start.
    assert [tick for tick, _ in notes(both, 4)] == list(range(0, 29 * 120, 480))


def test_each_value_has_its_own_place_in_the_beat():
    rows = [{"a": 1.0, "b": 1.0, "c": 1.0}] * 20
    preset = load(PRESET, {"values.which": ["a", "b", "c"]})
    _, events = played(LAYERS, frames(rows, layers=4), preset)
    places = [{tick % 480 for tick, _ in notes(events, voice)} for voice in (4, 5, 6)]
    assert places == [{0}, {120}, {240}]


def test_a_number_without_change_of_step_is_struck_once():
    rows = [{"loss": 1.0}, *[{}] * 9, {"loss": 1.0}, *[{}] * 9]
    preset = load(PRESET, {"values.which": ["loss"]})
    _, events = played(LAYERS, frames(rows, layers=4), preset)
    assert [tick for tick, _ in notes(events, 4)] == [0, 1200]


def test_many_layers_leave_channels_for_the_values():
    layers = tuple(Layer(f"h.{i}", 100) for i in range(40))
    score = Score(Header(layers), load(PRESET, {"values.which": ["loss", "lr"]}))
    assert len(score.voices) == 13
    assert [voice.index for voice in score.all_voices[13:]] == [13, 14]


def test_the_reference_tone_is_each_home_once_a_bar_softly():
    preset = load(PRESET, {"values.which": ["loss"], "values.reference_tone": True})
    rows = [{"loss": 2.0 ** (-n / 8)} for n in range(48)]
    _, events = played(LAYERS, frames(rows, layers=4), preset)
    own = [event for event in events if isinstance(event, On) and event.voice == 4]
    assert [(e.tick, e.note, e.velocity) for e in own if not e.norm] == [
        (240, 48, 48), (2160, 48, 48), (4080, 48, 48)
    ]  # fmt: skip
    assert len(own) == 3 + 12
    assert min(e.tick for e in events if isinstance(e, Off) and e.voice == 4) < 240


def test_a_step_tells_every_logged_number():
    items = frames([{"loss": 2.0, "lr": 0.1, "bad": math.nan, "note": "a", "on": True}], layers=4)
    _, events = played(LAYERS, items)
    (step,) = (event for event in events if isinstance(event, Step))
    assert step.values[:2] == (("loss", 2.0), ("lr", 0.1))
    assert [(name, math.isnan(value)) for name, value in step.values[2:]] == [("bad", True)]


# -- files -----------------------------------------------------------------------------------


def test_a_file_has_a_track_and_a_channel_for_each_value(tmp_path):
    items = frames([{"loss": 2.0 / n, "lr": 0.1} for n in range(1, 30)], layers=4)
    run = written(tmp_path / "a", LAYERS, items)
    preset = load("orchestra", {"values.which": ["l*"], "values.program": 35})
    render(run, tmp_path / "a.mid", preset=preset)
    file = mido.MidiFile(tmp_path / "a.mid")
    assert [track.name for track in file.tracks] == ["a", *NAMES, "loss", "lr", "faults"]
    loss = file.tracks[5]
    assert {m.channel for m in loss if m.type == "note_on"} == {4}
    assert [m.program for m in loss if m.type == "program_change"] == [34]
    (text,) = filter(None, (read_text(text_in(m)) for m in loss))
    assert (text["value"], text["reference"]) == ("loss", 2.0)
    # The norms are still read back, from the tracks of layers.
    assert gradmidi.decode(tmp_path / "a.mid").voices == NAMES


def decoded(folder, header, values, preset):
    run = written(folder / "a", header, frames(values, layers=len(header.layers)))
    render(run, folder / "a.mid", preset=preset, length="full")
    return gradmidi.decode(folder / "a.mid")


@pytest.mark.parametrize(
    ("header", "preset"),
    [
        (LAYERS, "pentatonic"),
        (LAYERS, "chromatic"),
        (LAYERS, "hold"),
        # Values alone are played as chords, not held.
        (ALONE, "pentatonic"),
        (ALONE, "chromatic"),
    ],
)
@pytest.mark.parametrize("tone", [False, True], ids=["", "reference tone"])
def test_values_are_read_back_from_their_notes(tmp_path, header, preset, tone):
    values = [
        {"loss": 3.0 * 0.95**n, "acc": 0.1 + 0.02 * n, "reward": 0.8 * n - 16.0} for n in range(40)
    ]
    settings = load(preset, {"values.which": ["*"], "values.reference_tone": tone})
    found = decoded(tmp_path, header, values, settings)
    assert found.voices == tuple(layer.name for layer in header.layers)
    assert list(found.values) == ["loss", "acc", "reward"]
    for name, numbers in found.values.items():
        assert len(numbers) > 8, name
        of_value = [row[name] for row in values]
        for each in numbers:
            wrong = abs(each.number.norm - of_value[each.step - 1])
            unit = {"loss": each.number.norm, "acc": 0.05, "reward": 2.0}[name]
            assert each.number.bound == 0
            assert wrong < 0.01 * unit, (name, each)
    seconds = [each.seconds for each in found.values["loss"]]
    assert seconds == sorted(set(seconds))


def test_values_before_their_law_and_at_the_rails_are_no_wrong_numbers(tmp_path):
    values = [{"loss": x} for x in (2.0, 1.9, 1.8, 1.7, 1e30, 1e-30, 1.6)]
    numbers = [n.number for n in decoded(tmp_path, ALONE, values, "pentatonic").values["loss"]]
    # The first two sound at home, as the law is not known yet. The notes that identify the value
    # at fault are none of its numbers.
    assert [each.bound for each in numbers] == [0, 0, 1, -1, 0]
    assert [numbers[at].norm for at in (0, 1, -1)] == pytest.approx([1.8, 1.7, 1.6], rel=0.01)
    assert 1.8 < numbers[2].norm <= 1e30
    assert 1e-30 <= numbers[3].norm < 1.6


def test_decode_prints_a_line_for_each_number(tmp_path):
    values = [{"loss": float(4 + n % 3)} for n in range(6)]
    decoded(tmp_path, ALONE, values, "pentatonic")
    done = CliRunner().invoke(app, ["decode", str(tmp_path / "a.mid")])
    head, *rows = map(json.loads, done.stdout.splitlines())
    assert head["values"] == ["loss"]
    number = rows[0].pop("number")
    assert rows[0] == {"value": "loss", "step": 3, "seconds": 1.0}
    assert number == pytest.approx(6.0, rel=0.01)


def test_a_damaged_text_of_a_value_is_named(tmp_path):
    decoded(tmp_path, ALONE, [{"loss": float(4 + n % 3)} for n in range(6)], "pentatonic")
    file = mido.MidiFile(tmp_path / "a.mid")
    for track in file.tracks:
        for message in track:
            if message.type == "sequencer_specific":
                text = text_in(message).replace('"factor": 2.0', '"factor": -1')
                message.data = data_of(text)
    file.save(tmp_path / "b.mid")
    with pytest.raises(GradmidiError, match=r"b\.mid is damaged: .* 'factor' is -1"):
        gradmidi.decode(tmp_path / "b.mid")


def test_a_value_s_sound_is_its_own_and_in_its_own_stem(tmp_path):
    run = written(tmp_path / "a", ALONE, frames([{"loss": 1.0, "lr": 0.1}] * 8))
    render(run, tmp_path / "a.wav", stems=tmp_path / "stems")
    names = sorted(path.name for path in (tmp_path / "stems").iterdir())
    assert names == ["01-loss.wav", "02-lr.wav", "faults.wav"]
    import soundfile

    loss, rate = soundfile.read(tmp_path / "stems" / "01-loss.wav")
    loss = loss[rate // 2 :]  # The silence before the music.
    start = loss[int(0.02 * rate) : int(0.22 * rate)].mean(axis=1)
    spectrum = np.abs(np.fft.rfft(start * np.hanning(len(start)), 1 << 16))
    hz = np.fft.rfftfreq(1 << 16, 1 / rate)
    fundamental, second, fifth = (
        spectrum[(hz > n * 130.8 - 8) & (hz < n * 130.8 + 8)].max() for n in (1, 2, 5)
    )
    # Rich in partials: the default timbre of layers has no fifth one.
    assert second > 0.4 * fundamental
    assert fifth > 0.1 * fundamental
    # It fades: half a second later it is much softer.
    late = loss[int(0.38 * rate) : int(0.42 * rate)]
    assert np.abs(late).max() < 0.7 * np.abs(start).max()


@pytest.mark.parametrize("preset", ["classic", "drums", "hold", "chromatic", "pulse"])
def test_every_preset_plays_a_run_of_values(tmp_path, preset):
    run = written(tmp_path / "a", ALONE, frames([{"loss": 1.0 / n} for n in range(1, 9)]))
    events = list(compose(str(run), preset))
    assert len(notes(events, 0)) == 8
    render(run, tmp_path / "a.mid", tmp_path / "a.wav", preset=preset)


def test_a_run_without_any_number_is_refused(tmp_path):
    run = written(tmp_path / "a", ALONE, frames([{"note": "a"}]))
    with pytest.raises(RunLogError, match="no logged value is a number: there is nothing to play"):
        render(run, tmp_path / "a.mid")


def test_a_name_that_no_value_has_is_refused_with_the_names_there_are(tmp_path):
    run = written(tmp_path / "a", ALONE, frames([{"loss": 1.0, "lr": 0.1}]))
    log = gradmidi.read(run)
    check_values(log, ["loss", "l?"])
    with pytest.raises(RunLogError, match="no logged value is called 'acc'; there are: loss, lr"):
        check_values(log, ["loss", "acc"])


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"values.factor": 1.005}, r"values\.factor = 1\.005; allowed is 1\.01 to 10, or 0"),
        ({"values.difference": -1}, r"difference = -1; allowed is 0\.0 to"),
        ({"values.home": ["A3", "C3"]}, r"values\.home = \['A3', 'C3'\]; allowed is a low note"),
        ({"values.home": ["C9", "D9"]}, r"allowed is a low note, then a higher one, within"),
        ({"values.home": ["C#3", "C#3"]}, r"with a note of the scale"),
        ({"values.home": ["H3", "A3"]}, r"'H3' is not a note"),
        ({"values.slot": "1/5"}, r"slot = '1/5'; allowed is one of: 1/1, 1/2"),
        ({"values.which": "loss"}, r"which = 'loss'; allowed is a list"),
        ({"values.partials": []}, r"values\.decay = .* allowed is one number a partial \(0\)"),
        ({"values.wich": ["a"]}, r"unknown key 'wich'; there are: which, slot, home"),
    ],
)
def test_a_wrong_key_of_the_table_is_refused(given, error):
    with pytest.raises(PresetError, match=error):
        load(PRESET, given)


def test_options_set_the_table_for_the_files_of_a_run_too(tmp_path):
    with gradmidi.record(
        tmp_path / "a", layers=["fc1"], values="loss", reference_tone=True, files="mid"
    ) as ears:
        for step in range(8):
            ears.frame([0.5], loss=2.0 - step / 8)
    file = mido.MidiFile(tmp_path / "a" / "run.mid")
    assert [track.name for track in file.tracks] == ["a", "fc1", "loss", "faults"]
    velocities = [m.velocity for m in file.tracks[2] if m.type == "note_on" and m.velocity]
    assert velocities.count(48) == 1
    assert json.loads((tmp_path / "a" / "run.jsonl").read_text().splitlines()[1])["loss"] == 2.0


# -- faults ----------------------------------------------------------------------------------


def identified(events, begins):
    """The voices whose notes without a number follow the first pulse of a fault."""
    return {e.voice for e in events if isinstance(e, On) and e.tick > begins and not e.norm} - {-1}


@pytest.mark.parametrize(("names", "voices"), [(["loss"], {4}), ([], {0, 1, 2, 3})])
def test_a_fault_of_a_value_is_told_by_its_own_voice_if_it_has_one(names, voices):
    rows = [{"loss": 1.0}] * 10 + [{"loss": math.nan}] + [{"loss": 1.0}] * 30
    _, events = played(LAYERS, frames(rows, layers=4), load(PRESET, {"values.which": names}))
    alarm = next(event for event in events if isinstance(event, Alarm))
    assert (alarm.kind, alarm.logged, alarm.step) == ("nan", "loss", 11)
    assert identified(events, alarm.tick) == voices


def test_notes_of_values_are_softer_while_a_fault_sounds():
    rows = [{"loss": 1.0, "lr": 0.1}] * 4 + [{"loss": math.nan, "lr": 0.1}] * 4
    _, events = played(ALONE, frames(rows))
    alarm = next(event for event in events if isinstance(event, Alarm))
    assert identified(events, alarm.tick) == {0}
    loud = {e.tick: e.velocity for e in events if isinstance(e, On) and e.voice == 1}
    assert loud[alarm.tick - 480 + 120] == 80
    assert loud[alarm.tick + 120] == 40


def test_the_voices_of_a_run_on_disk_are_known_before_it_is_played(tmp_path):
    run = written(tmp_path / "a", ALONE, frames([{"loss": 1.0}] * 4 + [{"acc": 0.5}]))
    assert [voice.name for voice in voices_of(gradmidi.read(run), PRESET)] == ["loss", "acc"]
    layered = written(tmp_path / "b", LAYERS, frames([{"loss": 1.0}] * 4, layers=4))
    assert [voice.name for voice in voices_of(gradmidi.read(layered), PRESET)] == list(NAMES)
