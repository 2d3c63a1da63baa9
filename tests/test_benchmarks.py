"""The benchmark behind the table of costs starts, and prints what the table is made of."""

import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_cost_of_a_look_is_measured_beside_others(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("tensorboard")
    script = HOME / "benchmarks" / "overhead.py"
    done = subprocess.run(
        [sys.executable, script, "--quick", "--only", "cnn-10"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    head, _, *rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert head.endswith("| post's CNN, batch 10 |")
    told = {row.split(" | ")[0].strip("| *") for row in rows}
    assert {"gradmidi", "`_foreach_norm`", "Lightning `grad_norm`", "bare step"} <= told
    assert list(tmp_path.iterdir()) == []
