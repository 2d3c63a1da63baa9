"""Run all benchmarks in their short form, and write what they print into a page.

    python -m benchmarks [--only NAME ...] [--before CHECKOUT] [--page docs/performance.md]

All together take no more than 15 minutes: each has a limit of its own, and what does not begin in
time is named. So is what fails because a program or a package is missing. Most figures are ratios
of contenders that take turns in one process; compare seconds only within one run of this command.
`transcriber` and `gpu` need a run or a GPU and are run by themselves; `versions` needs
``--before``, a checkout of another version.
"""

import argparse
import datetime
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DOING = (__doc__ or "").partition("\n")[0]
HOME = Path(__file__).parent
PAGE = HOME.parent / "docs" / "performance.md"
BEGIN = "<!-- written by: python -m benchmarks -->"
END = "<!-- end of: python -m benchmarks -->"

MOST_SECONDS = 14 * 60.0
"""After this time no benchmark is started, and those that run are ended."""

MOST_LINES = 40
"""Lines of a benchmark that are written into the page; the script prints the rest."""

PACKAGES = (
    "gradmidi",
    "numpy",
    "orjson",
    "mido",
    "torch",
    "soundfile",
    "pretty_midi",
    "python-osc",
)


@dataclass(frozen=True)
class Short:
    """The short form of a benchmark.

    Parameters
    ----------
    name : str
        The script, without ``.py``.
    arguments : tuple of str
        What makes it short.
    seconds : float
        It is ended after this time.
    """

    name: str
    arguments: tuple[str, ...] = ("--quick",)
    seconds: float = 60.0

    def run(self, seconds: float) -> str:
        """Run it for so many seconds at most; return what it prints, or why there is nothing."""
        command = [sys.executable, str(HOME / f"{self.name}.py"), *self.arguments]
        paths = [str(HOME.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "GRADMIDI_QUIET": "1"}
        limit = min(self.seconds, seconds)
        # A session of its own, so that what it has started ends with it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        ended = ""
        try:
            printed, said = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            _end(process)
            printed, said = process.communicate()
            ended = f"(ended after {limit:.0f} s)"
        if process.returncode and not ended:
            ended = f"(failed: {(said.strip().splitlines() or ['no message'])[-1]})"
        lines = printed.strip().splitlines()
        if len(lines) > MOST_LINES:
            lines[MOST_LINES:] = [f"({len(lines) - MOST_LINES} more lines)"]
        return "\n".join([*lines, ended]).strip()


def _end(process: "subprocess.Popen[str]") -> None:
    """End a process and those it has started; for good after a few seconds."""
    if not hasattr(os, "killpg"):
        process.kill()
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5.0)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


SHORT = (
    Short("runlog"),
    Short("timelapse"),
    Short("midifile", ("20000",)),
    Short("osc", ()),
    Short("synth"),
    Short("sources", ("folder", "memory")),
    Short("norms", ("--rounds", "20", "--only", "cnn-10", "--only", "gpt-small"), 90.0),
    Short("overhead", seconds=90.0),
    Short("share", ("--steps", "100", "--rounds", "3")),
    Short("report", seconds=90.0),
    Short("film", ("--seconds", "5")),
    Short("live", seconds=150.0),
    Short("link", seconds=90.0),
    Short("engines", ("--processes", "2")),
    Short("ranks", seconds=90.0),
    Short("sound", ("--quick", "pentatonic")),
    Short("settings", ("pentatonic",), seconds=90.0),
    Short("values", seconds=90.0),
    Short("listening", seconds=120.0),
    Short("real_scripts", seconds=120.0),
    Short("rates", ("--seeds", "1"), seconds=120.0),
)
"""In this order, so that what takes long comes last."""


def machine() -> str:
    """Describe the machine and the versions, in lines of Markdown."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(x.partition(": ")[2] for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    known = []
    for package in PACKAGES:
        try:
            known.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            known.append(f"no {package}")
    return (
        f"{datetime.date.today()}: {os.cpu_count()} cores of {model}, {platform.system()}{load}. "
        f"Python {platform.python_version()}, {', '.join(known)}."
    )


def written(page: str, content: str) -> str:
    """Return a page with its section replaced, or added at the end."""
    before, begin, rest = page.partition(BEGIN)
    after = rest.partition(END)[2] if begin else ""
    return f"{before.rstrip()}\n\n{BEGIN}\n\n{content}\n\n{END}{after.rstrip()}\n"


def section(chosen: Sequence[Short]) -> str:
    """Run benchmarks one after another; return the page's section."""
    parts = ["## All benchmarks, in short", machine()]
    end = time.monotonic() + MOST_SECONDS
    for each in chosen:
        left = end - time.monotonic()
        began = time.monotonic()
        printed = each.run(left) if left > 0.0 else "(not run: the time was over)"
        words = " ".join(each.arguments)
        print(f"{each.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        parts.append(f"`python benchmarks/{each.name}.py {words}".rstrip() + "`:")
        parts.append(f"```text\n{printed}\n```")
    return "\n\n".join(parts)


def main() -> None:
    """Run what the options choose, and write the page."""
    parser = argparse.ArgumentParser("python -m benchmarks", description=DOING)
    names = [each.name for each in SHORT]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--before", type=Path, help="a checkout of another version, for `versions`")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    if not options.page.is_file():
        parser.error(f"{options.page}: no such page; give one that exists")
    chosen = [each for each in SHORT if options.only is None or each.name in options.only]
    if options.before is not None:
        if not (options.before / "gradmidi").is_dir():
            parser.error(f"{options.before} is no checkout of gradmidi")
        chosen.append(Short("versions", (str(options.before), "--rounds", "1"), 120.0))
    content = section(chosen)
    page = options.page.read_text(encoding="utf-8")
    options.page.write_text(written(page, content), encoding="utf-8")


if __name__ == "__main__":
    main()
