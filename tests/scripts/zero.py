"""Two processes that train with DeepSpeed, each with its part of every batch; it clips."""

import os
import sys

os.environ["DS_ACCELERATOR"] = "cpu"

import deepspeed
import torch
from byhand import BATCH, LR, STEPS, Net, data

if __name__ == "__main__":
    # Everything goes through gloo: to build this extension takes minutes.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo")
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    config = {
        "train_micro_batch_size_per_gpu": BATCH // ranks,
        "gradient_clipping": 0.01,
        "zero_optimization": {"stage": 2},
        "zero_allow_untested_optimizer": True,
        "optimizer": {"type": "SGD", "params": {"lr": LR}},
    }
    engine = deepspeed.initialize(model=Net(), config=config)[0]
    x, y = data()
    for step in range(STEPS):
        part = slice(step * BATCH + rank, (step + 1) * BATCH, ranks)
        engine.backward(engine(x[part], y[part])["loss"])
        engine.step()
    sys.stdout.write(f"rank {rank} result {sum(p.sum().item() for p in engine.parameters())}\n")
    torch.distributed.destroy_process_group()
