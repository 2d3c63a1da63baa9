"""Runs whose sound is measured: a healthy one, one with all voices at the rail, and each fault.

The healthy runs are trained on the digits that come with the package, one step a slot.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from gradmidi.detection.kinds import RUN, Finding
from gradmidi.log import Layer
from gradmidi.music.alarms import END, PATTERNS, TICK
from gradmidi.music.composer import Composer
from gradmidi.music.events import FAULT_VOICE, Event, On
from gradmidi.music.pitch import pitch_to_hz
from gradmidi.music.preset import Preset
from gradmidi.music.slots import Slot
from gradmidi.music.voices import group
from gradmidi.sound.mixdown import Mixdown
from gradmidi.sound.synth import Synth

RATE = 44100
RAIL = 1e9


@lru_cache(maxsize=4)
def healthy(layers: int, steps: int = 200) -> np.ndarray:
    """Train a network of so many layers that learns; return the norm of each weight a step."""
    import torch
    from torch import nn

    from gradmidi.demo.experiments import digits

    images, labels = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blocks: list[nn.Module] = [nn.Flatten()]
        size = 28 * 28
        for _ in range(layers - 1):
            layer = nn.Linear(size, 32)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            blocks += [layer, nn.ReLU()]
            size = 32
        net = nn.Sequential(*blocks, nn.Linear(size, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02)
    order = np.random.default_rng(0)
    rows = []
    for _ in range(steps):
        chosen = order.integers(0, len(images), 32)
        x = torch.from_numpy(images[chosen].astype(np.float32) / 255.0)
        loss = nn.functional.cross_entropy(net(x), torch.from_numpy(labels[chosen].astype(int)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        grads = [p.grad for p in net.parameters() if p.grad is not None and p.ndim == 2]
        rows.append([float(grad.norm()) for grad in grads])
    return np.array(rows)


class Piece:
    """A run that is composed slot by slot, without a fault detector."""

    def __init__(self, preset: Preset, layers: int) -> None:
        self.preset = preset
        self.layers = [Layer(f"layer{i}", 10) for i in range(layers)]
        self.voices = group(self.layers, preset.voices.most)
        self.composer = Composer(preset, self.layers, self.voices)
        self.slot_seconds = self.composer.slot_ticks * preset.time.tick_seconds
        self.count = 0

    def slot(self, norms: np.ndarray, *findings: Finding) -> list[Event]:
        """Compose the next slot."""
        if not self.count:
            self.composer.observe(norms)
        index, self.count = self.count, self.count + 1
        return self.composer.slot(Slot(index, index + 1, 0.0, norms, findings=findings))

    def slots(self, seconds: float) -> int:
        """Return how many slots are at least so long."""
        return math.ceil(seconds / self.slot_seconds)


def sounded(preset: Preset, voices: int, events: list[Event]) -> tuple[np.ndarray, np.ndarray]:
    """Render the voices and the fault pulses apart, before the limiter."""
    pulses = [e for e in events if getattr(e, "voice", None) in (None, FAULT_VOICE)]
    synths = [Synth(preset, voices, rate=RATE) for _ in range(2)]
    for synth in synths:
        synth._limiter = False
    mix = Mixdown(*synths)
    blocks = [*mix.send([events, pulses], events[-1].tick), *mix.finish()]
    both, alone = (np.concatenate(parts).astype(float) for parts in zip(*blocks, strict=True))
    return both - alone, alone


def calm_then_rail(preset: Preset, layers: int) -> tuple[np.ndarray, float]:
    """Render a healthy run whose norms all go to the rail; return the samples and the turn."""
    piece = Piece(preset, layers)
    norms = healthy(layers)
    events: list[Event] = []
    half = piece.slots(10.0)
    for index in range(2 * half):
        events += piece.slot(norms[index % len(norms)] * (1.0 if index < half else RAIL))
    events += piece.composer.finish()
    samples = sum(sounded(preset, len(piece.voices), events))
    return samples, half * piece.slot_seconds


def third(samples: np.ndarray, hertz: float) -> float:
    """Return the power of samples within a third of an octave around a frequency."""
    size = 1 << 14
    power = (np.abs(np.fft.rfft(samples, size, axis=0)) ** 2).sum(axis=1)
    at = np.fft.rfftfreq(size, 1.0 / RATE)
    return float(power[(at >= hertz * 2 ** (-1 / 6)) & (at < hertz * 2 ** (1 / 6))].sum())


def alarms_over_bed(
    preset: Preset, layers: int, *, rail: bool = False
) -> Iterator[tuple[str, float, float]]:
    """Yield, for each kind of fault, decibels of its faintest pulse over what else sounds.

    The first is in the pulse's own third of an octave, the second of all that sounds, while the
    pulse does.
    """
    for kind in PATTERNS:
        if kind in (END, TICK):
            continue
        piece = Piece(preset, layers)
        norms = healthy(layers)
        events: list[Event] = []
        calm, after = piece.slots(2.0), piece.slots(3.0)
        for index in range(calm + after):
            factor = RAIL if rail and index else 1.0
            findings = [Finding(kind, RUN, index + 1, 1.0)] if index == calm else []
            events += piece.slot(norms[index] * factor, *findings)
        events += piece.composer.finish()
        bed, pulses = sounded(preset, len(piece.voices), events)
        tick = preset.time.tick_seconds
        own, broad = [], []
        starts = [e for e in events if isinstance(e, On) and e.sound == kind]
        for start, pulse in zip(starts, PATTERNS[kind], strict=True):
            begin = round(start.tick * tick * RATE)
            span = slice(begin, begin + round(pulse.length / 1000.0 * RATE))
            hertz = pitch_to_hz(pulse.pitch)
            tiny = 1e-12
            own.append(
                10
                * math.log10((third(pulses[span], hertz) + tiny) / (third(bed[span], hertz) + tiny))
            )
            broad.append(
                10
                * math.log10(((pulses[span] ** 2).sum() + tiny) / ((bed[span] ** 2).sum() + tiny))
            )
        yield kind, min(own), min(broad)


def at_rail_from_start(preset: Preset, layers: int, seconds: float = 10.0) -> np.ndarray:
    """Render a run whose norms are all at the rail from its second slot on."""
    piece = Piece(preset, layers)
    norms = healthy(layers)
    events: list[Event] = []
    for index in range(piece.slots(seconds)):
        events += piece.slot(norms[index % len(norms)] * (RAIL if index else 1.0))
    events += piece.composer.finish()
    return sum(sounded(preset, len(piece.voices), events))


def calm(preset: Preset, layers: int, seconds: float = 25.0) -> np.ndarray:
    """Render a healthy run."""
    piece = Piece(preset, layers)
    norms = healthy(layers)
    events: list[Event] = []
    for index in range(piece.slots(seconds)):
        events += piece.slot(norms[index % len(norms)])
    events += piece.composer.finish()
    return sum(sounded(preset, len(piece.voices), events))
