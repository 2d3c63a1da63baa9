"""Lightning's own Trainer, heard: norms from before it clips."""

from pathlib import Path
from typing import Any

import pytest
from byhand import BATCH, LR, STEPS, Net, data, frames, heard, norms_by_hand

pytestmark = [
    pytest.mark.filterwarnings(
        r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",
        "ignore:The '.*dataloader' does not have many workers:UserWarning",
    )
]


@pytest.fixture(scope="module")
def lightning() -> Any:
    return pytest.importorskip("lightning.pytorch")


def module_of(lightning: Any, net: Net, **attributes: Any) -> Any:
    import torch

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any, _index: int) -> Any:
            return self.net(*batch)["loss"]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=LR)

    for name, value in attributes.items():
        setattr(Module, name, value)
    return Module()


def trainer_of(lightning: Any, callback: Any, *, max_epochs: int = 1, **options: Any) -> Any:
    return lightning.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
        **options,
    )


def loader() -> Any:
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(*data()), batch_size=BATCH)


def ears_of(folder: Path, **options: Any) -> Any:
    from gradmidi.integrations.lightning import GradMidi

    return GradMidi(out=folder, files=(), **options)


@pytest.mark.parametrize("clip", [None, 0.5], ids=["default", "clipped"])
def test_norms_are_those_before_clipping(lightning: Any, tmp_path: Path, clip: float) -> None:
    trainer = trainer_of(lightning, ears_of(tmp_path / "a"), gradient_clip_val=clip)
    trainer.fit(module_of(lightning, Net()), loader())
    assert heard(tmp_path / "a") == [pytest.approx(row, rel=1e-5) for row in norms_by_hand(clip)]


def test_one_inf_is_reported_only_for_its_layer(lightning: Any, tmp_path: Path) -> None:
    trainer = trainer_of(lightning, ears_of(tmp_path / "a"), gradient_clip_val=0.5)
    trainer.fit(module_of(lightning, Net(spoiled=3)), loader())
    rows = heard(tmp_path / "a")
    assert rows[2][1] == float("inf")
    assert rows == [
        pytest.approx(row, rel=1e-5, nan_ok=True) for row in norms_by_hand(0.5, spoiled=3)
    ]


def test_an_update_of_several_batches_is_one_step(lightning: Any, tmp_path: Path) -> None:
    trainer = trainer_of(
        lightning, ears_of(tmp_path / "a"), gradient_clip_val=0.5, accumulate_grad_batches=2
    )
    trainer.fit(module_of(lightning, Net()), loader())
    assert heard(tmp_path / "a") == [
        pytest.approx(row, rel=1e-5) for row in norms_by_hand(0.5, accumulate=2)
    ]


def test_a_loop_that_steps_and_clips_by_hand(lightning: Any, tmp_path: Path) -> None:
    def training_step(module: Any, batch: Any, _index: int) -> None:
        optimizer = module.optimizers()
        optimizer.zero_grad()
        module.manual_backward(module.net(*batch)["loss"])
        module.clip_gradients(optimizer, gradient_clip_val=0.5)
        optimizer.step()

    module = module_of(lightning, Net(), automatic_optimization=False, training_step=training_step)
    trainer_of(lightning, ears_of(tmp_path / "a")).fit(module, loader())
    assert heard(tmp_path / "a") == [pytest.approx(row, rel=1e-5) for row in norms_by_hand(0.5)]


