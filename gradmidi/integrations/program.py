"""Run a script or a module in this process as Python does, and detect its imports.

`runpy` removes the script's `__main__` after its last line, but threads, exit handlers and spawned
processes of the script still need it. Here it is kept.
"""

import contextlib
import functools
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType

__all__ = ["Program", "when_imported"]

MAIN = "__main__"


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run: ``python NAME ARGUMENTS…``, or ``python -m NAME ARGUMENTS…``.

    Parameters
    ----------
    name : str
        A script, a folder or a zip file that holds `__main__.py`; or a module.
    arguments : tuple of str
        The other elements of its `sys.argv`.
    module : bool, default False
        Whether `name` is a module.
    """

    name: str
    arguments: tuple[str, ...] = ()
    module: bool = False

    def run(self) -> None:
        """Run the program as `__main__`, until its last line.

        Its exceptions are raised, including `SystemExit`; a traceback that ends the process starts
        in the program, not in this module.

        Raises
        ------
        ImportError
            If the program cannot be found.
        """
        sys.argv[:] = [self.name, *self.arguments]
        try:
            code, main = self._loaded()
            sys.modules[MAIN] = main
            exec(code, main.__dict__)  # noqa: S102  this runs the program
        except BaseException as error:
            begin = _beginning(error.__traceback__)
            sys.excepthook = functools.partial(_shown, sys.excepthook, error, begin)
            raise

    def _loaded(self) -> tuple[CodeType, ModuleType]:
        spec: ModuleSpec | None = None
        if self.module:
            _set_first_path(os.getcwd())
            spec = _module(self.name)
        elif pkgutil.get_importer(self.name) is not None:
            _set_first_path(os.path.abspath(self.name))
            spec = _inside(self.name)
        else:
            _set_first_path(os.path.dirname(os.path.realpath(self.name)))
        main = ModuleType(MAIN)
        if "__annotations__" in vars(sys.modules[MAIN]):
            main.__annotations__ = {}
        if spec is None:
            path = os.path.abspath(self.name)
            code = _code(path)
            main.__dict__.update(
                __file__=path, __cached__=None, __loader__=SourceFileLoader(MAIN, path)
            )
            return code, main
        main.__dict__.update(
            __file__=spec.origin,
            __cached__=spec.cached,
            __loader__=spec.loader,
            __package__=spec.parent,
            __spec__=spec,
        )
        found: CodeType | None = spec.loader.get_code(spec.name)  # type: ignore[union-attr]
        if found is None:
            raise ImportError(f"No code object available for {self.name}")
        if self.module and spec.origin is not None:
            sys.argv[0] = spec.origin
        return found, main


def _set_first_path(folder: str) -> None:
    """Set ``sys.path[0]`` as Python does for this program; gradmidi is imported already."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _module(name: str) -> ModuleSpec:
    """Find a module; for a package, the module that `python -m` runs."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name = f"{name}.{MAIN}"
        spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"No module named {name}")
    return spec


def _inside(path: str) -> ModuleSpec:
    """Find the `__main__` of a folder or a zip file."""
    importer = pkgutil.get_importer(path)
    spec = None if importer is None else importer.find_spec(MAIN, None)
    if spec is None or spec.loader is None:
        raise ImportError(f"can't find '{MAIN}' module in {path!r}")
    return spec


def _code(path: str) -> CodeType:
    if path.endswith(".pyc"):
        compiled = SourcelessFileLoader(MAIN, path).get_code(MAIN)
        assert compiled is not None
        return compiled
    loader = SourceFileLoader(MAIN, path)
    # get_code() would write a compiled copy next to the script.
    code: CodeType = loader.source_to_code(loader.get_data(path), path)
    return code


def _beginning(traceback: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the first frames, of this module and Python's import system."""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file != __file__ and not file.startswith("<frozen importlib"):
            break
        traceback = traceback.tb_next
    return traceback


def _shown(
    before: Callable[..., object],
    error: BaseException,
    begin: TracebackType | None,
    kind: type[BaseException],
    value: BaseException,
    traceback: TracebackType | None,
) -> None:
    """Print `error` with a traceback that starts in the program; used as `sys.excepthook`."""
    if value is error:
        traceback = begin
        value = value.with_traceback(begin)
    before(kind, value, traceback)


def when_imported(name: str, then: Callable[[], None]) -> None:
    """Call `then` after the module `name` is imported anywhere; at once if it is imported already.

    Parameters
    ----------
    name : str
        Name of a top-level module.
    then : callable
        Called at the end of the import. Must not raise.

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
    """Finder that finds a module by the other finders, and calls `then` after it is loaded."""

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
            # Patch the loader, so that the module's `__loader__` is still Python's own.
            loader.exec_module = functools.partial(self._load, loader)  # type: ignore[method-assign]
        return spec

    def _load(self, loader: object, module: ModuleType) -> None:
        with contextlib.suppress(AttributeError):
            del loader.exec_module  # type: ignore[attr-defined]
        loader.exec_module(module)  # type: ignore[attr-defined]
        # Only after a successful import, since a failed import may be tried again.
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)
        self._then()
