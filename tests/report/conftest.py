"""A real browser for the page's tests: Chromium, driven by Playwright, never on the network."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gradmidi.log import RunLog
from gradmidi.music.events import Alarm, Event, Step
from gradmidi.music.preset import load
from gradmidi.music.score import score_of
from gradmidi.report.report import Report

AXE = "axe-core@4.14.1"

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
    """Write a run's page; `faults` are (slot, kind, layer), placed at the slot's first tick."""

    def write(
        run: Path,
        *,
        preset: str = "pentatonic",
        faults: tuple[tuple[int, str, str], ...] = (),
        length: float | None = None,
    ) -> Path:
        log = RunLog(run)
        score = score_of(log, load(preset), length=length)
        report = Report(tmp_path / "run.html", score, log)
        slot = -1

        def told(events: list[Event]) -> Iterator[Event]:
            nonlocal slot
            for event in events:
                yield event
                if isinstance(event, Step):
                    slot += 1
                    for at, kind, layer in faults:
                        if at == slot:
                            yield Alarm(event.tick, kind, layer, event.step, float("nan"))

        for item in log.items():
            report.send(list(told(score.feed(item))))
        report.send(list(told(score.finish())))
        report.close()
        return report.path

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
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm."""
    if shutil.which("npm") is None:
        pytest.skip("no npm")
    folder = tmp_path_factory.mktemp("axe")
    command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", ".", AXE]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")
