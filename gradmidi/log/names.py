"""Names of layers without what wrappers put into them."""

from collections.abc import Sequence

__all__ = ["unwrapped"]

WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Names that a wrapper puts into the path of what it wraps, wherever it stands."""

LEADING_WRAPPERS = (("module",), ("base_model", "model"))
"""The same, but only at the head of every path: a user's own module may be called so."""


def unwrapped(paths: Sequence[Sequence[str]]) -> list[list[str]]:
    """Remove the names of wrappers from the paths of all layers.

    Examples
    --------
    >>> unwrapped([["module", "_orig_mod", "fc1"], ["module", "head"]])
    [['fc1'], ['head']]
    >>> unwrapped([["module", "fc1"], ["head"]])
    [['module', 'fc1'], ['head']]
    """
    found = [[part for part in path if part not in WRAPPERS] for path in paths]
    for head in LEADING_WRAPPERS:
        if found and all(tuple(path[: len(head)]) == head for path in found):
            return unwrapped([path[len(head) :] for path in found])
    return found
