"""Make the gallery, docs/gallery.md: ``python docs/gallery.py`` trains a dozen small networks.

Each run gets a sound and a picture in docs/gallery/. It needs PyTorch and takes about a minute.
``python docs/gallery.py --moving`` makes the moving picture of the README; it needs ffmpeg too.
"""

import subprocess
import sys
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import gradmidi
from gradmidi.demo.experiments import EXPERIMENTS, digits
from gradmidi.demo.experiments import run as run_experiment

HERE = Path(__file__).parent
SECONDS = 10
STEPS = 80
BREAKS = 40
"""The step at which a run with a fault breaks."""

MOVING = "learns-then-explodes"
PALETTE = "split[a][b];[a]palettegen=max_colors=96[p];[b][p]paletteuse=dither=none"

Fault = Callable[[int, nn.Module, torch.Tensor], torch.Tensor]
"""Changes the batch, or the network, before a step; returns the batch."""


@dataclass(frozen=True)
class Piece:
    """One run of the gallery."""

    name: str
    title: str
    hear: str
    make: Callable[[Path], object]


def network(activation: type[nn.Module] = nn.ReLU, depth: int = 4, width: int = 64) -> nn.Module:
    """Return a multilayer perceptron with a weight matrix for each voice."""
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    size = 28 * 28
    for index in range(1, depth):
        layers |= {f"fc{index}": nn.Linear(size, width), f"act{index}": activation()}
        size = width
    return nn.Sequential(OrderedDict(layers, **{f"fc{depth}": nn.Linear(size, 10)}))


def batches(steps: int, size: int = 64) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of the digits that come with the package, in a seeded order."""
    images, labels = digits()
    order = np.random.default_rng(0)
    for _ in range(steps):
        chosen = order.integers(0, len(images), size)
        yield (
            torch.from_numpy(images[chosen].astype(np.float32) / 255.0),
            torch.from_numpy(labels[chosen].astype(np.int64)),
        )


def train(
    folder: Path,
    model: nn.Module,
    lr: float | Callable[[int], float] = 0.1,
    fault: Fault = lambda step, model, x: x,
    steps: int = STEPS,
) -> None:
    """Train a network and listen to it."""
    torch.set_num_threads(1)
    rate = lr if callable(lr) else lambda step: lr
    optimizer = torch.optim.SGD(model.parameters(), lr=rate(1))
    with gradmidi.listen(model, optimizer, out=folder, files=()) as ears:
        for step, (x, y) in enumerate(batches(steps), 1):
            x = fault(step, model, x)
            optimizer.param_groups[0]["lr"] = rate(step)
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            ears.log(loss=loss)


def perceptron(**options: object) -> nn.Module:
    """Return a seeded `network`."""
    torch.manual_seed(0)
    return network(**options)  # type: ignore[arg-type]


def spike(step: int, _: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Make one batch thirty times as bright."""
    return x * 30.0 if step == BREAKS else x


