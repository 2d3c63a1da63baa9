"""One of several processes that train a model with DeepSpeed, for `test_engines.py`.

    python engines.py FOLDER NAME...

`RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` are in the environment. Each training leaves
`FOLDER/NAME/run`, and `FOLDER/NAME/<rank>.pt`: the weights at the end, and the steps counted.
"""

import contextlib
import os
import sys
from pathlib import Path

import torch
from ranks import Net
from torch import distributed, nn

import gradmidi

STEPS, BATCH, PARTS = 5, 8, 2
NAN_STEP = 3
CLIP, LR = 0.05, 0.05


def data():
    torch.manual_seed(1)
    shape = (STEPS, PARTS, BATCH)
    return torch.randn(*shape, 7), torch.randint(0, 5, shape)


def alone(folder):
    """Train in this process alone, on the whole batch: the reference."""
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    with gradmidi.listen(model, optimizer, out=folder, files=()):
        for x, y in zip(*data(), strict=True):
            optimizer.zero_grad()
            for part in range(PARTS):
                (nn.functional.cross_entropy(model(x[part]), y[part]) / PARTS).backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()


def engine_of(stage, zero=(), **config):
    import deepspeed

    torch.manual_seed(0)
    given = {
        "train_micro_batch_size_per_gpu": BATCH // distributed.get_world_size(),
        "gradient_accumulation_steps": PARTS,
        "gradient_clipping": CLIP,
        "zero_optimization": {"stage": stage, **dict(zero)},
        "optimizer": {"type": "SGD", "params": {"lr": LR}},
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        **config,
    }
    return deepspeed.initialize(model=Net(), config=given)[0]


def train(folder, name, stage, *, scale=None, every=1, **config):
    """Train with an engine, and listen to it."""
    rank, world = distributed.get_rank(), distributed.get_world_size()
    engine = engine_of(stage, **config)
    if scale is not None:
        engine.optimizer.override_loss_scale(scale)
    x, y = data()
    if name == "nan":
        x[NAN_STEP - 1, 0, 0] = torch.nan
    own = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    dtype = next(engine.module.parameters()).dtype
    out = folder / ("run" if rank == 0 else f"run of {rank}")
    with gradmidi.listen(engine, out=out, files=(), every=every) as ears:
        for step in range(STEPS):
            for part in range(PARTS):
                found = engine(x[step, part, own].to(dtype))
                loss = nn.functional.cross_entropy(found, y[step, part, own])
                engine.backward(loss)
                engine.step()
            ears.log(loss=loss)
    steps = ears.step
    assert "_take_model_step" not in vars(engine), "the engine is as it was"
    torch.save({"steps": steps}, folder / f"{rank}.pt")


def refused(folder, given):
    """Note why `listen` refuses what is given."""
    engine = engine_of(2, zero={"offload_optimizer": {"device": "cpu"}} if given == 0 else ())
    options = {"updates": 10} if given == 2 else {}
    model = engine.module if given == 1 else engine
    try:
        gradmidi.listen(model, out=folder / "run", files=(), **options)
    except gradmidi.CaptureError as error:
        (folder / f"refused {distributed.get_rank()}").write_text(str(error))


TRAININGS = {
    **{f"zero {stage}": {"stage": stage} for stage in range(4)},
    "bfloat16 1": {"stage": 1, "bf16": {"enabled": True}},
    "bfloat16 3": {"stage": 3, "bf16": {"enabled": True}},
    "scaled 2": {"stage": 2, "scale": 64.0},
    "scaled 3": {"stage": 3, "scale": 64.0},
    "every": {"stage": 1, "every": 2},
    "nan": {"stage": 2},
}
REFUSED = ("offload", "module", "updates")


def main():
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    torch.set_num_threads(1)
    # Everything goes through gloo: to build this extension takes minutes.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo")
    for name in sys.argv[2:]:
        folder = Path(sys.argv[1]) / name
        folder.mkdir(exist_ok=True)
        said = folder / f"{distributed.get_rank()}.err"
        with said.open("w") as file, contextlib.redirect_stderr(file):
            if name in REFUSED:
                refused(folder, REFUSED.index(name))
            else:
                train(folder, name, **TRAININGS[name])
            # Nobody begins the next one while another is still in this one.
            distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
