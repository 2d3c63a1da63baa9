"""A real browser for the page's tests: Chromium, driven by Playwright, never on the network."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gradmidi._render import render

MODULES = ("axe-core@4.14.1", "puppeteer-core@25.16.0")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def write_page(tmp_path: Path) -> Callable[..., Path]:
    """Write a run's page."""

    def write(run: Path, *, preset: str = "pentatonic", length: float | None = None) -> Path:
        (path,) = render(run, tmp_path / "run.html", preset=preset, length=length)
        return path

    return write


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory):
    """Start Debian's Chromium with a profile of its own."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open a file; whatever the page complains of or asks the network for fails the test."""
    opened = []

    def visit(path: Path, **options):
        options.setdefault("viewport", {"width": 1200, "height": 900})
        context = chromium.new_context(**options)
        page = context.new_page()
        page.warnings = []
        page.on("console", lambda message: page.warnings.append(message.text))
        page.on("pageerror", lambda error: page.warnings.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(("file:", "blob:", "data:"))
                else page.warnings.append(request.url)
            ),
        )
        page.goto(path.as_uri())
        opened.append((context, page))
        return page

    yield visit
    warnings = [trouble for _, page in opened for trouble in page.warnings]
    for context, _ in opened:
        context.close()
    assert warnings == []


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with axe-core, and what drives Firefox, from npm."""
    if shutil.which("npm") is None:
        pytest.skip("no npm")
    folder = tmp_path_factory.mktemp("modules")
    command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", ".", *MODULES]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="session")
def axe(modules: Path) -> str:
    """The source of axe-core."""
    return (modules / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
