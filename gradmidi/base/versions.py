"""A framework that an adapter stands on: found, new enough, or told which one is needed."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

from gradmidi.errors import CaptureError

__all__ = ["TORCH", "adapter", "check_options", "check_version", "framework"]

TORCH = "2.4"
"""The oldest PyTorch that can be listened to."""


def framework(module: str, packages: str | Sequence[str], least: str) -> ModuleType:
    """Import a framework's module, if its package is new enough.

    Parameters
    ----------
    module : str
        What to import.
    packages : str or sequence of str
        The package that has it, as pip calls it; of several any will do, the first is advised.
    least : str
        The oldest version that will do.

    Raises
    ------
    CaptureError
        If it is not installed, or too old.

    Examples
    --------
    >>> framework("numpy.linalg", "numpy", "1.26").__name__
    'numpy.linalg'
    >>> framework("numpy", "numpy", "99.1")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gradmidi.errors.CaptureError: numpy 99.1 or newer is needed; ...: pip install 'numpy>=99.1'
    """
    if not check_version(packages, least):
        raise CaptureError(_needed(packages, least, "it is not installed"))
    return import_module(module)


def check_version(packages: str | Sequence[str], least: str) -> bool:
    """See to it that a package is new enough, if it is installed; it is not imported.

    Parameters
    ----------
    packages : str or sequence of str
        What pip calls it; of several any will do, the first is advised.
    least : str
        The oldest version that will do.

    Returns
    -------
    bool
        Whether it is installed.

    Raises
    ------
    CaptureError
        If it is too old.
    """
    too_old = ""
    for package in (packages,) if isinstance(packages, str) else packages:
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        if _numbers(found) >= _numbers(least):
            return True
        too_old = found
    if too_old:
        raise CaptureError(_needed(packages, least, f"this is {too_old}"))
    return False


def _needed(packages: str | Sequence[str], least: str, there: str) -> str:
    name = packages if isinstance(packages, str) else packages[0]
    return f"{name} {least} or newer is needed; {there}: pip install '{name}>={least}'"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def check_options(
    given: Mapping[str, Any], of: Callable[..., Any], *, besides: Sequence[str] = ()
) -> None:
    """See to it that a mistyped option is found where it was written, not when training starts.

    Raises
    ------
    CaptureError
        If `of` takes no such keyword, or it is one of those `besides`.

    Examples
    --------
    >>> from gradmidi.listener.listen import listen
    >>> check_options({"preset": "hold"}, listen)
    >>> check_options({"perset": "hold"}, listen)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gradmidi.errors.CaptureError: there is no option 'perset'; there are: out, preset, rig, ...
    """
    known = [
        name
        for name, parameter in inspect.signature(of).parameters.items()
        if (parameter.kind is parameter.KEYWORD_ONLY or name == "out") and name not in besides
    ]
    for name in given:
        if name not in known:
            raise CaptureError(f"there is no option {name!r}; there are: {', '.join(known)}")


def adapter(own: type, base: type, name: str) -> type:
    """Make a framework's class of ours: picklable, since it is found where it says it is.

    Parameters
    ----------
    own : type
        What gradmidi does, and the documentation.
    base : type
        The framework's class that its methods override.
    name : str
        What users call it.
    """
    told = {"__module__": own.__module__, "__qualname__": name, "__doc__": own.__doc__}
    return type(name, (own, base), told)
