"""Import optional packages, with an error that says which version is needed."""

import re
from collections.abc import Sequence
from importlib import import_module, metadata
from types import ModuleType

from gradmidi.errors import CaptureError

__all__ = ["TORCH", "check_version", "framework"]

TORCH = "2.4"
"""The oldest PyTorch that `listen` supports."""


def framework(module: str, packages: str | Sequence[str], least: str) -> ModuleType:
    """Import a module of a framework; raise if its package is missing or too old.

    Parameters
    ----------
    module : str
        The module to import.
    packages : str or sequence of str
        The package on PyPI. Of several, any one is enough, and errors name the first.
    least : str
        The oldest version supported.

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
    """Check that a package, if installed, is new enough, without importing it.

    Parameters
    ----------
    packages : str or sequence of str
        The package on PyPI. Of several, any one is enough, and errors name the first.
    least : str
        The oldest version supported.

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
