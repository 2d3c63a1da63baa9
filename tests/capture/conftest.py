"""What the tests of capture share."""

from pathlib import Path

import pytest


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a run that is not there yet."""
    return tmp_path / "a"
