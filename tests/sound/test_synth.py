"""The synth: samples against their formulas, at every edge, in blocks of every size."""

import dataclasses
import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from gradmidi.errors import GradmidiError
from gradmidi.music.events import BRIGHTNESS, FAULT_VOICE, Bend, Control, End, Event, Mark, Off, On
from gradmidi.music.pitch import hz_to_pitch, pitch_to_hz
from gradmidi.music.preset import Preset, Sound, Time, load, parse
from gradmidi.sound.synth import Synth

RATE = 44100
TICK = RATE / 960  # samples a tick, at 120 quarter notes a minute


def preset(**sound) -> Preset:
    """The default preset with a sound of the tests' own, and some of it changed."""
    shipped = load("pentatonic")
    time = Time(tempo=120.0, style="chord")
    given = {
        "partials": (1.0, 0.4, 0.2),
        "decay": (0.0, 0.25, 0.12),
        "brightness": 0.6,
        "attack": 5.0,
        "release": 40.0,
        "pan": 0.8,
        "gain": 0.0,
        "channels": 2,
        "even": False,
        "limiter": True,
        **sound,
    }
    return dataclasses.replace(shipped, time=time, sound=Sound(**given))


PLAIN = preset()
SINE = preset(partials=(1.0,), decay=(0.0,), channels=1, limiter=False)
STEADY = preset(decay=(0.0, 0.0, 0.0), channels=1, limiter=False)
RELEASE = round(PLAIN.sound.release / 1000 * RATE)


def play(chosen: Preset, events: list[Event], frames: int, *, voices: int = 4, blocks=(8192,)):
    """Render `frames` samples of `events`, in blocks of the sizes given, over and over."""
    synth = Synth(chosen, voices)
    synth.send(events)
    parts, left = [], frames
    while left:
        for block in blocks:
            parts.append(synth.render(min(block, left)))
            left -= len(parts[-1])
    return np.concatenate(parts)


def piece(seconds: float, *, voices: int = 4, seed: int = 0) -> list[Event]:
    """Notes of every kind: short, held, struck again, bent, bright, faults; in order of ticks."""
    rng = random.Random(seed)
    events: list[tuple[int, int, Event]] = []
    for voice in (*range(voices), FAULT_VOICE):
        tick = rng.randrange(40)
        while tick < seconds * 960:
            note, length = rng.randrange(40, 90), rng.choice([1, 3, 60, 108, 400])
            pitch = note + rng.choice([0.0, rng.uniform(-0.5, 0.5)])
            velocity = rng.randrange(48, 113)
            bright = Control(tick, voice, BRIGHTNESS, rng.randrange(128))
            events.append((tick, 1, bright))
            sound = "nan" if voice == FAULT_VOICE else ""
            events.append((tick, 2, On(tick, voice, note, velocity, pitch, 1.0, sound)))
            events.append((tick + length, 0, Off(tick + length, voice, note)))
            if length > 100:
                for turn in (tick + 50, tick + 54, tick + 80):
                    events.append((turn, 1, Control(turn, voice, BRIGHTNESS, rng.randrange(128))))
            tick += rng.choice([30, 120, 120, 240])
    return [event for _, _, event in sorted(events, key=lambda entry: entry[:2])]


