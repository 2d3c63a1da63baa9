"""`gradmidi run`: scripts as they are, each in a process of its own, against norms by hand."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from byhand import STEPS, frames, heard, norms_by_hand
from listening import Receiver, until

import gradmidi
from gradmidi.log import ABSENT, End

SCRIPTS = Path(__file__).parent.parent / "scripts"
PRESETS = Path(__file__).parents[2] / "presets"
RUN = (sys.executable, "-m", "gradmidi", "run")

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Done:
    """What a process left."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[str]:
        """What gradmidi said."""
        return [line for line in self.err.splitlines() if line.startswith("gradmidi: ")]


def start(*words: object, cwd: Path, **environment: str) -> "subprocess.Popen[str]":
    paths = [os.environ["PYTHONPATH"], str(Path(__file__).parent)]
    return subprocess.Popen(
        [*map(str, words)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": "1",
            **environment,
        },
    )


def end(process: "subprocess.Popen[str]") -> Done:
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return Done(process.returncode, out, err)


def run(*words: object, cwd: Path, **environment: str) -> Done:
    return end(start(*RUN, "--files", "none", *words, cwd=cwd, **environment))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def by_hand(out: str) -> dict[str, list[Any]]:
    """What small.py printed, by the name of the training that printed it."""
    found: dict[str, list[Any]] = {}
    for line in out.splitlines():
        if line.isidentifier():
            rows = found[line] = []
        else:
            rows.append(json.loads(line))
    return found


def same(run: Path, rows: list[Any]) -> None:
    expected = [[ABSENT if each is None else each for each in row] for row in rows]
    np.testing.assert_allclose(heard(run), expected, rtol=1e-5)


def names(folder: Path) -> list[str]:
    return [layer.name for layer in gradmidi.read(folder).layers]


def ending(folder: Path) -> End:
    *_, last = gradmidi.read(folder).items()
    assert isinstance(last, End)
    return last


# -- what a script in the style of PyTorch's examples sees of it --------------------------------


def test_the_mnist_example_prints_what_it_prints_without_us(tmp_path: Path) -> None:
    arguments = ["--epochs", "2", "--lr=0.5", "--workers", "1"]
    (tmp_path / "elsewhere").mkdir()
    plain = start(sys.executable, SCRIPTS / "mnist.py", *arguments, cwd=tmp_path / "elsewhere")
    listened = run("--out", "a", SCRIPTS / "mnist.py", *arguments, cwd=tmp_path)
    expected = end(plain)
    assert expected.code == 0
    assert (listened.code, listened.out) == (expected.code, expected.out)
    assert "result" in listened.out
    assert names(tmp_path / "a") == ["conv1", "conv2", "fc1", "fc2"]
    assert len(frames(tmp_path / "a")) == 16
    assert ending(tmp_path / "a").reason == "exit"
    # Not a word of its worker processes', nor of its own beyond two lines.
    assert listened.err.splitlines() == listened.said
    assert len(listened.said) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "elsewhere"]


# -- what is heard --------------------------------------------------------------------------------

STYLES = (
    "clip", "plain", "gan", "closure", "in_backward", "scaler", "compiled", "again",
    "compiled_clip", "wrapped", "hidden_clip", "by_hand_clip", "by_hand_clip_each",
)  # fmt: skip


@pytest.fixture(scope="module")
def styles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Any]]]:
    """Several trainings in one script: each is a run of its own."""
    folder = tmp_path_factory.mktemp("styles")
    done = run("--out", "a", SCRIPTS / "small.py", *STYLES, cwd=folder)
    assert done.code == 0, done.err
    return folder, by_hand(done.out)


@pytest.mark.parametrize("style", STYLES)
def test_norms_are_those_by_hand(styles: tuple[Path, dict[str, list[Any]]], style: str) -> None:
    folder, printed = styles
    number = STYLES.index(style) + 1
    found = folder / ("a" if number == 1 else f"a-{number}")
    rows = printed[style]
    if style == "scaler":
        # It prints which of its steps were made; the first was thrown away.
        made = [not frame.extra.get("skipped", False) for frame in frames(found)]
        assert made == [row[0] for row in rows] == [False, True, True, True]
        return
    same(found, rows)
    if style == "gan":
        assert names(found) == [
            "generator.main.0", "generator.main.2", "discriminator.fc1", "discriminator.fc2",
        ]  # fmt: skip
    else:
        assert names(found) == ["fc1", "fc2"]
    assert ending(found).clipping == ("before" if "clip" in style else "none")