def not_a_number(step: int, _: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Divide one batch by zero."""
    return x * torch.nan if step == BREAKS else x


def dead_unit(step: int, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Push the second layer below zero, where a ReLU passes no gradient."""
    if step == BREAKS:
        with torch.no_grad():
            model.get_submodule("fc2").bias.fill_(-1e3)
    return x


def frozen(step: int, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Stop training the first layer."""
    if step == BREAKS:
        for parameter in model.get_submodule("fc1").parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
    return x


def experiment(index: int) -> Callable[[Path], object]:
    """Return a setting of the blog post."""
    return lambda folder: run_experiment(EXPERIMENTS[index], folder)


PIECES = (
    Piece(
        "learns",
        "It learns",
        "All voices climb about one note and stay near it. The blog post's network, SGD at 0.01.",
        experiment(0),
    ),
    Piece(
        "larger-steps",
        "It learns in larger steps",
        "The voices move further, and together: a hard batch raises every voice. SGD at 0.1.",
        experiment(1),
    ),
    Piece(
        "explodes",
        "It explodes and dies",
        "All voices climb to the top within a second; `exploding`, then `dead`, and the hi-hat "
        "until the end. SGD at 1.",
        experiment(2),
    ),
    Piece(
        "large-batch",
        "It breaks more slowly",
        "The voices climb, then three stop, and the last layer goes on alone. SGD at 1 with a "
        "batch of 256.",
        experiment(3),
    ),
    Piece(
        "adam",
        "It breaks without a climb",
        "One jump up, then three voices stop; the last sinks. Adam at 0.01.",
        experiment(4),
    ),
    Piece(
        "perceptron",
        "A multilayer perceptron learns",
        "All four voices climb by three or four notes while the loss falls.",
        lambda folder: train(folder, perceptron(), 0.3),
    ),
    Piece(
        "spike",
        "One bad batch",
        f"At step {BREAKS} every voice leaps up: `spike`. The lowest stay high for a few steps "
        "more, `exploding`; then the network recovers.",
        lambda folder: train(folder, perceptron(), 0.3, spike),
    ),
    Piece(
        "nan",
        "Not a number",
        f"A siren at step {BREAKS}; then all voices are silent, and the hi-hat shows that the run "
        "goes on.",
        lambda folder: train(folder, perceptron(), 0.3, not_a_number),
    ),
    Piece(
        "dead",
        "A dead layer",
        f"At step {BREAKS} the voices below the cut stop; the last goes on, since its bias still "
        "learns. One short, one long low note: `dead`.",
        lambda folder: train(folder, perceptron(), 0.3, dead_unit),
    ),
    Piece(
        "missing",
        "A layer that is frozen",
        f"At step {BREAKS} the lowest voice stops: three notes down, `missing`. The others go on.",
        lambda folder: train(folder, perceptron(), 0.3, frozen),
    ),
    Piece(
        "deep-sigmoid",
        "Ten layers of sigmoids",
        "The last layers move, the first hardly do: their gradients are a million times smaller. "
        "Every voice starts at its own home, so listen for movement, not for pitch. After four "
        "seconds the lower half is told as `vanishing`.",
        lambda folder: train(folder, perceptron(activation=nn.Sigmoid, depth=10, width=32), 1.0),
    ),
    Piece(
        "too-fast",
        "A rate that is just too high",
        "Every few steps all voices leap by two or three notes and fall back: the network jumps "
        "from one side of the valley to the other, and learns all the same.",
        lambda folder: train(folder, perceptron(), 0.9),
    ),
)


def moving_picture() -> None:
    """Train a network whose rate is raised too far, and write its film as a GIF, and its sound."""
    gallery = HERE / "gallery"
    with tempfile.TemporaryDirectory() as folder:
        run, film = Path(folder) / "mlp", Path(folder) / "film.mp4"
        train(run, perceptron(), lambda step: 0.3 if step <= 84 else 1.5, steps=112)
        gradmidi.render(run, film, gallery / f"{MOVING}.mp3", length=12, size=(9, 4.4), dpi=100)
        command = ["ffmpeg", "-y", "-loglevel", "error", "-i", film, "-vf", f"fps=8,{PALETTE}"]
        subprocess.run([*command, gallery / f"{MOVING}.gif"], check=True)
        print("\n".join(gradmidi.describe(run)))


def main() -> None:
    """Train every run, and write the sounds, the pictures and the page."""
    (HERE / "gallery").mkdir(exist_ok=True)
    parts = [
        "# Gallery",
        "",
        f"Twelve runs of small networks, of at most {SECONDS} seconds each, with the default "
        "preset. Close your eyes, play one, and say what happened; then read on. "
        "[Hearing a run](hearing.md) explains each sound. `python docs/gallery.py` makes this "
        "page.",
        "",
    ]
    for piece in PIECES:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / piece.name
            piece.make(run)
            sound, picture = (HERE / "gallery" / f"{piece.name}.{end}" for end in ("mp3", "png"))
            gradmidi.render(run, sound, picture, length=SECONDS)
            found = list(gradmidi.describe(run))[1:6]
        parts += [
            f"## {piece.title}",
            "",
            '<audio controls preload="none" aria-label="Sound of this run" '
            f'src="gallery/{sound.name}"></audio> '
            f"[sound](gallery/{sound.name})",
            "",
            piece.hear,
            "",
            f"![{piece.title}: {found[0]}](gallery/{picture.name})",
            "",
            "```text",
            *found,
            "```",
            "",
        ]
    (HERE / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    moving_picture() if "--moving" in sys.argv[1:] else main()
