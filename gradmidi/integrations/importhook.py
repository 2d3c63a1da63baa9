"""What is to be done once somebody has imported a module, however late that is."""

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["when_imported"]


def when_imported(name: str, then: Callable[[], None]) -> None:
    """Call `then` once the module `name` is imported, from anywhere; at once if it is already.

    Parameters
    ----------
    name : str
        A module that is not inside a package.
    then : callable
        What is done, within that import, when the module is whole. Must not raise.

    Examples
    --------
    >>> when_imported("sys", lambda: print("it is here already"))
    it is here already
    """
    if name in sys.modules:
        then()
    else:
        sys.meta_path.insert(0, _Waiting(name, then))


class _Waiting(MetaPathFinder):
    """Finds a module as all others would, and has its loader tell when it is loaded."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self.name = name
        self._then = then

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.name:
            return None
        found = (
            each.find_spec(name, path, target) for each in tuple(sys.meta_path) if each is not self
        )
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            loader = spec.loader
            # On the loader itself, so that the module finds nothing in it that is not Python's.
            loader.exec_module = functools.partial(self._load, loader)  # type: ignore[method-assign]
        return spec

    def _load(self, loader: object, module: ModuleType) -> None:
        with contextlib.suppress(AttributeError):
            del loader.exec_module  # type: ignore[attr-defined]
        loader.exec_module(module)  # type: ignore[attr-defined]
        # An import that fails is tried again, perhaps: only now there is nothing to wait for.
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)
        self._then()
