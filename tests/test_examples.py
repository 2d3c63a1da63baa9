"""Every Python example of the README and the guides, run as it stands, as a newcomer would."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import gradmidi

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    (page, block)
    for page in PAGES
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.M)
]
EXAMPLES = {
    f"{page.stem}-{run}": (block, run)
    for page, block in BLOCKS
    for run in re.findall(r'"runs/(\w+)"', block)
}
OWN = """\
import torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loader = [(torch.randn(5, 4), torch.randint(0, 3, (5,))) for _ in range(4)]
loss_fn = torch.nn.functional.cross_entropy
"""
"""What whoever has a loop of their own has already."""

QUICK = {"README-numbers"}


def test_there_is_an_example_of_each_way_to_train() -> None:
    assert len(EXAMPLES) == len(BLOCKS), "an example without a run of its own would not be run"
    runs = {run for _, run in EXAMPLES.values()}
    assert runs >= {"mine", "numbers", "keras", "lightning", "transformers", "accelerate", "jax"}


@pytest.mark.parametrize(
    "example",
    [pytest.param(e, marks=() if e in QUICK else pytest.mark.slow) for e in EXAMPLES],
)
def test_it_runs_as_it_stands(tmp_path: Path, example: str) -> None:
    block, run = EXAMPLES[example]
    code = (OWN if "loss_fn" in block else "") + block
    imports = re.findall(r"^(?:import|from) (\w+(?:, \w+)*)", code, re.MULTILINE)
    for name in re.findall(r"\w+", " ".join(imports)):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    (tmp_path / "train.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "trouble" not in done.stderr
    folder = tmp_path / "runs" / run
    norms = gradmidi.read(folder).norms()
    assert len(norms) >= 1
    assert np.isfinite(norms).all()
    assert (norms > 0.0).any(axis=1).all()
    for name in ("run.mid", "run.wav"):
        assert (folder / name).stat().st_size > 100
