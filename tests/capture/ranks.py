"""One of several processes that train models together, one after another: for `test_sharded.py`.

    python ranks.py FOLDER [NAME KIND FAULT]...

`RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` are in the environment; `WORLD_SIZE` 1 is
the reference, the same training by one process on the whole batch. Each leaves, of each
training, `FOLDER/NAME/<rank>.pt`: the weights at the end, whole, and the steps that its listener
counted; and `FOLDER/NAME/<rank>.err`, what it said.
"""

import contextlib
import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, ShardingStrategy, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn.parallel import DistributedDataParallel

import gradmidi
from gradmidi.capture import sharded
from gradmidi.capture.norms import Plan

STEPS, BATCH, FAULT_STEP = 12, 8, 5
CLIP = 0.05


class Scale(nn.Module):
    """Kept out of sharding: a plain tensor beside the others."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5))

    def forward(self, x):
        return x * self.weight


class Net(nn.Module):
    """Sizes that no number of processes divides; a layer is never used, one registered early."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(7, 12)
        self.down = nn.Linear(24, 12)
        self.up = nn.Linear(12, 24)
        self.norm = nn.LayerNorm(12)
        self.unused = nn.Linear(3, 3)
        self.head = nn.Linear(12, 5)
        self.scale = Scale()

    def forward(self, x):
        x = self.embed(x)
        x = x + self.down(torch.relu(self.up(x)))
        return self.scale(self.head(self.norm(x)))


def spread(model, kind, world):
    """Spread a model over the processes."""
    if world == 1:
        return model
    if kind == "ddp":
        return DistributedDataParallel(model, find_unused_parameters=True)
    if kind.startswith("fsdp1"):
        return wrap(model, kind, world)
    if kind == "tensor parallel":
        mesh = init_device_mesh("cpu", (world,))
        return parallelize_module(model, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    shape, names = ((2, world // 2), ("replicas", "shards")) if kind == "hybrid" else ((world,), ())
    mesh = init_device_mesh("cpu", shape, mesh_dim_names=names or None)
    for part in (model.up, model.down):
        fully_shard(part, mesh=mesh)
    plain = set() if kind == "fsdp all" else set(model.scale.parameters())
    fully_shard(model, mesh=mesh, ignored_params=plain)
    return model


def wrap(model, kind, world):
    """Wrap a model in FSDP1, two of its layers in wrappers of their own."""
    options = {"use_orig_params": "flat" not in kind, "device_id": torch.device("cpu")}
    if "hybrid" in kind:
        names = ("replicas", "shards")
        options["device_mesh"] = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=names)
        options["sharding_strategy"] = ShardingStrategy.HYBRID_SHARD
    model.up = FullyShardedDataParallel(model.up, **options)
    model.down = FullyShardedDataParallel(model.down, **options)
    plain = [] if "all" in kind else [model.scale]
    wrapped = FullyShardedDataParallel(model, ignored_modules=plain, **options)
    return model if "inner" in kind else wrapped


def clip(model, ears, how):
    if how == "ears":
        ears.clip_grad_norm_(CLIP)
    elif how == "own":
        model.clip_grad_norm_(CLIP)
    else:
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)


def train(folder: Path, kind: str, fault: str) -> None:
    rank, world = distributed.get_rank(), distributed.get_world_size()
    torch.manual_seed(0)
    model = spread(Net(), kind, world)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    whole = world == 1 or kind == "tensor parallel"
    options = {"every": 3} if fault == "every" else {"budget": 0.0005} if fault == "budget" else {}
    ears = None
    sharded.MEET_SECONDS = 3.0 if fault == "alone" else 60.0
    if fault != "deaf" and not (fault == "alone" and rank != 0):
        try:
            out = folder / ("run" if rank == 0 else f"run of {rank}")
            ears = gradmidi.listen(model, optimizer, out=out, files=(), updates=5, **options)
        except gradmidi.GradmidiError as error:
            print(f"refused: {error}", flush=True)
            with contextlib.suppress(OSError):
                (folder / "refused").write_text(str(error))
    if kind.startswith("fsdp1") and ears is None:
        return
    norms, calls = Plan.norms, []

    def failing(plan):
        calls.append(plan)
        if len(calls) == FAULT_STEP:
            raise ValueError("no norms today")
        return norms(plan)

    if fault == "raises" and rank == 1:
        Plan.norms = failing
    x, y = torch.randn(STEPS, BATCH, 7), torch.randint(0, 5, (STEPS, BATCH))
    own = slice(None) if whole else slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[step, own]), y[step, own])
        loss.backward()
        if not whole and not kind.endswith(("ddp", "all")):
            distributed.all_reduce(model.scale.weight.grad)
            model.scale.weight.grad /= world
        if fault.startswith("clip "):
            clip(model, ears, fault.removeprefix("clip "))
        optimizer.step()
        if ears is not None:
            ears.log(loss=loss)
        if fault == "closes" and rank == 1 and step + 1 == FAULT_STEP:
            ears.close()
    if ears is not None:
        ears.close()
    Plan.norms = norms
    state = {
        name.removeprefix("module."): each.full_tensor() if isinstance(each, DTensor) else each
        for name, each in model.state_dict().items()
    }
    hooks = len(optimizer._optimizer_step_pre_hooks)
    result = {"state": state, "steps": getattr(ears, "step", None), "hooks": hooks}
    torch.save(result, folder / f"{rank}.pt")


def main() -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    trainings = iter(sys.argv[2:])
    for name, kind, fault in zip(trainings, trainings, trainings, strict=True):
        folder = Path(sys.argv[1]) / name
        folder.mkdir(exist_ok=True)
        with (
            open(folder / f"{distributed.get_rank()}.err", "w") as said,
            contextlib.redirect_stderr(said),
        ):
            train(folder, kind, fault)
            # Nobody begins the next one while another is still in this one.
            distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
