"""Measure a run's page and picture: size, time to build, time to open and to redraw in a browser.

    python benchmarks/report.py [--quick]

The runs have 200 steps with 4 layers, 10,000 and 100,000 steps with 15 layers, and 100,000 steps
with 300 layers (with --quick, only the first two). Each page and picture is made by a separate
process that measures its own processor time. Then Chromium opens each page three times; the times
end when the page is loaded, and when its picture is drawn and it responds to a key. A redraw draws
all parts of the picture again, after it was moved a little: in milliseconds of a clock, and of a
processor. Without Playwright or Chromium, nothing is opened.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from memory import megabytes

from gradmidi._render import render
from gradmidi.log import End, Header, Layer, encode_end, encode_frame, encode_header

RUNS = ((200, 4), (10_000, 15), (100_000, 15), (100_000, 300))
ROUNDS = 3
REDRAWS = 9
REDRAW = """() => Array.from({ length: 9 }, (_, index) => {
  const whole = picture.high - picture.low;
  const began = performance.now();
  picture.show(picture.low + (index + 1) * 0.01 * whole, 0.9 * whole);
  return performance.now() - began;
}).sort((a, b) => a - b)[4]"""
ANSWERS = """async () => {
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  await new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
  return document.getElementById("clock").textContent;
}"""


def write(path: Path, steps: int, layers: int) -> None:
    """Write the log of a run that improves and has a spike."""
    names = tuple(Layer(f"blocks.{index}.attn.qkv", 4096) for index in range(layers))
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(encode_header(Header(names, model="long")))
        for step in range(1, steps + 1):
            norms = np.exp(rng.normal(0.0, 0.4, layers))
            if step == steps // 2:
                norms[layers // 2] = 1e4
            loss = {"loss": 2.3 / step**0.2}
            file.write(encode_frame(step, 0.05 * step, norms.tolist(), loss))
        file.write(encode_end(End("closed", 0.05 * steps, steps)))


def one(log: str) -> None:
    """Make a picture and a page; runs in a separate process."""
    path = Path(log)
    took = []
    for ending in (".png", ".html"):
        began = time.process_time()
        render(path, path.with_suffix(ending))
        took.append(time.process_time() - began)
    print(json.dumps([*took, megabytes()]))


def opened(pages: list[Path]) -> list[tuple[float, ...]]:
    """Return the seconds until each page is loaded and responds, and milliseconds of a redraw."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        return []
    found = []
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        for page in pages:
            times = []
            for _ in range(ROUNDS):
                context = browser.new_context(viewport={"width": 1600, "height": 900})
                tab = context.new_page()
                began = time.perf_counter()
                tab.goto(page.as_uri())
                loaded = time.perf_counter() - began
                assert tab.evaluate(ANSWERS)
                answered = time.perf_counter() - began
                session = context.new_cdp_session(tab)
                session.send("Performance.enable", {"timeDomain": "threadTicks"})
                used = _task_seconds(session)
                redrawn = tab.evaluate(REDRAW)
                used = (_task_seconds(session) - used) / REDRAWS
                times.append((loaded, answered, redrawn, 1000.0 * used))
                context.close()
            found.append(tuple(map(statistics.median, zip(*times, strict=True))))
        browser.close()
    return found


def _task_seconds(session: Any) -> float:
    """Return how many seconds of a processor a page's thread used so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))


def main(runs: tuple[tuple[int, int], ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        built, pages = [], []
        for steps, layers in runs:
            log = Path(folder) / f"{steps}-{layers}" / "run.jsonl"
            log.parent.mkdir()
            write(log, steps, layers)
            command = [sys.executable, __file__, "--one", str(log)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            built.append(json.loads(done.stdout))
            pages.append(log.with_suffix(".html"))
        times = opened(pages)
        if not times:
            print("Playwright or Chromium is not installed: no page was opened")
        heads = ["steps", "layers", "picture s", "page MB", "page s", "peak MB"]
        heads += ["loaded s", "answers s", "redraw ms", "of a CPU"] if times else []
        print("".join(f"{head:>11}" for head in heads))
        for place, ((steps, layers), (drawn, made, peak)) in enumerate(
            zip(runs, built, strict=True)
        ):
            size = pages[place].stat().st_size / 1e6
            print(
                f"{steps:11,}{layers:11}{drawn:11.2f}{size:11.2f}{made:11.2f}{peak:11.0f}", end=""
            )
            print("{:11.2f}{:11.2f}{:11.0f}{:11.0f}".format(*times[place]) if times else "")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2])
    else:
        main(RUNS[:2] if "--quick" in sys.argv[1:] else RUNS)
