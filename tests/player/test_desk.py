"""Commands by OSC: what they do, and that everything else does nothing."""

import socket
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listening import Receiver, until
from logs import write_log
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from gradmidi.errors import PortError
from gradmidi.player.desk import Desk, command, messages


def built(address, *arguments):
    builder = OscMessageBuilder(address)
    for each in arguments:
        builder.add_arg(each)
    return builder.build()


def bundled(*contents):
    builder = OscBundleBuilder(IMMEDIATELY)
    for each in contents:
        builder.add_content(each)
    return builder.build()


def test_messages_of_another_author_are_read_with_all_their_types():
    message = built("/gradmidi/mute", 3, "fc1", 0.5, True, False)
    assert list(messages(message.dgram)) == [("/gradmidi/mute", [3, "fc1", 0.5, True, False])]
    inner = bundled(message, built("/gradmidi/panic"))
    assert [address for address, _ in messages(bundled(inner, message).dgram)] == [
        "/gradmidi/mute",
        "/gradmidi/panic",
        "/gradmidi/mute",
    ]


@pytest.mark.parametrize(
    ("address", "arguments", "found"),
    [
        ("mute", [], {"do": "mute", "voice": None, "on": None}),
        ("mute", [2], {"do": "mute", "voice": 2, "on": None}),
        ("mute", ["fc1", 0], {"do": "mute", "voice": "fc1", "on": False}),
        ("mute", [2, "fc1", 1], {"do": "mute", "voice": 2, "on": True}),
        ("mute", [1.0], {"do": "mute", "voice": None, "on": True}),
        ("mute", [False], {"do": "mute", "voice": None, "on": False}),
        ("solo", [2, 1.0], {"do": "solo", "voice": 2, "on": True}),
        ("level", [-6], {"do": "level", "voice": None, "to": -6.0}),
        ("level", [1, -6], {"do": "level", "voice": 1, "to": -6.0}),
        ("level", [1, "fc1", 0.5], {"do": "level", "voice": 1, "to": 0.5}),
        ("level", ["fc1", 3], {"do": "level", "voice": "fc1", "to": 3.0}),
        ("level", ["loud"], None),
        ("level", [True], None),
        ("level", [1, 2, 3], None),
        ("panic", [], {"do": "panic"}),
        ("preset", ["hold"], {"do": "preset", "name": "hold"}),
        ("preset", [], None),
        ("preset", [1], None),
        ("preset", ["hold", 120.0, 0.125], None),
        ("query", [], {"do": "query"}),
        ("query", [1], None),
        ("mute", [1, 2, 3], None),
        ("mute", [1.0, "fc1"], None),
        ("level", [], None),
        ("stop", [], None),
        ("run", ["name"], None),
    ],
)
def test_an_address_and_its_arguments_make_one_command_or_none(address, arguments, found):
    assert command(f"/gradmidi/{address}", arguments) == found
    assert command(f"/other/{address}", arguments) is None


SEEDS = [
    built("/gradmidi/mute", 3, "fc1", True).dgram,
    bundled(built("/gradmidi/level", 1.0), built("/gradmidi/panic")).dgram,
]


@given(
    seed=st.sampled_from(SEEDS),
    cut=st.integers(0, 80),
    changes=st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=8)), max_size=4),
    more=st.binary(max_size=64),
)
def test_hostile_datagrams_raise_nothing(seed, cut, changes, more):
    data = bytearray(seed[: len(seed) - cut % len(seed)])
    for place, other in changes:
        data[place : place + len(other)] = other
    for address, arguments in messages(bytes(data) + more):
        assert isinstance(command(address, arguments), dict | None)


@pytest.mark.parametrize("data", [b"", b"#bundle\0", b"#bundle\0" * 8000, b"/" * 65507, bytes(9)])
def test_datagrams_that_are_nothing_hold_nothing(data):
    assert list(messages(data)) == []


def test_bundles_in_bundles_end_somewhere():
    data = built("/gradmidi/panic").dgram
    for _ in range(2000):
        data = b"#bundle\0" + bytes(8) + len(data).to_bytes(4, "big") + data
    assert list(messages(data)) == []


@pytest.fixture
def desk():
    now = [100.0]
    desk = Desk(free_place(), clock=lambda: now[0])
    desk.now = now
    yield desk
    desk.close()


