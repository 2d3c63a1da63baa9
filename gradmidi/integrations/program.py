"""A script or a module, run in this process as Python itself would run it.

`runpy` takes the script's `__main__` away again when its last line is done, while its threads,
its exit handlers and the processes it spawns still look for it: here it stays.
"""

import functools
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType

__all__ = ["Program"]

MAIN = "__main__"


@dataclass(frozen=True, slots=True)
class Program:
    """What is run: ``python NAME ARGUMENTS…``, or ``python -m NAME ARGUMENTS…``.

    Parameters
    ----------
    name : str
        A script, a folder or a zip file that holds `__main__.py`; or a module.
    arguments : tuple of str
        What it finds in `sys.argv` after its own name.
    module : bool, default False
        Whether `name` is a module.
    """

    name: str
    arguments: tuple[str, ...] = ()
    module: bool = False

    def run(self) -> None:
        """Run it as `__main__`, until its last line.

        What it raises is raised, `SystemExit` among it; should it end the process, its
        traceback begins in the program and not in here.

        Raises
        ------
        ImportError
            If it cannot be found.
        """
        sys.argv[:] = [self.name, *self.arguments]
        try:
            code, main = self._loaded()
            sys.modules[MAIN] = main
            exec(code, main.__dict__)  # noqa: S102  what this is for
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
    """Have imports look where they would without us; ours is loaded already."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _module(name: str) -> ModuleSpec:
    """Find a module; of a package, what `python -m` runs."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name = f"{name}.{MAIN}"
        spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"No module named {name}")
    return spec


def _inside(path: str) -> ModuleSpec:
    """Find what runs of a folder or a zip file."""
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
    # Not get_code(), which would keep a compiled copy beside the script.
    code: CodeType = loader.source_to_code(loader.get_data(path), path)
    return code


def _beginning(traceback: TracebackType | None) -> TracebackType | None:
    """Leave out what called the program: this module, and Python's own import system."""
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
    """Be `sys.excepthook` for `error`: show it from where the program begins."""
    if value is error:
        traceback = begin
        value = value.with_traceback(begin)
    before(kind, value, traceback)
