"""Contrast, and distance of colours as readers with three kinds of colour blindness see them.

Colour blindness is simulated by the matrices of Machado, Oliveira and Fernandes, "A
physiologically-based model for simulation of color vision deficiency" (2009), at severity 1.
Distances are in Oklab, in which 0.02 is about the least difference that is seen side by side.
"""

import itertools

import numpy as np
import pytest

from gradmidi.report.look import NOT_FINITE, THEMES, ZERO, palette, rgb, scale

MATRICES = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}

LMS = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def linear(colour):
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def seen(colour, blindness):
    """A colour as it is seen, in Oklab."""
    light = np.clip(linear(np.asarray(colour)) @ np.array(MATRICES[blindness]).T, 0.0, 1.0)
    return np.cbrt(light @ np.array(LMS).T) @ np.array(LAB).T


def contrast(one, other):
    """The contrast of WCAG 2."""
    weights = (0.2126, 0.7152, 0.0722)
    bright, dark = sorted((linear(rgb(c)) @ weights for c in (one, other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("blindness", MATRICES)
def test_the_heat_map_is_read_with_every_kind_of_colour_blindness(blindness, capsys):
    colours = seen(scale(), blindness)
    middle = len(colours) // 2
    above, below = colours[middle:], colours[middle::-1]
    steps = np.linalg.norm(np.diff(colours, axis=0), axis=1)
    found = {
        "arms at half": np.linalg.norm(above - below, axis=1)[middle // 2],
        "arms at the end": np.linalg.norm(above - below, axis=1)[-1],
        "zero to the scale": np.linalg.norm(colours - seen(rgb(ZERO), blindness), axis=1).min(),
        "black to the scale": np.linalg.norm(
            colours - seen(rgb(NOT_FINITE), blindness), axis=1
        ).min(),
        "zero to black": np.linalg.norm(
            seen(rgb(ZERO), blindness) - seen(rgb(NOT_FINITE), blindness)
        ),
        "smallest step": steps.min() * (len(colours) - 1) / 16,
        "largest step": steps.max() * (len(colours) - 1) / 16,
    }
    with capsys.disabled():
        print(f"\n{blindness}: " + ", ".join(f"{k} {v:.3f}" for k, v in found.items()))
    assert found["arms at half"] > 0.15
    assert found["arms at the end"] > 0.15
    assert found["zero to the scale"] > 0.08
    assert found["black to the scale"] > 0.2
    assert found["zero to black"] > 0.4
    # A doubling of eight is seen anywhere on the scale, and nowhere is there a false edge.
    assert found["smallest step"] > 0.03
    assert found["largest step"] < 5 * found["smallest step"]
    for arm in (above, below):
        assert (np.diff(arm[:, 0]) < 1e-3).all()  # Farther from the reference is darker.


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("blindness", MATRICES)
def test_runs_are_told_apart(theme, blindness, capsys):
    runs = THEMES[theme].runs
    distances = [
        np.linalg.norm(seen(rgb(a), blindness) - seen(rgb(b), blindness))
        for a, b in itertools.combinations(runs, 2)
    ]
    with capsys.disabled():
        print(f"\n{theme}, {blindness}: nearest runs {min(distances):.3f}")
    assert min(distances) > 0.15  # They have dashes and names too.
    assert all(contrast(colour, THEMES[theme].paper) >= 4.5 for colour in runs)


@pytest.mark.parametrize("theme", THEMES)
def test_texts_have_contrast(theme, capsys):
    colours = THEMES[theme]
    found = {
        name: contrast(getattr(colours, name), colours.paper) for name in ("ink", "dim", "fault")
    }
    with capsys.disabled():
        print(f"\n{theme}: " + ", ".join(f"{name} {value:.1f}" for name, value in found.items()))
    assert min(found.values()) >= 4.5


def test_the_scale_is_symmetric_and_even():
    lightness = seen(palette(np.array([-1.0, -0.5, 0.0, 0.5, 1.0])), "none")[:, 0]
    assert lightness == pytest.approx(lightness[::-1], abs=0.02)
    steps = np.linalg.norm(np.diff(seen(scale(), "none"), axis=0), axis=1)
    assert steps.max() < 2.0 * steps.min()