def test_clipping_in_one_graph_before_the_first_step_is_reported_of(tmp_path: Path) -> None:
    done = run("--out", "a", SCRIPTS / "small.py", "one_graph", cwd=tmp_path)
    assert (done.code, len(done.said)) == (0, 3), done.err
    assert "fullgraph=True is not seen" in done.said[1]
    same(tmp_path / "a", by_hand(done.out)["one_graph"])
    assert ending(tmp_path / "a").clipping == "unknown"


def test_a_training_that_goes_on_after_another_goes_on_in_its_own_run(tmp_path: Path) -> None:
    done = run("--out", "a", SCRIPTS / "small.py", "probe", cwd=tmp_path)
    rows = by_hand(done.out)["probe"]
    # One net in steps 1, 2, 5, 6; in between and after it another, each time a new one.
    same(tmp_path / "a", rows[:2] + rows[4:6])
    same(tmp_path / "a-2", rows[2:4])
    same(tmp_path / "a-3", rows[6:])
    assert "another listen()" not in done.err


def test_layers_are_in_the_order_of_the_forward_pass(tmp_path: Path) -> None:
    done = run("--out", "a", SCRIPTS / "small.py", "backwards", cwd=tmp_path)
    rows = by_hand(done.out)["backwards"]
    for out, own in (("a", rows[:2]), ("a-2", rows[2:])):
        assert names(tmp_path / out) == ["fc1", "fc2"]
        same(tmp_path / out, own)


def test_options_are_those_of_listen(tmp_path: Path) -> None:
    words = ("--voices", "top=fc2", "--parameters", "weights", "--every", "2")
    done = run(
        "--out", "a", *words, "--preset", "hold", "--files", "mid", SCRIPTS / "small.py", "plain",
        cwd=tmp_path,
    )  # fmt: skip
    rows = by_hand(done.out)["plain"]
    found = gradmidi.read(tmp_path / "a")
    assert found.header.parameters == "weights"
    assert found.header.config == {"script": str(SCRIPTS / "small.py"), "arguments": ["plain"]}
    assert dict(found.header.voices) == {"top": "fc2"}
    assert [frame.step for frame in found.frames()] == [1, 3]
    # The norm of the weights alone is less than that of weights and bias.
    assert all(
        0.0 < frame.norms[1] < row[1] for frame, row in zip(found.frames(), rows[::2], strict=True)
    )
    assert (tmp_path / "a" / "run.mid").exists()


# -- frameworks -----------------------------------------------------------------------------------


