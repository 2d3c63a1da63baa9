import math
import re
import shlex
import socket
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_bundle import OscBundle
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from gradmidi.detection.kinds import KINDS
from gradmidi.errors import PortError
from gradmidi.midi.rig import Rig
from gradmidi.music.events import (
    BRIGHTNESS,
    FAULT_VOICE,
    Alarm,
    Bend,
    Control,
    End,
    Joined,
    Mark,
    Off,
    On,
    Step,
)
from gradmidi.music.voices import Voice
from gradmidi.sinks.osc import Osc, resolve
from gradmidi.sinks.oscmessage import Pace, fault_message, step_messages

FLOAT_MOST = 3.4028234663852886e38


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


class Ear:
    """A UDP socket of this machine, and what came in as (address, tags, arguments)."""

    def __init__(self, family=socket.AF_INET, host="127.0.0.1"):
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(10)
        self.port = self.socket.getsockname()[1]
        self.target = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def datagrams(self):
        """All that has come: on this machine, once `send` is back, it has."""
        found = []
        self.socket.setblocking(False)
        try:
            while True:
                found.append(self.socket.recv(65536))
        except BlockingIOError:
            return found

    def messages(self):
        return [heard(datagram) for datagram in self.datagrams()]


def heard(datagram):
    assert len(datagram) <= 1472
    # The type tags as they stand on the wire, and the arguments as another author reads them.
    start = (datagram.index(b"\0") // 4 + 1) * 4
    tags = datagram[start + 1 : datagram.index(b"\0", start)].decode("ascii")
    message = OscMessage(datagram)
    return message.address, tags, *message.params


@pytest.fixture
def ear():
    ear = Ear()
    yield ear
    ear.socket.close()


class Desk:
    def __init__(self, ear, voices=2, **options):
        self.ear = ear
        self.clock = Clock(50.0)
        if isinstance(voices, int):
            voices = [Voice(i, f"layer{i}", (i,)) for i in range(voices)]
        options = {"rig": Rig(), "run": "a run", "layers": len(voices)} | options
        self.sink = Osc(
            ear if isinstance(ear, str) else ear.target,
            clock=self.clock,
            voices=voices,
            **options,
        )

    def play(self, *events):
        self.sink.send(events)
        return self.ear.messages()


@pytest.fixture
def desk(ear):
    desk = Desk(ear)
    ear.messages()
    yield desk
    desk.sink.close()


def test_the_start_sends_the_run_and_then_each_voice(ear):
    voices = [Voice(0, "conv1", (0,)), Voice(1, "blocks.0-3", (1, 2, 3, 4))]
    pace = Pace(90.0, 0.25, "hold")
    desk = Desk(ear, run="entrée", voices=voices, layers=5, rig=Rig(channels="3,4"), pace=pace)
    assert ear.messages() == [
        ("/gradmidi/start", "sii", "entree", 2, 5),
        ("/gradmidi/preset", "sff", "hold", 90.0, 0.25),
        ("/gradmidi/voice", "isii", 0, "conv1", 3, 1),
        ("/gradmidi/voice", "isii", 1, "blocks.0-3", 4, 4),
    ]
    desk.sink.close()


def test_the_voices_are_sent_again_every_few_seconds(desk):
    desk.clock.now += 4.9
    assert desk.play() == []
    desk.clock.now += 0.2
    assert [message[:3] for message in desk.play()] == [
        ("/gradmidi/preset", "sff", "pentatonic"),
        ("/gradmidi/voice", "isii", 0),
        ("/gradmidi/voice", "isii", 1),
    ]
    assert desk.play() == []


def test_values_are_sent_with_their_names_and_new_ones_get_a_voice(desk):
    step = Step(0, 7, 1.5, (), (), 2.25, (("loss", 2.25), ("entrée", -0.5)))
    assert desk.play(Joined(0, 2, "val_loss", 0), step) == [
        ("/gradmidi/voice", "isii", 2, "val_loss", 3, 0),
        ("/gradmidi/step", "if", 7, 1.5),
        ("/gradmidi/loss", "f", 2.25),
        ("/gradmidi/value", "sif", "loss", 7, 2.25),
        ("/gradmidi/value", "sif", "entree", 7, -0.5),
        ("/gradmidi/norms", ""),
        ("/gradmidi/level", ""),
    ]
    desk.clock.now += 5.1
    assert [message[2:4] for message in desk.play() if "voice" in message[0]] == [
        (0, "layer0"),
        (1, "layer1"),
        (2, "val_loss"),
    ]


def test_a_step_is_sent_with_loss_norms_and_levels(desk):
    assert desk.play(Step(0, 7, 1.5, (0.5, 2.0), (0.25, 0.75), 2.25)) == [
        ("/gradmidi/step", "if", 7, 1.5),
        ("/gradmidi/loss", "f", 2.25),
        ("/gradmidi/norms", "ff", 0.5, 2.0),
        ("/gradmidi/level", "ff", 0.25, 0.75),
    ]


def test_without_a_loss_none_is_sent(desk):
    addresses = [message[0] for message in desk.play(Step(0, 1, 0.0, (1.0, 1.0), (0, 0)))]
    assert addresses == ["/gradmidi/step", "/gradmidi/norms", "/gradmidi/level"]


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_sent_as_a_text(desk, loss):
    sent = desk.play(Step(0, 1, 0.0, (1.0, 1.0), (0, 0), loss))
    assert [message[0] for message in sent] == [
        "/gradmidi/step",
        "/gradmidi/norms",
        "/gradmidi/level",
        "/gradmidi/notfinite",
    ]
    assert sent[3] == ("/gradmidi/notfinite", "ss", "loss", str(loss))


def test_a_value_that_is_not_finite_is_sent_as_a_text_and_a_loss_once(desk):
    values = (("loss", math.nan), ("val/acc", math.inf), ("lr", 0.5))
    sent = desk.play(Step(0, 7, 0.0, (1.0, 1.0), (0, 0), math.nan, values))
    assert [message for message in sent if message[0].startswith("/gradmidi/not")] == [
        ("/gradmidi/notfinite", "ss", "loss", "nan"),
        ("/gradmidi/notfinite", "ss", "val/acc", "inf"),
    ]
    assert [message for message in sent if message[0] == "/gradmidi/value"] == [
        ("/gradmidi/value", "sif", "lr", 7, 0.5)
    ]


def test_a_fault_of_a_logged_value_is_sent_with_its_name(desk):
    assert desk.play(Alarm(0, "nan", "", 31, math.nan, logged="val/acc")) == [
        ("/gradmidi/fault", "ssif", "nan", "val/acc", 31, 0.0)
    ]


def test_a_note_starts_with_its_velocity_and_ends_with_none(desk):
    assert desk.play(On(0, 1, 60, 80, 60.25, 0.5)) == [
        ("/gradmidi/note", "iffif", 1, 60.25, 0.0, 80, 0.5)
    ]
    assert desk.play(Off(9, 1, 60)) == [("/gradmidi/note", "iffif", 1, 60.25, 0.0, 0, 0.5)]
    assert desk.play(Off(9, 1, 60)) == []


def test_each_of_two_notes_on_a_key_has_its_end(desk):
    notes = desk.play(
        On(0, 0, 60, 80, 60.0, 0.5), On(1, 0, 60, 80, 60.25, 1.0), Off(2, 0, 60), Off(3, 0, 60)
    )
    assert [(pitch, velocity) for _, _, _, pitch, _, velocity, _ in notes] == [
        (60.0, 80),
        (60.25, 80),
        (60.0, 0),
        (60.25, 0),
    ]


def test_a_fault_a_mark_and_the_end_are_sent(desk):
    assert desk.play(
        Alarm(0, "spike", "fc1", 30, 8.5),
        Alarm(0, "nan", "fc1", 31, math.nan),
        Alarm(0, "stalled", "", 32, math.inf),
        Mark(0, "époque 2"),
        Mark(0, "gradmidi {}", 0),
        End(0, 40, 4.5),
    ) == [
        ("/gradmidi/fault", "ssif", "spike", "fc1", 30, 8.5),
        ("/gradmidi/fault", "ssif", "nan", "fc1", 31, 0.0),
        ("/gradmidi/fault", "ssif", "stalled", "", 32, 0.0),
        ("/gradmidi/mark", "s", "epoque 2"),
        ("/gradmidi/stop", "if", 40, 4.5),
    ]


def test_what_is_for_midi_alone_is_passed_over(desk):
    assert (
        desk.play(
            Control(0, 0, BRIGHTNESS, 3),
            Bend(0, 0, 1.0),
            On(0, FAULT_VOICE, 37, 80, 37.0, sound="nan"),
            Off(0, FAULT_VOICE, 37),
        )
        == []
    )


@given(
    step=st.integers(-(2**31), 2**31 - 1),
    seconds=st.floats(width=32, allow_nan=False, allow_infinity=False),
    norms=st.lists(st.floats(0, width=32, allow_infinity=False), max_size=60),
    layer=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
)
def test_every_byte_is_as_another_author_encodes_it(step, seconds, norms, layer):
    sent = [
        *step_messages(Step(0, step, seconds, tuple(norms), ())),
        fault_message(Alarm(0, "spike", layer, step, seconds)),
    ]
    assert sent == [
        built("/gradmidi/step", "if", step, seconds),
        built("/gradmidi/norms", "f" * len(norms), *norms),
        built("/gradmidi/level", ""),
        built("/gradmidi/fault", "ssif", "spike", layer, step, seconds),
    ]


def built(address, tags, *values):
    builder = OscMessageBuilder(address)
    for tag, value in zip(tags, values, strict=True):
        builder.add_arg(value, tag)
    return builder.build().dgram


def test_numbers_are_kept_within_what_their_tags_hold(desk):
    step, *_, norms, _ = desk.play(Step(0, 2**40, math.inf, (1e300, -0.0), (math.nan, 1.0), 1e-300))
    assert step == ("/gradmidi/step", "if", 2**31 - 1, 0.0)
    assert norms == ("/gradmidi/norms", "ff", FLOAT_MOST, 0.0)


def test_every_datagram_fits_a_frame_however_many_voices_and_however_long_the_names(ear):
    voices = [Voice(i, "x" * 5000, (i,)) for i in range(400)]
    desk = Desk(ear, voices=voices[:3], run="r" * 5000)
    desk.play(Mark(0, "m" * 5000), Alarm(0, "spike", "f" * 5000, 1, 1.0))
    *_, norms, level = desk.play(Step(0, 1, 0.0, (1.0,) * 400, (1.0,) * 400))
    assert len(norms) == len(level) == 2 + 256
    desk.sink.close()


def test_close_ends_what_sounds_says_stop_once_and_drops_what_comes_after(desk):
    desk.play(Step(0, 7, 1.5, (1.0, 1.0), (0.0, 0.0)), On(0, 0, 60, 80, 60.0, 1.0))
    desk.sink.close()
    desk.sink.close()
    assert desk.ear.messages() == [
        ("/gradmidi/note", "iffif", 0, 60.0, 0.0, 0, 1.0),
        ("/gradmidi/stop", "if", 7, 1.5),
    ]
    assert desk.play(On(0, 0, 60, 80, 60.0, 1.0)) == []
    assert desk.sink.counters.dropped == 1


def test_a_piece_that_said_it_is_over_does_not_say_so_again_at_close(desk):
    desk.play(End(0, 4, 2.0))
    desk.sink.close()
    assert desk.ear.messages() == []


def test_silence_ends_every_note(desk):
    desk.play(On(0, 0, 60, 80, 60.0, 1.0), On(0, 1, 60, 80, 60.0, 1.0))
    desk.sink.silence()
    assert [(m[2], m[5]) for m in desk.ear.messages()] == [(0, 0), (1, 0)]
    assert desk.play(Off(0, 0, 60)) == []


def test_time_tags_are_ahead_by_what_was_asked_and_bundles_fit_a_frame(ear):
    desk = Desk(ear, voices=60, timetags=0.25, wall=Clock(1000.5))
    datagrams = ear.datagrams()
    assert 1 < len(datagrams) < 5
    found = []
    for datagram in datagrams:
        assert len(datagram) <= 1472
        assert datagram[:8] == b"#bundle\0"
        # NTP counts from 1900 (RFC 868: 2,208,988,800 seconds before 1970), in 2^-32 s.
        assert struct.unpack(">Q", datagram[8:16])[0] == round((2208988800 + 1000.75) * 2**32)
        found += [message.address for message in OscBundle(datagram)]
    assert found == ["/gradmidi/start", "/gradmidi/preset", *["/gradmidi/voice"] * 60]
    assert desk.sink.counters.sent == 62
    desk.sink.close()


def test_ipv6_is_spoken_where_it_is_asked_for():
    try:
        ear = Ear(socket.AF_INET6, "::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    try:
        desk = Desk(ear)
        assert ear.messages()[0][0] == "/gradmidi/start"
        desk.sink.close()
    finally:
        ear.socket.close()


def test_the_manual_has_a_row_for_every_address_with_an_example_that_is_really_sent(ear):
    voices = [Voice(0, "conv1", (0,)), Voice(1, "fc1", (1, 2, 3, 4))]
    desk = Desk(ear, run="digits", voices=voices, layers=5)
    sent = ear.messages()
    sent += desk.play(
        Step(0, 120, 4.5, (0.5, 2.0), (0.25, 0.75), 2.25, (("val_acc", 0.75),)),
        Step(0, 120, 4.5, (0.5, 2.0), (0.25, 0.75), math.nan),
        On(0, 1, 60, 80, 60.25, 2.0),
        Alarm(0, "spike", "fc1", 121, 8.5),
        Mark(0, "epoch 2"),
    )
    desk.clock.now += 0.5
    desk.sink.keep_alive()
    sent += desk.play(End(0, 200, 7.25))
    desk.sink.close()
    text = (Path(__file__).parents[2] / "docs" / "osc.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(/gradmidi/\w+)` \| `(\S+)` \| .* \| `(\S+ ?.*?)` \|$", text, re.M)
    assert [row[0] for row in rows] == list(dict.fromkeys(message[0] for message in sent))
    assert all(f"`{kind}`" in text for kind in KINDS)
    examples = {}
    for address, tags, example in rows:
        word, *values = shlex.split(example)
        # A long text of several words is one argument.
        values = [" ".join(values)] if tags == "s" else values
        assert word == address
        examples[address] = (tags.replace("f…", "f" * len(values)), *values)
    for address, tags, *values in sent:
        if address == "/gradmidi/voice" and values[0] != 1:
            continue
        assert examples[address] == (tags, *map(str, values))


def test_alive_is_sent_twice_a_second_until_the_end(desk):
    desk.play(On(0, 0, 60, 80, 60.0, 1.0))
    heard = []
    for _ in range(16):
        desk.clock.now += 0.125
        desk.sink.keep_alive()
        heard += desk.ear.messages()
    assert heard == [("/gradmidi/alive", "i", 1)] * 4
    desk.play(Off(0, 0, 60), End(0, 4, 2.0))
    desk.clock.now += 1.0
    desk.sink.keep_alive()
    assert desk.ear.messages() == []


# -- trouble ------------------------------------------------------------------------------------


def test_a_missing_receiver_is_counted_and_reported_once_and_a_late_one_gets_the_rest(said, ear):
    ear.socket.close()
    desk = Desk(ear)
    desk.sink.send([Mark(0, "lost")])
    assert desk.sink.counters.errors > 0
    assert said == [f"OSC to {ear.target}: no program listens there yet; everything else continues"]
    late = Ear()
    late.socket.close()
    late.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    late.socket.bind(("127.0.0.1", ear.port))
    try:
        desk.sink.send([Mark(0, "heard"), Mark(0, "heard too")])
        assert [message[2] for message in late.messages()] == ["heard", "heard too"]
    finally:
        late.socket.close()
        desk.sink.close()


def test_a_host_the_system_does_not_send_to_is_counted_and_reported_once(said):
    # A link-local address needs the name of a network interface.
    desk = Desk("[fe80::1]:57120")
    desk.sink.send([Mark(0, "a")])
    desk.sink.close()
    assert desk.sink.counters.sent == 0
    assert desk.sink.counters.errors == 6
    (line,) = said
    assert line == "OSC to [fe80::1]:57120: Invalid argument; everything else continues"


def test_a_full_socket_drops_counts_and_reports_once(said, ear):
    desk = Desk(ear)
    # A pair of local sockets fills up where nobody reads; UDP on one machine does not.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    desk.sink._socket.close()
    desk.sink._socket = ours
    before = desk.sink.counters.sent
    try:
        for _ in range(5000):
            desk.sink.send([Mark(0, "m")])
        sent = desk.sink.counters.sent - before
        assert 0 < sent < 5000
        assert desk.sink.counters.dropped == 5000 - sent
        assert "its buffer is full" in said[0]
        assert len(said) == 1
    finally:
        theirs.close()
        desk.sink.close()


# -- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("127.0.0.1:57120", ("127.0.0.1", 57120)),
        ("57120", ("127.0.0.1", 57120)),
        (":9000", ("127.0.0.1", 9000)),
        ("localhost:9000", ("127.0.0.1", 9000)),
        ("[::1]:9000", ("::1", 9000, 0, 0)),
        ("10.0.0.7:65535", ("10.0.0.7", 65535)),
    ],
)
def test_addresses_are_read_as_people_write_them(target, found):
    assert resolve(target)[1] == found


@pytest.mark.parametrize(
    "target", ["", "localhost", "host:", "host:0", "host:65536", "host:osc", "::1:9000", "host:٣"]
)
def test_what_is_no_address_is_refused_with_how_to_write_one(target):
    with pytest.raises(PortError, match=r"is not an OSC address; write HOST:PORT, as 127\.0\.0\.1"):
        resolve(target)


def test_a_host_that_is_not_there_is_named():
    with pytest.raises(PortError, match=r"no host 'gradmidi\.invalid' was found"):
        resolve("gradmidi.invalid:9000")
    with pytest.raises(PortError, match=r"no host 'x{64}' was found"):
        resolve("x" * 64 + ":9000")


@pytest.mark.skipif(sys.platform != "linux", reason="the loopback device has a broadcast address")
def test_a_broadcast_address_reaches_each_program_that_listens():
    ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        ear.bind(("", 0))
        ear.settimeout(10)
        target = f"127.255.255.255:{ear.getsockname()[1]}"
        osc = Osc(target, Rig(), "a", [Voice(0, "fc1", (0,))], 1)
        osc.close()
        assert ear.recv(2048).startswith(b"/gradmidi/start")
        assert osc.counters.errors == 0
    finally:
        ear.close()
