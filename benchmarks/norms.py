"""Compare ways to take the norms of all gradients.

    python benchmarks/norms.py [--rounds N] [--only MODEL] [--only ...]

Prints Markdown. Ways take turns in shuffled order; figures are medians, in milliseconds, of the
time inside them. Hooks run while `backward` has just written a gradient, which may still be in the
processor's cache; what it costs `backward` to call them is not counted.

MODEL is one of cnn-10, cnn-256, resnet18, resnet50, gpt.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from overhead import CASES, Case
from torch import nn
from torch.nn import functional

ROUNDS = 30


def ways(parameters: list[nn.Parameter]) -> dict[str, Callable[[], object]]:
    """Return what is called after `backward`, for each way that needs no hook."""
    norm, dot, each = torch.linalg.vector_norm, torch.dot, torch._foreach_norm
    gradients: Callable[[], list[torch.Tensor]] = lambda: [p.grad for p in parameters]  # noqa: E731
    return {
        "`_foreach_norm`, `stack`, `tolist`": lambda: torch.stack(each(gradients())).tolist(),
        "`_foreach_norm`, each `item`": lambda: [n.item() for n in each(gradients())],
        "`vector_norm` of each": lambda: [norm(g).item() for g in gradients()],
        "`dot` of each with itself": lambda: [
            dot(flat, flat).item() for flat in (g.reshape(-1) for g in gradients())
        ],
    }


def measured(case: Case, rounds: int) -> dict[str, float]:
    """Return the milliseconds of each way."""
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

    found = ways(parameters)
    after: dict[str, Callable[[], object]] = {
        **found,
        "hooks during `backward`": lambda: [norm.item() for norm in hooked],
    }
    times: dict[str, list[float]] = {}
    for index in range(rounds + 1):
        for name in random.sample(list(after), len(after)):
            model.zero_grad(set_to_none=False)
            loss = functional.cross_entropy(model(x), y)
            hooks = name not in found
            handles = [p.register_post_accumulate_grad_hook(take) for p in parameters if hooks]
            spent[0] = 0.0
            loss.backward()
            begin = time.perf_counter()
            after[name]()
            took = time.perf_counter() - begin + spent[0]
            hooked.clear()
            for handle in handles:
                handle.remove()
            if index:
                times.setdefault(name, []).append(took * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", action="append", choices=CASES, metavar="MODEL")
    chosen = parser.parse_args()
    random.seed(0)
    names = chosen.only or list(CASES)
    columns = {CASES[name].title: measured(CASES[name], chosen.rounds) for name in names}
    print("| ms |", " | ".join(columns), "|")
    print("|---|" + "---|" * len(columns))
    for way in next(iter(columns.values())):
        cells = [f"{each[way]:.2f}" for each in columns.values()]
        print(f"| {way} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
