"""Train with learning rates from right to far too high; say what is found, and when.

    python benchmarks/rates.py [--set tuned|other] [--seeds N] [--folder DIR] [--all]

Prints Markdown. Each run trains a small network of `tests/families.py` for 260 steps with one
optimizer, at its usual rate (also with a warmup) or at 3, 9, 27, 81 or 243 times that rate, or at
27 or 243 times from step 126 on, with `gradmidi.listen(updates=10)`. A rate is too high if the loss
does not fall by 5 %, rises tenfold or, where the rate was raised late, by half.
Limits were chosen on the set `tuned` alone; `other` has other families and other seeds.

The table shows how many of the rates that are too high were named by the faults of gradients and
loss, by `overshooting`, and by either; how many steps `overshooting` came before the loss left its
range (above twice its first value, or not finite); and false alarms in runs that learn. If
trainscope is installed, its detectors are given the same losses; only what rises is counted.
"""

import argparse
import math
import pickle
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gradmidi
from gradmidi.detection.detector import Watch
from gradmidi.detection.kinds import Faults
from gradmidi.log import Item

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from families import FAMILIES

STEPS = 260
LATE = 125
"""The step after which a rate rises, if it does so late."""

HOW = (
    ("warmup", 1.0),
    *(("at once", factor) for factor in (1.0, 3.0, 9.0, 27.0, 81.0, 243.0)),
    *(("late", factor) for factor in (27.0, 243.0)),
)
SETS = {
    "tuned": (("digits", "sigmoid", "transformer", "regression"), 0),
    "other": (("batchnorm", "lstm", "deep relu", "digits", "transformer", "regression"), 1000),
}
UPDATES = 10
KIND = "overshooting"
RATES = ("exploding", "nan", "inf", "dead", "vanishing")
"""Faults of gradients and loss that a rate that is too high may rightly get."""


@dataclass(frozen=True)
class Made:
    """A run: what its log holds, and its losses."""

    name: str
    how: str
    factor: float
    items: tuple[Item, ...]
    losses: tuple[float, ...]

    @property
    def begin(self) -> int:
        """The step after which the rate is what it is."""
        return LATE if self.how == "late" else 0

    @property
    def learns(self) -> bool:
        """Whether the loss fell, and did not rise tenfold, nor much after the rate was raised."""
        smooth = np.convolve(self.losses, np.full(30, 1 / 30.0), "valid")
        if self.how == "late" and not smooth[-1] < 1.5 * smooth[LATE - 30]:
            return False
        return bool(smooth[-1] < 0.95 * self.losses[0] and smooth.max() < 10.0 * self.losses[0])

    @property
    def left(self) -> int | None:
        """The step at which the loss left its range."""
        begin = self.begin
        usual = max(self.losses[begin - 30 : begin] if begin else self.losses[:3])
        for step, loss in enumerate(self.losses[begin:], begin + 1):
            if not math.isfinite(loss) or loss > 2.0 * usual:
                return step
        return None


