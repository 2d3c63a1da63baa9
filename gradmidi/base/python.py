"""The Python that runs this program, to start processes of gradmidi with."""

import sys

__all__ = ["python"]


def python() -> str:
    """Return the path of the running Python.

    Raises
    ------
    FileNotFoundError
        If Python does not know it, as in a program that embeds Python.
    """
    if not sys.executable:
        raise FileNotFoundError(
            "this program does not say where its Python is (sys.executable is not set)"
        )
    return sys.executable
