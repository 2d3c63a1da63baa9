"""Compare ways to take the norms of all gradients.

    python benchmarks/norms.py [--rounds N] [--only MODEL] [--only ...]

Prints Markdown. Ways take turns in shuffled order. Figures are medians of the time inside them, in
milliseconds, and as a multiple of `_foreach_norm`; then the medians of `backward` and what follows
it, as a multiple of `backward` alone. Hooks run while `backward` has just written a gradient, which
may still be in the processor's cache; what it costs `backward` to call them is only in the latter.

MODEL is one of cnn-10, cnn-256, resnet18, resnet50, gpt, gpt-small.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from overhead import CASES, Case, Gpt
from torch import nn
from torch.nn import functional

import gradmidi

ROUNDS = 30
FLOOR, HOOKS, BARE = "`_foreach_norm`, `stack`, `tolist`", "hooks during `backward`", "`backward`"
SMALL = Case(
    "GPT, 4 layers, 1.9 M, 64 tokens",
    lambda: Gpt(192, 4),
    lambda: (torch.randint(0, 512, (1, 64)), torch.randint(0, 512, (64,))),
    30,
)
MODELS = {**CASES, "gpt-small": SMALL}


def ways(parameters: list[nn.Parameter]) -> dict[str, Callable[[], object]]:
    """Return what is called after `backward`, for each way that needs no hook."""
    norm, dot, each = torch.linalg.vector_norm, torch.dot, torch._foreach_norm
    gradients: Callable[[], list[torch.Tensor]] = lambda: [p.grad for p in parameters]  # noqa: E731
    return {
        FLOOR: lambda: torch.stack(each(gradients())).tolist(),
        "`_foreach_norm`, each `item`": lambda: [n.item() for n in each(gradients())],
        "`vector_norm` of each": lambda: [norm(g).item() for g in gradients()],
        "`dot` of each with itself": lambda: [
            dot(flat, flat).item() for flat in (g.reshape(-1) for g in gradients())
        ],
    }


def measured(case: Case, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the milliseconds inside each way, and those of `backward` and the way together."""
    torch.manual_seed(0)
    model = case.model()
    x, y = case.batch()
    parameters = list(model.parameters())
    hooked: list[torch.Tensor] = []
    spent = [0.0]

    def take(parameter: torch.Tensor) -> None:
        begin = time.perf_counter()
        hooked.append(torch.linalg.vector_norm(parameter.grad))
        spent[0] += time.perf_counter() - begin

    silent = torch.optim.SGD(model.parameters(), lr=0.0)
    times: dict[str, list[tuple[float, float]]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        gradmidi.listen(model, silent, out=f"{folder}/run", files=()),
    ):
        (before,) = silent._optimizer_step_pre_hooks.values()
        (behind,) = silent._optimizer_step_post_hooks.values()
        after: dict[str, Callable[[], object]] = {
            **ways(parameters),
            "**gradmidi**": lambda: (before(silent, (silent,), {}), behind(silent, (silent,), {})),
            HOOKS: lambda: [norm.item() for norm in hooked],
            BARE: lambda: None,
        }
        for index in range(rounds + 1):
            for name in random.sample(list(after), len(after)):
                model.zero_grad(set_to_none=False)
                loss = functional.cross_entropy(model(x), y)
                hooks = name == HOOKS
                handles = [p.register_post_accumulate_grad_hook(take) for p in parameters if hooks]
                spent[0] = 0.0
                began = time.perf_counter()
                loss.backward()
                begin = time.perf_counter()
                after[name]()
                end = time.perf_counter()
                hooked.clear()
                for handle in handles:
                    handle.remove()
                if index:
                    took = (end - begin + spent[0]) * 1e3, (end - began) * 1e3
                    times.setdefault(name, []).append(took)
    return {
        name: (statistics.median(x for x, _ in each), statistics.median(y for _, y in each))
        for name, each in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", action="append", choices=MODELS, metavar="MODEL")
    chosen = parser.parse_args()
    random.seed(0)
    names = chosen.only or list(MODELS)
    columns = {MODELS[name].title: measured(MODELS[name], chosen.rounds) for name in names}
    print("| ms (times `_foreach_norm`), times `backward` |", " | ".join(columns), "|")
    print("|---|" + "---|" * len(columns))
    for way in next(iter(columns.values())):
        cells = []
        for each in columns.values():
            (inside, whole), floor, bare = each[way], each[FLOOR][0], each[BARE][1]
            cells.append(f"{inside:.3f} ({inside / floor:.2f}), {whole / bare:.3f}")
        print(f"| {way} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
