"""The faults of a whole run in words: each one, in full or in short, and a verdict on all."""

from collections.abc import Sequence

from gradmidi.detection.history import Fault
from gradmidi.detection.kinds import FAULTS, SLOW
from gradmidi.text.words import count, fault, layers_of, listed, logged_value, number

__all__ = ["broke", "fault_of", "ranks_of", "short", "verdict"]

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


def fault_of(found: Fault) -> str:
    """Return what is wrong, and where, without its step.

    Examples
    --------
    >>> fault_of(Fault("nan", ("fc1",), (7, 9), (0.7, 0.9), 0.0, 7, present=4, ranks=(2,)))
    'fc1 nan, on rank 2 first'
    >>> fault_of(Fault("slow", (), (7, 9), (0.7, 0.9), 0.42, 9, ranks=(3,), others=0.2))
    'rank 3 is slow (its own work takes 0.42 s a step, that of the others 0.2 s)'
    """
    if found.kind == SLOW.name:
        are, their = ("is", "its") if len(found.ranks) == 1 else ("are", "their")
        others = f"that of the others {number(found.others, 2)} s"
        times = f"{their} own work takes {number(found.value, 2)} s a step, {others}"
        return f"{ranks_of(found.ranks)} {are} slow ({times})"
    what = fault(
        found.kind,
        found.layers,
        found.value,
        found.present,
        found.logged,
        found.below,
        found.first,
    )
    return f"{what}, on {ranks_of(found.ranks)} first" if found.ranks else what


def ranks_of(ranks: Sequence[int]) -> str:
    """Return which processes these are.

    Examples
    --------
    >>> ranks_of([3]), ranks_of([1, 2]), ranks_of(range(8))
    ('rank 3', 'ranks 1 and 2', 'ranks 0, 1, 2 and 5 more')
    """
    return f"rank{'s' if len(ranks) > 1 else ''} {listed(list(map(str, ranks)))}"


def broke(faults: Sequence[Fault]) -> Fault | None:
    """Return the first fault that broke the run: one that lasts to the end, or an urgent one."""
    return next(iter(_breaking(faults)), None)


def _breaking(faults: Sequence[Fault]) -> list[Fault]:
    return [
        each
        for each in faults
        if FAULTS[each.kind].lasting and (each.to_the_end or FAULTS[each.kind].urgent)
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
    what = fault_of(first).partition(" (")[0]
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
    if found.kind == SLOW.name:
        return f"{ranks_of(found.ranks)} {found.kind}"
    if not found.layers:
        return f"run {found.kind}"
    if len(found.layers) == 1:
        return f"{found.layers[0]} {found.kind}"
    who = "all" if len(found.layers) >= found.present > 0 else f"{len(found.layers):,}"
    return f"{who} layers {found.kind}"


def _happened(found: Fault) -> str:
    happened = HAPPENED[found.kind]
    where = f" on {ranks_of(found.ranks)} first" if found.ranks else ""
    if found.logged:
        return f"{logged_value(found.logged)} {happened}{where}"
    who = layers_of(found.layers, found.present or len(found.layers) + 1)[0]
    if len(found.layers) > MOST_NAMED and who != "all layers":
        who = f"{found.layers[0]} and {len(found.layers) - 1:,} more layers"
        if 2 * len(found.layers) > found.present > 0:
            who = f"{len(found.layers):,} of {found.present:,} layers"
    return f"{who} {happened.format('its' if len(found.layers) == 1 else 'their')}{where}"
