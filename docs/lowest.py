"""Print the oldest version that pyproject.toml allows of each library, as constraints for pip."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"

EXTRAS = ("midi", "train", "plot", "film", "audio", "notify")
"""Extras of users; those of tests and development have no oldest versions to support."""


def lowest(requirements: list[str]) -> list[str]:
    """Return a constraint for each requirement with a lower bound.

    Examples
    --------
    >>> lowest(["numpy>=1.26", "rtmidi2>=1.5; python_version >= '3.13'", "torch"])
    ['numpy==1.26', "rtmidi2==1.5; python_version >= '3.13'"]
    """
    pattern = re.compile(r"([\w.-]+)>=([\d.]+)(.*)")
    return [f"{m[1]}=={m[2]}{m[3]}" for each in requirements if (m := pattern.fullmatch(each))]


if __name__ == "__main__":
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    found = [*project["dependencies"], *(each for name in EXTRAS for each in extras[name])]
    print(*sorted(set(lowest(found))), sep="\n")
