import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradmidi.errors import PresetError
from gradmidi.midi.numbers import place
from gradmidi.midi.rig import Rig, channel_list, load

DOC = Path(__file__).parents[2] / "docs" / "rig.md"


def rig_file(folder, body):
    path = folder / "studio.toml"
    path.write_text(body)
    return path


def test_a_rig_of_its_own_puts_fifteen_voices_where_the_midi_file_has_them():
    rig = Rig(ports=("a", "b"))
    assert [rig.place(voice) for voice in range(30)] == [place(voice) for voice in range(30)]
    assert rig.fault_place == (0, 10)


CONTROLLERS = """
notes = false
mirror = true
cc = { level = 20, "val/acc" = 21, fault = 60 }
cc_fine = ["level"]
cc_channel = 5
"""


def test_every_key_is_read_from_toml(tmp_path):
    path = rig_file(
        tmp_path,
        """
        ports = ["Digitone", "virtual:more"]
        channels = "1-4,6"
        faults = "off"
        programs = true
        pan = true
        bend_range = 12
        din_limit = 900
        clock = "Clock In"
        link = true
        """,
    )
    path.write_text(path.read_text() + CONTROLLERS)
    rig = Rig(
        ("Digitone", "virtual:more"),
        "1-4,6",
        "off",
        True,
        True,
        12,
        900,
        "Clock In",
        link=True,
        notes=False,
        mirror=True,
        cc={"level": 20, "val/acc": 21, "fault": 60},
        cc_fine=("level",),
        cc_channel=5,
    )
    assert load(path) == load(str(path)) == rig
    assert load(rig) is rig
    assert load() == Rig()


def test_options_win_over_the_file_and_none_is_no_option(tmp_path):
    path = rig_file(tmp_path, 'ports = ["Digitone"]\nchannels = "1-4"\nfaults = 16\n')
    rig = load(path, {"ports": ["Volca"], "channels": None, "din_limit": 900})
    assert rig == Rig(ports=("Volca",), channels="1-4", faults=16, din_limit=900)
    assert load(path, {"ports": None}) == load(path)


BAD = [
    ("port = ['x']", "unknown key 'port'; there are: ports, channels, faults"),
    ("ports = 'x'", "ports = 'x'; allowed is a list"),
    ("ports = ['x', 'y', 'x']", r"ports = \['x', 'y', 'x'\]; allowed is each port once"),
    ("ports = [1]", "ports = 1; allowed is text"),
    ("channels = 4.5", "channels = 4.5; allowed is text"),
    ("channels = '0-4'", "channels = '0-4'; allowed are channels 1 to 16"),
    ("channels = '1-17'", "channels = '1-17'; allowed are channels 1 to 16"),
    ("channels = '4-1'", "channels = '4-1'; allowed are channels 1 to 16"),
    ("channels = '1,,2'", "channels = '1,,2'; allowed are channels 1 to 16"),
    ("channels = '٣'", "allowed are channels 1 to 16"),
    ("channels = '10'", "channels = '10' leaves no channel .* faults have channel 10"),
    ("faults = 0", "faults = 0; allowed is 1 to 16"),
    ("faults = 'no'", "faults = 'no'; allowed is a channel, 1 to 16, or 'off'"),
    ("faults = true", "faults = True; allowed is a whole number or text"),
    ("programs = 1", "programs = 1; allowed is true or false"),
    ("bend_range = 25", "bend_range = 25; allowed is 1 to 24"),
    ("din_limit = -1", "din_limit = -1; allowed is 0 to 10000"),
    ("clock = 1", "clock = 1; allowed is true or false or text"),
    ("[channels", "is not valid TOML"),
    ("cc = 20", "cc = 20; allowed is a table of names and numbers"),
    ("cc = {level = 'x'}", "cc.level = 'x'; allowed is a whole number"),
    ("cc = {level = 120}", "cc.level = 120; allowed is 1 to 119"),
    ("cc = {level = 0}", "cc.level = 0; allowed is 1 to 119"),
    ("cc = {level = 74}", "cc.level = 74: controller 74 has another meaning; allowed is 1 to 119"),
    ("cc = {level = 6}\ncc_fine = ['level']", "controller 6 has another meaning"),
    ("cc = {loss = 21, lr = 21}", "cc.loss and cc.lr both have controller 21; give one of them"),
    ("cc = {level = 20, loss = 52}\ncc_fine = ['level']", "both have controller 52"),
    ("cc = {level = 32}\ncc_fine = ['level']", "cc.level = 32 with 14 bits; allowed is 1 to 31"),
    ("cc = {level = 20}\ncc_fine = ['loss']", "cc_fine = 'loss'; allowed are names in cc"),
    ("cc = {loss = 20}\ncc_channel = 10", "cc_channel = 10 is the channel of the faults; give"),
    ("cc = {loss = 20}\nchannels = 16", "no channel .* faults have channel 10 and values have"),
    ("cc_channel = 17", "cc_channel = 17; allowed is 1 to 16"),
]