def alike(heard: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether samples are a wave that is given, but for one factor."""
    level = np.sum(heard.astype(float) * wanted) / np.sum(wanted**2)
    return level > 0.0 and np.abs(heard / level - wanted).max() < 1e-6


def jump(samples: np.ndarray, start: int, stop: int) -> float:
    """The largest fourth difference: next to nothing in a tone, large where it is broken."""
    return float(np.abs(np.diff(samples[max(0, start - 4) : stop].astype(float), 4, axis=0)).max())


# -- formulas ------------------------------------------------------------------------------


def test_classic_is_the_formula_of_the_post_sample_for_sample():
    rng = np.random.default_rng(0)
    norms = rng.lognormal(0.0, 2.0, (50, 4)).clip(0.0, 197.0)
    events: list[Event] = []
    wanted = np.zeros(50 * 2646)
    n = np.arange(441)
    for step, row in enumerate(norms):
        for layer, norm in enumerate(row):
            hertz, tick = 200.0 + 100.0 * norm, 60 * step + 10 * layer
            pitch = hz_to_pitch(hertz)
            key = min(127, round(pitch))
            events += [On(tick, layer, key, 80, pitch, norm), Off(tick + 10, layer, key)]
            first = 2646 * step + 441 * layer
            wanted[first : first + 441] = 0.1 * np.sin(2 * np.pi * n * hertz / 44100)
    heard = play(load("classic"), events, len(wanted))
    assert heard.shape == (len(wanted), 1)
    assert heard.dtype == np.float32
    assert np.abs(heard[:, 0] - wanted).max() < 1e-6
    rests = heard[:, 0].reshape(50, 2646)[:, 4 * 441 :]
    assert not rests.any()


@pytest.mark.parametrize(
    # Of every second voice the even partial has lost three quarters, and the odd one its power.
    ("voice", "second", "third"),
    [(2, 0.4, 0.2), (3, 0.1, math.sqrt(0.4**2 + 0.2**2 - 0.1**2))],
)
def test_a_note_is_its_partials_its_ramps_and_its_place(voice, second, third):
    chosen = preset(limiter=False, gain=-3.0, contrast=0.75)
    pitch, velocity, length = 60.3, 100, 96
    events = [On(0, voice, 60, velocity, pitch), Off(length, voice, 60)]
    heard = play(chosen, events, 8000, voices=9)
    n = np.arange(8000)
    hertz = pitch_to_hz(pitch)
    wave = sum(
        amplitude * np.exp(-n * rate / RATE) * np.sin(2 * np.pi * k * hertz * n / RATE)
        for k, amplitude, rate in ((1, 1.0, 0.0), (2, second, 4.0), (3, third, 1 / 0.12))
    )
    rise, fall = round(0.005 * RATE), round(0.040 * RATE)
    wave *= 0.5 - 0.5 * np.cos(np.pi * np.minimum(n, rise) / rise)
    off = round(length * TICK)
    wave *= 0.5 + 0.5 * np.cos(np.pi * np.clip(n - off, 0, fall) / fall)
    wave *= 0.1
    angle = (chosen.sound.pan * (2 * voice / 8 - 1) + 1) * math.pi / 4
    wanted = np.stack((wave * math.cos(angle), wave * math.sin(angle)), axis=1)
    assert alike(heard, wanted)
    softer = [On(0, voice, 60, 80, pitch), Off(length, voice, 60)]
    ratio = heard.max() / play(chosen, softer, 8000, voices=9).max()
    assert ratio == pytest.approx((100 / 80) ** 2, rel=1e-5)
    louder = dataclasses.replace(chosen, sound=dataclasses.replace(chosen.sound, gain=0.0))
    ratio = heard.max() / play(louder, events, 8000, voices=9).max()
    assert ratio == pytest.approx(10 ** (-3 / 20), rel=1e-5)


@pytest.mark.parametrize("pitch", [28.0, 45.31, 60.0, 69.5, 87.13, 105.0])
def test_the_strongest_frequency_is_within_a_cent(pitch):
    heard = play(SINE, [On(0, 0, 60, 80, pitch)], 1 << 17)[1 << 14 :, 0]
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    peak = int(spectrum.argmax())
    left, top, right = np.log(spectrum[peak - 1 : peak + 2])
    place = peak + 0.5 * (left - right) / (left - 2 * top + right)
    assert abs(1200 * math.log2(place * RATE / len(heard) / pitch_to_hz(pitch))) < 1.0


@given(tick=st.integers(0, 10**7))
def test_a_tick_is_the_nearest_sample(tick):
    assert Synth(load("classic"), 4).sample_of(tick) == round(tick * 441 / 10)


# -- blocks --------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [(512,), (1021,), (1, 7, 333, 4096, 0, 20000), (88200,)])
def test_blocks_of_any_size_give_the_same_samples(blocks):
    events = piece(2.0)
    assert any(isinstance(event, Control) for event in events)
    whole = play(PLAIN, events, 2 * RATE, blocks=(8192,))
    assert np.abs(whole).max() > 0.1
    assert np.array_equal(play(PLAIN, events, 2 * RATE, blocks=blocks), whole)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), blocks=st.lists(st.integers(200, 9000), min_size=1, max_size=9))
def test_blocks_of_any_size_give_the_same_samples_of_any_piece(seed, blocks):
    events = piece(0.5, seed=seed)
    whole = play(load("hold"), events, RATE, blocks=(RATE,))
    assert np.array_equal(play(load("hold"), events, RATE, blocks=blocks), whole)


def test_events_may_come_just_before_their_block():
    events = piece(1.0)
    whole = play(PLAIN, events, RATE)
    synth, parts = Synth(PLAIN, 4), []
    for begin in range(0, RATE, 441):
        upto = begin + 441
        synth.send([e for e in events if begin <= synth.sample_of(e.tick) < upto])
        parts.append(synth.render(441))
    assert np.array_equal(np.concatenate(parts), whole)


# -- edges ---------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 4, 50, 500])
@pytest.mark.parametrize("pitch", [28.0, 60.0, 96.0])
def test_no_edge_clicks(length, pitch):
    events: list[Event] = [On(10, 0, 60, 80, pitch), Off(10 + length, 0, 60)]
    heard = play(STEADY, events, RATE)[:, 0]
    steady = play(STEADY, [On(0, 0, 60, 80, pitch)], RATE)[RATE // 2 :, 0]
    assert np.abs(np.diff(heard)).max() <= 1.02 * np.abs(np.diff(steady)).max()
    # A ramp that is left bends the wave by its slope; a cut would step by the wave itself.
    bend = 0.1 * 1.6 * math.pi / 2 / round(0.005 * RATE)
    assert jump(heard, 0, RATE) <= jump(steady, 0, len(steady)) + 3 * bend


def test_a_note_let_go_in_its_attack_falls_from_where_it_was():
    off = round(2 * TICK)
    heard = play(SINE, [On(0, 0, 60, 80, 90.0), Off(2, 0, 60)], 4000)[:, 0]
    rise, fall = round(0.005 * RATE), round(0.040 * RATE)
    assert off < rise
    n = np.arange(4000)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.minimum(n, off) / rise)
    ramp *= 0.5 + 0.5 * np.cos(np.pi * np.clip(n - off, 0, fall) / fall)
    wanted = 0.1 * ramp * np.sin(2 * np.pi * pitch_to_hz(90.0) * n / RATE)
    assert alike(heard, wanted)
    assert not heard[off + fall :].any()


def test_a_key_struck_again_overlaps_and_its_off_ends_the_older():
    first: list[Event] = [On(0, 0, 60, 80, 60.0), Off(300, 0, 60)]
    second: list[Event] = [On(200, 0, 60, 90, 60.2), Off(700, 0, 60)]
    both = sorted(first + second, key=lambda event: event.tick)
    apart = [play(STEADY, events, RATE) for events in (first, second)]
    together = play(STEADY, both, RATE)
    assert np.abs(together - sum(apart)).max() < 1e-6


def test_an_off_without_a_note_is_nothing():
    assert not play(STEADY, [Off(0, 0, 60), On(5, 1, 60, 80, 60.0), Off(5, 1, 60)], 99).any()


def test_what_does_not_sound_is_exactly_zero():
    events: list[Event] = [On(100, 0, 60, 80, 60.0), Off(200, 0, 60), On(600, 1, 64, 80, 64.0)]
    heard = play(PLAIN, events, RATE)
    first, gone = round(100 * TICK), round(200 * TICK) + RELEASE
    assert not heard[:first].any()
    assert heard[first + 2 : gone - 2].any(axis=1).mean() > 0.99
    assert not heard[gone : round(600 * TICK)].any()


# -- brightness ----------------------------------------------------------------------------


def partials_of(samples: np.ndarray, hertz: float, count: int) -> np.ndarray:
    """Amplitudes of harmonic partials, by projection."""
    n = np.arange(len(samples))
    window = np.hanning(len(samples)) / np.hanning(len(samples)).sum()
    waves = np.exp(-2j * np.pi * hertz / RATE * np.outer(np.arange(1, count + 1), n))
    return 2 * np.abs(waves @ (window * samples))


def test_brightness_moves_the_upper_partials_at_equal_power():
    found = {}
    for value in (0, 64, 127):
        events: list[Event] = [Control(0, 0, BRIGHTNESS, value), On(0, 0, 69, 80, 69.0)]
        found[value] = partials_of(play(STEADY, events, RATE)[4410:, 0], 440.0, 3)
    none = partials_of(play(STEADY, [On(0, 0, 69, 80, 69.0)], RATE)[4410:, 0], 440.0, 3)
    assert none == pytest.approx(found[64], rel=1e-6)
    assert none[1:] / none[0] == pytest.approx([0.4, 0.2], rel=1e-3)
    depth = 12.0 * STEADY.sound.brightness
    for value, decibels in ((0, -depth), (127, depth * 63 / 64)):
        moved = 20 * np.log10(found[value][1:] / found[value][0] / (none[1:] / none[0]))
        assert moved == pytest.approx([decibels] * 2, abs=0.01)
        assert np.sum(found[value] ** 2) == pytest.approx(np.sum(none**2), rel=1e-3)


def test_a_held_note_follows_brightness_without_a_click():
    turns = {300: 127, 500: 0, 505: 127, 507: 20, 700: 64}
    events: list[Event] = [On(0, 0, 69, 80, 69.0)]
    events += [Control(tick, 0, BRIGHTNESS, value) for tick, value in turns.items()]
    heard = play(STEADY, events, RATE)[:, 0]
    bright = play(STEADY, [Control(0, 0, BRIGHTNESS, 127), On(0, 0, 69, 80, 69.0)], RATE)[:, 0]
    done = round(0.010 * RATE)
    first, second = round(300 * TICK), round(500 * TICK)
    assert np.array_equal(heard[first + done : second], bright[first + done : second])
    assert jump(heard, 1000, RATE) <= jump(bright, 1000, RATE) + 3 * 0.1 * math.pi / 2 / done
    neutral = play(STEADY, [On(0, 0, 69, 80, 69.0)], RATE)[:, 0]
    settled = round(700 * TICK) + done
    assert np.array_equal(heard[settled:], neutral[settled:])


def test_a_release_keeps_its_brightness_when_the_next_note_has_another():
    events: list[Event] = [On(0, 0, 69, 80, 69.0), Off(100, 0, 69)]
    turned = [*events, Control(101, 0, BRIGHTNESS, 127)]
    assert np.array_equal(play(STEADY, turned, RATE), play(STEADY, events, RATE))


def test_other_controllers_bends_and_marks_change_nothing():
    events: list[Event] = [On(0, 0, 69, 80, 69.0), Off(400, 0, 69)]
    more = [events[0], Bend(1, 0, 1.0), Control(2, 0, 7, 0), Mark(3, "epoch 2"), events[1]]
    assert np.array_equal(play(STEADY, more, RATE), play(STEADY, events, RATE))


# -- faults --------------------------------------------------------------------------------


def test_a_fault_is_a_pulse_in_the_centre_with_ramps_of_25_ms():
    events: list[Event] = [On(0, FAULT_VOICE, 74, 80, 74.0, sound="nan"), Off(336, FAULT_VOICE, 74)]
    heard = play(preset(limiter=False), events, RATE)
    assert np.array_equal(heard[:, 0], heard[:, 1])
    rise = round(0.025 * RATE)
    fundamental = partials_of(heard[rise : round(336 * TICK), 0], pitch_to_hz(74.0), 4)
    assert fundamental / fundamental[0] == pytest.approx([1.0, 0.5, 0.33, 0.25], abs=0.01)
    loudest = np.abs(heard[rise : 2 * rise]).max()
    assert np.abs(heard[: rise // 8]).max() < 0.05 * loudest
    assert 0.4 * loudest < np.abs(heard[: rise // 2]).max() < 0.6 * loudest
    gone = round(336 * TICK) + rise
    assert heard[gone - rise // 2].any()
    assert not heard[gone:].any()


def test_a_voice_may_sound_a_fault_in_its_own_place():
    plain = play(preset(limiter=False), [On(0, 0, 60, 80, 60.0)], RATE)
    fault = play(preset(limiter=False), [On(0, 0, 60, 80, 60.0, sound="dead")], RATE)
    assert not np.allclose(plain, fault, atol=0.01)
    balance = [
        np.linalg.norm(heard[:, 0]) / np.linalg.norm(heard[:, 1]) for heard in (plain, fault)
    ]
    assert balance[0] == pytest.approx(balance[1], rel=1e-4)
    assert balance[0] > 2.0


def test_a_fault_s_pulse_makes_the_notes_that_sound_softer():
    loud = preset(limiter=False, decay=(0.0, 0.0, 0.0))
    note = On(0, 0, 60, 80, 60.0, 1.0)
    name = dataclasses.replace(note, norm=0.0)
    pulse = [On(480, FAULT_VOICE, 84, 80, 84.0, sound="nan"), Off(500, FAULT_VOICE, 84)]
    alone = play(loud, pulse, RATE)
    later = slice(round(600 * TICK), None)

    def power(*events):
        return float(np.sum((play(loud, [*events], RATE) - alone)[later].astype(float) ** 2))

    untouched = float(np.sum(play(loud, [note], RATE)[later].astype(float) ** 2))
    assert power(note, *pulse) == pytest.approx(untouched * 0.5**4, rel=1e-3)
    assert power(name, *pulse) == pytest.approx(untouched, rel=1e-3)
    bright = Control(520, 0, BRIGHTNESS, 127)
    assert power(note, *pulse, bright) == pytest.approx(untouched * 0.5**4, rel=1e-2)
    assert jump((play(loud, [note, *pulse], RATE) - alone)[:, 0], 100, RATE) < 1e-4


# -- loudness ------------------------------------------------------------------------------


def loudness(samples: np.ndarray, rate: int = 48000) -> float:
    """LUFS without its gates (ITU-R BS.1770-4, annex 1; its filters are given at 48 kHz)."""
    assert rate == 48000
    shelf = (
        [1.53512485958697, -2.69169618940638, 1.19839281085285],
        [
            1.0,
            -1.69065929318241,
            0.73248077421585,
        ],
    )
    high = [1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621]
    weighted = signal.lfilter(*high, signal.lfilter(*shelf, samples, axis=0), axis=0)
    return -0.691 + 10 * math.log10(np.sum(np.mean(weighted**2, axis=0)))


def chords(chosen: Preset, voices: int, slots: int, velocity: int = 80) -> list[Event]:
    """Every voice around home, slot after slot, as a run that goes well has them."""
    rng = random.Random(voices)
    notes, homes = chosen.notes, chosen.home_notes(voices)
    slot = chosen.time.slot_ticks(voices)
    stagger = min(round(0.025 / chosen.time.tick_seconds), slot // 2 // voices)
    events: list[tuple[int, int, Event]] = []
    for index in range(slots):
        for voice in range(voices):
            key = notes[notes.index(homes[voice]) + rng.randrange(-4, 3)]
            tick = index * slot + voice * stagger
            off = tick + round(chosen.time.gate * slot)
            events.append((tick, 1, On(tick, voice, key, velocity, float(key))))
            events.append((off, 0, Off(off, voice, key)))
    return [event for _, _, event in sorted(events, key=lambda entry: entry[:2])]


def test_two_and_fifteen_voices_are_equally_loud():
    chosen = load("pentatonic")
    heard = {}
    for voices in (2, 4, 8, 15):
        synth = Synth(chosen, voices, rate=48000)
        synth.send(chords(chosen, voices, 80))
        heard[voices] = loudness(synth.render(10 * 48000))
    assert max(heard.values()) - min(heard.values()) < 1.0, heard


@pytest.mark.parametrize("voices", [1, 2, 15])
def test_nothing_passes_minus_one_decibel(voices):
    chosen = preset(gain=12.0)
    events: list[Event] = [On(0, voice, 72, 127, 72.0) for voice in range(voices)]
    events += [On(0, FAULT_VOICE, 84, 127, 84.0, sound="nan")]
    heard = play(chosen, events, RATE, voices=voices)
    assert np.abs(heard).max() > 0.7
    assert np.abs(heard).max() <= 0.77
    assert np.abs(signal.resample_poly(heard, 8, 1, axis=0)).max() < 10 ** (-1 / 20)


def test_the_limiter_leaves_alone_what_is_soft():
    events = chords(PLAIN, 4, 8, velocity=48)
    heard = [play(preset(limiter=limiter), events, RATE) for limiter in (True, False)]
    assert 0.05 < np.abs(heard[1]).max() < 0.6
    assert np.array_equal(*heard)


def test_louder_notes_are_louder_through_the_limiter():
    peaks = [
        np.abs(play(preset(gain=18.0), [On(0, 0, 72, velocity, 72.0)], RATE // 4)).max()
        for velocity in range(1, 128, 9)
    ]
    assert all(lower < higher for lower, higher in itertools.pairwise(peaks))


def test_first_voice_left_last_voice_right_equal_power():
    powers = []
    for voice in range(5):
        alike = preset(limiter=False, contrast=0.0)
        heard = play(alike, [On(0, voice, 60, 80, 60.0)], RATE, voices=5)
        left, right = np.sum(heard.astype(float) ** 2, axis=0)
        powers.append((left, left + right))
    assert all(a[0] > b[0] for a, b in itertools.pairwise(powers))
    assert [total for _, total in powers] == pytest.approx([powers[0][1]] * 5, rel=1e-5)


@pytest.mark.parametrize("pitch", [40.0, 69.0, 95.0])
def test_of_voices_on_one_note_the_powers_add_up(pitch):
    power = []
    for voices in range(1, 9):
        events: list[Event] = []
        for slot in range(160):
            events += [On(120 * slot, voice, 60, 80, pitch) for voice in range(voices)]
            events += [Off(120 * slot + 108, voice, 60) for voice in range(voices)]
        heard = play(preset(limiter=False, contrast=0.0), events, 20 * RATE, voices=15)
        power.append(float(np.mean(heard.astype(float) ** 2)))
    expected = [power[0] * voices for voices in range(1, 9)]
    assert 10 * np.log10(power) == pytest.approx(10 * np.log10(expected), abs=0.5)
    assert power == sorted(power)


def test_voices_that_are_held_on_one_note_are_detuned_and_never_cancel():
    chosen = load("hold")
    alone, both = (
        play(chosen, [On(0, voice, 60, 80, 60.0) for voice in voices], 20 * RATE, voices=15)
        for voices in ((3,), (3, 4))
    )
    second = np.arange(20 * RATE) // RATE
    ratio = np.bincount(second, (both**2).sum(axis=1)) / np.bincount(second, (alone**2).sum(axis=1))
    assert ratio.mean() > 1.5


@pytest.mark.parametrize("partials", [(1.0,), (1.0, 0.8, 0.6, 0.4)])
@pytest.mark.parametrize("style", [{}, {"slot": "1/8", "gate": 0.4}, {"slot": "1/32"}])
def test_a_preset_of_one_s_own_is_as_loud_as_those_that_ship(partials, style):
    shipped = load("pentatonic")
    sound = {"partials": list(partials), "decay": [0.3] * len(partials)}
    own = parse({"title": "t", "time": style, "sound": sound}, "own", "own.toml")
    heard = []
    for chosen in (shipped, own):
        synth = Synth(chosen, 4, rate=48000)
        slots = round(8.0 / (chosen.time.slot_ticks(4) * chosen.time.tick_seconds))
        synth.send(chords(chosen, 4, slots))
        heard.append(loudness(synth.render(8 * 48000)))
    assert heard[1] == pytest.approx(heard[0], abs=1.5)


def test_one_voice_after_another_is_not_scaled_by_their_number():
    for voices in (1, 4, 15):
        heard = play(load("classic"), [On(0, 0, 69, 80, 69.0)], 4410, voices=voices)
        assert np.abs(heard).max() == pytest.approx(0.1, abs=1e-4)


# -- what goes wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "pitch", [math.nan, math.inf, -math.inf, 1e308, 136.0, -60.0, -199.0, -1e308]
)
def test_an_inaudible_pitch_makes_no_bad_sample(pitch):
    for chosen in (load("classic"), PLAIN):
        events: list[Event] = [On(0, 0, 127, 127, pitch), Off(400, 0, 127)]
        heard = play(chosen, events, RATE)
        assert np.all(np.isfinite(heard))
        assert np.abs(heard).max() < 0.5
        if not pitch < 0:
            assert not heard.any()


def test_a_high_note_leaves_nothing_above_its_octave_limit():
    chosen = preset(partials=(1.0,) * 8, decay=(0.0,) * 8, channels=1, limiter=False)
    heard = play(chosen, [On(0, 0, 96, 80, 100.7)], 1 << 16)[8192:, 0]
    spectrum = np.abs(np.fft.rfft(heard * np.blackman(len(heard))))
    hertz = np.fft.rfftfreq(len(heard), 1 / RATE)
    assert spectrum[hertz > 12000].max() < 1e-4 * spectrum.max()


def test_a_late_event_is_placed_at_the_next_sample():
    synth = Synth(STEADY, 4)
    assert not synth.render(10000).any()
    synth.send([On(0, 0, 60, 80, 60.0)])
    late = synth.render(10000)
    synth.send([Off(5, 0, 60)])
    gone = synth.render(10000)
    on_time = play(STEADY, [On(0, 0, 60, 80, 60.0)], 10000)
    assert np.array_equal(late, on_time)
    assert gone[:1000].any()
    assert not gone[round(0.040 * RATE) :].any()


def test_the_end_lets_go_of_every_note():
    synth = Synth(PLAIN, 4)
    synth.send([On(0, voice, 60, 80, 60.0) for voice in range(4)])
    synth.send([On(0, FAULT_VOICE, 84, 80, 84.0, sound="nan"), End(100, 1, 0.1)])
    synth.render(4000)
    assert (synth.sounding, synth.tail) == (5, 0)
    synth.render(round(100 * TICK) - 4000)
    assert (synth.sounding, synth.tail) == (5, RELEASE)
    assert synth.render(synth.tail).any()
    assert (synth.sounding, synth.tail) == (0, 0)
    assert not synth.render(1000).any()


def test_invalid_arguments_raise_at_once():
    with pytest.raises(GradmidiError, match="voices = 0; allowed is 1 or more"):
        Synth(PLAIN, 0)
    with pytest.raises(GradmidiError, match="rate = 100; allowed is 8000 to 192000"):
        Synth(PLAIN, 4, rate=100)
    with pytest.raises(GradmidiError, match="voice 4; this synth has voices 0 to 3"):
        Synth(PLAIN, 4).send([On(0, 4, 60, 80, 60.0)])
