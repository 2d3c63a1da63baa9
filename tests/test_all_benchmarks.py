"""One command runs all benchmarks and writes what they print into a page."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import __main__ as everything
from benchmarks.__main__ import SHORT, Short, section, written

HOME = Path(__file__).parent.parent


def script(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)


def test_every_benchmark_is_run_but_those_that_need_something() -> None:
    found = {path.stem for path in (HOME / "benchmarks").glob("*.py")} - {"__main__", "memory"}
    assert {each.name for each in SHORT} == found - {"versions", "transcriber", "gpu"}


def test_the_section_is_replaced_and_the_rest_of_the_page_stays() -> None:
    page = written("# Speed\n\ntext\n", "## All\n\none")
    assert page.startswith("# Speed\n\ntext\n\n<!-- written by")
    again = written(page + "\nmore\n", "## All\n\ntwo")
    assert "one" not in again
    assert again.count("## All") == 1
    assert again.startswith("# Speed\n\ntext\n")
    assert again.endswith("more\n")


def test_what_is_printed_what_fails_and_what_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everything, "HOME", tmp_path)
    script(tmp_path, "good", "import sys; print('| a |', sys.argv[1])")
    script(tmp_path, "long", "for line in range(100): print('line', line)")
    script(tmp_path, "bad", "print('half'); raise SystemExit('no oscdump here')")
    child = "import subprocess, sys, time\n"
    child += "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    child += "print(one.pid, flush=True); time.sleep(60)"
    script(tmp_path, "slow", child)
    shorts = [Short("good", ("x",)), Short("long", ()), Short("bad", ())]
    shorts.append(Short("slow", (), seconds=1.0))
    text = section(shorts)
    assert "`python benchmarks/good.py x`:\n\n```text\n| a | x\n```" in text
    assert "line 39\n(60 more lines)\n```" in text
    assert "half\n(failed: no oscdump here)" in text
    assert text.endswith("\n(ended after 1 s)\n```")
    (pid,) = (int(line) for line in text.splitlines() if line.isdigit())
    if sys.platform == "linux":
        # A zombie that nobody has waited for counts as ended.
        for _ in range(100):
            stat = Path(f"/proc/{pid}/stat")
            if not stat.exists() or stat.read_text().split()[2] == "Z":
                break
            time.sleep(0.05)
        else:
            os.kill(pid, 9)
            raise AssertionError("what a benchmark has started goes on")
    monkeypatch.setattr(everything, "MOST_SECONDS", 0.0)
    assert "(not run: the time was over)" in section(shorts[:1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["--page", "nowhere.md"], "nowhere.md: no such page"),
        (["--before", "nowhere"], "nowhere is no checkout of gradmidi"),
    ],
)
def test_wrong_options_are_said_before_anything_runs(words: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        cwd=HOME,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
