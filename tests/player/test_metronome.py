import pytest

from gradmidi.player.metronome import MidiClock

TICK, START, STOP, POSITION = (0xF8,), (0xFA,), (0xFC,), (0xF2, 0, 0)


def play(clock, until, step=0.005, begin=0.0):
    heard = []
    now = begin
    while now <= until:
        heard += clock.due(now)
        now += step
    return heard


def test_24_ticks_a_quarter_from_the_opening():
    heard = play(MidiClock(120.0, opened=0.0), 4.9999)
    assert {message for _, message in heard} == {TICK}
    dues = [due for due, _ in heard]
    assert len(dues) == 240
    assert dues == pytest.approx([n / 48.0 for n in range(240)])


def test_start_comes_with_position_zero_half_a_tick_before_its_beat():
    clock = MidiClock(120.0, opened=0.0)
    beat = clock.start(clock.a_bar_after(0.0))
    assert beat == pytest.approx(2.0)
    heard = play(clock, 3.0)
    kinds = [message for _, message in heard]
    at = kinds.index(START)
    assert kinds[at - 1] == POSITION
    assert kinds[at + 1] == TICK
    assert heard[at + 1][0] == pytest.approx(beat)
    assert heard[at][0] == pytest.approx(beat - 1 / 96)
    assert kinds.count(START) == kinds.count(POSITION) == 1
    # Exactly a bar of ticks for the follower to settle.
    assert kinds[:at].count(TICK) == 96


def test_start_falls_on_a_tick():
    clock = MidiClock(125.0, opened=1.0)
    beat = clock.start(4.321)
    ticks = (beat - 1.0) / clock.interval
    assert ticks == pytest.approx(round(ticks))
    assert 0.0 <= beat - 4.321 < clock.interval


def test_start_is_never_in_the_past():
    clock = MidiClock(120.0, opened=0.0)
    play(clock, 5.0)
    assert clock.start(1.0) >= 4.99


def test_stop_only_where_it_was_started():
    clock = MidiClock(120.0, opened=0.0)
    play(clock, 1.0)
    assert clock.stop() == ()
    clock.start(1.5)
    play(clock, 2.0, begin=1.0)
    assert clock.stop() == (STOP,)


def test_next_is_when_something_is_due():
    clock = MidiClock(120.0, opened=0.0)
    clock.start(clock.a_bar_after(0.0))
    now, heard = 0.0, []
    while now < 3.0:
        heard += clock.due(now)
        assert clock.next > now
        now = clock.next
    dues = [due for due, _ in heard]
    assert dues == sorted(dues)
    assert len([m for _, m in heard if m == TICK]) == 144


def test_after_a_long_sleep_the_ticks_that_were_missed_are_left_out_and_counted():
    clock = MidiClock(120.0, opened=0.0)
    play(clock, 1.0)
    missed = clock.due(60.0)
    assert len(missed) <= 2
    assert clock.skipped > 2800
    assert clock.next == pytest.approx(60.0, abs=clock.interval)


@pytest.mark.parametrize("jump", [0.77, 1.9, 3600.0])
def test_after_a_jump_a_device_is_at_the_right_place_of_the_bar_again(jump):
    clock = MidiClock(120.0, opened=0.0)
    start = clock.start(2.0)
    heard = play(clock, 5.003)
    heard += play(clock, 9.0 + jump, begin=5.003 + jump)
    # A device: it counts ticks from the song position on, while it is started.
    position, runs, places = 0, False, []
    for at, message in heard:
        if message[0] == 0xF2:
            assert not runs, "a song position is for a device that is stopped"
            position = (message[1] | message[2] << 7) * 6
        elif message[0] in (0xFA, 0xFB):
            runs = True
        elif message[0] == 0xFC:
            runs = False
        elif runs:
            places.append((at, position))
            position += 1
    beats = [(at - start) * 48.0 % 96 for at, _ in places]
    off = [round(beat - place) % 96 for beat, (_, place) in zip(beats, places, strict=True)]
    assert set(off) == {0}
    assert places[-1][0] > 8.9 + jump
    kinds = [message[0] for _, message in heard if message[0] != 0xF8]
    assert kinds == [0xF2, 0xFA, *([0xFC, 0xF2, 0xFB] if jump > 0.5 else [])]
    gap = [at for at, message in heard if message[0] == 0xFB]
    assert min(at - gap[0] for at, message in heard if message[0] == 0xF8 and at > gap[0]) > 0.001
