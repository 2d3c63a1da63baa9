"""Two processes or more, each with its part of every batch: plain DDP, as torchrun starts it."""

import sys

import torch
from byhand import BATCH, LR, STEPS, Net, data
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

if __name__ == "__main__":
    distributed.init_process_group("gloo")
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    net = Net()
    parallel = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=LR)
    x, y = data()
    for step in range(STEPS):
        part = slice(step * BATCH + rank, (step + 1) * BATCH, ranks)
        optimizer.zero_grad()
        parallel(x[part], y[part])["loss"].backward()
        optimizer.step()
    result = sum(p.double().sum().item() for p in net.parameters())
    # One write a line: torchrun starts its processes unbuffered, on one stdout.
    sys.stdout.write(f"rank {rank} result {result}\n")
    distributed.destroy_process_group()
