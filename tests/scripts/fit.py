"""A Lightning script: fit.py CLIP."""

import sys

import lightning.pytorch as lightning
import torch
from byhand import BATCH, LR, Net, data
from torch.utils.data import DataLoader, TensorDataset


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def training_step(self, batch, _index):
        return self.net(*batch)["loss"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=LR)


if __name__ == "__main__":
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=float(sys.argv[1]),
    )
    module = Module()
    trainer.fit(module, DataLoader(TensorDataset(*data()), batch_size=BATCH))
    print("result", sum(p.double().sum().item() for p in module.parameters()))
