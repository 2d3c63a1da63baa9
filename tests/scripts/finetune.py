"""A Transformers script: its Trainer, at its default clipping: finetune.py FOLDER."""

import sys

import torch
from byhand import BATCH, LR, Net, data
from transformers import Trainer, TrainingArguments


class InOrder(Trainer):
    """Draws batches in their order, as the loop by hand does."""

    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


if __name__ == "__main__":
    arguments = TrainingArguments(
        sys.argv[1],
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        lr_scheduler_type="constant",
        learning_rate=LR,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    net = Net()
    trainer = InOrder(
        net,
        arguments,
        train_dataset=[{"x": x, "labels": y} for x, y in zip(*data(), strict=True)],
        optimizers=(torch.optim.SGD(net.parameters(), lr=LR), None),
    )
    trainer.train()
    print("result", sum(p.double().sum().item() for p in net.parameters()))
