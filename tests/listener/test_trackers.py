"""Upload to experiment trackers: real ones, read back."""

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import gradmidi
from gradmidi.errors import CaptureError, GradmidiError
from gradmidi.listener import listener as listening

STEPS = 1000
FAULT = f"step {STEPS // 2}: fc2 inf"


def train(folder: Path, **options: Any) -> None:
    """A run that would be two minutes long, and has a fault."""
    with gradmidi.record(folder, layers=["fc1", "fc2"], files=(), **options) as ears:
        for step in range(1, STEPS + 1):
            norm = float("inf") if step == STEPS // 2 else 1.0 + step % 5
            ears.frame([0.5 + step % 7, norm], loss=2.0)


def shown(folder: Path) -> tuple[np.ndarray, bytes, list[str]]:
    """What is to be given of a run: the sound, the picture and the text."""
    run = gradmidi.read(folder)
    sound, picture = gradmidi.render(run, folder / "a.wav", folder / "a.png", length=8.0)
    return soundfile.read(sound, always_2d=True)[0], picture.read_bytes(), str(run).splitlines()


def pixels(data: bytes) -> np.ndarray:
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.slow
def test_a_summary_writer_gets_sound_picture_and_faults_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("torch")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "board")) as writer:
        train(tmp_path / "a", log_to=writer)
        # Given when the run was closed, not when the writer is.
        events = EventAccumulator(str(tmp_path / "board"), size_guidance={"audio": 0, "images": 0})
        events.Reload()
    assert "uploaded sound, picture and faults to TensorBoard" in capsys.readouterr().err
    sound, picture, text = shown(tmp_path / "a")
    (audio,) = events.Audio("gradmidi/sound")
    samples, rate = soundfile.read(io.BytesIO(audio.encoded_audio_string))
    assert 7.0 < len(samples) / rate <= 10.0
    np.testing.assert_allclose(samples, sound.mean(axis=1), atol=2.0**-14)
    (image,) = events.Images("gradmidi/picture")
    assert np.array_equal(pixels(image.encoded_image_string), pixels(picture))
    (told,) = events.Tensors("gradmidi/faults/text_summary")
    lines = told.tensor_proto.string_val[0].decode().splitlines()
    assert lines == [f"    {line}" for line in text]
    assert f"    {FAULT}" in lines
    # Made aside: the run's folder holds what was asked for.
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["a.png", "a.wav", "run.jsonl"]


def program(tmp_path: Path, code: str, **environment: str) -> str:
    """Run a training script where a tracker keeps to its own folder."""
    own = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{own.parents[1]}{os.pathsep}{own}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
