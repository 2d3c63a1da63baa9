"""The verdict on a run in one sentence, from its faults."""

import math
from collections.abc import Sequence

from gradmidi.detection.history import Fault
from gradmidi.detection.kinds import KINDS
from gradmidi.text.words import count, fault, layers_of

__all__ = ["broke", "short", "verdict"]

HAPPENED = {
    "nan": "became nan",
    "inf": "became infinite",
    "exploding": "exploded",
    "dead": "became exactly zero",
    "missing": "lost {} gradient",
    "vanishing": "vanished",
}
"""What happened to layers, by the kind of fault that lasts."""


MOST_NAMED = 3
"""Layers that are named one by one."""


def broke(faults: Sequence[Fault]) -> Fault | None:
    """Return the first fault that broke the run: one that lasts to the end, or an urgent one."""
    return next(iter(_breaking(faults)), None)


def _breaking(faults: Sequence[Fault]) -> list[Fault]:
    return [
        each
        for each in faults
        if KINDS[each.kind].lasting and (each.to_the_end or KINDS[each.kind].urgent)
    ]


def verdict(faults: Sequence[Fault]) -> str:
    """Return the verdict on a run: healthy, or what broke, when and where.

    Parameters
    ----------
    faults : sequence of Fault
        All faults of the run, in the order in which they began.

    Examples
    --------
    >>> verdict([Fault("exploding", ("fc1",), (8, 20), (0.8, 2.0), 1e5, 8, present=4)])
    'Broke at step 8: fc1 exploded'
    >>> verdict([Fault("spike", ("fc1",), (312, 312), (31.2, 31.2), 57.5, 312, present=4)])
    'Did not break; 1 fault, spike in fc1 at step 312'
    >>> loss = Fault("exploding", (), (4, 14), (0.4, 1.4), 3.6e7, 4, logged="loss")
    >>> verdict([loss, Fault("exploding", ("fc1",), (5, 20), (0.5, 2.0), 1e5, 8, present=4)])
    'Broke at step 4: the loss exploded; step 5: fc1 exploded'
    >>> dead = Fault("dead", ("fc1", "fc2"), (21, 90), (2.1, 9.0), 0.0, 33, True, present=2)
    >>> verdict([Fault("exploding", ("fc1",), (8, 20), (0.8, 2.0), 1e5, 8, present=2), dead])
    'Broke at step 8: fc1 exploded; step 21: all layers became exactly zero'
    >>> verdict([])
    'Healthy'
    """
    if not faults:
        return "Healthy"
    breaking = _breaking(faults)
    if breaking:
        stages = breaking[:1]
        # The loss alone does not say where.
        stages += [each for each in breaking if each.layers][:1]
        # How most layers ended is what is seen and heard for the rest of the run.
        stages += [
            each for each in breaking if each.to_the_end and 2 * len(each.layers) > each.present > 0
        ][-1:]
        told = dict.fromkeys(f"step {each.steps[0]}: {_happened(each)}" for each in stages)
        return f"Broke at {'; '.join(told)}"
    first = faults[0]
    step = first.steps[0]
    if first.kind == "died":
        return f"Stopped at step {step}: the log has no end"
    what = fault(first.kind, first.layers, math.nan, first.present, first.logged)
    what = what.partition(" (")[0]
    first_of = "the first: " if len(faults) > 1 else ""
    return f"Did not break; {count(len(faults), 'fault')}, {first_of}{what} at step {step}"


def short(found: Fault) -> str:
    """Return a fault in a few words, for a picture.

    Examples
    --------
    >>> short(Fault("dead", ("fc1",), (12, 60), (1.2, 6.0), 0.0, 24, True, present=4))
    'fc1 dead'
    """
    if found.logged:
        return f"{found.logged} {found.kind}"
    if not found.layers:
        return f"run {found.kind}"
    if len(found.layers) == 1:
        return f"{found.layers[0]} {found.kind}"
    who = "all" if len(found.layers) >= found.present > 0 else f"{len(found.layers):,}"
    return f"{who} layers {found.kind}"


def _happened(found: Fault) -> str:
    happened = HAPPENED[found.kind]
    if found.logged:
        name = "the loss" if found.logged == "loss" else f"the logged {found.logged}"
        return f"{name} {happened}"
    who = layers_of(found.layers, found.present or len(found.layers) + 1)[0]
    if len(found.layers) > MOST_NAMED and who != "all layers":
        who = f"{found.layers[0]} and {len(found.layers) - 1:,} more layers"
        if 2 * len(found.layers) > found.present > 0:
            who = f"{len(found.layers):,} of {found.present:,} layers"
    return f"{who} {happened.format('its' if len(found.layers) == 1 else 'their')}"