def test_a_scale_that_the_optimizer_undoes_is_undone(lightning: Any, tmp_path: Path) -> None:
    import torch
    from lightning.pytorch.plugins import MixedPrecision

    def configure_optimizers(module: Any) -> Any:
        return torch.optim.SGD(module.parameters(), lr=LR, fused=True)

    class InFloat32(MixedPrecision):
        """Scales as fp16 does, but computes in float32, so that norms can be compared."""

        def autocast_context_manager(self) -> Any:
            return torch.autocast("cpu", enabled=False)

    plugin = InFloat32("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))
    trainer = trainer_of(lightning, ears_of(tmp_path / "a"), plugins=[plugin])
    trainer.fit(module_of(lightning, Net(), configure_optimizers=configure_optimizers), loader())
    assert heard(tmp_path / "a") == [pytest.approx(row, rel=1e-5) for row in norms_by_hand(None)]


def test_loss_rate_epochs_and_validation_stand_in_the_log(lightning: Any, tmp_path: Path) -> None:
    def validation_step(module: Any, batch: Any, _index: int) -> None:
        module.net(*batch)

    trainer = trainer_of(lightning, ears_of(tmp_path / "a"))
    module = module_of(lightning, Net(), validation_step=validation_step)
    trainer.fit(module, loader(), loader())
    net, (x, y) = Net(), data()
    found = frames(tmp_path / "a")
    assert found[0].loss == pytest.approx(net(x[:BATCH], y[:BATCH])["loss"].item(), rel=1e-5)
    assert [frame.extra["lr"] for frame in found] == [LR] * STEPS
    lines = (tmp_path / "a" / "run.jsonl").read_text()
    assert '"mark": "epoch 1"' in lines
    assert '"pause": "validation"' in lines
    assert '"end": "closed"' in lines


def test_the_loss_is_not_divided_by_the_batches_of_an_update(
    lightning: Any, tmp_path: Path
) -> None:
    losses: list[float] = []

    def training_step(module: Any, batch: Any, _index: int) -> Any:
        loss = module.net(*batch)["loss"]
        losses.append(loss.item())
        return loss

    scheduler = lightning.callbacks.GradientAccumulationScheduler({0: 3, 1: 1})
    trainer = trainer_of(lightning, ears_of(tmp_path / "a"), max_epochs=2)
    trainer.callbacks.insert(0, scheduler)
    trainer.fit(module_of(lightning, Net(), training_step=training_step), loader())
    expected = [*losses[2:STEPS:3], *losses[STEPS:]]
    assert [frame.loss for frame in frames(tmp_path / "a")] == pytest.approx(expected, rel=1e-5)


def test_what_ends_training_stands_in_the_log(lightning: Any, tmp_path: Path) -> None:
    def on_train_batch_end(_module: Any, _outputs: Any, _batch: Any, index: int) -> None:
        if index == 2:
            raise ArithmeticError("enough")

    module = module_of(lightning, Net(), on_train_batch_end=on_train_batch_end)
    callback = ears_of(tmp_path / "a")
    with pytest.raises(ArithmeticError):
        trainer_of(lightning, callback).fit(module, loader())
    assert callback.ears is None
    lines = (tmp_path / "a" / "run.jsonl").read_text().splitlines()
    assert lines[-1].startswith('{"end": "exception: ArithmeticError: enough"')
    assert len(heard(tmp_path / "a")) == 3


def test_the_callback_can_be_sent_to_another_process(lightning: Any) -> None:
    import pickle

    from gradmidi.integrations.lightning import GradMidi

    again = pickle.loads(pickle.dumps(GradMidi(out="runs/a")))
    assert isinstance(again, lightning.Callback)
    assert type(again) is GradMidi


def test_a_fit_from_a_checkpoint_replaces_the_steps_that_are_made_again(
    lightning: Any, tmp_path: Path
) -> None:
    first = trainer_of(lightning, ears_of(tmp_path / "a"))
    first.fit(module_of(lightning, Net()), loader())
    first.save_checkpoint(tmp_path / "first.ckpt")
    second = trainer_of(lightning, ears_of(tmp_path / "a", resume=True), max_epochs=2)
    second.fit(module_of(lightning, Net()), loader(), ckpt_path=tmp_path / "first.ckpt")
    third = trainer_of(lightning, ears_of(tmp_path / "a", resume=True), max_epochs=3)
    third.fit(module_of(lightning, Net()), loader(), ckpt_path=tmp_path / "first.ckpt")
    found = [frame.step for frame in frames(tmp_path / "a")]
    assert found == list(range(1, 3 * STEPS + 1))
    lines = (tmp_path / "a" / "run.jsonl").read_text().splitlines()
    again = lines.index(next(line for line in lines[::-1] if '"gradmidi"' in line))
    assert lines[again + 2].startswith(f'{{"step": {STEPS + 1},')
