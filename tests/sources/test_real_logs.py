"""Logs as the tools themselves write them, read into runs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradmidi
from gradmidi.errors import RunLogError
from gradmidi.run import Run
from gradmidi.sources.opened import import_log

INF = float("inf")
STEPS = 5


def imported(log: Path, out: Path, **options: Any) -> Run:
    return gradmidi.read(import_log(log, out, **options).path)


def names(run: Run) -> list[str]:
    return [layer.name for layer in run.layers]


def test_event_files_of_torch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    torch = pytest.importorskip("torch")
    from torch.utils.tensorboard import SummaryWriter

    torch.manual_seed(0)
    gradients = torch.randn(STEPS, 3, 4)
    with SummaryWriter(str(tmp_path / "log")) as writer:
        for step, gradient in enumerate(gradients):
            writer.add_scalar("loss/train", 2.0 / (step + 1), step)
            writer.add_scalar("grad_norm/fc1", INF if step == 2 else gradient.norm(), step)
            writer.add_histogram("grad_norm/fc2.weight", gradient, step)
            writer.add_text("notes", "gradual", step)
    run = imported(tmp_path, tmp_path / "run")
    assert names(run) == ["fc1", "fc2"]
    expected = torch.stack([gradients.flatten(1).norm(dim=1)] * 2, 1).double().numpy()
    expected[2, 0] = INF
    found = list(run.frames())
    assert [frame.step for frame in found] == list(range(STEPS))
    np.testing.assert_allclose([frame.norms for frame in found], expected, rtol=1e-6)
    assert [frame.loss for frame in found] == pytest.approx([2.0 / (s + 1) for s in range(STEPS)])
    times = [frame.t for frame in found]
    assert times == sorted(times)
    assert times[0] == 0.0 < times[-1]


def test_more_events_than_tensorboard_shows(tmp_path: Path) -> None:
    """Its own reader would keep 10,000 of them by chance, were it not told otherwise."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("torch")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "log")) as writer:
        for step in range(10_050):
            writer.add_scalar("grad", 1.0, step)
    assert imported(tmp_path / "log", tmp_path / "run").steps == 10_050


@pytest.mark.slow
def test_event_files_of_tensorflow(tmp_path: Path) -> None:
    """TensorFlow writes each scalar as a tensor."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    code = (
        "import sys, tensorflow as tf\n"
        "with tf.summary.create_file_writer(sys.argv[1]).as_default():\n"
        "    for step in range(3):\n"
        "        tf.summary.scalar('gradients/dense/kernel', 0.5 * step, step)\n"
        "        tf.summary.text('gradients/text', 'none', step)\n"
        "        tf.summary.scalar('loss', 2.0, step)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log")], check=True, capture_output=True
    )
    run = imported(tmp_path / "log", tmp_path / "run")
    assert names(run) == ["dense"]
    assert [frame.norms.tolist() for frame in run.frames()] == [[0.0], [0.5], [1.0]]
    assert next(run.frames()).loss == 2.0


def test_a_file_with_no_events_in_it_is_reported(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.a").write_bytes(b"")
    with pytest.raises(RunLogError, match="it has no column at all"):
        import_log(tmp_path, tmp_path / "run")


@pytest.mark.filterwarnings(
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",
    "ignore:The '.*dataloader' does not have many workers:UserWarning",
)
def test_what_lightning_logs_to_csv(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    import torch
    from lightning.pytorch.loggers import CSVLogger
    from lightning.pytorch.utilities import grad_norm

    made: list[list[float]] = []

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))

        def training_step(self, batch: Any, _index: int) -> Any:
            loss = self.net(batch[0]).square().mean()
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, _index: int) -> None:
            self.log("val_loss", self.net(batch[0]).mean())

        def on_before_optimizer_step(self, _optimizer: Any) -> None:
            self.log_dict(grad_norm(self, norm_type=2))
            made.append(
                [
                    sum(float(p.grad.double().square().sum()) for p in layer.parameters()) ** 0.5
                    for layer in self.net
                ]
            )

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = torch.utils.data.TensorDataset(torch.randn(STEPS * 2, 3))
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=CSVLogger(tmp_path),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Module(), loader, loader)
    run = imported(tmp_path / "lightning_logs", tmp_path / "run")
    # Lightning rounds to four places; and its columns are in the order of the alphabet.
    assert names(run) == ["net.0", "net.1"]
    assert [frame.norms.tolist() for frame in run.frames()] == [
        pytest.approx(row, rel=1e-4) for row in made
    ]
    assert all(frame.loss is not None for frame in run.frames())


def test_what_a_trainer_keeps_beside_a_checkpoint(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc = torch.nn.Linear(3, 1)

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> Any:
            return {"loss": torch.nn.functional.mse_loss(self.fc(x), labels)}

    class Loud(transformers.TrainerCallback):
        def on_log(self, _args: Any, _state: Any, _control: Any, logs: Any, **_: Any) -> None:
            heard.extend(logs[name] for name in ("grad_norm",) if name in logs)

    heard: list[float] = []
    arguments = transformers.TrainingArguments(
        str(tmp_path / "out"),
        per_device_train_batch_size=2,
        num_train_epochs=1,
        logging_steps=1,
        save_steps=STEPS,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        Net(),
        arguments,
        train_dataset=[
            {"x": torch.ones(3), "labels": torch.full((1,), 10.0 * i)} for i in range(2 * STEPS)
        ],
        callbacks=[Loud()],
    )
    trainer.train()
    run = imported(tmp_path / "out", tmp_path / "run")
    assert names(run) == ["total"]
    assert len(heard) == STEPS
    assert [(f.step, *f.norms) for f in run.frames()] == [
        (step, pytest.approx(norm, rel=1e-6)) for step, norm in enumerate(heard, 1)
    ]
    assert all(frame.loss is not None and "lr" in frame.extra for frame in run.frames())


def test_the_command_says_what_it_took_and_where_the_run_is(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,grad/fc1.weight,grad/fc1.bias,loss\n1,3,4,2\n")

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gradmidi", "import", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )

    done = command("log.csv", "-o", "run")
    assert (done.returncode, done.stdout) == (0, "run/run.jsonl\n")
    assert done.stderr.splitlines()[:3] == [
        "1 layer, 1 step",
        "fc1: grad/fc1.weight, grad/fc1.bias",
        "loss: loss",
    ]
    done = command("log.csv", "-o", "other", "--columns", "acc*")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "gradmidi: log.csv: no column matches 'acc*'; the columns are: grad/fc1.weight, "
        "grad/fc1.bias, loss\n"
    )
    assert command("log.csv").returncode == 2