def made(family: str, setting: int, how: str, factor: float, seed: int) -> Made:
    """Train one run; `how` is one of `HOW`."""
    kind = FAMILIES[family]
    name, rate = kind.settings[setting]
    torch.manual_seed(1000 * seed + setting)
    random = np.random.default_rng([seed, setting])
    model = kind.build()
    make = torch.optim.Adam if name == "adam" else torch.optim.SGD
    more = {} if name == "adam" else {"momentum": 0.5}
    optimizer = make(model.parameters(), lr=rate * factor, **more)
    batches = kind.batches(random, kind.sizes[1], None)
    losses: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        with gradmidi.listen(
            model, optimizer, out=Path(folder) / "a", files=(), updates=UPDATES
        ) as ears:
            for step in range(1, STEPS + 1):
                x, y = next(batches)
                for group in optimizer.param_groups:
                    group["lr"] = (
                        rate
                        * {
                            "at once": factor,
                            "warmup": factor * min(1.0, step / 100.0),
                            "late": factor if step > LATE else 1.0,
                        }[how]
                    )
                optimizer.zero_grad()
                loss = kind.loss(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                ears.log(loss=losses[-1])
        items = tuple(gradmidi.read(Path(folder) / "a").items())
    title = f"{family}, {name} {rate:g} × {factor:g}, {how}, seed {seed}"
    return Made(title, how, factor, items, tuple(losses))


def runs(which: str, seeds: int, folder: Path | None) -> Iterator[Made]:
    """Train the runs of a set, or read those that were kept in a folder."""
    families, first = SETS[which]
    for family in families:
        for setting in range(len(FAMILIES[family].settings)):
            for seed in range(first, first + seeds):
                for how, factor in HOW:
                    kept = None
                    if folder is not None:
                        parts = (which, family, setting, seed, how, factor)
                        kept = folder / ("-".join(map(str, parts)).replace(" ", "") + ".pickle")
                        if kept.exists():
                            yield pickle.loads(kept.read_bytes())
                            continue
                    run = made(family, setting, how, factor, seed)
                    if kept is not None:
                        kept.write_bytes(pickle.dumps(run))
                    yield run


def found(run: Made) -> dict[str, int]:
    """Return the first step at which each kind of fault is found, not before the rate is raised."""
    watch = Watch(run.items[0].layers, Faults())
    first: dict[str, int] = {}
    for item in run.items:
        for finding in watch.add(item):
            if finding.step > run.begin:
                first.setdefault(finding.kind, finding.step)
    return first


def detectors() -> dict[str, Callable[[Made], int | None]]:
    """Return what is compared: the first step at which each names a run, or None."""
    ways: dict[str, Callable[[Made], int | None]] = {
        "faults of gradients and loss": lambda run: _first(run, RATES),
        "`overshooting`, from updates": lambda run: _first(run, (KIND,)),
        "**gradmidi, both**": lambda run: _first(run, (*RATES, KIND)),
    }
    try:
        from trainscope.core.detectors.changepoint import ChangePointDetector
        from trainscope.core.detectors.z_score import ZScoreDetector
    except ModuleNotFoundError:
        print("trainscope is not installed: left out", file=sys.stderr)
        return ways
    ways["trainscope, CUSUM (its default), upwards"] = lambda r: _risen(r, ChangePointDetector())
    ways["trainscope, z-score, upwards"] = lambda run: _risen(run, ZScoreDetector())
    return ways


def _first(run: Made, kinds: Sequence[str]) -> int | None:
    steps = [step for kind, step in found(run).items() if kind in kinds]
    return min(steps, default=None)


def _risen(run: Made, detector: Any) -> int | None:
    for step, loss in enumerate(run.losses, 1):
        score = detector.update(loss)
        # It takes a loss that falls for an anomaly too.
        if score is not None and not score < 0.0 and step > run.begin:
            return step
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", choices=SETS, default="other")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the runs here, and read them again")
    parser.add_argument("--all", action="store_true", help="print each run")
    given = parser.parse_args()
    made = list(runs(given.set, given.seeds, given.folder))
    wrong = [run for run in made if not run.learns]
    right = [run for run in made if run.learns and run.factor <= 3.0]
    high = [run for run in made if run.learns and run.factor > 3.0]
    print(
        f"| set {given.set!r} | of {len(wrong)} runs that do not learn | steps before the loss "
        f"left its range, median | of {len(right)} runs at 1 or 3 times the usual rate | of "
        f"{len(high)} that learn at a higher rate |"
    )
    print("|---|---|---|---|---|")
    for name, way in detectors().items():
        steps = [(run, way(run)) for run in wrong]
        leads = [run.left - step for run, step in steps if step is not None and run.left]
        lead = f"{statistics.median(leads):g} (in {len(leads)} runs)" if leads else "–"
        named = sum(step is not None for _, step in steps)
        false, more = (sum(way(run) is not None for run in each) for each in (right, high))
        print(f"| {name} | {named} | {lead} | {false} | {more} |")
    if given.all:
        for run in made:
            print(run.name, "learns" if run.learns else "does not learn", run.left, found(run))


if __name__ == "__main__":
    main()