@pytest.mark.parametrize(("body", "message"), BAD)
def test_what_must_not_be_in_a_rig_is_refused_by_file_key_and_value(tmp_path, body, message):
    with pytest.raises(PresetError, match=message) as caught:
        load(rig_file(tmp_path, body))
    assert "studio.toml" in str(caught.value)


def test_a_wrong_option_is_refused_as_an_option():
    with pytest.raises(PresetError, match=r"^option bend_range = 99; allowed is 1 to 24"):
        load(options={"bend_range": 99})
    with pytest.raises(PresetError, match=r"^option channels = 'x'; allowed are channels"):
        load(options={"channels": "x"})
    with pytest.raises(PresetError, match=r"^option unknown key 'prots'; there are: ports"):
        load(options={"prots": ["x"]})


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PresetError, match=r"gone\.toml cannot be read: No such file"):
        load(tmp_path / "gone.toml")


def test_a_channel_given_twice_has_two_voices():
    rig = Rig(channels="1,1,2")
    assert [rig.place(voice) for voice in range(4)] == [(0, 1), (0, 1), (0, 2), (0, 1)]


def test_faults_that_are_off_leave_all_sixteen_channels_to_voices():
    rig = Rig(faults="off")
    assert rig.fault_place is None
    assert [rig.place(voice) for voice in range(16)] == [(0, c) for c in range(1, 17)]


@given(
    channels=st.lists(st.integers(1, 16), min_size=1, max_size=20),
    ports=st.integers(1, 4),
    voice=st.integers(0, 200),
)
def test_every_voice_has_a_port_and_never_the_channel_of_faults(channels, ports, voice):
    faults = 10 if set(channels) != {10} else 11
    text = ",".join(map(str, channels))
    assert channel_list(text) == tuple(channels)
    rig = Rig(ports=tuple(map(str, range(ports))), channels=text, faults=faults)
    port, channel = rig.place(voice)
    assert 0 <= port < ports
    assert channel in channels
    assert channel != faults


def test_the_manual_lists_every_key_with_its_default_and_meaning():
    text = DOC.read_text(encoding="utf-8")
    for declared in dataclasses.fields(Rig):
        row = next(line for line in text.splitlines() if line.startswith(f"| `{declared.name}` |"))
        assert declared.metadata["doc"] in row
        default = getattr(Rig(), declared.name)
        written = {"()": "[]", "False": "false", "True": "true"}
        shown = written.get(str(default), str(default))
        assert f"`{shown}`" in row


def test_values_as_controllers_have_a_channel_that_no_voice_has():
    assert Rig(cc={"level": 20}).voice_channels[-1] == 16
    assert Rig(cc={"level": 20}).value_place is None
    rig = Rig(cc={"level": 20, "loss": 21}, cc_channel=2)
    assert rig.voice_channels[:3] == (1, 3, 4)
    assert rig.value_place == (0, 2)


def test_a_mirror_has_every_voice_on_every_port():
    rig = Rig(ports=("a", "b"), channels="1-2", mirror=True)
    assert [rig.mirrored(rig.place(voice)) for voice in range(3)] == [
        ((0, 1), (1, 1)),
        ((0, 2), (1, 2)),
        ((0, 1), (1, 1)),
    ]
    assert Rig(ports=("a", "b")).mirrored((1, 3)) == ((1, 3),)


def test_one_channel_may_be_a_number(tmp_path):
    path = tmp_path / "rig.toml"
    path.write_text("channels = 3\n")
    assert load(path).voice_channels == (3,)
    assert load(options={"channels": 3}).voice_channels == (3,)
