"""The five experiments of the 2019 blog post, on handwritten digits.

The model, its four layers' names and the settings are those of C. Perone, "Listening to the
neural network gradient norms during training" (2019), so that the preset `classic` can be
compared with the original.
"""

import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gradmidi.errors import GradmidiError
from gradmidi.listener.listen import listen_with
from gradmidi.live.feed import Live
from gradmidi.log import RunLog
from gradmidi.music.preset import Preset
from gradmidi.options import Options

if TYPE_CHECKING:
    import torch

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "Outcome",
    "digits",
    "free_folder",
    "network",
    "repeatable",
    "run",
]


def digits() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read the first 10,000 training digits of MNIST.

    Returns
    -------
    images : ndarray of uint8, shape (10000, 28, 28)
        Grey levels, 0 (background) to 255 (ink), byte for byte as in MNIST.
    labels : ndarray of uint8, shape (10000,)
        The digit in each image, 0–9.

    Examples
    --------
    >>> images, labels = digits()
    >>> images.shape, labels[:5].tolist()
    ((10000, 28, 28), [5, 0, 4, 1, 9])
    """
    with np.load(Path(__file__).with_name("digits.npz")) as packed:
        return packed["images"], packed["labels"]


Bytes = npt.NDArray[np.uint8]
Going = Callable[[], bool]

FILES = ("mid", "wav", "png", "html", "txt")
"""Files that `run` writes in addition to the run log."""

INK_MEAN, INK_SPREAD = 0.1307, 0.3081
"""Mean and standard deviation of MNIST's grey levels (0 to 1), used by the post."""


SLOWEST = 0.3
"""Most seconds that a step is made to last so that it has a slot of its own."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """One setting of the demo.

    Parameters
    ----------
    optimizer : {"sgd", "adam"}, default "sgd"
        The optimizer, from `torch.optim`.
    lr : float, default 0.01
        Learning rate, above 0.
    momentum : float, default 0.5
        Momentum of SGD, 0 to below 1; not used by Adam.
    batch_size : int, default 10
        Images per step, 1 or more.
    steps : int, default 200
        Optimizer steps, 1 or more.
    seed : int, default 0
        Seed of the initial weights and of the order of the images, 0 or more.

    Raises
    ------
    ValueError
        If a value is not allowed.

    Examples
    --------
    >>> Experiment(lr=1.0, batch_size=256).name
    'sgd-1-batch-256'
    """

    optimizer: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.5
    batch_size: int = 10
    steps: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        allowed = {
            "optimizer": (self.optimizer in ("sgd", "adam"), "sgd or adam"),
            "lr": (0.0 < self.lr < math.inf, "a number above 0"),
            "momentum": (0.0 <= self.momentum < 1.0, "a number from 0 to below 1"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "steps": (self.steps >= 1, "1 or more"),
            "seed": (0 <= self.seed < 2**63, "0 or more, below 2 to the 63rd"),
        }
        for name, (holds, words) in allowed.items():
            if not holds:
                raise ValueError(f"{name} = {getattr(self, name)!r}; allowed is {words}")

    @property
    def name(self) -> str:
        """Short name, for folders and lists."""
        batch = "" if self.batch_size == 10 else f"-batch-{self.batch_size}"
        return f"{self.optimizer}-{self.lr:g}{batch}"


EXPERIMENTS = (
    Experiment("sgd", 0.01),
    Experiment("sgd", 0.1),
    Experiment("sgd", 1.0),
    Experiment("sgd", 1.0, batch_size=256),
    Experiment("adam", 0.01),
)
"""The post's five settings, in its order."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an experiment.

    Parameters
    ----------
    experiment : Experiment
        The setting.
    folder : Path
        The folder, with `run.jsonl` and the files of `FILES`.
    losses : tuple of float
        The loss at each step; may be nan or inf.
    """

    experiment: Experiment
    folder: Path
    losses: tuple[float, ...]

    def __str__(self) -> str:
        """Return one line: how the loss changed, and which layers ended dead or not finite."""
        log = RunLog(self.folder)
        frames = list(log.frames())
        norms = np.stack([frame.norms for frame in frames])
        tail = self.losses[-10:]
        mean = f"{sum(tail) / len(tail):.3g} (mean of the last {len(tail)} steps)"
        words = [f"loss {self.losses[0]:.3g} to {mean}"]
        for what, bad in (("not finite", ~np.isfinite(norms)), ("dead", norms == 0.0)):
            affected = [
                (layer.name, frames[_last_stretch(column)].step)
                for layer, column in zip(log.layers, bad.T, strict=True)
                if column[-1]
            ]
            for first in sorted({step for _, step in affected}):
                names = " ".join(name for name, step in affected if step == first)
                words.append(f"{what} from step {first}: {names}")
        return f"{self.experiment.name}: " + "; ".join(words)

    def next_steps(self) -> tuple[str, ...]:
        """Return lines that say what to do with the files, each with a path or a command."""
        return (
            f"Listen: {self.folder / 'run.wav'}",
            f"Open in a DAW, one track a layer: {self.folder / 'run.mid'}",
            f"Look and listen in a browser: {self.folder / 'run.html'}",
            f"The picture alone: {self.folder / 'run.png'}",
            f"Read the numbers: gradmidi describe {self.folder}",
            f"The post's own sound: gradmidi render {self.folder} -o post.wav -p classic",
        )


def _last_stretch(column: npt.NDArray[np.bool_]) -> int:
    """Return the index at which the true values at the end of a column start."""
    false = np.flatnonzero(~column)
    return int(false[-1]) + 1 if false.size else 0


def run(
    experiment: Experiment,
    out: str | Path,
    *,
    data: str | Path | None = None,
    options: Options | None = None,
    progress: Callable[[int, float], None] | None = None,
    show: Callable[[Live], contextlib.AbstractContextManager[Going]] | None = None,
) -> Outcome:
    """Train one experiment and record the gradient norms of its weights.

    It trains on one CPU thread, so that an experiment gives the same norms and files every time on
    one machine. With live output it makes at most one step per slot, so that every step sounds;
    if a slot is longer than 0.3 s, as with ``drums``, steps share it.

    Parameters
    ----------
    experiment : Experiment
        The setting.
    out : str or Path
        Folder of the run; if it holds a run, this one goes to ``out-2``.
    data : str or Path, optional
        Folder with the full MNIST in torchvision's layout; by default the 10,000 images in the
        package.
    options : Options, optional
        Preset and live output; folder, files, parameters and config are set by this function.
    progress : callable, optional
        Called after every step with its number, from 1, and its loss.
    show : callable, optional
        Shows the live output during training. It is called with the output and returns a
        context manager whose value is called after every step; False ends the training.

    Returns
    -------
    Outcome

    Raises
    ------
    GradmidiError
        If torch is not installed, or `data` holds no MNIST.
    ValueError
        If the batch is larger than the data set.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise GradmidiError(
            "the demo trains with PyTorch, which is not installed: pip install 'gradmidi[demo]'"
        ) from error
    images, labels = digits() if data is None else _full_set(Path(data))
    if experiment.batch_size > len(images):
        raise ValueError(
            f"batch_size = {experiment.batch_size}; allowed is 1 to {len(images)}, the number "
            "of images"
        )
    options = replace(
        options or Options(),
        out=out,
        resume=False,
        parameters="weights",
        files=FILES,
        config={**asdict(experiment), "digits": len(images)},
    )
    losses: list[float] = []
    with repeatable(experiment.seed), contextlib.ExitStack() as stack:
        net = network()
        optimizer = _optimizer(experiment, net)
        ears = stack.enter_context(listen_with(net, optimizer, options))
        going: Going = lambda: True  # noqa: E731
        slot = 0.0
        if ears.live is not None:
            slot = _step_seconds(options.music, len(ears.layers))
            if show is not None:
                going = stack.enter_context(show(ears.live))
        began = time.monotonic()
        for step, picked in enumerate(_batches(experiment, len(images)), 1):
            time.sleep(max(0.0, began + (step - 1) * slot - time.monotonic()))
            inputs = torch.from_numpy(_normalised(images[picked]))
            targets = torch.from_numpy(labels[picked].astype(np.int64))
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(inputs), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            ears.log(loss=loss)
            losses.append(loss.item())
            if progress is not None:
                progress(step, losses[-1])
            if not going():
                break
    return Outcome(experiment, ears.folder, tuple(losses))


