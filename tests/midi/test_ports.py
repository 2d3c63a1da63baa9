"""Finding MIDI ports by name, and silencing one."""

import sys
from types import ModuleType

import pytest

from gradmidi.errors import PortError
from gradmidi.midi.backends import match
from gradmidi.midi.ports import names, open_output, panic

ALSA = ["Midi Through:Midi Through Port-0 14:0", "FLUID Synth (12):Synth input port (12:0) 128:0"]
WINDOWS = ["Microsoft GS Wavetable Synth 0", "loopMIDI Port 1 1", "loopMIDI Port 10 2"]


@pytest.mark.parametrize(
    ("wanted", "systems", "found"),
    [
        ("loopMIDI Port 1", [WINDOWS], (0, 1)),
        ("loopmidi port 1", [WINDOWS], (0, 1)),
        ("loopMIDI Port 10", [WINDOWS], (0, 2)),
        ("Wavetable", [WINDOWS], (0, 0)),
        ("FLUID Synth (12):Synth input port (12:0)", [ALSA], (0, 1)),
        ("fluid", [ALSA], (0, 1)),
        ("fs:midi", [ALSA, ["fs:midi"]], (1, 0)),
        ("synth", [ALSA, ["synth"]], (1, 0)),
        ("synth", [ALSA, ["mysynth"]], (0, 1)),
        ("Port", [["Port", "port", "Port 2"]], (0, 0)),
        ("fighter", [["IAC Driver Bus 1", None, "Midi Fighter"]], (0, 2)),
        ("unnamed", [["IAC Driver Bus 1", None, "Midi Fighter"]], (0, 1)),
    ],
)
def test_a_port_is_found_exactly_then_in_any_case_then_by_a_part(wanted, systems, found):
    assert match(wanted, systems) == found


@pytest.mark.parametrize(
    ("wanted", "systems", "message"),
    [
        ("Volca", [ALSA], "no MIDI output matches 'Volca'; there are: 'Midi Through:.*FLUID"),
        ("Volca", [[], []], "no MIDI output matches 'Volca'; there is none;"),
        (
            "loopMIDI",
            [WINDOWS],
            "matches 2 MIDI outputs: 'loopMIDI Port 1 1', 'loopMIDI Port 10 2'",
        ),
        ("", [["only"]], "no MIDI output matches ''; there are: 'only'"),
        ("Volca", [[None, "Bus"]], r"there are: '\(unnamed\)', 'Bus'"),
        ("Twin", [["Twin", "Twin"]], "matches 2 MIDI outputs: .* rename one of them"),
    ],
)
def test_a_port_that_is_not_one_is_refused_with_those_there_are(wanted, systems, message):
    with pytest.raises(PortError, match=message):
        match(wanted, systems)


def test_without_virtual_ports_windows_users_are_told_what_to_install(monkeypatch):
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(PortError, match="install loopMIDI, make a port in it and give its name"):
        match("virtual", [WINDOWS])
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(PortError, match="virtual:gradmidi opens a virtual one"):
        match("Volca", [["IAC Bus 1"]])


class FakeRtmidi(ModuleType):
    """A MIDI system with ports of the names given, as python-rtmidi lists them."""

    API_RTMIDI_DUMMY = 5
    RtMidiError = RuntimeError

    def __init__(self, ports):
        super().__init__("rtmidi")
        self.ports = ports
        self.opened = None

    def get_compiled_api(self):
        return [1]

    def get_api_display_name(self, _api):
        return "CoreMIDI"

    def MidiOut(self, _api, name):  # noqa: N802 - python-rtmidi's name
        return self

    def get_ports(self):
        return self.ports

    def open_port(self, index, _name):
        self.opened = index

    def delete(self):
        pass

    def send_message(self, message):
        pass


def test_a_port_without_a_name_is_listed_and_hinders_no_other(monkeypatch):
    # python-rtmidi#21, thestk/rtmidi#115
    system = FakeRtmidi(["IAC Driver Bus 1", None, "Midi Fighter"])
    monkeypatch.setitem(sys.modules, "rtmidi", system)
    assert names() == ("IAC Driver Bus 1", "(unnamed)", "Midi Fighter")
    for wanted, index, name in (("fighter", 2, "Midi Fighter"), ("(unnamed)", 1, "(unnamed)")):
        output = open_output(wanted)
        assert (system.opened, output.name) == (index, name)
        output.close()


class FakeRtmidi2(ModuleType):
    """rtmidi2, as it was seen on Linux: JACK without a server has no ports and raises nothing."""

    API_LINUX_ALSA, API_MACOSX_CORE, API_UNIX_JACK, API_WINDOWS_MM = 1, 2, 3, 4

    def __init__(self):
        super().__init__("rtmidi2")
        self.sent = []
        self.closed = 0

    def MidiOut(self, name, *, api):  # noqa: N802 - rtmidi2's name
        if api == self.API_LINUX_ALSA:
            raise RuntimeError("error creating ALSA sequencer client object")
        self.ports = ["Bus 1"] if api == self.API_MACOSX_CORE else []
        return self

    def open_port(self, index):
        self.sent.append(("open", index))

    def send_raw(self, *message):
        self.sent.append(message)

    def close_port(self):
        self.closed += 1


@pytest.fixture
def rtmidi2(monkeypatch):
    module = FakeRtmidi2()
    monkeypatch.setitem(sys.modules, "rtmidi", None)
    monkeypatch.setitem(sys.modules, "rtmidi2", module)
    return module


def test_rtmidi2_plays_where_python_rtmidi_is_not_installed(rtmidi2, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert names() == ("Bus 1",)
    output = open_output("bus")
    output.send((0x90, 60, 80))
    output.close()
    with pytest.raises(PortError, match="is closed"):
        output.send((0x90, 61, 80))
    assert rtmidi2.sent == [("open", 0), (0x90, 60, 80)]
    assert rtmidi2.closed == 2


@pytest.mark.skipif(sys.platform != "linux", reason="of JACK on Linux")
def test_rtmidi2_without_a_midi_system_is_one_line(rtmidi2):
    with pytest.raises(PortError, match=r"no MIDI system answers \(tried: ALSA(, JACK)?\); load"):
        names()


def test_without_either_library_the_error_names_both(monkeypatch):
    for name in ("rtmidi", "rtmidi2"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PortError, match="live MIDI needs python-rtmidi or rtmidi2: pip install"):
        names()


class Tape:
    """A port that keeps what it is sent."""

    def __init__(self):
        self.messages = []

    def send(self, message):
        self.messages.append(tuple(message))


def test_panic_ends_every_key_of_every_channel_at_the_speed_of_a_cable():
    tape, slept = Tape(), []
    panic(tape, slept.append)
    assert tape.messages[:3] == [(0xB0, 64, 0), (0xB0, 123, 0), (0xB0, 120, 0)]
    assert set(tape.messages[48:]) == {
        (0x80 | channel, key, 64) for channel in range(16) for key in range(128)
    }
    assert len(tape.messages) == 48 + 2048
    assert sum(slept) >= 2048 * 3 * 10 / 31250
