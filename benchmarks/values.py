"""Measure how often a loss that is heard is called a fault, in healthy runs and in broken ones.

    python benchmarks/values.py [--quick] [MODEL...]

Seeded training runs of the models of tests/families.py, with seeds that no threshold was chosen on.
The limit of a loss was there before (`[faults] diverging`), and was not changed after this. For
each model the script prints the steps of healthy runs and the spikes and explosions found in their
losses; then, for runs whose learning rate is too high, in how many the loss is found exploding,
spiking or not finite: a loss that merely does not fall is none of these. PyTorch is needed. With
--quick, one seed, and of the healthy runs those whose rate is as it should be, and those whose loss
falls by decades.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from families import FAMILIES, HEALTHY
from seeded import FIRST_HELD_OUT, make

from gradmidi.detection.detector import Watch
from gradmidi.detection.kinds import Faults
from gradmidi.log import Frame, row

SEEDS = (FIRST_HELD_OUT + 20, FIRST_HELD_OUT + 21)


def kinds(losses: tuple[float, ...]) -> list[str]:
    """Return the kinds of faults found in the losses alone."""
    watch = Watch((), Faults())
    found = []
    for step, loss in enumerate(losses, 1):
        frame = Frame(step, 0.1 * step, row([]), {"loss": float(np.float64(loss))})
        found += [finding.kind for finding in watch.add(frame)]
    return found


def main(models: list[str], *, quick: bool) -> None:
    print("| model | healthy steps | spikes | exploding | rates too high | found |")
    print("|---|---|---|---|---|---|")
    healthy = ("steady", "decay") if quick else HEALTHY
    for name in models or FAMILIES:
        family = FAMILIES[name]
        steps = spikes = exploding = high = found = 0
        for seed in SEEDS[: 1 if quick else None]:
            for fault in family.faults:
                if fault in healthy:
                    losses = make(name, fault, seed).losses
                    steps += len(losses)
                    told = kinds(losses)
                    spikes += told.count("spike")
                    exploding += told.count("exploding")
                elif fault == "rate":
                    high += 1
                    found += bool(kinds(make(name, fault, seed).losses))
        if steps or high:
            print(f"| {name} | {steps:,} | {spikes} | {exploding} | {high} | {found} |", flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    main([word for word in given if word != "--quick"], quick="--quick" in given)
