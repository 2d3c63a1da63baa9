import math

import orjson

from gradmidi.cli.screenlines import Shown, screen_lines
from gradmidi.cli.view import numbers_line
from gradmidi.log import ABSENT
from gradmidi.music.events import FAULT_VOICE, Alarm, Off, On, Step
from gradmidi.music.voices import Voice
from gradmidi.player.mixer import Mixer, Status

NAMES = ["a", "b", "c"]


def on(tick, voice, note=60, velocity=80):
    return On(tick, voice, note, velocity, pitch=float(note))


def test_everything_passes_where_nothing_is_set():
    events = [on(0, 0), Alarm(0, "nan", "fc1", 3, float("nan")), Off(9, 0, 60)]
    assert Mixer().take(events) == events


def test_mute_ends_what_sounds_and_lets_nothing_start():
    mixer = Mixer()
    mixer.take([on(0, 0), on(0, 1)])
    assert mixer.obey({"do": "mute"}, NAMES) == [Off(0, 0, 60), Off(0, 1, 60)]
    assert mixer.take([on(5, 2), Off(6, 0, 60), Off(6, 2, 60)]) == []
    assert mixer.heard == []


def test_a_held_note_comes_back_with_its_voice():
    mixer = Mixer()
    mixer.take([on(0, 0), on(0, 1)])
    mixer.obey({"do": "mute"}, NAMES)
    mixer.take([Off(7, 1, 60)])
    assert mixer.obey({"do": "mute"}, NAMES) == [on(7, 0)]
    assert mixer.take([Off(9, 0, 60)]) == [Off(9, 0, 60)]


def test_solo_leaves_one_voice_and_faults():
    mixer = Mixer()
    mixer.take([on(0, 0), on(0, 1), on(0, FAULT_VOICE, 50)])
    assert mixer.obey({"do": "solo", "voice": 1}, NAMES) == [Off(0, 0, 60)]
    assert mixer.take([on(3, 0, 64), on(3, 1, 64)]) == [on(3, 1, 64)]
    # Another one, then all again.
    assert mixer.obey({"do": "solo", "voice": 0}, NAMES) == [
        Off(3, 1, 60),
        Off(3, 1, 64),
        on(3, 0, 60),
        on(3, 0, 64),
    ]
    assert mixer.obey({"do": "solo", "voice": 0}, NAMES) == [on(3, 1, 60), on(3, 1, 64)]


def test_voices_are_muted_alone_by_index_or_name_and_set_or_toggled():
    mixer = Mixer()
    mixer.take([on(0, 0), on(0, 1), on(0, 2)])
    assert mixer.obey({"do": "mute", "voice": "b", "on": True}, NAMES) == [Off(0, 1, 60)]
    assert mixer.obey({"do": "mute", "voice": 1, "on": True}, NAMES) == []
    assert mixer.obey({"do": "mute", "voice": 2}, NAMES) == [Off(0, 2, 60)]
    assert mixer.obey({"do": "mute", "voice": 1, "on": False}, NAMES) == [on(0, 1)]
    assert mixer.obey({"do": "mute", "voice": 2, "on": None}, NAMES) == [on(0, 2)]
    assert mixer.obey({"do": "mute", "on": True}, NAMES) == [Off(0, v, 60) for v in (0, 1, 2)]
    assert mixer.obey({"do": "mute", "on": False}, NAMES) == [on(0, v) for v in (0, 1, 2)]


def test_solo_is_set_and_undone_and_unknown_voices_change_nothing():
    mixer = Mixer()
    mixer.take([on(0, 0), on(0, 1)])
    assert mixer.obey({"do": "solo", "voice": 0, "on": True}, NAMES) == [Off(0, 1, 60)]
    assert mixer.obey({"do": "solo", "voice": 1, "on": False}, NAMES) == []
    assert mixer.obey({"do": "solo", "voice": None, "on": None}, NAMES) == [on(0, 1)]
    for voice in (3, -1, "d", 2**31):
        for word in ("mute", "solo"):
            assert mixer.obey({"do": word, "voice": voice, "on": True}, NAMES) == []
    assert len(mixer.heard) == 2


def test_a_level_is_set_or_changed_within_its_range():
    mixer = Mixer()
    for command, level in (({"to": -6.0}, -6.0), ({"by": -6.0}, -12.0), ({"to": 1e9}, 12.0)):
        mixer.obey({"do": "level", **command}, NAMES)
        assert mixer.level == level