def network() -> "torch.nn.Module":
    """Build the post's network: two convolutions and two linear layers, 431,080 parameters.

    Returns
    -------
    torch.nn.Module
        From images of shape (batch, 1, 28, 28) to logits of shape (batch, 10); its modules
        with parameters are conv1, conv2, fc1 and fc2.
    """
    from torch import nn

    class Net(nn.Sequential):
        """The network; the run log shows this name."""

    return Net(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flat=nn.Flatten(),
            fc1=nn.Linear(4 * 4 * 50, 500),
            relu3=nn.ReLU(),
            fc2=nn.Linear(500, 10),
        )
    )


def free_folder(experiment: Experiment, under: str | Path = "runs") -> Path:
    """Return a folder that does not exist yet: as ``demo-sgd-0.01`` or ``demo-sgd-0.01-2``."""
    first = folder = Path(under) / f"demo-{experiment.name}"
    number = 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


def _optimizer(experiment: Experiment, net: "torch.nn.Module") -> "torch.optim.Optimizer":
    from torch import optim

    if experiment.optimizer == "adam":
        return optim.Adam(net.parameters(), experiment.lr)
    return optim.SGD(net.parameters(), experiment.lr, momentum=experiment.momentum)


@contextlib.contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Fix PyTorch's seed and threads, and restore the caller's at the end."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _batches(experiment: Experiment, digits: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the images of each step: shuffled each epoch, without an incomplete last batch."""
    generator = np.random.default_rng(experiment.seed)
    size = experiment.batch_size
    per_epoch = digits // size
    for step in range(experiment.steps):
        if step % per_epoch == 0:
            order = generator.permutation(digits)
        start = step % per_epoch * size
        yield order[start : start + size]


def _step_seconds(preset: Preset, voices: int) -> float:
    """Return the least time of a step with live output: a slot, but never more than `SLOWEST`."""
    timing = preset.time
    return min(SLOWEST, timing.slot_ticks(voices) * timing.tick_seconds)


def _normalised(images: Bytes) -> npt.NDArray[np.float32]:
    levels = images[:, np.newaxis].astype(np.float32) / np.float32(255.0)
    return (levels - np.float32(INK_MEAN)) / np.float32(INK_SPREAD)


def _full_set(folder: Path) -> tuple[Bytes, Bytes]:
    try:
        from torchvision.datasets import MNIST
    except ModuleNotFoundError as error:
        raise GradmidiError(
            "reading MNIST from a folder needs torchvision: pip install 'gradmidi[demo]'"
        ) from error
    try:
        full = MNIST(str(folder), train=True, download=False)
    except RuntimeError as error:
        raise GradmidiError(
            f"no MNIST in {folder}: it must hold MNIST/raw/train-images-idx3-ubyte and "
            "train-labels-idx1-ubyte; torchvision.datasets.MNIST(folder, download=True) "
            "downloads them"
        ) from error
    return full.data.numpy(), full.targets.numpy().astype(np.uint8)
