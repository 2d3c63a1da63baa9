"""Commands by MIDI, from an input of ours; tests/receivers has real ones."""

import itertools

from gradmidi.player.desk import LOOK_SECONDS, MOST_MESSAGES, MidiDesk


class Input:
    """An input with messages, whose device is unplugged between two looks."""

    name = "nano"
    gone = ended = False

    def __init__(self, messages):
        self.messages = iter(messages)
        self.plugged = iter([True, False, False, True])
        self.closed = False

    def read(self):
        return next(self.messages, None)

    def look(self):
        self.gone = not next(self.plugged)

    def close(self):
        self.closed = True


def opened(messages, table, clock=lambda: 0.0):
    source = Input(messages)
    return MidiDesk("nano", table, open_port=lambda name: source, clock=clock), source


def test_what_the_rig_does_not_name_does_nothing_and_a_flood_is_read_in_parts():
    knob = [0xB0, 20, 127]
    noise = [[0xF8], [], [0xB0, 20], [0xB0, 21, 1], [0x90, 20, 1], [0xF0, 0xF7], [0xE3, 1, 2]]
    desk, source = opened([*noise, knob, *noise], {"cc 20": "panic"})
    assert desk.commands() == [{"do": "panic"}]
    flood, _ = opened(itertools.repeat(knob), {"cc 20": "panic"})
    assert len(flood.commands()) == MOST_MESSAGES
    desk.close()
    assert source.closed


def test_a_server_that_ends_is_told_once(capsys):
    now = [0.0]
    desk, source = opened([], {"cc 20": "panic"}, clock=lambda: now[0])
    for ended in (False, True, True):
        source.ended = ended
        now[0] += LOOK_SECONDS
        desk.commands()
    assert capsys.readouterr().err.splitlines() == [
        "gradmidi: MIDI input 'nano': closed, the JACK server has ended; everything else "
        "continues; to use knobs again, restart gradmidi"
    ]


def test_a_controller_that_goes_and_comes_back_is_told_once_each(capsys):
    now = [0.0]
    desk, _ = opened([], {"cc 20": "panic"}, clock=lambda: now[0])
    for _ in range(4):
        for _ in range(3):
            desk.commands()
        now[0] += LOOK_SECONDS
        desk.commands()
    assert capsys.readouterr().err.splitlines() == [
        "gradmidi: MIDI input 'nano' is gone; it is read again when it is back",
        "gradmidi: MIDI input 'nano' is back",
    ]
