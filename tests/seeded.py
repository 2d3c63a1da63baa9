"""Seeded training runs with known faults: an architecture, a fault and a seed give the norms.

Everything is trained for real, in seconds, on one CPU thread. A fault is put into the training
itself (a rate too high, a gradient that is cut, a batch that is wrong), never into the norms.

Which runs a threshold may be tuned on: those of the families `families.TUNED` with seeds below
`FIRST_HELD_OUT`. The families `families.HELD_OUT`, and every seed from `FIRST_HELD_OUT` on, are
for testing alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from families import DEEP, FAMILIES, FAULTY, HEALTHY, Family

from gradmidi.demo.experiments import repeatable
from gradmidi.log import ABSENT, End, Frame, Header, Item, Layer

torch = pytest.importorskip("torch")
Tensor, nn = torch.Tensor, torch.nn

FIRST_HELD_OUT = 1000

ANY_LAYER = None


@dataclass(frozen=True)
class Truth:
    """What is wrong with a run.

    Parameters
    ----------
    kinds : tuple of str
        The names it may rightly be given; the first is the one that says best what was done.
    layers : tuple of int or None
        The layers it may rightly be laid to; -1 is the whole run; None is any.
    step : int
        The first step that it can be seen at.
    within : int
        How many steps later it must be told at the latest.
    """

    kinds: tuple[str, ...]
    layers: tuple[int, ...] | None
    step: int
    within: int


@dataclass(frozen=True)
class Made:
    """A run that was made: what a log would hold of it, and the truth."""

    family: str
    fault: str
    seed: int
    layers: tuple[Layer, ...]
    items: tuple[Item, ...]
    losses: tuple[float, ...]
    truth: Truth | None

    @property
    def frames(self) -> tuple[Frame, ...]:
        return tuple(item for item in self.items if isinstance(item, Frame))

    @property
    def norms(self) -> np.ndarray:
        return np.stack([frame.norms for frame in self.frames])

    @property
    def header(self) -> Header:
        return Header(self.layers, model=self.family, clipping="none")


@dataclass
class _Tamper:
    """What is done to the training at each step: plain numbers that the hooks read."""

    factor: float = 1.0  # on the gradient of one module's output
    inputs: float = 1.0
    loss: float = 1.0
    weights: float = 1.0  # on the gradient of one layer's own parameters


def make(family: str, fault: str, seed: int, steps: int | None = None) -> Made:
    """Train one run.

    Parameters
    ----------
    family : str
        One of `families.FAMILIES`.
    fault : str
        One of the family's `faults`.
    seed : int
        Of everything that is random in it.
    steps : int, optional
        By default 1000 where nothing is wrong, and 260 where something is.
    """
    steps = steps or (1000 if fault in HEALTHY else 260)
    if fault in HEALTHY:
        # A run that learns nothing, as deep sigmoids may, is not one in which all is well.
        tried = (_made(family, fault, (seed, attempt), steps, 1.0) for attempt in range(10))
        return next(made for made in tried if _learns(made))
    if fault not in ("rate", "late rate"):
        return _made(family, fault, (seed,), steps, 1.0)
    # A rate is too high where the loss says so (not the norms): it blows up or never falls.
    raised = (_made(family, fault, (seed,), steps, 3.0**power) for power in range(2, 13))
    return next(made for made in raised if not _learns(made) or _blows_up(made))


def _learns(made: Made) -> bool:
    """Whether the loss fell and never came back."""
    means = _smooth(made.losses)
    return bool(means[-1] < 0.95 * made.losses[0] and (means[100:] < made.losses[0]).all())


def _blows_up(made: Made) -> bool:
    return bool(_smooth(made.losses).max() > 10.0 * made.losses[0])


def _smooth(losses: Sequence[float]) -> np.ndarray:
    return np.convolve(losses, np.full(30, 1.0 / 30.0), "valid")


def _made(family: str, fault: str, seed: tuple[int, ...], steps: int, raised: float) -> Made:
    kind = FAMILIES[family]
    assert fault in kind.faults
    order = (*HEALTHY, *FAULTY, DEEP)
    random = np.random.default_rng([*seed, list(FAMILIES).index(family), order.index(fault)])
    with repeatable(int(random.integers(1 << 31))):
        return _train(family, kind, fault, seed[0], steps, raised, random)


def _train(
    family: str,
    kind: Family,
    fault: str,
    seed: int,
    steps: int,
    raised: float,
    random: np.random.Generator,
) -> Made:
    optimizer_name, rate = kind.settings[random.integers(len(kind.settings))]
    rate *= float(random.uniform(0.7, 1.4))
    size = int(kind.sizes[random.integers(len(kind.sizes))])
    at = int(random.integers(100, 170))
    begin = 1 if fault.endswith("from the start") or fault == "rate" else at
    model = kind.build()
    names, groups = _owners(model, kind.parameters)
    layers = tuple(
        Layer(name, sum(p.numel() for p in group))
        for name, group in zip(names, groups, strict=True)
    )
    sites = kind.biased if fault.startswith("dead") and kind.biased else kind.sites
    site = names.index(sites[random.integers(len(sites))])
    tamper = _Tamper()
    modules = dict(model.named_modules())
    modules[names[site]].register_forward_hook(_cut(tamper))
    owned = list(modules[names[site]].parameters(recurse=False))
    batches = kind.batches(random, size, 4 * size if fault == "decay" else None)
    skipped = set(random.choice(np.arange(at, at + 12), 2, replace=False).tolist())
    apart = float(random.choice([0.02, 0.1, 0.6]))
    gap = apart * float(random.uniform(8, 20)) + 10.0

    optimizer = _optimizer(optimizer_name, model, rate)
    items: list[Item] = []
    losses: list[float] = []
    t = 0.0
    for step in range(1, steps + 1):
        if fault == "restart" and step == at * 3:
            optimizer = _optimizer(optimizer_name, model, rate)
            items += [End("closed", t, step - 1), Header(layers, model=family, resumed=True)]
        _turn(tamper, fault, step - begin, random, kind)
        for group in optimizer.param_groups:
            group["lr"] = rate * _rate(fault, step, at, steps, raised)
        if fault.startswith("dead") and kind.biased and step == begin:
            with torch.no_grad():
                modules[names[site]].bias.fill_(-1e4)  # type: ignore[union-attr]
        frozen = kind.frozen if fault == "unfreeze" and step < at * 2 else 0
        x, y = next(batches)
        optimizer.zero_grad(set_to_none=True)
        for index, group in enumerate(groups):
            for parameter in group:
                parameter.requires_grad_(index >= frozen)
        if tamper.inputs != 1.0:
            x = tamper.inputs * torch.randn_like(x)
        loss = kind.loss(model(x), y)
        if fault == "nan loss" and step == begin:
            loss = loss * math.nan
        (loss * tamper.loss).backward()
        if tamper.weights != 1.0:
            for parameter in owned:
                parameter.grad *= tamper.weights
        norms = _norms(groups)
        extra: dict[str, float | bool] = {"loss": float(loss.detach())}
        if fault == "skipped" and step in skipped:
            norms[random.random(len(norms)) < 0.5] = math.inf
            norms[site] = math.inf
            extra["skipped"] = True
        else:
            optimizer.step()
        t += apart * float(random.lognormal(0.0, 0.2))
        if fault == "stalled" and step == at:
            t += gap
        losses.append(float(loss.detach()))
        items.append(Frame(step, t, norms, extra))
    if fault == "died":
        del items[at:]
    else:
        items.append(End("closed", t + apart, steps))
    truth = None if fault in HEALTHY else _truth(fault, kind, names, site, begin, skipped, at)
    return Made(family, fault, seed, layers, tuple(items), tuple(losses), truth)


def _turn(
    tamper: _Tamper, fault: str, since: int, random: np.random.Generator, kind: Family
) -> None:
    """Set what is done at a step, `since` steps after the fault began (negative before)."""
    tamper.factor = tamper.inputs = tamper.loss = tamper.weights = 1.0
    now = since == 0
    if since < 0:
        return
    if fault == "nan" and now:
        tamper.factor = math.nan
    elif fault == "inf" and now:
        tamper.factor = 1e30
    elif fault == "exploding":
        tamper.factor = 10.0 ** min(4.0, 0.25 * (since + 1))
    elif fault == "vanishing":
        tamper.factor = 10.0 ** -min(6.0, 0.2 * (since + 1))
    elif fault.startswith("dead") and not kind.biased:
        tamper.factor = 0.0
    elif fault == "spike" and now:
        scale = float(10.0 ** random.uniform(1.5, 2.5))
        if kind.noisy_inputs and random.random() < 0.5:
            tamper.inputs = scale
        else:
            tamper.loss = scale
    elif fault == "layer spike" and now:
        tamper.weights = float(10.0 ** random.uniform(1.5, 2.5))


def _rate(fault: str, step: int, at: int, steps: int, raised: float) -> float:
    if fault == "warmup":
        return min(1.0, step / 200.0)
    if fault == "drop":
        return 0.1 if step > steps // 2 else 1.0
    if fault == "rate" or (fault == "late rate" and step >= at):
        return raised
    return 1.0


def _truth(
    fault: str,
    kind: Family,
    names: Sequence[str],
    site: int,
    begin: int,
    skipped: set[int],
    at: int,
) -> Truth:
    whole = (-1,)
    # Where all before the site goes the same way the whole run may be named as well.
    here = (site, -1) if site + 1 > len(names) / 2 else (site,)
    # Of weights alone the layer after one that says nothing has nothing to learn from either.
    dying = (*here, site + 1) if kind.parameters == "weights" else here
    if kind.parameters == "weights" and site + 2 > len(names) / 2:
        dying = (*dying, -1)
    return {
        "rate": Truth(("exploding", "nan", "inf", "dead", "vanishing"), ANY_LAYER, 1, 260),
        "late rate": Truth(("exploding", "nan", "inf", "dead", "vanishing"), ANY_LAYER, begin, 260),
        "nan": Truth(("nan",), here, begin, 0),
        "nan loss": Truth(("nan",), whole, begin, 0),
        "inf": Truth(("inf", "nan"), here, begin, 0),
        "exploding": Truth(("exploding", "nan", "inf"), here, begin, 60),
        "vanishing": Truth(("vanishing",), here, begin, 80),
        DEEP: Truth(("vanishing",), tuple(range(-1, len(names) // 2)), 1, 100),
        "dead": Truth(("dead",), dying, begin, 60),
        "dead from the start": Truth(("dead",), dying, 1, 60),
        "spike": Truth(("spike",), whole, begin, 1),
        "layer spike": Truth(("spike",), (site,), begin, 1),
        "skipped": Truth(("skipped",), whole, min(skipped), 0),
        "stalled": Truth(("stalled",), whole, at - 1, 1),
        "died": Truth(("died",), whole, at, 0),
    }[fault]


def _optimizer(name: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    if name == "adam":
        return torch.optim.Adam(model.parameters(), rate)
    return torch.optim.SGD(model.parameters(), rate, momentum=0.5)


def _cut(tamper: _Tamper) -> Callable[[nn.Module, object, object], None]:
    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        assert isinstance(tensor, Tensor)
        if tamper.factor != 1.0 and tensor.requires_grad:
            factor = tamper.factor
            tensor.register_hook(lambda gradient: gradient * factor)

    return hook


def _owners(model: nn.Module, parameters: str) -> tuple[list[str], list[list[nn.Parameter]]]:
    names, groups = [], []
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if parameters == "weights":
            own = {key: value for key, value in own.items() if key == "weight"}
        if own:
            names.append(name)
            groups.append(list(own.values()))
    return names, groups


def _norms(groups: Sequence[Sequence[nn.Parameter]]) -> np.ndarray:
    row = np.full(len(groups), ABSENT)
    for index, group in enumerate(groups):
        gradients = [p.grad for p in group if p.grad is not None]
        if gradients:
            row[index] = float(torch.stack(torch._foreach_norm(gradients)).norm())
    return row
