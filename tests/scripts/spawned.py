"""Two processes that the script itself starts, each with its part of every batch:
spawned.py PORT [OUT].

Where OUT is given, what they run listens.
"""

import contextlib
import os
import sys

import torch
from byhand import BATCH, LR, STEPS, Net, data
from torch import distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel

import gradmidi

RANKS = 2


def train(rank, port, out):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    distributed.init_process_group("gloo", rank=rank, world_size=RANKS)
    parallel = DistributedDataParallel(Net())
    optimizer = torch.optim.SGD(parallel.parameters(), lr=LR)
    x, y = data()
    listening = contextlib.nullcontext()
    if out is not None:
        listening = gradmidi.listen(parallel, optimizer, out=out, files=())
    with listening:
        for step in range(STEPS):
            part = slice(step * BATCH + rank, (step + 1) * BATCH, RANKS)
            optimizer.zero_grad()
            parallel(x[part], y[part])["loss"].backward()
            optimizer.step()
    # The first keeps the store that both of them need until they are done.
    distributed.barrier()
    distributed.destroy_process_group()
    # A thread of gloo's that is still there makes the interpreter's own end abort, now and then.
    os._exit(0)


if __name__ == "__main__":
    out = sys.argv[2] if len(sys.argv) > 2 else None
    multiprocessing.spawn(train, (sys.argv[1], out), nprocs=RANKS)
    print("trained")
