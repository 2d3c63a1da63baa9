"""Measure the cost of measuring gradients, compared with other tools.

    python benchmarks/overhead.py [--quick] [--only MODEL] [--only ...]

Prints Markdown. Each method is called between `backward` and the optimizer's step, in an order that
is shuffled each round, and timed separately, because differences between whole steps are smaller
than the noise. For gradmidi this is the hook that an optimizer calls before it steps and, in
another row, `ears.capture()`. Figures are medians over the rounds of one run: a ratio to
`torch._foreach_norm` with one copy to the host, and a share of the bare step of the same run.
Histograms are slow and are measured only in some rounds.

The last table is for 2,000 layers: how long a step occupies Python in addition to `_foreach_norm`.
The processor time of the log's thread counts as if it always held the interpreter's lock. The table
needs a system that reports the processor time of threads.

The table before it shows the effect of a budget on the model with the shortest steps: the time
between two hooks, one before and one after the listener's, over a run of some thousand steps.

The first of them shows the cost of `updates=10`: what one measurement takes before and after the
step, a tenth of it as a share of the bare step, and the memory for the copies of weights.

MODEL is one of cnn-10, cnn-256, resnet18, resnet50, gpt, updates, budget, layers.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

import gradmidi
from gradmidi.capture.updates import Updates
from gradmidi.listener.listen import Listener

FLOOR, BARE = "`_foreach_norm`", "bare step"
LOOK, BY_HAND = "**gradmidi**", "`ears.capture()`, by hand"
CLIP, EARS_CLIP = "`clip_grad_norm_`", "**`ears.clip_grad_norm_`**, norms too"
CLIPPED, EARS_CLIPPED = f"{CLIP}, all clipped", f"{EARS_CLIP}, all clipped"
HISTOGRAMS = ("`wandb.watch`-style histograms", "TensorBoard `add_histogram`")
HISTOGRAM_EVERY = 5
BINS = 64
LARGE_NORM = 1e9
"""A limit so large that nothing is clipped, and each method gets the same gradients."""

SMALL_NORM = 1e-3
"""A limit so small that everything is clipped."""

UPDATES = 10
BUDGETS, BUDGET_STEPS, QUICK_BUDGET_STEPS = (None, 0.01, 0.005), 2000, 100
LAYERS, LAYERS_ROUNDS, QUICK_ROUNDS = 2000, 40, 3
LOG_THREAD = "gradmidi run log"
SETTLE_SECONDS = 0.1


class Block(nn.Module):
    """A transformer block, as in GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply attention, then the MLP."""
        batch, length, width = x.shape
        parts = self.attend(self.before(x)).view(batch, length, 3, self.heads, -1).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in parts)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.between(x))))


class Gpt(nn.Module):
    """A GPT with twelve layers of together 85 million parameters."""

    def __init__(self, width: int = 768, layers: int = 12, words: int = 512) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.blocks = nn.Sequential(*(Block(width, 12) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of each token."""
        return self.head(self.norm(self.blocks(self.words(x)))).flatten(0, 1)


def post_cnn() -> nn.Module:
    """Return the network of the blog post."""
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


def resnet(name: str) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name)


@dataclass(frozen=True)
class Case:
    """A model, a batch and a number of rounds."""

    title: str
    model: Callable[[], nn.Module]
    batch: Callable[[], tuple[torch.Tensor, torch.Tensor]]
    rounds: int
    adam: bool = False


def images(count: int, *shape: int) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    return lambda: (torch.randn(count, *shape), torch.randint(0, 10, (count,)))


CASES = {
    "cnn-10": Case("post's CNN, batch 10", post_cnn, images(10, 1, 28, 28), 100),
    "cnn-256": Case("post's CNN, batch 256", post_cnn, images(256, 1, 28, 28), 30),
    "resnet18": Case("resnet18, batch 2", lambda: resnet("resnet18"), images(2, 3, 224, 224), 16),
    "resnet50": Case("resnet50, batch 2", lambda: resnet("resnet50"), images(2, 3, 224, 224), 10),
    "gpt": Case(
        "GPT, 12 layers, 85 M, 64 tokens",
        Gpt,
        lambda: (torch.randint(0, 512, (1, 64)), torch.randint(0, 512, (64,))),
        10,
        adam=True,
    ),
}

TABLES = ("updates", "budget", "layers")

Way = Callable[[], object]


