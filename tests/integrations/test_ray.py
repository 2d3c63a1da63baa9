"""Ray Train: workers that listen, in processes that Ray starts."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from byhand import frames, heard, norms_by_hand

SCRIPT = Path(__file__).parent.parent / "scripts" / "rayed.py"
SECONDS = 240

pytestmark = pytest.mark.slow


def test_two_workers_make_one_run_that_is_written_by_the_first(tmp_path: Path) -> None:
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    paths = [os.environ["PYTHONPATH"], str(Path(__file__).parent)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "0.txt").read_text() == "Listener"
    assert (tmp_path / "1.txt").read_text() == "OtherRank"
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["rank-0.jsonl", "rank-1.jsonl", "run.jsonl"]
    assert not (tmp_path / "of 1").exists()
    np.testing.assert_allclose(heard(tmp_path / "a"), norms_by_hand(0.01), rtol=1e-4)
    assert all(frame.loss is not None for frame in frames(tmp_path / "a"))