def free_place():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_desk_is_reached_from_this_machine_only_unless_a_host_is_given(desk):
    assert desk._socket.getsockname()[0] == "127.0.0.1"
    every = Desk(f"0.0.0.0:{free_place()}")
    assert every._socket.getsockname()[0] == "0.0.0.0"
    every.close()
    with pytest.raises(PortError, match=r"commands by OSC: '\d+' cannot be opened: .*give another"):
        Desk(str(desk.port))
    with pytest.raises(PortError, match="is not an OSC address"):
        Desk("nowhere:x")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
def test_what_is_sent_to_another_address_of_this_machine_does_not_reach_a_desk(desk):
    every = Desk(f"0.0.0.0:{free_place()}")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for each in (desk, every):
                sender.sendto(built("/gradmidi/panic").dgram, ("127.0.0.2", each.port))
        until(lambda: every.commands() == [{"do": "panic"}], "a command from elsewhere")
        assert desk.commands() == []
    finally:
        every.close()


def test_a_query_is_answered_to_its_sender_and_a_flood_of_them_once(desk):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(2.0)
        for _ in range(20):
            asker.sendto(built("/gradmidi/query").dgram, ("127.0.0.1", desk.port))
        found = []
        until(lambda: found.extend(desk.commands()) or len(found) == 20, "twenty queries")
        for _ in found:
            desk.answer([b"one", b"two"])
        assert [asker.recv(99), asker.recv(99)] == [b"one", b"two"]
        asker.settimeout(0.05)
        with pytest.raises(TimeoutError):
            asker.recv(99)


@pytest.mark.slow
def test_a_running_player_obeys_a_desk_and_survives_a_storm(tmp_path):
    run = write_log(tmp_path / "a", [[1.0, 2.0, 3.0, 4.0]] * 400)
    receiver, place = Receiver(), free_place()
    words = ["play", run, "--osc", receiver.target, "--osc-in", place, "--preset", "hold"]
    player = subprocess.Popen(
        [sys.executable, "-m", "gradmidi", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    desk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    desk.settimeout(5.0)

    def send(*message):
        desk.sendto(built(*message).dgram, ("127.0.0.1", int(place)))

    def voices():
        return {voice for voice, _ in receiver.sounding}

    try:
        until(lambda: voices() == {0, 1, 2, 3}, "four notes")
        send("/gradmidi/mute", "fc1", 1)
        until(lambda: voices() == {0, 1, 3}, "fc1 muted")
        send("/gradmidi/solo", 1)
        until(lambda: voices() == {1}, "a solo")
        send("/gradmidi/level", "fc1", -6.0)
        send("/gradmidi/query")
        answer = []
        while not answer or answer[-1].params != [0.0]:
            answer.append(OscMessage(desk.recv(4096)))
        assert answer[0].address == "/gradmidi/start"
        assert answer[0].params == ["a", 4, 4]
        assert answer[1].address == "/gradmidi/preset"
        assert answer[1].params[:2] == ["hold", 120.0]
        assert [m.params for m in answer if m.address == "/gradmidi/mute"] == [
            [0, "conv1", 0],
            [1, "conv2", 0],
            [2, "fc1", 1],
            [3, "fc2", 0],
        ]
        assert [m.params for m in answer if m.address == "/gradmidi/solo"] == [[1]]
        assert answer[-1].params == [0.0]
        levels = [m.params for m in answer if m.address == "/gradmidi/level"][:-1]
        assert levels == [[0, "conv1", 0.0], [1, "conv2", 0.0], [2, "fc1", -6.0], [3, "fc2", 0.0]]
        send("/gradmidi/solo")
        send("/gradmidi/mute", "fc1", 0)
        until(lambda: voices() == {0, 1, 2, 3}, "all again")
        for number in range(3000):
            damaged = SEEDS[number % 2][: number % 24] + b"\xff" * (number % 9)
            desk.sendto(damaged, ("127.0.0.1", int(place)))
        step = receiver.step
        until(lambda: receiver.step > step + 5, "the run goes on")
        send("/gradmidi/panic")
        until(lambda: not receiver.sounding, "silence")
        assert receiver.messages[-1][0] > time.monotonic() - 5.0
    finally:
        player.terminate()
        error = player.communicate(timeout=20)[1]
        desk.close()
        receiver.close()
    assert "Traceback" not in error