def ways(
    model: nn.Module, ears: Listener, silent: torch.optim.Optimizer, folder: Path
) -> dict[str, Way]:
    """Return the compared methods, which are called after `backward`.

    `silent` is an optimizer with a listener that never steps; its hook is called directly.
    """
    (hook,) = silent._optimizer_step_pre_hooks.values()
    (after,) = silent._optimizer_step_post_hooks.values()
    parameters = list(model.parameters())
    # Parameters without a listener that share the gradients.
    twins = [nn.Parameter(parameter.detach()) for parameter in parameters]
    for twin, parameter in zip(twins, parameters, strict=True):
        twin.grad = parameter.grad

    def step_hook() -> None:
        hook(silent, (silent,), {})
        after(silent, (silent,), {})

    def clip_and_hand_over(limit: float) -> None:
        ears.clip_grad_norm_(limit)
        step_hook()

    def histograms() -> None:
        # As `wandb.watch` does for each parameter: the range, and counts in 64 bins.
        for parameter in parameters:
            flat = parameter.grad.detach().clone().reshape(-1)
            low, high = flat.min().item(), flat.max().item()
            torch.histc(flat, BINS, low, high).tolist()

    found: dict[str, Way] = {
        FLOOR: lambda: torch.stack(torch._foreach_norm([p.grad for p in parameters])).tolist(),
        LOOK: step_hook,
        BY_HAND: ears.capture,
        "post's `.norm().item()` loop": lambda: [p.grad.norm().item() for p in parameters],
        CLIP: lambda: clip_grad_norm_(twins, LARGE_NORM),
        EARS_CLIP: lambda: clip_and_hand_over(LARGE_NORM),
        CLIPPED: lambda: clip_grad_norm_(twins, SMALL_NORM),
        EARS_CLIPPED: lambda: clip_and_hand_over(SMALL_NORM),
        HISTOGRAMS[0]: histograms,
    }
    try:
        from lightning.pytorch.utilities import grad_norm
    except ModuleNotFoundError:
        print("lightning is not installed: left out", file=sys.stderr)
    else:
        found["Lightning `grad_norm`"] = lambda: grad_norm(model, 2)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        print("tensorboard is not installed: left out", file=sys.stderr)
    else:
        writer = SummaryWriter(str(folder / "events"))

        def tensorboard() -> None:
            for name, parameter in model.named_parameters():
                writer.add_histogram(name, parameter.grad, 0)

        found[HISTOGRAMS[1]] = tensorboard
    return found


def measured(case: Case, rounds: int) -> dict[str, float]:
    """Return the median seconds of the bare step and of each method."""
    torch.manual_seed(0)
    model = case.model()
    x, y = case.batch()
    kind = torch.optim.AdamW if case.adam else torch.optim.SGD
    optimizer = kind(model.parameters(), lr=1e-4)
    times: dict[str, list[float]] = {}

    def step(name: str | None, way: Way | None) -> None:
        begin = time.perf_counter()
        # The gradients stay the tensors they are, see `ways`.
        optimizer.zero_grad(set_to_none=False)
        functional.cross_entropy(model(x), y).backward()
        before = time.perf_counter()
        if way is not None:
            way()
        after = time.perf_counter()
        optimizer.step()
        end = time.perf_counter()
        if name is not None:
            times.setdefault(name, []).append(after - before)
            times.setdefault(BARE, []).append(before - begin + end - after)

    step(None, None)
    silent = torch.optim.SGD(model.parameters(), lr=0.0)
    with (
        tempfile.TemporaryDirectory() as folder,
        gradmidi.listen(model, silent, out=Path(folder) / "a", files=()) as ears,
    ):
        found = ways(model, ears, silent, Path(folder))
        for name, way in found.items():
            if name not in HISTOGRAMS:
                step(None, way)
        for index in range(rounds):
            due = [name for name in found if name not in HISTOGRAMS or index % HISTOGRAM_EVERY == 0]
            random.shuffle(due)
            for name in due:
                step(name, found[name])
    return {name: statistics.median(each) for name, each in times.items()}


