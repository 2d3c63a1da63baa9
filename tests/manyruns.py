"""Seeded runs with much of what may happen in a run, to compare two ways of reading them."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradmidi.log import ABSENT, End, Frame, Header, Item, Layer, Mark, Pause, encode

CHANGES = (np.nan, np.inf, 0.0, ABSENT, 7.0, 30.0, 1e3, 1 / 30.0, 1e-3)
"""What becomes of some norms for a while; a number is a factor."""


def made(seed: int, edge: int) -> tuple[Header, list[Item]]:
    """Make a run; many changes begin or end just before or after a multiple of `edge` frames."""
    rng = np.random.default_rng(seed)
    choose = rng.choice
    layers, frames = (
        int(choose([0, 1, 2, 8])),
        int(choose([1, 40, 300, 900], p=[0.1, 0.2, 0.4, 0.3])),
    )
    base = np.exp(rng.normal(0.0, choose([0.3, 3.0]), layers))
    norms = base * np.exp(choose([0.02, 0.2, 0.4, 1.0]) * rng.normal(size=(frames, layers)))
    for _ in range(int(choose([0, 1, 4])) if layers else 0):
        begin = max(0, int(rng.integers(frames)) // edge * edge + int(choose([-1, 0, 5])))
        some = np.ix_(np.arange(begin, frames)[: choose([1, 2, 16, 200])], rng.random(layers) < 0.5)
        change = choose(CHANGES)
        fixed = not change > 0.0 or change == np.inf
        norms[some] = change if fixed else np.where(norms[some] > 0.0, norms[some] * change, 0.5)
    if layers and rng.random() < 0.1:
        norms[:, 0] = ABSENT
    losses = 2.0 * np.exp(-np.arange(frames) / choose([50, 5000]) + 0.05 * rng.normal(size=frames))
    losses[int(rng.integers(frames)) :][: choose([0, 1, 100])] *= choose([2.5, 1e3])
    losses -= choose([0.0, 1.0], p=[0.9, 0.1])
    every, odd = int(choose([1, 3])), choose([0.0, 0.003, 0.02], p=[0.6, 0.2, 0.2])
    with_lr, with_counts, with_updates, heard = rng.random(4) < (0.6, 0.3, 0.3, 0.3)
    items: list[Item] = []
    t, back, batch = 0.0, 0, 32
    pace = choose([0.01, 4.0], p=[0.8, 0.2])
    names = tuple(Layer(f"fc{index}", int(rng.integers(1, 99))) for index in range(layers))
    header = Header(names)
    for index in range(frames):
        t += round(float(pace * rng.exponential()) + (30.0 if rng.random() < odd / 4 else 0.0), 6)
        if rng.random() < odd / 4:
            back = int(rng.integers(0, 20))
            items.append(Header(names, resumed=True))
        if rng.random() < odd:
            pause = [Pause("eval", t, begins=True), Pause("eval", t + 20.0, begins=False)]
            items += [Mark("epoch", t)] if rng.random() < 0.7 else pause
        extra: dict[str, Any] = {}
        if index % every == 0:
            extra["loss"] = float(losses[index]) if rng.random() >= odd else float("nan")
        if with_lr:
            extra["lr"] = 0.01 * (1.0 - index % 400 / 400)
        if with_counts:
            batch *= 2 if rng.random() < 0.005 else 1
            extra |= {"epoch": index // 100, "seen": 32 * index, "batch": batch}
        if heard:
            extra |= {"grad_norm": 3.0 * float(losses[index]), "acc": index}
        if rng.random() < odd:
            extra[str(choose(["note", "skipped", "loss", "acc"]))] = True
        updates = None
        if with_updates and index % 10 == 0:
            updates = np.abs(rng.normal(0.0, 1e-3, layers)) * (300.0 if rng.random() < odd else 1.0)
        step = max(1, index + 1 - back - (rng.random() < odd))
        items.append(Frame(step, t, norms[index], extra, updates))
    return header, [*items, *([End("closed", t, frames)] if rng.random() < 0.5 else [])]


def written(header: Header, items: Sequence[Item]) -> bytes:
    """Write a run as a log."""
    return b"".join(map(encode, [header, *items]))


def inside(value: Any) -> Any:
    """Return all that an object holds, in a form that can be compared."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (list, tuple, deque)):
        return [inside(each) for each in value]
    if isinstance(value, dict):
        return {repr(key): inside(each) for key, each in value.items()}
    names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
    if not names:
        return repr(value if not isinstance(value, (set, frozenset)) else sorted(value))
    return type(value).__name__, {name: inside(getattr(value, name)) for name in sorted(names)}
