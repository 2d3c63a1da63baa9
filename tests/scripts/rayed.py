"""Ray Train: a loop for each of two workers, which listens to its model; it clips."""

import sys
from pathlib import Path

import ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, prepare_model


def work(config):
    import torch
    from byhand import BATCH, LR, STEPS, Net, data

    import gradmidi

    rank = ray.train.get_context().get_world_rank()
    model = prepare_model(Net())
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    x, y = data()
    # A worker's folder is one that Ray makes.
    out = Path(config["home"]) / ("a" if rank == 0 else f"of {rank}")
    with gradmidi.listen(model, optimizer, out=out, files=()) as ears:
        for step in range(STEPS):
            part = slice(step * BATCH + rank, (step + 1) * BATCH, 2)
            optimizer.zero_grad()
            loss = model(x[part], y[part])["loss"]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            optimizer.step()
            ears.log(loss=loss)
    (Path(config["home"]) / f"{rank}.txt").write_text(type(ears).__name__)


if __name__ == "__main__":
    home = sys.argv[1]
    ray.init(num_cpus=2, include_dashboard=False)
    TorchTrainer(
        work,
        train_loop_config={"home": home},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(storage_path=f"{home}/ray"),
    ).fit()
    ray.shutdown()
