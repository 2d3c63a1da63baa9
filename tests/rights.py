"""Whom the rights of files bind: anybody but root, as which tests may run."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

DROP = "-dac_override,-dac_read_search"


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Be no root for a while, who may write into every folder."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def bound() -> list[str]:
    """What starts a program as one that rights bind, in folders of the user who runs the tests."""
    if not hasattr(os, "geteuid"):
        pytest.skip("Windows has no such rights")
    if os.geteuid() != 0:
        return []
    words = ["setpriv", f"--inh-caps={DROP}", f"--bounding-set={DROP}"]
    if shutil.which("setpriv") is None or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("root may read and write everything, and setpriv cannot change that here")
    return words
