"""A Transformers Trainer, heard: norms from before it clips."""

from pathlib import Path
from typing import Any

import pytest
from byhand import BATCH, LR, STEPS, Net, data, frames, heard, norms_by_hand

DEFAULT_CLIP = 1.0


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


def train(
    transformers: Any, folder: Path, net: Net, *, resume: str | None = None, **options: Any
) -> Any:
    import torch

    from gradmidi.integrations.transformers import GradMidi

    class InOrder(transformers.Trainer):
        """Draws batches in their order, as the loop by hand does."""

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    x, y = data()
    arguments = transformers.TrainingArguments(
        str(folder.parent / "out"),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        lr_scheduler_type="constant",
        learning_rate=LR,
        logging_steps=1,
        save_strategy=options.pop("save_strategy", "no"),
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        **options,
    )
    trainer = InOrder(
        net,
        arguments,
        train_dataset=[{"x": a, "labels": b} for a, b in zip(x, y, strict=True)],
        eval_dataset=[{"x": x[0], "labels": y[0]}],
        optimizers=(torch.optim.SGD(net.parameters(), lr=LR), None),
        callbacks=[GradMidi(out=folder, files=(), resume=resume is not None)],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("accumulate", [1, 2])
def test_norms_are_those_before_the_default_clipping(
    transformers: Any, tmp_path: Path, accumulate: int
) -> None:
    trainer = train(transformers, tmp_path / "a", Net(), gradient_accumulation_steps=accumulate)
    assert trainer.args.max_grad_norm == DEFAULT_CLIP
    assert heard(tmp_path / "a") == [
        pytest.approx(row, rel=1e-5) for row in norms_by_hand(DEFAULT_CLIP, accumulate=accumulate)
    ]


def test_norms_without_any_clipping(transformers: Any, tmp_path: Path) -> None:
    train(transformers, tmp_path / "a", Net(), max_grad_norm=0.0)
    assert heard(tmp_path / "a") == [pytest.approx(row, rel=1e-5) for row in norms_by_hand(None)]


def test_one_inf_is_reported_only_for_its_layer(transformers: Any, tmp_path: Path) -> None:
    train(transformers, tmp_path / "a", Net(spoiled=3))
    rows = heard(tmp_path / "a")
    assert rows[2][1] == float("inf")
    assert rows == [
        pytest.approx(row, rel=1e-5, nan_ok=True) for row in norms_by_hand(DEFAULT_CLIP, spoiled=3)
    ]


def test_values_of_the_trainer_are_logged_with_the_norms(transformers: Any, tmp_path: Path) -> None:
    trainer = train(transformers, tmp_path / "a", Net(), eval_strategy="steps", eval_steps=4)
    logged = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    found = frames(tmp_path / "a")
    assert len(found) == STEPS
    for frame, entry in zip(found, logged, strict=True):
        assert frame.loss == pytest.approx(entry["loss"], rel=1e-6)
        assert frame.extra["lr"] == entry["learning_rate"]
        # The Trainer's own figure for all layers, from before it clipped.
        assert float((frame.norms**2).sum() ** 0.5) == pytest.approx(entry["grad_norm"], rel=1e-5)
    lines = (tmp_path / "a" / "run.jsonl").read_text()
    assert lines.index('"step": 4') < lines.index('"pause": "evaluation"')
    assert lines.index('"pause": "evaluation"') < lines.index('"step": 5')
    assert '"mark": "epoch 1"' in lines
    assert '"end": "closed"' in lines


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("name", "value"), [("deepspeed", "zero3.json"), ("fsdp", "full_shard")])
def test_what_cannot_be_heard_is_reported_by_the_first_process(
    transformers: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    first: bool,
) -> None:
    import torch

    from gradmidi.integrations.transformers import GradMidi

    arguments = transformers.TrainingArguments(str(tmp_path / "out"), use_cpu=True)
    # Given to it at once, either looks for processes and packages of its own.
    setattr(arguments, name, value)
    state = transformers.TrainerState(is_world_process_zero=first)
    control, net = transformers.TrainerControl(), Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    ears = GradMidi(out=tmp_path / "a")
    ears.on_train_begin(arguments, state, control, model=net, optimizer=optimizer)
    ears.on_log(arguments, state, control, {"loss": 1.0})
    ears.on_train_end(arguments, state, control)
    said = capsys.readouterr().err
    assert (f"{name} shards gradients over processes" in said) is first
    assert not (tmp_path / "a").exists()
    assert not optimizer._optimizer_step_pre_hooks


def test_nothing_is_left_behind(transformers: Any, tmp_path: Path) -> None:
    from torch.nn import utils
    from torch.nn.utils import clip_grad

    def clippers() -> list[Any]:
        return [getattr(m, n) for m in (utils, clip_grad) for n in dir(m) if "clip" in n]

    before = clippers()
    trainer = train(transformers, tmp_path / "a", Net())
    assert clippers() == before
    assert not trainer.optimizer.optimizer._optimizer_step_pre_hooks


def test_steps_made_again_from_a_checkpoint_replace_the_earlier_ones(
    transformers: Any, tmp_path: Path
) -> None:
    options = {"save_strategy": "steps", "save_steps": 4}
    train(transformers, tmp_path / "a", Net(), **options)
    before = len((tmp_path / "a" / "run.jsonl").read_text().splitlines())
    checkpoint = str(tmp_path / "out" / "checkpoint-4")
    train(transformers, tmp_path / "a", Net(), resume=checkpoint, **options)
    assert [frame.step for frame in frames(tmp_path / "a")] == list(range(1, STEPS + 1))
    lines = (tmp_path / "a" / "run.jsonl").read_text().splitlines()[before:]
    steps = [line for line in lines if '"norms"' in line]
    assert steps[0].startswith('{"step": 5,')
    assert len(steps) == STEPS - 4