def test_an_active_run_of_wandb_gets_them(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    said = program(
        tmp_path,
        "import wandb\n"
        "from pathlib import Path\n"
        "from test_trackers import train\n"
        "with wandb.init(project='a', mode='offline'):\n"
        "    train(Path('a'), log_to='wandb')\n"
        "train(Path('b'), log_to='wandb')\n",
        WANDB_SILENT="true",
    )
    assert "uploaded sound, picture and faults to wandb" in said
    assert "log_to: CaptureError: no run of wandb is active" in said
    sound, picture, text = shown(tmp_path / "a")
    (media,) = tmp_path.glob("wandb/offline-run-*/files/media")
    (audio,) = media.glob("audio/gradmidi/sound*.wav")
    (image,) = media.glob("images/gradmidi/picture*.png")
    (told,) = media.glob("html/gradmidi/faults*.html")
    np.testing.assert_array_equal(soundfile.read(audio, always_2d=True)[0], sound)
    assert np.array_equal(pixels(image.read_bytes()), pixels(picture))
    assert told.read_text().removeprefix("<pre>").removesuffix("</pre>").splitlines() == text
    assert FAULT in text


@pytest.mark.slow
def test_an_active_run_of_mlflow_gets_them(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    said = program(
        tmp_path,
        "import mlflow\n"
        "from pathlib import Path\n"
        "from test_trackers import train\n"
        "mlflow.set_tracking_uri(Path('store').absolute().as_uri())\n"
        "with mlflow.start_run():\n"
        "    train(Path('a'), log_to='mlflow')\n"
        "train(Path('b'), log_to='mlflow')\n"
        "assert mlflow.active_run() is None\n",
        MLFLOW_ALLOW_FILE_STORE="true",
    )
    assert "uploaded sound, picture and faults to mlflow" in said
    assert "log_to: CaptureError: no run of MLflow is active" in said
    sound, picture, text = shown(tmp_path / "a")
    # One run was given them, and none was begun for the other.
    (given,) = tmp_path.glob("store/*/*/artifacts/gradmidi")
    np.testing.assert_array_equal(soundfile.read(given / "run.wav", always_2d=True)[0], sound)
    assert np.array_equal(pixels((given / "run.png").read_bytes()), pixels(picture))
    assert (given / "run.txt").read_text().splitlines() == text


TRAINER = """\
import torch
from transformers import Trainer, TrainingArguments
from byhand import Net, data
from gradmidi.integrations.transformers import GradMidi

x, y = data()
Trainer(
    Net(),
    TrainingArguments("out", num_train_epochs=1, save_strategy="no", report_to="mlflow",
                      use_cpu=True, disable_tqdm=True),
    train_dataset=[{"x": a, "labels": b} for a, b in zip(x, y)],
    callbacks=[GradMidi(out="a", files=(), log_to="mlflow")],
).train()
"""

BLOCK = """\
import mlflow, torch
from byhand import Net, data

x, y = data()
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
with mlflow.start_run():
    net(x, y)["loss"].backward()
    optimizer.step()
"""

ALONE = ("-m", "gradmidi", "run", "--out", "a", "--files", "none", "--log-to", "mlflow", "train.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words"),
    [(TRAINER, ("train.py",)), (BLOCK, ALONE)],
    ids=["trainer", "script as it is"],
)
def test_a_run_of_mlflow_that_training_itself_ends_gets_them(
    tmp_path: Path, code: str, words: tuple[str, ...]
) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("transformers" if code == TRAINER else "torch")
    own = Path(__file__).parent
    (tmp_path / "train.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                map(str, (own.parents[1], own, own.parent / "integrations"))
            ),
            "MLFLOW_TRACKING_URI": (tmp_path / "store").as_uri(),
            "MLFLOW_ALLOW_FILE_STORE": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "uploaded sound, picture and faults to mlflow" in done.stderr
    (given,) = tmp_path.glob("store/*/*/artifacts/gradmidi")
    assert sorted(path.name for path in given.iterdir()) == ["run.png", "run.txt", "run.wav"]
    # It was and stays ended, and no other was begun.
    (meta,) = tmp_path.glob("store/*/*/meta.yaml")
    assert "status: 3" in meta.read_text()


# -- what goes wrong ------------------------------------------------------------------------------


class Board:
    """A SummaryWriter of our own."""

    def __init__(self, add_text: Any = None) -> None:
        self.given: list[str] = []
        self._add_text = add_text

    def add_audio(self, tag: str, samples: np.ndarray, sample_rate: int) -> None:
        self.given.append(tag)
        self.sound, self.rate = samples[0], sample_rate

    def add_image(self, tag: str, *_: Any, **__: Any) -> None:
        self.given.append(tag)

    def add_text(self, tag: str, text: str) -> None:
        self.given.append(tag)
        if self._add_text is not None:
            self._add_text()

    def flush(self) -> None: ...


def threads() -> list[threading.Thread]:
    """Those that have something to give yet."""
    found = [thread for thread in threading.enumerate() if thread.name == "gradmidi log_to"]
    for thread in found:
        thread.join(0.5)
    return [thread for thread in found if thread.is_alive()]


def few(folder: Path, board: Any, error: BaseException | None = None, files: Any = ()) -> None:
    pytest.importorskip("matplotlib")
    with gradmidi.record(folder, layers=["fc"], files=files, log_to=board) as ears:
        ears.frame([1.0])
        if error is not None:
            raise error
    ears.close()


@pytest.mark.slow
def test_a_last_note_that_rings_on_ends_within_ten_seconds(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    board = Board()
    train(tmp_path / "a", log_to=board, preset="orchestra")
    run = gradmidi.read(tmp_path / "a")
    (path,) = gradmidi.render(run, tmp_path / "a.wav", preset="orchestra", length=8.0)
    whole = soundfile.read(path, always_2d=True)[0].mean(axis=1)
    assert 7 * board.rate < len(whole) <= 10 * board.rate
    np.testing.assert_allclose(board.sound, whole, atol=2.0**-14)


@pytest.mark.slow
def test_what_fails_there_is_counted_and_not_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise ConnectionError("no route to the board")

    few(tmp_path / "a", Board(refuse), files=("mid",))
    said = capsys.readouterr().err
    assert (
        said.count("log_to: ConnectionError: no route to the board; the run itself is complete")
        == 1
    )
    assert "gave" not in said
    assert (tmp_path / "a" / "run.mid").stat().st_size > 100


@pytest.mark.slow
def test_a_tracker_that_never_answers_is_not_waited_for_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(listening, "FILES_SECONDS", 0.5)
    try:
        few(tmp_path / "a", Board(answer.wait))
        assert "still uploading to TensorBoard" in capsys.readouterr().err
    finally:
        answer.set()
        for thread in threads():
            thread.join()


def test_nothing_is_uploaded_of_a_run_that_an_exception_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board()
    with pytest.raises(ArithmeticError):
        few(tmp_path / "a", board, ArithmeticError("enough"))
    said = capsys.readouterr().err
    why = "the run ended with 'exception: ArithmeticError: enough'"
    assert f"log_to: nothing is uploaded, because {why}" in said
    assert board.given == []
    assert threads() == []


def test_of_a_run_without_a_step_nothing_is_uploaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    board = Board()
    gradmidi.record(tmp_path / "a", layers=["fc"], log_to=board).close()
    assert "log_to: nothing is uploaded, because no step was recorded" in capsys.readouterr().err
    assert board.given == []
    assert threads() == []


def test_a_run_of_a_model_is_uploaded_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    board = Board()
    with gradmidi.listen(model, optimizer, out=tmp_path / "a", files=(), log_to=board):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        assert board.given == []
    assert board.given == ["gradmidi/sound", "gradmidi/picture", "gradmidi/faults"]


@pytest.mark.slow
def test_a_run_that_is_left_to_the_end_of_the_program_is_given(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    said = program(
        tmp_path,
        "import gradmidi\n"
        "from test_trackers import Board\n"
        "ears = gradmidi.record('a', layers=['fc'], files=(), log_to=Board())\n"
        "ears.frame([1.0])\n",
    )
    assert "uploaded sound, picture and faults to TensorBoard" in said


@pytest.mark.parametrize(
    ("log_to", "given"), [("comet", "'comet'"), (object(), "object"), (True, "bool")]
)
def test_what_is_no_tracker_is_refused_before_training(
    tmp_path: Path, log_to: Any, given: str
) -> None:
    with pytest.raises(GradmidiError) as told:
        gradmidi.record(tmp_path / "a", layers=["fc"], log_to=log_to)
    assert str(told.value) == (f"log_to={given}; allowed is: wandb, mlflow, or a SummaryWriter")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("name", "found", "says"),
    [
        ("wandb", {}, "wandb 0.18 or newer is needed; it is not installed"),
        ("wandb", {"wandb": "0.12.1"}, "wandb 0.18 or newer is needed; this is 0.12.1"),
        ("mlflow", {"mlflow-skinny": "1.30.0"}, "mlflow 2.0 or newer is needed; this is 1.30.0"),
    ],
)
def test_a_missing_or_old_tracker_is_an_error(
    tmp_path: Path, installed: Callable[..., None], name: str, found: dict[str, str], says: str
) -> None:
    installed(**found)
    with pytest.raises(CaptureError, match=f"{says}: pip install '{name}>="):
        gradmidi.record(tmp_path / "a", layers=["fc"], log_to=name)
