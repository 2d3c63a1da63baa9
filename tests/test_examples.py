"""Every Python example of the README and the guides, run as it stands, as a newcomer would."""

import os
import re
import socket
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
"""What a training loop has before gradmidi is added to it."""

QUICK = {"README-numbers"}


def test_there_is_an_example_of_each_way_to_train() -> None:
    assert len(EXAMPLES) == len(BLOCKS), "an example without a run of its own would not be run"
    runs = {run for _, run in EXAMPLES.values()}
    assert runs >= {"mine", "numbers", "keras", "lightning", "transformers", "accelerate", "jax"}


@pytest.mark.parametrize(
    "example",
    [pytest.param(e, marks=() if e in QUICK else pytest.mark.slow) for e in EXAMPLES],
)
def test_it_runs_unchanged(tmp_path: Path, example: str) -> None:
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
    assert "in all" not in done.stderr
    folder = tmp_path / "runs" / run
    norms = gradmidi.read(folder).norms()
    assert len(norms) >= 1
    assert np.isfinite(norms).all()
    assert (norms > 0.0).any(axis=1).all()
    for name in ("run.mid", "run.wav"):
        assert (folder / name).stat().st_size > 100


SCRIPT = """\
import argparse
import os
import torch
from torch import distributed, nn

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
rate = parser.parse_args().lr
torch.manual_seed(0)
model = nn.Linear(4, 1)
if int(os.environ.get("WORLD_SIZE", 1)) > 1:
    distributed.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), rate)
for _ in range(4):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
"""
FRAMEWORKS = (ROOT / "docs" / "frameworks.md").read_text("utf-8")
LINES = re.findall(r"^(?:gradmidi run|torchrun|accelerate launch) .*", FRAMEWORKS, re.M)


def test_there_is_a_line_of_each_way_to_start_a_script() -> None:
    assert [line.split()[0] for line in LINES] == ["gradmidi", "torchrun", "accelerate"]


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_a_line_that_starts_a_script_runs_unchanged(tmp_path: Path, line: str) -> None:
    pytest.importorskip("torch")
    if line.startswith("accelerate"):
        pytest.importorskip("accelerate")
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # Of this Python; torchrun's usual port may be another's.
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": paths, "PET_MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        line,
        shell=True,
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(gradmidi.read(folder).norms()) == 4
    assert sorted(path.name for path in folder.iterdir()) == [
        "run.jsonl", "run.mid", "run.txt", "run.wav",
    ]  # fmt: skip
