"""Good for the ears: how loud every preset is, where it peaks, and that nothing clicks.

The demo's first setting stands for a run that goes well: 4 layers, 200 steps. Of norms by hand
stand those whose number of voices matters.
"""

import shutil

import numpy as np
import pytest
import soundfile
from logs import write_log

pytest.importorskip("scipy")

from ears import above, loudness, true_peak

from gradmidi._render import render
from gradmidi.music.preset import load, names

LOUD = -20.0, 2.0
QUIET = {"hold": -26.0}
"""LUFS, and how far a preset may be off; those that are quieter on purpose."""

PROMISED = [name for name in names() if name != "classic"]

FAINT = -45.0
"""Decibels that what lies above 12 kHz may reach, clicks and all: a hundredth of full scale is
-40, and the softest click that is tried below is louder than this."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    pytest.importorskip("torch")
    from gradmidi.demo.experiments import EXPERIMENTS, run

    return run(EXPERIMENTS[0], tmp_path_factory.mktemp("demo") / "a").folder


def heard(run, name, folder):
    render(run, folder / "a.wav", preset=name)
    return soundfile.read(folder / "a.wav", always_2d=True)


def by_hand(folder, voices, seed=0):
    norms = np.exp(np.random.default_rng([voices, seed]).normal(0.0, 0.5, (120, voices)))
    return write_log(folder, norms.tolist(), names=[f"layer{i}" for i in range(voices)])


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMISED)
def test_on_the_demo_each_preset_is_as_loud_as_it_should_be_and_soft_to_the_ear(
    demo, name, tmp_path
):
    samples, rate = heard(demo, name, tmp_path)
    assert abs(loudness(samples, rate) - QUIET.get(name, LOUD[0])) <= LOUD[1]
    assert true_peak(samples) < -1.0
    assert above(samples, rate, 12000.0) < FAINT


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMISED)
def test_two_voices_are_as_loud_as_fifteen(name, tmp_path):
    few, many = (
        [
            loudness(*heard(by_hand(tmp_path / f"{count}-{seed}", count, seed), name, tmp_path))
            for seed in range(4)
        ]
        for count in (2, load(name).voices.most)
    )
    assert abs(np.mean(few) - np.mean(many)) < 1.0, (few, many)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("drums", "orchestra") else name
        for name in PROMISED
    ],
)
def test_where_everything_breaks_nothing_clicks_or_clips(name, tmp_path):
    norms = np.exp(np.random.default_rng(4).normal(0.0, 1.0, (80, 8)))
    norms[20, 3] = np.nan
    norms[30:, 2] *= 1e5
    norms[40:, 5:] = 0.0
    norms[60:] = np.inf
    run = write_log(tmp_path / "run", norms.tolist(), names=[f"layer{i}" for i in range(8)])
    samples, rate = heard(run, name, tmp_path)
    assert true_peak(samples) < -1.0
    assert above(samples, rate, 12000.0) < FAINT


def test_a_note_that_is_cut_is_heard_as_a_click(tmp_path):
    samples, rate = heard(by_hand(tmp_path / "run", 4), "pentatonic", tmp_path)
    calm = above(samples, rate, 12000.0)
    loudest = int(np.abs(samples[:, 0]).argmax())
    samples[loudest:] *= 0.5
    assert calm < FAINT < above(samples, rate, 12000.0)


def test_classic_clicks_as_the_post_did(tmp_path):
    samples, rate = heard(by_hand(tmp_path / "run", 4), "classic", tmp_path)
    assert above(samples, rate, 12000.0) > FAINT


def test_a_sine_of_full_scale_measures_as_the_standard_says():
    # ITU-R BS.1770-4: 0 dBFS of 997 Hz in one channel is -3.01 LUFS.
    sine = np.sin(2.0 * np.pi * 997.0 * np.arange(48000) / 48000.0)[:, None]
    assert loudness(sine, 48000) == pytest.approx(-3.01, abs=0.05)


# -- how notes begin ------------------------------------------------------------------------------


def steepest_onset(name, folder, **keys):
    """The steepest onset of one high voice: a cycle of its tone is about a millisecond."""
    from ears import steepest

    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    given = {"voices.home": ["C6", "C6"], "pitch.range": ["C2", "D8"], "faults.sound": False}
    preset = load(name, given | keys)
    # Rests between the notes, since notes that overlap beat.
    run = write_log(folder / "a", [[1.0], *[[None]] * 3, [2.0], *[[None]] * 3], names=["fc"])
    render(run, folder / "a.wav", preset=preset)
    return steepest(*soundfile.read(folder / "a.wav", always_2d=True))


@pytest.mark.parametrize("name", PROMISED)
@pytest.mark.slow
def test_no_note_begins_at_once(name, tmp_path):
    # An attack of 5 ms, a raised cosine, rises by 0.31 of its height in a millisecond.
    assert steepest_onset(name, tmp_path) <= 0.4


def test_without_an_attack_notes_begin_at_once(tmp_path):
    assert steepest_onset("pentatonic", tmp_path, **{"sound.attack": 0}) > 0.6


# -- what the ear finds pleasant, and that faults stand out ---------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMISED)
@pytest.mark.parametrize("rail", [False, True])
def test_each_pulse_of_a_fault_is_above_all_else_that_sounds(name, rail):
    pytest.importorskip("torch")
    from beds import alarms_over_bed

    for kind, own, broad in alarms_over_bed(load(name), 4, rail=rail):
        assert own >= 6.0, (kind, own)
        assert broad >= 3.0, (kind, broad)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMISED)
def test_all_voices_at_the_highest_note_are_six_units_above_the_run(name):
    pytest.importorskip("torch")
    from beds import RATE, calm_then_rail

    for layers in (1, 4, 15):
        samples, turn = calm_then_rail(load(name), layers)
        at = round(turn * RATE)
        bed, rail = loudness(samples[:at], RATE), loudness(samples[at:], RATE)
        assert 3.0 <= rail - bed <= 9.0, (layers, rail - bed)
        assert rail < -9.0


@pytest.mark.slow
def test_loudness_moves_in_a_run_that_goes_well():
    pytest.importorskip("torch")
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    from beds import RATE, calm
    from ears import measured

    for layers in (4, 15):
        assert measured(calm(load("pentatonic"), layers), RATE)["lra"] >= 2.0


@pytest.mark.slow
def test_no_preset_is_sharp_or_rough_and_all_are_about_equally_loud_at_one_level():
    pytest.importorskip("torch")
    from beds import RATE, calm
    from ears import felt

    loud = {}
    for name in PROMISED:
        heard = felt(calm(load(name), 4, 7.0)[2 * RATE : 6 * RATE], RATE)
        assert heard["sharpness"] <= 1.5, (name, heard)
        assert heard["roughness"] <= 0.15, (name, heard)
        loud[name] = heard["n5"]
    assert max(loud.values()) <= 1.5 * min(loud.values()), loud