def tell(columns: dict[str, dict[str, float]]) -> None:
    """Print a table with a row for each method and a column for each model."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [name for name in names if name != BARE]
    rows.sort(key=lambda name: next(iter(columns.values())).get(name, 0.0))
    print("| times `_foreach_norm` (share of the bare step) |", " | ".join(columns), "|")
    print("|---|" + "---|" * len(columns))
    for name in rows:
        cells = [
            f"{column[name] / column[FLOOR]:.2f} ({column[name] / column[BARE]:.2%})"
            for column in columns.values()
        ]
        print(f"| {name} |", " | ".join(cells), "|")
    floors = [f"{column[FLOOR] * 1e3:.2f} ms" for column in columns.values()]
    bares = [f"{column[BARE] * 1e3:.1f} ms" for column in columns.values()]
    print("| `_foreach_norm` itself |", " | ".join(floors), "|")
    print("| bare step |", " | ".join(bares), "|")
    for own, theirs in ((EARS_CLIP, CLIP), (EARS_CLIPPED, CLIPPED)):
        ratios = [f"{column[own] / column[theirs]:.2f}" for column in columns.values()]
        print(f"| {own}, times {theirs} |", " | ".join(ratios), "|")


def share(budget: float | None, steps: int) -> tuple[float, int]:
    """Train; return the share of the bare time that measuring took, and the measured steps."""
    case = CASES["cnn-10"]
    torch.manual_seed(0)
    model = case.model()
    x, y = case.batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    marks: list[float] = []
    mark = lambda *_: marks.append(time.perf_counter())  # noqa: E731
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "a"
        optimizer.register_step_pre_hook(mark)
        with gradmidi.listen(model, optimizer, out=out, files=(), budget=budget):
            optimizer.register_step_pre_hook(mark)
            for _ in range(steps):
                optimizer.zero_grad()
                functional.cross_entropy(model(x), y).backward()
                optimizer.step()
            whole = time.perf_counter() - began
        looked = sum(1 for _ in gradmidi.read(out).frames())
    looking = sum(marks[1::2]) - sum(marks[0::2])
    return looking / (whole - looking), looked


def updates(rounds: int | None) -> None:
    """Print what it costs to measure the size of each tenth update."""
    print("| `updates=10` | a measurement | share of the bare step | memory |")
    print("|---|---|---|---|")
    for name in ("cnn-10", "resnet18", "gpt"):
        case = CASES[name]
        torch.manual_seed(0)
        model = case.model()
        x, y = case.batch()
        kind = torch.optim.AdamW if case.adam else torch.optim.SGD
        optimizer = kind(model.parameters(), lr=1e-4)
        members = [(index, each) for index, each in enumerate(model.parameters())]
        sizes = Updates(1, len(members))
        bare, measuring = [], []
        for _ in range((rounds or case.rounds) + 1):
            marks = [time.perf_counter()]
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            for call in (partial(sizes.begin, members), optimizer.step, sizes.end):
                marks.append(time.perf_counter())
                call()
            marks.append(time.perf_counter())
            bare.append(marks[1] - marks[0] + marks[3] - marks[2])
            measuring.append(marks[2] - marks[1] + marks[4] - marks[3])
        took, step = statistics.median(measuring[1:]), statistics.median(bare[1:])
        megabytes = sum(each.numel() * each.element_size() for each in sizes._kept) / 1e6
        print(
            f"| {case.title} | {took * 1e3:.2f} ms | {took / UPDATES / step:.2%} | "
            f"{megabytes:.0f} MB |"
        )


def budgets(steps: int) -> None:
    """Print the share of the time that measuring takes with several budgets."""
    print(
        f"| {CASES['cnn-10'].title}, {steps:,} steps | share of the bare time | steps looked at |"
    )
    print("|---|---|---|")
    for budget in BUDGETS:
        taken, looked = share(budget, steps)
        name = "no budget" if budget is None else f"`budget={budget}`"
        print(f"| {name} | {taken:.2%} | {looked:,} |")


def layers(rounds: int) -> None:
    """Print the time that a step of 2,000 layers occupies Python."""
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(LAYERS)))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    parameters = list(model.parameters())
    times: dict[str, list[float]] = {FLOOR: [], LOOK: []}
    logged: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        gradmidi.listen(model, out=Path(folder) / "a", files=()) as ears,
    ):
        thread = next(each for each in threading.enumerate() if each.name == LOG_THREAD)
        clock = time.pthread_getcpuclockid(thread.ident or 0)
        calls: list[tuple[str, Way]] = [
            (
                FLOOR,
                lambda: torch.stack(torch._foreach_norm([p.grad for p in parameters])).tolist(),
            ),
            (LOOK, ears.capture),
        ]
        for index in range(rounds + 1):
            random.shuffle(calls)
            for name, call in calls:
                spent = time.clock_gettime(clock)
                begin = time.perf_counter()
                call()
                took = time.perf_counter() - begin
                time.sleep(SETTLE_SECONDS)
                if index == 0:
                    continue
                times[name].append(took)
                if name == LOOK:
                    logged.append(time.clock_gettime(clock) - spent)
    floor, look, log = (
        statistics.median(each) * 1e3 for each in (times[FLOOR], times[LOOK], logged)
    )
    print("| 2,000 layers, 4,000 parameters | ms a step |")
    print("|---|---|")
    print(f"| `_foreach_norm`, one copy to the host | {floor:.2f} |")
    print(f"| a look, on the training thread | {look:.2f} |")
    print(f"| the log's thread | {log:.2f} |")
    print(f"| **both beyond `_foreach_norm`** | **{look + log - floor:.2f}** |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, to test the script")
    parser.add_argument("--only", action="append", choices=[*CASES, *TABLES], metavar="MODEL")
    chosen = parser.parse_args()
    random.seed(0)
    names = chosen.only or [*CASES, *TABLES]
    columns = {
        case.title: measured(case, QUICK_ROUNDS if chosen.quick else case.rounds)
        for name, case in CASES.items()
        if name in names
    }
    if columns:
        tell(columns)
        print()
    if "updates" in names:
        updates(QUICK_ROUNDS if chosen.quick else None)
        print()
    if "budget" in names:
        budgets(QUICK_BUDGET_STEPS if chosen.quick else BUDGET_STEPS)
        print()
    if "layers" in names:
        layers(QUICK_ROUNDS if chosen.quick else LAYERS_ROUNDS)


if __name__ == "__main__":
    main()
