"""A job that is taken up again: which folder, which step numbers, and what the first line says."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gradmidi
from gradmidi.base.environment import Job
from gradmidi.log import FILE_NAME, End

LAYERS = ["fc1", "fc2"]


@pytest.fixture(autouse=True)
def _no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Job(("1", "1"), (1, 1)).variables:
        monkeypatch.delenv(name, raising=False)


def job(out: Path, steps: int, value: float = 1.0, **options: Any) -> gradmidi.Listener:
    with gradmidi.record(out, layers=LAYERS, files=(), **options) as ears:
        for _ in range(steps):
            ears.frame([value, 2.0])
    return ears


def found(out: Path) -> list[tuple[int, float]]:
    return [(frame.step, float(frame.norms[0])) for frame in gradmidi.read(out).frames()]


def test_a_second_run_is_a_run_of_its_own_and_the_first_line_says_so(
    tmp_path: Path, said: list[str]
) -> None:
    out = tmp_path / "a"
    job(out, 3)
    said.clear()
    assert job(out, 2, 5.0).folder == tmp_path / "a-2"
    assert said[0] == (
        f"recording 2 layers, run log {tmp_path / 'a-2' / FILE_NAME}; {out} holds a run: "
        "resume=True (--resume) continues it, overwrite=True (--force) replaces it"
    )
    assert found(out) == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert found(tmp_path / "a-2") == [(1, 5.0), (2, 5.0)]


def test_steps_that_are_made_again_replace_the_earlier_ones(
    tmp_path: Path, said: list[str]
) -> None:
    out = tmp_path / "a"
    job(out, 6)
    said.clear()
    job(out, 4, 5.0, resume=True, step=4)
    path = out / FILE_NAME
    assert said[0] == (
        f"recording 2 layers, run log {path}, continuing after step 4; "
        "the earlier steps 5 to 6 are replaced"
    )
    assert found(out) == [(n, 1.0 if n < 5 else 5.0) for n in range(1, 9)]


def test_overwrite_replaces_the_run(tmp_path: Path, said: list[str]) -> None:
    job(tmp_path / "a", 6)
    said.clear()
    assert job(tmp_path / "a", 1, 5.0, overwrite=True).folder == tmp_path / "a"
    assert said[0].endswith("; the run that was there is replaced")
    assert found(tmp_path / "a") == [(1, 5.0)]


@pytest.mark.parametrize("option", ["overwrite", "resume"])
def test_a_run_in_progress_is_never_replaced_or_continued(
    tmp_path: Path, said: list[str], option: str
) -> None:
    with gradmidi.record(tmp_path / "a", layers=LAYERS, files=()) as ears:
        ears.frame([1.0, 2.0])
        said.clear()
        assert job(tmp_path / "a", 1, **{option: True}).folder == tmp_path / "a-2"
    assert said[0].endswith(f"; {tmp_path / 'a'} holds a run that is still being written")
    assert found(tmp_path / "a") == [(1, 1.0)]


@pytest.mark.parametrize("name", ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"])
def test_a_job_that_is_started_again_continues_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], name: str
) -> None:
    out = tmp_path / "a"
    job(out, 6)
    monkeypatch.setenv(name, "1")
    said.clear()
    job(out, 4, 5.0, step=4)
    assert f"continuing after step 4 ({name}=1); the earlier steps 5 to 6" in said[0]
    assert found(out) == [(n, 1.0 if n < 5 else 5.0) for n in range(1, 9)]
    # The job's second training in this folder is not the one it has just continued.
    assert job(out, 1).folder == tmp_path / "a-2"
    monkeypatch.setenv(name, "2")
    assert job(out, 1, 7.0).folder == out
    assert found(out)[-2:] == [(8, 5.0), (9, 7.0)]
    assert job(out, 1, 8.0).folder == tmp_path / "a-2"
    assert found(tmp_path / "a-2") == [(1, 1.0), (2, 8.0)]
    assert job(out, 1, resume=False).folder == tmp_path / "a-3"


def test_another_job_does_not_continue_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    job(tmp_path / "a", 2)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert job(tmp_path / "a", 2).folder == tmp_path / "a-2"


def test_the_last_header_of_a_long_log_says_which_job_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [f"layer{n}" for n in range(100)]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    for steps, folder in ((300, "a"), (1, "a-2")):
        with gradmidi.record(tmp_path / "a", layers=layers, files=()) as ears:
            for _ in range(steps):
                ears.frame([0.123456] * 100)
        assert ears.folder == tmp_path / folder
    assert (tmp_path / "a" / FILE_NAME).stat().st_size > 3 * 65536
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    with gradmidi.record(tmp_path / "a", layers=layers, files=()) as ears:
        assert (ears.folder, ears.step) == (tmp_path / "a", 300)


def test_the_step_may_be_set_while_the_run_goes_on(tmp_path: Path, said: list[str]) -> None:
    with gradmidi.record(tmp_path / "a", layers=LAYERS, files=()) as ears:
        ears.step = 10
        for _ in range(4):
            ears.frame([1.0, 2.0])
        ears.step = 12
        for _ in range(3):
            ears.frame([5.0, 2.0])
        ears.step = 20
        ears.frame([5.0, 2.0])
        for wrong in (-1, "x", 2.5):
            ears.step = wrong  # type: ignore[assignment]
        assert ears.step == 21
    assert found(tmp_path / "a") == [
        (11, 1.0),
        (12, 1.0),
        *((step, 5.0) for step in (13, 14, 15, 21)),
    ]
    told = "ears.step: RunLogError: step=-1; allowed is a whole number of 0 or more, the steps made"
    assert f"{told}; the steps are numbered as before" in said
    assert "ears.step: 3 errors in all" in said
    assert gradmidi.faults(tmp_path / "a") == ()
    log = gradmidi.read(tmp_path / "a")
    times = [item.t for item in log.items() if not hasattr(item, "layers")]
    assert times == sorted(times)
    assert sum(isinstance(item, End) for item in log.items()) == 1


TAKEN_UP = """
import sys, torch, gradmidi
from gradmidi.listener.listen import listen
out, kind, when, first = sys.argv[1:5]
net = torch.nn.Linear(2, 1)
optimizer = getattr(torch.optim, kind)(net.parameters(), lr=0.1)
if when == "before":
    if first != "first":
        optimizer.load_state_dict(torch.load(out + ".pt"))
with gradmidi.listen(net, optimizer, out=out, files=(), resume=True) as ears:
    if when == "after" and first != "first":
        optimizer.load_state_dict(torch.load(out + ".pt"))
    for step in range(1, 7):
        net(torch.ones(1, 2)).square().sum().backward()
        optimizer.step()
        if first == "first" and step == 4:
            torch.save(optimizer.state_dict(), out + ".pt")
"""


@pytest.mark.needs_torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "when", "steps"), [("Adam", "before", 10), ("Adam", "after", 10), ("SGD", "after", 12)]
)
def test_an_optimizer_that_counts_its_steps_numbers_those_of_a_continued_run(
    tmp_path: Path, kind: str, when: str, steps: int
) -> None:
    for part in ("first", "second"):
        line = [sys.executable, "-c", TAKEN_UP, str(tmp_path / "a"), kind, when, part]
        subprocess.run(line, check=True, env={**os.environ, "GRADMIDI_QUIET": "1"}, timeout=120)
    assert [step for step, _ in found(tmp_path / "a")] == list(range(1, steps + 1))