def test_a_lightning_script_is_heard_before_lightning_clips(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    done = run("--out", "a", SCRIPTS / "fit.py", "0.5", cwd=tmp_path)
    assert done.code == 0, done.err
    assert names(tmp_path / "a") == ["net.fc1", "net.fc2"]
    same(tmp_path / "a", norms_by_hand(0.5))


def test_a_trainer_script_is_heard_before_transformers_clips(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    done = run("--out", "a", SCRIPTS / "finetune.py", "kept", cwd=tmp_path)
    assert done.code == 0, done.err
    assert names(tmp_path / "a") == ["fc1", "fc2"]
    same(tmp_path / "a", norms_by_hand(1.0))


def test_an_accelerate_script_is_heard_before_accelerate_clips(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    launch = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1")
    ours = ("-m", "gradmidi", "run", "--out", "a", "--files", "none")
    done = end(start(*launch, *ours, SCRIPTS / "accelerated.py", cwd=tmp_path))
    assert (done.code, done.out) == (0, "rank 0 of 1\n"), done.err
    same(tmp_path / "a", norms_by_hand(1.0))


# -- several processes ----------------------------------------------------------------------------


def test_under_torchrun_the_first_rank_alone_sounds_and_writes(tmp_path: Path) -> None:
    receiver = Receiver()
    try:
        torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
        ours = ("-m", "gradmidi", "run", "--files", "none", "--osc", receiver.target)
        done = end(
            start(
                *torchrun, "--master-port", free_port(), *ours, SCRIPTS / "together.py",
                cwd=tmp_path,
            )
        )  # fmt: skip
        assert done.code == 0, done.err
        until(lambda: receiver.of("/gradmidi/stop"), "the end")
    finally:
        receiver.close()
    assert len(receiver.of("/gradmidi/start")) == 1
    (folder,) = (tmp_path / "runs").iterdir()
    assert [path.name for path in folder.iterdir()] == ["run.jsonl"]
    same(folder, norms_by_hand(None))
    assert len(frames(folder)) == STEPS
    results = {line.split("result ")[1] for line in done.out.splitlines()}
    assert len(results) == 1
    assert len(done.out.splitlines()) == 2


def test_accelerate_over_two_processes_is_heard_as_one(tmp_path: Path) -> None:
    """By torchrun: on a processor `accelerate launch` starts several processes by MPI alone."""
    pytest.importorskip("accelerate")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    ours = ("--master-port", free_port(), "-m", "gradmidi", "run", "--out", "a", "--files", "none")
    done = end(start(*torchrun, *ours, SCRIPTS / "accelerated.py", cwd=tmp_path))
    assert done.code == 0, done.err
    assert sorted(done.out.splitlines()) == ["rank 0 of 2", "rank 1 of 2"]
    same(tmp_path / "a", norms_by_hand(1.0))


def test_a_model_spread_over_processes_is_reported_of_and_trains_on(tmp_path: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    ours = ("--master-port", free_port(), "-m", "gradmidi", "run", "--out", "a")
    done = end(start(*torchrun, *ours, SCRIPTS / "shards.py", cwd=tmp_path))
    assert (done.code, done.out) == (0, "trained\ntrained\n"), done.err
    assert "is sharded: each process has only a part" in done.said[0]
    assert "call gradmidi.listen()" in done.said[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rank", ["0", "1"])
def test_another_rank_opens_no_port(tmp_path: Path, rank: str) -> None:
    (tmp_path / "print.py").write_text("print('trained')\n")
    words = ("--osc", "host.invalid:1", "--out", "a")
    done = run(*words, "print.py", cwd=tmp_path, RANK=rank, LOCAL_RANK=rank)
    if rank == "0":
        assert (done.code, done.out, len(done.said)) == (1, "", 1)
        assert "host.invalid" in done.err
    else:
        assert (done.code, done.out, done.err) == (0, "trained\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["print.py"]


def test_processes_that_it_spawns_find_its_main(tmp_path: Path) -> None:
    done = run("--out", "a", SCRIPTS / "spawn.py", cwd=tmp_path)
    assert (done.code, done.out) == (0, "doubled [2, 4]\nsaved at exit\n"), done.err
    assert len(frames(tmp_path / "a")) == 4
    assert len(done.said) == 2


@pytest.mark.parametrize("listens", [False, True])
def test_ranks_that_it_spawns_are_heard_by_listen_alone(tmp_path: Path, listens: bool) -> None:
    words = (SCRIPTS / "spawned.py", free_port(), *(["own"] if listens else []))
    done = run("--out", "a", *words, cwd=tmp_path)
    assert (done.code, done.out) == (0, "trained\n"), done.err
    assert "so nothing was recorded" in done.said[-1], done.err
    assert done.said[-1].endswith("call gradmidi.listen() in the functions that they run"), done.err
    assert [path.name for path in tmp_path.iterdir()] == (["own"] if listens else []), done.err
    if listens:
        same(tmp_path / "own", norms_by_hand(None))


# -- a script that does not go as it might --------------------------------------------------------


def test_a_script_that_moves_and_leaves_in_the_middle(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text((PRESETS / "hold.toml").read_text())
    receiver = Receiver()
    live = ("--osc", receiver.target, "--take", "live.mid", "--preset", "own.toml")
    try:
        done = run(*live, SCRIPTS / "small.py", "move", "leave", cwd=tmp_path)
    finally:
        receiver.close()
    assert done.code == 3
    assert "makes no sound" not in done.err
    rows = by_hand(done.out)
    # What it made where it went, and nothing of ours there.
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "elsewhere", "live-2.mid", "live.mid", "own.toml", "runs",
    ]  # fmt: skip
    assert [path.name for path in (tmp_path / "elsewhere").rglob("*")] == ["deeper"]
    first, second = sorted((tmp_path / "runs").iterdir())
    same(first, rows["move"])
    same(second, rows["leave"])
    assert ending(second).reason == "exit"


def test_what_a_script_raises_is_reported_as_ever(tmp_path: Path) -> None:
    done = run("--out", "a", SCRIPTS / "small.py", "fail", cwd=tmp_path)
    assert done.code == 1
    others = [line for line in done.err.splitlines() if line not in done.said]
    assert others[0] == "Traceback (most recent call last):"
    assert others[1].startswith(f'  File "{SCRIPTS / "small.py"}", line ')
    assert others[-1] == "ValueError: the batch is bad"
    assert ending(tmp_path / "a").reason == "exception: ValueError: the batch is bad"
    same(tmp_path / "a", by_hand(done.out)["fail"])


def test_after_ctrl_c_the_run_is_whole(tmp_path: Path) -> None:
    process = start(*RUN, "--files", "none", "--out", "a", SCRIPTS / "small.py", "endless",
                    cwd=tmp_path)  # fmt: skip
    log = tmp_path / "a" / "run.jsonl"
    try:
        until(lambda: log.exists() and len(log.read_text().splitlines()) > 5, "steps")
    finally:
        process.send_signal(signal.SIGINT)
        done = end(process)
    # As Python itself: it ends by the signal.
    assert done.code == -signal.SIGINT
    assert "KeyboardInterrupt" in done.err.splitlines()
    assert "cli_run" not in done.err
    assert "program.py" not in done.err
    assert ending(tmp_path / "a").reason == "exception: KeyboardInterrupt"
    assert len(frames(tmp_path / "a")) >= 5


def test_a_script_that_never_steps_is_reported_of_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("--out", "a", SCRIPTS / "small.py", "never", cwd=tmp_path)
    assert (done.code, done.out) == (0, "never\n")
    assert len(done.said) == 1
    assert "no PyTorch optimizer" in done.err
    assert "nothing was recorded" in done.err
    assert list(tmp_path.iterdir()) == []


UNOWNED = (
    "no module owns the tensors that SGD steps; if they are copies of a model's parameters, call "
    "gradmidi.listen(model) in the script, and capture() before each step"
)


def test_tensors_beside_the_model_are_reported_once_and_do_not_interrupt_its_run(
    tmp_path: Path,
) -> None:
    done = run("--out", "a", SCRIPTS / "small.py", "beside", cwd=tmp_path)
    assert done.code == 0, done.err
    same(tmp_path / "a", by_hand(done.out)["beside"])
    assert (tmp_path / "a" / "run.jsonl").read_text().count('"gradmidi"') == 1
    assert done.said[1:-1] == [f"gradmidi: not all is heard: {UNOWNED}"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_of_too_many_trainings_the_first_are_recorded_and_the_rest_is_told_once(
    tmp_path: Path,
) -> None:
    limited = (
        "from gradmidi.integrations import script; script.TRAININGS = 3; "
        "from gradmidi.cli.app import main; main()"
    )
    words = ("run", "--files", "none", "--out", "a", SCRIPTS / "small.py", "clients")
    done = end(start(sys.executable, "-c", limited, *words, cwd=tmp_path))
    assert done.code == 0, done.err
    rows = by_hand(done.out)["clients"]
    assert len(rows) == 20
    for number, name in enumerate(("a", "a-2", "a-3")):
        same(tmp_path / name, rows[4 * number : 4 * number + 4])
    assert len(list(tmp_path.iterdir())) == 3
    assert [line for line in done.said if "heard" in line] == [
        "gradmidi: not all is heard: 3 trainings were recorded, each in a folder of its own; "
        "later ones are not; call gradmidi.listen() in the script for those that matter"
    ]


def test_what_cannot_be_heard_is_reported_once_and_trains_on(tmp_path: Path) -> None:
    done = run("--out", "a", SCRIPTS / "small.py", "raw", "itself", cwd=tmp_path)
    assert done.code == 0, done.err
    assert [line for line in done.said if "not listening" in line] == [
        f"gradmidi: not listening: {UNOWNED}",
        "gradmidi: not listening: the script itself calls gradmidi; only its own run is recorded",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["own"]
    own = by_hand("\n".join(done.out.splitlines()[2:]))
    same(tmp_path / "own", own["itself"])


def test_a_child_by_fork_is_not_heard_and_its_parent_is(tmp_path: Path) -> None:
    done = run("--out", "a", SCRIPTS / "small.py", "forked", cwd=tmp_path)
    assert done.code == 0, done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a-2"]
    assert len(frames(tmp_path / "a")) == len(frames(tmp_path / "a-2")) == 4
    assert len(done.said) == 4


def test_deepspeed_is_heard_before_it_clips_on_all_processes_together(tmp_path: Path) -> None:
    if find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    started = [
        start(
            *RUN, "--out", "a", "--files", "none", SCRIPTS / "zero.py",
            cwd=tmp_path, RANK=str(rank), LOCAL_RANK=str(rank), **place,
        )
        for rank in range(2)
    ]  # fmt: skip
    first, second = (end(process) for process in started)
    assert (first.code, second.code) == (0, 0), (first.err, second.err)
    results = {done.out.split("result ")[1] for done in (first, second)}
    assert len(results) == 1, "they train one model"
    assert second.said == []
    assert len(first.said) == 2, first.said
    np.testing.assert_allclose(heard(tmp_path / "a"), norms_by_hand(0.01), rtol=1e-4)
    assert ending(tmp_path / "a").clipping == "before"
