"""The command `run` without a training: what it refuses, and what a script finds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradmidi.base.environment import is_first

ARGUMENTS = ["--epochs", "3", "--out=x", "--", "-m", "--help"]

SEE = """\
import os, sys
print(sys.argv)
print(__name__, __file__, getattr(__spec__, 'name', None), __package__, sys.path)
print(sorted(name for name in globals() if name.startswith("_")))
print(os.getcwd(), sys.stdin.read(), sys.stdout.errors)
print(sys.modules["__main__"].__dict__ is globals(), "torch" in sys.modules)
"""


def start(*words: object, cwd: Path, given: str = "", **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        input=given,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "400", **environment},
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def gradmidi(*words: object, cwd: Path, **environment: str) -> tuple[int, str, str]:
    return start("-m", "gradmidi", "run", *words, cwd=cwd, given="spoken", **environment)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    for name in ("see.py", "own/see.py", "own/__main__.py"):
        (tmp_path / name).write_text(SEE)
    return tmp_path


@pytest.mark.parametrize(
    "words", [["see.py"], ["own/see.py"], ["own"], ["-m", "own.see"], ["-m", "own"]]
)
@pytest.mark.needs_torch
def test_a_script_finds_what_it_would_find_without_us(folder: Path, words: list[str]) -> None:
    plain = start(*words, *ARGUMENTS, cwd=folder, given="spoken")
    assert plain[0] == 0
    code, out, err = gradmidi(*words, *ARGUMENTS, cwd=folder)
    assert (code, out) == plain[:2]
    assert err.count("\n") == 1
    assert "nothing was recorded" in err
    # Nothing is left beside it but what Python itself leaves.
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    "text",
    [
        "import sys; print('before'); sys.exit(7)",
        "import sys; sys.exit('words')",
        "raise SystemExit",
        "def inner():\n    raise KeyError('x')\ntry:\n    inner()\nexcept KeyError as e:\n"
        "    raise OSError('no disk') from e",
        "this is no Python",
        "import os; os._exit(5)",
        "import sys; sys.excepthook = lambda *a: print('own hook', a[0]); 1 / 0",
        "raise BrokenPipeError('its own')",
        "import typer; raise typer.Exit(4)",
    ],
    ids=["exit", "words", "bare", "chained", "syntax", "at once", "hook", "pipe", "ours"],
)
@pytest.mark.needs_torch
def test_its_end_is_its_own(tmp_path: Path, text: str) -> None:
    (tmp_path / "end.py").write_text(text + "\n")
    plain = start("end.py", cwd=tmp_path)
    code, out, err = gradmidi("end.py", cwd=tmp_path)
    others = [line for line in err.splitlines() if not line.startswith("gradmidi: ")]
    assert (code, out, others) == (*plain[:2], plain[2].splitlines())


LAUNCHERS = [
    (
        "torchrun --nproc-per-node 2 train.py --lr 0.1",
        "torchrun --nproc-per-node 2 -m gradmidi run --out a train.py --lr 0.1",
    ),
    (
        "/usr/bin/torchrun --standalone -m package.train",
        "torchrun --standalone -m gradmidi run --out a -m package.train",
    ),
    (
        "accelerate launch --cpu train.py --lr 0.1",
        "accelerate launch --cpu -m gradmidi run --out a train.py --lr 0.1",
    ),
    (
        "python -m torch.distributed.run --nproc-per-node 2 train.py",
        "torchrun --nproc-per-node 2 -m gradmidi run --out a train.py",
    ),
    (
        "deepspeed --num_gpus 2 train.py --deepspeed",
        "deepspeed --no_local_rank --num_gpus 2 --module gradmidi run --out a train.py --deepspeed",
    ),
    ("python3 train.py --lr 0.1", "gradmidi run --out a train.py --lr 0.1"),
    ("torchrun", "torchrun -m gradmidi run --out a SCRIPT"),
]


@pytest.mark.parametrize(("given", "line"), LAUNCHERS, ids=[given for given, _ in LAUNCHERS])
def test_a_launcher_is_refused_by_the_line_that_works(
    tmp_path: Path, given: str, line: str
) -> None:
    code, out, err = gradmidi("--out", "a", *given.split(), cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err.rstrip().endswith(": " + line)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere.py"], "there is no script 'nowhere.py' here"),
        ([], "Missing argument 'SCRIPT'"),
        (["--parameters", "biases", "see.py"], "allowed is all or weights"),
        (["--keep", "all", "see.py"], "allowed is layers or voices"),
        (["--every", "0", "see.py"], "greater than or equal to 1"),
        (["--take", "a.wav", "see.py"], "the file's name must end in .mid"),
        (["--layers", "low=fc2", "see.py"], "a voice of your own is --voices low=fc2"),
    ],
)
@pytest.mark.needs_torch
def test_wrong_usage_is_reported_before_the_script_begins(
    folder: Path, words: list[str], line: str
) -> None:
    code, out, err = gradmidi(*words, cwd=folder)
    assert (code, out) == (2, "")
    assert line in err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--budget", "2"], "gradmidi: budget=2.0; allowed is a share above 0 and below 1"),
        (["--preset", "x"], "gradmidi: no preset is called 'x'"),
        (["--files", "xyz"], "gradmidi: files='xyz'; allowed is"),
        (["--out", "see.py/a"], "gradmidi: cannot write a run to"),
        (["--log-to", "paper"], "gradmidi: log_to='paper'"),
    ],
)
@pytest.mark.needs_torch
def test_what_cannot_be_done_is_one_line_before_the_script_begins(
    folder: Path, words: list[str], line: str
) -> None:
    code, out, err = gradmidi(*words, "see.py", cwd=folder)
    assert (code, out) == (1, "")
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_without_torch_it_says_what_to_install(folder: Path) -> None:
    hide = folder / "hide"
    hide.mkdir()
    (hide / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None\n")
    paths = os.pathsep.join([str(hide), os.environ["PYTHONPATH"]])
    code, out, err = gradmidi("see.py", cwd=folder, PYTHONPATH=paths)
    assert (code, out) == (1, "")
    assert err == "gradmidi: run needs PyTorch: pip install 'gradmidi[train]'\n"


@pytest.mark.needs_torch
def test_a_torch_that_is_too_old_is_reported_with_the_one_that_is_needed(folder: Path) -> None:
    told = folder / "site" / "torch-2.3.1.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.3.1\n")
    paths = os.pathsep.join([str(told.parent), os.environ["PYTHONPATH"]])
    code, out, err = gradmidi("see.py", cwd=folder, PYTHONPATH=paths)
    assert (code, out) == (1, "")
    assert err == (
        "gradmidi: torch 2.4 or newer is needed; this is 2.3.1: pip install 'torch>=2.4'\n"
    )


def test_a_task_of_slurm_that_is_silent_says_so(folder: Path) -> None:
    code, _, err = gradmidi("see.py", cwd=folder, SLURM_PROCID="3")
    assert code == 0
    assert err.startswith("gradmidi: rank 3 of SLURM is not recorded")
    assert "unset SLURM_PROCID" in err
    assert err.count("\n") == 1
    assert gradmidi("see.py", cwd=folder, SLURM_PROCID="3", RANK="1")[2] == ""


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
        ({"RANK": "", "OMPI_COMM_WORLD_RANK": "1"}, False),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, False),
        ({"PMI_RANK": "0", "PMI_SIZE": "2"}, True),
        ({"PMIX_RANK": "1"}, False),
        ({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2"}, False),
        ({"MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_SIZE": "4"}, False),
        ({"FLUX_TASK_RANK": "1", "FLUX_JOB_SIZE": "2"}, False),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "1"}, True),
        ({"LOCAL_RANK": "3", "WORLD_SIZE": "1"}, True),
        # One training in each of four tasks: the inner launcher says which process this is.
        ({"RANK": "0", "WORLD_SIZE": "1", "SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, True),
    ],
)
def test_which_of_several_processes_this_is(environment: dict[str, str], first: bool) -> None:
    assert is_first(environment) is first
