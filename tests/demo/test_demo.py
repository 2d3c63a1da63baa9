"""The demo: the digits it trains on, the post's experiments, and that they are repeatable."""

import dataclasses
import hashlib
import json
import math
import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import mido
import numpy as np
import pytest
import soundfile
from logs import write_log

from gradmidi.demo import experiments as demo
from gradmidi.demo.experiments import EXPERIMENTS, Experiment, Outcome, digits
from gradmidi.errors import GradmidiError
from gradmidi.music.preset import load

LAYERS = ["conv1", "conv2", "fc1", "fc2"]
FULL_SET = os.environ.get("GRADMIDI_MNIST", "")


@pytest.fixture
def torch() -> ModuleType:
    return pytest.importorskip("torch")


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; a loss that was written late joins the line of its step."""
    lines: list[dict[str, Any]] = []
    frames: dict[int, dict[str, Any]] = {}
    for line in map(json.loads, (folder / "run.jsonl").read_text().splitlines()):
        if "step" in line and "norms" not in line:
            frames[line["step"]].update(line)
            continue
        lines.append(line)
        if "step" in line:
            frames[line["step"]] = line
    return lines


def norms_of(folder: Path) -> np.ndarray:
    frames = [line for line in lines_of(folder) if "norms" in line]
    return np.array([[float(v) for v in line["norms"]] for line in frames])


def timeless(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in ("t", "started")}


# The digits


def test_digits_are_the_bytes_of_the_published_set() -> None:
    images, labels = digits()
    assert (images.shape, images.dtype) == ((10_000, 28, 28), np.uint8)
    assert (labels.shape, labels.dtype) == ((10_000,), np.uint8)
    # Of bytes 16 to 7,840,016 and 8 to 10,008 of the published training files.
    assert hashlib.sha256(images.tobytes()).hexdigest() == (
        "2f7182bf021ffc5c1f62db987487f14d899b5c639f421a80f3095affc09a7db2"
    )
    assert hashlib.sha256(labels.tobytes()).hexdigest() == (
        "2f345bad07338ec537641465e169cc4b7288a44244f251211c7f842641e7d927"
    )


@pytest.mark.skipif(not FULL_SET, reason="GRADMIDI_MNIST names no folder with the full MNIST")
def test_digits_are_the_first_of_the_full_set() -> None:
    raw = Path(FULL_SET) / "MNIST" / "raw"
    images, labels = digits()
    assert (raw / "train-images-idx3-ubyte").read_bytes()[16:].startswith(images.tobytes())
    assert (raw / "train-labels-idx1-ubyte").read_bytes()[8:].startswith(labels.tobytes())


def test_digits_and_their_notice_stay_small_and_name_their_source() -> None:
    folder = Path(demo.__file__).parent
    assert sum(path.stat().st_size for path in folder.glob("digits.npz")) < 2_000_000
    notice = (folder / "NOTICE.md").read_text(encoding="utf-8")
    assert "Y. LeCun, C. Cortes, C. J. C. Burges" in notice
    assert "CC BY-SA 3.0" in notice


# The experiments


def test_the_five_experiments_are_those_of_the_post() -> None:
    settings = [(e.optimizer, e.lr, e.batch_size) for e in EXPERIMENTS]
    assert settings == [
        ("sgd", 0.01, 10),
        ("sgd", 0.1, 10),
        ("sgd", 1.0, 10),
        ("sgd", 1.0, 256),
        ("adam", 0.01, 10),
    ]
    assert {(e.steps, e.momentum) for e in EXPERIMENTS} == {(200, 0.5)}
    assert len({e.name for e in EXPERIMENTS}) == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", "rmsprop"),
        ("lr", 0.0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("batch_size", 0),
        ("steps", 0),
        ("seed", -1),
    ],
)
def test_an_experiment_refuses_a_value_and_says_what_is_allowed(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} = {value!r}; allowed is "):
        dataclasses.replace(EXPERIMENTS[0], **{name: value})


def test_the_folder_of_a_run_does_not_exist_yet(tmp_path: Path) -> None:
    first = demo.free_folder(EXPERIMENTS[3], tmp_path)
    assert first.name == "demo-sgd-1-batch-256"
    first.mkdir()
    second = demo.free_folder(EXPERIMENTS[3], tmp_path)
    assert second.name == "demo-sgd-1-batch-256-2"
    second.mkdir()
    assert demo.free_folder(EXPERIMENTS[3], tmp_path).name == "demo-sgd-1-batch-256-3"


def test_the_network_is_the_one_of_the_post(torch: ModuleType) -> None:
    net = demo.network()
    shapes = {name: tuple(p.shape) for name, p in net.named_parameters() if "weight" in name}
    assert shapes == {
        "conv1.weight": (20, 1, 5, 5),
        "conv2.weight": (50, 20, 5, 5),
        "fc1.weight": (500, 800),
        "fc2.weight": (10, 500),
    }
    assert sum(p.numel() for p in net.parameters()) == 431_080
    assert net(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


# A run


def test_a_run_leaves_every_file_whole(torch: ModuleType, tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    outcome = demo.run(
        Experiment(steps=12),
        tmp_path / "run",
        progress=lambda step, loss: told.append((step, loss)),
    )
    assert outcome.folder == tmp_path / "run"
    assert sorted(path.name for path in outcome.folder.iterdir()) == [
        "run.html",
        "run.jsonl",
        "run.mid",
        "run.png",
        "run.txt",
        "run.wav",
    ]
    assert_whole(outcome.folder, steps=12)
    header = lines_of(outcome.folder)[0]
    assert header["model"] == "Net"
    assert header["config"] == {
        "optimizer": "sgd",
        "lr": 0.01,
        "momentum": 0.5,
        "batch_size": 10,
        "steps": 12,
        "seed": 0,
        "digits": 10_000,
    }
    assert [step for step, _ in told] == list(range(1, 13))
    logged = [line["loss"] for line in lines_of(outcome.folder)[1:-1]]
    np.testing.assert_allclose([loss for _, loss in told], logged, rtol=1e-6)
    np.testing.assert_allclose(outcome.losses, logged, rtol=1e-6)


def test_it_listens_to_the_weights_alone_as_the_post_does(
    torch: ModuleType, tmp_path: Path
) -> None:
    demo.run(Experiment(steps=3, seed=5), tmp_path / "run")
    assert lines_of(tmp_path / "run")[0]["parameters"] == "weights"

    # The same three steps, written out by hand.
    images, labels = digits()
    torch.set_num_threads(1)
    torch.manual_seed(5)
    net = demo.network()
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.5)
    order = np.random.default_rng(5).permutation(10_000)
    norms = []
    for start in (0, 10, 20):
        picked = order[start : start + 10]
        inputs = (torch.tensor(images[picked, None]) / 255.0 - 0.1307) / 0.3081
        optimizer.zero_grad()
        scores = torch.nn.functional.log_softmax(net(inputs), dim=1)
        torch.nn.functional.nll_loss(scores, torch.tensor(labels[picked]).long()).backward()
        norms.append([net.get_submodule(name).weight.grad.norm().item() for name in LAYERS])
        optimizer.step()
    np.testing.assert_allclose(norms_of(tmp_path / "run"), norms, rtol=1e-4)


def test_the_same_seed_gives_the_same_log_and_the_same_bytes(
    torch: ModuleType, tmp_path: Path
) -> None:
    for place in ("a", "b"):
        demo.run(Experiment(steps=15, seed=3), tmp_path / place / "run")
    first, second = (tmp_path / place / "run" for place in ("a", "b"))
    assert [timeless(line) for line in lines_of(first)] == [
        timeless(line) for line in lines_of(second)
    ]
    for name in ("run.mid", "run.wav"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    demo.run(Experiment(steps=15, seed=4), tmp_path / "c" / "run")
    assert not np.array_equal(norms_of(tmp_path / "c" / "run"), norms_of(first))


def test_the_callers_torch_stays_as_it_was(torch: ModuleType, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.manual_seed(11)
        expected = torch.rand(3).tolist()
        torch.manual_seed(11)
        demo.run(Experiment(steps=1), tmp_path / "run")
        assert torch.rand(3).tolist() == expected
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_folder_of_mnist_is_read_through_torchvision(torch: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    raw = tmp_path / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = digits()
    # The idx format: a magic number that tells type and dimensions, each length, the bytes.
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, *images.shape) + images.tobytes()
        )
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, len(labels)) + labels.tobytes()
        )
    demo.run(Experiment(steps=3), tmp_path / "full", data=tmp_path / "mnist")
    demo.run(Experiment(steps=3), tmp_path / "own")
    assert np.array_equal(norms_of(tmp_path / "full"), norms_of(tmp_path / "own"))


@pytest.mark.skipif(not FULL_SET, reason="GRADMIDI_MNIST names no folder with the full MNIST")
def test_the_full_set_is_trained_on(torch: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    outcome = demo.run(Experiment(steps=3), tmp_path / "run", data=FULL_SET)
    assert_whole(outcome.folder, steps=3)


# What can be wrong


def test_a_folder_without_mnist_is_named(torch: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    with pytest.raises(GradmidiError, match=r"no MNIST in .*nowhere: it must hold MNIST/raw"):
        demo.run(Experiment(), tmp_path / "run", data=tmp_path / "nowhere")
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_set_is_refused(torch: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size = 10001; allowed is 1 to 10000"):
        demo.run(Experiment(batch_size=10_001), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_torch_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(GradmidiError, match=r"pip install 'gradmidi\[demo\]'"):
        demo.run(Experiment(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# The result in words


def test_an_outcome_names_layers_that_end_dead_or_not_finite(tmp_path: Path) -> None:
    rows = [
        (0.2, 1.0, 1.5, 1.1),
        (9.0, 0.0, math.inf, 2.0),
        (0.0, 0.0, 7.0, math.nan),
        (0.0, 0.0, 7.0, math.nan),
    ]
    folder = write_log(tmp_path / "run", rows)
    outcome = Outcome(EXPERIMENTS[2], folder, (2.3, 900.0, math.nan, math.nan))
    assert str(outcome) == (
        "sgd-1: loss 2.3 to nan (mean of the last 4 steps); not finite from step 3: fc2; "
        "dead from step 2: conv2; dead from step 3: conv1"
    )
    healthy = write_log(tmp_path / "fine", [(0.2, 1.0, 1.5, 1.1)] * 2)
    assert str(Outcome(EXPERIMENTS[0], healthy, (2.3, 0.5))) == (
        "sgd-0.01: loss 2.3 to 1.4 (mean of the last 2 steps)"
    )


def test_next_steps_name_files_and_commands_that_are_there(
    torch: ModuleType, tmp_path: Path
) -> None:
    outcome = demo.run(Experiment(steps=2), tmp_path / "run")
    lines = outcome.next_steps()
    for name in ("run.wav", "run.mid", "run.png", "run.html"):
        assert any(str(outcome.folder / name) in line for line in lines), name
        assert (outcome.folder / name).exists()
    assert any(f"gradmidi describe {outcome.folder}" in line for line in lines)


# The five settings on four seeds


def assert_whole(folder: Path, steps: int) -> None:
    lines = lines_of(folder)
    assert [layer["name"] for layer in lines[0]["layers"]] == LAYERS
    assert [line["step"] for line in lines[1:-1]] == list(range(1, steps + 1))
    assert (lines[-1]["end"], lines[-1]["steps"], lines[-1]["dropped"]) == ("closed", steps, 0)

    midi = mido.MidiFile(folder / "run.mid")
    assert midi.type == 1
    for name in LAYERS:
        (track,) = (t for t in midi.tracks if name in t.name)
        sounding: set[int] = set()
        strikes = 0
        for message in track:
            if message.type == "note_on" and message.velocity > 0:
                assert message.note not in sounding
                sounding.add(message.note)
                strikes += 1
            elif message.type in ("note_off", "note_on"):
                sounding.remove(message.note)
        assert strikes >= 1, name
        assert not sounding, name

    samples, rate = soundfile.read(folder / "run.wav")
    assert rate == 44_100
    assert np.isfinite(samples).all()
    assert 0.02 < np.abs(samples).max() <= 1.0
    assert len(samples) / rate == pytest.approx(midi.length, abs=2.0)

    picture = (folder / "run.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.endswith(b"IEND\xaeB`\x82")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_every_setting_starts_finite_and_ends_whole(
    torch: ModuleType, tmp_path: Path, experiment: Experiment, seed: int
) -> None:
    outcome = demo.run(dataclasses.replace(experiment, seed=seed), tmp_path / "run")
    references = norms_of(outcome.folder)[0]
    assert np.isfinite(references).all()
    assert (references > 0.0).all()
    assert_whole(outcome.folder, steps=200)
    print(outcome)


@pytest.mark.parametrize(("name", "seconds"), [("pentatonic", 0.125), ("drums", 0.3)])
def test_a_long_slot_does_not_slow_down_the_live_demo(name, seconds):
    assert demo._step_seconds(load(name), 4) == pytest.approx(seconds)
