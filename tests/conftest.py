"""What every test stands on."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from gradmidi.base.messages import LOGGER

ROOT = Path(__file__).parent.parent
# Programs that tests or developers run, without tests of their own. One needs atheris.
collect_ignore = ["scripts", "fuzz/guided.py"]
# Without this, pytest 9.2 looks for docstring examples in these and cannot import two of one name.
collect_ignore_glob = ["conftest.py", "*/conftest.py"]


def pytest_configure(config: pytest.Config) -> None:
    """Choose the same examples in each run, and let processes that tests start be interrupted.

    `--hypothesis-profile default` chooses other examples in each run. A process in the background
    of a script ignores Ctrl-C, one under nohup SIGHUP, and so do the processes they start.
    """
    settings.register_profile("same", derandomize=True)
    if config.getoption("--hypothesis-profile", None) is None:
        settings.load_profile("same")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests and docstring examples that need torch where it is not installed."""
    if find_spec("torch") is not None:
        return
    for item in items:
        examples = getattr(getattr(item, "dtest", None), "examples", ())
        in_docstring = any("torch" in example.source for example in examples)
        if in_docstring or item.get_closest_marker("needs_torch"):
            item.add_marker(pytest.mark.skip(reason="could not import 'torch'"))


@pytest.fixture(scope="session", autouse=True)
def _children_run_this_tree() -> Iterator[None]:
    """Let each process a test starts import the package from here, as the test itself does."""
    before = os.environ.get("PYTHONPATH")
    paths = [str(ROOT), *([before] if before else [])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        yield


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Collect the messages to the user that this process gives during a test."""
    handler = _Lines()
    monkeypatch.setattr(LOGGER, "level", logging.INFO)
    LOGGER.addHandler(handler)
    try:
        yield handler.lines
    finally:
        LOGGER.removeHandler(handler)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let nothing be installed but packages of such versions, as pip tells of them."""

    def only(**packages: str) -> None:
        site = tmp_path / "site-packages"
        site.mkdir()
        for name, version in packages.items():
            told = site / f"{name.replace('-', '_')}-{version}.dist-info"
            told.mkdir()
            text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            (told / "METADATA").write_text(text, encoding="utf-8")
        monkeypatch.setattr(sys, "path", [str(site)])

    return only
