"""A fault of a whole run in words, with the processes that had it first, or that are slow."""

from collections.abc import Sequence

from gradmidi.detection.history import Fault
from gradmidi.detection.kinds import SLOW
from gradmidi.text.words import fault, listed, number

__all__ = ["fault_of", "ranks_of"]


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
