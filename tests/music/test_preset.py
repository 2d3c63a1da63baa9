import dataclasses

import pytest

from gradmidi.errors import PresetError
from gradmidi.music.preset import Preset, lines, load, names, parse

SHIPPED = names()


def test_the_promised_presets_ship():
    promised = {"chromatic", "classic", "drums", "hold", "orchestra", "pentatonic", "pulse"}
    assert promised <= set(SHIPPED)
    assert list(SHIPPED) == sorted(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_preset_loads_and_says_when_to_use_it(name):
    preset = load(name)
    assert preset.name == name
    assert preset.title
    assert preset.use.endswith(".")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_preset_is_reported_with_every_value_it_holds(name):
    text = "\n".join(lines(load(name)))
    for part in dataclasses.fields(Preset):
        if dataclasses.is_dataclass(part.type):
            for declared in dataclasses.fields(part.type):
                assert f"{part.name}.{declared.name} = " in text
                assert declared.metadata["doc"]


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(PresetError, match=f"'pentatonik'; there are: {', '.join(SHIPPED)}; "):
        load("pentatonik")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PresetError, match=r"mine\.toml cannot be read: No such file"):
        load(tmp_path / "mine.toml")


BAD = [
    ("[time]\ntempi = 120", r"\[time\] unknown key 'tempi'; there are: tempo, slot"),
    ("[faults]\nwindow = 64", r"\[faults\] window is not a key any more: it is always 128; delete"),
    ("[tempo]\nx = 1", r"unknown key 'tempo'; there are: title, use, time"),
    ("[time]\ntempo = 'fast'", r"\[time\] tempo = 'fast'; allowed is a number"),
    ("[time]\ntempo = true", r"\[time\] tempo = True; allowed is a number"),
    ("[time]\ntempo = 1000", r"\[time\] tempo = 1000; allowed is 20 to 300"),
    ("[time]\nnote = 1.5", r"\[time\] note = 1\.5; allowed is a whole number"),
    ("[time]\nslot = '1/5'", r"\[time\] slot = '1/5'; allowed is one of: 1/1"),
    ("time = 3", r"time = 3; allowed is a table \[time\]"),
    ("title = 3", r"title = 3; allowed is text"),
    ("[pitch]\nhz = [200]", r"\[pitch\] hz = \[200\]; allowed is a list of 2"),
    ("[pitch]\nhz = [200, 'x']", r"\[pitch\] hz = 'x'; allowed is a number"),
    ("[pitch]\nscale = 'A tonic'", "'A tonic' is not a scale"),
    ("[pitch]\nrange = ['A7', 'E1']", "pitch.range .* allowed is a low note, then a higher one"),
    ("[pitch]\nrange = ['E1', 'H7']", "'H7' is not a note"),
    ("[pitch]\nreference = 'last'", "pitch.reference = 'last'; allowed is 'first' or a number"),
    ("[pitch]\nreference = -1.0", "pitch.reference = -1.0; allowed is 'first' or a number"),
    ("[pitch]\nreference = true", r"\[pitch\] reference = True; allowed is text or a number"),
    ("[voices]\nhome = ['C6', 'C3']", "voices.home .* allowed is a low note, then a higher one"),
    ("[voices]\nhome = ['C2', 'C6']", "leave .* eight doublings need 8 either way: widen"),
    ("[loudness]\nrange = [90, 20]", "loudness.range .* allowed is a low velocity"),
    ("[time]\nstyle = 'drums'\n[voices]\nkeys = []", "voices.keys .* allowed is one key at least"),
    ("[sound]\npartials = [1.0, 0.5]", "sound.decay .* allowed is one number a partial"),
    ("[sound]\nlimiter = 1", r"\[sound\] limiter = 1; allowed is true or false"),
    ("[time\n", "is not valid TOML"),
]


@pytest.mark.parametrize(("body", "message"), BAD)
def test_what_must_not_be_in_a_preset_is_refused_by_file_key_and_value(tmp_path, body, message):
    path = tmp_path / "mine.toml"
    title = "" if body.startswith("title") else 'title = "mine"\n'
    path.write_text(title + body)
    with pytest.raises(PresetError, match=message) as caught:
        load(path)
    assert "mine" in str(caught.value) or "'A tonic'" in message or "H7" in message


def test_a_preset_without_a_title_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[time]\ntempo = 100\n")
    with pytest.raises(PresetError, match=r"mine\.toml: title is missing"):
        load(path)


def test_home_notes_spread_over_the_scale_from_the_first_home_to_the_last():
    preset = load("pentatonic")
    assert preset.home_notes(4) == (57, 64, 72, 79)
    assert preset.home_notes(2) == (57, 76)
    even = load("pentatonic", {"voices.voicing": "even"})
    assert even.home_notes(4) == (45, 57, 67, 79)
    for count in range(1, 16):
        homes = preset.home_notes(count)
        assert list(homes) == sorted(homes)
        assert set(homes) <= set(preset.notes)
        assert len(set(homes)) == count


def test_a_number_may_stand_for_the_reference():
    preset = parse({"title": "t", "pitch": {"reference": 0.5}}, "mine", "mine.toml")
    assert preset.pitch.reference == 0.5


def test_slot_lengths_are_whole_ticks():
    assert load("pentatonic").time.slot_ticks(4) == 120
    classic = load("classic").time
    assert classic.slot_ticks(4) == 60
    assert classic.tick_seconds == pytest.approx(0.001, abs=1e-15)
