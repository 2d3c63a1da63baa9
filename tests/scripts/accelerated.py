"""A loop over Accelerate that clips, however many processes there are."""

import sys

import torch
from accelerate import Accelerator
from byhand import BATCH, LR, Net, data
from torch.utils.data import DataLoader, TensorDataset

if __name__ == "__main__":
    accelerator = Accelerator(cpu=True)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    size = BATCH // accelerator.num_processes
    loader = DataLoader(TensorDataset(*data()), batch_size=size)
    net, optimizer, loader = accelerator.prepare(net, optimizer, loader)
    for x, y in loader:
        loss = net(x, y)["loss"]
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    # One write a line: torchrun starts its processes unbuffered, on one stdout.
    sys.stdout.write(f"rank {accelerator.process_index} of {accelerator.num_processes}\n")
    accelerator.end_training()