def test_level_is_in_db_of_amplitude_and_stays_a_velocity():
    mixer = Mixer(level=-12.0)
    velocities = [e.velocity for e in mixer.take([on(0, 0), on(0, 1, velocity=1), on(0, 2)])]
    assert velocities == [40, 1, 40]
    loud = Mixer(level=12.0)
    assert loud.take([on(0, 0, velocity=120)])[0].velocity == 127


def test_a_note_that_is_too_late_is_not_struck_and_its_end_not_sent():
    mixer = Mixer()
    assert mixer.take([on(0, 0), Off(2, 0, 60)], skip=True) == []
    assert mixer.take([on(3, 0)], skip=False) == [on(3, 0)]


def test_overlapping_notes_of_one_key_end_one_by_one():
    mixer = Mixer()
    mixer.take([on(0, 0), on(5, 0)])
    assert mixer.take([Off(6, 0, 60)]) == [Off(6, 0, 60)]
    assert mixer.heard == [on(5, 0)]
    assert mixer.take([Off(8, 0, 60)]) == [Off(8, 0, 60)]
    assert mixer.heard == []


def test_mute_of_overlapping_notes_ends_each():
    mixer = Mixer()
    mixer.take([on(0, 0), on(5, 0)])
    assert mixer.obey({"do": "mute"}, NAMES) == [Off(5, 0, 60)] * 2


def test_where_the_first_of_two_notes_of_a_key_was_too_late_the_second_keeps_its_length():
    mixer = Mixer()
    mixer.take([on(0, 0)], skip=True)
    mixer.take([on(5, 0)])
    assert mixer.take([Off(6, 0, 60)]) == []
    assert mixer.take([Off(8, 0, 60)]) == [Off(8, 0, 60)]


def test_silence_ends_every_note_once():
    mixer = Mixer()
    mixer.take([on(0, 0), on(1, 0), on(2, 3, 70)])
    assert mixer.silence() == [Off(2, 0, 60), Off(2, 0, 60), Off(2, 3, 70)]
    assert mixer.silence() == []


def test_a_loss_that_is_nan_is_shown_as_nan():
    status = Status([Voice(0, "fc1", (0,))])
    status.take([Step(0, 1, 0.1, (1.0,), (0.5,), 2.5, now=(1.0,))])
    assert numbers_line(["fc1"], status.table()).startswith("step 1, loss 2.5, ")
    status.take([Step(60, 2, 0.2, (1.0,), (0.5,), math.nan, now=(1.0,))])
    # As the player sends it.
    table = orjson.loads(orjson.dumps(status.table()))
    assert numbers_line(["fc1"], table).startswith("step 2, loss nan, ")


def test_a_value_that_became_nan_is_shown_as_nan_in_lines_and_on_the_screen():
    status = Status([Voice(0, "acc", ())])
    status.take([Step(0, 1, 0.1, (), (), values=(("acc", 0.5),))])
    status.take([Step(60, 2, 0.2, (), (), values=(("acc", math.nan),))])
    table = orjson.loads(orjson.dumps(status.table()))
    before = {**table, "values": {"acc": 0.5}}
    assert numbers_line(["acc"], table, before) == "step 2, acc nan"
    row = str(screen_lines(Shown(["acc"], table), 60, 10)[1])
    assert row.split() == [">", "1!acc", "nan", "–", "│"]


def test_norms_that_are_no_numbers_are_shown_as_what_they_are():
    names = ["a", "b", "c", "d"]
    status = Status([Voice(index, name, (index,)) for index, name in enumerate(names)])
    status.take([Step(0, 1, 0.1, (1.0,) * 4, (0.5,) * 4, now=(math.nan, math.inf, 0.0, ABSENT))])
    table = orjson.loads(orjson.dumps(status.table()))
    assert numbers_line(names, table) == (
        "step 1, a norm nan silent, b norm inf silent, c norm exactly zero silent, "
        "d no gradient silent"
    )


def test_a_voice_has_a_level_of_its_own_besides_that_of_all():
    mixer = Mixer()
    assert mixer.obey({"do": "level", "voice": "b", "to": -12.0}, NAMES) == []
    assert mixer.take([on(0, 0), on(0, 1)]) == [on(0, 0), on(0, 1, velocity=40)]
    mixer.obey({"do": "level", "to": 12.0}, NAMES)
    mixer.obey({"do": "level", "voice": 2, "to": -99.0}, NAMES)
    mixer.obey({"do": "level", "voice": 9, "to": 5.0}, NAMES)
    assert (mixer.level, mixer.levels) == (12.0, {1: -12.0, 2: -60.0})
    assert mixer.take([on(1, 1, 62)]) == [on(1, 1, 62)]
